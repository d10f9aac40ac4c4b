"""The sandbox's life: it starts, records what arrives, and stops at once whatever is going on."""

import asyncio
import socket
import sqlite3

import aiohttp
import pytest

from routera_async.sandbox import ReceivedRequest, RequestLog, Sandbox, SandboxError

from .conftest import Client

BODY = b'{"fields":{"ticket_name":"Lamp","pipeline":"default","ticket_stage":"new"}}'
SOON = 10
"""Seconds after which a test is taken to hang: a stop takes a fraction of one."""


async def until(condition):
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110  the sandbox has no events of its own to wait for
            await asyncio.sleep(0)


def connection(sandbox):
    """Return the streams of a raw connection to the sandbox."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    return asyncio.open_connection(host, int(port))


def head(sandbox, body=BODY):
    """Return the head of a POST of a ticket."""
    return (
        f"POST /tickets HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: Bearer {sandbox.token}\r\n\r\n"
    ).encode()


# -- start ------------------------------------------------------------------------------------


async def test_it_starts_and_stops_many_times():
    """Twenty sandboxes in a row, and several at once, leave nothing open and nothing running."""
    for _ in range(20):
        async with Sandbox() as sandbox:
            assert sandbox.url.startswith("http://127.0.0.1:")
    async with Sandbox() as one, Sandbox() as two:
        assert one.url != two.url
        assert one.client_id != two.client_id
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_one_object_may_run_again_but_not_twice_at_once():
    """A sandbox that has stopped starts anew, with nothing of its records left in memory."""
    sandbox = Sandbox()
    for _ in range(2):
        async with sandbox, aiohttp.ClientSession() as session:
            assert sandbox.store.count() == 0
            assert (await Client(session, sandbox.url, sandbox.token).create())[0] == 201
            with pytest.raises(SandboxError, match="already running"):
                await sandbox.__aenter__()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", ""])
def test_it_listens_on_loopback_only(host):
    """Any other host is refused before anything is opened."""
    with pytest.raises(SandboxError, match=r"loopback only: use 127\.0\.0\.1"):
        Sandbox(host=host)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost", "http://127.0.0.1:"),
        ("127.0.0.2", "http://127.0.0.2:"),
        ("::1", "http://[::1]:"),
    ],
)
async def test_every_loopback_address_will_do(host, url):
    """The url is one that a client can use as it is."""
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    async with Sandbox(host=host) as sandbox, aiohttp.ClientSession() as session:
        assert sandbox.url.startswith(url)
        assert (await Client(session, sandbox.url, sandbox.token).create())[0] == 201


def has_ipv6():
    """Say whether ::1 can be bound here."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_a_port_in_use_is_said_clearly(sandbox):
    """The error names the port and what to do, and the half-started sandbox leaves nothing open."""
    port = int(sandbox.url.rpartition(":")[2])
    second = Sandbox(port=port)
    with pytest.raises(SandboxError, match=f"port {port}: .*choose another port, or 0"):
        await second.__aenter__()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        second.store.count()


@pytest.mark.parametrize("port", [-1, 65_536])
async def test_a_port_that_is_none_is_said_clearly(port):
    """Also on a loop that would take another port instead."""
    with pytest.raises(SandboxError, match=f"port {port}: give 0 to 65535"):
        await Sandbox(port=port).__aenter__()


async def test_a_freed_port_can_be_used_again_at_once():
    """A restart on the same port works although connections have just been closed there."""
    async with Sandbox() as sandbox, aiohttp.ClientSession() as session:
        await Client(session, sandbox.url, sandbox.token).create()
    async with Sandbox(port=int(sandbox.url.rpartition(":")[2])) as again:
        assert again.url == sandbox.url


@pytest.mark.parametrize("field", ["priority", "ticket_name=text", "id=number"])
def test_a_field_that_cannot_be_declared_is_refused(field):
    """A declaration that makes no sense raises ValueError before anything starts."""
    with pytest.raises(ValueError, match=field.partition("=")[0]):
        Sandbox(fields=[field])


def test_a_short_secret_is_refused():
    """HS256 with fewer than 32 bytes is refused instead of warned about later."""
    with pytest.raises(SandboxError, match="at least 32 bytes"):
        Sandbox(secret="x" * 31)


# -- tokens and files -------------------------------------------------------------------------


async def test_a_body_that_says_it_is_too_large_is_refused_unread(sandbox):
    """413 comes before the body does, so that nobody has to send it."""
    async with asyncio.timeout(SOON):
        reader, writer = await connection(sandbox)
        request = head(sandbox).replace(f"Length: {len(BODY)}".encode(), b"Length: 8388609")
        writer.write(request)
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.transport.abort()


