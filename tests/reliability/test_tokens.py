"""What becomes of calls when their token expires, is revoked, or cannot be had."""

import asyncio
import itertools
import json
import threading
import time
import traceback

import aiohttp
import pytest

from routera_async import (
    AttemptFinished,
    ClientCredentials,
    ConfigurationError,
    NotSentError,
    RetryPolicy,
    RetryScheduled,
    RouteraClient,
    RouteraError,
    StaticToken,
    TokenProvider,
    UnauthorizedError,
)
from routera_async.sandbox import Sandbox
from tests.reliability.wire import (
    AT_ONCE,
    CLOSE,
    HANG,
    NEW,
    RECORD,
    RESET,
    SHORT,
    TOKEN,
    UNKEYED,
    Server,
    whole,
)

SECRET = "canary~secret/of+an=API&client"
HOUR = 3600.0
REFUSED = [whole(401, b'{"error":true,"message":"Unauthorized: missing account context"}')]
OK = [whole(200, RECORD)]


class Clock:
    """The sandbox's clock, which a test sets forward."""

    def __init__(self):
        self.now = time.time()

    def __call__(self):
        """Return seconds since the epoch."""
        return self.now


class Source:
    """Where a client of a sandbox has its tokens from, and how often it was asked."""

    def __init__(self, kind, sandbox):
        self._sandbox = sandbox
        self._fetched = 0
        pair = (sandbox.client_id, sandbox.client_secret)
        self.auth = {
            "form": ClientCredentials(*pair),
            "Basic": ClientCredentials(*pair, basic=True),
            "a callable": self._fetch,
        }[kind]

    @property
    def asked(self):
        """How many tokens were asked for."""
        return self._fetched + sum(
            request.path == "/oauth2/token" for request in self._sandbox.requests
        )

    async def _fetch(self):
        self._fetched += 1
        await asyncio.sleep(0)
        return self._sandbox.mint_token()


class Api:
    """Answers for a `Server`: tokens t1, t2 and so on, and calls as `answer` says.

    While it is `down` the token route answers that instead; `blips` says so of single requests.
    """

    def __init__(self, answer=lambda _: OK, *, lasts=HOUR):
        self.granted = 0
        self.down = None
        self.blips = {}
        self.sent = []
        self._answer = answer
        self._lasts = lasts

    def __call__(self, asked):
        """Return the steps for one request."""
        if b" /oauth2/token " in asked:
            self.granted += 1
            granted = {"access_token": f"t{self.granted}", "expires_in": self._lasts}
            once = self.blips.get(self.granted)
            return once or self.down or [whole(200, json.dumps(granted).encode())]
        self.sent.append(asked.partition(b"Bearer ")[2].partition(b"\r\n")[0].decode())
        return self._answer(self.sent[-1])


def credentials_of(server, **settings):
    """Return a client that is granted its tokens by a server."""
    given = {"base_url": server.url, "retry": AT_ONCE, "timeout": 30.0} | settings
    return RouteraClient(ClientCredentials("id", SECRET), **given)


async def failure(made):
    """Return the error that a call ends with."""
    with pytest.raises(RouteraError) as caught:
        await made
    return caught.value


@pytest.fixture
def clock():
    """Return a clock to be set forward."""
    return Clock()


@pytest.fixture
async def sandbox(clock):
    """Run a sandbox on that clock."""
    async with Sandbox(clock=clock) as running:
        yield running


@pytest.fixture(params=["form", "Basic", "a callable"])
def source(request, sandbox):
    """Return each kind of source in turn."""
    return Source(request.param, sandbox)


@pytest.fixture
async def later(monkeypatch):
    """Return a function that sets the running loop's own clock forward."""
    loop = asyncio.get_running_loop()

    def later(seconds):
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + seconds)

    return later


async def test_one_expired_token_is_renewed_once(sandbox, clock, source):
    """200 callers that all hold one expired token make one request for another, and succeed."""
    async with RouteraClient(source.auth, base_url=sandbox.url) as client:
        await client.tickets.create(UNKEYED)
        assert source.asked == 1
        clock.now += HOUR + 1
        sent = sandbox.request_count
        await asyncio.gather(*(client.tickets.create(UNKEYED) for _ in range(200)))
    assert source.asked == 2
    assert sandbox.store.count() == 201
    assert sandbox.request_count - sent <= 2 * 200 + 1


