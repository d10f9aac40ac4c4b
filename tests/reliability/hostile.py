"""Answers that no server should give."""

import functools
import gzip
import re
import struct
import zlib
from collections.abc import Callable

import attrs
import orjson

from routera_async import (
    APIStatusError,
    BadRequestError,
    ConfigurationError,
    DuplicateError,
    ForbiddenError,
    NotFoundError,
    NotSentError,
    OutcomeUnknown,
    RateLimitedError,
    ResponseError,
    ServerError,
    Ticket,
    UnauthorizedError,
)
from tests.reliability.wire import CLOSE, FLAT, HANG, RECORD, RESET, TOKEN, head, whole

BOMB = 300 * 2**20
"""Bytes that each bomb holds."""


@attrs.frozen
class Hostile:
    """One hostile answer, and the classes of what a call may end with.

    `Ticket` stands for what the call returns. `script` gives the steps for a body that would be
    good; `record` is what that holds. `framed` says that the answer ends where it says, so that its
    connection may serve again; `endless` that only the time-out ends it; `early` that it is given
    before the request is read.
    """

    ends: tuple
    script: Callable
    framed: bool = False
    endless: bool = False
    early: bool = False
    record: bytes = RECORD

    def steps(self, shape=bytes):
        """Return what to write."""
        return iter(self.script(shape(self.record)))

    @property
    def says_2xx(self):
        """Whether it begins with the status line of a success."""
        first = next(self.steps(), b"")
        return isinstance(first, bytes) and bool(re.match(rb"HTTP/1\.\d +2\d\d\b", first))