async def test_one_runs_token_does_not_work_in_another(sandbox):
    """The secret is random, so a token of yesterday's sandbox is refused."""
    async with Sandbox() as other, aiohttp.ClientSession() as session:
        assert (await Client(session, other.url, sandbox.token).create())[0] == 401


async def test_a_given_secret_signs_the_tokens():
    """Two sandboxes with one secret take each other's tokens."""
    one, two = Sandbox(secret="x" * 32), Sandbox(secret="x" * 32)
    async with one, two, aiohttp.ClientSession() as session:
        assert (await Client(session, two.url, one.token).create())[0] == 201


async def test_a_file_keeps_records_tokens_and_credentials(tmp_path):
    """A restart on the same file knows the tokens, the client and the records of before."""
    path = tmp_path / "sandbox.db"
    async with Sandbox(db=path) as before, aiohttp.ClientSession() as session:
        token = before.token
        _, created = await Client(session, before.url, token).create(external_id="x")
        known = (before.client_id, before.client_secret)
    async with Sandbox(db=path) as after, aiohttp.ClientSession() as session:
        assert (after.client_id, after.client_secret) == known
        client = Client(session, after.url, token)
        assert await client.get(f"/tickets/{created['id']}") == (200, created)
        assert (await client.create(external_id="x"))[0] == 409


async def test_a_file_that_cannot_be_used_stops_the_start(tmp_path):
    """The store's own error comes through, and nothing is left open."""
    with pytest.raises(SandboxError, match="cannot open"):
        await Sandbox(db=tmp_path / "none" / "a.db").__aenter__()


# -- what arrived -----------------------------------------------------------------------------


async def test_what_arrived_is_recorded(client, sandbox):
    """Every request is there with what it said and what it was answered, but no credential."""
    await client.send("POST", "/tickets?a=%20b", b"nonsense", {"X-Test": "1"})
    await client.get("/no%20where")
    first, second = sandbox.requests
    assert (first.method, first.path, first.query) == ("POST", "/tickets", "a=%20b")
    assert (first.body, first.status) == (b"nonsense", 400)
    assert first.headers["x-test"] == "1"
    assert (second.method, second.path, second.status) == ("GET", "/no where", 404)
    assert second.body == b""
    for request in sandbox.requests:
        assert request.headers["authorization"] == "(hidden)"
        assert sandbox.token not in repr(request)
    assert sandbox.request_count == 2


async def test_a_request_without_credentials_shows_none(client, sandbox):
    """The hidden header stands only where there was one."""
    async with client.session.get(sandbox.url + "/tickets") as answer:
        assert answer.status == 401
    assert "Authorization" not in sandbox.requests[-1].headers


@pytest.mark.parametrize(("keep", "kept"), [(2, ["/3", "/4"]), (0, [])])
async def test_only_the_newest_requests_are_kept(keep, kept):
    """An import of any length leaves `keep_requests` of them behind, and counts them all."""
    async with Sandbox(keep_requests=keep) as sandbox, aiohttp.ClientSession() as session:
        client = Client(session, sandbox.url, sandbox.token)
        for number in range(5):
            await client.get(f"/{number}")
        assert [request.path for request in sandbox.requests] == kept
        assert sandbox.request_count == 5


def received(path, size=0):
    """Return a request as it was recorded."""
    return ReceivedRequest("GET", path, "", None, b"x" * size, 200)


def test_the_log_reads_like_a_list():
    """It has a length, indexes, slices, an order, and can be cleared for the next act."""
    log = RequestLog(10)
    for path in "abc":
        log.add(received(path))
    assert len(log) == 3
    assert (log[0].path, log[-1].path) == ("a", "c")
    assert [request.path for request in log[1:]] == ["b", "c"]
    assert repr(log) == "<RequestLog of 3 requests>"
    log.clear()
    assert list(log) == []


def test_the_log_may_grow_while_it_is_read():
    """Who goes through it sees the requests that were there."""
    log = RequestLog(10)
    for path in "ab":
        log.add(received(path))
    reading = iter(log)
    log.add(received("c"))
    assert [request.path for request in reading] == ["a", "b"]


def test_the_log_is_bounded_in_bytes_too():
    """Large bodies push the oldest out before there are too many, and clearing frees the room."""
    log = RequestLog(10, max_body_bytes=100)
    for path in "abc":
        log.add(received(path, size=40))
    assert [request.path for request in log] == ["b", "c"]
    log.clear()
    for path in "de":
        log.add(received(path, size=50))
    assert [request.path for request in log] == ["d", "e"]


# -- latency and stop -------------------------------------------------------------------------