async def test_the_first_callers_ask_once(sandbox, source):
    """200 callers that begin together, with no token yet, make one request for it."""
    async with RouteraClient(source.auth, base_url=sandbox.url) as client:
        await asyncio.gather(*(client.tickets.create(UNKEYED) for _ in range(200)))
    assert source.asked == 1
    assert {request.status for request in sandbox.requests} <= {200, 201}


async def test_a_token_revoked_in_the_middle(sandbox, clock, source):
    """A token that dies in the middle of 1,000 calls costs one more, and fails none of them."""
    finished = itertools.count(1)

    def revoke(event):
        if isinstance(event, AttemptFinished) and next(finished) == 500:
            clock.now += HOUR + 1

    async with RouteraClient(source.auth, base_url=sandbox.url, hooks=[revoke]) as client:
        await asyncio.gather(*(client.tickets.create(UNKEYED) for _ in range(1000)))
    assert source.asked == 2
    assert sandbox.store.count() == 1000
    refused = [request for request in sandbox.requests if request.status == 401]
    assert 1 <= len(refused) <= client._session.max_connections


class Gate:
    """Holds every answer of a sandbox back until it is opened."""

    def __init__(self):
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, _):
        """Stand in for the sandbox's sleep."""
        self.reached.set()
        await self.open.wait()


@pytest.mark.parametrize("basic", [False, True])
async def test_a_cancelled_caller_fails_nobody_else(basic):
    """The caller who began to ask for a token may go: the token comes for all the others."""
    gate = Gate()
    async with Sandbox(latency=1, sleep=gate) as sandbox:
        auth = ClientCredentials(sandbox.client_id, sandbox.client_secret, basic=basic)
        async with RouteraClient(auth, base_url=sandbox.url) as client:
            calls = [asyncio.create_task(client.tickets.create(UNKEYED)) for _ in range(50)]
            await gate.reached.wait()
            calls[0].cancel()
            calls[1].cancel()
            await asyncio.gather(*calls[:2], return_exceptions=True)
            gate.open.set()
            await asyncio.gather(*calls[2:])
        assert calls[0].cancelled()
        assert calls[1].cancelled()
        assert sandbox.store.count() == 48
        assert [request.path for request in sandbox.requests].count("/oauth2/token") == 1


async def test_a_cancelled_caller_of_a_callable_fails_nobody_else(sandbox):
    """The same of a caller's own callable."""
    gate, asked = Gate(), []

    async def fetch():
        asked.append(1)
        await gate(None)
        return sandbox.mint_token()

    async with RouteraClient(fetch, base_url=sandbox.url) as client:
        calls = [asyncio.create_task(client.tickets.create(UNKEYED)) for _ in range(50)]
        await gate.reached.wait()
        calls[0].cancel()
        await asyncio.gather(calls[0], return_exceptions=True)
        gate.open.set()
        await asyncio.gather(*calls[1:])
    assert calls[0].cancelled()
    assert (sandbox.store.count(), len(asked)) == (49, 1)


async def test_all_callers_may_be_cancelled():
    """When everybody who waited is gone, the next caller still has its token."""
    gate = Gate()
    async with Sandbox(latency=1, sleep=gate) as sandbox:
        auth = ClientCredentials(sandbox.client_id, sandbox.client_secret)
        async with RouteraClient(auth, base_url=sandbox.url) as client:
            calls = [asyncio.create_task(client.tickets.create(UNKEYED)) for _ in range(3)]
            await gate.reached.wait()
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            gate.open.set()
            await client.tickets.create(UNKEYED)
        assert sandbox.store.count() == 1


async def test_a_second_401_is_an_error():
    """A 401 that a new token does not cure is an error after exactly two requests."""
    api = Api(lambda _: REFUSED)
    async with Server(api) as server, credentials_of(server) as client:
        error = await failure(client.tickets.create(NEW))
    assert (type(error), error.outcome, len(error.attempts)) == (UnauthorizedError, "rejected", 2)
    assert (api.sent, api.granted) == (["t1", "t2"], 2)


