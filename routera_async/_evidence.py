"""What one attempt of a call saw, and what all of them together prove."""

import re
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import attrs
from aiohttp import (
    ClientConnectorError,
    ClientHttpProxyError,
    ClientResponse,
    Payload,
    ServerDisconnectedError,
)
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ._limits import Limit
from .errors import (
    BODY_KEPT,
    Attempt,
    DuplicateError,
    NotSentError,
    OutcomeUnknown,
    Overloaded,
    ResponseError,
    RouteraError,
    ServerError,
    from_response,
    one_line,
)
from .retries import Repeat, RetryPolicy

_FIRST_FINAL = 200
"""Statuses below it are no answer yet (RFC 9110 15.2), or no HTTP at all."""

_REDIRECTED = 300
"""Statuses below it are successes."""

_REFUSAL = 2 * BODY_KEPT
"""Bytes read of an answer without success, after decompression."""

_TELLING = 8
"""Characters of a token that are told from chance."""

_QUOTE = r"(?s):?\s+(bytearray\()?b?['\"].*"
"""What aiohttp quotes of a malformed answer, cut anywhere: even through an echoed token."""

_BY_CONNECTING = (ClientConnectorError, ClientHttpProxyError)
"""What connecting alone raises: nothing was sent."""

_NO_HEADERS = CIMultiDictProxy(CIMultiDict[str]())

CANCELLED = "cancelled"
"""What an attempt met that its caller cut off; one whose deadline did has met a `TimeoutError`."""


