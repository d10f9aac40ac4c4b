"""What is proven of a call, told from what really went over a socket."""

import asyncio
import gzip
import pickle
import socket

import aiohttp
import orjson
import pytest
from aiohttp.abc import AbstractResolver

from routera_async import (
    AttemptFinished,
    BadRequestError,
    ConfigurationError,
    DuplicateError,
    NotFoundError,
    NotSentError,
    OutcomeUnknown,
    ResponseError,
    RetryPolicy,
    RouteraClient,
    RouteraError,
    ServerError,
    TokenProvider,
)
from tests.reliability.wire import CLOSE, FLAT, RECORD, Server, whole

RECORD_LIMIT = 2**20
SOON = 0.5
"""Seconds in which a busy machine still sends a request, and after which a test gives up."""

BOMB = gzip.compress(b" " * (32 * RECORD_LIMIT))
LOST = {
    "closed": ("close",),
    "reset": ("reset",),
    "closed within the status line": (b"HTTP/1.1 2", "close"),
    "closed within the headers": (b"HTTP/1.1 201 Created\r\nContent-Le", "close"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "close"),
    "two lengths": (b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",),
    "a length that is none": (b"HTTP/1.1 201 Created\r\nContent-Length: x\r\n\r\n{}",),
    "headers too long": (b"HTTP/1.1 201 Created\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", "close"),
}
"""Answers that decide nothing, whatever status they may have meant to have."""


@pytest.fixture
async def closed_port():
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as held:  # bound and not listening: refused, and nobody else's
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def connect(token, at_once):
    """Return a function that makes a client of a server, which waits for nothing."""

    def client(url, **settings):
        return RouteraClient(token, base_url=url, **{"retry": at_once} | settings)

    return client


async def failure(client, call):
    """Return the error that a call of the client ends with."""
    async with client:
        with pytest.raises(RouteraError) as caught:
            await call(client.tickets)
    return caught.value


def met(error):
    """Return what the attempts of a call met: whether sent, the status, the outcome."""
    return [(attempt.sent, attempt.status, attempt.outcome) for attempt in error.attempts]


class NoSuchName(AbstractResolver):
    """Knows no host."""

    async def resolve(self, *_, **__):
        """Fail as a DNS server would."""
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def close(self):
        """Have nothing to close."""


@pytest.mark.parametrize("keyed", [True, False])
async def test_a_refused_connection_is_not_sent(connect, closed_port, new, unkeyed, keyed):
    """A refused connection is provably not sent, and tried again with and without a key."""
    given = new if keyed else unkeyed
    client = connect(f"http://127.0.0.1:{closed_port}")
    error = await failure(client, lambda tickets: tickets.create(given))
    assert type(error) is NotSentError
    assert error.outcome == "not_sent"
    assert met(error) == [(False, None, "not_sent")] * 5
    assert "ClientConnectorError" in error.attempts[0].error


async def test_a_read_that_was_refused_is_not_sent(connect, closed_port):
    """A GET has no body to tell by, and a refused connection is not sent all the same."""
    client = connect(f"http://127.0.0.1:{closed_port}")
    error = await failure(client, lambda tickets: tickets.get("1"))
    assert met(error) == [(False, None, "not_sent")] * 5


async def test_a_host_without_address_is_not_sent(connect, unkeyed):
    """A name that DNS does not know is provably not sent."""
    connector = aiohttp.TCPConnector(resolver=NoSuchName())
    async with aiohttp.ClientSession(connector=connector) as session:
        client = connect("https://nowhere.example", session=session)
        error = await failure(client, lambda tickets: tickets.create(unkeyed))
    assert type(error) is NotSentError
    assert met(error) == [(False, None, "not_sent")] * 5


async def test_a_handshake_that_hangs_is_not_sent(connect, wires, unkeyed):
    """A TLS handshake that never ends is provably not sent."""
    wire = await wires.serve(wires.HANG)
    client = connect(wire.url.replace("http:", "https:"), timeout=0.05)
    error = await failure(client, lambda tickets: tickets.create(unkeyed))
    assert type(error) is NotSentError
    assert met(error) == [(False, None, "not_sent")] * 5
    assert error.attempts[0].error == "TimeoutError"
    assert wire.requests == []


@pytest.mark.parametrize("answer", LOST.values(), ids=LOST)
async def test_a_lost_answer_is_unknown(connect, wires, unkeyed, answer):
    """Once the body began to be written, no answer means unknown; unkeyed, it is not repeated."""
    wire = await wires.serve(answer)
    error = await failure(connect(wire.url), lambda tickets: tickets.create(unkeyed))
    assert type(error) is OutcomeUnknown
    assert error.outcome == "unknown"
    assert met(error) == [(True, None, "unknown")]
    assert len(wire.requests) == 1


@pytest.mark.parametrize("answer", LOST.values(), ids=LOST)
async def test_a_lost_answer_is_asked_for_again_with_a_key(connect, wires, flat, new, answer):
    """With an external_id the same bytes are sent again."""
    wire = await wires.serve(answer, wires.answer(201, flat))
    async with connect(wire.url) as client:
        ticket = await client.tickets.create(new)
    assert ticket.external_id == "ext-001"
    assert len(wire.requests) == 2
    assert wire.bodies[0] == wire.bodies[1]


async def test_answers_that_stay_lost_are_unknown(connect, wires, new):
    """When no attempt is answered the call is unknown, and says what each attempt met."""
    wire = await wires.serve(wires.CLOSE)
    error = await failure(connect(wire.url), lambda tickets: tickets.create(new))
    assert type(error) is OutcomeUnknown
    assert met(error) == [(True, None, "unknown")] * 5
    assert [attempt.number for attempt in error.attempts] == [1, 2, 3, 4, 5]
    starts = [attempt.started for attempt in error.attempts]
    assert starts == sorted(starts)
    assert error.elapsed >= error.attempts[-1].started + error.attempts[-1].elapsed
    assert "POST /tickets was sent, and no answer came: ServerDisconnectedError" in str(error)


@pytest.mark.parametrize("keyed", [True, False])
async def test_an_unknown_create_tells_its_key(connect, wires, new, unkeyed, keyed):
    """What may exist can be looked for: the key that was sent, one's own or minted, is told."""
    wire = await wires.serve(wires.CLOSE)
    given = new if keyed else unkeyed
    once = RetryPolicy(max_attempts=1)
    async with connect(wire.url, mint_external_ids=True, retry=once) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.tickets.create(given)
        (many,) = [outcome async for outcome in client.tickets.create_many([given])]
    keys = [orjson.loads(body)["fields"]["external_id"] for body in wire.bodies]
    assert [caught.value.external_id, many.external_id] == keys
    assert (many.status, many.error.external_id) == ("unknown", keys[1])
    assert keyed is (keys == ["ext-001"] * 2)


async def test_a_read_is_repeated(connect, wires, flat):
    """A GET whose answer was lost is asked again."""
    wire = await wires.serve(wires.RESET, (b"HTTP/1.1 200", "close"), wires.answer(200, flat))
    async with connect(wire.url) as client:
        assert (await client.tickets.get("1")).external_id == "ext-001"


@pytest.mark.parametrize("beginning", [(), (b"HTTP/1.1 201 Created\r\n",)])
async def test_silence_is_unknown(connect, wires, unkeyed, beginning):
    """A server that takes the request and then says nothing leaves the outcome unknown."""
    wire = await wires.serve((*beginning, wires.HANG))
    client = connect(wire.url, timeout=SOON)
    error = await failure(client, lambda tickets: tickets.create(unkeyed))
    assert type(error) is OutcomeUnknown
    assert met(error) == [(True, None, "unknown")]
    assert error.attempts[0].error == "TimeoutError"


async def test_silence_is_asked_again_with_a_key(connect, wires, flat, new):
    """With an external_id a request that timed out is sent again."""
    wire = await wires.serve(wires.HANG, wires.answer(201, flat))
    async with connect(wire.url, timeout=SOON) as client:
        await client.tickets.create(new)
    assert len(wire.requests) == 2


UNREADABLE = {
    "empty": (lambda answer, _: answer(201), "not JSON (0 bytes)", slice(0)),
    "no content": (lambda *_: b"HTTP/1.1 204 None\r\n\r\n", "not JSON (0 bytes)", slice(0)),
    "html": (lambda answer, _: answer(201, b"<html>"), "not JSON (6 bytes)", b"<html>"),
    "bad UTF-8": (lambda answer, _: answer(201, b'"\xff"'), "not JSON (3 bytes)", b'"\xff"'),
    "a list": (lambda answer, _: answer(200, b"[]"), "expected an object @ $", b"[]"),
    "half": (lambda answer, flat: answer(201, flat[:99]), "not JSON (99 bytes)", slice(99)),
    "cut short": (
        lambda answer, flat: (answer(201, flat[:99], length=999), "close"),
        "ClientPayloadError",
        slice(99),
    ),
    "stuck": (
        lambda answer, flat: (answer(201, flat[:99], length=999), "hang"),
        "TimeoutError",
        slice(99),
    ),
    "bad gzip": (
        lambda answer, flat: answer(201, flat, "Content-Encoding: gzip"),
        "content-encoding: gzip",
        slice(0),
    ),
    "too long": (
        lambda answer, flat: answer(201, b" " * RECORD_LIMIT + flat),
        f"longer than {RECORD_LIMIT} bytes",
        b" " * 65_536,
    ),
    "a bomb": (
        lambda answer, _: answer(201, BOMB, "Content-Encoding: gzip"),
        f"longer than {RECORD_LIMIT} bytes",
        b" " * 65_536,
    ),
}
"""Answers whose status line says created and whose body cannot be read: how they are made, what
the error says, and what it keeps of the body."""


@pytest.mark.parametrize("name", UNREADABLE)
async def test_a_2xx_is_created_whatever_its_body(connect, wires, flat, new, name):
    """A 2xx status line proves the create; an unreadable body is told, and never repeated."""
    make, problem, kept = UNREADABLE[name]
    wire = await wires.serve(make(wires.answer, flat))
    timeout = SOON if name == "stuck" else 30
    error = await failure(connect(wire.url, timeout=timeout), lambda tickets: tickets.create(new))
    assert type(error) is ResponseError
    assert error.outcome == "created"
    assert problem in str(error)
    assert error.status in {200, 201, 204}
    assert error.body == (flat[kept] if isinstance(kept, slice) else kept)
    assert met(error) == [(True, error.status, "created")]
    assert len(wire.requests) == 1


async def test_a_body_without_what_it_needs_still_has_its_id(connect, wires, new):
    """When a created record cannot be read, its id is told if it can be."""
    wire = await wires.serve(wires.answer(201, b'{"id": "550e8400"}'))
    error = await failure(connect(wire.url), lambda tickets: tickets.create(new))
    assert (type(error), error.id, error.status) == (ResponseError, "550e8400", 201)


@pytest.mark.parametrize("packed", [True, False])
async def test_a_body_up_to_the_limit_is_read(connect, wires, flat, new, packed):
    """A record of exactly 1 MiB is read, compressed or not."""
    body = flat + b" " * (RECORD_LIMIT - len(flat))
    answer = wires.answer(201, body)
    if packed:
        answer = wires.answer(201, gzip.compress(body), "Content-Encoding: gzip")
    wire = await wires.serve(answer)
    async with connect(wire.url) as client:
        assert (await client.tickets.create(new)).ticket_name == "Support request"


@pytest.mark.parametrize("ending", ["close", "hang"])
async def test_a_status_decides_though_its_body_is_lost(connect, wires, new, ending):
    """A 409 is a duplicate even when its body never came whole."""
    wire = await wires.serve((wires.answer(409, b'{"mess', length=99), ending))
    timeout = SOON if ending == "hang" else 30
    error = await failure(connect(wire.url, timeout=timeout), lambda tickets: tickets.create(new))
    assert type(error) is DuplicateError
    assert error.message.startswith("HTTP 409 without a message (6 bytes")
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(201, ResponseError), (409, DuplicateError), (400, BadRequestError)]
)
async def test_a_status_decides_though_the_deadline_cuts_its_body_off(
    connect, wires, new, status, kind
):
    """When the status line has come, the deadline's end makes nothing not sent of it."""
    wire = await wires.serve((wires.answer(status, b'{"mess', length=99), "hang"))
    error = await failure(connect(wire.url, deadline=0.1), lambda tickets: tickets.create(new))
    assert type(error) is kind
    assert error.outcome == kind.outcome
    assert len(wire.requests) == 1


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_the_deadline_ends_an_attempt_that_was_sent(connect, wires, new, method):
    """The error of an only attempt says that it was sent, and that the deadline has ended it."""
    wire = await wires.serve(wires.HANG)
    error = await failure(
        connect(wire.url, deadline=0.1),
        lambda tickets: tickets.create(new) if method == "POST" else tickets.get("1"),
    )
    ended = "TimeoutError: the deadline of 0.1 s passed"
    path = "/tickets" if method == "POST" else "/tickets/1"
    assert (type(error), error.outcome) == (OutcomeUnknown, "unknown")
    assert str(error) == f"{method} {path} was sent, and no answer came: {ended}"
    assert [(each.sent, each.error) for each in error.attempts] == [(True, ended)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(connect, wires, flat, new, status):
    """A redirect is a wrong setting: neither the body nor the token goes anywhere else."""
    elsewhere = await wires.serve(wires.answer(201, flat))
    wire = await wires.serve(wires.answer(status, b"", f"Location: {elsewhere.url}/tickets"))
    error = await failure(connect(wire.url), lambda tickets: tickets.create(new))
    assert type(error) is ConfigurationError
    assert elsewhere.url in str(error)
    assert met(error) == [(True, status, "unknown" if status == 303 else "rejected")]
    assert (len(wire.requests), len(elsewhere.requests)) == (1, 0)


@pytest.mark.parametrize(
    ("before", "ours"),
    [(None, False), ("close", True), (500, True), (503, True), (429, False)],
)
async def test_a_duplicate_may_be_ours(connect, wires, new, before, ours):
    """A 409 may be our own earlier attempt's work only when one may have been done."""
    first = wires.answer(before) if isinstance(before, int) else before
    script = [answer for answer in (first, wires.answer(409, b"{}")) if answer]
    wire = await wires.serve(*script)
    error = await failure(connect(wire.url), lambda tickets: tickets.create(new))
    assert type(error) is DuplicateError
    assert error.ours is ours
    assert error.outcome == "duplicate"
    assert len(wire.requests) == len(script)


@pytest.mark.parametrize(
    ("status", "kind"), [(400, BadRequestError), (404, NotFoundError), (307, ConfigurationError)]
)
async def test_a_refusal_after_a_lost_answer_is_unknown(connect, wires, new, status, kind):
    """A later refusal says nothing of the request whose answer was lost."""
    wire = await wires.serve(wires.CLOSE, wires.answer(status))
    error = await failure(connect(wire.url), lambda tickets: tickets.create(new))
    assert type(error) is kind
    assert error.outcome == "unknown"
    assert [attempt.outcome for attempt in error.attempts] == ["unknown", "rejected"]


async def test_a_refusal_alone_is_a_rejection(connect, wires, new):
    """Without a lost answer before it, a refusal decides."""
    wire = await wires.serve(wires.answer(429, b"", "Retry-After: 0"), wires.answer(400))
    error = await failure(connect(wire.url), lambda tickets: tickets.create(new))
    assert (type(error), error.outcome) == (BadRequestError, "rejected")


async def test_a_connection_refused_after_a_lost_answer_is_unknown(connect, wires, new):
    """When the server goes away after it took a request, that request may have been done."""
    wire = await wires.serve(wires.CLOSE)

    def go_away(event):
        if isinstance(event, AttemptFinished):
            wire.close()

    client = connect(wire.url, hooks=[go_away])
    error = await failure(client, lambda tickets: tickets.create(new))
    assert type(error) is OutcomeUnknown
    assert "an earlier attempt may have been done" in str(error)
    assert [sent for sent, _, _ in met(error)] == [True, False, False, False, False]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_an_unkeyed_create_that_is_not_to_be_repeated(connect, wires, unkeyed, status):
    """With resend_unkeyed=False a 5xx on a create without a key is unknown, and sent once."""
    wire = await wires.serve(wires.answer(status, b'{"message": "Oops"}'))
    policy = RetryPolicy(wait_initial=0, resend_unkeyed=False)
    client = connect(wire.url, retry=policy)
    error = await failure(client, lambda tickets: tickets.create(unkeyed))
    assert type(error) is OutcomeUnknown
    assert f"{status}: Oops" in str(error)
    assert met(error) == [(True, status, "unknown")]


async def test_a_5xx_for_ever_is_a_server_error(connect, wires, new):
    """When every attempt meets a 500, the last is raised, and its outcome is unknown."""
    wire = await wires.serve(wires.answer(500, b"<html>"))
    error = await failure(connect(wire.url), lambda tickets: tickets.create(new))
    assert (type(error), error.outcome, error.status) == (ServerError, "unknown", 500)
    assert len(wire.requests) == 5


async def test_a_cancelled_call_passes_through(wires, flat, new, token):
    """A cancellation is never swallowed or repeated, and the connections serve the next call."""
    wire = await wires.serve(wires.HANG, wires.answer(201, flat))
    async with RouteraClient(token, base_url=wire.url, max_connections=1) as client:
        call = asyncio.create_task(client.tickets.create(new))
        await wire.arrived.wait()
        waiting = asyncio.create_task(client.tickets.create(new))
        given_up = asyncio.create_task(client.tickets.create(new))
        await asyncio.sleep(0)
        given_up.cancel()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert (await waiting).external_id == "ext-001"
    assert len(wire.requests) == 2


async def test_a_cancelled_attempt_is_told_to_hooks(wires, new, token):
    """A hook is told that the attempt of a cancelled call had been sent."""
    events = []
    wire = await wires.serve(wires.HANG)
    async with RouteraClient(token, base_url=wire.url, hooks=[events.append]) as client:
        call = asyncio.create_task(client.tickets.create(new))
        await wire.arrived.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    *_, attempt, ended = events
    assert (attempt.sent, attempt.status, attempt.error) == (True, None, "cancelled")
    assert (ended.outcome, ended.status, ended.error) == ("unknown", None, "cancelled")


ECHOES = {
    "a refusal": lambda answer, body, token: answer(400, body, f"X-Echo: Bearer {token}"),
    "a cut refusal": lambda answer, body, _: (answer(400, body, length=9999), "close"),
    "an error": lambda answer, body, token: answer(501, body * 2000, f"Content-Type: a/{token}"),
    "a redirect": lambda answer, _, token: answer(
        307, b"", f"Location: https://far.example/{token}"
    ),
    "a created record": lambda answer, body, _: answer(201, b"<html>" + body),
    "a long record": lambda answer, _, token: answer(201, b" " * 65_500 + token.encode()),
    "no HTTP": lambda _, __, token: f"HTTP/1.1 201 Created\r\nBad {token}\x01: x\r\n\r\n".encode(),
}
"""Answers that show the caller's token, in every place that an answer has."""


@pytest.mark.parametrize("name", ECHOES)
async def test_an_echoed_token_is_not_kept(wires, unkeyed, token, caplog, name):
    """A server that shows the token back puts it into no error and no log."""
    caplog.set_level("DEBUG")
    body = b'{"message": "bad token: %s", "error": true}' % token.encode()
    wire = await wires.serve(ECHOES[name](wires.answer, body, token))
    events = []
    client = RouteraClient(token, base_url=wire.url, hooks=[events.append])
    error = await failure(client, lambda tickets: tickets.create(unkeyed))
    assert f"Bearer {token}".encode() in wire.requests[0]
    everything = pickle.dumps(error) + repr([error, vars(error), events, caplog.text]).encode()
    assert token.encode() not in everything
    assert token[:40].encode() not in everything


async def test_a_token_of_another_401_is_not_kept(wires, new):
    """The token that a provider gave after a 401 is hidden as the first was."""
    tokens = iter(["first-canary", "second-canary"])

    async def fetch():
        return next(tokens)

    wire = await wires.serve(
        wires.answer(401, b'{"message": "no first-canary"}'),
        wires.answer(401, b'{"message": "no second-canary"}'),
    )
    client = RouteraClient(TokenProvider(fetch), base_url=wire.url)
    error = await failure(client, lambda tickets: tickets.create(new))
    assert str(error) == "401: no [token]"
    assert b"canary" not in pickle.dumps(error)


async def test_the_old_token_is_not_kept(wires, new):
    """After a 401 an answer to the new token may quote the old one: it is hidden as well."""
    tokens = iter(["old-canary-0123456789", "new-canary-9876543210"])

    async def fetch():
        return next(tokens)

    wire = await wires.serve(
        wires.answer(401),
        wires.answer(400, b'{"message": "not old-canary-0123456789"}', "X: old-canary-0123456789"),
    )
    client = RouteraClient(TokenProvider(fetch), base_url=wire.url)
    error = await failure(client, lambda tickets: tickets.create(new))
    assert str(error) == "400: not [token]"
    assert error.headers["x"] == "[token]"
    assert b"canary" not in pickle.dumps(error)


async def test_a_token_cut_short_is_not_kept(connect, wires, new, token):
    """A message that shows the token without its last characters shows nothing of it."""
    said = f"bad token {token[:-7]}... (shortened), not {token[:9]} nor {token}x"
    wire = await wires.serve(wires.answer(400, orjson.dumps({"message": said})))
    error = await failure(connect(wire.url), lambda tickets: tickets.create(new))
    assert str(error) == "400: bad token [token]... (shortened), not [token] nor [token]x"
    assert token[:8] not in repr(vars(error))


def _eager(loop, coro, **kwargs):
    """Begin what writes a body at once, as aiohttp does from Python 3.12 on."""
    if getattr(coro, "__name__", None) != "write_bytes":
        return asyncio.Task(coro, loop=loop, **kwargs)
    with pytest.raises(StopIteration):  # it does not wait
        coro.send(None)
    done = loop.create_future()
    done.set_result(None)
    return done


LATE = {
    "a refusal": whole(400, b"{}"),
    "a refusal without a body": whole(400),
    "a refusal cut short": whole(400, b'{"mess', length=99),
    "a time-out": whole(408, b"{}", "Connection: close"),
    "a record": whole(201, RECORD),
    "no HTTP": b"SSH-2.0\r\n\r\n",
}
"""What may come on an idle connection, and answers nothing."""


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("when", ["while it is idle", "when it is taken"])
@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
async def test_what_came_before_the_request_is_no_answer(token, new, at_once, late, when, eager):
    """Bytes on an idle connection of the caller's own session are not taken for ours.

    Whether aiohttp sees them before it takes the connection or after, and though it may then wait
    before it hands them on: the attempt was not sent, the next is, and the record is created once.
    """
    trace = aiohttp.TraceConfig()
    server, said = Server(lambda _: [whole(201, RECORD)]), []

    async def reused(*_):
        if when == "when it is taken" and not said:
            said.append(late)
            await server.say(late)

    async def ended(*_):
        for _ in range(5):
            await asyncio.sleep(0)

    trace.on_connection_reuseconn.append(reused)
    trace.on_request_end.append(ended)
    if eager:
        asyncio.get_running_loop().set_task_factory(_eager)
    async with server, aiohttp.ClientSession(trace_configs=[trace]) as own:
        events = []
        settings = {"base_url": server.url, "session": own, "retry": at_once}
        async with RouteraClient(token, **settings, hooks=[events.append]) as client:
            await client.tickets.create(new)
            if when == "while it is idle":
                await server.say(late)
            await client.tickets.create(new)
    told = [each for each in events if isinstance(each, AttemptFinished)]
    assert [(each.sent, each.status) for each in told[1:]][-2:] in [
        [(False, None), (True, 201)],
        [(True, 201)],  # aiohttp saw it, and has taken another connection by itself
    ]
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [300, 303, 304])
async def test_many_that_may_have_been_done_are_unknown(connect, wires, new, status):
    """A 3xx that may follow work that was done stops an import, and its row is unknown."""
    wire = await wires.serve(wires.answer(status))
    async with connect(wire.url) as client:
        outcomes = client.tickets.create_many([new], concurrency=1)
        assert (await anext(outcomes)).status == "unknown"
        with pytest.raises(ConfigurationError):
            await anext(outcomes)
    assert len(wire.requests) == 1


