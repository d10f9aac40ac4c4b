"""Time limits that cost next to nothing until one passes: one timer of the loop for all of them.

`asyncio.timeout` sets a timer of the loop for each use, and cancels it: a tenth of what a whole
call costs. Here the loop has one timer, for the limit that ends first. When it rings, that one has
nearly always been kept long ago, and the timer is set for the first of those that are open still:
it rings about once in a time-out, and each limit ends on time.
"""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from heapq import heapify, heappop, heappush
from itertools import count
from types import TracebackType
from typing import Self

_FEW = 64
"""Limits that are over, kept until there are more of them than this and of those that are open."""

_NEVER = nullcontext()

_EMPTY = Context()
"""What the timer runs in, for it would hold the context of whoever set it, and then pass it on."""


class Limits:
    """The limits of one loop, and its one timer for them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._ends: list[tuple[float, int, Limit]] = []
        self._number = count()
        self._open = 0
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0

    def __len__(self) -> int:
        return len(self._ends)

    def until(self, when: float | None) -> "AbstractContextManager[Limit | None]":
        """Return a limit that ends at a time of the loop's, or with None never; for one use.

        One that has passed already ends in the loop's turn after the next.
        """
        return _NEVER if when is None else Limit(self, when)

    def add(self, limit: "Limit") -> None:
        """Watch a limit."""
        self._open += 1
        heappush(self._ends, (limit.when, next(self._number), limit))
        if self._timer is None or limit.when < self._rings_at:
            self._set(limit.when)

    def kept(self) -> None:
        """Count one limit less to watch: what it held has ended."""
        self._open -= 1
        if len(self._ends) > 2 * self._open + _FEW:
            self._ends = [each for each in self._ends if each[2].is_open]
            heapify(self._ends)

    def close(self) -> None:
        """Leave no timer behind, unless what a limit holds is still under way."""
        if self._timer is not None and not self._open:
            self._timer.cancel()
            self._timer = None
            self._ends.clear()

    def _set(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = when
        self._timer = self.loop.call_at(when, self._ring, context=_EMPTY)

    def _ring(self) -> None:
        self._timer = None
        now = max(self.loop.time(), self._rings_at)  # a loop rings up to its resolution early
        while self._ends and (self._ends[0][0] <= now or not self._ends[0][2].is_open):
            limit = heappop(self._ends)[2]
            if limit.is_open:
                self._open -= 1
                limit.end()
        if self._ends:
            self._set(self._ends[0][0])


class Limit:
    """Cancels what it holds when it ends, and raises `TimeoutError` then.

    It tells its own cancellation from any other by the rules of `asyncio.timeout`.
    """

    __slots__ = ("_cancelling", "_limits", "_task", "is_open", "when")

    def __init__(self, limits: Limits, when: float) -> None:
        self._limits = limits
        self.when = when
        self.is_open = True

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._limits.loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._limits.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task = self._task
        del self._task
        if self.is_open:
            self.is_open = False
            self._limits.kept()
        elif task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    @property
    def cancels(self) -> bool:
        """Whether it cancels what it holds, and nobody else does: to be asked inside of it."""
        return not self.is_open and self._task.cancelling() - 1 <= self._cancelling

    def end(self) -> None:
        """Cancel what it holds."""
        self.is_open = False
        self._task.cancel()
