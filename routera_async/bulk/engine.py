"""Rows in, outcomes out: bounded, whatever the number of rows.

A fixed number of workers pull from one iterator, so that neither a task nor a row waits in memory
for its turn. The engine neither sends nor retries: it is given `parse` and `write`.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from typing import Any, Generic, TypeVar

import attrs

from routera_async.errors import (
    Attempt,
    ConfigurationError,
    DuplicateError,
    ForbiddenError,
    NotFoundError,
    OutcomeName,
    RouteraError,
    UnauthorizedError,
    ValidationError,
)

T = TypeVar("T")
X = TypeVar("X")

_STOPS = (ConfigurationError, UnauthorizedError, ForbiddenError, NotFoundError)
"""Faults of the account or the settings: every further row would meet them too."""


@attrs.frozen(kw_only=True)
class Outcome(Generic[T]):
    """What is proven of one record of the input.

    `row` is its ordinal in the input, from 0, and `given` the record as it was given. `record` is
    what was created, or None when nothing was or its answer was lost. `error` is None exactly when
    the record was read back; `attempts` tells what each attempt met.
    """

    status: OutcomeName
    row: int
    external_id: str | None = None
    record: T | None = None
    error: RouteraError | None = None
    attempts: tuple[Attempt, ...] = ()
    given: Any = attrs.field(default=None, repr=False, eq=False)


Written = tuple[T, tuple[Attempt, ...]]
"""What `write` returns: the record as the server holds it, and the attempts that took."""


async def run(
    rows: Iterable[X] | AsyncIterable[X],
    *,
    parse: Callable[[X], Any],
    write: Callable[[Any], Awaitable[Written[T]]],
    concurrency: int,
) -> AsyncGenerator[Outcome[T]]:
    """Yield the outcome of each row as it is known, with at most `concurrency` under way.

    `parse` gives what is to be written of a row; a `ValidationError` that it raises rejects the
    row. No fault of a row is raised. A fault that every further row would meet stops the import:
    what is under way is still reported, and then it is raised, as is whatever `rows` itself raises.
    """
    work = _Work(rows, parse, write, concurrency)
    workers = [asyncio.create_task(work.go_on()) for _ in range(concurrency)]
    try:
        for _ in workers:  # each says None once, when it ends
            while (outcome := await work.done.get()) is not None:
                yield outcome
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    if work.stopped is not None:
        raise work.stopped


class _Work(Generic[X, T]):
    """What the workers of one run share."""

    def __init__(
        self,
        rows: Iterable[X] | AsyncIterable[X],
        parse: Callable[[X], Any],
        write: Callable[[Any], Awaitable[Written[T]]],
        concurrency: int,
    ) -> None:
        self.done: asyncio.Queue[Outcome[T] | None] = asyncio.Queue(maxsize=concurrency)
        self.stopped: BaseException | None = None
        self._rows = aiter(rows) if isinstance(rows, AsyncIterable) else _as_async(rows)
        self._parse = parse
        self._write = write
        self._turn = asyncio.Lock()  # an async generator cannot be advanced by two at once
        self._read = 0

    async def go_on(self) -> None:
        """Work until the rows end or something stops the import."""
        try:
            while (pulled := await self._pull()) is not None:
                await self.done.put(await self._outcome(*pulled))
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancelled():  # by `run`, which waits for no word any more
                raise
            self.stopped = self.stopped or error
        await self.done.put(None)

    async def _pull(self) -> tuple[int, X] | None:
        async with self._turn:
            if self.stopped is not None:
                return None
            try:
                row = await anext(self._rows)
            except StopAsyncIteration:
                return None
            self._read += 1
            return self._read - 1, row

    async def _outcome(self, number: int, row: X) -> Outcome[T]:
        key = None
        try:
            new = self._parse(row)
            key = _external_id(new)
            record, attempts = await self._write(new)
        except RouteraError as error:
            if isinstance(error, _STOPS):
                self.stopped = self.stopped or error
            return Outcome(
                status=_status(error),
                row=number,
                external_id=error.external_id or key,
                error=error,
                attempts=error.attempts,
                given=row,
            )
        return Outcome(
            status="created",
            row=number,
            external_id=key or getattr(record, "external_id", None),
            record=record,
            attempts=attempts,
            given=row,
        )


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


def _external_id(new: Any) -> str | None:
    if isinstance(new, Mapping):
        return new.get("external_id")
    return getattr(new, "external_id", None)


async def _as_async(rows: Iterable[X]) -> AsyncIterator[X]:
    for row in rows:
        yield row
