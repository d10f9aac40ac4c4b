"""No token and no secret is shown: in no log, error, pickle, warning, event, span or traceback."""

import asyncio
import base64
import gc
import itertools
import json
import logging
import pickle
import traceback
import warnings
from typing import get_args

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult

from routera_async import (
    ClientCredentials,
    RetryPolicy,
    RouteraClient,
    RouteraError,
    TokenProvider,
    log_hook,
)
from routera_async.otel import OtelHook
from routera_async.sandbox import Fault, FaultName, Sandbox
from tests.reliability.hostile import ECHOED, TABLE
from tests.reliability.wire import (
    AT_ONCE,
    CALLS,
    CLOSE,
    HANG,
    NEW,
    RECORD,
    TOKEN,
    UNKEYED,
    Server,
    client_of,
    whole,
)

PROVIDED = "provided.Y2FuYXJ5LW9mLXRoZS1wcm92aWRlcg.c2lnbmF0dXJl".ljust(len(TOKEN), "P")
GRANTED = "granted.Y2FuYXJ5LW9mLXRoZS1yb3V0ZQ.c2lnbmF0dXJl".ljust(len(TOKEN), "G")
SECRET = "canary-secret~of/an+API=client&that-is-long-enough"
NAMES = {"ticket_name": "Support request", "pipeline": "default", "ticket_stage": "new"}
LEAST = 10_000_000
"""Characters that are looked through."""

_BLOCK = 12
_SOON = 0.05
"""Seconds an attempt takes at the most where a fault is silent."""


def _forms(canary):
    """Return a canary as text, and as base64 wherever it may begin in a group of three bytes."""
    yield canary
    for shift in range(3):
        yield base64.b64encode(b"x" * shift + canary.encode()).decode()[4:-4]


def _blocks(canary):
    """Return parts of a canary, one of which is in any text that shows half of it."""
    for form in _forms(canary):
        yield from (form[at : at + _BLOCK] for at in range(0, len(form) - _BLOCK, _BLOCK))


HEADER_OF_ANY_JWT = "eyJhbGciOiJIUzI1NiJ9."


