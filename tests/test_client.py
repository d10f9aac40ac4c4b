"""The client's life: settings, loops, opening and closing."""

import asyncio
import contextlib
import gc
import threading
import warnings

import attrs
import pytest

from routera_async import ConfigurationError, RetryPolicy, RouteraClient
from routera_async.sandbox import Sandbox


@pytest.fixture
def far_sandbox():
    """Run a sandbox on a loop and a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def there(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    sandbox = Sandbox(any_field=True)
    there(sandbox.__aenter__())
    yield sandbox
    there(sandbox.__aexit__(None, None, None))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@contextlib.contextmanager
def no_warnings():
    """Fail for any warning, those of what is collected as garbage among them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.parametrize("closing", [True, False])
def test_one_client_for_many_loops(far_sandbox, unkeyed, closing):
    """One client, made with no loop, serves three loops, closed or not in each, and no warning."""

    async def main(client):
        try:
            return await asyncio.gather(*(client.tickets.create(unkeyed) for _ in range(5)))
        finally:
            if closing:
                await client.aclose()
                await client.__aenter__()

    with no_warnings():
        client = RouteraClient(far_sandbox.token, base_url=far_sandbox.url)
        made = [ticket.id for _ in range(3) for ticket in asyncio.run(main(client))]
        del client
    assert len(set(made)) == 15


def test_the_pools_of_ended_loops_are_forgotten(far_sandbox, unkeyed):
    """A client that outlives many loops does not keep what it had in each."""
    client = RouteraClient(far_sandbox.token, base_url=far_sandbox.url)
    with no_warnings():
        for _ in range(5):
            asyncio.run(client.tickets.create(unkeyed))
    assert len(client._session._pools) == 1


async def test_a_client_left_open_is_told(sandbox, unkeyed):
    """A client that is dropped while its loop runs warns, and its connections are closed."""
    client = RouteraClient(sandbox.token, base_url=sandbox.url)
    await client.tickets.create(unkeyed)
    http = client._session._pools.here().http
    with pytest.warns(ResourceWarning, match="a RouteraClient was left open"):
        del client
    gc.collect()  # the warning held its source until now
    for _ in range(10):  # the loop closes them, in turns of its own
        await asyncio.sleep(0)
    assert http.closed


async def test_a_client_that_was_never_used_needs_no_closing():
    """A client that made no call has nothing open."""
    with no_warnings():
        client = RouteraClient("eyJ")
        del client
        async with RouteraClient("eyJ"):
            pass
        await RouteraClient("eyJ").aclose()


async def test_a_closed_client_refuses(sandbox, unkeyed):
    """A call after the closing is a ConfigurationError that says so, until it is opened again."""
    client = RouteraClient(sandbox.token, base_url=sandbox.url)
    async with client:
        await client.tickets.create(unkeyed)
    await client.aclose()
    with pytest.raises(ConfigurationError, match="the client is closed"):
        await client.tickets.create(unkeyed)
    async with client as again:
        assert again is client
        await client.tickets.create(unkeyed)
    assert sandbox.request_count == 2


async def test_closing_waits_for_calls_under_way(wires, flat, new, token):
    """A call that is under way when the client closes gets its answer; a new one is refused."""
    answer = asyncio.Event()
    wire = await wires.serve(wires.answer(201, flat))
    slow = RouteraClient(_slow(answer, token), base_url=wire.url)
    call = asyncio.create_task(slow.tickets.create(new))
    await asyncio.sleep(0)
    closing = asyncio.create_task(slow.aclose())
    await asyncio.sleep(0)
    with pytest.raises(ConfigurationError):
        await slow.tickets.create(new)
    assert not closing.done()
    answer.set()
    await closing
    assert call.done()
    assert (await call).external_id == "ext-001"


async def test_a_cancelled_closing_closes(wires, new, token):
    """When the closing is itself cancelled, the connections are closed all the same."""
    wire = await wires.serve(wires.HANG)
    client = RouteraClient(token, base_url=wire.url)
    call = asyncio.create_task(client.tickets.create(new))
    await wire.arrived.wait()
    http = client._session._pools.here().http
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert http.closed
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


def _slow(answer, token):
    async def fetch():
        await answer.wait()
        return token

    return fetch


async def test_ten_thousand_at_once(unkeyed):
    """10,000 creates at once all succeed in time, though each attempt has only one second."""
    async with (
        Sandbox(latency=0.05, keep_requests=0) as sandbox,
        RouteraClient(sandbox.token, base_url=sandbox.url, timeout=1.0) as client,
    ):
        keyed = (attrs.evolve(unkeyed, external_id=f"k{number}") for number in range(10_000))
        tickets = await asyncio.gather(*map(client.tickets.create, keyed))
        assert [ticket.external_id for ticket in tickets] == [f"k{n}" for n in range(10_000)]
        assert sandbox.store.count("tickets") == sandbox.request_count == 10_000


@pytest.mark.parametrize(
    "settings",
    [
        {"timeout": 0},
        {"timeout": -1.0},
        {"timeout": float("nan")},
        {"deadline": 0},
        {"max_connections": 0},
        {"max_waiting": -1},
        {"base_url": "api.routera.io"},
    ],
)
def test_settings_that_cannot_work(settings):
    """A setting that could not work is refused when the client is made, by its name."""
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        RouteraClient("eyJ", **settings)


def test_max_waiting_may_be_none_at_all():
    """Nobody has to wait, and nobody has to be kept from it."""
    RouteraClient("eyJ", max_waiting=0, deadline=None, timeout=0.001)


async def test_a_client_from_the_environment(wires, flat, new):
    """from_env takes token and base URL from ROUTERA_TOKEN and ROUTERA_BASE_URL."""
    wire = await wires.serve(wires.answer(201, flat))
    environ = {"ROUTERA_TOKEN": " eyJ.eyJ.sig\n", "ROUTERA_BASE_URL": wire.url}
    async with RouteraClient.from_env(environ, retry=RetryPolicy(max_attempts=1)) as client:
        await client.tickets.create(new)
    assert b"Authorization: Bearer eyJ.eyJ.sig\r\n" in wire.requests[0]


async def test_an_argument_goes_before_the_environment(wires, flat, new, monkeypatch):
    """What is passed to from_env wins over the environment, which is the process's own."""
    wire = await wires.serve(wires.answer(201, flat))
    monkeypatch.setenv("ROUTERA_TOKEN", "t")
    monkeypatch.setenv("ROUTERA_BASE_URL", "https://elsewhere.example")
    async with RouteraClient.from_env(base_url=wire.url) as client:
        await client.tickets.create(new)
    assert len(wire.requests) == 1


async def test_credentials_from_the_environment(sandbox, unkeyed):
    """from_env takes an API client's credentials when there is no token."""
    environ = {"ROUTERA_CLIENT_ID": sandbox.client_id, "ROUTERA_BASE_URL": sandbox.url}
    with pytest.raises(ConfigurationError, match="ROUTERA_CLIENT_SECRET"):
        RouteraClient.from_env(environ)
    environ["ROUTERA_CLIENT_SECRET"] = sandbox.client_secret
    async with RouteraClient.from_env(environ) as client:
        await client.tickets.create(unkeyed)


@pytest.mark.parametrize("environ", [{}, {"ROUTERA_TOKEN": ""}, {"ROUTERA_TOKEN": " \n"}])
def test_no_token_in_the_environment(environ):
    """Without a token from_env says which variable to set."""
    with pytest.raises(ConfigurationError, match="set ROUTERA_TOKEN"):
        RouteraClient.from_env(environ)