@attrs.define(kw_only=True)
class Call:
    """One call, and what its attempts have met so far; times are the loop's, in seconds."""

    method: str
    url: URL
    body: bytes | None
    repeat: Repeat
    limit: int
    started: float
    deadline: float | None
    bound: Limit | None = attrs.field(default=None, repr=False)
    """What ends it at its deadline, while it is under way."""
    number: int = 0
    """What tells it from all others, where somebody watches."""
    refused: str | None = attrs.field(default=None, repr=False)
    """The token that the server has answered with 401."""
    tokens: tuple[str, ...] = attrs.field(default=(), repr=False)
    """What the call has sent, and no error may show."""
    over: bool = False
    """Whether it is not to be sent again, whatever it has met."""
    admitted: bool = False
    """Whether it had a place once: then it is never refused another."""
    repeated: bool = False
    """Whether aiohttp has sent an attempt twice of its own accord, as it does a DELETE."""
    cut_off: RouteraError | None = None
    """What an attempt proves that was cut off, by the call's caller or by its deadline."""
    _met: tuple[tuple[Any, ...], ...] = ()

    @property
    def made(self) -> int:
        """How many attempts were made."""
        return len(self._met)

    @property
    def status(self) -> int | None:
        """The status of the last attempt's answer, if there was one."""
        status: int | None = self._met[-1][3] if self._met else None
        return status

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What each attempt met: told when it is asked for, which is seldom."""
        if len(self._met) == 1:
            return (Attempt(1, *self._met[0]),)
        return tuple(Attempt(number, *met) for number, met in enumerate(self._met, 1))

    def __str__(self) -> str:
        return f"{self.method} {self.url.path}"

    def note(
        self, evidence: "Evidence", verdict: RouteraError | None, began: float, elapsed: float
    ) -> None:
        """Write down what one attempt met."""
        if evidence.was_cut_off:
            self.cut_off = verdict
        self.repeated |= evidence.repeated
        outcome = verdict.outcome if verdict else "created"
        started, sent = began - self.started, evidence.sent
        self._met += ((started, elapsed, sent, evidence.status, evidence.error, outcome),)

    def settled(self, error: RouteraError, elapsed: float, policy: RetryPolicy) -> RouteraError:
        """Return the last error in the light of the attempts before it.

        One attempt that may have done its work makes the whole call unknown, unless a later answer
        decides: a refusal that follows a lost answer says nothing of the request that was lost.
        """
        doubtful = self.repeated or any(each.outcome == "unknown" for each in self.attempts)
        if isinstance(error, DuplicateError) and self.method == "POST":
            error.ours = doubtful
        elif isinstance(error, NotSentError | Overloaded) and doubtful:
            error = OutcomeUnknown(f"{error}; an earlier attempt may have been done")
        elif (
            isinstance(error, ServerError)
            and self.repeat is Repeat.UNKEYED
            and not policy.takes(self.repeat)
        ):
            error = OutcomeUnknown(f"{error}; it may have been done, and is not sent again unkeyed")
        elif doubtful and error.outcome in {"rejected", "duplicate", "not_sent"}:
            error.outcome = "unknown"
        error.attempts = self.attempts
        error.elapsed = elapsed
        return error


class AnswerBody:
    """An answer's body, read up to `limit` bytes after decompression.

    It is kept as it came, for a buffer that grows is held twice. No `repr` and no local of `read`
    shows any of it.
    """

    def __init__(self, response: ClientResponse, limit: int) -> None:
        self._response = response
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    async def read(self) -> None:
        """Read it to its end; raises what reading does, and ValueError when it is too long.

        A connection whose answer was not read to its end is closed, never used again.
        """
        content = self._response.content
        try:
            while self._keep(await content.readany()) and not content.at_eof():
                pass
        except BaseException:
            self._response.close()
            raise
        self._response.release()

    def whole(self) -> bytes:
        """Return all that was read."""
        return b"".join(self._pieces)

    def start(self, length: int) -> bytes:
        """Return the first bytes of what was read."""
        start = bytearray()
        for piece in self._pieces:
            start += piece[: length - len(start)]
        return bytes(start)

    def _keep(self, piece: bytes) -> bool:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > self._limit:
            raise ValueError(f"longer than {self._limit} bytes")
        return bool(piece)


class WitnessedBody(Payload):
    """A request body that knows whether it began to be written.

    aiohttp holds the headers back until then, so before that moment nothing has left. It refuses
    to be written to a connection on which something came already: that would be taken for the
    answer.
    """

    _value: bytes

    def __init__(self, value: bytes, content_type: str = "application/json") -> None:
        super().__init__(value, content_type=content_type)
        self.times = 0
        """How often it began to be written."""

    @property
    def size(self) -> int:
        """The length in bytes."""
        return len(self._value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text."""
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the whole body."""
        protocol = getattr(writer, "protocol", None)
        if getattr(protocol, "should_close", False):
            raise ConnectionResetError("the connection was used up before the request was sent")
        self.times += 1
        await writer.write(self._value)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002 (it is ours)
    ) -> None:
        """Write the whole body, whose length is the one announced."""
        await self.write(writer)

    def check(self, response: ClientResponse) -> None:
        """Raise ConnectionResetError for an answer that came before the request had left.

        It answers something else, and a connection of the caller's own session may hold it.
        """
        wired = getattr(response, "version", None) is not None  # a mock's came over no wire
        if wired and not self.times:
            response.close()
            raise ConnectionResetError("an answer came before the request was sent")


class Evidence:
    """What one attempt saw: whether it was sent, the status line, the body, what went wrong."""

    def __init__(self, call: Call, token: str) -> None:
        if token not in call.tokens:
            call.tokens += (token,)
        self.body = WitnessedBody(call.body or b"") if call.method != "GET" else None
        self.status: int | None = None
        self.error: str | None = None
        self.was_cut_off = False
        self._call = call
        self._headers: CIMultiDictProxy[str] = _NO_HEADERS
        self._answer: AnswerBody | None = None
        self._connected = True

    @property
    def sent(self) -> bool:
        """False only when the request provably never left."""
        if self.status is not None:
            return True
        return self.body.times > 0 if self.body else self._connected

    @property
    def repeated(self) -> bool:
        """Whether aiohttp sent the request more than once."""
        return self.body is not None and self.body.times > 1

    def met(self, response: ClientResponse) -> None:
        """Take note of an answer's head; the body of what is none is not read.

        Raises ConnectionResetError for one that came before the request had left.
        """
        if self.body is not None:
            self.body.check(response)
        self.status = response.status
        self._headers = response.headers
        if self.status < _FIRST_FINAL:
            response.close()
        else:
            success = self.status < _REDIRECTED
            self._answer = AnswerBody(response, self._call.limit if success else _REFUSAL)

    def read(self) -> Awaitable[None]:
        """Read the answer's body; raises whatever its reading does."""
        return _nothing() if self._answer is None else self._answer.read()

    def headers(self) -> dict[str, str]:
        """Return the answer's headers, the first of each name, without the token."""
        first = dict(self._headers)
        return {name.lower(): self._clean(value) for name, value in first.items()}

    def data(self) -> bytes:
        """Return what was read of the answer's body."""
        return self._answer.whole() if self._answer else b""

    def failed(self, error: BaseException) -> None:
        """Take note of an exception, without anything secret that it may quote."""
        self._connected = not isinstance(error, _BY_CONNECTING)
        detail = one_line(self._clean(_said(error)), 200)
        self.error = f"{type(error).__name__}: {detail}" if detail else type(error).__name__

    def cut_off(self, deadline: float | None) -> None:
        """Take note of a cancellation: by the call's deadline of so many seconds, or its caller."""
        self.was_cut_off, self.error = True, CANCELLED
        if self._call.bound is not None and self._call.bound.cancels:
            self.error = f"TimeoutError: the deadline of {deadline} s passed"

    def verdict(self) -> RouteraError | None:
        """Return what the attempt proves, or None for a success that was read whole."""
        if self.status is None:
            if not self.sent:
                return NotSentError(f"{self._call} could not be sent: {self.error}")
            return OutcomeUnknown(f"{self._call} was sent, and no answer came: {self.error}")
        if self.status < _FIRST_FINAL:
            return OutcomeUnknown(f"{self._call} was answered with {self.status}: nothing decided")
        if self.status < _REDIRECTED:
            if self.error is None:
                return None
            lost = ResponseError(f"{self._call} succeeded, and its answer was lost: {self.error}")
            lost.status, lost.body = self.status, self.excerpt()
            return lost
        return from_response(
            self.status, self.headers(), self._hidden(self.data()), now=lambda: datetime.now(UTC)
        )

    def excerpt(self) -> bytes:
        """Return what an error may show of the answer: its first 64 KiB, without the token."""
        if self._answer is None:
            return b""
        longest = max(map(len, self._call.tokens))
        return self._hidden(self._answer.start(BODY_KEPT + longest))[:BODY_KEPT]

    def _hidden(self, body: bytes) -> bytes:
        """Return an answer without the tokens that it quotes, whole or cut short."""
        for token in self._call.tokens:
            body = _without(body, token.encode())
        return body

    def _clean(self, text: str) -> str:
        return self._hidden(text.encode("utf-8", "surrogateescape")).decode(
            "utf-8", "surrogateescape"
        )


async def _nothing() -> None:
    """Read no body."""


def _without(text: bytes, token: bytes) -> bytes:
    """Return a text without a token, nor what is long enough of its beginning to be told."""
    start = token[:_TELLING]
    if start not in text:
        return text
    kept, done = [], 0
    while (at := text.find(start, done)) >= 0:
        kept += [text[done:at], b"[token]"]
        done = at + len(start)
        for byte, shown in zip(text[done : at + len(token)], token[len(start) :], strict=False):
            if byte != shown:
                break
            done += 1
    return b"".join([*kept, text[done:]])


def _said(error: BaseException) -> str:
    """Return what an exception says, but for its quotations of the answer."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, HttpProcessingError):
        return re.sub(_QUOTE, "", cause.message)
    return "" if isinstance(error, TimeoutError | ServerDisconnectedError) else str(error)
