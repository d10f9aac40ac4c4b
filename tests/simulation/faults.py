"""What may go wrong around a commit: one function each, in the order of a request's life."""

import gzip
from collections.abc import Callable
from email.utils import formatdate

from .server import ELSEWHERE, HOST, Exchange, Fault, written
from .world import EPOCH

ERROR = b'{"message": "simulated", "error": true}'
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
LONG_AGO = 60.0
"""Seconds after which a request that nobody waits for may still be done, at the most."""


def _before(status: int, body: bytes = ERROR, *headers: str) -> Fault:
    """Return the fault: this answer, and nothing is done."""
    return lambda x: x.reply(status, body, *headers)


def _after(status: int, body: bytes = ERROR, *headers: str) -> Fault:
    """Return the fault: it is done, and this is the answer."""

    def fault(x: Exchange) -> None:
        x.commit()
        x.reply(status, body, *headers)

    return fault


def _cut(end: str, *, done: bool) -> Fault:
    """Return the fault: the connection ends without an answer."""

    def fault(x: Exchange) -> None:
        if done:
            x.commit()
        _end(x, end)

    return fault


def _end(x: Exchange, how: str) -> None:
    if how == "finish":
        x.finish()
    elif how == "reset":
        x.reset()


def _cut_answer(x: Exchange) -> None:
    """Do it, and break the answer off at any byte."""
    answer = x.commit()
    data = written(answer.status, answer.body)
    x.seen.status = answer.status
    x.send(data[: x.rng.randrange(1, len(data))])
    _end(x, x.rng.choice(("finish", "reset", "hang")))


def _slow_answer(x: Exchange) -> None:
    """Do it, and answer late: before or after the attempt's time-out."""
    answer = x.commit()
    x.later(x.patience * x.rng.uniform(0.3, 2.0), x.reply, answer.status, answer.body)


def _dripped(x: Exchange) -> None:
    """Do it, and send the answer's first hundred bytes one by one, for long or very long."""
    answer = x.commit()
    data = written(answer.status, answer.body, *x.server.always())
    gap = x.patience * x.rng.uniform(0.2, 3.0) / 100
    for at in range(100):
        x.send(data[at : at + 1])
        x.pause(gap)
    x.whole(data[100:], answer.status)


def _zombie(end: str) -> Fault:
    """Return the fault: it is done long after the client was left without an answer."""

    def fault(x: Exchange) -> None:
        _end(x, end)
        x.later(x.patience * x.rng.uniform(0.5, 3.0), x.commit)

    return fault


def _zombie_answers(x: Exchange) -> None:
    """Do it late, and answer whoever is still there."""

    def do() -> None:
        answer = x.commit()
        x.reply(answer.status, answer.body)

    x.later(min(LONG_AGO, x.patience * x.rng.uniform(0.5, 8.0)), do)


def _gateway_gave_up(x: Exchange) -> None:
    """Answer 504 for a request that is still being done."""
    x.reply(504, HTML, "X-Gateway: yes")
    x.later(x.patience * x.rng.uniform(0.0, 3.0), x.commit)


def _limited_until(x: Exchange) -> None:
    """Answer 429 with a date, told by the server's own clock."""
    now = EPOCH + x.server.world.loop.time()
    told = (("Date", now), ("Retry-After", now + 3))
    dates = [f"{name}: {formatdate(at, usegmt=True)}" for name, at in told]
    x.reply(429, ERROR, *dates)


def _revoked(x: Exchange) -> None:
    """Refuse the token, and from now on as well if another can be had."""
    if x.server.renews:
        x.server.revoked.add(x.request.token)
    x.reply(401, b'{"message": "Unauthorized: missing account context", "error": true}')


def _redirected(status: int, host: str) -> Fault:
    return _before(status, b"", f"Location: https://{host}/tickets")


def _answered_with(make: Callable[[int, bytes], bytes]) -> Fault:
    """Return the fault: it is done, and these bytes, made of the answer's body, come instead."""

    def fault(x: Exchange) -> None:
        answer = x.commit()
        x.seen.status = answer.status
        x.send(make(answer.status, answer.body))
        x.finish()

    return fault


def _twice_measured(status: int, body: bytes) -> bytes:
    return written(status, body, "Content-Length: 7")


def _long_header(status: int, body: bytes) -> bytes:
    return written(status, body, f"X-Long: {'x' * 9000}")


def _many_headers(status: int, body: bytes) -> bytes:
    return written(status, body, *(f"X-{n}: y" for n in range(200)))


