"""The queue in front of the connections."""

import asyncio
import os
import subprocess
import sys
from ctypes import CDLL

import aiohttp
import pytest

from routera_async._pool import Pool
from routera_async.errors import Overloaded
from routera_async.retries import RetryBudget


@pytest.fixture
def make():
    """Return a function that makes a pool which needs no socket."""

    def pool(limit, /, **connector):
        http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(**connector))
        return Pool(limit, http)

    return pool


async def admit(pool, max_waiting):
    """Take a place, as a session does."""
    if not pool.enter(max_waiting):
        await pool.queue()


async def admitted(pool, number, order):
    """Be admitted, say so, and leave in the loop's next turn."""
    await admit(pool, None)
    order.append(number)
    await asyncio.sleep(0)
    pool.leave()


def test_places_are_taken_in_order(virtually, make):
    """No more than the limit are in at once, and those who wait come in as they came."""

    async def main():
        pool, order = make(2), []
        async with pool.http:
            await admit(pool, None)
            await admit(pool, None)
            waiting = [asyncio.create_task(admitted(pool, n, order)) for n in range(5)]
            await asyncio.sleep(1)
            assert order == []
            pool.leave()
            await asyncio.gather(*waiting)
            assert order == [0, 1, 2, 3, 4]

    virtually(main())


def test_more_than_max_waiting_is_refused(virtually, make):
    """Who would wait while max_waiting others do is refused at once, and takes no place."""

    async def main():
        pool = make(1)
        async with pool.http:
            await admit(pool, 0)
            with pytest.raises(Overloaded, match="0 calls are waiting"):
                await admit(pool, 0)
            waiting = [asyncio.create_task(admit(pool, 2)) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded, match="2 calls are waiting"):
                await admit(pool, 2)
            for task in waiting:
                pool.leave()
                await task
            pool.leave()
            await admit(pool, 0)

    virtually(main())


def test_who_stops_waiting_leaves_no_trace(virtually, make):
    """A cancelled wait is no longer counted, and takes nobody's place."""

    async def main():
        pool = make(1)
        async with pool.http:
            await admit(pool, None)
            impatient = asyncio.create_task(admit(pool, 1))
            await asyncio.sleep(0)
            impatient.cancel()
            await asyncio.gather(impatient, return_exceptions=True)
            patient = asyncio.create_task(admit(pool, 1))
            await asyncio.sleep(0)
            pool.leave()
            await patient

    virtually(main())


def test_who_stopped_waiting_is_forgotten(virtually, make):
    """However many give up behind one who waits, they do not add up to memory."""

    async def main():
        pool = make(1)
        async with pool.http:
            await admit(pool, None)
            patient = asyncio.create_task(admit(pool, None))
            for _ in range(1000):
                impatient = asyncio.create_task(admit(pool, None))
                await asyncio.sleep(0)
                impatient.cancel()
                await asyncio.gather(impatient, return_exceptions=True)
            assert (pool.waiting, len(pool._queue) < 200) == (1, True)
            pool.leave()
            await patient

    virtually(main())


def test_who_is_closed_while_waiting_takes_no_place(virtually, make):
    """A coroutine that is closed, and not cancelled, is passed over as well."""

    async def main():
        pool = make(1)
        async with pool.http:
            await admit(pool, None)
            closed = pool.queue()
            closed.send(None)
            closed.close()
            pool.leave()
            assert pool.enter(0)

    virtually(main())


def test_a_place_given_to_who_is_cancelled_goes_to_the_next(virtually, make):
    """Cancelled in the very moment in which a place is given, one hands it on."""

    async def main():
        pool, order = make(1), []
        async with pool.http:
            await admit(pool, None)
            cancelled = asyncio.create_task(admit(pool, None))
            next_one = asyncio.create_task(admitted(pool, "next", order))
            await asyncio.sleep(0)
            pool.leave()
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
            await next_one
            assert (order, pool.waiting, pool.enter(0)) == (["next"], 0, True)

    virtually(main())


def test_nobody_goes_before_who_waits(virtually, make):
    """A place that is given to one who waits is taken, before that one has seen it."""

    async def main():
        pool = make(1)
        async with pool.http:
            await admit(pool, None)
            first = asyncio.create_task(admit(pool, None))
            await asyncio.sleep(0)
            pool.leave()
            assert not pool.enter(None)
            await first

    virtually(main())


