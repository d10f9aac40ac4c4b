"""Each event loop's connections, and the fair queue in front of them."""

import asyncio
import threading
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING
from weakref import WeakSet

from aiohttp import ClientRequest, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from ._budget import Lane
from ._limits import Limits
from .errors import ConfigurationError, Overloaded
from .retries import RetryBudget

if TYPE_CHECKING:
    from .stats import Stats

NO_TIMEOUT = ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
"""aiohttp's own time-outs are off: they count the wait for the pool, and fire in waves."""

_KEEP_ALIVE = 15.0
"""Seconds an idle connection is kept, shorter than common servers and gateways keep theirs."""

_FEW = 64
"""Places that nobody wants any more, kept until there are more of them than this and of others."""

_DRAIN = 30.0
"""Seconds that `drain` waits for calls in flight."""


_LATEST = 1_000
"""Of so many attempts the waits are known, on each loop."""


_BUFFER = 2**19
"""Bytes, more than the 256 KiB into which asyncio reads whatever an answer holds."""


def _keep_buffers_at_hand() -> None:
    """Have the C library take such buffers from its heap, as it does in most large processes.

    glibc maps and unmaps memory for each, until one that is larger was mapped and let go
    (mallopt(3), M_MMAP_THRESHOLD): 13 µs for each answer, a sixth of what a call costs. Elsewhere,
    and where the heap has a hole of that size, this does nothing.
    """
    bytes(_BUFFER)


class Counts:
    """What one loop's part of a client has done so far."""

    __slots__ = ("failed", "opened", "requests", "retries", "reused")

    def __init__(self) -> None:
        self.requests = self.failed = self.retries = self.opened = self.reused = 0

    def add(self, *others: "Counts") -> "Counts":
        """Add what others have done, and return it."""
        for other in others:
            for name in Counts.__slots__:
                setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


class Pools:
    """The pools of one client and of its copies: one for each event loop that runs.

    `http` is the caller's own session, or None for one of our own on each loop.
    """

    def __init__(self, limit: int, http: ClientSession | None) -> None:
        self.limit = limit
        self._http = http
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        self._counted: tuple[Counts, ...] = (Counts(),)
        """What pools that are forgotten have done, and then what each that is known has.

        It is replaced as a whole, by one thread at a time: whoever asks meanwhile, on whichever
        thread, counts each pool once.
        """
        self._replacing = threading.Lock()
        self._closed = False

    def __len__(self) -> int:
        return len(self._pools)

    def here(self) -> "Pool":
        """Return the running loop's pool, for a call that is under way in it.

        Raises `ConfigurationError` when a closing has not waited for that any longer.
        """
        pool = self._pools.get(asyncio.get_running_loop())
        if pool is None:
            raise ConfigurationError("the client was closed before the call had a token")
        return pool

    def opened(self) -> "Pool | None":
        """Return the running loop's pool, if it has one that is open.

        Raises `ConfigurationError` after `close`.
        """
        if self._closed:
            raise ConfigurationError("the client is closed: open another, or `async with` it again")
        if self._http is not None and self._http.closed:
            raise ConfigurationError("the aiohttp session that the client was given is closed")
        return self._pools.get(asyncio.get_running_loop())

    def reopen(self) -> None:
        """Allow calls again after `close`."""
        self._closed = False

    async def close(self, stop: Callable[[], Awaitable[None]]) -> None:
        """Refuse new calls, let those in flight finish, `stop` what served them, close the pool."""
        self._closed = True
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            return
        try:
            await pool.drain()
        finally:
            await stop()
            await pool.close()
            self._forget(loop)

    def close_from_outside(self) -> None:
        """Close every loop's pool at once, with no loop running here; nothing is waited for.

        A pool whose loop has been closed without its shutdown cannot be closed any more.
        """
        self._closed = True
        for loop, pool in list(self._pools.items()):
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(pool.close(), loop).result(_DRAIN)
            elif not loop.is_closed():
                loop.run_until_complete(pool.close())

    async def open(self) -> "Pool":
        """Open the running loop's pool, and forget those whose loops have ended."""
        pool = Pool(self.limit, self._http)
        for loop, other in list(self._pools.items()):
            if not other.open:
                self._forget(loop)
        self._pools[pool.loop] = pool
        with self._replacing:
            self._counted = (*self._counted, pool.counts)
        await pool.close_with_loop()
        return pool

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        pool = self._pools.pop(loop, None)
        if pool is not None:
            with self._replacing:
                past, *known = self._counted
                known.remove(pool.counts)
                self._counted = (Counts().add(past, pool.counts), *known)

    def stats(self, budget: RetryBudget) -> "Stats":
        """Return what all pools do, and have done; of retry tokens those of calls."""
        from .stats import Stats, quantile  # noqa: PLC0415 (seldom asked for)

        pools = [pool for pool in list(self._pools.values()) if pool.open]
        done = Counts().add(*self._counted)
        waits = sorted(wait for pool in pools for wait in list(pool.waits))
        own = self._http is None
        return Stats(
            loops=len(pools),
            under_way=sum(pool.under_way for pool in pools),
            in_flight=sum(pool.in_flight for pool in pools),
            waiting=sum(pool.queued for pool in pools),
            waiting_to_retry=sum(pool.calls.waiting + pool.imports.waiting for pool in pools),
            budget_left=min((pool.calls.left(budget) for pool in pools), default=budget.capacity),
            requests=done.requests,
            failed=done.failed,
            retries=done.retries,
            connections_opened=done.opened if own else None,
            connections_reused=done.reused if own else None,
            wait_p50=quantile(waits, 0.5),
            wait_p95=quantile(waits, 0.95),
        )

    def __del__(self) -> None:
        if any(pool.open for pool in getattr(self, "_pools", {}).values()):
            warnings.warn(
                "a RouteraClient was left open: use `async with`, or await aclose()",
                ResourceWarning,
                stacklevel=1,
                source=self,
            )