async def test_a_401_of_the_same_token_is_an_error():
    """When there is no other token the request is not made again."""
    api = Api(lambda _: REFUSED)
    api.down = [whole(200, b'{"access_token":"t","expires_in":3600}')]
    async with Server(api) as server:
        async with credentials_of(server) as client:
            assert type(await failure(client.tickets.create(NEW))) is UnauthorizedError
        assert (api.sent, api.granted) == (["t"], 2)
        async with RouteraClient(StaticToken("u"), base_url=server.url) as client:
            assert type(await failure(client.tickets.create(NEW))) is UnauthorizedError
        assert api.sent == ["t", "u"]


async def test_a_401_once_for_each_call():
    """Each call may renew the token once, and one that was renewed already is not renewed again."""
    api = Api(lambda token: REFUSED if token == "t1" else OK)
    async with Server(api) as server, credentials_of(server) as client:
        await client.tickets.create(NEW)
        await client.tickets.create(NEW)
    assert (api.sent, api.granted) == (["t1", "t2", "t2"], 2)


async def test_a_401_then_a_lost_answer():
    """A request that was sent again with a new token may be lost as any other, and is then unknown.

    The new token is not renewed once more, for this call has had its turn.
    """
    answers = iter([REFUSED, [CLOSE], REFUSED])
    api = Api(lambda _: next(answers))
    async with Server(api) as server, credentials_of(server) as client:
        error = await failure(client.tickets.create(NEW))
    assert (type(error), error.outcome) == (UnauthorizedError, "unknown")
    assert [attempt.outcome for attempt in error.attempts] == ["rejected", "unknown", "rejected"]
    assert (api.sent, api.granted) == (["t1", "t2", "t2"], 2)


DOWN = {
    "an error": [whole(500, b"{}")],
    "gateway HTML": [whole(502, b"<html>", "Content-Type: text/html")],
    "timed out": [whole(408, b"{}")],
    "too early": [whole(425, b"{}")],
    "throttled": [whole(429, b"", "Retry-After: 99")],
    "closed": [CLOSE],
    "reset": [RESET],
    "no HTTP": [b"SSH-2.0\r\n\r\n", CLOSE],
    "cut short": [whole(200, b'{"access_token":"t', length=99), CLOSE],
    "silent": [HANG],
    "silent within the body": [whole(200, b'{"access_token":"t', length=99), HANG],
}
"""A token route that may be there again in a moment."""

WRONG = {
    "400": ([whole(400, b'{"error":"invalid_request"}')], "400: invalid_request"),
    "401": ([whole(401, b'{"error":"invalid_client"}')], "401: invalid_client"),
    "401 as HTML": ([whole(401, b"<html>")], "401: no reason given"),
    "401 on lines": ([whole(401, b'{"error":"a\\r\\n\\u001b[2Jb"}')], r"401: a \[2Jb$"),
    "an echo": (
        [whole(401, json.dumps({"error_description": f"bad {SECRET}"}).encode())],
        r"401: bad \[secret\]",
    ),
    "404": ([whole(404, b"")], "404: no reason given"),
    "a redirect": ([whole(307, b"", "Location: https://far.example/")], "307"),
    "garbage": ([whole(200, b"\xff\xfe")], "without a token"),
    "HTML": ([whole(200, b"<html>")], "without a token"),
    "a list": ([whole(200, b"[]")], "without a token"),
    "too deep": ([whole(200, b"[" * 100_000)], "without a token"),
    "no token": ([whole(200, b'{"expires_in":3600}')], "without a token"),
    "a token that ended": (
        [whole(200, b'{"access_token":"t","expires_in":-1}')],
        "without a token",
    ),
    "no text": ([whole(200, b'{"access_token":7,"expires_in":3600}')], "without a token"),
    "a broken token": (
        [whole(200, b'{"access_token":"canary\\r\\nX: y","expires_in":3600}')],
        "unfit for a header",
    ),
}
"""A token route that will not do, and what the error says of it."""


def secrets_in(error):
    """Return whether anything that a person may see of an error shows the secret or a token."""
    chain = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame for frame in chain.stack if "/routera_async/" in frame.filename]
    assert ours
    text = "".join([str(error), repr(error), repr(vars(error)), *(str(f.locals) for f in ours)])
    return "canary" in text


