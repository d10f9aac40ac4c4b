"""A file into Routera, row by row: what `routera import` does, for anybody's code.

    async with RouteraClient.from_env() as routera:
        summary = await import_file(routera, "tickets.csv", mapping=Mapping.build(...))

The import is written down in FILE.journal. Killed at any moment and begun again with the same
arguments, it goes on where it was: nothing is lost, and nothing is created twice.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ._codec import encode, to_fields
from ._hooks import guarded
from ._inputs import (
    NEW,
    ImportSettings,
    check_required,
    journal_path,
    open_input,
    too_many,
)
from ._shapes import field_names
from .bulk.books import rejected_again
from .bulk.engine import Outcome
from .bulk.journal import Binding, Journal
from .bulk.keys import Keys
from .bulk.mapping import Mapping
from .bulk.readers import Row, Source
from .bulk.report import RejectsFile, Summary
from .client import RouteraClient
from .errors import ConfigurationError, OutcomeName, RouteraError, ValidationError
from .events import AttemptFinished, Event, RetryScheduled, RowInDoubt
from .resources import Objects

if TYPE_CHECKING:
    from ._hooks import Hook

_GRACE = 30.0
"""Seconds that a stopped import gives to what is under way."""

_EVERY = 0.25
"""Seconds between two reports of progress."""


@attrs.frozen
class ImportProgress:
    """How far an import is: `done` of `total` rows, of which `summary` tells what became."""

    total: int
    done: int
    summary: Summary


async def import_file(
    client: RouteraClient,
    source: str | Path | Source,
    *,
    mapping: Mapping | None = None,
    settings: ImportSettings | None = None,
    on_progress: Callable[[ImportProgress], None] | None = None,
    confirm: Callable[[ImportProgress], Awaitable[bool]] | None = None,
) -> Summary:
    """Import a file, and return what became of the rows that were read.

    Without a `mapping`, columns that are named like fields map themselves. `on_progress` is called
    at most four times a second and at the end, and must be quick. `confirm` says after the canary
    whether to go on; without it the import does. May be cancelled at any moment: begun again, it
    goes on where it was. Raises `ConfigurationError` for what would make the import senseless, and
    `JournalError` when it cannot be written down, before anything is sent; afterwards the
    `RouteraError` that stopped it.
    """
    work = await asyncio.to_thread(
        partial(FileImport.prepared, source, mapping=mapping, settings=settings or ImportSettings())
    )
    if confirm is not None:
        work.confirm = confirm
    async with work.opened(client):
        await work.run(client, on_progress=on_progress)
    if work.fault is not None:
        raise work.fault
    return work.summary


class FileImport:
    """One import of one file, and what has become of it so far.

    `summary` is the tally; `fault` what stopped it, if anything did; `stopped` whether `stop` did,
    and `declined` whether `confirm` did, which is asked after the canary. `on_outcome` hears of
    each row's outcome, but for rows that earlier runs have created or found there, before the first
    that is still to be decided; `hooks` hear of what happens meanwhile.
    """

    def __init__(self, source: Source, mapping: Mapping, settings: ImportSettings) -> None:
        self.rejects = RejectsFile(source)
        self.summary = Summary()
        self.total = _total(source, settings.limit)
        self.fault: RouteraError | None = None
        self.stopped = False
        self.declined = False
        self.on_outcome: Callable[[Outcome[Any]], None] = lambda _: None
        self.confirm: Callable[[ImportProgress], Awaitable[bool]] = _always
        self.hooks: tuple[Hook, ...] = ()
        self._source = source
        self._mapping = mapping
        self._settings = settings
        self._new = NEW[settings.object]
        self._stop = asyncio.Event()
        self._moved = asyncio.Event()
        self._in_doubt = 0
        self._on_progress: Callable[[ImportProgress], None] | None = None
        self._next_report = 0.0
        self._task: asyncio.Task[Any] | None = None
        self._journal: Journal | None = None

    @classmethod
    def prepared(
        cls, source: str | Path | Source, *, mapping: Mapping | None, settings: ImportSettings
    ) -> "FileImport":
        """Read the file through, unless an earlier run has, and hold the mapping against it.

        Raises `ConfigurationError` for whatever would make the import senseless.
        """
        opened = source if isinstance(source, Source) else open_input(source, settings)
        if fault := opened.survey().fault:
            raise ConfigurationError(fault)
        if mapping is None:
            known = field_names(NEW[settings.object])
            mapping = Mapping.build(opened.columns, known_fields=known)
        check_required(mapping, NEW[settings.object])
        return cls(opened, mapping, settings)

    @property
    def done(self) -> int:
        """How many rows have an outcome."""
        return self.summary.outcomes

    @property
    def unread(self) -> int:
        """How many rows were not read."""
        return self.total - self.summary.read

    @property
    def unused(self) -> list[str]:
        """The columns that nothing maps."""
        return list(self._mapping.unused(self._source.columns))

    def stop(self) -> None:
        """Read no more rows; what is under way has 30 seconds to end. A second time: stop at once.

        Either way the journal tells where to go on.
        """
        if self.stopped and self._task is not None:
            self._task.cancel()
        elif self._task is not None:
            asyncio.get_running_loop().call_later(_GRACE, self._task.cancel)
        self.stopped = True
        self._stop.set()

    @asynccontextmanager
    async def opened(self, client: RouteraClient) -> AsyncIterator[None]:
        """Hold the journal and the file of rejects open; raises when either cannot be written.

        What cannot be written at the end is a `fault`: what was imported is to be told anyhow.
        """
        self._journal = await self._begun(client)
        try:
            self.rejects.begin()
            yield
        finally:
            with self._noted():
                self.rejects.close()
            if self._journal is not None:
                with self._noted():
                    await _close(self._journal)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except RouteraError as error:
            self.fault = self.fault or error

    async def run(
        self, client: RouteraClient, *, on_progress: Callable[[ImportProgress], None] | None = None
    ) -> None:
        """Create a record of each row, until the rows end, a fault stops it, or `stop` does."""
        began = asyncio.get_running_loop().time()
        objects: Objects[Any, Any] = getattr(client, self._settings.object)
        self._on_progress = on_progress
        self._task = asyncio.create_task(self._take(objects))
        try:
            await self._task
        except asyncio.CancelledError:
            await self._cut_off()
            if not self.stopped:
                raise
        except RouteraError as error:
            self.fault = self.fault or error
        finally:
            self.summary.seconds = asyncio.get_running_loop().time() - began
            self._task = None
        self._close_the_books()

    def rehearse(self) -> None:
        """Check each row as `run` would, and send nothing: a good row ends as not sent."""
        self.rejects = RejectsFile(self._source, rehearsed=True)
        with closing(Keys()) as keys, self.rejects:
            for row in islice(self._source.rows(), self._settings.limit):
                self.summary.read += 1
                self._took(self._rehearsed(row, keys), sent=False)
        self._close_the_books()

    async def _take(self, objects: Objects[Any, Any]) -> None:
        rows = await self._left_to_read()
        outcomes = objects.create_many(
            self._to_send(rows),
            parse=self._parsed,
            concurrency=self._settings.concurrency,
            journal=self._journal,
            bulk=self._settings.bulk,
            hooks=(guarded(self._heard, AttemptFinished, RetryScheduled), *self.hooks),
            stop=self._stop,
            start=self.summary.resumed,
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                self._took(outcome)
                self._moved.set()
                self._report()
        self._report(at_once=True)

    async def _left_to_read(self) -> Iterator[Row]:
        """Count the first rows, which earlier runs have decided, and return those after them.

        What they hold is read again, to its end, only when rejects have to be written or there are
        more rows.
        """
        rows = islice(self._source.rows(), self._settings.limit)
        if self._journal is None:
            return rows
        summary, decided = self.summary, await self._journal.decided(self.total)
        summary.created = decided.get("created", 0)
        summary.duplicate = decided.get("duplicate", 0)
        summary.rejected = decided.get("rejected", 0)
        summary.read = summary.resumed = summary.outcomes
        self._report(at_once=True)
        if summary.resumed == self.total and not summary.rejected:
            return iter(())
        async for outcome in rejected_again(self._journal, islice(rows, summary.resumed)):
            self._tell(outcome)
            self._report()
        self._stop_if_too_bad()
        return rows

    def _to_send(self, rows: Iterator[Row]) -> Iterator[Row] | AsyncIterator[Row]:
        """Return the rows, which are counted as they are read."""
        canary = self._settings.canary
        return self._counted(rows) if canary is None else self._with_canary(rows, canary)

    def _counted(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            if self._stop.is_set():
                return
            self.summary.read += 1
            yield row

    async def _with_canary(self, rows: Iterator[Row], canary: int) -> AsyncIterator[Row]:
        """Yield rows, and wait for the canary after its last."""
        for row in self._counted(islice(rows, max(0, canary - self.summary.read))):
            yield row
        if (first := next(rows, None)) is not None:
            await self._sing()
            for row in self._counted(chain([first], rows)):
                yield row

    async def _sing(self) -> None:
        """Wait until the canary's rows are done or in doubt, and ask whether to go on."""
        while self.done + self._in_doubt < self.summary.read and not self._stop.is_set():
            self._moved.clear()
            await self._moved.wait()
        if self._stop.is_set():
            return
        answer = asyncio.ensure_future(self.confirm(self._progress()))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({answer, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not self._stop.is_set() and not answer.result():
                self.declined = True
                self._stop.set()
        finally:
            answer.cancel()
            stopping.cancel()

    def _parsed(self, row: Row) -> dict[str, Any]:
        if (problem := row.problem or self.rejects.unfixed(row)) is not None:
            raise ValidationError(problem)
        return self._mapping.fields(row.values)

    def _took(self, outcome: Outcome[Any], *, sent: bool = True) -> None:
        self.summary.resumed += outcome.resumed
        self.summary.add(outcome.status)
        self._tell(outcome, sent=sent)
        if sent and self._settings.max_rejects is not None:
            self._stop_if_too_bad()

    def _tell(self, outcome: Outcome[Any], *, sent: bool = True) -> None:
        self.on_outcome(outcome)
        if self._is_reject(outcome.status, sent=sent):
            self.rejects.write(outcome.given, outcome.status, outcome.reason or str(outcome.error))

    def _stop_if_too_bad(self) -> None:
        if self.fault is None and self._is_too_bad():
            self.fault = ConfigurationError(
                f"{self.summary.rejected:,} of {self.done:,} rows are rejected, more than "
                f"max_rejects allows: look at {self.rejects.path}, and mend the mapping"
            )
            self._stop.set()  # what is under way may finish

    def _is_reject(self, status: OutcomeName, *, sent: bool) -> bool:
        """Say whether a row goes to the file: one that a journal has to be sent again does not."""
        if status in {"unknown", "not_sent"}:
            return sent and self._journal is None
        return status == "rejected"

    def _is_too_bad(self) -> bool:
        return too_many(self._settings.max_rejects, self.summary.rejected, self.done)

    def _rehearsed(self, row: Row, keys: Keys) -> Outcome[Any]:
        """Return what a row would be: one whose key an earlier row has is not sent."""
        status: OutcomeName = "not_sent"
        error = reason = None
        try:
            fields = to_fields(self._parsed(row), self._new)
            encode(fields)
            name = next((name for name in self._new.unique if fields.get(name)), None)
            first = keys.claim(str(fields[name]), row.number)[0] if name else row.number
            if first != row.number:
                status = "rejected" if self._settings.bulk.on_repeat == "reject" else "duplicate"
                reason = f"it repeats the {name} of row {first + 1:,}"
        except ValidationError as caught:
            status, error = "rejected", caught
        return Outcome(status=status, row=row.number, error=error, reason=reason, given=row)

    def _heard(self, event: Event) -> None:
        if isinstance(event, AttemptFinished):
            self.summary.requests += event.sent
        elif isinstance(event, RetryScheduled):
            self.summary.retries += 1
        elif isinstance(event, RowInDoubt):
            self._in_doubt += 1
            self._moved.set()

    def _report(self, *, at_once: bool = False) -> None:
        """Tell who asked how far it is, unless that was told just now."""
        if self._on_progress is None:
            return
        now = asyncio.get_running_loop().time()
        if at_once or now >= self._next_report:
            self._next_report = now + _EVERY
            self._on_progress(self._progress())

    def _progress(self) -> ImportProgress:
        return ImportProgress(self.total, self.done, attrs.evolve(self.summary))

    async def _cut_off(self) -> None:
        """Count what was under way: the journal knows what had been decided by then."""
        if self._journal is None:
            return
        with suppress(RouteraError):
            tally = await self._journal.tally()
            for status in ("created", "duplicate", "rejected", "unknown"):
                setattr(self.summary, status, tally[status])
            self.summary.unknown += tally["held"]
            told = sum(tally.values()) - tally["not_sent"]
            self.summary.read = max(self.summary.read, told)
            self.summary.not_sent = self.summary.read - told

    def _close_the_books(self) -> None:
        """Count what was cut off as unknown, and hold the tally to its law."""
        summary = self.summary
        missing = summary.read - summary.outcomes
        summary.unknown += missing
        whole = self.rejects.rows >= summary.rejected  # else it was cut off while it was resumed
        summary.rejects = str(self.rejects.path) if self.rejects.rows and whole else None
        summary.journal = None if self._journal is None else str(self._journal.path)
        if missing < 0 or not summary.conserves():
            raise AssertionError(f"the tally does not conserve: {summary}")

    async def _begun(self, client: RouteraClient) -> Journal | None:
        """Open the journal in a thread, and never leave it open when that is cut off."""
        opening = asyncio.ensure_future(asyncio.to_thread(self._opened_journal, client))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait([opening])
            if opening.exception() is None and (journal := opening.result()) is not None:
                await _close(journal)
            raise

    def _opened_journal(self, client: RouteraClient) -> Journal | None:
        source = self._source
        if (path := journal_path(source, self._settings)) is None:
            return None
        bound = {
            "object": self._settings.object,
            "mapping": self._mapping.as_text(),
            "derive_keys": self._settings.bulk.derive_keys,
        }
        return Journal.open(
            path,
            Binding(
                digest=source.digest(),
                target=self._settings.target or client.base_url,
                mapping=json.dumps(bound, sort_keys=True),
                survey=source.survey().as_text(),
            ),
        )


async def _close(journal: Journal) -> None:
    """Close a journal, and wait for that also when cut off: who begins again must find it free."""
    try:
        await journal.aclose()
    except asyncio.CancelledError:
        await journal.aclose()
        raise


async def _always(_: ImportProgress) -> bool:
    return True


def _total(source: Source, limit: int | None) -> int:
    rows = source.survey().rows
    return rows if limit is None else min(rows, limit)