async def test_latency_comes_before_each_answer_and_after_the_commit():
    """Each answer waits for as long as it is told to, the commit does not."""
    slept = []

    async def sleep(seconds):
        slept.append((seconds, sandbox.store.count()))

    sandbox = Sandbox(latency=0.25, sleep=sleep)
    async with sandbox, aiohttp.ClientSession() as session:
        client = Client(session, sandbox.url, sandbox.token)
        assert (await client.create())[0] == 201
        assert (await client.get("/nowhere"))[0] == 404
        sandbox.latency = 0
        assert (await client.create())[0] == 201
    assert slept == [(0.25, 1), (0.25, 1)]


async def test_it_stops_while_answers_sleep():
    """A stop cuts off what sleeps in its latency: the client is disconnected, the record stays."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(SOON):
        async with Sandbox(latency=3600) as sandbox:
            client = Client(session, sandbox.url, sandbox.token)
            calls = [asyncio.ensure_future(client.create()) for _ in range(3)]
            await until(lambda: len(sandbox.requests) == 3)
            assert sandbox.store.count() == 3
        for call in calls:
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await call


async def test_it_stops_what_sleeps_for_a_client_that_has_left():
    """An answer that nobody waits for any more is not left sleeping behind a stop."""
    async with asyncio.timeout(SOON), Sandbox(latency=3600) as sandbox:
        _, writer = await connection(sandbox)
        writer.write(head(sandbox) + BODY)
        await until(lambda: sandbox.requests)
        writer.transport.abort()
        await until(lambda: not sandbox._web.connections[0].transport)
        sleeping = set(sandbox._active)
        assert len(sleeping) == 1
    assert all(task.done() for task in sleeping)


async def test_it_stops_while_clients_hold_idle_connections():
    """Keep-alive connections, used or never used, do not hold up a stop."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(SOON):
        async with Sandbox() as sandbox:
            await Client(session, sandbox.url, sandbox.token).create()
            reader, writer = await connection(sandbox)
        assert await reader.read() == b""
        writer.close()


async def test_it_stops_while_a_body_is_half_sent():
    """A request that does not end is cut off, and nothing is left running."""
    async with asyncio.timeout(SOON):
        async with Sandbox() as sandbox:
            reader, writer = await connection(sandbox)
            writer.write(head(sandbox) + BODY[:9])
            await until(lambda: sandbox.request_count == 1)
        assert await reader.read() == b""
        writer.close()
        assert sandbox.request_count == 1
        assert list(sandbox.requests) == []


async def test_it_stops_while_a_client_does_not_read():
    """An answer that nobody takes is dropped within the bound, and its socket with it."""
    large = BODY.replace(b"Lamp", b"x" * 8_000_000)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    async with asyncio.timeout(SOON):
        async with Sandbox() as sandbox:
            slow.connect(("127.0.0.1", int(sandbox.url.rpartition(":")[2])))
            reader, writer = await asyncio.open_connection(sock=slow)
            writer.write(head(sandbox, large) + large)
            await until(lambda: sandbox.requests)
            taken = sandbox._web.connections[0].transport.get_extra_info("socket")
        assert taken.fileno() == -1
        # All that comes now is what the kernel had taken before the stop.
        assert len(await reader.read()) < len(large)
        writer.close()


async def test_a_client_that_leaves_does_not_undo_the_commit():
    """What the client no longer waits for is committed and answered to nobody."""
    async with asyncio.timeout(SOON), Sandbox() as sandbox:
        _, writer = await connection(sandbox)
        writer.write(head(sandbox) + BODY)
        await writer.drain()
        writer.close()
        await until(lambda: sandbox.store.count() == 1)


async def test_a_client_that_leaves_in_the_middle_of_its_body_creates_nothing(client, sandbox):
    """A request that never became whole is no request, and the sandbox goes on."""
    _, writer = await connection(sandbox)
    writer.write(head(sandbox) + BODY[:9])
    await until(lambda: sandbox.request_count == 1)
    writer.transport.abort()
    await until(lambda: not sandbox._active)
    assert sandbox.store.count() == 0
    assert (await client.create())[0] == 201


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
async def test_what_is_not_http_is_told_in_one_line(sandbox, client, caplog, level):
    """What cannot be read is answered 400, and logged without a traceback, below a warning."""
    caplog.set_level(level, "routera_async.sandbox")
    async with client.session.get(f"{sandbox.url}/{'x' * 9_000}") as answer:
        assert (answer.status, answer.content_type) == (400, "text/plain")
    lines = caplog.text.splitlines()
    assert len(lines) == (1 if level == "INFO" else 0)
    assert all("answered 400 to what is not HTTP" in line and len(line) < 400 for line in lines)


async def test_a_fault_of_the_server_is_told_with_its_traceback(sandbox, client, caplog):
    """What fails in the sandbox itself is not hidden by that."""

    async def broken(_):
        raise RuntimeError("broken")

    sandbox._answer = broken
    async with client.session.get(f"{sandbox.url}/tickets") as answer:
        assert answer.status == 500
    assert "RuntimeError: broken" in caplog.text
