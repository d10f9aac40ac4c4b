"""Answers that no server should give, and a server that gives them, byte by byte."""

import asyncio
import contextlib
import functools
import gzip
import itertools
import re
import socket
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

import attrs
import orjson

from routera_async import (
    APIStatusError,
    BadRequestError,
    ConfigurationError,
    DuplicateError,
    ForbiddenError,
    NewTicket,
    NotFoundError,
    OutcomeUnknown,
    Page,
    RateLimitedError,
    ResponseError,
    RetryPolicy,
    RouteraClient,
    ServerError,
    Ticket,
    UnauthorizedError,
)

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

NEW = NewTicket(
    external_id="ext-001", ticket_name="Support request", pipeline="default", ticket_stage="new"
)

CLOSE, RESET, HANG = "close", "reset", "hang"

Step = bytes | str
Script = Callable[[bytes], Iterable[Step]]
"""What is written after a request, given a body that would be good; bytes, or how it ends."""

BOMB = 300 * 2**20
"""Bytes that each bomb holds."""

SHORT = 0.2
"""Seconds an attempt takes at the most where the answer never ends."""

_RETRIES = RetryPolicy(max_attempts=2, wait_initial=0, retry_after_max=0)


def _page(record: bytes) -> bytes:
    return b'{"data":[' + record + b'],"pagination":{"limit":100,"offset":0,"count":1}}'


async def _create(client: RouteraClient) -> object:
    return await client.tickets.create(NEW)


async def _create_unkeyed(client: RouteraClient) -> object:
    return await client.tickets.create(attrs.evolve(NEW, external_id=None))


async def _get(client: RouteraClient) -> object:
    return await client.tickets.get("1")


async def _list(client: RouteraClient) -> object:
    return await anext(client.tickets.list().pages())


@attrs.frozen
class Call:
    """A call of the client: how the answer's good body is made of a record, what it returns."""

    make: Callable[[RouteraClient], object]
    method: str
    returns: type
    shape: Callable[[bytes], bytes] = bytes


CALLS = {
    "create keyed": Call(_create, "POST", Ticket),
    "create unkeyed": Call(_create_unkeyed, "POST", Ticket),
    "get": Call(_get, "GET", Ticket),
    "list": Call(_list, "GET", Page, _page),
}


@attrs.frozen
class Hostile:
    """One hostile answer, and the classes of what a call may end with.

    `Ticket` stands for what the call returns. `framed` says that it ends where it says, so that
    its connection may serve again; `endless` that only the time-out ends it; `early` that it is
    given before the request is read; `record` is what a good body would hold.
    """

    ends: tuple[type, ...]
    script: Script
    framed: bool = False
    endless: bool = False
    early: bool = False
    record: bytes = orjson.dumps(FLAT)

    def steps(self, shape: Callable[[bytes], bytes] = bytes) -> Iterator[Step]:
        """Return what to write."""
        return iter(self.script(shape(self.record)))

    @property
    def says_2xx(self) -> bool:
        """Whether the answer begins with the status line of a success."""
        first = next(self.steps(), b"")
        return isinstance(first, bytes) and bool(re.match(rb"HTTP/1\.\d +2\d\d\b", first))


class Server:
    """Gives every request the answer that is set, and notes which connection each came by."""

    def __init__(self) -> None:
        self.answer: Callable[[], Iterable[Step]] = tuple
        self.early = False
        self.requests: list[tuple[int, bytes]] = []
        self._connections = itertools.count()
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()
        await asyncio.sleep(0)  # a transport closes its socket in the loop's next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        connection = next(self._connections)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._exchange(connection, reader, writer):
                    pass
        finally:
            del self._open[task]
            writer.close()

    async def _exchange(
        self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if not self.early:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
        self.requests.append((connection, b"" if self.early else head))
        for step in self.answer():
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
                await asyncio.sleep(0)
            elif step == HANG:
                await reader.read()
            else:
                if step == RESET:
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, linger
                    )
                    writer.transport.abort()
                return False
        return not self.early


def client_of(server: Server, hostile: Hostile, **settings: object) -> RouteraClient:
    """Return a client that does not wait, and gives up soon where only its time-out can help."""
    timeout = SHORT if hostile.endless else 2.0
    given = {"retry": _RETRIES, "timeout": timeout, "base_url": server.url}
    return RouteraClient(**{"auth": TOKEN} | given | settings)