@pytest.mark.parametrize(
    ("connector", "width"),
    [
        ({"limit": 0}, 5),
        ({"limit": 100}, 5),
        ({"limit": 3}, 3),
        ({"limit": 0, "limit_per_host": 2}, 2),
        ({"limit": 3, "limit_per_host": 4}, 3),
    ],
)
def test_no_wider_than_the_connections(virtually, make, connector, width):
    """No attempt is admitted that the caller's own connector would keep waiting."""

    async def main():
        pool = make(5, **connector)
        async with pool.http:
            for _ in range(width):
                await admit(pool, 0)
            with pytest.raises(Overloaded):
                await admit(pool, 0)

    virtually(main())


def test_drain_waits_for_the_last_call(virtually, make):
    """Draining ends when the last call does."""

    async def main():
        pool = make(1)
        async with pool.http:
            pool.began()
            pool.began()
            draining = asyncio.create_task(pool.drain())
            await asyncio.sleep(1)
            pool.ended()
            await asyncio.sleep(1)
            assert not draining.done()
            pool.ended()
            await draining
            assert asyncio.get_running_loop().time() == 2

    virtually(main())


def test_drain_is_bounded(virtually, make):
    """Draining gives up after thirty seconds, and needs none when no call is under way."""

    async def main():
        pool = make(1)
        async with pool.http:
            await pool.drain()
            assert asyncio.get_running_loop().time() == 0
            pool.began()
            await pool.drain()
            assert asyncio.get_running_loop().time() == 30

    virtually(main())


def test_who_waits_for_a_token_is_counted_beyond_the_places(virtually, make):
    """Calls that wait for a retry's token count as waiting, but for as many as there are places."""

    async def main():
        pool = make(2)
        async with pool.http:
            tokens = pool.calls[RetryBudget(capacity=1, per_second=0.001)]
            await tokens.take()
            parked = [asyncio.create_task(tokens.take()) for _ in range(4)]
            await asyncio.sleep(0)
            assert pool.waiting == 2
            with pytest.raises(Overloaded, match="2 calls are waiting"):
                await admit(pool, 2)
            await admit(pool, 3)
            parked[0].cancel()
            await asyncio.sleep(0)
            assert pool.waiting == 1
            await admit(pool, 2)
            for task in parked:
                task.cancel()
            await asyncio.gather(*parked, return_exceptions=True)
            assert pool.waiting == 0

    virtually(main())


def test_imports_that_wait_for_a_token_are_not_counted(virtually, make):
    """However many retries of imports wait, no call is refused for them."""

    async def main():
        pool = make(1)
        async with pool.http:
            tokens = pool.imports[RetryBudget(capacity=1, per_second=0.001)]
            await tokens.take()
            parked = [asyncio.create_task(tokens.take()) for _ in range(4)]
            await asyncio.sleep(0)
            assert (pool.waiting, pool.imports.waiting) == (0, 4)
            await admit(pool, 0)
            for task in parked:
                task.cancel()
            await asyncio.gather(*parked, return_exceptions=True)

    virtually(main())


def test_equal_budgets_share_their_tokens(virtually, make):
    """Copies of a client whose budgets are equal draw on the same tokens, lane by lane."""

    async def main():
        pool = make(1)
        async with pool.http:
            tokens = pool.calls[RetryBudget(capacity=2)]
            assert pool.calls[RetryBudget(capacity=2.0)] is tokens
            assert pool.calls[RetryBudget(capacity=3)] is not tokens
            assert pool.imports[RetryBudget(capacity=2)] is not tokens

    virtually(main())


MAPPED = """
import asyncio, ctypes

from routera_async._pool import Pool

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]

async def main():
    tell = ctypes.CDLL(None).mallinfo2
    tell.restype = Info
    buffers = []  # to let one go would do what a pool does
    for _ in range(2):
        before = tell().hblks
        buffers.append(bytes(asyncio.selector_events._SelectorTransport.max_size))
        print(tell().hblks - before)
        pool = Pool(1, None)
        await pool.http.close()

asyncio.run(main())
"""
"""Prints how often memory is mapped for a buffer of asyncio's, before there is a pool and after."""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(CDLL(None), "mallinfo2"),
    reason="not glibc, or older than 2.33",
)
def test_no_memory_is_mapped_for_each_answer():
    """Without a pool each buffer that asyncio reads into is; whoever has opened one is spared."""
    environ = {name: each for name, each in os.environ.items() if "BYTECODE" not in name}
    for _ in range(2):  # a process that compiles what it imports has let go of larger ones
        command = [sys.executable, "-c", MAPPED]
        told = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    assert told.stdout.split() == ["1", "0"]
