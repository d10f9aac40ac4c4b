"""Async SDK and bulk importer for the Routera CRM.

Every create ends in an outcome that is proven: created, rejected, duplicate, not sent or unknown.
"""

from ._listing import Listing
from ._raw import Response
from ._version import __version__
from .auth import Auth, ClientCredentials, StaticToken, TokenProvider
from .bulk.engine import Outcome
from .bulk.journal import Binding, Journal
from .bulk.many import Bulk
from .bulk.mapping import Mapping
from .bulk.reconcile import Verdict
from .bulk.report import Summary
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
from .events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    Hook,
    ImportPaused,
    ImportReconciling,
    ImportResumed,
    LimiterChanged,
    RetryScheduled,
    RowInDoubt,
)
from .importing import ImportProgress, ImportSettings, import_file
from .models import (
    Company,
    Contact,
    Deal,
    DispatchResult,
    NewCompany,
    NewContact,
    NewDeal,
    NewTicket,
    Page,
    Router,
    RouterSettings,
    RouterTeam,
    RouterUser,
    Ticket,
)
from .resources import Objects
from .retries import RetryBudget, RetryPolicy
from .routing import Routers

__all__ = [
    "APIStatusError",
    "Attempt",
    "AttemptFinished",
    "AttemptStarted",
    "Auth",
    "BadRequestError",
    "Binding",
    "Bulk",
    "ClientCredentials",
    "Company",
    "ConfigurationError",
    "Contact",
    "Deal",
    "DispatchResult",
    "DuplicateError",
    "Event",
    "ForbiddenError",
    "Hook",
    "ImportPaused",
    "ImportProgress",
    "ImportReconciling",
    "ImportResumed",
    "ImportSettings",
    "Journal",
    "JournalError",
    "LimiterChanged",
    "Listing",
    "Mapping",
    "NewCompany",
    "NewContact",
    "NewDeal",
    "NewTicket",
    "NotFoundError",
    "NotSentError",
    "Objects",
    "Outcome",
    "OutcomeUnknown",
    "Overloaded",
    "Page",
    "RateLimitedError",
    "Response",
    "ResponseError",
    "RetryBudget",
    "RetryPolicy",
    "RetryScheduled",
    "Router",
    "RouterSettings",
    "RouterTeam",
    "RouterUser",
    "RouteraClient",
    "RouteraError",
    "Routers",
    "RowInDoubt",
    "ServerError",
    "StaticToken",
    "Summary",
    "Ticket",
    "TokenProvider",
    "UnauthorizedError",
    "ValidationError",
    "Verdict",
    "__version__",
    "import_file",
]
