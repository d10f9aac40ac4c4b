"""The client's life: settings, loops, opening and closing."""

import asyncio
import contextlib
import gc
import re
import ssl
import subprocess
import sys
import threading
import warnings

import attrs
import pytest
import trustme

from routera_async import (
    ClientCredentials,
    ConfigurationError,
    NotSentError,
    RetryPolicy,
    RouteraClient,
    ValidationError,
)
from routera_async.sandbox import Sandbox
from tests.reliability.wire import RECORD, Server, whole


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


@pytest.mark.parametrize("source", ["a JWT", "credentials", "a callable", "a copy"])
async def test_a_client_left_open_is_told(sandbox, unkeyed, source):
    """A client that is dropped while its loop runs warns at once, and its connections are closed.

    No cycle keeps it until the garbage is collected, whatever its tokens come from.
    """

    async def fetch():
        return sandbox.token

    credentials = ClientCredentials(sandbox.client_id, sandbox.client_secret)
    auth = {"credentials": credentials, "a callable": fetch}.get(source, sandbox.token)
    client = RouteraClient(auth, base_url=sandbox.url)
    if source == "a copy":
        client = client.with_options(timeout=5)
    await client.tickets.create(unkeyed)
    http = client._session._pools.here().http
    gc.collect()
    gc.disable()
    try:
        with pytest.warns(ResourceWarning, match="a RouteraClient was left open"):
            del client
    finally:
        gc.enable()
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


def test_closing_on_a_loop_that_has_no_pool(far_sandbox, unkeyed):
    """A client may be closed on another loop than it was used on; then it is closed on all."""
    client = RouteraClient(far_sandbox.token, base_url=far_sandbox.url)
    with no_warnings():
        asyncio.run(client.tickets.create(unkeyed))
        asyncio.run(client.aclose())
        with pytest.raises(ConfigurationError, match="the client is closed"):
            asyncio.run(client.tickets.create(unkeyed))


async def test_closing_twice_at_once(sandbox, unkeyed):
    """Who closes a client that is being closed waits as long, and nothing goes wrong."""
    client = RouteraClient(sandbox.token, base_url=sandbox.url)
    call = asyncio.create_task(client.tickets.create(unkeyed))
    await asyncio.sleep(0)
    http = client._session._pools.here().http

    async def close():
        await client.aclose()
        return call.done(), http.closed

    assert await asyncio.gather(*(close() for _ in range(3))) == [(True, True)] * 3
    await call
    assert await close() == (True, True)


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
    """10,000 creates at once all succeed in time, though each attempt has less than they all."""
    async with (
        Sandbox(latency=0.05, keep_requests=0) as sandbox,
        RouteraClient(sandbox.token, base_url=sandbox.url, timeout=4.0) as client,
    ):
        keyed = (attrs.evolve(unkeyed, external_id=f"k{number}") for number in range(10_000))
        tickets = await asyncio.gather(*map(client.tickets.create, keyed))
        assert [ticket.external_id for ticket in tickets] == [f"k{n}" for n in range(10_000)]
        assert sandbox.store.count("tickets") == sandbox.request_count == 10_000


