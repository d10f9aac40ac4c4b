"""What goes wrong on purpose: which request meets which fault, and what that does on the wire.

    name                       in the store         what the client gets
    error_before_commit        nothing              500, or the `status` and `body` asked for
    error_after_commit         done                 the same
    reset_before_commit        nothing              RST, no answer
    reset_after_commit         done                 RST, no answer
    disconnect_before_commit   nothing              FIN, no answer
    disconnect_after_commit    done                 FIN, no answer
    hang_before_commit         nothing              silence, until the client goes away
    hang_after_commit          done                 silence, until the client goes away
    late_commit                done once the        silence, until the client goes away
                               client has gone
    slow_answer                done                 the answer, `seconds` late
    dripped_answer             done                 the answer's body, a byte each `seconds`
    truncated_answer           done                 the status, half of the body announced, FIN
    two_lengths                done                 the answer with two Content-Lengths, FIN
    bad_json                   done                 the answer, whose body is cut within its JSON
    rate_limited               nothing              429, with `retry_after` or without
    refused_token              nothing              401, as for a token that has expired
    redirect                   nothing              307 to `location`

"Done" is whatever the API does with the request: a 409 may be lost as well as a 201.
"""

import contextlib
import math
import random
import re
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any, Literal, TypeVar, get_args

import attrs
from aiohttp import web

from .calls import Answer
from .errors import Refused
from .tokens import MISSING_ACCOUNT

FaultName = Literal[
    "error_before_commit",
    "error_after_commit",
    "reset_before_commit",
    "reset_after_commit",
    "disconnect_before_commit",
    "disconnect_after_commit",
    "hang_before_commit",
    "hang_after_commit",
    "late_commit",
    "slow_answer",
    "dripped_answer",
    "truncated_answer",
    "two_lengths",
    "bad_json",
    "rate_limited",
    "refused_token",
    "redirect",
]
"""Every fault; docs/sandbox.md says what each does."""

F = TypeVar("F", bound="Fault | FaultName")

_TAKES = {
    "status": ("error_before_commit", "error_after_commit"),
    "body": ("error_before_commit", "error_after_commit"),
    "seconds": ("slow_answer", "dripped_answer", "late_commit"),
    "retry_after": ("rate_limited", "error_before_commit", "error_after_commit"),
    "location": ("redirect",),
}
"""Which faults a setting means something to."""

_DONE_NOT_BEFORE = frozenset({"late_commit", "rate_limited", "refused_token", "redirect"})
_NO_ANSWER = ("reset", "disconnect", "hang", "late_commit")
_ON = re.compile(r"[A-Z*]+ /\S*")
_HTML = b"<html><body><h1>%d %s</h1><hr>gateway</body></html>"
_LINGER = struct.pack("ii", 1, 0)  # a close that sends RST instead of FIN


