"""Many creates as one import: the engine under a limiter, by its books, reconciled at the end."""

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

import attrs

from routera_async.errors import ConfigurationError, RouteraError
from routera_async.events import Hook

from .books import ImportBooks, OnRepeat, Repeated, Undecided, fields_of
from .engine import Outcome, Written, run
from .journal import Journal
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

    `give_up_after` is how long an outage is waited out, in seconds, or None for ever. `rate` is in
    attempts per second, at the most, or None; it needs the extra `cli`. With a journal, `on_repeat`
    is what becomes of a row whose key an earlier row of the input has ("first": a duplicate;
    "reject": rejected), and `derive_keys` gives each row without a key one that is made of the
    import's id and the row's number, so that it is safe to send again. With `reconcile`, rows whose
    answers were lost are looked for in the list at the end, after `quarantine` seconds where a
    request may still be running.
    """

    give_up_after: float | None = attrs.field(default=1800.0, validator=_positive)
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

    async def write(self, prepared: Any) -> Written[T_co]:
        """Create a record."""

    def flat(self, names: frozenset[str]) -> AsyncIterable[Flat]:
        """List all active records with these properties, flat."""

    async def server_time(self) -> datetime:
        """Return what time it is by the server's clock."""


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
    clock: Callable[[], float] = time.time,
) -> AsyncGenerator[Outcome[T]]:
    """Yield the outcome of each row as it is known; those in doubt at the end, when reconciled.

    `verbs` gives what an import does, through a limiter; `timeout` is an attempt's, in seconds.
    Once `stop` is set no row is sent any more.
    """
    limiter = Limiter(
        concurrency,
        timeout=timeout,
        give_up_after=bulk.give_up_after,
        rate=bulk.rate,
        hooks=hooks,
    )
    books = ImportBooks(journal, on_repeat=bulk.on_repeat, derive=bulk.derive_keys, clock=clock)
    work = _Many(verbs(limiter), books, journal, bulk, clock)
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
        if stopped := stopped or limiter.verdict:
            raise stopped
    finally:
        if stopping is not None:
            stopping.cancel()
        limiter.close()
        books.close()


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
        bulk: Bulk,
        clock: Callable[[], float],
    ) -> None:
        self.verbs = verbs
        self._books = books
        self._journal = journal
        self._bulk = bulk
        self._clock = clock
        self._began = clock() if journal is None else journal.started

    def prepare(self, new: Any, row: int) -> Any:
        """Make a row ready to be sent."""
        books = self._books
        return self.verbs.prepare(new, books.key(row), doubtful=books.is_doubtful(row))

    def withholds(self, outcome: Outcome[Any]) -> bool:
        """Say whether an outcome is to be settled at the end; without a journal, held rows only."""
        undecided = self._books.undecided
        if outcome.row in self._books.repeats and self._bulk.reconcile:
            return True
        if outcome.row not in undecided:
            return False
        if self._bulk.reconcile and (outcome.held or self._journal is not None):
            return True
        del undecided[outcome.row]
        return False

    async def settled(self, *, look: bool) -> list[Outcome[T]]:
        """Return the outcomes that were withheld, reconciled if we are to look."""
        undecided = self._books.undecided
        verdicts: dict[int, Verdict] = {}
        if undecided and look:
            with suppress(RouteraError):  # the list cannot be had: what was in doubt stays so
                verdicts = {each.row: each for each in await self._verdicts(undecided.values())}
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

    async def _verdicts(self, undecided: Iterable[Undecided]) -> list[Verdict]:
        behind = await self.verbs.server_time() - _time(self._clock())
        doubts = [_doubt(each, behind, self.verbs.naming) for each in undecided]
        last = max(each.last_sent for each in undecided)

        async def wait() -> None:
            await asyncio.sleep(max(0.0, last + self._bulk.quarantine - self._clock()))

        return await reconcile(
            doubts,
            began=_time(self._began) + behind,
            records=self.verbs.flat,
            claimed=self._claimed,
            wait=wait,
            quarantine=timedelta(seconds=self._bulk.quarantine),
        )

    async def _claimed(self, ids: Iterable[str]) -> set[str]:
        return set() if self._journal is None else await self._journal.owned(ids)


def _doubt(undecided: Undecided, behind: timedelta, naming: frozenset[str]) -> Doubt:
    new = undecided.new
    return Doubt(
        row=undecided.outcome.row,
        fields=fields_of(new.body),
        first_sent=_time(undecided.first_sent) + behind,
        last_sent=_time(undecided.last_sent) + behind,
        key_name=new.key_name,
        ours=new.key is not None and new.own is None,
        held=undecided.outcome.held,
        naming=naming,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