@pytest.mark.parametrize("name", DOWN)
async def test_a_token_route_that_is_down(name):
    """Without a token nothing is sent; the token is asked for again as the policy says."""
    api = Api()
    api.down = DOWN[name]
    timeout = SHORT if HANG in api.down else 30.0
    async with Server(api) as server, credentials_of(server, timeout=timeout) as client:
        error = await failure(client.tickets.create(UNKEYED))
        assert (type(error), error.outcome, error.attempts) == (NotSentError, "not_sent", ())
        assert str(error).startswith("no token could be had")
        assert not secrets_in(error)
        assert (api.sent, api.granted) == ([], 2)
        api.down = None
        await client.tickets.create(UNKEYED)
    assert api.sent == ["t3"]


@pytest.mark.parametrize("name", WRONG)
async def test_a_token_route_that_is_wrong(name):
    """A refusal is a wrong setting, told in one line, without the secret, and not asked again."""
    api = Api()
    api.down, says = WRONG[name]
    async with Server(api) as server, credentials_of(server) as client:
        with pytest.raises(ConfigurationError, match=says) as caught:
            await client.tickets.create(UNKEYED)
    assert str(caught.value).isprintable()
    assert not secrets_in(caught.value)
    assert (caught.value.outcome, api.sent, api.granted) == ("not_sent", [], 1)


@pytest.mark.parametrize("basic", [False, True])
async def test_an_echo_of_what_was_sent(basic):
    """A token route that shows the request back puts the secret, however it was sent, nowhere."""
    heads = []

    def echo(asked):
        heads.append(asked)
        sent = asked.partition(b"Authorization: ")[2].partition(b"\r\n")[0].decode()
        return [whole(400, json.dumps({"error": f"{sent} {SECRET}"}).encode())]

    async with Server(echo) as server:
        auth = ClientCredentials("id", SECRET, basic=basic)
        async with RouteraClient(auth, base_url=server.url) as client:
            error = await failure(client.tickets.get("1"))
    assert (b"Authorization: Basic " in heads[0]) is basic
    assert str(error).endswith(": Basic [secret] [secret]" if basic else ": [secret]")


async def test_a_refused_token_is_not_sent_again_after_a_failed_fetch():
    """When the token route fails once after a 401, the call waits for the next, and is done."""
    api = Api(lambda token: REFUSED if token == "t1" else OK)
    api.blips = {2: DOWN["an error"]}
    async with Server(api) as server, credentials_of(server) as client:
        await client.tickets.create(NEW)
    assert (api.sent, api.granted) == (["t1", "t3"], 3)


async def test_one_fault_of_the_token_route_stops_no_import():
    """A token that is revoked, and one 500 of the token route, cost none of 200 rows."""
    api = Api(lambda token: REFUSED if token == "t1" else OK)
    api.blips = {2: DOWN["an error"]}
    async with Server(api) as server, credentials_of(server) as client:
        outcomes = [outcome async for outcome in client.tickets.create_many([UNKEYED] * 200)]
    assert [outcome.status for outcome in outcomes] == ["created"] * 200
    assert api.sent.count("t3") == 200
    assert set(api.sent) == {"t1", "t3"}
    assert api.granted == 3


@pytest.mark.parametrize("late", [whole(400, b"{}"), whole(408), whole(200, RECORD)])
async def test_what_came_before_the_request_is_no_grant(late):
    """Bytes on an idle connection of the caller's own session are not taken for a token."""
    api = Api(lambda token: REFUSED if token == "t1" else OK)
    said = []

    async def say(*_):
        if api.sent and not said:  # the connection is taken to ask for t2
            said.append(late)
            await server.say(late)

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(say)
    async with Server(api) as server, aiohttp.ClientSession(trace_configs=[trace]) as own:
        client = credentials_of(server, session=own)
        await client.tickets.create(NEW)
        await client.aclose()
    assert said
    assert api.sent == ["t1", "t2"]