def whole(status: int | str, body: bytes = b"", *headers: str, length: object = None) -> bytes:
    """Return an answer; `length` is the one announced, if not the body's."""
    told = len(body) if length is None else length
    return head(f"HTTP/1.1 {status} Hostile", *headers, f"Content-Length: {told}") + body


def head(*lines: str) -> bytes:
    """Return a status line and headers."""
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@functools.cache
def bomb(wbits: int, times: int = 1) -> bytes:
    """Return 300 MB of spaces, compressed without ever being held, `times` over."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, wbits)
    spaces = b" " * 2**20
    packed = b"".join(squeeze.compress(spaces) for _ in range(BOMB // len(spaces)))
    packed += squeeze.flush()
    for _ in range(times - 1):
        packed = gzip.compress(packed)
    return packed


def _forever(first: bytes, again: bytes) -> Iterator[Step]:
    yield first
    while True:
        yield again


def _chunked(*chunks: bytes, status: int = 201) -> bytes:
    return head(f"HTTP/1.1 {status} Hostile", "Transfer-Encoding: chunked") + b"".join(chunks)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


CREATED = "HTTP/1.1 201 Created"
LINE = b"HTTP/1.1 201 Created\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = _chunked()
DIGITS = b"9" * 5_000
DEEP = b"[" * 100_000
READ, LOST, UNREAD = (Ticket,), (OutcomeUnknown,), (ResponseError,)


def _body(
    make: Callable[[bytes], bytes], *headers: str, ends: tuple[type, ...] = UNREAD, **more: object
) -> Hostile:
    """Return a 201 that is framed as it should be, with a body made of a good one."""
    return Hostile(ends, lambda good: [whole(201, make(good), *headers)], framed=True, **more)


def _just(body: bytes, *headers: str) -> Hostile:
    return _body(lambda _: body, *headers)


def _record(ends: tuple[type, ...] = UNREAD, **changes: object) -> Hostile:
    """Return a 201 whose record has other values; `...` leaves one out."""
    record = {name: value for name, value in (FLAT | changes).items() if value is not ...}
    return _body(bytes, ends=ends, record=orjson.dumps(record))


def _raw(*steps: Step, ends: tuple[type, ...] = LOST, **more: object) -> Hostile:
    return Hostile(ends, lambda _: steps, **more)


def _around(
    before: bytes, after: Iterable[Step] = (), ends: tuple[type, ...] = LOST, **more: object
) -> Hostile:
    """Return an answer whose body is good, and whose head is these bytes."""
    return Hostile(ends, lambda good: [before + good, *after], **more)


def _length(told: object, *after: Step, ends: tuple[type, ...] = LOST) -> Hostile:
    return Hostile(ends, lambda good: [whole(201, good, length=told), *after])


def _status(
    status: int | str, kind: type, *headers: str, body: bytes = b"{}", **more: object
) -> Hostile:
    return Hostile(
        (kind,), lambda _: [whole(status, body, *headers)], **{"framed": True} | more
    )


def _retry_after(status: int, kind: type, value: str) -> Hostile:
    return _status(status, kind, f"Retry-After: {value}")


BODIES = {
    "a gzip bomb": _body(lambda _: bomb(31), "Content-Encoding: gzip", ends=UNREAD),
    "a deflate bomb": _body(lambda _: bomb(15), "Content-Encoding: deflate"),
    "a raw deflate bomb": _body(lambda _: bomb(-15), "Content-Encoding: deflate"),
    "a bomb in a bomb": _body(lambda _: bomb(31, 2), "Content-Encoding: gzip"),
    "a bomb in a bomb, told": _body(lambda _: bomb(31, 2), "Content-Encoding: gzip, gzip"),
    "a chunked bomb": Hostile(
        UNREAD,
        lambda _: [
            head(CREATED, "Content-Encoding: gzip", "Transfer-Encoding: chunked"),
            *(_chunk(bomb(31)[at : at + 1000]) for at in range(0, len(bomb(31)), 1000)),
            _chunk(b""),
        ],
    ),
    "gzip twice": _body(lambda good: gzip.compress(gzip.compress(good)), "Content-Encoding: gzip"),
    "gzip that is none": _body(bytes, "Content-Encoding: gzip"),
    "gzip cut short": _body(
        lambda good: gzip.compress(good)[:-9], "Content-Encoding: gzip", ends=UNREAD + READ
    ),
    "gzip with a wrong sum": _body(
        lambda good: gzip.compress(good)[:-8] + b"x" * 8, "Content-Encoding: gzip"
    ),
    "gzip and garbage": _body(
        lambda good: gzip.compress(good) + b"garbage", "Content-Encoding: gzip", ends=UNREAD + READ
    ),
    "deflate that is none": _body(bytes, "Content-Encoding: deflate"),
    "brotli": _body(bytes, "Content-Encoding: br", ends=UNREAD + LOST),
    "zstd": _body(bytes, "Content-Encoding: zstd", ends=UNREAD + LOST),
    "an unknown encoding": _body(bytes, "Content-Encoding: rot13", ends=READ),
    "an empty encoding": _body(bytes, "Content-Encoding: ,", ends=READ),
    "too long": _body(lambda good: b" " * 2**24 + good),
    "too deep": _just(DEEP),
    "too deep, and closed": _just(DEEP + b"]" * 100_000),
    "too deep, and a long number": _just(DEEP + DIGITS[:20] + b"]" * 100_000),
    "too deep within a record": _body(
        lambda good: good.replace(b"false", b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    ),
    "5,000 digits": _just(DIGITS),
    "5,000 digits within a record": _body(lambda good: good.replace(b"false", DIGITS)),
    "5,000 digits in a custom field": _body(
        lambda good: good.replace(b"false", b'false,"csat":' + DIGITS)
    ),
    "5,000 digits of a fraction": _body(
        lambda good: good.replace(b"false", b'false,"csat":0.' + DIGITS), ends=READ
    ),
    "a number too large": _body(lambda good: good.replace(b"false", b'false,"csat":1e999')),
    "bad UTF-8": _body(lambda good: good.replace(b"Support", b"\xff\xfe\xc0\x80")),
    "bad UTF-8 and a long number": _body(
        lambda good: good.replace(b"Support", b"\xff").replace(b"false", DIGITS[:20])
    ),
    "a lone surrogate": _body(lambda good: good.replace(b"Support", b"\\ud800")),
    "a BOM": _body(lambda good: b"\xef\xbb\xbf" + good),
    "UTF-16": _body(lambda good: good.decode().encode("utf-16")),
    "UTF-16, told": _body(
        lambda good: good.decode().encode("utf-16"), "Content-Type: application/json;charset=utf-16"
    ),
    "a lying charset": _body(bytes, "Content-Type: application/json;charset=utf-16", ends=READ),
    "a charset that is none": _body(bytes, "Content-Type: a/b;charset=\xff;;=;", ends=READ),
    "HTML": _just(b"<html><body>502 Bad Gateway</body></html>", "Content-Type: text/html"),
    "empty": _just(b""),
    "blank": _just(b" \r\n\t "),
    "a NUL": _just(b"\0"),
    "a list": _just(b"[]"),
    "a text": _just(b'"created"'),
    "a number": _just(b"201"),
    "null": _just(b"null"),
    "true": _just(b"true"),
    "NaN": _just(b"NaN"),
    "NaN within a record": _body(lambda good: good.replace(b"false", b"NaN")),
    "NaN and a long number": _body(
        lambda good: good.replace(b"false", b'false,"a":NaN,"b":' + DIGITS[:20])
    ),
    "an empty object": _just(b"{}"),
    "an error in a 201": _just(b'{"error":true,"message":"Oops"}'),
    "half an object": _body(lambda good: good[: len(good) // 2]),
    "two objects": _body(lambda good: good + good),
    "single quotes": _body(lambda good: good.replace(b'"', b"'")),
    "a trailing comma": _body(lambda good: good.replace(b"}", b",}")),
    "keys twice": _body(lambda good: good.replace(b"{", b'{"id":"other",', 1), ends=READ),
    "data in data": _just(b'{"data":{"data":[]}}'),
    "data of nothing": _just(b'{"data":[null]}'),
    "no id": _record(id=...),
    "id a number": _record(id=1),
    "id null": _record(id=None),
    "id a list": _record(id=[]),
    "external_id a number": _record(external_id=1),
    "created_at garbage": _record(created_at="yesterday"),
    "created_at missing": _record(created_at=...),
    "created_at null": _record(created_at=None),
    "created_at a number": _record(created_at=1777629600),
    "created_at naive": _record(READ, created_at="2026-05-01T10:00:00"),
    "created_at of year 0": _record(created_at="0000-05-01T10:00:00Z"),
    "created_at of year 10000": _record(created_at="10000-05-01T10:00:00Z"),
    "created_at at the end of time": _record(READ, created_at="9999-12-31T23:59:59-23:00"),
    "archived 0": _record(archived=0),
    "archived no": _record(archived="no"),
    "custom in custom": _record(READ, custom={"custom": {"id": 1}}),
    "a million keys": _body(
        lambda good: good.replace(b"{", b'{"' + b'":1,"'.join(
            b"%x" % key for key in range(100_000)
        ) + b'":1,', 1)
    ),
}  # fmt: skip
"""Successes whose status line can be read, and whose bodies are what they should not be."""

FRAMES = {
    "endless chunks": Hostile(UNREAD, lambda _: _forever(CHUNKED, _chunk(b" " * 65_536))),
    "endless until closed": Hostile(UNREAD, lambda _: _forever(head(CREATED), b" " * 65_536)),
    "endless gzip": Hostile(
        UNREAD,
        lambda _: _forever(head(CREATED, "Content-Encoding: gzip") + bomb(31)[:-999], b"\0" * 999),
    ),
    "dripped": Hostile(UNREAD, lambda _: _forever(whole(201, length=9**9), b" "), endless=True),
    "dripped chunks": Hostile(UNREAD, lambda _: _forever(CHUNKED, b"1\r\n \r\n"), endless=True),
    "dripped headers": Hostile(LOST, lambda _: _forever(LINE, b"X: y\r\n")),
    "a dripped header": Hostile(LOST, lambda _: _forever(LINE + b"X: ", b"x" * 9)),
    "a dripped status line": Hostile(LOST, lambda _: _forever(LINE[:-2], b"x" * 9)),
    "a dripped chunk size": Hostile(
        UNREAD, lambda _: _forever(CHUNKED, b"0"), endless=True
    ),
    "a dripped chunk extension": Hostile(
        UNREAD, lambda _: _forever(CHUNKED + b"1;", b"x" * 9), endless=True
    ),
    "dripped trailers": Hostile(
        UNREAD, lambda _: _forever(CHUNKED + b"0\r\n", b"X: y\r\n"), endless=True
    ),
    "dripped line ends": Hostile(LOST, lambda _: _forever(b"\r\n", b"\r\n" * 9), endless=True),
    "silence": _raw(HANG, endless=True),
    "silence after the status line": _raw(LINE, HANG, endless=True),
    "silence after the headers": _raw(whole(201, length=9), HANG, ends=UNREAD, endless=True),
    "silence within the body": Hostile(
        UNREAD, lambda good: [whole(201, good, length=9999), HANG], endless=True
    ),
    "closed at once": _raw(CLOSE),
    "closed before the request": _raw(CLOSE, early=True),
    "reset at once": _raw(RESET),
    "reset before the request": _raw(RESET, early=True),
    "closed within the status line": _raw(b"HTTP/1.1 20", CLOSE),
    "closed after the status line": _raw(LINE, CLOSE),
    "reset after the status line": _raw(LINE, RESET),
    "closed within the headers": _raw(LINE + b"Content-Le", CLOSE),
    "closed after the headers": _raw(whole(201, length=9), CLOSE, ends=UNREAD),
    "reset within the body": _length(9999, RESET, ends=UNREAD + LOST),
    "two lengths": _around(head(CREATED, "Content-Length: 2", "Content-Length: 3")),
    "two lengths in one": _length("300, 300"),
    "a length and chunks": _around(
        head(CREATED, "Content-Length: 9", "Transfer-Encoding: chunked"), ends=LOST + UNREAD
    ),
    "chunks and a length": _around(
        head(CREATED, "Transfer-Encoding: chunked", "Content-Length: 9"), ends=LOST + UNREAD
    ),
    "chunked twice": _around(
        head(CREATED, "Transfer-Encoding: chunked, chunked"), [CLOSE], ends=LOST + UNREAD
    ),
    "an unknown transfer": _around(
        head(CREATED, "Transfer-Encoding: gzip"), [CLOSE], ends=LOST + UNREAD + READ
    ),
    "a negative length": _length(-1),
    "a signed length": _length("+300"),
    "a length in hex": _length("0x12c"),
    "a length with a fraction": _length("300.0"),
    "an empty length": _length("", CLOSE, ends=LOST + READ),
    "a length of words": _length("many"),
    "a huge length": _length(10**30, CLOSE),
    "a length of 2**64": _length(2**64, CLOSE),
    "a length of 2**63 - 1": _length(2**63 - 1, CLOSE, ends=UNREAD + LOST),
    "a length too long": _length(9999, CLOSE, ends=UNREAD),
    "a length too short": _length(99, CLOSE, ends=UNREAD + LOST),
    "garbage behind": _around(whole(201, length=345), [b"garbage" * 99], ends=READ + UNREAD + LOST),
    "no length": _around(head(CREATED), [CLOSE], ends=READ),
    "a truncated chunk": _raw(CHUNKED + b"fff\r\n{", CLOSE, ends=UNREAD),
    "no last chunk": Hostile(UNREAD, lambda good: [CHUNKED + _chunk(good), CLOSE]),
    "a bad chunk size": _raw(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n", ends=UNREAD + LOST),
    "a negative chunk size": _raw(CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n", ends=UNREAD + LOST),
    "a huge chunk size": _raw(CHUNKED + b"f" * 17 + b"\r\n{}", CLOSE, ends=UNREAD + LOST),
    "a chunk longer than told": _raw(CHUNKED + b"1\r\n{}\r\n0\r\n\r\n", ends=UNREAD + LOST),
    "a chunk without an end": _raw(CHUNKED + b"2\r\n{}0\r\n\r\n", ends=UNREAD + LOST),
    "20 KB of chunk extension": Hostile(
        UNREAD + LOST + READ,
        lambda good: [
            _chunked(_chunk(good).replace(b"\r\n", b";" + b"x" * 20_000 + b"\r\n", 1), _chunk(b""))
        ],
    ),
}
"""Answers that end too soon, too late, never, or where they do not say."""

HEADS = {
    "a header of 20 KB": _around(head(CREATED, "X: " + "x" * 20_000)),
    "a header's name of 20 KB": _around(head(CREATED, "x" * 20_000 + ": x")),
    "a reason of 20 KB": _around(head(CREATED + "x" * 20_000)),
    "200 headers": Hostile(
        LOST, lambda good: [whole(201, good, *(f"X-{number}: y" for number in range(200)))]
    ),
    "a header with a NUL": Hostile(LOST, lambda good: [whole(201, good, "X: \0")]),
    "a header with an escape": Hostile(LOST + READ, lambda good: [whole(201, good, "X: \x1b[2J")]),
    "a header with no text": Hostile(READ, lambda good: [whole(201, good, "X: \xff\xfe")]),
    "a folded header": Hostile(LOST + READ, lambda good: [whole(201, good, "X: y\r\n z")]),
    "a header without a colon": Hostile(LOST, lambda good: [whole(201, good, "garbage")]),
    "a header without a name": Hostile(LOST, lambda good: [whole(201, good, ": garbage")]),
    "a space before the colon": Hostile(LOST, lambda good: [whole(201, good, "X : y")]),
    "a space in a name": Hostile(LOST, lambda good: [whole(201, good, "X Y: z")]),
    "bare line feeds": Hostile(
        LOST + READ, lambda good: [whole(201, length=len(good)).replace(b"\r", b"") + good]
    ),
    "bare returns": Hostile(
        LOST, lambda good: [whole(201, length=len(good)).replace(b"\n", b"") + good, CLOSE]
    ),
    "an upgrade": Hostile(
        READ + LOST,
        lambda good: [whole(201, good, "Connection: upgrade", "Upgrade: websocket"), CLOSE],
    ),
    "a cookie": Hostile(
        READ,
        lambda good: [
            whole(201, good, "Set-Cookie: a=b; Path=/; Max-Age=99999", "Set-Cookie: \x7f;=;;=")
        ],
        framed=True,
    ),
    "a type that is none": _body(bytes, "Content-Type: ;;;/", ends=READ),
    "HTTP/0.9": _around(b"", [CLOSE]),
    "HTTP/1.0": Hostile(
        READ, lambda good: [whole(201, good).replace(b"1.1", b"1.0", 1)], framed=True
    ),
    "HTTP/2.0": Hostile(LOST + READ, lambda good: [whole(201, good).replace(b"1.1", b"2.0", 1)]),
    "HTTP/9.9": Hostile(LOST + READ, lambda good: [whole(201, good).replace(b"1.1", b"9.9", 1)]),
    "HTTP/11.1": Hostile(LOST, lambda good: [whole(201, good).replace(b"1.1", b"11.1", 1)]),
    "lower-case http": Hostile(LOST, lambda good: [whole(201, good).lower()]),
    "HTTP/2 frames": _raw(b"\0\0\x12\x04\0\0\0\0\0" + b"\0\x03\0\0\0\x80" * 3, CLOSE),
    "TLS": _raw(bytes.fromhex("15030100020246"), CLOSE, early=True),
    "SSH": _raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", CLOSE, early=True),
    "an answer before the request": _raw(whole(201, length=9), CLOSE, ends=UNREAD, early=True),
    "status 099": _status("099", OutcomeUnknown, framed=False),
    "status 000": _status("000", OutcomeUnknown, framed=False),
    "status 1000": _status("1000", OutcomeUnknown, framed=False),
    "status 20": _status("20", OutcomeUnknown, framed=False),
    "status -201": _status("-201", OutcomeUnknown, framed=False),
    "status 2O1": _status("2O1", OutcomeUnknown, framed=False),
    "a status that is none": _raw(b"HTTP/1.1 Created\r\n\r\n", CLOSE),
    "no reason": _around(head("HTTP/1.1 201", "Connection: close"), [CLOSE], ends=READ),
    "two spaces": _around(head("HTTP/1.1  201 Created"), [CLOSE], ends=LOST + READ),
    "100 for ever": Hostile(LOST, lambda _: _forever(CONTINUE, CONTINUE * 99), endless=True),
    "100 a hundred times": Hostile(READ, lambda good: [CONTINUE * 100, whole(201, good)]),
    "103 first": Hostile(
        READ, lambda good: [head("HTTP/1.1 103 Early Hints", "Link: </a>"), whole(201, good)]
    ),
    "101": _raw(head("HTTP/1.1 101 Switching", "Connection: upgrade", "Upgrade: h2c"), CLOSE),
    "101 and a body": _status(101, OutcomeUnknown, framed=False),
    "204": _raw(head("HTTP/1.1 204 None"), ends=UNREAD, framed=True),
    "204 with a body": Hostile(UNREAD, lambda good: [whole(204, good)]),
    "205": Hostile(READ + UNREAD, lambda good: [whole(205, good)], framed=True),
    "206": Hostile(READ, lambda good: [whole(206, good)], framed=True),
    "226": Hostile(READ, lambda good: [whole(226, good)], framed=True),
    "299": Hostile(READ, lambda good: [whole(299, good)], framed=True),
}
"""Heads that are none, and statuses that nobody gives."""

ECHO = b'{"error":true,"message":"bad token: Bearer %s"}' % TOKEN.encode()

REFUSALS = {
    "300": _status(300, ConfigurationError),
    "301 to another host": _status(
        301, ConfigurationError, "Location: https://far.example/tickets"
    ),
    "302 to nowhere": _status(302, ConfigurationError),
    "303 to javascript": _status(303, ConfigurationError, "Location: javascript:alert(1)"),
    "304": _raw(head("HTTP/1.1 304 Same"), ends=(ConfigurationError,), framed=True),
    "307 to no URL": _status(307, ConfigurationError, "Location: http://[::1/\x1b[2J\xff"),
    "308 to two places": _status(308, ConfigurationError, "Location: /a", "Location: //far.b/c"),
    "307 to the token": _status(307, ConfigurationError, f"Location: https://far.b/{TOKEN}"),
    "400 as HTML": _status(400, BadRequestError, body=b"<html>"),
    "400 with a bomb": Hostile(
        (BadRequestError,), lambda _: [whole(400, bomb(31), "Content-Encoding: gzip")]
    ),
    "400 without an end": Hostile(
        (BadRequestError,), lambda _: _forever(_chunked(status=400), _chunk(b" " * 65_536))
    ),
    "400 too deep": _status(400, BadRequestError, body=b'{"message":' + DEEP),
    "400 with no text": _status(400, BadRequestError, body=b'{"message":{"a":[1]}}'),
    "400 on many lines": _status(
        400, BadRequestError, body=b'{"message":"\\u001b[2J\\r\\n\\u2028\\u0000gone"}'
    ),
    "400 of 1 MB": _status(400, BadRequestError, body=b'{"message":"%s"}' % (b"x" * 2**20)),
    "400 of no type": _status(
        400, BadRequestError, "Content-Type: \xff\xfe\x1b", body=b"", framed=False
    ),
    "400 with an echo": _status(400, BadRequestError, f"X: Bearer {TOKEN}", body=ECHO),
    "400 cut short": _raw(
        whole(400, b'{"mess', length=99), CLOSE, ends=(BadRequestError,)
    ),
    "401 with a challenge": _status(
        401, UnauthorizedError, 'WWW-Authenticate: Basic realm="\\"', "WWW-Authenticate: Negotiate"
    ),
    "401 with an echo": _status(401, UnauthorizedError, body=ECHO),
    "403": _status(403, ForbiddenError, body=b"null"),
    "404": _status(404, NotFoundError, body=b"[]"),
    "407": _status(407, APIStatusError, "Proxy-Authenticate: Basic"),
    "409 cut short": _raw(whole(409, b"{", length=99), RESET, ends=(DuplicateError,)),
    "409 with an echo": _status(409, DuplicateError, body=ECHO),
    "413": _status(413, APIStatusError, body=b""),
    "418": _status(418, APIStatusError, body=b'{"message":""}'),
    "422 with an echo": _status(422, APIStatusError, body=ECHO),
    "429 without an end": Hostile(
        (RateLimitedError,), lambda _: _forever(_chunked(status=429), _chunk(b" " * 65_536))
    ),
    "429 after 3 million years": _retry_after(429, RateLimitedError, "99999999999999"),
    "429 after 5,000 digits": _retry_after(429, RateLimitedError, "9" * 5_000),
    "429 before now": _retry_after(429, RateLimitedError, "-1"),
    "429 after a fraction": _retry_after(429, RateLimitedError, "0.5"),
    "429 after infinity": _retry_after(429, RateLimitedError, "inf"),
    "429 after other digits": _retry_after(429, RateLimitedError, "\xb2"),
    "429 until 9999": _retry_after(429, RateLimitedError, "Fri, 31 Dec 9999 23:59:59 GMT"),
    "429 until 0000": _retry_after(429, RateLimitedError, "Sat, 01 Jan 0000 00:00:00 GMT"),
    "429 until whenever": _retry_after(429, RateLimitedError, "Thu, 99 Foo 2026 99:99:99 +9999"),
    "429 until naive": _retry_after(429, RateLimitedError, "Fri, 01 May 2026 10:00:00 -0000"),
    "429 after garbage": _retry_after(429, RateLimitedError, "soon, ():;<>@,\xff"),
    "429 by another clock": _status(
        429, RateLimitedError, "Retry-After: Fri, 01 May 2026 10:00:00 GMT", "Date: garbage"
    ),
    "500 as HTML": _status(500, ServerError, body=b"<html>"),
    "500 with a bomb": Hostile(
        (ServerError,), lambda _: [whole(500, bomb(31), "Content-Encoding: gzip")]
    ),
    "500 without an end": Hostile((ServerError,), lambda _: _forever(
        head("HTTP/1.1 500 Oops"), b" " * 65_536
    )),
    "500 with an echo": _status(500, ServerError, f"X: {TOKEN}", body=ECHO),
    "501": _status(501, ServerError),
    "502 silent": _raw(whole(502, length=9), HANG, ends=(ServerError,), endless=True),
    "503 after garbage": _retry_after(503, ServerError, "\x0b"),
    "504 reset": _raw(whole(504, length=9), RESET, ends=(ServerError, OutcomeUnknown)),
    "599": _status(599, ServerError),
    "600": _status(600, ServerError),
    "999": _status(999, ServerError),
}  # fmt: skip
"""Answers that are no success, and what they may try."""

TABLE: dict[str, Hostile] = BODIES | FRAMES | HEADS | REFUSALS
BOMBS = [name for name in TABLE if "bomb" in name or "endless" in name or "without an end" in name]
