"""The settings of a client and of its copies: which are refused, and which are kept."""

import asyncio
import functools
import math

import aiohttp
import pytest
from aioresponses import CallbackResult
from yarl import URL

from routera_async import (
    ClientCredentials,
    ConfigurationError,
    NotSentError,
    RetryBudget,
    RetryPolicy,
    RouteraClient,
    ServerError,
    StaticToken,
    _shapes,
)
from tests.reliability.wire import NEW, RECORD, Server, whole

TICKETS = "https://api.routera.io/tickets"

CLIENT = functools.partial(RouteraClient, "eyJ")
NO_SECONDS = ["x", math.nan, math.inf, True, 0, -1.0, [1]]
REFUSED = {
    "timeout": (CLIENT, [None, *NO_SECONDS]),
    "deadline": (CLIENT, NO_SECONDS),
    "retry": (CLIENT, [None, "x", 5, RetryPolicy]),
    "max_connections": (CLIENT, [0.5, None, "7", True, 0, -1, math.inf]),
    "max_waiting": (CLIENT, [0.5, "7", True, -1, math.nan]),
    "hooks": (CLIENT, [5, print, None, [5], "ab"]),
    "base_url": (CLIENT, [None, 5, b"https://api.routera.io", URL("https://api.routera.io"), ""]),
    "session": (CLIENT, ["x", 5, object()]),
    "proxy": (CLIENT, ["x", "ftp://h", "", 5, URL("http://h")]),
    "tls": (CLIENT, ["x", 5, False]),
    "auth": (RouteraClient, [None, 5, b"eyJ", StaticToken]),
    "max_attempts": (RetryPolicy, ["3", None, 2.5, math.nan, True, 0]),
    "wait_initial": (RetryPolicy, ["x", None, math.inf, math.nan, True, -1]),
    "wait_max": (RetryPolicy, ["x", None, math.inf, -1]),
    "retry_after_max": (RetryPolicy, ["x", None, math.inf, -1]),
    "resend_unkeyed": (RetryPolicy, ["no", None, 0]),
    "resend_dispatch": (RetryPolicy, ["no", None, 1]),
    "budget": (RetryPolicy, [None, 5, RetryBudget]),
    "capacity": (RetryBudget, ["x", None, math.inf, math.nan, 0.5, True]),
    "per_second": (RetryBudget, ["x", None, math.inf, math.nan, 0, -1]),
    "per_success": (RetryBudget, ["x", None, math.inf, math.nan, -1]),
}
"""What makes a setting, and the values that it may not have."""


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [(make, name, value) for name, (make, values) in REFUSED.items() for value in values],
    ids=lambda given: getattr(given, "__name__", None),
)
def test_a_setting_that_cannot_be(make, name, value):
    """A setting of a wrong type or value is refused when it is made, by its name."""
    with pytest.raises(ConfigurationError, match=name):
        make(**{name: value})


@pytest.mark.parametrize(
    "pair", [("id", None), ("id", b""), ("id", b"x"), ("id", 5), (5, "x"), (None, "x"), ("", "x")]
)
def test_credentials_that_cannot_be(pair):
    """A client_id and a client_secret are text that is not empty."""
    with pytest.raises(ConfigurationError, match="client_id and client_secret must"):
        ClientCredentials(*pair)


async def test_a_session_with_a_sign_in_of_its_own():
    """An aiohttp session whose own auth would replace the token is refused."""
    with pytest.warns(DeprecationWarning, match="auth"):  # aiohttp 4 will have none
        own = aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "pass"))
    async with own:
        with pytest.raises(ConfigurationError, match="session must have no auth"):
            RouteraClient("eyJ", session=own)


async def test_a_session_that_is_closed():
    """The caller's session may be closed meanwhile: the next call says so, and sends nothing."""
    own = aiohttp.ClientSession()
    client = RouteraClient("eyJ", session=own)
    await own.close()
    with pytest.raises(ConfigurationError, match=r"aiohttp session .* is closed"):
        await client.tickets.get("1")


