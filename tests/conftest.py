"""What tests share: a sandbox and its client, scripted answers, raw servers, a virtual clock."""

import asyncio
import contextlib
import selectors
from unittest.mock import Mock

import aioresponses.core
import attrs
import pytest
from aiohttp import ClientResponse
from hypothesis import settings

from routera_async import NewTicket, RetryPolicy, RouteraClient
from routera_async.sandbox import Sandbox

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJhY2NvdW50IjoiY2FuYXJ5In0.c2lnbmF0dXJl"
"""A token to look for where none may be."""

FLAT = (
    b'{"id":"550e8400-e29b-41d4-a716-446655440000","external_id":"ext-001",'
    b'"created_at":"2026-05-01T10:00:00.000Z","updated_at":"2026-05-28T12:00:00.000Z",'
    b'"archived":false,"ticket_name":"Support request","pipeline":"default",'
    b'"ticket_stage":"new","ticket_owner":"jane@example.com"}'
)
"""The seed's second response example."""


class AnswerOf314(ClientResponse):
    """A ClientResponse that aioresponses 0.7.9 can still make (its issue 289)."""

    def __init__(self, *args, **kwargs) -> None:
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


aioresponses.core.ClientResponse = AnswerOf314

settings.register_profile("untimed", deadline=None)  # a busy machine is no fault
settings.load_profile("untimed")


@pytest.fixture
async def sandbox():
    """Run a sandbox that takes any custom field."""
    async with Sandbox(any_field=True) as running:
        yield running


@pytest.fixture
async def client(sandbox):
    """Return a client of the sandbox."""
    async with RouteraClient(sandbox.token, base_url=sandbox.url) as opened:
        yield opened


@pytest.fixture
def token():
    """Return a token to look for where none may be."""
    return TOKEN


@pytest.fixture
def flat():
    """Return the body of a 201: the seed's."""
    return FLAT


@pytest.fixture
def new():
    """Return the seed's ticket to create, which has an external_id."""
    return NewTicket(
        external_id="ext-001", ticket_name="Support request", pipeline="default", ticket_stage="new"
    )


@pytest.fixture
def unkeyed(new):
    """Return the same without an external_id."""
    return attrs.evolve(new, external_id=None)


@pytest.fixture
def at_once():
    """Return a policy that does not wait, unless a server asks for it."""
    return RetryPolicy(wait_initial=0)


@pytest.fixture
def answers():
    """Script the answers of api.routera.io; no socket is opened."""
    with aioresponses.aioresponses() as scripted:
        yield scripted


class Wire:
    """A server that gives each request the next of its scripted answers, and the last for ever.

    An answer is bytes, `CLOSE`, `RESET`, `HANG`, or several of these in a tuple.
    """

    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"

    def __init__(self, *script) -> None:
        self.requests = []
        self.bodies = []
        self.arrived = asyncio.Event()
        self._script = list(script)
        self._writers = set()

    async def start(self):
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def close(self):
        """Refuse whoever comes next."""
        self._server.close()

    async def stop(self):
        """Cut off whatever is still open."""
        self.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()
        await asyncio.sleep(0)  # a transport closes its socket in the loop's next turn

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._exchange(reader, writer):
                pass
        self._writers.discard(writer)
        writer.close()

    async def _exchange(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = [int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"]
        self.requests.append(head)
        self.bodies.append(await reader.readexactly(*length) if length else b"")
        self.arrived.set()
        answer = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        for step in answer if isinstance(answer, tuple) else (answer,):
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif step == self.HANG:
                await reader.read()
            elif step == self.RESET:
                writer.transport.abort()
                return False
            else:
                return False
        return True


class Wires:
    """Starts raw servers, and says what they can answer."""

    CLOSE, RESET, HANG = Wire.CLOSE, Wire.RESET, Wire.HANG

    def __init__(self) -> None:
        self._started = []

    @staticmethod
    def answer(status, body=b"", *headers, length=None):
        """Return the bytes of an answer; `length` is the one announced, if not the body's."""
        announced = len(body) if length is None else length
        lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {announced}", *headers]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def serve(self, *script):
        """Start a server that gives these answers."""
        wire = Wire(*script)
        await wire.start()
        self._started.append(wire)
        return wire

    async def stop(self):
        """Stop them all."""
        for wire in self._started:
            await wire.stop()


@pytest.fixture
async def wires():
    """Start raw servers: `await wires.serve(...)`."""
    started = Wires()
    yield started
    await started.stop()


class _Impatient(selectors.DefaultSelector):
    """Jumps to the next timer instead of waiting for it; waiting for nothing is an error."""

    now = 0.0

    def select(self, timeout=None):
        events = super().select(0)
        if not events and timeout is None:
            raise RuntimeError("deadlock: nothing is scheduled")
        if not events:
            self.now += max(0.0, timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock is its timers': a minute's sleep takes no time. No sockets, no threads."""

    def __init__(self) -> None:
        super().__init__(_Impatient())

    def time(self):
        """Return the virtual seconds that have passed."""
        return self._selector.now


@pytest.fixture(scope="session")
def virtually():
    """Run a coroutine to its end on a virtual clock."""

    def run(coroutine):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(coroutine)

    return run
