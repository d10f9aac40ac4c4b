"""A Routera of one's own: the HTTP API of API.md, over SQLite, on this machine only."""

from .errors import SandboxError
from .faults import Fault, FaultName, Faults
from .fields import Field, parse_field
from .requests import ReceivedRequest, RequestLog
from .server import Sandbox
from .store import Store

__all__ = [
    "Fault",
    "FaultName",
    "Faults",
    "Field",
    "ReceivedRequest",
    "RequestLog",
    "Sandbox",
    "SandboxError",
    "Store",
    "parse_field",
]