def _one_of(*allowed: object) -> Callable[[Any, "attrs.Attribute[Any]", Any], None]:
    def check(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if value not in allowed:
            known = ", ".join(map(str, allowed))
            raise ValueError(f"{attribute.name} must be one of {known}, not {value!r}")

    return check


@attrs.frozen
class Fault:
    """One fault, by its name, with what may be set of it.

    `on` is the requests it is for, such as "GET /tickets/*" or "POST /oauth2/token"; without it
    they are every POST, PATCH and DELETE but the token route's. Raises ValueError for what no
    fault is, and for a setting that this one does not have.
    """

    name: FaultName = attrs.field(validator=_one_of(*get_args(FaultName)))
    on: str = attrs.field(default="", kw_only=True)
    status: int = attrs.field(default=500, kw_only=True, validator=_one_of(500, 502, 503, 504))
    """Of the error."""
    body: Literal["json", "html", "empty"] = attrs.field(
        default="json", kw_only=True, validator=_one_of("json", "html", "empty")
    )
    """Of the error: the API's own, a gateway's page, or none."""
    seconds: float = attrs.field(default=1.0, kw_only=True)
    """How late, how long between two bytes, or how long after the client has gone."""
    retry_after: float | str | None = attrs.field(default=None, kw_only=True)
    """The header's value: seconds, or an HTTP date."""
    location: str = attrs.field(default="", kw_only=True)
    """Where the redirect leads."""

    def __attrs_post_init__(self) -> None:
        if self.on and not _ON.fullmatch(self.on):
            raise ValueError(f'on must be a method and a path ("POST /tickets"), not {self.on!r}')
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f"seconds must be 0 or more, not {self.seconds!r}")
        for field in attrs.fields(Fault):
            given = getattr(self, field.name) != field.default
            if given and self.name not in _TAKES.get(field.name, (self.name,)):
                raise ValueError(f"{self.name} has no {field.name}")
        if self.name == "redirect" and not self.location:
            raise ValueError("redirect needs a location")

    @property
    def commits(self) -> bool:
        """Whether the request is done before the fault shows."""
        return not (self.name.endswith("_before_commit") or self.name in _DONE_NOT_BEFORE)

    def strikes(self, method: str, path: str) -> bool:
        """Return whether the fault is for such a request."""
        return fnmatchcase(f"{method} {path}", self.on) if self.on else _writes(method, path)

    def answer(self, done: Answer | None) -> Answer | None:
        """Return what is answered, or None for nothing; `done` is the answer of the API."""
        if self.name.startswith(_NO_ANSWER):
            return None
        if done and self.name == "bad_json":
            return attrs.evolve(done, body=done.body[: len(done.body) // 2])
        return self._instead() or done

    def _instead(self) -> Answer | None:
        """Return what is answered whatever the API would say, or None."""
        match self.name:
            case "error_before_commit" | "error_after_commit":
                return self._error()
            case "rate_limited":
                return attrs.evolve(_refusal(429), headers=self._waits())
            case "refused_token":
                return Answer.of(Refused(401, MISSING_ACCOUNT))
            case "redirect":
                return Answer(307, b"", {"Location": self.location})
            case _:
                return None

    def _error(self) -> Answer:
        if self.body == "json":
            return attrs.evolve(_refusal(self.status), headers=self._waits())
        page = _HTML % (self.status, HTTPStatus(self.status).phrase.encode())
        headers = {"Content-Type": "text/html", **self._waits()}
        return Answer(self.status, page if self.body == "html" else b"", headers)

    def _waits(self) -> dict[str, str]:
        wait = self.retry_after
        if isinstance(wait, float) and wait.is_integer():
            wait = int(wait)  # RFC 9110 10.2.3 knows whole seconds
        return {} if wait is None else {"Retry-After": f"{wait}"}


class Faults:
    """The faults to come: scripted ones in order, or drawn from a seed; none at the start.

    A request meets the first scripted fault that is for it, and only when there is none, one that
    is drawn. Any thread may say what shall go wrong.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.met = Counter[FaultName]()
        """How often each fault was met, by name."""
        self._script = deque[Fault | None]()
        self._odds: dict[Fault, float] = {}
        self._rng = random.Random(0)  # noqa: S311  it is drawn again from its seed, not secret

    def __repr__(self) -> str:
        return f"<Faults: {len(self._script)} scripted, {len(self._odds)} drawn, met {self.met}>"

    def script(self, *faults: Fault | FaultName | None) -> None:
        """Add what the next requests meet, in order; None is a write that meets nothing."""
        known = [fault and _fault(fault) for fault in faults]
        with self._lock:
            self._script.extend(known)

    def draw(self, odds: Mapping[F, float], *, seed: int = 0) -> None:
        """Let each request meet at most one of these, each with its probability.

        Requests that arrive in the same order meet the same faults again. Replaces what was drawn
        from; raises ValueError for probabilities that are none, or are more than 1 together.
        """
        chosen = {_fault(fault): float(chance) for fault, chance in odds.items()}
        if not all(0 <= chance <= 1 for chance in chosen.values()):
            raise ValueError(f"a probability is from 0 to 1: {dict(odds)}")
        if math.fsum(chosen.values()) > 1:
            raise ValueError(f"the probabilities are more than 1 together: {dict(odds)}")
        with self._lock:
            self._odds = chosen
            self._rng.seed(seed)

    def clear(self) -> None:
        """Let nothing go wrong from now on; what was met stays counted."""
        with self._lock:
            self._script.clear()
            self._odds = {}

    def meet(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets, and count it."""
        with self._lock:
            fault = self._next(method, path)
            if fault is not None:
                self.met[fault.name] += 1
            return fault

    def _next(self, method: str, path: str) -> Fault | None:
        for place, fault in enumerate(self._script):
            if fault.strikes(method, path) if fault else _writes(method, path):
                del self._script[place]
                return fault
        return self._drawn(method, path)

    def _drawn(self, method: str, path: str) -> Fault | None:
        odds = [(fault, odd) for fault, odd in self._odds.items() if fault.strikes(method, path)]
        drawn = self._rng.random() if odds else 1.0
        for fault, chance in odds:
            if drawn < chance:
                return fault
            drawn -= chance
        return None


@attrs.frozen
class Line:
    """The connection on which a fault shows, and what the sandbox does on it."""

    request: web.BaseRequest
    gone: Callable[[], Awaitable[object]]
    """Returns when the client has closed the connection."""
    sleep: Callable[[float], Awaitable[object]]
    commit: Callable[[], object]
    """Does what the request asks for."""


def response(answer: Answer) -> web.Response:
    """Return an answer as aiohttp sends it."""
    return web.Response(body=answer.body, status=answer.status, headers=answer.headers)


async def show(fault: Fault, answer: Answer | None, line: Line) -> web.StreamResponse:
    """Let the client meet the fault; return what aiohttp sends, unless the connection is closed."""
    if answer is None:
        await _silence(fault, line)
        return web.Response()
    if fault.name in {"truncated_answer", "two_lengths"}:
        _write(line.request, _malformed(fault.name, answer))
        return web.Response()
    if fault.name == "dripped_answer":
        return await _drip(answer, line, fault.seconds)
    if fault.name == "slow_answer":
        await line.sleep(fault.seconds)
    return response(answer)


async def _silence(fault: Fault, line: Line) -> None:
    if fault.name.startswith("reset"):
        _reset(line.request)
    elif fault.name.startswith("disconnect"):
        _write(line.request, b"")
    else:
        await line.gone()
        if fault.name == "late_commit":
            await line.sleep(fault.seconds)
            line.commit()


async def _drip(answer: Answer, line: Line, seconds: float) -> web.StreamResponse:
    dripped = web.StreamResponse(status=answer.status, headers=answer.headers)
    dripped.content_length = len(answer.body)
    with contextlib.suppress(ConnectionError):  # the client has left, as aiohttp sees for itself
        await dripped.prepare(line.request)
        for at in range(len(answer.body)):
            await dripped.write(answer.body[at : at + 1])
            await line.sleep(seconds)
    return dripped


def _malformed(name: FaultName, answer: Answer) -> bytes:
    length, body = len(answer.body), answer.body
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{header}: {value}" for header, value in answer.headers.items()]
    lines.append(f"Content-Length: {length}")
    if name == "two_lengths":
        lines.append(f"Content-Length: {length + 1}")
    else:
        body = body[: length // 2]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _write(request: web.BaseRequest, data: bytes) -> None:
    """Send these bytes and nothing after them: aiohttp writes no answer to what is closing."""
    if request.transport is not None:
        request.transport.write(data)
        request.transport.close()


def _reset(request: web.BaseRequest) -> None:
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        request.transport.abort()


def _fault(fault: Fault | FaultName) -> Fault:
    return fault if isinstance(fault, Fault) else Fault(fault)


def _writes(method: str, path: str) -> bool:
    return method in {"POST", "PATCH", "DELETE"} and path != "/oauth2/token"


def _refusal(status: int) -> Answer:
    return Answer.of(Refused(status, HTTPStatus(status).phrase))