async def test_closing_waits_for_the_first_token():
    """A call that has no token yet when its client is closed gets it, and its answer."""
    gate = Gate()
    async with Sandbox(latency=1, sleep=gate) as sandbox:
        auth = ClientCredentials(sandbox.client_id, sandbox.client_secret)
        once = RetryPolicy(max_attempts=1)
        client = RouteraClient(auth, base_url=sandbox.url, retry=once)
        call = asyncio.create_task(client.tickets.create(UNKEYED))
        await gate.reached.wait()
        closings = [asyncio.create_task(client.aclose()) for _ in range(3)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert not any(closing.done() for closing in closings)
        gate.open.set()
        await asyncio.gather(*closings)
        assert call.done()
        await call
        await client.aclose()
        with pytest.raises(ConfigurationError, match="closed"):
            await client.tickets.create(UNKEYED)
        assert sandbox.store.count() == 1


async def test_closing_waits_for_another_token():
    """A call whose token is refused while its client closes gets another, and its answer."""
    api = Api(lambda token: REFUSED if token == "t1" else OK)
    closing = []

    def close(event):
        if not closing:
            closing.append(asyncio.create_task(client.aclose()))

    async with Server(api) as server:
        client = credentials_of(server, hooks=[close])
        await client.tickets.create(NEW)
        await closing[0]
    assert (api.sent, api.granted) == (["t1", "t2"], 2)


async def test_closing_waits_for_a_retry_and_its_token():
    """A call that pauses before its repeat when its client closes is made again, and is done."""
    answers = iter([[whole(503)], REFUSED, OK])
    api = Api(lambda _: next(answers))
    closing = []

    def close(event):
        if isinstance(event, RetryScheduled):
            closing.append(asyncio.create_task(client.aclose()))

    async with Server(api) as server:
        client = credentials_of(server, hooks=[close])
        await client.tickets.create(NEW)
        await closing[0]
    assert api.sent == ["t1", "t1", "t2"]


class Own:
    """A source of tokens of the caller's own, which can be closed."""

    def __init__(self):
        self.closed = 0

    async def token(self, **_):
        """Return a token."""
        return "t"

    async def aclose(self):
        """Count."""
        self.closed += 1


async def test_what_the_caller_made_is_not_closed():
    """A client does not close an Auth that it was given."""
    own = Own()
    async with Server(lambda _: OK) as server:
        for _ in range(2):
            async with RouteraClient(own, base_url=server.url) as client:
                await client.tickets.get("1")
    assert own.closed == 0


async def test_a_shared_provider_outlives_a_client():
    """One of two clients that share a provider is closed in the middle of a fetch: it goes on."""
    asked, ready = asyncio.Event(), asyncio.Event()

    async def fetch():
        asked.set()
        await ready.wait()
        return "t"

    provider = TokenProvider(fetch)
    async with Server(lambda _: OK) as server:
        first, second = (RouteraClient(provider, base_url=server.url) for _ in range(2))
        given_up = asyncio.create_task(first.tickets.get("1"))
        await asked.wait()
        waiting = asyncio.create_task(second.tickets.get("1"))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        await first.aclose()
        ready.set()
        await waiting
        await second.aclose()


async def test_what_the_client_made_is_closed():
    """A fetch of a callable's or of credentials' that nobody waits for ends with its client."""
    asked = asyncio.Event()

    async def fetch():
        asked.set()
        await asyncio.get_running_loop().create_future()

    async with Server(lambda _: [HANG]) as server:
        for auth, begun in [(fetch, asked), (ClientCredentials("id", SECRET), server.arrived)]:
            before = asyncio.all_tasks()
            client = RouteraClient(auth, base_url=server.url)
            call = asyncio.create_task(client.tickets.get("1"))
            await begun.wait()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            (fetching,) = {task for task in asyncio.all_tasks() - before if "_renew" in repr(task)}
            assert not fetching.done()
            await client.aclose()
            assert fetching.cancelled()


async def test_a_renewal_that_fails_is_no_fault_yet(later):
    """Before its end the old token serves while the token route is down; after it nothing is sent.

    When the token route is back, so are the calls.
    """
    api = Api()
    async with Server(api) as server, credentials_of(server) as client:
        await client.tickets.get("1")
        later(HOUR - 30)
        for down in (DOWN["an error"], DOWN["closed"], WRONG["401"][0], WRONG["HTML"][0]):
            api.down = down
            await client.tickets.get("1")
        assert (set(api.sent), len(api.sent)) == ({"t1"}, 5)
        later(60)
        api.down = DOWN["an error"]
        assert type(await failure(client.tickets.get("1"))) is NotSentError
        assert len(api.sent) == 5
        api.down = None
        await client.tickets.get("1")
    assert api.sent[5:] == [f"t{api.granted}"]


async def test_a_token_is_renewed_before_it_expires(later):
    """A token is renewed a minute before its end: no call meets a 401, and none waits for it."""
    api = Api()
    async with Server(api) as server, credentials_of(server) as client:
        await client.tickets.get("1")
        later(HOUR - 90)
        await client.tickets.get("1")
        later(60)
        await asyncio.gather(*(client.tickets.get("1") for _ in range(20)))
        while api.sent[-1] == "t1":
            await client.tickets.get("1")
    assert set(api.sent) == {"t1", "t2"}
    assert api.granted == 2


async def test_a_deadline_bounds_the_token_too():
    """A call's deadline holds while it waits for a token; others wait on."""
    api = Api()
    api.down = [HANG]
    retry = RetryPolicy(max_attempts=1)
    async with Server(api) as server, credentials_of(server, deadline=SHORT, retry=retry) as client:
        error = await failure(client.tickets.create(UNKEYED))
    assert (type(error), error.outcome, api.sent) == (NotSentError, "not_sent", [])
    assert "deadline" in str(error)


class Elsewhere:
    """A sandbox on a loop and a thread of its own, which outlives the test's loops."""

    def __init__(self, **settings):
        self.sandbox = Sandbox(**settings)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self):
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with self.sandbox:
            self._ready.set()
            await self._ended.wait()

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(30)
        return self.sandbox

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()


