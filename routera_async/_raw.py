"""Requests of the caller's own making, for what the client knows nothing of."""

from collections.abc import Mapping
from typing import Any

import attrs

from ._codec import decode, encode_json
from ._session import PAGE_LIMIT, Session
from ._urls import query_of, segments_of
from .errors import Attempt, ResponseError, ValidationError
from .retries import Repeat

_METHODS = {
    "GET": Repeat.SAFE,
    "PUT": Repeat.SAFE,
    "PATCH": Repeat.SAFE,
    "DELETE": Repeat.SAFE,
    "POST": Repeat.RISKY,
}
"""What `request` sends, and what a repeat of it means unless told."""


@attrs.frozen
class Response:
    """A 2xx to a request of the caller's own making.

    `headers` have lower-case names; `attempts` tells what each attempt met; `elapsed` is in
    seconds.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    attempts: tuple[Attempt, ...]
    elapsed: float

    def json(self) -> Any:
        """Return the body's JSON value; raises `ResponseError`, without the body, for another."""
        try:
            return decode(self.body)
        except ResponseError as error:
            error.status, error.attempts, error.elapsed = self.status, self.attempts, self.elapsed
            raise


async def request(
    session: Session,
    method: str,
    path: str,
    *,
    params: Mapping[str, str | float | bool] | None,
    json: Any,
    repeatable: bool | None,
) -> Response:
    """Send what the client knows nothing of."""
    if str(method) not in _METHODS:
        raise ValidationError(f"method must be one of {', '.join(_METHODS)}, not {method!r}")
    if method == "GET" and json is not None:
        raise ValidationError("a GET has no body: give params")
    repeat = _METHODS[method]
    if repeatable is not None:
        repeat = Repeat.SAFE if repeatable else Repeat.RISKY
    answer = await session.request(
        method,
        segments_of(path),
        query=None if params is None else query_of(params),
        body=None if json is None else encode_json(json),
        repeat=repeat,
        limit=PAGE_LIMIT,
    )
    return Response(answer.status, answer.headers, answer.body, answer.attempts, answer.elapsed)
