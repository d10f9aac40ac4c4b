"""Rows in, outcomes out: bounded, whatever the number of rows.

A fixed number of workers pull from one iterator, so that neither a task nor a row waits in memory
for its turn. The engine neither sends nor retries: it is given `parse`, `prepare` and `write`. What
it knows of earlier runs, and writes down before a row is sent, it knows by its `Books`.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from typing import Any, Generic, Protocol, TypeVar

import attrs

from routera_async.errors import (
    Attempt,
    ConfigurationError,
    DuplicateError,
    ForbiddenError,
    JournalError,
    NotFoundError,
    NotSentError,
    OutcomeName,
    RouteraError,
    UnauthorizedError,
    ValidationError,
)

T = TypeVar("T")
X = TypeVar("X")

_STOPS = (ConfigurationError, UnauthorizedError, ForbiddenError, NotFoundError, JournalError)
"""Faults of the account, the settings or the disk: every further row would meet them too."""


@attrs.frozen(kw_only=True)
class Outcome(Generic[T]):
    """What is proven of one record of the input.

    `row` is its ordinal in the input, from 0, and `given` the record as it was given. `record` is
    what was created, or None when nothing was or its answer was lost; `id` is its id where that
    much is known. `error` is None when the record was read back, or when `resumed`: then an
    earlier run found this out, and `reason` is what it wrote down. `attempts` tells what each
    attempt of this run met.
    """

    status: OutcomeName
    row: int
    external_id: str | None = None
    id: str | None = None
    record: T | None = None
    error: RouteraError | None = None
    reason: str | None = None
    attempts: tuple[Attempt, ...] = ()
    resumed: bool = False
    given: Any = attrs.field(default=None, repr=False, eq=False)

    @property
    def held(self) -> bool:
        """Whether a 409 followed a lost attempt of our own: the record is ours, or was there."""
        return self.status == "unknown" and isinstance(self.error, DuplicateError)


Written = tuple[T, tuple[Attempt, ...]]
"""What `write` returns: the record as the server holds it, and the attempts that took."""


class Books(Protocol):
    """What is known of the rows of an import, and what must be written down of them."""

    @property
    def may_know(self) -> bool:
        """Whether an earlier run may have found out anything of the next row."""

    async def known(self, row: int, given: Any) -> Outcome[Any] | None:
        """Return what an earlier run has found out of a row, or None when it is to be sent."""

    def awaits(self, row: int, new: Any) -> Awaitable[object] | None:
        """Return what a row must wait for before it is opened, and ask again; None: nothing."""

    def opens(self, row: int, new: Any, given: Any) -> Outcome[Any] | None:
        """Return the outcome of a row that must not be sent, or None."""

    def intends(self, row: int, new: Any) -> Awaitable[None] | None:
        """Write down that a row is about to be sent; return what is done when that is on disk.

        Either raises a `RouteraError` when it must not be sent.
        """

    def closes(self, new: Any, outcome: Outcome[Any]) -> Outcome[Any]:
        """Write down what became of a row; return that in the light of earlier runs.

        `new` is None for a row that could not be prepared. Raises nothing.
        """

    def drops(self, row: int) -> None:
        """Hear that nothing will be known of a row that was opened."""


class _NoBooks:
    """An import of which nothing is known, nor written down."""

    may_know = False

    async def known(self, row: int, given: Any) -> None:
        """Know nothing."""

    def awaits(self, row: int, new: Any) -> None:
        """Let no row wait."""

    def opens(self, row: int, new: Any, given: Any) -> None:
        """Let every row be sent."""

    def intends(self, row: int, new: Any) -> None:
        """Write nothing down."""

    def closes(self, new: Any, outcome: Outcome[Any]) -> Outcome[Any]:  # noqa: ARG002 (a Books')
        """Return the same outcome."""
        return outcome

    def drops(self, row: int) -> None:
        """Do nothing."""


class Slots(Protocol):
    """How many rows may be under way."""

    def take_now(self) -> bool:
        """Take a place for one row if there is a free one: else `take` waits for it."""

    async def take(self) -> None:
        """Take a place for one row; raises `NotSentError` when there will be none any more."""

    def give_back(self) -> None:
        """Give a place back."""

    def rows_ended(self) -> None:
        """Hear that no row will follow."""

    def stop(self) -> None:
        """Give no place any more; who has one goes on."""

    @property
    def over(self) -> bool:
        """Whether there will be no place any more."""


class _Unlimited:
    """As many places as there are workers."""

    over = False

    def take_now(self) -> bool:
        return True

    async def take(self) -> None:
        """Do nothing."""

    def give_back(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def rows_ended(self) -> None:
        """Do nothing."""


async def run(
    rows: Iterable[X] | AsyncIterable[X],
    *,
    parse: Callable[[X], Any],
    write: Callable[[Any], Awaitable[Written[T]]],
    concurrency: int,
    prepare: Callable[[Any, int], Any] | None = None,
    slots: Slots | None = None,
    books: Books | None = None,
    start: int = 0,
) -> AsyncGenerator[Outcome[T]]:
    """Yield the outcome of each row as it is known, with at most `concurrency` under way.

    The first of `rows` is the input's row `start`.

    `parse` gives what is to be written of a row, and `prepare` makes it, with the row's number,
    what `write` takes; a `ValidationError` that either raises rejects the row. No fault of a row is
    raised. A fault that every further row would meet stops the import: what is under way is still
    reported, and then it is raised, as is whatever `rows` itself raises.
    """
    work = _Work(rows, parse, prepare or _as_parsed, write, concurrency, slots, books, start)
    workers = [asyncio.create_task(work.go_on()) for _ in range(concurrency)]
    try:
        ended = 0
        while ended < concurrency:  # each worker says None once, when it ends
            outcome = await work.done.get() if work.done.empty() else work.done.get_nowait()
            if outcome is None:
                ended += 1
            else:
                yield outcome
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    if work.stopped is not None:
        raise work.stopped


class _Work(Generic[X, T]):
    """What the workers of one run share."""

    def __init__(  # noqa: PLR0917 (`run` gives them in this order)
        self,
        rows: Iterable[X] | AsyncIterable[X],
        parse: Callable[[X], Any],
        prepare: Callable[[Any, int], Any],
        write: Callable[[Any], Awaitable[Written[T]]],
        concurrency: int,
        slots: Slots | None,
        books: Books | None,
        start: int,
    ) -> None:
        self.done: asyncio.Queue[Outcome[T] | None] = asyncio.Queue(maxsize=concurrency)
        self.stopped: BaseException | None = None
        self._rows = aiter(rows) if isinstance(rows, AsyncIterable) else None
        self._at_hand = iter(()) if isinstance(rows, AsyncIterable) else iter(rows)
        self._parse = parse
        self._prepare = prepare
        self._write = write
        self._slots = slots or _Unlimited()
        self._books: Books = books or _NoBooks()
        self._turn = asyncio.Lock()  # no two advance an async generator, nor overtake what is asked
        self._read = start

    async def go_on(self) -> None:
        """Work until the rows end or something stops the import."""
        try:
            while (pulled := self._pull_now() if self._flows else await self._pull()) is not None:
                outcome = await self._outcome(*pulled)
                if self.done.full():
                    await self.done.put(outcome)
                else:
                    self.done.put_nowait(outcome)
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancelled():  # by `run`, which waits for no word any more
                raise
            self.stopped = self.stopped or error
        await self.done.put(None)

    async def _pull(self) -> tuple[int, X] | None:
        """Return the next row that is to be sent; report those that need not be."""
        async with self._turn:
            while (pulled := await self._next()) is not None:
                if not self._books.may_know or (known := await self._known(*pulled)) is None:
                    return pulled
                await self.done.put(known)
        return None

    async def _next(self) -> tuple[int, X] | None:
        if self._rows is None:
            return self._pull_now()
        if self.stopped is None and not self._slots.over:
            async for row in self._rows:
                return self._numbered(row)
            self._slots.rows_ended()
        return None

    @property
    def _flows(self) -> bool:
        """Whether the next row is at hand, and to be sent."""
        return self._rows is None and not self._books.may_know and not self._turn.locked()

    def _pull_now(self) -> tuple[int, X] | None:
        if self.stopped is None and not self._slots.over:
            for row in self._at_hand:
                return self._numbered(row)
            self._slots.rows_ended()
        return None

    def _numbered(self, row: X) -> tuple[int, X]:
        self._read += 1
        return self._read - 1, row

    async def _known(self, number: int, row: X) -> Outcome[T] | None:
        """Return what an earlier run has found out of a row; unknown when that cannot be read."""
        try:
            return await self._books.known(number, row)
        except RouteraError as error:
            self.stopped = self.stopped or error
            reason = str(error)
            return Outcome(status="unknown", row=number, error=error, reason=reason, given=row)

    async def _outcome(self, number: int, row: X) -> Outcome[T]:
        books, new, key = self._books, None, None
        try:
            parsed = self._parse(row)
            key = _external_id(parsed)
            new = self._prepare(parsed, number)
            while (earlier := books.awaits(number, new)) is not None:
                await earlier
            if (decided := books.opens(number, new, row)) is not None:
                return decided
            if not self._slots.take_now():
                await self._slots.take()
            try:
                self._check_that_it_goes_on()
                if (intended := books.intends(number, new)) is not None:
                    await intended
                record, attempts = await self._write(new)
            finally:
                self._slots.give_back()
        except RouteraError as error:
            if isinstance(error, _STOPS):
                self.stopped = self.stopped or error
                self._slots.stop()
            outcome = Outcome[T](
                status=_status(error),
                row=number,
                external_id=error.external_id or key,
                id=getattr(error, "id", None),
                error=error,
                reason=str(error),
                attempts=error.attempts,
                given=row,
            )
        except BaseException:
            books.drops(number)
            raise
        else:
            outcome = Outcome(
                status="created",
                row=number,
                external_id=key or getattr(record, "external_id", None),
                id=getattr(record, "id", None),
                record=record,
                attempts=attempts,
                given=row,
            )
        return books.closes(new, outcome)

    def _check_that_it_goes_on(self) -> None:
        """Raise for a row that was waiting for its turn when a fault stopped the import."""
        if isinstance(self.stopped, _STOPS):
            raise NotSentError("the import was stopped before this row was sent")


def _is_cancelled() -> bool:
    """Tell a cancellation of this very task from one that `rows` or `write` met elsewhere."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _status(error: RouteraError) -> OutcomeName:
    """Return what an error says of the row: a fault of the account is none of the row's."""
    if isinstance(error, ValidationError):
        return "rejected"
    if isinstance(error, DuplicateError) and error.ours and error.outcome == "duplicate":
        return "unknown"  # the record is ours, whose answer was lost, or somebody else's
    if isinstance(error, _STOPS) and error.outcome == "rejected":
        return "not_sent"
    return error.outcome


def _as_parsed(new: Any, _: int) -> Any:
    return new


def _external_id(new: Any) -> str | None:
    """Return the key that a row has; what is no text is none to tell."""
    if type(new) is dict or isinstance(new, Mapping):  # the second takes five times as long
        key = new.get("external_id")
    else:
        key = getattr(new, "external_id", None)
    return key if type(key) is str or isinstance(key, str) else None
