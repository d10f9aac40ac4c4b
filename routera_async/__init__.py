"""Async SDK and bulk importer for the Routera CRM.

Every create ends in an outcome that is proven: created, rejected, duplicate, not sent or unknown.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from ._listing import Listing
    from ._raw import Response
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
        RequestFinished,
        RequestStarted,
        RetryScheduled,
        RowInDoubt,
        TokenRefreshed,
        TokenRefreshFailed,
        TracingHook,
        log_hook,
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
    from .stats import Stats

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
    "RequestFinished",
    "RequestStarted",
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
    "Stats",
    "Summary",
    "Ticket",
    "TokenProvider",
    "TokenRefreshFailed",
    "TokenRefreshed",
    "TracingHook",
    "UnauthorizedError",
    "ValidationError",
    "Verdict",
    "__version__",
    "import_file",
    "log_hook",
]

_HOMES = {
    "_listing": ("Listing",),
    "_raw": ("Response",),
    "auth": ("Auth", "ClientCredentials", "StaticToken", "TokenProvider"),
    "bulk.engine": ("Outcome",),
    "bulk.journal": ("Binding", "Journal"),
    "bulk.many": ("Bulk",),
    "bulk.mapping": ("Mapping",),
    "bulk.reconcile": ("Verdict",),
    "bulk.report": ("Summary",),
    "client": ("RouteraClient",),
    "errors": (
        "APIStatusError",
        "Attempt",
        "BadRequestError",
        "ConfigurationError",
        "DuplicateError",
        "ForbiddenError",
        "JournalError",
        "NotFoundError",
        "NotSentError",
        "OutcomeUnknown",
        "Overloaded",
        "RateLimitedError",
        "ResponseError",
        "RouteraError",
        "ServerError",
        "UnauthorizedError",
        "ValidationError",
    ),
    "events": (
        "AttemptFinished",
        "AttemptStarted",
        "Event",
        "Hook",
        "ImportPaused",
        "ImportReconciling",
        "ImportResumed",
        "LimiterChanged",
        "RequestFinished",
        "RequestStarted",
        "RetryScheduled",
        "RowInDoubt",
        "TokenRefreshed",
        "TokenRefreshFailed",
        "TracingHook",
        "log_hook",
    ),
    "importing": ("ImportProgress", "ImportSettings", "import_file"),
    "models": (
        "Company",
        "Contact",
        "Deal",
        "DispatchResult",
        "NewCompany",
        "NewContact",
        "NewDeal",
        "NewTicket",
        "Page",
        "Router",
        "RouterSettings",
        "RouterTeam",
        "RouterUser",
        "Ticket",
    ),
    "resources": ("Objects",),
    "retries": ("RetryBudget", "RetryPolicy"),
    "routing": ("Routers",),
    "stats": ("Stats",),
}
"""Where each name is: its module is loaded when the name is first asked for, PEP 562."""

_HOME = {name: home for home, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:  # a type checker would take it that the package has every name

    def __getattr__(name: str) -> object:
        """Load the public name, or the module that has some."""
        if name in _HOMES:
            return import_module(f".{name}", __name__)
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__]
