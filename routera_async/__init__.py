"""Async SDK and bulk importer for the Routera CRM.

Every create ends in an outcome that is proven: created, rejected, duplicate, not sent or unknown.
"""

from ._version import __version__
from .auth import Auth, ClientCredentials, StaticToken, TokenProvider
from .bulk.engine import Outcome
from .client import RouteraClient
from .errors import (
    APIStatusError,
    Attempt,
    BadRequestError,
    ConfigurationError,
    DuplicateError,
    ForbiddenError,
    JournalError,
    NotFoundError,
    NotSentError,
    OutcomeUnknown,
    Overloaded,
    RateLimitedError,
    ResponseError,
    RouteraError,
    ServerError,
    UnauthorizedError,
    ValidationError,
)
from .events import AttemptFinished, AttemptStarted, Event, Hook, RetryScheduled
from .models import NewTicket, Page, Ticket
from .retries import RetryBudget, RetryPolicy

__all__ = [
    "APIStatusError",
    "Attempt",
    "AttemptFinished",
    "AttemptStarted",
    "Auth",
    "BadRequestError",
    "ClientCredentials",
    "ConfigurationError",
    "DuplicateError",
    "Event",
    "ForbiddenError",
    "Hook",
    "JournalError",
    "NewTicket",
    "NotFoundError",
    "NotSentError",
    "Outcome",
    "OutcomeUnknown",
    "Overloaded",
    "Page",
    "RateLimitedError",
    "ResponseError",
    "RetryBudget",
    "RetryPolicy",
    "RetryScheduled",
    "RouteraClient",
    "RouteraError",
    "ServerError",
    "StaticToken",
    "Ticket",
    "TokenProvider",
    "UnauthorizedError",
    "ValidationError",
    "__version__",
]
