"""Async SDK and bulk importer for the Routera CRM.

Every create ends in an outcome that is proven: created, rejected, duplicate, not sent or unknown.
"""

from importlib import import_module

from ._version import __version__

TYPE_CHECKING = False  # as in `typing`, most of whose own import it would be to the package alone

if TYPE_CHECKING:
    from ._hooks import Hook
    from ._inputs import ImportSettings
    from ._listing import Listing
    from ._raw import Response
    from ._telling import TracingHook
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
        log_hook,
    )
    from .importing import ImportProgress, import_file
    from .models import (
        Company,
        Contact,
        Deal,
        NewCompany,
        NewContact,
        NewDeal,
        NewTicket,
        Page,
        Ticket,
    )
    from .resources import Objects
    from .retries import RetryBudget, RetryPolicy
    from .routing import (
        DispatchResult,
        Router,
        Routers,
        RouterSettings,
        RouterTeam,
        RouterUser,
    )
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
    "_hooks": ("Hook",),
    "_listing": ("Listing",),
    "_raw": ("Response",),
    "_telling": ("TracingHook",),
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
        "log_hook",
    ),
    "_inputs": ("ImportSettings",),
    "importing": ("ImportProgress", "import_file"),
    "models": (
        "Company",
        "Contact",
        "Deal",
        "NewCompany",
        "NewContact",
        "NewDeal",
        "NewTicket",
        "Page",
        "Ticket",
    ),
    "resources": ("Objects",),
    "retries": ("RetryBudget", "RetryPolicy"),
    "routing": (
        "DispatchResult",
        "Router",
        "Routers",
        "RouterSettings",
        "RouterTeam",
        "RouterUser",
    ),
    "stats": ("Stats",),
}
"""Where each name is: its module is loaded when the name is first asked for, PEP 562."""

_HOME = {name: home for home, names in _HOMES.items() for name in names}

_MODULES = frozenset(home.partition(".")[0] for home in _HOMES)

if not TYPE_CHECKING:  # a type checker would take it that the package has every name

    def __getattr__(name: str) -> object:
        """Load the public name, or the module that has some."""
        if name in _MODULES:
            return import_module(f".{name}", __name__)
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__]
