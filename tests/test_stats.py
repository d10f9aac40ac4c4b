"""What a client tells of itself: `client.stats()`."""

import asyncio
import re
import threading
from pathlib import Path

import aiohttp
import attrs
import pytest
from aioresponses import CallbackResult
from hypothesis import given
from hypothesis import strategies as st

from routera_async import NotFoundError, Overloaded, RetryBudget, RetryPolicy, RouteraClient, Stats
from routera_async._pool import Counts
from routera_async.stats import quantile

NOTHING = Stats(
    loops=0,
    under_way=0,
    in_flight=0,
    waiting=0,
    waiting_to_retry=0,
    budget_left=100.0,
    requests=0,
    failed=0,
    retries=0,
    connections_opened=0,
    connections_reused=0,
    wait_p50=0.0,
    wait_p95=0.0,
)
TICKETS = "https://api.routera.io/tickets"


def each(new, count):
    """Return tickets that differ by their key."""
    return [attrs.evolve(new, external_id=f"ext-{number}") for number in range(count)]


async def turns():
    """Let whatever is on its way arrive."""
    for _ in range(50):
        await asyncio.sleep(0)


def test_a_client_that_has_done_nothing(token):
    """There are figures before there is a loop, and a copy is asked as its client is."""
    client = RouteraClient(token)
    assert client.stats() == NOTHING
    policy = RetryPolicy(budget=RetryBudget(capacity=7))
    assert client.with_options(retry=policy).stats() == attrs.evolve(NOTHING, budget_left=7)


async def test_what_is_done_is_counted(sandbox, new):
    """Calls, failures, retries and connections are counted, over all copies of a client."""
    policy = RetryPolicy(wait_initial=0)
    async with RouteraClient(sandbox.token, base_url=sandbox.url, retry=policy) as client:
        sandbox.faults.script(*["error_before_commit"] * 2)
        await client.tickets.create(new)
        with pytest.raises(NotFoundError):
            await client.with_options(timeout=9).tickets.get("none")
        stats = client.stats()
    assert (stats.requests, stats.failed, stats.retries) == (2, 1, 2)
    assert (stats.connections_opened, stats.connections_reused) == (1, 3)
    assert (stats.loops, stats.under_way, stats.in_flight, stats.waiting) == (1, 0, 0, 0)
    after = client.stats()
    assert (after.loops, after.requests, after.connections_reused) == (0, 2, 3)


async def test_what_is_under_way_is_told(wires, flat, new, token):
    """Those with a place, those in the queue and what was refused are told apart."""
    wire = await wires.serve(wires.HANG)
    settings = {"base_url": wire.url, "max_connections": 2, "max_waiting": 3}
    async with RouteraClient(token, **settings) as client:
        calls = [asyncio.create_task(client.tickets.create(new)) for new in each(new, 5)]
        await turns()
        with pytest.raises(Overloaded):
            await client.tickets.create(new)
        stats = client.stats()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        ended = client.stats()
    assert (stats.under_way, stats.in_flight, stats.waiting, stats.failed) == (5, 2, 3, 1)
    assert (ended.under_way, ended.in_flight, ended.waiting, ended.failed) == (0, 0, 0, 6)


def test_waits_are_told(virtually, answers, flat, new, token):
    """Half of the attempts waited no longer than the median, 95 of 100 than the other."""

    async def answer(url, **_):
        await asyncio.sleep(1)
        return CallbackResult(status=201, body=flat)

    answers.post(TICKETS, callback=answer, repeat=True)

    async def main():
        async with RouteraClient(token, max_connections=10) as client:
            await asyncio.gather(*map(client.tickets.create, each(new, 100)))
            return client.stats()

    stats = virtually(main())  # ten at a time: ten waited 0 s, ten 1 s, and the last ten 9 s
    assert (stats.wait_p50, stats.wait_p95) == (4.0, 9.0)


def test_the_latest_waits_alone_are_told(virtually, answers, flat, new, token):
    """What was waited a thousand attempts ago is forgotten; a wait that ended in vain is not."""
    answers.post(TICKETS, status=201, body=flat, repeat=True)

    async def main():
        async with RouteraClient(token, max_connections=1) as client:
            pool = await client._session._pools.open()
            assert pool.enter(None)
            behind = asyncio.create_task(client.with_options(deadline=5).tickets.create(new))
            await asyncio.sleep(6)
            waited = client.stats()
            pool.leave()
            await asyncio.gather(behind, return_exceptions=True)
            for _ in range(1_000):
                await client.tickets.create(new)
            return waited, client.stats()

    waited, forgotten = virtually(main())
    assert (waited.wait_p50, waited.wait_p95) == (0.0, 5.0)
    assert (forgotten.wait_p50, forgotten.wait_p95) == (0.0, 0.0)
    assert forgotten.requests == 1_001


