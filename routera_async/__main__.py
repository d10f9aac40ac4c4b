"""The command line: `routera`, or `python -m routera_async`."""

import sys

_NEEDED = {"cyclopts", "rich", "jwt"}
"""What the extra `cli` brings."""


def main() -> int:
    """Run the command line and return its exit status."""
    try:
        from .cli import run  # noqa: PLC0415 (an optional dependency)
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        print(  # noqa: T201 (nothing else is here to print with)
            "error: the command line needs more: pip install 'routera-async[cli]'", file=sys.stderr
        )
        return 2
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
