"""What a hook is told while calls are made.

A hook is any callable that takes one event. It runs in the middle of a call, so it must be quick
and must not block; one that raises is logged once and never breaks the call. No event holds a
body, a header or a token.
"""

import attrs


@attrs.frozen
class AttemptStarted:
    """One attempt of a call was admitted and is about to be sent."""

    method: str
    path: str
    number: int


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


@attrs.frozen
class RetryScheduled:
    """A call will be sent again after `delay` seconds."""

    method: str
    path: str
    number: int
    delay: float


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
    AttemptStarted
    | AttemptFinished
    | RetryScheduled
    | LimiterChanged
    | ImportPaused
    | ImportResumed
    | RowInDoubt
    | ImportReconciling
)
