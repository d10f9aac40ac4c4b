"""What can go wrong, and what each error proves.

    RouteraError
    ├── ConfigurationError     a bad base_url or token; a redirect answered; http:// to a far host
    ├── ValidationError        breaks a documented rule; not sent
    ├── JournalError           an import's journal cannot be read or written; not sent
    ├── Overloaded             max_waiting calls are waiting already; not sent
    ├── NotSentError           refused, DNS, TLS, no connection in time: provably not sent
    ├── OutcomeUnknown         sent, and no answer that decides: it may exist
    ├── ResponseError          2xx, so it exists, but the body cannot be read
    └── APIStatusError         .status .message .body .headers .retry_after
        ├── BadRequestError 400 · UnauthorizedError 401 · ForbiddenError 403 · NotFoundError 404
        ├── DuplicateError 409     .ours
        ├── RateLimitedError 429
        └── ServerError 5xx        outcome "unknown": it may have been done

`from_response` is the whole meaning of an HTTP answer; the rest is told by the evidence that the
session took while it sent. No error holds a token, a session or a request's headers.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar

import attrs
import orjson

OutcomeName = Literal["created", "rejected", "duplicate", "not_sent", "unknown"]
"""What is proven of a write: see the table in docs/outcomes.md."""

BODY_KEPT = 65_536
"""Bytes of an error's body that are kept: enough for any message, and bounded."""

_MESSAGE_KEPT = 500
"""Characters of the server's message that are shown."""

_CONTROL = (  # `re` compiles it at the first error, and keeps it, as all that only errors need
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029"  # control characters and line ends
    r"\u202a-\u202e\u2066-\u2069"  # what turns the rest of a line around
    r"\ud800-\udfff]+"  # a header's byte that is no text, which no terminal takes
)

_SECONDS = r"([0-9]+)(\.[0-9]+)?"

E = TypeVar("E", bound="RouteraError")


@attrs.frozen
class Attempt:
    """What one attempt of a call met.

    `started` is in seconds since the call began and `elapsed` in seconds; `sent` is False only
    when the request provably never left; `status` is the answer's, or None when none came;
    `error` names what came instead.
    """

    number: int
    started: float
    elapsed: float
    sent: bool
    status: int | None
    error: str | None
    outcome: OutcomeName


class RouteraError(Exception):
    """The root of every error of this package.

    `outcome` is what is proven of the write, `attempts` what each attempt met, and `elapsed` the
    seconds that the whole call took. `external_id` is the key that a create was sent with, one that
    was minted for it as well.
    """

    outcome: OutcomeName = "not_sent"
    external_id: str | None = None
    attempts: tuple[Attempt, ...] = ()
    elapsed: float = 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state, so that a subclass may take what arguments it likes."""
        return _revive, (type(self), self.args), self.__dict__


def _revive(cls: type[E], args: tuple[Any, ...]) -> E:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class ConfigurationError(RouteraError):
    """A setting is wrong, so every call would fail: nothing was done."""


class ValidationError(RouteraError):
    """A record breaks a documented rule; it was not sent."""


class JournalError(RouteraError):
    """An import's journal cannot be read or written, so that nothing more may be sent."""


class Overloaded(RouteraError):  # noqa: N818 (the name is fixed by the design)
    """As many calls as `max_waiting` were already waiting; nothing was sent."""


class NotSentError(RouteraError):
    """No attempt began to send the request's body, so nothing can have been done."""


class OutcomeUnknown(RouteraError):  # noqa: N818 (the name is fixed by the design)
    """The request was sent and no answer came that decides: it may have been done."""

    outcome: OutcomeName = "unknown"


class ResponseError(RouteraError):
    """The answer was a 2xx, so it was done, but its body cannot be read.

    Its outcome is "created" whatever was asked: of a create, that the record exists; of an update,
    an archive or a dispatch, that it was done; of a get or a list, that it was answered, which
    proves no more than that the answer cannot be read. `status` is the answer's, `body` its first
    64 KiB, and `id` the record's where that much could still be read.
    """

    outcome: OutcomeName = "created"
    status: int | None = None
    body: bytes = b""
    id: str | None = None