def test_a_callable_that_is_not_async(virtually):
    """A plain function as the source of tokens is told at the first call, not asked again."""
    asked = []

    async def main():
        async with RouteraClient(lambda: asked.append(1) or "eyJ.canary") as client:
            with pytest.raises(ConfigurationError, match="must be async") as caught:
                await client.tickets.get("1")
            assert "canary" not in str(caught.value)
        assert asyncio.get_running_loop().time() == 0

    virtually(main())
    assert asked == [1]


HEADERS = [
    None,
    "X-Key: canary",
    ["X-Key"],
    {"Authorization": "canary"},
    {"authorization": "canary"},
    {"Host": "canary"},
    {"Content-Length": "0"},
    {"Transfer-Encoding": "chunked"},
    {"Cookie": "canary"},
    {"X-Key": "canary\r\nX-Evil: 1"},
    {"X-Key": "canary\n"},
    {"X-Key": "canary\0"},
    {"X-Key": "canary\u20ac"},
    {"X-Key": 5},
    {"X-Key": b"canary"},
    {"X-Key\r\nX-Evil": "1"},
    {"X Key": "1"},
    {"": "1"},
    {5: "1"},
]


@pytest.mark.parametrize("headers", HEADERS, ids=repr)
def test_headers_that_cannot_be_added(headers):
    """What the client sets itself, and what would not stay one header, is refused and not shown."""
    with pytest.raises(ConfigurationError, match="headers") as caught:
        RouteraClient("eyJ").with_options(headers=headers)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("timeout", None), ("timeout", 0), ("deadline", "x"), ("retry", None)]
)
def test_a_copys_setting_that_cannot_be(name, value):
    """A copy's settings are held to the same rules."""
    with pytest.raises(ConfigurationError, match=name):
        RouteraClient("eyJ").with_options(**{name: value})


async def test_a_copy_sends_its_headers():
    """A copy's headers are added to its requests alone, and replace the one that can be.

    A copy of a copy adds its own to those: the later goes before the earlier, whatever its case.
    """
    added = {"X-Key": "one two", "user-agent": "mine"}
    async with Server(lambda _: [whole(200, RECORD)]) as server:
        client = RouteraClient("eyJ", base_url=server.url)
        copy = client.with_options(headers=added)
        more = copy.with_options(headers={"x-key": "three", "USER-AGENT": "its", "X-More": "1"})
        for each in (client, copy, copy.with_options(timeout=9), copy.with_options(headers={})):
            await each.tickets.get("1")
        await more.tickets.get("1")
        await client.aclose()
    assert dict(more._session.options.headers) == {
        "x-key": "three",
        "USER-AGENT": "its",
        "X-More": "1",
    }
    plain, *kept, later = (head.split(b"\r\n") for _, head in server.requests)
    assert not any(line.startswith(b"X-Key") for line in plain)
    assert any(line.startswith(b"User-Agent: routera-async/") for line in plain)
    ours = [line for line in later if line.lower().startswith((b"x-", b"user-agent"))]
    assert sorted(ours) == [b"USER-AGENT: its", b"X-More: 1", b"x-key: three"]
    for head in kept:
        assert b"X-Key: one two" in head
        assert [line for line in head if line.lower().startswith(b"user-agent")] == [
            b"user-agent: mine"
        ]
        assert b"Authorization: Bearer eyJ" in head


def test_a_copy_of_a_subclass_is_whole():
    """A subclass's own attributes are its copy's as well."""

    class Mine(RouteraClient):
        def __init__(self, tenant):
            super().__init__("eyJ", mint_external_ids=True)
            self.tenant = tenant

    copy = Mine("acme").with_options(timeout=9)
    assert (type(copy), copy.tenant, copy._mint) == (Mine, "acme", True)
    assert copy.tickets._session.options.timeout == 9


