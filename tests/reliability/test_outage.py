"""What an outage costs the server, and what it costs the calls: on a virtual clock."""

import asyncio
import os
from collections import Counter

import pytest

from routera_async import RetryBudget, RetryPolicy, RouteraClient, RouteraError, ServerError

TOKEN = "a.b.c"
CLIENTS = int(os.environ.get("OUTAGE_CLIENTS", "5"))
"""Each has its own budget, so their number changes no ratio; docs/reliability.md ran 100."""

CREATED = (
    b'{"id":"1","created_at":"2026-05-01T10:00:00Z","updated_at":"2026-05-01T10:00:00Z",'
    b'"archived":false}'
)


class Body:
    """An answer's body, read in one piece."""

    def __init__(self, body):
        self._left = [body, b""]

    async def readany(self):
        """Return the rest."""
        return self._left.pop(0)

    def at_eof(self):
        """Say whether there is no more."""
        return self._left == [b""]


class Answer:
    """What aiohttp would give."""

    connection = None

    def __init__(self, status):
        self.headers = {}
        self.status = status
        self.content = Body(CREATED if status == 201 else b"")

    def release(self):
        """Do nothing: there is no connection."""


class Server:
    """Stands in for aiohttp's session; answers after 20 ms with what `decide` says."""

    connector = None
    closed = False

    def __init__(self, decide):
        self.seen = Counter()
        self._decide = decide

    @property
    def requests(self):
        """How many there were."""
        return self.seen.total()

    async def request(self, _, url, **__):
        """Answer one request."""
        self.seen[url.name] += 1
        status = self._decide()
        await asyncio.sleep(0.02)
        return Answer(status)


def new(key):
    """Return a ticket to create, with a key."""
    return {"ticket_name": "A", "pipeline": "p", "ticket_stage": "new", "external_id": f"{key}"}


async def steadily(client, rate, seconds, ended):
    """Call `rate` times a second, whether or not earlier calls have been answered."""

    async def call(number):
        try:
            ended(await client.tickets.create(new(number)))
        except RouteraError as error:
            ended(error)

    async with asyncio.TaskGroup() as group:
        for number in range(rate * seconds):
            group.create_task(call(number))
            await asyncio.sleep(1 / rate)


def test_an_outage_costs_a_tenth_more_and_starves_no_call(virtually):
    """In 60 s of 503s, clients that call 50 times a second add at most a tenth.

    A call fails only after all of its five attempts, never because there was no token for one; what
    waited for a token goes on when the outage ends.
    """
    clients, rate, outage = CLIENTS, 50, 60
    created, failed = 0, []

    def ended_with(result):
        nonlocal created
        if isinstance(result, RouteraError):
            failed.append(len(result.attempts))
        else:
            created += 1

    async def scenario():
        loop = asyncio.get_running_loop()
        server = Server(lambda: 503 if loop.time() < outage else 201)
        seen = asyncio.create_task(_seen_at(outage, server))
        every = [
            RouteraClient(TOKEN, base_url="http://127.0.0.1", session=server)
            for _ in range(clients)
        ]
        async with asyncio.TaskGroup() as group:
            for client in every:
                group.create_task(steadily(client, rate, outage, ended_with))
        ended = loop.time()
        for client in every:
            await client.aclose()
        return await seen, ended

    seen, ended = virtually(scenario())
    calls = clients * rate * outage
    assert created + len(failed) == calls
    assert calls < seen <= 1.1 * calls
    assert set(failed) <= {RetryPolicy().max_attempts}
    assert len(failed) <= 0.02 * calls
    assert ended <= outage + 15  # virtual seconds


async def _seen_at(when, server):
    await asyncio.sleep(when)
    return server.requests