def test_the_budget_that_is_left(virtually, answers, flat, new, token):
    """Retries of an outage use the budget up; who waits for a token is told."""
    answers.post(TICKETS, status=503, repeat=True)
    budget = RetryBudget(capacity=3, per_second=0.001, per_success=0)
    policy = RetryPolicy(wait_initial=0, budget=budget)

    async def main():
        async with RouteraClient(token, retry=policy) as client:
            calls = [asyncio.create_task(client.tickets.create(new)) for new in each(new, 6)]
            await asyncio.sleep(1)
            stats = client.stats()
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            return stats

    stats = virtually(main())
    assert stats.budget_left == pytest.approx(0.001)
    assert (stats.retries, stats.waiting_to_retry, stats.in_flight) == (3, 6, 0)


def test_what_imports_take_is_not_of_the_budget_that_is_left(virtually, answers, new, token):
    """Rows that wait for a token are told with the calls that do; what they took is their own."""
    answers.post(TICKETS, status=503, repeat=True)
    policy = RetryPolicy(budget=RetryBudget(capacity=1, per_second=0.001, per_success=0))

    async def imported(client):
        return [outcome async for outcome in client.tickets.create_many(each(new, 2))]

    async def main():
        async with RouteraClient(token, retry=policy) as client:
            importing = asyncio.create_task(imported(client))
            await asyncio.sleep(5)
            stats = client.stats()
            importing.cancel()
            await asyncio.gather(importing, return_exceptions=True)
            return stats

    stats = virtually(main())
    assert (stats.retries, stats.waiting_to_retry, stats.budget_left) == (1, 2, 1)


def test_successive_loops_are_added(routera_sandbox, new):
    """What was done on loops that have ended is counted still, closed or not."""
    client = RouteraClient(routera_sandbox.token, base_url=routera_sandbox.url)

    async def once(record):
        await client.tickets.create(record)
        return client.stats()

    first, second, third = (asyncio.run(once(record)) for record in each(new, 3))
    assert [stats.requests for stats in (first, second, third)] == [1, 2, 3]
    assert [stats.loops for stats in (first, second, third)] == [1, 1, 1]
    assert (third.connections_opened, third.connections_reused) == (3, 0)
    assert client.stats() == attrs.evolve(third, loops=0)


async def test_another_thread_may_ask(sandbox, new):
    """A thread that exports metrics asks while calls are made."""
    async with RouteraClient(sandbox.token, base_url=sandbox.url) as client:
        seen, done = [], threading.Event()

        def ask():
            while not done.is_set():
                seen.append(client.stats())

        asking = asyncio.create_task(asyncio.to_thread(ask))
        await asyncio.gather(*map(client.tickets.create, each(new, 50)))
        done.set()
        await asking
    assert client.stats().requests == 50
    assert [each.requests for each in seen] == sorted(each.requests for each in seen)


async def test_who_asks_while_a_pool_is_forgotten_counts_it_once(sandbox, new):
    """What a loop has done is counted in the very moment in which its pool is put away, too."""
    seen, asks = [], [True]

    class Watched(Counts):
        """Counts of which, when they are read, somebody else asks."""

        __slots__ = ()

        def __getattribute__(self, name):
            if asks:
                asks.clear()
                seen.append(client.stats())
            return super().__getattribute__(name)

    async with RouteraClient(sandbox.token, base_url=sandbox.url) as client:
        await client.tickets.create(new)
        client._session._pools.here().counts.__class__ = Watched
    assert [(each.requests, each.connections_opened) for each in seen] == [(1, 1)]
    assert client.stats().requests == 1


async def test_connections_of_the_callers_own_are_not_known(sandbox, new):
    """A session of the caller's own counts its connections itself."""
    async with aiohttp.ClientSession() as own:
        client = RouteraClient(sandbox.token, base_url=sandbox.url, session=own)
        await client.tickets.create(new)
        stats = client.stats()
        await client.aclose()
    assert (stats.connections_opened, stats.connections_reused) == (None, None)
    assert stats.requests == 1


def test_the_page_has_every_figure():
    """The page's table has each figure, in their order."""
    page = (Path(__file__).parents[1] / "docs" / "observability.md").read_text("utf-8")
    section = page.partition("\n## Figures\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert found == [field.name for field in attrs.fields(Stats)]


@given(st.lists(st.floats(0, 100), min_size=1), st.sampled_from([0.5, 0.95]))
def test_a_quantile_is_the_least_that_holds(waits, part):
    """So many of the waits are no longer than it, and with any shorter one too few would be."""
    waits = sorted(waits)
    found = quantile(waits, part)
    assert found in waits
    assert sum(wait <= found for wait in waits) >= part * len(waits)
    assert sum(wait < found for wait in waits) < part * len(waits)
