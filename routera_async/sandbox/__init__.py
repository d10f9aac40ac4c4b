"""A Routera of one's own: the HTTP API of API.md, over SQLite, on this machine only."""

from .dispatch import Account
from .errors import SandboxError
from .faults import Fault, FaultName, Faults
from .fields import Field, parse_field
from .requests import ReceivedRequest, RequestLog
from .routers import Router, RouterSettings, RouterUser
from .server import Sandbox
from .store import Store

__all__ = [
    "Account",
    "Fault",
    "FaultName",
    "Faults",
    "Field",
    "ReceivedRequest",
    "RequestLog",
    "Router",
    "RouterSettings",
    "RouterUser",
    "Sandbox",
    "SandboxError",
    "Store",
    "parse_field",
]
