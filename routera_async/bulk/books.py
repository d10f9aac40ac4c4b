"""What one import knows of its rows: its journal, the keys of its input, what is under way.

known     the journal, of earlier runs          ->  the row need not be sent
awaits    is an earlier row with its key under way?
opens     does an earlier row have its key?     ->  the row must not be sent
intends   journal.intend, committed             ->  the row may be sent
closes    journal.settle                        ->  whoever waits for its key goes on
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any, Literal, Protocol, cast

import attrs

from routera_async.errors import JournalError, OutcomeName

from .engine import Outcome
from .journal import Entry, Journal, Status
from .keys import Keys
from .rows import Row

OnRepeat = Literal["first", "reject"]
"""What becomes of a row whose key an earlier row of the input has: a duplicate, or rejected."""

_DECIDED = frozenset({"created", "duplicate", "rejected"})
"""What an earlier run has found out for good; the rest is sent again."""

_TURN = 0.01
"""Seconds for which rows are read before others on the loop have their turn."""

MOST_IN_DOUBT = 10_000
"""Rows that are reconciled at the end of an import; more stay unknown, in the journal."""


_Line = deque[tuple[int, asyncio.Future[None]]]
"""The rows that wait for a key, in order, and what tells each that it is the next."""

_OF = "\0"
"""Between the name and the value of a key that is no external_id."""


class Sendable(Protocol):
    """One create, ready to be sent."""

    @property
    def body(self) -> bytes:
        """What is sent."""

    @property
    def external_id(self) -> str | None:
        """The external_id in it."""

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
    `repeats` those that repeat one of them: `MOST_IN_DOUBT` of each, what is more stays unknown.
    `nameless` are the bodies of as many rows without a key that are created, and whose ids were
    lost: a record in the list may be theirs. `forgot_nameless` says that there are more.
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
        self.nameless: dict[int, str] = {}
        self.forgot_nameless = False
        self._journal = journal
        self._on_repeat = on_repeat
        self._derive = derive and journal is not None
        self._clock = clock
        self._keys = Keys()
        self._claims: dict[int, str] = {}  # the keys of the rows under way
        self._under_way: dict[str, _Line | None] = {}  # a line where rows wait for it
        self._in_doubt: dict[int, Entry] = {}
        self._last = -1 if journal is None else journal.last  # row of earlier runs
        self._asked = 0  # rows that `known` was asked for, or has gone through by itself
        self._began: dict[int, float] = {}

    def key(self, row: int) -> str | None:
        """Return the key of a row that has none of its own, which nobody else can have."""
        assert self._journal is not None or not self._derive
        return derived_key(self._journal, row) if self._journal and self._derive else None

    def is_doubtful(self, row: int) -> bool:
        """Say whether an earlier run may have created a row that is under way now."""
        return row in self._in_doubt

    @property
    def may_know(self) -> bool:
        """Whether an earlier run has told the journal of the next row, or may have of a later."""
        return self._asked <= self._last

    async def known(self, row: int, given: Any) -> Outcome[Any] | None:
        """Return what an earlier run has found out of a row, or None when it is to be sent.

        The rows before the first that is asked for were decided: what they hold is noted first.
        """
        while self._journal is not None and self._asked < row:
            await self._known(self._asked, None)
        return await self._known(row, given)

    async def _known(self, row: int, given: Any) -> Outcome[Any] | None:
        self._asked = row + 1
        entry = None if self._journal is None else await self._journal.known(row)
        if entry is None:
            return None
        if entry.status in _DECIDED:
            if entry.key is not None and entry.status != "rejected":
                self._keys.claim(entry.key, row, cast("OutcomeName", entry.status))
            outcome = _resumed(entry, given)
            if entry.body is not None and _is_nameless(outcome):
                self._note_nameless(row, entry.body)
            return outcome
        if entry.sent is not None:  # else it only repeats a row that was in doubt, or was not sent
            self._in_doubt[row] = entry
        return None

    def awaits(self, row: int, new: Sendable) -> Awaitable[object] | None:
        """Return what ends with the earlier row that has this row's key, or None.

        A row that an earlier run may have created waits for none: what is there may be its own.
        """
        key = _claimed(new)
        if key is None or key not in self._under_way or row in self._in_doubt:
            return None
        if row in self._claims:  # it has waited, and is the next
            return None
        turn = asyncio.get_running_loop().create_future()
        self._under_way[key] = line = self._under_way[key] or deque()
        line.append((row, turn))
        return turn

    def opens(self, row: int, new: Sendable, given: Any) -> Outcome[Any] | None:
        """Return the outcome of a row that must not be sent, or None."""
        in_doubt = row in self._in_doubt
        if in_doubt and new.key is None:
            reason = "its answer was lost in an earlier run, and without a key it is not sent again"
            return self.closes(new, Outcome(status="unknown", row=row, reason=reason, given=given))
        key = _claimed(new)
        if key is None or (first := self._claim(row, key, in_doubt=in_doubt)) is None:
            return None
        outcome = _of_repeat(*first, new=new, row=row, given=given, on_repeat=self._on_repeat)
        if outcome.status == "unknown" and len(self.repeats) < MOST_IN_DOUBT:
            self.repeats[row] = Repeated(outcome, first[0])
        return self.closes(None, outcome)

    def intends(self, row: int, new: Sendable) -> Awaitable[None] | None:
        """Write down that a row is about to be sent; return what is done when that is on disk.

        It raises `JournalError` when that fails. None without a journal.
        """
        self._began[row] = self._clock()
        return None if self._journal is None else self._journal.intend(row, _claimed(new))

    def closes(self, new: Sendable | None, outcome: Outcome[Any]) -> Outcome[Any]:
        """Write down what became of a row, and tell who waits for its key.

        A row that an earlier run may have created is unknown, until it is known to be there.
        """
        row = outcome.row
        began, in_doubt = self._began.pop(row, None), self._in_doubt.pop(row, None)
        if in_doubt is not None:
            began = in_doubt.sent
            if outcome.status in {"rejected", "not_sent"}:
                outcome = attrs.evolve(outcome, status="unknown")
        body = None
        if new is not None and outcome.status == "unknown":
            body = new.body.decode()
            if began is not None and len(self.undecided) < MOST_IN_DOUBT:
                self.undecided[row] = Undecided(outcome, new, began, self._clock())
        elif new is not None and new.key is None and _is_nameless(outcome):
            body = new.body.decode()
            self._note_nameless(row, body)
        self._settle(outcome, body)
        self._release(row, outcome.status)
        return outcome

    def drops(self, row: int) -> None:
        """Hear that nothing will be known of a row that was opened."""
        self._release(row, "unknown")

    def close(self) -> None:
        """Let go of the keys."""
        self._keys.close()

    def _note_nameless(self, row: int, body: str) -> None:
        if len(self.nameless) < MOST_IN_DOUBT:
            self.nameless[row] = body
        else:
            self.forgot_nameless = True

    def _settle(self, outcome: Outcome[Any], body: str | None) -> None:
        if self._journal is None:
            return
        status: Status = "held" if outcome.held else outcome.status
        with suppress(JournalError):  # it is closed: what it does not hold is unknown to it
            self._journal.settle(
                outcome.row, status, id=outcome.id, reason=outcome.reason, body=body
            )

    def _claim(self, row: int, key: str, *, in_doubt: bool) -> tuple[int, OutcomeName] | None:
        """Return the earlier row that has this key, and what became of it; None: go on."""
        if in_doubt and key in self._under_way:
            return None
        first, status = self._keys.claim(key, row)
        if first == row:
            self._claims[row] = key
            self._under_way.setdefault(key)
            return None
        if in_doubt:
            return None
        if self._claims.pop(row, None) is not None:
            self._hand_on(key)
        if status is None:
            raise JournalError("the keys of the input could not be kept")
        return first, status

    def _release(self, row: int, status: OutcomeName) -> None:
        """Let the next row have the key of one under way, or know what became of that."""
        key = self._claims.pop(row, None)
        if key is not None:
            with suppress(JournalError):  # whoever waits for the key will meet it too
                self._keys.settle(key, row, status)
            self._hand_on(key)

    def _hand_on(self, key: str) -> None:
        """Let the row have a key that has waited for it longest; no later one comes before it."""
        line = self._under_way.pop(key)
        while line:
            row, turn = line.popleft()
            if not turn.done():  # else it was cut off
                self._claims[row] = key
                self._under_way[key] = line
                turn.set_result(None)
                return


async def rejected_again(journal: Journal, rows: Iterator[Row]) -> AsyncGenerator[Outcome[Any]]:
    """Yield what an earlier run has found out of each row that it has rejected, and of no other.

    `rows` are rows of the input, in order. Others on the loop have their turn meanwhile.
    """
    loop = asyncio.get_running_loop()
    turn = loop.time() + _TURN
    async with aclosing(journal.rejected()) as rejected:
        entry = await anext(rejected, None)
        for row in rows:
            while entry is not None and entry.row < row.number:
                entry = await anext(rejected, None)
            if entry is not None and entry.row == row.number:
                yield _resumed(entry, row)
            if loop.time() >= turn:
                await asyncio.sleep(0)
                turn = loop.time() + _TURN


def derived_key(journal: Journal, row: int) -> str:
    """Return the key of a row that has none of its own, which nobody else can have."""
    return f"{journal.import_id}:{row}"


def fields_of(body: str | bytes) -> dict[str, Any]:
    """Return the fields of a create's body."""
    fields: dict[str, Any] = json.loads(body)["fields"]  # exact, however long a number is
    return fields


def _claimed(new: Sendable) -> str | None:
    """Return the input's own key of a row, told from the values of other fields."""
    if new.own is None or new.key_name == "external_id":
        return new.own
    return f"{new.key_name}{_OF}{new.own}"


def _of_repeat(
    first: int, status: OutcomeName, *, new: Sendable, row: int, given: Any, on_repeat: OnRepeat
) -> Outcome[Any]:
    """Return the outcome of a row whose key an earlier row has."""
    told: OutcomeName = "duplicate" if status in {"created", "duplicate"} else "unknown"
    if on_repeat == "reject":
        told = "rejected"
    reason = f"it repeats the {new.key_name} of row {first + 1:,}"
    return Outcome(status=told, row=row, external_id=new.external_id, reason=reason, given=given)


def _is_nameless(outcome: Outcome[Any]) -> bool:
    return outcome.status == "created" and outcome.id is None


def _resumed(entry: Entry, given: Any) -> Outcome[Any]:
    return Outcome(
        status="unknown" if entry.status == "held" else entry.status,
        row=entry.row,
        external_id=None if entry.key is None or _OF in entry.key else entry.key,
        id=entry.id,
        reason=entry.reason,
        resumed=True,
        given=given,
    )
