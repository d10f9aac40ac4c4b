"""Never more than so many attempts in any second: pyrate-limiter on the loop's clock."""

import asyncio
import math
from collections.abc import Callable

from routera_async.errors import ConfigurationError


class Rate:
    """At most `per_second` in any second, in the order in which they ask.

    Below 1 it is one in so many seconds; above, what is not whole is rounded down, for nothing
    else keeps to it in every second. Raises `ConfigurationError` without pyrate-limiter, or for a
    rate that lets nothing through.
    """

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        if not 0 < per_second < math.inf:
            raise ConfigurationError(f"rate must be more than 0 a second, not {per_second!r}")
        try:
            import pyrate_limiter  # noqa: PLC0415 (an optional dependency)
        except ImportError:
            raise ConfigurationError(
                "a rate needs pyrate-limiter: pip install 'routera-async[bulk]'"
            ) from None
        self.per_second = per_second
        count, seconds = (math.floor(per_second), 1.0) if per_second >= 1 else (1, 1 / per_second)
        self._bucket = pyrate_limiter.InMemoryBucket(
            [pyrate_limiter.Rate(count, math.ceil(seconds * 1000))]
        )
        self._item = pyrate_limiter.RateItem
        self._clock = clock
        self._turn = asyncio.Lock()

    async def take(self) -> None:
        """Wait until one more keeps to the rate."""
        async with self._turn:
            while (wait := self._asked()) > 0:  # noqa: ASYNC110 (it waits for time, no event)
                await asyncio.sleep(wait)

    def _asked(self) -> float:
        """Take one now and return 0, or return the seconds until it is worth asking again."""
        now = int(self._clock() * 1000)
        item = self._item("attempt", now)
        self._bucket.leak(now)
        if self._bucket.put(item):
            return 0.0
        wait = self._bucket.waiting(item)
        assert isinstance(wait, int)  # it is awaited only of a bucket elsewhere
        return max(wait, 1) / 1000