class Reader(logging.Handler):
    """Reads all that there is to see, as a person, a pickle or an error tracker would."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self._formatter = logging.Formatter("%(levelname)s %(name)s %(message)s")
        self.size = 0
        self.leaks = []
        self.blocks = set()
        self.look_for(TOKEN.removeprefix(HEADER_OF_ANY_JWT), PROVIDED, GRANTED, SECRET)
        tracing = TracerProvider()
        tracing.add_span_processor(SimpleSpanProcessor(self))
        self.hooks = [self.event, log_hook, OtelHook(tracer_provider=tracing)]

    def look_for(self, *canaries):
        """Add what must not be seen."""
        self.blocks.update(block for canary in canaries for block in _blocks(canary))

    def read(self, *texts):
        """Look for a canary, and note what stands around it."""
        for text in texts:
            self.size += len(text)
            found = [text.find(block) for block in self.blocks]
            self.leaks += [text[max(0, at - 200) : at + 100] for at in found if at >= 0]

    def emit(self, record):
        """Read a log record, all its fields, and the variables of our frames in its traceback.

        asyncio's own debug log of a broken socket has the bytes that it was sending in a frame of
        asyncio's: nobody can send a token without that.
        """
        self.read(self._formatter.format(record), repr(vars(record)))
        if record.exc_info:
            trace = traceback.TracebackException(*record.exc_info, capture_locals=True)
            self.read(*(repr(at.locals) for at in trace.stack if "/routera_async/" in at.filename))

    def error(self, error):
        """Read an error and what it goes with."""
        self.read(str(error), repr(error), repr(error.args), repr(vars(error)))
        self.read(pickle.dumps(error).decode("latin-1"))
        self.trace(error)

    def trace(self, error):
        """Read an error's traceback, and those of its causes, with every frame's variables."""
        self.read("".join(traceback.format_exception(error)))
        full = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.read("".join(full.format()))

    def export(self, spans):
        """Read spans, as their exporter."""
        self.read(*(span.to_json() for span in spans))
        return SpanExportResult.SUCCESS

    def shutdown(self):
        """Be an exporter."""

    def event(self, event):
        """Be a hook."""
        self.read(repr(event), repr(pickle.dumps(event)))


@pytest.fixture
def reader():
    """Read every log record, from DEBUG up, while asyncio says all that it can."""
    reader = Reader()
    root = logging.getLogger()
    names = ["", "aiohttp", "aiohttp.client", "asyncio", "routera_async", "routera_async.sandbox"]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(reader)
    yield reader
    root.removeHandler(reader)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


async def _provide():
    return PROVIDED


AUTHS = {
    "a JWT": lambda: TOKEN,
    "a callable": lambda: _provide,
    "a provider": lambda: TokenProvider(_provide),
    "credentials": lambda: ClientCredentials("id", SECRET),
    "Basic credentials": lambda: ClientCredentials("id", SECRET, basic=True),
}


def _granting(answer):
    """Return what answers as `answer` does, and grants tokens."""
    grant = whole(200, json.dumps({"access_token": GRANTED, "expires_in": 3600}).encode())
    return lambda asked: [grant] if b" /oauth2/token " in asked else answer(asked)


def _echoing(steps):
    """Return an answer in which the caller's own token stands for the table's."""

    def answer(asked):
        token = asked.partition(b"Bearer ")[2].partition(b"\r\n")[0] or TOKEN.encode()
        return (
            step.replace(TOKEN.encode(), token) if isinstance(step, bytes) else step
            for step in steps()
        )

    return answer


async def _meet(made, reader):
    """Make a call, and read what it ends with."""
    try:
        reader.read(repr(await made))
    except (RouteraError, TimeoutError, asyncio.CancelledError) as error:
        reader.error(error)


async def _over_all_answers(auth, reader, names):
    for name in names:
        hostile = TABLE[name]
        kind = "create keyed" if len(name) % 2 else "get"
        server = Server(_granting(_echoing(hostile.steps)), early=hostile.early)
        settings = {"auth": AUTHS[auth](), "hooks": reader.hooks}
        async with server, client_of(server, **settings) as client:
            reader.read(repr(client), repr(vars(client)), repr(vars(client._session)))
            await _meet(CALLS[kind].make(client), reader)


ECHO = f"X: Bearer {TOKEN}"
POINTS = {
    "before the answer": [HANG],
    "within the head": [b"HTTP/1.1 201 Created\r\n" + ECHO.encode(), HANG],
    "within the body": [whole(201, ECHOED, ECHO, length=999), HANG],
    "within the body of a refusal": [whole(400, ECHOED, ECHO, length=999), HANG],
    "within the body of an error": [whole(500, ECHOED, ECHO, length=999), HANG],
    "in the pause before another": [whole(503, ECHOED, ECHO, "Retry-After: 60")],
    "in the pause after nothing": [CLOSE],
}
"""Where a call can be cut off."""

TOKEN_POINTS = {
    "before the token": [HANG],
    "within the token's head": [b"HTTP/1.1 200 OK\r\n" + f"X: {SECRET}".encode(), HANG],
    "within the token": [
        whole(
            200,
            b'{"access_token":"%s","a":"%s"' % (GRANTED.encode(), SECRET.encode()),
            f"X: {SECRET}",
            length=999,
        ),
        HANG,
        NEW,
        RECORD,
    ],
    "after a refusal of the token": [whole(401, json.dumps({"error": SECRET}).encode())],
    "in the pause before another token": [whole(503, SECRET.encode(), f"X: {SECRET}")],
}
"""Where a call can be cut off that has no token yet."""

PATIENT = RetryPolicy(max_attempts=2, wait_initial=60)


async def _cancelled(made):
    call = asyncio.create_task(made)
    await _turns()
    call.cancel()
    await call


async def _timed_out(made):
    async with asyncio.timeout(0.01):
        await made


async def _waited_for(made):
    await asyncio.wait_for(made, 0.01)


async def _in_a_group(made):
    async def fail():
        await _turns()
        raise TimeoutError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(made)
            group.create_task(fail())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed


CUTS = [_cancelled, _timed_out, _waited_for, _in_a_group]


async def _turns():
    """Let whatever is on its way arrive."""
    for _ in range(100):
        await asyncio.sleep(0)


async def _cut_off(auth, reader):
    """Cut calls off at every point, in every way."""
    points = [_granting(_echoing(lambda steps=steps: steps)) for steps in POINTS.values()]
    if "credentials" in auth:
        points += [lambda _, steps=steps: steps for steps in TOKEN_POINTS.values()]
    kinds = itertools.cycle(CALLS)
    for answer, cut in itertools.product(points, CUTS):
        kind = next(kinds)
        async with Server(answer) as server:
            settings = {"auth": AUTHS[auth](), "hooks": reader.hooks, "retry": PATIENT}
            async with client_of(server, **settings) as client:
                await _meet(cut(CALLS[kind].make(client)), reader)
            async with client_of(server, **settings, max_connections=1) as client:
                first = asyncio.create_task(_meet(client.tickets.create(UNKEYED), reader))
                await _turns()
                await _meet(cut(CALLS[kind].make(client)), reader)
                first.cancel()
                await first


async def _over_a_sandbox(reader):
    """Meet the documented refusals with tokens that the sandbox signed."""
    async with Sandbox() as sandbox:
        expired = sandbox.mint_token(ttl=0)
        pair = (sandbox.client_id, sandbox.client_secret)
        reader.look_for(pair[1], *(jwt.partition(".")[2] for jwt in (sandbox.token, expired)))
        auths = [
            sandbox.token,
            expired,
            ClientCredentials(*pair),
            ClientCredentials(*pair, basic=True),
            ClientCredentials(pair[0], SECRET),
        ]
        for auth in auths:
            async with client_of(sandbox, auth=auth, hooks=reader.hooks) as client:
                for make in (
                    lambda tickets: tickets.create(NEW),
                    lambda tickets: tickets.create({**NAMES, "no_such_field": 1}),
                    lambda tickets: tickets.create({}),
                    lambda tickets: tickets.get("none"),
                ):
                    await _meet(make(client.tickets), reader)


async def _over_all_faults(reader):
    """Meet every fault of the sandbox, with a token that it signed."""
    async with Sandbox() as sandbox:
        reader.look_for(sandbox.token.partition(".")[2], sandbox.client_secret)
        auths = [sandbox.token, ClientCredentials(sandbox.client_id, sandbox.client_secret)]
        for name, auth, kind in itertools.product(get_args(FaultName), auths, CALLS):
            fault = Fault(name, location="/tickets") if name == "redirect" else Fault(name)
            sandbox.faults.script(fault, fault)
            settings = {"auth": auth, "hooks": reader.hooks, "timeout": _SOON}
            async with client_of(sandbox, **settings) as client:
                await _meet(CALLS[kind].make(client), reader)
            sandbox.faults.clear()
        assert sandbox.faults.met.keys() == set(get_args(FaultName))


async def _left_open(auth):
    """Leave a client to the garbage collector."""
    async with Server(_granting(lambda _: [whole(200, RECORD)])) as server:
        client = client_of(server, auth=AUTHS[auth]())
        await client.tickets.get("1")
        del client
        gc.collect()


async def test_no_canary_is_shown(reader):
    """No token and no secret is in anything that can be seen of any call, however it ended."""
    names = [name for name, hostile in TABLE.items() if not hostile.endless]
    echoes = [name for name in names if "echo" in name]
    asyncio.get_running_loop().set_debug(True)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for number, auth in enumerate(AUTHS):
            await _over_all_answers(auth, reader, echoes + names[number :: len(AUTHS)])
            await _cut_off(auth, reader)
            await _left_open(auth)
        await _over_a_sandbox(reader)
        await _over_all_faults(reader)
    reader.read(*(f"{warning.message!r} {warning.source!r}" for warning in warned))
    assert any(warning.category is ResourceWarning for warning in warned)
    assert reader.leaks == []
    assert reader.size >= LEAST


PASSWORD = "canary-password-of-the-proxy-that-is-long"
KEY = "canary-of-an-extra-header-that-is-long"


async def _through(proxy, reader, auth, scheme):
    """Read what a client of a proxy shows of itself, and of its calls, cut off or not."""
    url = proxy.replace("http://", f"http://user:{PASSWORD}@")
    settings = {"proxy": url, "timeout": _SOON, "retry": AT_ONCE, "hooks": reader.hooks}
    async with RouteraClient(AUTHS[auth](), base_url=f"{scheme}://127.0.0.1:9", **settings) as made:
        client = made.with_options(headers={"X-Key": KEY})
        session = client._session
        reader.read(repr(client), repr(vars(client)), repr(vars(session)))
        reader.read(repr(vars(session._auth)), repr(session.options))
        await _meet(client.tickets.get("1"), reader)
        for cut in (None, *CUTS):
            call = client.tickets.create(NEW)
            await _meet(cut(call) if cut else call, reader)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("auth", ["a JWT", "credentials"])
async def test_no_canary_of_a_proxy_or_a_header_is_shown(reader, scheme, auth):
    """Neither a proxy's password nor an extra header is in anything that can be seen of a call.

    Whether the proxy is not there, refuses, says nothing or hangs up, on the way to either target.
    """
    reader.look_for(PASSWORD, KEY)
    asyncio.get_running_loop().set_debug(True)
    answers = [lambda _: [HANG], lambda _: [CLOSE], lambda _: [whole(407, ECHOED, ECHO)]]
    if scheme == "https":
        answers.append(lambda _: [b"HTTP/1.1 200 OK\r\n\r\n", HANG])
    else:
        answers.append(_granting(lambda _: [HANG]))
    for answer in answers:
        async with Server(answer) as proxy:
            await _through(proxy.url, reader, auth, scheme)
    await _through("http://127.0.0.1:1", reader, auth, scheme)
    assert reader.size >= 100_000
    assert reader.leaks == []


@pytest.mark.parametrize(
    "shown",
    [
        lambda canary: f"Bearer {canary}",
        lambda canary: repr(canary.encode()),
        lambda canary: canary[:45],
        lambda canary: canary[-24:],
        lambda canary: base64.b64encode(f"id:{canary}".encode()).decode(),
        lambda canary: base64.b64encode(canary.encode()).decode(),
    ],
)
@pytest.mark.parametrize("canary", [TOKEN, PROVIDED, GRANTED, SECRET])
def test_a_canary_would_be_seen(canary, shown):
    """What looks for a canary finds it, whole, in half or as base64."""
    reader = Reader()
    reader.read(f"... {shown(canary)} ...")
    assert reader.leaks
