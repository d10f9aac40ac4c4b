"""The journal of an import: what is about to be sent is on disk before it is sent.

`intend` returns once its row is on disk, `settle` does not wait: an outcome that a crash takes away
was still intended, so it is unknown, never forgotten. Whatever waits is committed together, in one
transaction of one thread. What cannot be written ends the journal, and with it the import: a
failed fsync is never tried again, as the system may have dropped what it should have written.
"""

import asyncio
import math
import secrets
import sqlite3
import time
import warnings
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import attrs

from routera_async.bulk.journal_file import (
    BATCH,
    OPEN,
    PROVEN,
    Binding,
    JournalFile,
    Record,
    peek,
)
from routera_async.errors import JournalError, OutcomeName, ValidationError, one_line

__all__ = ["Binding", "Entry", "Journal", "Status", "peek"]

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function that blocks, and gives what it returns."""

Status = Literal[OutcomeName, "held"]
"""What is known of a row. `held` is a 409 on the user's own key after an attempt of ours whose
answer was lost: reconciling settles it. A row that was intended and never settled is `unknown`."""

_NAMES: tuple[Status, ...] = (
    "unknown",  # an intent without an outcome
    "created",
    "duplicate",
    "rejected",
    "unknown",
    "not_sent",
    "held",
)
"""The statuses by their number in the file."""

_CODES = {name: code for code, name in enumerate(_NAMES)}  # of the two "unknown", the outcome

_LINGER = 0.1
"""Seconds that an outcome waits at the most for others to be committed with."""


def _new_id() -> str:
    return secrets.token_hex(16)


@attrs.frozen
class Entry:
    """What a journal knows of one row.

    `sent` is when it was first intended, in seconds since the epoch by this machine's clock, and
    `attempts` how often, but for those proven not sent. Both are empty when it never was. `body` is
    what was sent of a row in doubt, where that is known.
    """

    row: int
    status: Status
    attempts: int = 0
    sent: float | None = None
    id: str | None = None
    key: str | None = None
    reason: str | None = None
    body: str | None = attrs.field(default=None, repr=False)


class Journal:
    """The open journal of one import. `async with Journal.open(...)`, in one event loop.

    `import_id` is 128 random bits in hex, made when the journal was; `started` is when that was,
    in seconds since the epoch; `resumed` tells whether it was there before, and `binding` what it
    is bound to. `fault` says why
    nothing can be written any more, and is None while it can.
    """

    def __init__(
        self, path: Path, file: JournalFile, run: Run | None, clock: Callable[[], float]
    ) -> None:
        self.path = path
        self.import_id = file.import_id
        self.started = file.started
        self.resumed = file.resumed
        self.binding = file.binding
        self.fault: str | None = None
        self._file = file
        self._clock = clock
        self._executor = None if run else ThreadPoolExecutor(1, "routera-journal")
        self._run = run or self._in_thread
        self._group = _Group()
        self._committing: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self._left_open = weakref.finalize(self, _left_open, path, file.abandon())
        self._top = file.top
        self._read: dict[int, Record] = {}  # what is known of the rows from `_from` to `_until`
        self._from = self._until = 0.0
        self._reading = asyncio.Lock()

    @classmethod
    def open(
        cls,
        path: Path | str,
        binding: Binding | None,
        *,
        run: Run | None = None,
        new_id: Callable[[], str] = _new_id,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Create a journal, or resume the one that is there, and lock it until it is closed.

        Without a `binding` it must be there already, and its own is kept.
        This blocks: about two seconds for a million rows, which are all checked. Raises
        ConfigurationError when the journal is bound to something else or is in use, and
        JournalError when it cannot be created, or is damaged or no journal: then it is left as it
        is. Nothing else in this process may open its file meanwhile: that would drop the lock.
        """
        path = Path(path)
        return cls(path, JournalFile.open(path, binding, new_id, clock), run, clock)

    async def intend(self, row: int, key: str | None) -> None:
        """Return when it is on disk that this row is about to be sent; only then send it.

        `key` is kept to match the row by; None when it has none or it can be derived anew. Raises
        JournalError when it cannot be written: then the row must not be sent.
        """
        if key is not None and not _is_text(key):
            raise ValidationError(f"external_id: {one_line(key, 80)} is not valid Unicode")
        self._check()
        self._tell((row, OPEN, 1, int(self._clock() * 1000), None, key, None, None))
        await self._committed()

    def settle(
        self,
        row: int,
        status: Status,
        *,
        id: str | None = None,  # noqa: A002 (the API's name)
        reason: str | None = None,
        body: str | None = None,
        proven: bool = False,
    ) -> None:
        """Note what became of a row; it is written within a tenth of a second.

        "Not sent" is said of the intent under way: a row that an earlier one has left in doubt
        stays `unknown`, and a row that has an outcome keeps it; unless it is `proven`, as by a
        list. `body` is what was sent, kept for a row in doubt. After a fault this does nothing.
        """
        if self.fault is not None:
            return
        self._check()
        id_, why = (one_line(text) if text else None for text in (id, reason))
        attempts = PROVEN if proven else 0
        self._tell((row, _CODES[status], attempts, None, id_, None, why, body))
        if self._committing is None:
            self._linger()

    async def flush(self) -> None:
        """Return when all that was told is on disk; raise JournalError when it cannot be."""
        self._check()
        if self._group.told or self._committing is not None:
            await self._committed()

    async def known(self, row: int) -> Entry | None:
        """Return what is known of a row.

        Asked in ascending order, as on resume, it reads the file once, in batches.
        """
        if row > self._top:
            return None
        covered = self._from <= row < self._until
        found = self._read.get(row) if covered else await self._fetched(row)
        return None if found is None else _entry(found)

    async def tally(self) -> dict[Status, int]:
        """Count the rows of each status, of every run of this import."""
        counts: dict[Status, int] = dict.fromkeys(_NAMES, 0)
        for code, count in (await self._asked(self._file.tally)).items():
            counts[_NAMES[code]] += count
        return counts

    async def owned(self, ids: Iterable[str]) -> set[str]:
        """Return which of these ids are those of rows that are settled."""
        found: set[str] = await self._asked(partial(self._file.owned, list(ids)))
        return found

    async def decided(self, most: int) -> dict[Status, int]:
        """Count, by status, the input's first rows that earlier runs have decided for good.

        They end with the first row that has not been, and after `most` rows.
        """
        counts: dict[int, int] = await self._asked(partial(self._file.decided, most))
        return {_NAMES[code]: count for code, count in counts.items()}

    async def rejected(self) -> AsyncGenerator[Entry]:
        """Yield, in order, each row that is rejected."""
        async for entry in self._each(self._file.rejected):
            yield entry

    async def undecided(self) -> AsyncGenerator[Entry]:
        """Yield, in order, each row that is unknown or held; they may be settled meanwhile."""
        async for entry in self._each(self._file.undecided):
            yield entry

    async def nameless(self) -> AsyncGenerator[Entry]:
        """Yield, in order, each row without a key that is created, and whose id was lost."""
        async for entry in self._each(self._file.nameless):
            yield entry

    async def _each(self, read: Callable[[int], list[Record]]) -> AsyncGenerator[Entry]:
        row = 0
        while batch := await self._asked(partial(read, row)):
            for record in batch:
                yield _entry(record)
            row = batch[-1][0] + 1

    async def aclose(self) -> None:
        """Write what is left, leave one file, and give up the lock.

        Raises JournalError when that fails and no fault was met before. After a fault, the file
        that ends in -wal may stay, and belongs to the journal.
        """
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _check(self) -> None:
        if self.fault is not None:
            raise JournalError(self.fault)
        if self._closing is not None:
            raise JournalError(f"{self.path}: the journal is closed")

    def _tell(self, told: Record) -> None:
        row = told[0]
        self._group.told.append(told)
        self._top = max(self._top, row)
        if row >= self._from:
            self._from = row + 1

    async def _committed(self) -> None:
        """Wait for the group that is gathering now."""
        loop = asyncio.get_running_loop()
        if not self._group.waiting:  # in the loop's next turn, with all that this turn brings
            loop.call_soon(self._commit)
        waiter = loop.create_future()
        self._group.waiting.append(waiter)
        await waiter

    def _linger(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LINGER, self._commit)

    def _commit(self) -> None:
        """Hand over what has gathered, unless that is under way: then it goes on by itself."""
        if self._committing is None and (self._group.told or self._group.waiting):
            group = self._take()
            written = self._run(partial(self._file.write, group.told))
            self._committing = asyncio.ensure_future(written)
            self._committing.add_done_callback(partial(self._ended, group))

    def _take(self) -> "_Group":
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        group, self._group = self._group, _Group()
        return group

    def _ended(self, group: "_Group", committing: asyncio.Future[None]) -> None:
        self._committing = None
        if committing.cancelled():
            self._fail("its writing was interrupted")
        elif error := committing.exception():
            self._fail(error)
        self._release(group)
        if self.fault is not None:
            self._release(self._take())
        elif self._group.waiting:
            self._commit()
        elif self._group.told:
            self._linger()

    def _release(self, group: "_Group") -> None:
        for waiter in group.waiting:
            if waiter.done():  # cancelled
                continue
            if self.fault is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(JournalError(self.fault))

    def _fail(self, why: BaseException | str) -> None:
        self.fault = self.fault or (
            f"{self.path}: the journal cannot be written ({one_line(str(why))}), so nothing more "
            "is sent: free or repair its disk, then run the same command again"
        )

    async def _fetched(self, row: int) -> Record | None:
        """Read what the file holds of a row, and a batch of those after it."""
        async with self._reading:
            self._from = self._until = row  # and whatever is told meanwhile moves `_from` on
            batch = await self._asked(partial(self._file.read, row))
            self._read = {record[0]: record for record in batch}
            self._until = batch[-1][0] + 1 if len(batch) == BATCH else math.inf
            return self._read.get(row)

    async def _asked(self, question: Callable[[], Any]) -> Any:
        """Return what the file says, once all that was told is in it."""
        await self.flush()
        try:
            return await self._run(question)
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        raise JournalError(self.fault)

    async def _close(self) -> None:
        while self._committing is not None:
            await asyncio.wait([self._committing])
        group, faultless = self._take(), self.fault is None
        try:
            await self._run(partial(self._file.close, group.told, whole=faultless))
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        self._left_open.detach()
        if self._executor is not None:
            self._executor.shutdown(wait=False)
        self._release(group)
        if faultless and self.fault is not None:
            raise JournalError(self.fault)

    def _in_thread(self, function: Callable[[], Any]) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._executor, function)


@attrs.define
class _Group:
    """What is committed in one transaction, and who waits for it."""

    told: list[Record] = attrs.Factory(list)
    waiting: list[asyncio.Future[None]] = attrs.Factory(list)


def _entry(record: Record) -> Entry:
    row, status, attempts, sent, id_, key, reason, body = record
    at = None if sent is None else sent / 1000
    return Entry(row, _NAMES[status], attempts, at, id_, key, reason, body)


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _left_open(path: Path, release: Callable[[], None]) -> None:
    release()
    warnings.warn(f"the journal {path} was never closed", ResourceWarning, stacklevel=2)