def test_a_thousand_calls_that_each_meet_one_500_succeed_without_delay(virtually):
    """The budget does not hold up a burst that the server recovers from at once."""

    async def scenario():
        met = set()

        def decide():
            key = asyncio.current_task()
            status = 201 if key in met else 500
            met.add(key)
            return status

        server = Server(decide)
        async with RouteraClient(TOKEN, base_url="http://127.0.0.1", session=server) as client:
            done = await asyncio.gather(*(client.tickets.create(new(n)) for n in range(1000)))
        return done, server.requests, asyncio.get_running_loop().time()

    done, requests, seconds = virtually(scenario())
    assert len(done) == 1000
    assert requests == 2000
    # 2,000 answers of 20 ms at 100 in flight are 0.4 s, and one back-off is at most 0.2 s.
    assert seconds <= 0.4 + RetryPolicy().wait_initial + 0.1


async def imported(client, name, rows, concurrency):
    """Import contacts, and return how many of them ended in what."""
    people = ({"email": f"{name}-{number}@example.com"} for number in range(rows))
    outcomes = client.contacts.create_many(people, concurrency=concurrency)
    return Counter([each.status async for each in outcomes])


def test_an_outage_costs_no_more_with_an_import_beside_the_calls(virtually):
    """Each lane keeps to its own budget: what the calls add is a tenth, as without an import.

    Of the import the server sees what was under way, once more for each token, and the probes.
    """
    rate, outage, wide = 50, 60, 64
    failed = []

    def ended(result):
        if isinstance(result, RouteraError):
            failed.append(len(result.attempts))

    async def scenario():
        loop = asyncio.get_running_loop()
        server = Server(lambda: 503 if 1 <= loop.time() < 1 + outage else 201)
        async with (
            RouteraClient(TOKEN, base_url="http://127.0.0.1", session=server) as client,
            asyncio.TaskGroup() as group,
        ):
            importing = group.create_task(imported(client, "row", 10_000, wide))
            await asyncio.sleep(1)
            assert client.stats().in_flight == wide
            before = server.seen.copy()
            group.create_task(steadily(client, rate, outage, ended))
            await asyncio.sleep(outage)
            return server.seen - before, await importing

    seen, rows = virtually(scenario())
    calls = rate * outage
    budget = RetryBudget()
    assert rows == {"created": 10_000}
    assert calls < seen["tickets"] <= 1.1 * calls
    assert set(failed) <= {RetryPolicy().max_attempts}
    assert wide < seen["contacts"] <= wide + budget.capacity + budget.per_second * outage


@pytest.mark.parametrize(("imports", "max_waiting"), [(1, None), (3, 5)])
def test_what_imports_hold_and_wait_for_is_nothing_to_calls(virtually, imports, max_waiting):
    """Wide imports that use their tokens up keep no call from its retries, and have none refused.

    A call that an outage meets is sent again at once, as often as its policy says, although rows
    hold all tokens of their lane and far more of them wait for one than calls may.
    """
    wide, size = 64, 3_000
    policy = RetryPolicy(budget=RetryBudget(capacity=10, per_second=0.001, per_success=0))
    settings = {"max_connections": wide, "max_waiting": max_waiting, "retry": policy}

    async def scenario():
        loop = asyncio.get_running_loop()
        server = Server(lambda: 503 if 0.5 <= loop.time() < 20 else 201)
        async with (
            RouteraClient(TOKEN, base_url="http://127.0.0.1", session=server, **settings) as client,
            asyncio.TaskGroup() as group,
        ):
            importing = [
                group.create_task(imported(client, f"file-{number}", size, wide))
                for number in range(imports)
            ]
            await asyncio.sleep(5)
            parked, began = client.stats().waiting_to_retry, loop.time()
            (met,) = await asyncio.gather(client.tickets.create(new(1)), return_exceptions=True)
            took = loop.time() - began
            await asyncio.gather(*importing)
            return parked, met, took, [each.result() for each in importing]

    parked, met, took, rows = virtually(scenario())
    assert parked > (0 if max_waiting is None else wide + max_waiting)
    assert (type(met), len(met.attempts)) == (ServerError, policy.max_attempts)
    assert took < 5  # virtual seconds: four back-offs, and five answers
    assert rows == [{"created": size}] * imports
