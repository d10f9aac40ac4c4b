"""A file into Routera, row by row: what `routera import` does, for anybody's code.

    async with RouteraClient.from_env() as routera:
        summary = await import_file(routera, "tickets.csv", mapping=Mapping.build(...))

The import is written down in FILE.journal. Killed at any moment and begun again with the same
arguments, it goes on where it was: nothing is lost, and nothing is created twice.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from collections.abc import Mapping as Counts
from contextlib import aclosing, asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import attrs

from ._codec import encode, to_fields
from ._shapes import field_names, required_fields
from .bulk.engine import Outcome
from .bulk.journal import Binding, Journal, Status
from .bulk.keys import Keys
from .bulk.many import Bulk
from .bulk.mapping import Mapping
from .bulk.readers import Row, Source, Survey, open_source
from .bulk.report import RejectsFile, Summary
from .client import RouteraClient
from .errors import ConfigurationError, OutcomeName, RouteraError, ValidationError
from .events import AttemptFinished, Event, Hook, RetryScheduled, RowInDoubt
from .models import New
from .resources import KINDS, Objects

ObjectName = Literal["tickets", "contacts", "companies", "deals"]
"""What a file may hold, one in each row."""

NEW = dict(KINDS.values())
"""What is created of a row, by the name of its kind."""

_GRACE = 30.0
"""Seconds that a stopped import gives to what is under way."""

_EVERY = 0.25
"""Seconds between two reports of progress."""

_BREATH = 1_000
"""Rows that are passed over before others on the loop have their turn."""


@attrs.frozen
class ImportProgress:
    """How far an import is: `done` of `total` rows, of which `summary` tells what became."""

    total: int
    done: int
    summary: Summary


@attrs.frozen(kw_only=True)
class ImportSettings:
    """How a file is imported, beside its mapping.

    `object` is what each row is. `concurrency` is how many creates are under way at the most.
    `limit` is how many rows are read. `max_rejects` stops an import with more rejected rows than
    that, for its mapping is wrong then: a number, or a share such as "5%" once 100 rows are done.
    `canary` is how many rows are done before `confirm` is asked whether to go on. `journal` is
    where the import is written down: beside the file when True, and nowhere when False; `target`
    names where to, for the journal, when the base URL does not.
    """

    object: ObjectName = "tickets"
    concurrency: int = 32
    limit: int | None = None
    max_rejects: int | str | None = None
    canary: int | None = None
    journal: bool | Path = True
    target: str | None = None
    bulk: Bulk = attrs.field(factory=Bulk)

    def __attrs_post_init__(self) -> None:
        if self.object not in NEW:
            raise ConfigurationError(f"object must be one of {', '.join(NEW)}, not {self.object!r}")
        for name in ("limit", "canary"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigurationError(f"{name} must be 0 or more, not {value!r}")
        _too_many(self.max_rejects, 0, 0)


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
    each row's outcome, but for those that earlier runs have created; `hooks` of what happens
    meanwhile.
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
        _check_required(mapping, NEW[settings.object])
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
        self._task = asyncio.create_task(self._take(objects, on_progress))
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

    async def _take(
        self, objects: Objects[Any, Any], on_progress: Callable[[ImportProgress], None] | None
    ) -> None:
        loop = asyncio.get_running_loop()
        next_report = loop.time()
        decided = await self._decided()
        outcomes = objects.create_many(
            await self._ahead(decided),
            parse=self._parsed,
            concurrency=self._settings.concurrency,
            journal=self._journal,
            bulk=self._settings.bulk,
            hooks=(self._heard, *self.hooks),
            stop=self._stop,
            start=sum(decided.values()),
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                self._took(outcome)
                self._moved.set()
                if on_progress is not None and loop.time() >= next_report:
                    next_report = loop.time() + _EVERY
                    on_progress(self._progress())
        if on_progress is not None:
            on_progress(self._progress())

    async def _decided(self) -> dict[Status, int]:
        """Count the first rows, which earlier runs have decided, by their status."""
        if self._journal is None:
            return {}
        decided = await self._journal.decided(self.total)
        self.summary.created = decided.get("created", 0)
        self.summary.duplicate = decided.get("duplicate", 0)
        self.summary.read = self.summary.resumed = self.summary.outcomes
        return decided

    async def _ahead(self, decided: Counts[Status, int]) -> Iterator[Row] | AsyncIterator[Row]:
        """Return the rows after those that are decided."""
        passed = sum(decided.values())
        if passed == self.total and not decided.get("rejected"):
            return iter(())
        rows = islice(self._source.rows(), self._settings.limit)
        if passed:
            await self._pass_over(islice(rows, passed))
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
        ahead = self._counted(islice(rows, max(0, canary - self.summary.read)))
        for row in ahead:
            yield row
        if (first := next(rows, None)) is not None:
            await self._sing()
            for row in self._counted(chain([first], rows)):
                yield row

    async def _pass_over(self, rows: Iterator[Row]) -> None:
        """Read past rows that are decided; those that are rejected go to their file again."""
        assert self._journal is not None
        async with aclosing(self._journal.rejected()) as rejected:
            entry = await anext(rejected, None)
            for row in rows:
                if entry is not None and entry.row == row.number:
                    self.summary.read += 1
                    self._took(
                        Outcome(
                            status="rejected",
                            row=row.number,
                            reason=entry.reason,
                            resumed=True,
                            given=row,
                        )
                    )
                    entry = await anext(rejected, None)
                if row.number % _BREATH == 0:
                    await asyncio.sleep(0)

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
        self.on_outcome(outcome)
        if self._is_reject(outcome.status, sent=sent):
            self.rejects.write(outcome.given, outcome.status, outcome.reason or str(outcome.error))
        if self.fault is None and sent and self._is_too_bad():
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
        return _too_many(self._settings.max_rejects, self.summary.rejected, self.done)

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
        summary.rejects = str(self.rejects.path) if self.rejects.rows else None
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
        if (path := _journal_path(source, self._settings)) is None:
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


def open_input(path: str | Path, settings: ImportSettings) -> Source:
    """Open a file to import; what an earlier run has found in it need not be found again.

    Raises `ConfigurationError` when the file cannot be an input.
    """
    source = open_source(path)
    where = _journal_path(source, settings)
    bound = None if where is None else Journal.peek(where)
    if (
        bound is not None
        and (survey := Survey.of_text(bound.survey)) is not None
        and bound.digest == source.digest()
    ):
        source.recall(survey)
    return source


def _journal_path(source: Source, settings: ImportSettings) -> Path | None:
    """Return where an import is written down, or None for nowhere."""
    where = settings.journal
    if where is True:
        return source.path.with_name(f"{source.path.name}.journal")
    return None if where is False else where


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


def _check_required(mapping: Mapping, new: type[New]) -> None:
    filled = {setting.field for setting in mapping.settings}
    for name in required_fields(new):
        if name not in filled:
            raise ConfigurationError(
                f"nothing fills {name}, which every {_one(new)} needs: "
                f"add --map {name}=COLUMN, --set {name}=VALUE or --template"
            )
    if new.needs_one and not filled & set(new.needs_one):
        raise ConfigurationError(
            f"nothing fills one of {', '.join(new.needs_one)}, which every {_one(new)} needs: "
            f"add --map {new.needs_one[0]}=COLUMN"
        )


def _one(new: type[New]) -> str:
    return new.__name__.removeprefix("New").lower()


def _too_many(allowed: int | str | None, rejected: int, done: int) -> bool:
    """Say whether more rows are rejected than are allowed; raises for what allows nothing."""
    if allowed is None:
        return False
    text = str(allowed).strip()
    number = text.removesuffix("%")
    if not number.isascii() or not number.isdigit():
        raise ConfigurationError(f'max_rejects must be a number or a share ("5%"), not {allowed!r}')
    if not text.endswith("%"):
        return rejected > int(number)
    return done >= 100 and rejected * 100 > int(number) * done  # noqa: PLR2004 (per cent)
