"""A server that answers byte by byte as it is told, and the calls that are made of it."""

import asyncio
import contextlib
import itertools
import re
import socket
import struct
from collections.abc import Callable

import attrs
import orjson

from routera_async import NewTicket, Page, RetryPolicy, RouteraClient, Ticket

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJhY2NvdW50IjoiY2FuYXJ5In0.aG9zdGlsZS1jYW5hcnk"
"""A token to look for where none may be."""

FLAT = {
    "id": "550e8400-e29b-41d4-a716-446655440000",
    "external_id": "ext-001",
    "created_at": "2026-05-01T10:00:00.000Z",
    "updated_at": "2026-05-28T12:00:00.000Z",
    "archived": False,
    "ticket_name": "Support request",
    "pipeline": "default",
    "ticket_stage": "new",
    "ticket_owner": "jane@example.com",
}
"""The seed's second response example."""

RECORD = orjson.dumps(FLAT)

NEW = NewTicket(
    external_id="ext-001", ticket_name="Support request", pipeline="default", ticket_stage="new"
)
UNKEYED = attrs.evolve(NEW, external_id=None)

CLOSE, RESET, HANG = "close", "reset", "hang"

SHORT = 0.2
"""Seconds an attempt takes at the most where the answer never ends."""

MOST = 2
"""Attempts of a call."""

_WRITTEN = 2**16
"""Bytes written at once: what a server holds is no memory of the client's."""

AT_ONCE = RetryPolicy(max_attempts=MOST, wait_initial=0, retry_after_max=0)


@attrs.frozen
class Call:
    """A call of the client, what it returns, and how its good answer is made of a record."""

    make: Callable
    returns: type = Ticket
    shape: Callable = bytes


CALLS = {
    "create keyed": Call(lambda client: client.tickets.create(NEW)),
    "create unkeyed": Call(lambda client: client.tickets.create(UNKEYED)),
    "get": Call(lambda client: client.tickets.get("1")),
    "list": Call(
        lambda client: anext(client.tickets.list().pages()),
        Page,
        lambda record: b'{"data":[%s],"pagination":{"limit":100,"offset":0}}' % record,
    ),
}


def head(*lines):
    """Return a status line and headers."""
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def whole(status, body=b"", *headers, length=None):
    """Return an answer; `length` is the one announced, if not the body's."""
    told = len(body) if length is None else length
    return head(f"HTTP/1.1 {status} Told", *headers, f"Content-Length: {told}") + body


def client_of(server, *, endless=False, **settings):
    """Return a client that never waits, and gives up soon where only its time-out ends a call."""
    given = {"auth": TOKEN, "base_url": server.url, "retry": AT_ONCE}
    return RouteraClient(**given | {"timeout": SHORT if endless else 30.0} | settings)


class Server:
    """Answers each request with the steps that `answer` gives for its head.

    A step is bytes to write, `CLOSE`, `RESET` or `HANG`. With `early` they are taken before a
    request is read. `requests` holds the connection's number and the head of each.
    """

    def __init__(self, answer=lambda _: (), *, early=False) -> None:
        self.answer = answer
        self.early = early
        self.requests = []
        self.arrived = asyncio.Event()
        self._connections = itertools.count()
        self._open = {}

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_) -> None:
        self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()
        await asyncio.sleep(0)  # a transport closes its socket in the loop's next turn

    async def say(self, data):
        """Send what nobody asked for on every open connection, and let it arrive."""
        for writer in self._open.values():
            writer.write(data)
        for _ in range(20):
            await asyncio.sleep(0)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._open[task] = writer
        number = next(self._connections)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._exchange(number, reader, writer):
                    pass
        finally:
            del self._open[task]
            writer.close()

    async def _exchange(self, number, reader, writer):
        asked = b"" if self.early else await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: (\d+)", asked)
        await reader.readexactly(int(length[1]) if length else 0)
        self.requests.append((number, asked))
        self.arrived.set()
        for step in self.answer(asked):
            if isinstance(step, bytes):
                for at in range(0, len(step), _WRITTEN):
                    writer.write(step[at : at + _WRITTEN])
                    await writer.drain()
                    await asyncio.sleep(0)  # an endless answer leaves the others their turn
            elif step == HANG:
                await reader.read()
            else:
                if step == RESET:
                    _reset(writer)
                return False
        return not self.early


def _reset(writer):
    linger = struct.pack("ii", 1, 0)  # a close that sends RST instead of FIN
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