@pytest.mark.parametrize("basic", [False, True])
@pytest.mark.parametrize("closing", [False, True])
def test_three_loops(clock, basic, closing):
    """One client with credentials works over three runs, and its token goes with it."""
    with Elsewhere(clock=clock) as sandbox:
        auth = ClientCredentials(sandbox.client_id, sandbox.client_secret, basic=basic)
        client = RouteraClient(auth, base_url=sandbox.url)

        async def run():
            await asyncio.gather(*(client.tickets.create(UNKEYED) for _ in range(20)))
            if closing:
                await client.aclose()

        async def run_in():
            async with client:
                await run()

        for _ in range(2):
            asyncio.run(run_in() if closing else run())
        clock.now += HOUR + 1
        asyncio.run(run_in() if closing else run())
        answered = [(request.path, request.status) for request in sandbox.requests]
        assert answered.count(("/tickets", 201)) == 60
        assert answered.count(("/oauth2/token", 200)) == 2


def test_a_run_that_is_cut_off_while_it_waits_for_a_token():
    """A fetch that died with its loop does not hold the next loop's callers."""
    held = threading.Event()

    async def hold(_):
        held.set()
        await asyncio.sleep(0 if cut else HOUR)

    cut = False
    with Elsewhere(latency=1, sleep=hold) as sandbox:
        client = RouteraClient(
            ClientCredentials(sandbox.client_id, sandbox.client_secret), base_url=sandbox.url
        )

        async def wait():
            call = asyncio.create_task(client.tickets.create(UNKEYED))
            await asyncio.to_thread(held.wait, 30)
            call.cancel()

        asyncio.run(wait())
        cut = True
        asyncio.run(client.tickets.create(UNKEYED))
        assert [request.path for request in sandbox.requests].count("/tickets") == 1


async def test_a_provider_object_and_a_token(sandbox):
    """A TokenProvider is asked as its callable is; a StaticToken never changes."""
    source = Source("a callable", sandbox)
    async with RouteraClient(TokenProvider(source.auth), base_url=sandbox.url) as client:
        await client.tickets.create(UNKEYED)
    async with RouteraClient(StaticToken(TOKEN), base_url=sandbox.url) as client:
        assert type(await failure(client.tickets.create(UNKEYED))) is UnauthorizedError
    assert source.asked == 1
