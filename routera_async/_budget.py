"""The tokens that retries share: what keeps a client from making an outage worse.

Finagle's and the AWS SDKs' retry budgets, but for one thing: a retry that finds no token waits for
one, oldest first, where theirs fail. Calls and imports have tokens of their own: a `Lane` each.
"""

import asyncio
from collections import deque

from .retries import RetryBudget

_ONE = 1 - 1e-9
"""A token, but for what floating point loses while it returns."""


class Bucket:
    """The tokens of one lane on the running loop, kept as its `RetryBudget` says."""

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._tokens = float(budget.capacity)
        self._as_of = self._loop.time()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def tokens(self) -> float:
        """How many there are now, for whoever asks, on whichever thread."""
        return self._at(self._loop.time())

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._waiting)

    async def take(self) -> None:
        """Take a token, waiting for one behind those who wait already."""
        self._refill()
        if self._tokens >= _ONE and not self._waiting:
            self._tokens -= 1
            return
        granted: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(granted)
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if not granted.cancelled():
                self.give(1.0)  # granted in the very moment of the cancellation
            elif granted in self._waiting:
                self._waiting.remove(granted)
            raise

    def succeeded(self) -> None:
        """Add what a call that succeeded at its first attempt earns."""
        if self._waiting or self._tokens < self._budget.capacity:
            self.give(self._budget.per_success)

    def give(self, tokens: float) -> None:
        """Put tokens back, and let those go on who waited for them."""
        self._refill()
        self._tokens = min(self._tokens + tokens, self._budget.capacity)
        self._grant()

    def _refill(self) -> None:
        now = self._loop.time()
        self._tokens = self._at(now)
        self._as_of = now

    def _at(self, now: float) -> float:
        earned = (now - self._as_of) * self._budget.per_second
        return min(self._tokens + earned, self._budget.capacity)

    def _grant(self) -> None:
        while self._waiting and self._tokens >= _ONE:
            granted = self._waiting.popleft()
            if not granted.cancelled():  # whoever waited has been cancelled, and is yet to see it
                self._tokens -= 1
                granted.set_result(None)
        if self._waiting and self._timer is None and self._budget.per_second > 0:
            wait = (1 - self._tokens) / self._budget.per_second
            self._timer = self._loop.call_later(wait, self._due)

    def _due(self) -> None:
        self._timer = None
        self._refill()
        self._grant()


class Lane(dict[RetryBudget, Bucket]):
    """The tokens of a client's calls, or of its imports: a bucket for each budget that was used.

    All retries of the lane under equal budgets share one. Neither lane has the other's, so that no
    call waits for what an import's retries hold.
    """

    def __missing__(self, budget: RetryBudget) -> Bucket:
        bucket = self[budget] = Bucket(budget)
        return bucket

    def left(self, budget: RetryBudget) -> float:
        """Return how many tokens of a budget there are."""
        bucket = self.get(budget)
        return budget.capacity if bucket is None else bucket.tokens

    @property
    def waiting(self) -> int:
        """How many wait for a token."""
        return sum(each.waiting for each in list(self.values())) if self else 0
