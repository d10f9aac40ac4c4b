"""The version, told once: to the build, to users and to the server."""

__version__ = "0.1.0"