FORK = """
import os
from routera_async import RouteraClient
client = RouteraClient("eyJ", mint_external_ids=True)
before, pid = client._session.mint(), os.fork()
os.write(1, client._session.mint().encode() + b"\\n")
if pid:
    os.waitpid(pid, 0)
    print(before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process is not forked")
def test_forked_processes_mint_keys_of_their_own():
    """A client that was made before a fork mints other keys in the child than in the parent."""
    told = subprocess.run(
        [sys.executable, "-c", FORK], check=True, capture_output=True, text=True
    ).stdout.split()
    assert len(told) == len(set(told)) == 3


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


@pytest.mark.parametrize("given", [5, None, b"1", ["1"]])
async def test_an_id_is_text(client, sandbox, given):
    """What is no text is no id: nothing is sent."""
    for call in (client.tickets.get, client.tickets.archive, client.routers.get):
        with pytest.raises(ValidationError, match="is no id"):
            await call(given)
    assert sandbox.request_count == 0


async def test_properties_are_a_list(client, sandbox, unkeyed):
    """A text as properties is not taken for the list of its letters."""
    for call in (
        lambda: client.tickets.create(unkeyed, properties="priority"),
        lambda: client.tickets.get("1", properties="priority"),
        lambda: anext(client.tickets.list(properties="priority").pages()),
    ):
        with pytest.raises(ConfigurationError, match=r"properties must be .* \['priority'\]"):
            await call()
    assert sandbox.request_count == 0


class Proxy(Server):
    """An HTTP proxy: answers a request itself, and leads a tunnel to where it is asked to."""

    async def _exchange(self, number, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append((number, head))
        method, target, _ = head.split(b"\r\n")[0].decode().split()
        answer = self.answer(head)
        if method != "CONNECT" or answer:
            length = re.search(rb"\r\nContent-Length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(*answer)
            return True
        host, _, port = target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))
        return False


async def _carry(reader, writer):
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
    writer.close()


USER = "http://user:pa%3Ass@"
BASIC = b"Proxy-Authorization: Basic dXNlcjpwYTpzcw==\r\n"


async def test_a_request_through_a_proxy(new):
    """A request to a plain http target names it whole, and shows the proxy its user."""
    async with Proxy(lambda _: [whole(201, RECORD)]) as proxy:
        url = proxy.url.replace("http://", USER)
        settings = {"base_url": "http://127.0.0.1:9/v1", "proxy": url}
        async with RouteraClient("eyJ", **settings) as client:
            await client.tickets.create(new)
            await client.with_options(headers={"X-Key": "1"}).tickets.get("1")
    heads = [head for _, head in proxy.requests]
    assert heads[0].startswith(b"POST http://127.0.0.1:9/v1/tickets HTTP/1.1\r\n")
    assert heads[1].startswith(b"GET http://127.0.0.1:9/v1/tickets/1 HTTP/1.1\r\n")
    for head in heads:
        assert head.count(BASIC) == head.count(b"\r\nAuthorization: Bearer eyJ\r\n") == 1


async def test_a_token_through_a_proxy(new):
    """The token route is asked through the proxy as well."""
    grant = whole(200, b'{"access_token":"t","expires_in":60}')
    async with Proxy(lambda asked: [grant if b"oauth2" in asked else whole(201, RECORD)]) as proxy:
        url = proxy.url.replace("http://", USER)
        auth = ClientCredentials("id", "secret")
        settings = {"base_url": "http://127.0.0.1:9", "proxy": url}
        async with RouteraClient(auth, **settings) as client:
            await client.tickets.create(new)
    (_, asked), (_, sent) = proxy.requests
    assert asked.startswith(b"POST http://127.0.0.1:9/oauth2/token ")
    assert BASIC in asked
    assert b"Authorization: Bearer t\r\n" in sent


async def test_a_proxy_that_nobody_reaches(unkeyed, at_once):
    """When the proxy refuses the connection nothing was sent, read or write."""
    settings = {"base_url": "http://127.0.0.1:9", "proxy": "http://127.0.0.1:1", "retry": at_once}
    async with RouteraClient("eyJ", **settings) as client:
        for call in (client.tickets.create(unkeyed), client.tickets.get("1")):
            with pytest.raises(NotSentError) as caught:
                await call
            assert {attempt.sent for attempt in caught.value.attempts} == {False}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Return a directory with an authority's certificate, a server's and a client's."""
    at = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(at / "ca.pem")
    for name, issued in (
        ("server", authority.issue_cert("127.0.0.1")),
        ("client", authority.issue_cert("client.example", common_name="client")),
    ):
        issued.private_key_pem.write_to_path(at / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(at / f"{name}.pem")
    return at


class Secure(Server):
    """The same over TLS; `shown` are the certificates that its clients showed."""

    def __init__(self, answer, tls):
        super().__init__(answer)
        self.shown = []
        self._tls = tls

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.url = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def _serve(self, reader, writer):
        self.shown.append(writer.get_extra_info("peercert"))
        await super()._serve(reader, writer)


@pytest.fixture
async def secure(certificates):
    """Run a server whose certificate an authority of its own has signed, and that asks for one."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "ca.pem")
    tls.verify_mode = ssl.CERT_OPTIONAL
    tls.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    async with Secure(lambda _: [whole(201, RECORD)], tls) as server:
        yield server


async def test_an_authority_of_ones_own(secure, certificates, new):
    """With `tls` a server is trusted that an own authority vouches for, and no other."""
    tls = ssl.create_default_context(cafile=certificates / "ca.pem")
    async with RouteraClient("eyJ", base_url=secure.url, tls=tls) as client:
        await client.tickets.create(new)
    assert (len(secure.shown), any(secure.shown)) == (1, False)


async def test_a_certificate_of_the_clients(secure, certificates, new):
    """A client's certificate is shown to a server that asks for it, the token route as well."""
    tls = ssl.create_default_context(cafile=certificates / "ca.pem")
    tls.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    grant = [whole(200, b'{"access_token":"t","expires_in":60}')]
    secure.answer = lambda asked: grant if b"oauth2" in asked else [whole(201, RECORD)]
    auth = ClientCredentials("id", "secret")
    async with RouteraClient(auth, base_url=secure.url, tls=tls) as client:
        await client.tickets.create(new)
    assert [dict(pair for (pair,) in shown["subject"])["commonName"] for shown in secure.shown] == [
        "client"
    ]
    assert len(secure.requests) == 2


async def test_a_certificate_that_nobody_vouches_for(secure, unkeyed, at_once):
    """A server whose certificate is not trusted is provably sent nothing."""
    async with RouteraClient("eyJ", base_url=secure.url, retry=at_once) as client:
        with pytest.raises(NotSentError, match="ClientConnectorCertificateError") as caught:
            await client.tickets.create(unkeyed)
    assert {attempt.sent for attempt in caught.value.attempts} == {False}
    assert secure.requests == []


async def test_a_tunnel_through_a_proxy(secure, certificates, new):
    """An https target is reached through a tunnel: the proxy is shown its user, and no token."""
    tls = ssl.create_default_context(cafile=certificates / "ca.pem")
    async with Proxy() as proxy:
        url = proxy.url.replace("http://", USER)
        async with RouteraClient("eyJ", base_url=secure.url, tls=tls, proxy=url) as client:
            await client.tickets.create(new)
            await client.tickets.create(new)
    ((_, head),) = proxy.requests
    assert head.startswith(b"CONNECT 127.0.0.1:")
    assert BASIC in head
    assert b"Bearer" not in head
    assert len(secure.requests) == 2
    assert not any(b"Proxy-Authorization" in each for _, each in secure.requests)


async def test_a_proxy_that_refuses_the_tunnel(unkeyed, at_once):
    """When the proxy leads no tunnel to the target nothing was sent, read or write."""
    async with Proxy(lambda _: [whole(407)]) as proxy:
        settings = {"base_url": "https://127.0.0.1:9", "proxy": proxy.url, "retry": at_once}
        async with RouteraClient("eyJ", **settings) as client:
            for call in (client.tickets.create(unkeyed), client.tickets.get("1")):
                with pytest.raises(NotSentError, match="407") as caught:
                    await call
                assert {attempt.sent for attempt in caught.value.attempts} == {False}