class APIStatusError(RouteraError):
    """The server answered with a status that is no success.

    `message` is the server's, on one line and shortened; `body` the first 64 KiB of the answer;
    `headers` have lower-case names; `retry_after` is in seconds, or None when not asked for.
    """

    outcome: OutcomeName = "rejected"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.headers = headers
        self.body = body
        self.retry_after = retry_after


class BadRequestError(APIStatusError):
    """400: invalid JSON, an unknown or forbidden field, or a value that fails validation."""


class UnauthorizedError(APIStatusError):
    """401: no valid token with account context, even after a refresh."""


class ForbiddenError(APIStatusError):
    """403: this account may not do that."""


class NotFoundError(APIStatusError):
    """404: no such record, or it is archived; on a collection, a wrong base_url."""


class DuplicateError(APIStatusError):
    """409: an active record already holds this email, website_url or external_id.

    `ours` is True when an earlier attempt of this very call may have created that record.
    """

    outcome: OutcomeName = "duplicate"
    ours: bool = False


class RateLimitedError(APIStatusError):
    """429: not processed, and to be sent again after `retry_after` seconds."""

    outcome: OutcomeName = "not_sent"


class ServerError(APIStatusError):
    """5xx: the server failed, before or after it did what was asked."""

    outcome: OutcomeName = "unknown"


TRY_AGAIN = frozenset({408, 425})
"""No refusals: a gateway waited no longer for the request, or had said so on an idle connection
before it came (RFC 9110 15.5.9), or would not take it so early (RFC 8470 5.2)."""

_MOVED = frozenset({301, 302, 307, 308})
"""Redirects of the request itself; another 3xx, a 303 above all, may follow work that was done."""

_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: DuplicateError,
    429: RateLimitedError,
}


def from_response(
    status: int, headers: Mapping[str, str], body: bytes, *, now: Callable[[], datetime]
) -> APIStatusError | ConfigurationError:
    """Return the error that an answer without success means.

    `now` is asked only when `Retry-After` is a date and the server told no `Date` of its own.
    A 3xx is a `ConfigurationError`: redirects are never followed, for a 307 would carry the
    request's body to another host.
    """
    headers = {name.lower(): value for name, value in headers.items()}
    if 300 <= status < 400:  # noqa: PLR2004
        return _redirected(status, headers)
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else APIStatusError)  # noqa: PLR2004
    error = kind(
        _message(status, headers, body),
        status=status,
        headers=headers,
        body=body[:BODY_KEPT],
        retry_after=_retry_after(headers, now),
    )
    if status in TRY_AGAIN:
        error.outcome = "unknown"
    return error


def one_line(text: str, limit: int = _MESSAGE_KEPT) -> str:
    """Return a foreign text fit for one line of a terminal: no control characters, shortened."""
    flat = re.sub(_CONTROL, " ", text).strip()
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _redirected(status: int, headers: Mapping[str, str]) -> ConfigurationError:
    target = one_line(headers.get("location", "nowhere"), 200)
    error = ConfigurationError(
        f"{status}: the server redirects to {target}; redirects are not followed: check base_url"
    )
    error.outcome = "rejected" if status in _MOVED else "unknown"
    return error


def _message(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """Return the server's message, or what kind of answer it was when it holds none."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    said = answer.get("message") if isinstance(answer, dict) else None
    if isinstance(said, str) and (message := one_line(said)):
        return message
    kind = one_line(headers.get("content-type", "no content type"), 80)
    return f"HTTP {status} without a message ({len(body)} bytes, {kind})"


def _retry_after(headers: Mapping[str, str], now: Callable[[], datetime]) -> float | None:
    """Read Retry-After, RFC 9110 10.2.3: seconds, or an HTTP date told by the server's clock.

    Some servers send decimals, which the RFC does not know.
    """
    text = headers.get("retry-after", "").strip()
    if match := re.fullmatch(_SECONDS, text):
        return float(match[1][:9] + (match[2] or "")[:9])
    until = _http_date(text)
    if until is None:
        return None
    since = _http_date(headers.get("date", "")) or now()
    return max(0.0, (until - since).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return when if when.tzinfo else None