def _no_http(_: int, body: bytes) -> bytes:
    return b"\x16\x03\x01 this is not HTTP\r\n\r\n" + body


def _chunks(body: bytes) -> bytes:
    size = max(1, len(body) // 3)
    parts = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


def _chunked_head(status: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Simulated", "Transfer-Encoding: chunked", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def _bad_chunk(status: int, body: bytes) -> bytes:
    return _chunked_head(status) + _chunks(body[:60]) + b"zz\r\n" + body[60:]


def _chunked(x: Exchange) -> None:
    """Do it, and answer in chunks: nothing is wrong with that."""
    answer = x.commit()
    head = _chunked_head(answer.status, *x.server.always())
    x.whole(head + _chunks(answer.body) + b"0\r\n\r\n", answer.status)


def _interim(x: Exchange) -> None:
    """Do it, and send an interim answer before the one that counts."""
    answer = x.commit()
    x.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    x.reply(answer.status, answer.body)


def _closing(x: Exchange) -> None:
    """Do it, answer in full, and close the connection, announced or not."""
    answer = x.commit()
    announced = ("Connection: close",) if x.rng.random() < 0.5 else ()
    x.reply(answer.status, answer.body, *announced)
    x.finish()


def _unreadable(body: bytes) -> Fault:
    """Return the fault: it is done, and the 201 holds something else than the record."""

    def fault(x: Exchange) -> None:
        answer = x.commit()
        x.reply(answer.status, body if answer.status == 201 else answer.body)

    return fault


def _lying_gzip(x: Exchange) -> None:
    """Do it, and call a body compressed that is not, or cut a compressed one short."""
    answer = x.commit()
    packed = gzip.compress(answer.body, mtime=0)[:-9] if x.rng.random() < 0.5 else answer.body
    headers = ("Content-Encoding: gzip", *x.server.always())
    x.whole(written(answer.status, packed, *headers), answer.status)


FAULTS: dict[str, Fault] = {
    "500 before": _before(500),
    "502 html before": _before(502, HTML),
    "503 retry-after before": _before(503, b"", "Retry-After: 2"),
    "504 before": _before(504, b""),
    "reset before": _cut("reset", done=False),
    "finish before": _cut("finish", done=False),
    "hang before": _cut("hang", done=False),
    "500 after": _after(500),
    "502 html after": _after(502, HTML),
    "503 retry-after after": _after(503, b"", "Retry-After: 1"),
    "reset after": _cut("reset", done=True),
    "finish after": _cut("finish", done=True),
    "hang after": _cut("hang", done=True),
    "slow answer": _slow_answer,
    "dripped answer": _dripped,
    "cut answer": _cut_answer,
    "zombie hang": _zombie("hang"),
    "zombie reset": _zombie("reset"),
    "zombie finish": _zombie("finish"),
    "zombie answers": _zombie_answers,
    "zombie 504": _gateway_gave_up,
    "429": _before(429),
    "429 retry-after": _before(429, ERROR, "Retry-After: 1"),
    "429 until": _limited_until,
    "401": _revoked,
    "400": _before(400),
    "403": _before(403),
    "404": _before(404),
    "413": _before(413, b""),
    "422": _before(422),
    "307 away": _redirected(307, ELSEWHERE),
    "303 away": _redirected(303, ELSEWHERE),
    "308 here": _redirected(308, HOST),
    "302 here": _redirected(302, HOST),
    "two lengths": _answered_with(_twice_measured),
    "long header": _answered_with(_long_header),
    "many headers": _answered_with(_many_headers),
    "no HTTP": _answered_with(_no_http),
    "bad chunk": _answered_with(_bad_chunk),
    "chunked": _chunked,
    "interim": _interim,
    "closing": _closing,
    "html 201": _unreadable(HTML),
    "empty 201": _unreadable(b""),
    "list 201": _unreadable(b"[1, 2]"),
    "bad utf-8 201": _unreadable(b'{"id": "\xff\xfe"}'),
    "lying gzip": _lying_gzip,
}
"""Every fault by its name."""

OF_A_GRANT = (
    "500 before",
    "502 html before",
    "429",
    "reset before",
    "finish before",
    "hang before",
    "reset after",
    "slow answer",
    "dripped answer",
    "cut answer",
)
"""Those that a request for a token may meet."""

OF_THE_ACCOUNT = frozenset({"401", "403", "404", "307 away", "303 away", "308 here", "302 here"})
"""Those that stop an import at once: drawn in few seeds, for after them little happens."""
