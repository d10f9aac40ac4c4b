"""What a hook is told while calls are made.

A hook is any callable that takes one event. It runs in the middle of a call, so it must be quick
and must not block; one that raises is logged once and never breaks the call. No event holds a
body, a header, a token or a query.

The events of one call have one `call`, a number that no other call of the process has, and come in
this order: RequestStarted, then for each attempt AttemptStarted and AttemptFinished, with a
RetryScheduled between two of them unless it is a new token alone that is tried, RequestFinished.
"""

import logging

import attrs


@attrs.frozen
class RequestStarted:
    """A call was made; it waits for its place, or is sent at once.

    `route` is the API's path with `{id}` for an id, or None for a path that the client knows
    nothing of; `base_url` is the client's.
    """

    method: str
    path: str
    call: int
    route: str | None
    base_url: str


@attrs.frozen
class RequestFinished:
    """A call ended, however it ended.

    `outcome` is what is proven of it, in a create's words. `error` names the class of what was
    raised, "cancelled" when its caller ended it, or is None; `status` is its last attempt's, or
    None when that met no answer. It took `attempts` of them, and `elapsed` seconds with all the
    waiting.
    """

    method: str
    path: str
    call: int
    outcome: str
    attempts: int
    status: int | None
    error: str | None
    elapsed: float


@attrs.frozen
class AttemptStarted:
    """One attempt of a call was admitted and is about to be sent."""

    method: str
    path: str
    number: int
    call: int = 0


@attrs.frozen
class AttemptFinished:
    """One attempt of a call ended, however it ended.

    `sent` is False only when the request provably never left; `status` is None when no answer
    came, and then `error` names what came instead. `elapsed` is in seconds, and so is
    `retry_after`: what the answer asked for, or None.
    """

    method: str
    path: str
    number: int
    sent: bool
    status: int | None
    error: str | None
    elapsed: float
    retry_after: float | None = None
    call: int = 0


@attrs.frozen
class RetryScheduled:
    """A call will be sent again, not before `delay` seconds, and once there is a retry token."""

    method: str
    path: str
    number: int
    delay: float
    call: int = 0


@attrs.frozen
class TokenRefreshed:
    """The source of tokens gave another, after `elapsed` seconds.

    It lasts for `lasts` seconds, or None when that is not known. Told by `ClientCredentials`,
    `TokenProvider` and async callables, whether a call waited for it or not.
    """

    elapsed: float
    lasts: float | None


@attrs.frozen
class TokenRefreshFailed:
    """The source of tokens gave none, after `elapsed` seconds: `error` names the error's class.

    That is no fault of a call yet while the token in hand still lasts.
    """

    elapsed: float
    error: str


@attrs.frozen
class LimiterChanged:
    """An import may have another number of rows under way at once: `limit`."""

    limit: int


@attrs.frozen
class ImportPaused:
    """An import sends nothing but one probe at a time, the first in `retry_in` seconds.

    `reason` is for a person to read.
    """

    reason: str
    retry_in: float


@attrs.frozen
class ImportResumed:
    """An import goes on, after it had no healthy answer for `paused_for` seconds."""

    paused_for: float


@attrs.frozen
class RowInDoubt:
    """An import has lost the answer to a row, its `row`-th from 0: it is settled at the end."""

    row: int


@attrs.frozen
class ImportReconciling:
    """An import looks in the list for `rows` rows in doubt, in `wait` seconds.

    So long a lost request may still be running.
    """

    rows: int
    wait: float


Event = (
    RequestStarted
    | RequestFinished
    | AttemptStarted
    | AttemptFinished
    | RetryScheduled
    | TokenRefreshed
    | TokenRefreshFailed
    | LimiterChanged
    | ImportPaused
    | ImportResumed
    | RowInDoubt
    | ImportReconciling
)


_LOG = logging.getLogger("routera_async")

_LEVELS: dict[type, int] = {
    RetryScheduled: logging.INFO,
    TokenRefreshed: logging.INFO,
    TokenRefreshFailed: logging.WARNING,
    ImportPaused: logging.WARNING,
    ImportResumed: logging.INFO,
    RowInDoubt: logging.INFO,
    ImportReconciling: logging.INFO,
}
"""At which level an event is logged: at DEBUG, if it is not listed."""

_DECIDED = {"rejected", "duplicate"}


def log_hook(event: Event, /) -> None:
    """Log each event, as one line and as fields: `RouteraClient(..., hooks=[log_hook])`.

    The logger is "routera_async". A record has the event's name as `routera_event`, "RowInDoubt",
    and each of its attributes as `routera_row`: what a formatter for JSON writes of `extra`. What
    went well is DEBUG, what is decided or goes on by itself INFO, and WARNING what somebody may
    have to look at: a call whose outcome is unknown or that was not sent, an import that pauses, a
    token that could not be had. The log holds no body, header, token or query, as events do not.
    """
    level = _LEVELS.get(type(event), logging.DEBUG)
    if isinstance(event, RequestFinished) and event.error is not None:
        level = logging.INFO if event.outcome in _DECIDED else logging.WARNING
    if not _LOG.isEnabledFor(level):
        return
    name = type(event).__name__
    told = attrs.asdict(event)
    fields = {f"routera_{each}": value for each, value in told.items()}
    line = " ".join(f"{each}={value}" for each, value in told.items() if value is not None)
    _LOG.log(level, "%s %s", name, line, extra={"routera_event": name, **fields})
