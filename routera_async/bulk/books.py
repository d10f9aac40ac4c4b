"""What one import knows of its rows: its journal, the keys of its input, what is under way.

known     the journal, of earlier runs          ->  the row need not be sent
opens     does an earlier row have its key?     ->  the row must not be sent
          journal.intend, committed             ->  the row may be sent
closes    journal.settle                        ->  whoever waits for its key goes on
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

import attrs
import orjson

from routera_async.errors import OutcomeName

from .engine import Outcome
from .journal import Entry, Journal
from .keys import Keys

OnRepeat = Literal["first", "reject"]
"""What becomes of a row whose key an earlier row of the input has: a duplicate, or rejected."""

_DECIDED = frozenset({"created", "duplicate", "rejected"})
"""What an earlier run has found out for good; the rest is sent again."""

_MOST_IN_DOUBT = 10_000
"""Rows that are reconciled at the end of an import; more stay unknown, in the journal."""


class Sendable(Protocol):
    """One create, ready to be sent."""

    @property
    def body(self) -> bytes:
        """What is sent."""

    @property
    def key(self) -> str | None:
        """A value that the server keeps unique, perhaps made for this row; None without one."""

    @property
    def own(self) -> str | None:
        """The same, when it is the input's own."""

    @property
    def key_name(self) -> str | None:
        """The field that holds it."""


@attrs.frozen
class Undecided:
    """A row whose answer was lost, to be reconciled; times in seconds since the epoch."""

    outcome: Outcome[Any]
    new: Sendable
    first_sent: float
    last_sent: float


@attrs.frozen
class Repeated:
    """A row whose key an undecided row has: what becomes of that one decides."""

    outcome: Outcome[Any]
    first: int

    def status(self, of_first: OutcomeName) -> OutcomeName:
        """Return what the row is, by what became of the one that it repeats."""
        return "duplicate" if of_first in {"created", "duplicate"} else of_first


class ImportBooks:
    """The books of one import.

    `on_repeat` is what becomes of a row whose key an earlier row has; `derive` gives a row without
    a key of its own one that is made of the import's id and the row's number, if there is a
    journal. `clock` gives seconds since the epoch. `undecided` are the rows to reconcile, and
    `repeats` those that repeat one of them.
    """

    def __init__(
        self,
        journal: Journal | None,
        *,
        on_repeat: OnRepeat = "first",
        derive: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.undecided: dict[int, Undecided] = {}
        self.repeats: dict[int, Repeated] = {}
        self._journal = journal
        self._on_repeat = on_repeat
        self._derive = derive and journal is not None
        self._clock = clock
        self._keys = Keys() if journal is not None else None
        self._under_way: dict[str, asyncio.Future[OutcomeName]] = {}
        self._in_doubt: dict[int, Entry] = {}
        self._began: dict[int, float] = {}

    def key(self, row: int) -> str | None:
        """Return the key of a row that has none of its own, which nobody else can have."""
        assert self._journal is not None or not self._derive
        return f"{self._journal.import_id}:{row}" if self._journal and self._derive else None

    def is_doubtful(self, row: int) -> bool:
        """Say whether an earlier run may have created a row that is under way now."""
        return row in self._in_doubt

    async def known(self, row: int, given: Any) -> Outcome[Any] | None:
        """Return what an earlier run has found out of a row, or None when it is to be sent."""
        entry = None if self._journal is None else await self._journal.known(row)
        if entry is None or entry.status == "not_sent":
            return None
        if entry.status not in _DECIDED:
            self._in_doubt[row] = entry
            return None
        outcome = _resumed(entry, given)
        if self._keys and entry.key is not None and entry.status != "rejected":
            self._keys.claim(entry.key, row, outcome.status)
        return outcome

    async def opens(self, row: int, new: Sendable, given: Any) -> Outcome[Any] | None:
        """Write down that a row is about to be sent; return its outcome when it must not be."""
        now = self._clock()
        self._began[row] = now
        entry = self._in_doubt.get(row)
        if entry is not None and entry.sent is not None:
            self._began[row] = entry.sent
        if self._journal is None:
            return None
        if new.own is not None and (first := await self._repeats(new.own, row)) is not None:
            outcome = _of_repeat(*first, new=new, row=row, given=given, on_repeat=self._on_repeat)
            if outcome.status == "unknown" and len(self.repeats) < _MOST_IN_DOUBT:
                self.repeats[row] = Repeated(outcome, first[0])
            self.closes(None, outcome)
            return outcome
        if new.key is None and entry is not None:
            reason = "its answer was lost in an earlier run, and without a key it is not sent again"
            outcome = Outcome(status="unknown", row=row, reason=reason, given=given)
            self.closes(new, outcome)
            return outcome
        if new.own is not None:
            self._under_way[new.own] = asyncio.get_running_loop().create_future()
        try:
            await self._journal.intend(row, new.own)
        except BaseException:
            self._release(new.own, "not_sent")
            raise
        return None

    def closes(self, new: Sendable | None, outcome: Outcome[Any]) -> None:
        """Write down what became of a row, and tell who waits for its key."""
        row = outcome.row
        began, in_doubt = self._began.pop(row, None), self._in_doubt.pop(row, None)
        body = None
        if new is not None and outcome.status == "unknown":
            body = new.body.decode()
            if began is not None and len(self.undecided) < _MOST_IN_DOUBT:
                self.undecided[row] = Undecided(outcome, new, began, self._clock())
        if self._journal is not None:
            status = "held" if outcome.held else outcome.status
            if status == "not_sent" and in_doubt is not None:
                status = "unknown"
            self._journal.settle(row, status, id=outcome.id, reason=outcome.reason, body=body)
        if new is not None:
            self._release(new.own, outcome.status)

    def close(self) -> None:
        """Let go of the keys."""
        if self._keys is not None:
            self._keys.close()

    async def _repeats(self, key: str, row: int) -> tuple[int, OutcomeName] | None:
        """Return the earlier row that has this key, and what became of it; None: go on."""
        assert self._keys is not None
        while True:
            first, status = self._keys.claim(key, row)
            if first == row:
                return None
            if status is not None:
                return first, status
            await asyncio.shield(self._under_way[key])

    def _release(self, key: str | None, status: OutcomeName) -> None:
        if key is None or self._keys is None:
            return
        self._keys.settle(key, status)
        if (waited := self._under_way.pop(key, None)) is not None:
            waited.set_result(status)


def fields_of(body: str | bytes) -> dict[str, Any]:
    """Return the fields of a create's body."""
    fields: dict[str, Any] = orjson.loads(body)["fields"]
    return fields


def _of_repeat(
    first: int, status: OutcomeName, *, new: Sendable, row: int, given: Any, on_repeat: OnRepeat
) -> Outcome[Any]:
    """Return the outcome of a row whose key an earlier row has."""
    told: OutcomeName = "duplicate" if status in {"created", "duplicate"} else "unknown"
    if on_repeat == "reject":
        told = "rejected"
    reason = f"it repeats the {new.key_name} of row {first + 1:,}"
    return Outcome(status=told, row=row, external_id=new.own, reason=reason, given=given)


def _resumed(entry: Entry, given: Any) -> Outcome[Any]:
    return Outcome(
        status="unknown" if entry.status == "held" else entry.status,
        row=entry.row,
        external_id=entry.key,
        id=entry.id,
        reason=entry.reason,
        resumed=True,
        given=given,
    )