class Pool:
    """At most `limit` attempts in flight on the running loop; the rest wait in order.

    `http` is the caller's own session, which is never closed here, or None for one of our own.
    Belongs to the loop that it was made on.
    """

    def __init__(self, limit: int, http: ClientSession | None) -> None:
        _keep_buffers_at_hand()
        self.loop = asyncio.get_running_loop()
        self.open = True
        self.limits = Limits(self.loop)
        self.counts = Counts()
        self.waits = deque[float](maxlen=_LATEST)
        self.http = http or _http(limit, self.counts)
        self.calls, self.imports = Lane(), Lane()
        self._owned = http is None
        self._width = _width(limit, self.http)
        self._free = self._width
        self._queue = deque[asyncio.Future[None]]()
        self.queued = 0
        self._uncounted = 0
        self.under_way = 0
        self._idle: asyncio.Event | None = None
        self._closing = asyncio.Lock()  # a generator cannot be closed by two at once

    async def close_with_loop(self) -> None:
        """Have the loop's own shutdown close the pool: `asyncio.run` finalises generators."""
        self._end = self._close_at_end()
        await anext(self._end)

    async def _close_at_end(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self.open = False
            self.limits.close()
            if self._owned:
                await self.http.close()

    def enter(self, max_waiting: int | None) -> bool:
        """Take a place among those in flight, if one is free: else `queue` for it.

        Raises `Overloaded` when there is a queue, and `max_waiting` others wait already.
        """
        if max_waiting is not None and self._would_wait and self.waiting >= max_waiting:
            raise Overloaded(f"{self.waiting} calls are waiting already: try again later")
        if not self._free:
            return False
        self._free -= 1
        self.waits.append(0.0)
        return True

    async def queue(self, *, counts: bool = True) -> None:
        """Wait for a place, behind those who wait already, and take it.

        An import's attempts do not count as `waiting`: they are bounded by themselves.
        """
        place = self.loop.create_future()
        self._queue.append(place)
        self.queued += 1
        self._uncounted += not counts
        began = self.loop.time()
        try:
            await place
        except BaseException:
            if not place.cancel() and not place.cancelled():
                self.leave()  # given in the very moment of the cancellation
            raise
        finally:
            self.queued -= 1
            self._uncounted -= not counts
            self.waits.append(self.loop.time() - began)
            if len(self._queue) > 2 * self.queued + _FEW:
                self._queue = deque(place for place in self._queue if not place.done())

    def leave(self) -> None:
        """Give the place back: to the first in the queue who still wants it."""
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    @property
    def waiting(self) -> int:
        """How many calls wait: for a place, or for a token to be sent again with.

        Of the latter as many are let be as there are places: a few wait in the best of times.
        """
        return self.queued - self._uncounted + max(0, self.calls.waiting - self._width)

    @property
    def in_flight(self) -> int:
        """How many have a place."""
        return self._width - self._free

    @property
    def _would_wait(self) -> bool:
        return not self._free or self.waiting > 0

    def began(self) -> None:
        """Count one more call that `drain` has to wait for."""
        self.under_way += 1
        self.counts.requests += 1

    def ended(self) -> None:
        """Count one call less."""
        self.under_way -= 1
        if not self.under_way and self._idle is not None:
            self._idle.set()
            self._idle = None

    async def drain(self) -> None:
        """Wait for the calls in flight, at most 30 seconds."""
        if self.under_way:
            self._idle = self._idle or asyncio.Event()
            try:
                async with asyncio.timeout(_DRAIN):
                    await self._idle.wait()
            except TimeoutError:
                pass  # they end as unknown when their connections close

    async def close(self) -> None:
        """Close the connections, unless they are the caller's; who closes them too, waits."""
        async with self._closing:
            await self._end.aclose()


class WaryConnector(TCPConnector):
    """Hands out no connection again on which something came while it was idle.

    aiohttp would take that for the answer to the next request: a late 400, and a create that is
    done is told as rejected.
    """

    def __init__(
        self, *, limit: int, keepalive_timeout: float = _KEEP_ALIVE, counts: Counts | None = None
    ) -> None:
        super().__init__(limit=limit, keepalive_timeout=keepalive_timeout)
        self._counts = counts or Counts()
        self._used = WeakSet[ResponseHandler]()

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 (aiohttp's signature)
    ) -> Connection:
        """Return a connection that is new or clean."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None
            if protocol not in self._used:
                self._used.add(protocol)
                self._counts.opened += 1
                return connection
            if not protocol.should_close:
                self._counts.reused += 1
                return connection
            connection.close()


def _http(limit: int, counts: Counts) -> ClientSession:
    return ClientSession(
        connector=WaryConnector(limit=limit, counts=counts),
        cookie_jar=DummyCookieJar(),
        timeout=NO_TIMEOUT,
    )


def _width(limit: int, http: ClientSession) -> int:
    """Return how many may be in flight: no more than the pool has connections (0: no bound)."""
    connector = http.connector
    own = (connector.limit, connector.limit_per_host) if connector else ()
    return min([limit, *filter(None, own)])