@functools.cache
def bomb(form):
    """Return 300 MB of spaces as gzip, zlib or raw deflate; they are never held."""
    block = b" " * 2**20
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = squeeze.compress(block) + squeeze.flush(zlib.Z_FULL_FLUSH)
    crc, adler = 0, 1
    for _ in range(BOMB // len(block)):
        crc, adler = zlib.crc32(block, crc), zlib.adler32(block, adler)
    raw = packed * (BOMB // len(block)) + b"\x03\x00"
    return {
        "gzip": b"\x1f\x8b\x08" + bytes(6) + b"\xff" + raw + struct.pack("<LL", crc, BOMB),
        "zlib": b"\x78\xda" + raw + struct.pack(">L", adler),
        "raw": raw,
    }[form]


def _chunked(status=201):
    return head(f"HTTP/1.1 {status} Told", "Transfer-Encoding: chunked")


def _chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


CREATED = "HTTP/1.1 201 Created"
LINE = b"HTTP/1.1 201 Created\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = _chunked()
DIGITS = b"9" * 5_000
DEEP = b"[" * 100_000
SPACES = b" " * 2**16
ECHO = f"Bearer {TOKEN}".encode()
ECHOED = b'{"error":true,"message":"bad token: %s"}' % ECHO
READ, LOST, UNREAD = (Ticket,), (OutcomeUnknown,), (ResponseError,)


def _body(make, *headers, ends=UNREAD, **more):
    """Return a 201 that is framed as it should be, with a body made of a good one."""
    return Hostile(ends, lambda good: [whole(201, make(good), *headers)], **{"framed": True} | more)


def _just(body, *headers):
    return _body(lambda _: body, *headers)


def _in_record(value, ends=UNREAD):
    """Return a 201 whose record has this JSON where `archived` is false."""
    return _body(lambda good: good.replace(b"false", value), ends=ends)


def _record(ends=UNREAD, **changes):
    """Return a 201 whose record has other values; `...` leaves one out."""
    record = {name: value for name, value in (FLAT | changes).items() if value is not ...}
    return _body(bytes, ends=ends, record=orjson.dumps(record))


def _raw(*steps, ends=LOST, **more):
    return Hostile(ends, lambda _: steps, **more)


def _around(before, *after, ends=LOST, **more):
    """Return an answer whose body is good, behind these bytes."""
    return Hostile(ends, lambda good: [before + good, *after], **more)


def _endless(first, again, ends=UNREAD, **more):
    def script(_):
        yield first
        while True:
            yield again

    return Hostile(ends, script, **more)


def _headed(*headers, ends=LOST, **more):
    """Return a 201 whose body is good, with these headers."""
    return Hostile(ends, lambda good: [whole(201, good, *headers)], **more)


def _altered(old, new, ends=LOST, **more):
    """Return a 201 whose head has something else in the place of `old`."""

    def script(good):
        return [whole(201, length=len(good)).replace(old, new) + good, CLOSE]

    return Hostile(ends, script, **more)


def _length(told, *after, ends=LOST):
    return Hostile(ends, lambda good: [whole(201, good, length=told), *after])


def _status(status, kind, *headers, body=b"{}", framed=True):
    return Hostile((kind,), lambda _: [whole(status, body, *headers)], framed=framed)


def _no_status(status, *, framed=False):
    return _status(status, OutcomeUnknown, framed=framed)


def _retry_after(value, *headers):
    return _status(429, RateLimitedError, f"Retry-After: {value}", *headers)


BODIES = {
    "a gzip bomb": _body(lambda _: bomb("gzip"), "Content-Encoding: gzip"),
    "a deflate bomb": _body(lambda _: bomb("zlib"), "Content-Encoding: deflate"),
    "a raw deflate bomb": _body(lambda _: bomb("raw"), "Content-Encoding: deflate"),
    "a bomb in gzip": _body(lambda _: gzip.compress(bomb("gzip")), "Content-Encoding: gzip"),
    "a bomb in gzip, told": _body(
        lambda _: gzip.compress(bomb("gzip")), "Content-Encoding: gzip, gzip"
    ),
    "a chunked bomb": Hostile(
        UNREAD,
        lambda _: [
            head(CREATED, "Content-Encoding: gzip", "Transfer-Encoding: chunked"),
            *(_chunk(bomb("gzip")[at : at + 999]) for at in range(0, len(bomb("gzip")), 999)),
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
    "brotli": _body(bytes, "Content-Encoding: br", ends=UNREAD + LOST, framed=False),
    "zstd": _body(bytes, "Content-Encoding: zstd", ends=UNREAD + LOST, framed=False),
    "an unknown encoding": _body(bytes, "Content-Encoding: rot13", ends=READ),
    "an empty encoding": _body(bytes, "Content-Encoding: ,", ends=READ),
    "longer than is read": Hostile(
        UNREAD, lambda good: [whole(201, length=2**25), *[b" " * 2**16] * 2**9, good]
    ),
    "too deep": _just(DEEP),
    "too deep, and closed": _just(DEEP + b"]" * 100_000),
    "too deep, with a long number": _just(DEEP + DIGITS[:20] + b"]" * 100_000),
    "too deep within a record": _in_record(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "5,000 digits": _just(DIGITS),
    "5,000 digits within a record": _in_record(DIGITS),
    "5,000 digits in a custom field": _in_record(b'false,"csat":' + DIGITS),
    "5,000 digits of a fraction": _in_record(b'false,"csat":0.' + DIGITS, ends=READ),
    "a number too large": _in_record(b'false,"csat":1e999'),
    "bad UTF-8": _in_record(b'"\xff\xfe\xc0\x80"'),
    "bad UTF-8 with a long number": _in_record(b'"\xff","csat":' + DIGITS[:20]),
    "a lone surrogate": _in_record(b'"\\ud800"'),
    "a BOM": _body(lambda good: b"\xef\xbb\xbf" + good),
    "UTF-16": _body(lambda good: good.decode().encode("utf-16")),
    "UTF-16, told": _body(
        lambda good: good.decode().encode("utf-16"), "Content-Type: application/json;charset=utf-16"
    ),
    "a lying charset": _body(bytes, "Content-Type: application/json;charset=utf-16", ends=READ),
    "a charset that is none": _body(bytes, "Content-Type: a/b;charset=\xff;;=;", ends=READ),
    "a type that is none": _body(bytes, "Content-Type: ;;;/", ends=READ),
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
    "NaN within a record": _in_record(b"NaN"),
    "NaN with a long number": _in_record(b'false,"a":NaN,"b":' + DIGITS[:20]),
    "an empty object": _just(b"{}"),
    "an error in a 201": _just(b'{"error":true,"message":"Oops"}'),
    "half an object": _body(lambda good: good[: len(good) // 2]),
    "two objects": _body(lambda good: good + good),
    "single quotes": _body(lambda good: good.replace(b'"', b"'")),
    "a trailing comma": _body(lambda good: good.replace(b"}", b",}")),
    "keys twice": _in_record(b'true,"archived":false', ends=READ),
    "ten thousand keys": _in_record(
        b"false," + b",".join(b'"%x":1' % key for key in range(10_000)), ends=READ
    ),
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
    "created_at a number": _record(created_at=1_777_629_600),
    "created_at naive": _record(READ, created_at="2026-05-01T10:00:00"),
    "created_at of year 0": _record(created_at="0000-05-01T10:00:00Z"),
    "created_at of year 10000": _record(created_at="10000-05-01T10:00:00Z"),
    "created_at past the end of time": _record(READ, created_at="9999-12-31T23:59:59-23:00"),
    "archived 0": _record(archived=0),
    "archived no": _record(archived="no"),
    "custom in custom": _record(READ, custom={"custom": {"id": 1}}),
}
"""Successes that can be read but for their bodies."""

FRAMES = {
    "endless chunks": _endless(CHUNKED, _chunk(SPACES)),
    "endless until closed": _endless(head(CREATED), SPACES),
    "endless gzip": _endless(
        head(CREATED, "Content-Encoding: gzip") + bomb("gzip")[:-10], bomb("raw")[:999]
    ),
    "dripped": _endless(whole(201, length=9**9), b" ", endless=True),
    "dripped chunks": _endless(CHUNKED, b"1\r\n \r\n", endless=True),
    "dripped headers": _endless(LINE, b"X: y\r\n", LOST),
    "a dripped header": _endless(LINE + b"X: ", b"x" * 99, LOST),
    "a dripped status line": _endless(LINE[:-2], b"x" * 99, LOST),
    "a dripped chunk size": _endless(CHUNKED, b"0", endless=True),
    "a dripped chunk extension": _endless(CHUNKED + b"1;", b"x" * 9, endless=True),
    "dripped trailers": _endless(CHUNKED + b"0\r\n", b"X: y\r\n", endless=True),
    "dripped line ends": _endless(b"\r\n", b"\r\n" * 9, LOST, endless=True),
    "silence": _raw(HANG, endless=True),
    "silence after the status line": _raw(LINE, HANG, endless=True),
    "silence after the head": _raw(whole(201, length=9), HANG, ends=UNREAD, endless=True),
    "silence within the body": _around(whole(201, length=9999), HANG, ends=UNREAD, endless=True),
    "closed at once": _raw(CLOSE),
    "closed before the request": _raw(CLOSE, ends=(*LOST, NotSentError), early=True),
    "reset at once": _raw(RESET),
    "reset before the request": _raw(RESET, ends=(*LOST, NotSentError), early=True),
    "closed within the status line": _raw(b"HTTP/1.1 20", CLOSE),
    "closed after the status line": _raw(LINE, CLOSE),
    "reset after the status line": _raw(LINE, RESET),
    "closed within the headers": _raw(LINE + b"Content-Le", CLOSE),
    "closed after the head": _raw(whole(201, length=9), CLOSE, ends=UNREAD),
    "reset within the body": _around(whole(201, length=9999), RESET, ends=UNREAD + LOST),
    "two lengths": _around(head(CREATED, "Content-Length: 2", "Content-Length: 3")),
    "two lengths in one": _length("300, 300"),
    "a length and chunks": _around(
        head(CREATED, "Content-Length: 9", "Transfer-Encoding: chunked"), ends=LOST + UNREAD
    ),
    "chunks and a length": _around(
        head(CREATED, "Transfer-Encoding: chunked", "Content-Length: 9"), ends=LOST + UNREAD
    ),
    "chunked twice": _around(
        head(CREATED, "Transfer-Encoding: chunked, chunked"), CLOSE, ends=LOST + UNREAD
    ),
    "an unknown transfer": _around(
        head(CREATED, "Transfer-Encoding: rot13"), CLOSE, ends=LOST + UNREAD + READ
    ),
    "a negative length": _length(-1),
    "a signed length": _length("+300"),
    "a length in hex": _length("0x12c"),
    "a length with a fraction": _length("300.0"),
    "a length of words": _length("many"),
    "a length of nothing": _length("", CLOSE, ends=LOST + READ),
    "a length of 10**30": _length(10**30, CLOSE),
    "a length of 2**64": _length(2**64, CLOSE),
    "a length of 2**63 - 1": _length(2**63 - 1, CLOSE, ends=UNREAD + LOST),
    "a length too long": _length(9999, CLOSE, ends=UNREAD),
    "a length too short": _length(99, CLOSE, ends=UNREAD + LOST),
    "a length and garbage": Hostile(
        READ + LOST, lambda good: [whole(201, good), b"garbage" * 99, CLOSE]
    ),
    "an answer too many": Hostile(READ, lambda good: [whole(201, good) + whole(400, b"{}")]),
    "no length": _around(head(CREATED), CLOSE, ends=READ),
    "a truncated chunk": _raw(CHUNKED + b"fff\r\n{", CLOSE, ends=UNREAD),
    "no last chunk": Hostile(UNREAD, lambda good: [CHUNKED + _chunk(good), CLOSE]),
    "a bad chunk size": _raw(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n", ends=UNREAD + LOST),
    "a negative chunk size": _raw(CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n", ends=UNREAD + LOST),
    "a huge chunk size": _raw(CHUNKED + b"f" * 17 + b"\r\n{}", CLOSE, ends=UNREAD + LOST),
    "a chunk longer than told": _raw(CHUNKED + b"1\r\n{}\r\n0\r\n\r\n", ends=UNREAD + LOST),
    "a chunk without an end": _raw(CHUNKED + b"2\r\n{}0\r\n\r\n", ends=UNREAD + LOST),
    "20 KB of chunk extension": Hostile(
        READ + UNREAD + LOST,
        lambda good: [CHUNKED + b"%x;%s\r\n%s\r\n0\r\n\r\n" % (len(good), b"x" * 20_000, good)],
        framed=True,
    ),
}
"""Successes that end too soon, too late, never, or elsewhere than they say."""

HEADS = {
    "a header of 20 KB": _headed("X: " + "x" * 20_000),
    "a header of 20 KB with an echo": _headed(f"X: {'x' * 60}{TOKEN}{'x' * 20_000}"),
    "a header's name of 20 KB": _headed("x" * 20_000 + ": x"),
    "a reason of 20 KB": _altered(b"Told", b"x" * 20_000),
    "a reason of 20 KB with an echo": _altered(b"Told", b"x" * 60 + ECHO + b"x" * 20_000),
    "200 headers": _headed(*(f"X-{number}: y" for number in range(200))),
    "a header with a NUL": _headed("X: \0"),
    "a header with an escape": _headed("X: \x1b[2J", ends=LOST + READ, framed=True),
    "a header with no text": _headed("X: \xff\xfe", ends=READ, framed=True),
    "a folded header": _headed("X: y\r\n z", ends=LOST + READ, framed=True),
    "a header without a colon": _headed("garbage"),
    "a header without a name": _headed(": garbage"),
    "a header of garbage with an echo": _headed(f"{TOKEN[-30:]}\1: {TOKEN}"),
    "a space before the colon": _headed("X : y"),
    "a space in a name": _headed("X Y: z"),
    "an upgrade": _headed("Connection: upgrade", "Upgrade: websocket", ends=READ, framed=True),
    "a cookie": _headed(
        "Set-Cookie: a=b; Path=/; Max-Age=9", "Set-Cookie: \x7f;=;;=", ends=READ, framed=True
    ),
    "bare line feeds": _altered(b"\r", b"", ends=LOST + READ),
    "bare returns": _altered(b"\n", b""),
    "HTTP/0.9": _around(b"", CLOSE),
    "HTTP/1.0": _altered(b"1.1", b"1.0", ends=READ),
    "HTTP/2.0": _altered(b"1.1", b"2.0", ends=LOST + READ),
    "HTTP/9.9": _altered(b"1.1", b"9.9", ends=LOST + READ),
    "HTTP/11.1": _altered(b"1.1", b"11.1"),
    "http/1.1": _altered(b"HTTP", b"http"),
    "no reason": _altered(b" Told", b"", ends=READ),
    "two spaces": _altered(b"201", b" 201", ends=LOST + READ),
    "HTTP/2 frames": _raw(b"\0\0\x12\x04\0\0\0\0\0" + b"\0\x03\0\0\0\x80" * 3, CLOSE),
    "TLS": _raw(bytes.fromhex("15030100020246"), CLOSE, early=True),
    "SSH": _raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", CLOSE, early=True),
    "an answer before the request": _raw(
        whole(201, length=9), CLOSE, ends=(*UNREAD, NotSentError), early=True
    ),
    "status 099": _no_status("099", framed=True),
    "status 000": _no_status("000", framed=True),
    "status 1000": _no_status("1000"),
    "status 20": _no_status("20"),
    "status -201": _no_status("-201"),
    "status 2O1": _no_status("2O1"),
    "a status that is none": _raw(b"HTTP/1.1 Created\r\n\r\n", CLOSE),
    "100 for ever": _endless(CONTINUE, CONTINUE * 9, LOST, endless=True),
    "100 a hundred times": Hostile(
        READ, lambda good: [CONTINUE * 100 + whole(201, good)], framed=True
    ),
    "103 first": Hostile(
        READ,
        lambda good: [head("HTTP/1.1 103 Early Hints", "Link: </a>"), whole(201, good)],
        framed=True,
    ),
    "101": _raw(head("HTTP/1.1 101 Switching", "Connection: upgrade", "Upgrade: h2c"), HANG),
    "101 with a body": _no_status(101, framed=True),
    "204": _raw(head("HTTP/1.1 204 None"), ends=UNREAD, framed=True),
    "204 with a body": Hostile(UNREAD + LOST, lambda good: [whole(204, good)]),
    "205": _around(whole(205, length=0), CLOSE, ends=UNREAD + LOST),
    "206": _altered(b"201", b"206", ends=READ),
    "226": _altered(b"201", b"226", ends=READ),
    "299": _altered(b"201", b"299", ends=READ),
}
"""Heads that are none, and statuses that nobody gives."""

REFUSALS = {
    "300": _status(300, ConfigurationError),
    "301 to another host": _status(301, ConfigurationError, "Location: https://far.example/"),
    "302 to nowhere": _status(302, ConfigurationError),
    "303 to javascript": _status(303, ConfigurationError, "Location: javascript:alert(1)"),
    "304": _raw(head("HTTP/1.1 304 Same"), ends=(ConfigurationError,), framed=True),
    "307 to no URL": _status(307, ConfigurationError, "Location: http://[::1/\t\xff"),
    "307 to the token": _status(307, ConfigurationError, f"Location: https://far.example/{TOKEN}"),
    "308 to two places": _status(308, ConfigurationError, "Location: /a", "Location: //far.b/c"),
    "400 as HTML": _status(400, BadRequestError, body=b"<html>"),
    "400 with a bomb": _status(
        400, BadRequestError, "Content-Encoding: gzip", body=bomb("gzip"), framed=False
    ),
    "400 without an end": _endless(_chunked(400), _chunk(SPACES), (BadRequestError,)),
    "400 too deep": _status(400, BadRequestError, body=b'{"message":' + DEEP),
    "400 with no text": _status(400, BadRequestError, body=b'{"message":{"a":[1]}}'),
    "400 on many lines": _status(
        400, BadRequestError, body=b'{"message":"\\u001b[2J\\r\\n\\u2028\\u0000gone"}'
    ),
    "400 of 1 MB": _status(400, BadRequestError, body=b'{"message":"%s"}' % (b"x" * 10**6)),
    "400 of no type": _status(400, BadRequestError, "Content-Type: \xff\xfe", body=b""),
    "400 with an echo": _status(400, BadRequestError, f"X: Bearer {TOKEN}", body=ECHOED),
    "400 cut short": _raw(whole(400, ECHOED, length=999), CLOSE, ends=(BadRequestError,)),
    "401 with a challenge": _status(
        401, UnauthorizedError, 'WWW-Authenticate: Basic realm="\\"', "WWW-Authenticate: Negotiate"
    ),
    "401 with an echo": _status(401, UnauthorizedError, body=ECHOED),
    "403": _status(403, ForbiddenError, body=b"null"),
    "404": _status(404, NotFoundError, body=b"[]"),
    "407": _status(407, APIStatusError, "Proxy-Authenticate: Basic"),
    "409 cut short": _raw(
        whole(409, b"{", length=99), RESET, ends=(DuplicateError, OutcomeUnknown)
    ),
    "409 with an echo": _status(409, DuplicateError, body=ECHOED),
    "413": _status(413, APIStatusError, body=b""),
    "418": _status(418, APIStatusError, body=b'{"message":""}'),
    "422 with an echo": _status(422, APIStatusError, body=ECHOED),
    "429 without an end": _endless(_chunked(429), _chunk(SPACES), (RateLimitedError,)),
    "429 for 3 million years": _retry_after("99999999999999"),
    "429 for 5,000 digits": _retry_after("9" * 5_000),
    "429 until before": _retry_after("-1"),
    "429 for a fraction": _retry_after("0.5"),
    "429 for ever": _retry_after("inf"),
    "429 for other digits": _retry_after("\xb2"),
    "429 until 9999": _retry_after("Fri, 31 Dec 9999 23:59:59 GMT"),
    "429 until 0000": _retry_after("Sat, 01 Jan 0000 00:00:00 GMT"),
    "429 until whenever": _retry_after("Thu, 99 Foo 2026 99:99:99 +9999"),
    "429 until somewhere": _retry_after("Fri, 01 May 2026 10:00:00 -0000"),
    "429 until garbage": _retry_after("soon, ():;<>@,\xff"),
    "429 by another clock": _retry_after("Fri, 01 May 2026 10:00:00 GMT", "Date: garbage"),
    "500 as HTML": _status(500, ServerError, body=b"<html>"),
    "500 with a bomb": _status(
        500, ServerError, "Content-Encoding: gzip", body=bomb("gzip"), framed=False
    ),
    "500 without an end": _endless(head("HTTP/1.1 500 Oops"), SPACES, (ServerError,)),
    "500 with an echo": _status(500, ServerError, f"X: {TOKEN}", body=ECHOED),
    "501": _status(501, ServerError),
    "502 and silence": _raw(whole(502, length=9), HANG, ends=(ServerError,), endless=True),
    "503": _status(503, ServerError, "Retry-After: \x0b"),
    "504 and a reset": _raw(whole(504, length=9), RESET, ends=(ServerError, OutcomeUnknown)),
    "599": _status(599, ServerError),
    "600": _status(600, ServerError),
    "999": _status(999, ServerError),
}
"""Answers that are no success, and what they may try."""

TABLE = BODIES | FRAMES | HEADS | REFUSALS

GOOD = _body(bytes, ends=READ)

GREEDY = [
    name
    for name in TABLE
    if re.search("bomb|endless|dripped|without an end|than is read|too deep|5,000|keys", name)
]
"""Those that would take memory."""