ARCHIVED = orjson.dumps(FLAT | {"archived": "2026-06-01T10:00:00.000Z"})


async def _repeated_delete(call, *, then):
    """Make a call on a used connection that the server closes when it has taken the DELETE."""
    script = iter([[whole(200, RECORD)], [CLOSE], [whole(404)], then])
    server = Server(lambda _: next(script))
    async with server, RouteraClient("eyJ", base_url=server.url) as client:
        await client.tickets.get("1")
        try:
            return await call(client), server
        except RouteraError as error:
            return error, server


async def test_a_delete_that_aiohttp_repeats_may_be_ours():
    """When aiohttp itself sends a DELETE twice, a 404 to the second may be the first one's work."""
    result, server = await _repeated_delete(
        lambda client: client.tickets.archive("1"), then=[whole(200, ARCHIVED)]
    )
    assert not isinstance(result, RouteraError), result
    assert result.archived.year == 2026
    methods = [head.split()[0].decode() for _, head in server.requests]
    assert methods == ["GET", "DELETE", "DELETE", "GET"]


async def test_a_repeated_delete_of_what_is_not_there():
    """When the record is not archived after all, the 404 is told, and is unknown."""
    result, _ = await _repeated_delete(
        lambda client: client.tickets.archive("1"), then=[whole(200, RECORD)]
    )
    assert (type(result), result.outcome) == (NotFoundError, "unknown")
    assert [attempt.status for attempt in result.attempts] == [404]