async def test_a_copy_has_routers_of_its_own():
    """A client makes its routers once; a copy of one that has makes others, with its options."""
    async with Server(lambda _: [whole(200, RECORD)]) as server:
        client = RouteraClient("eyJ", base_url=server.url)
        assert client.routers is client.routers
        copy = client.with_options(headers={"X-Key": "one"})
        await copy.routers.get("1")
        await client.routers.get("1")
        await client.aclose()
    (_, theirs), (_, ours) = server.requests
    assert b"X-Key: one" in theirs
    assert b"X-Key" not in ours


@pytest.mark.parametrize("value", [math.inf, math.nan, 0])
def test_a_time_that_is_none_is_said_to_be(value):
    """An infinite time-out is more than 0 seconds: what it must be is told."""
    with pytest.raises(ConfigurationError, match="timeout must be a finite number of seconds"):
        RouteraClient("eyJ", timeout=value)


async def test_copies_share_the_connections():
    """A copy uses the connections and the places of its original; closing one closes both."""
    async with Server(lambda _: [whole(200, RECORD)]) as server:
        client = RouteraClient("eyJ", base_url=server.url, max_connections=1)
        copy = client.with_options(timeout=5)
        await client.tickets.get("1")
        await copy.tickets.get("1")
        assert [number for number, _ in server.requests] == [0, 0]
        await copy.aclose()
        for each in (client, copy):
            with pytest.raises(ConfigurationError, match="the client is closed"):
                await each.tickets.get("1")


def test_a_copys_time_is_its_own(virtually, answers):
    """A copy's timeout and deadline hold for its calls, and not for its original's."""

    async def silent(url, **_):
        await asyncio.sleep(60)
        return CallbackResult(status=500)

    answers.post(TICKETS, callback=silent, repeat=True)
    once = RetryPolicy(max_attempts=1)

    async def main():
        loop = asyncio.get_running_loop()
        async with RouteraClient("eyJ", timeout=20.0, retry=once) as client:
            client._session._uniform = lambda _, most: most
            for copy, seconds in [
                (client.with_options(timeout=2.0), 2),
                (client.with_options(deadline=3.0), 3),
                (client.with_options(deadline=3.0).with_options(deadline=None), 20),
                (client, 20),
            ]:
                began = loop.time()
                with pytest.raises(NotSentError):  # a mock writes no body
                    await copy.tickets.create(NEW)
                assert loop.time() - began == seconds

    virtually(main())


def test_copies_share_the_tokens_of_retries(virtually, answers):
    """A retry of a copy takes its token from the same budget as its original's, if it is equal."""
    answers.post(TICKETS, status=503, repeat=True)
    budget = RetryBudget(capacity=1, per_second=0.01, per_success=0)
    policy = RetryPolicy(max_attempts=2, wait_initial=0, budget=budget)
    equal = RetryPolicy(max_attempts=2, wait_initial=0.0, budget=RetryBudget(**_as(budget)))
    other = RetryPolicy(max_attempts=2, wait_initial=0, budget=RetryBudget(capacity=1))

    async def main():
        clock = asyncio.get_running_loop().time
        async with RouteraClient("eyJ", retry=policy) as client:
            for copy, seconds in [
                (client, 0),  # takes the one there is; a 503 does not give it back
                (client.with_options(retry=other), 0),
                (client.with_options(retry=equal), 100),
            ]:
                with pytest.raises(ServerError):
                    await copy.tickets.create(NEW)
                assert clock() == pytest.approx(seconds)

    virtually(main())


def _as(budget):
    return {name: getattr(budget, name) for name in ("capacity", "per_second", "per_success")}


def test_a_copy_looks_at_no_model_again(monkeypatch):
    """A service makes a copy for each request: what a model's types can be is found out once."""
    client = RouteraClient("eyJ")
    monkeypatch.setattr(_shapes, "_readable", pytest.fail)
    assert client.with_options(deadline=1.0).tickets is not client.tickets
