"""Many creates as one import: the engine under a limiter, by its books, reconciled at the end."""

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Sequence,
)
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

import attrs

from routera_async._hooks import Hook, guarded
from routera_async.errors import ConfigurationError, RouteraError
from routera_async.events import Event, ImportReconciling, RowInDoubt

from .books import (
    MOST_IN_DOUBT,
    ImportBooks,
    OnRepeat,
    Repeated,
    Undecided,
    derived_key,
    fields_of,
)
from .engine import Outcome, Written, run
from .journal import Entry, Journal
from .limiter import Limiter
from .reconcile import Doubt, Flat, Verdict, reconcile

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
X = TypeVar("X")


def _positive(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None and not (_is_number(value) and value > 0):
        raise ConfigurationError(f"{attribute.name} must be more than 0, not {value!r}")


def _not_negative(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not (_is_number(value) and value >= 0):
        raise ConfigurationError(f"{attribute.name} must be 0 or more, not {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@attrs.frozen(kw_only=True)
class Bulk:
    """How an import goes.

    `give_up_after` is how long an outage is waited out, in seconds, or None for ever, and
    `unreachable_after` the same while there was no answer at all yet. `rate` is in attempts per
    second, at the most, or None; it needs the extra `cli`. `on_repeat` is what becomes of a row
    whose key an earlier row of the input has ("first": a duplicate; "reject": rejected). With a
    journal, `derive_keys` gives each row without a key one that is made of the import's id and the
    row's number, so that it is safe to send again. With `reconcile`, rows whose answers were lost
    are looked for in the list at the end, after `quarantine` seconds where a request may still be
    running: with a journal all of them, and else those that a 409 has left in doubt.
    """

    give_up_after: float | None = attrs.field(default=1800.0, validator=_positive)
    unreachable_after: float = attrs.field(default=15.0, validator=_positive)
    rate: float | None = attrs.field(default=None, validator=_positive)
    on_repeat: OnRepeat = attrs.field(default="first")
    derive_keys: bool = True
    reconcile: bool = True
    quarantine: float = attrs.field(default=60.0, validator=_not_negative)

    @on_repeat.validator
    def _check_on_repeat(self, _: Any, value: Any) -> None:
        if value not in {"first", "reject"}:
            raise ConfigurationError(f"on_repeat must be first or reject, not {value!r}")


class Verbs(Protocol[T_co]):
    """What an import does with one kind of object."""

    @property
    def naming(self) -> frozenset[str]:
        """The fields without which nothing can be the same record."""

    def prepare(self, new: Any, key: str | None, *, doubtful: bool) -> Any:
        """Return what `write` takes; `key` is for a record that has none of its own."""

    def write(self, prepared: Any) -> Awaitable[Written[T_co]]:
        """Create a record."""

    def flat(self, names: frozenset[str]) -> AsyncIterable[Flat]:
        """List all active records with these properties, flat."""

    async def server_time(self) -> datetime | None:
        """Return what time it is by the server's clock, or None when it does not tell."""


async def create_many(
    rows: Iterable[X] | AsyncIterable[X],
    verbs: Callable[[Limiter], Verbs[T]],
    *,
    parse: Callable[[X], Any],
    concurrency: int,
    timeout: float,  # noqa: ASYNC109 (it is an attempt's)
    bulk: Bulk,
    journal: Journal | None = None,
    hooks: Sequence[Hook] = (),
    stop: asyncio.Event | None = None,
    start: int = 0,
    clock: Callable[[], float] = time.time,
) -> AsyncGenerator[Outcome[T]]:
    """Yield the outcome of each row as it is known; those in doubt at the end, when reconciled.

    `verbs` gives what an import does, through a limiter; `timeout` is an attempt's, in seconds.
    The first of `rows` is the input's row `start`; raises `ConfigurationError` unless the journal
    says that earlier runs have decided all before it. Once `stop` is set no row is sent any more.
    """
    await _check_start(start, journal)
    limiter = Limiter(
        concurrency,
        timeout=timeout,
        give_up_after=bulk.give_up_after,
        unreachable_after=bulk.unreachable_after,
        rate=bulk.rate,
        hooks=hooks,
    )
    books = ImportBooks(journal, on_repeat=bulk.on_repeat, derive=bulk.derive_keys, clock=clock)
    told = tuple(map(guarded, hooks))
    work = _Many(verbs(limiter), books, journal, bulk=bulk, hooks=told, stop=stop, clock=clock)
    stopping = None if stop is None else asyncio.create_task(_stop_when(stop, limiter))
    try:
        outcomes = run(
            rows,
            parse=parse,
            prepare=work.prepare,
            write=work.verbs.write,
            concurrency=concurrency,
            slots=limiter,
            books=books,
            start=start,
        )
        stopped: BaseException | None = None
        async with aclosing(outcomes):
            try:
                async for outcome in outcomes:
                    if not work.withholds(outcome):
                        yield outcome
            except Exception as error:  # noqa: BLE001 (it is raised again below)
                stopped = error
        for outcome in await work.settled(look=stopped is None and not limiter.over):
            yield outcome
        if journal is not None and stopped is None:
            await journal.flush()  # what was told is written, or this says that it cannot be
        if stopped := stopped or limiter.verdict:
            raise stopped
    finally:
        if stopping is not None:
            stopping.cancel()
            await asyncio.wait([stopping])
        limiter.close()
        books.close()


async def _check_start(start: int, journal: Journal | None) -> None:
    """Raise unless all rows before that one are decided, as a journal tells."""
    decided = await journal.decided(start) if journal is not None and start > 0 else {}
    if sum(decided.values()) != start:
        raise ConfigurationError(
            f"start={start:,} would leave out rows that no journal tells of as decided"
        )


async def _stop_when(stop: asyncio.Event, limiter: Limiter) -> None:
    await stop.wait()
    limiter.stop()


class _Many(Generic[T]):
    """What one import withholds until its end, and how that is settled."""

    def __init__(
        self,
        verbs: Verbs[T],
        books: ImportBooks,
        journal: Journal | None,
        *,
        bulk: Bulk,
        hooks: tuple[Hook, ...],
        stop: asyncio.Event | None,
        clock: Callable[[], float],
    ) -> None:
        self.verbs = verbs
        self._books = books
        self._journal = journal
        self._bulk = bulk
        self._hooks = hooks
        self._stop = stop
        self._clock = clock
        self._began = clock() if journal is None else journal.started

    def prepare(self, new: Any, row: int) -> Any:
        """Make a row ready to be sent."""
        books = self._books
        return self.verbs.prepare(new, books.key(row), doubtful=books.is_doubtful(row))

    def withholds(self, outcome: Outcome[Any]) -> bool:
        """Say whether an outcome is to be settled at the end; without a journal, held rows only."""
        undecided, repeats = self._books.undecided, self._books.repeats
        if not undecided and not repeats:
            return False
        withheld = False
        if self._bulk.reconcile and outcome.row in repeats:
            withheld = repeats[outcome.row].first in undecided
        elif self._bulk.reconcile and outcome.row in undecided:
            withheld = outcome.held or self._journal is not None
        if withheld:
            _tell(self._hooks, RowInDoubt(outcome.row))
        else:
            undecided.pop(outcome.row, None)
            repeats.pop(outcome.row, None)
        return withheld

    async def settled(self, *, look: bool) -> list[Outcome[T]]:
        """Return the outcomes that were withheld, reconciled if we are to look."""
        undecided = self._books.undecided
        verdicts: dict[int, Verdict] = {}
        if undecided and look:
            try:
                found = await _unless(self._stop, self._verdicts(undecided.values()))
                verdicts = {each.row: each for each in found or ()}
            except RouteraError as error:  # what was in doubt stays so
                verdicts = {
                    row: Verdict(
                        row=row,
                        status="unknown",
                        reason=f"{each.outcome.reason}; and the list could not be read: {error}",
                    )
                    for row, each in undecided.items()
                }
        for row, each in self._books.repeats.items():
            if (first := verdicts.get(each.first)) is not None:
                verdicts[row] = Verdict(row=row, status=each.status(first.status))
        withheld: dict[int, Undecided | Repeated] = {**undecided, **self._books.repeats}
        return [self._of(each.outcome, verdicts.get(row)) for row, each in sorted(withheld.items())]

    def _of(self, outcome: Outcome[T], verdict: Verdict | None) -> Outcome[T]:
        if verdict is None:
            return outcome
        if self._journal is not None and verdict.status != "unknown":
            self._journal.settle(
                verdict.row, verdict.status, id=verdict.id, reason=verdict.reason, proven=True
            )
        return attrs.evolve(
            outcome,
            status=verdict.status,
            id=verdict.id or outcome.id,
            reason=verdict.reason or outcome.reason,
        )

    def _doubts(self, undecided: Iterable[Undecided]) -> list[Doubt]:
        """Return the rows to look for, and those without a key that may be taken for them."""
        doubts = [_doubt(each, self.verbs.naming) for each in undecided]
        unkeyed = [doubt for doubt in doubts if doubt.key_name is None]
        if self._books.forgot_nameless:
            return [doubt for doubt in doubts if doubt.key_name is not None]
        if not unkeyed:
            return doubts
        began, now = _time(self._began), _time(self._clock())
        nameless = self._books.nameless.items()
        return doubts + [
            Doubt(
                row=row,
                fields=fields_of(body),
                first_sent=began,
                last_sent=now,
                naming=self.verbs.naming,
                sure=True,
            )
            for row, body in nameless
        ]

    async def _verdicts(self, undecided: Iterable[Undecided]) -> list[Verdict]:
        if not (doubts := self._doubts(undecided)):
            return []
        return await _verdicts(
            doubts,
            self.verbs,
            began=self._began,
            journal=self._journal,
            quarantine=self._bulk.quarantine,
            hooks=self._hooks,
            clock=self._clock,
        )


async def reconcile_journal(
    journal: Journal,
    verbs: Verbs[Any],
    *,
    unique: Sequence[str],
    last_sent: float,
    quarantine: float,
    hooks: Sequence[Hook] = (),
    clock: Callable[[], float] = time.time,
) -> list[Verdict]:
    """Settle the rows of a journal that are in doubt, by the list; return what it proves of each.

    Rows whose body the journal does not hold are passed over: an import sends those again.
    `unique` are the fields that the server keeps unique, and `last_sent` is when the last of the
    rows was sent at the latest, in seconds since the epoch.
    """
    doubts: list[Doubt] = []
    async for entry in journal.undecided():
        if entry.body is not None and len(doubts) < MOST_IN_DOUBT:
            doubts.append(_doubt_of_entry(entry, journal, unique, last_sent, verbs.naming))
    if not doubts:
        return []
    sure = [
        attrs.evolve(_doubt_of_entry(entry, journal, unique, last_sent, verbs.naming), sure=True)
        async for entry in journal.nameless()
    ]
    verdicts = await _verdicts(
        doubts + sure,
        verbs,
        began=journal.started,
        journal=journal,
        quarantine=quarantine,
        hooks=tuple(map(guarded, hooks)),
        clock=clock,
    )
    rows = {doubt.row for doubt in doubts}
    verdicts = [each for each in verdicts if each.row in rows]
    for each in verdicts:
        if each.status != "unknown":
            journal.settle(each.row, each.status, id=each.id, reason=each.reason, proven=True)
    return verdicts


async def _verdicts(
    doubts: Collection[Doubt],
    verbs: Verbs[Any],
    *,
    began: float,
    journal: Journal | None,
    quarantine: float,
    hooks: Sequence[Hook],
    clock: Callable[[], float],
) -> list[Verdict]:
    """Look for rows in the list; the times of the doubts are by our clock."""
    now = await verbs.server_time()
    behind = timedelta(0) if now is None else now - _time(clock())
    last = max(doubt.last_sent for doubt in doubts)
    waits = not all(doubt.held for doubt in doubts)
    seconds = max(0.0, last.timestamp() + quarantine - clock()) if waits else 0.0
    _tell(hooks, ImportReconciling(sum(not doubt.sure for doubt in doubts), seconds))

    async def wait() -> None:
        await asyncio.sleep(seconds)

    async def claimed(ids: Iterable[str]) -> set[str]:
        return set() if journal is None else await journal.owned(ids)

    return await reconcile(
        [
            attrs.evolve(
                doubt, first_sent=doubt.first_sent + behind, last_sent=doubt.last_sent + behind
            )
            for doubt in doubts
        ],
        began=_time(began) + behind,
        records=verbs.flat,
        claimed=claimed,
        wait=wait,
        quarantine=timedelta(seconds=quarantine),
    )


def _doubt(undecided: Undecided, naming: frozenset[str]) -> Doubt:
    new = undecided.new
    return Doubt(
        row=undecided.outcome.row,
        fields=fields_of(new.body),
        first_sent=_time(undecided.first_sent),
        last_sent=_time(undecided.last_sent),
        key_name=new.key_name,
        ours=new.key is not None and new.own is None,
        held=undecided.outcome.held,
        naming=naming,
    )


def _doubt_of_entry(
    entry: Entry, journal: Journal, unique: Sequence[str], last_sent: float, naming: frozenset[str]
) -> Doubt:
    assert entry.body is not None
    fields = fields_of(entry.body)
    return Doubt(
        row=entry.row,
        fields=fields,
        first_sent=_time(journal.started if entry.sent is None else entry.sent),
        last_sent=_time(last_sent),
        key_name=next((name for name in unique if fields.get(name)), None),
        ours=fields.get("external_id") == derived_key(journal, entry.row),
        held=entry.status == "held",
        naming=naming,
    )


async def _unless(stop: asyncio.Event | None, work: Coroutine[Any, Any, T]) -> T | None:
    """Return what work does, or None when it is stopped before it has ended."""
    if stop is None:
        return await work
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([doing, stopping], return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        doing.cancel()
        stopping.cancel()
        await asyncio.gather(doing, stopping, return_exceptions=True)


def _tell(hooks: Sequence[Hook], event: Event) -> None:
    for hook in hooks:
        hook(event)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
