"""A request, the answer to it, and what every route reads in the same way."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import parse_qsl

import attrs

from .errors import Refused
from .store import Record, Store
from .tokens import Caller
from .wire import decode, encode

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
"""API.md: "limit default 10, at most 100"; of its two lower bounds, 10 and 1, the wider."""

MAX_OFFSET = 2**63 - 1
"""What SQLite can count to."""

_JSON = {"Content-Type": "application/json"}


@attrs.define
class Call:
    """A request: the path percent-decoded, the query as sent, the body once it is read."""

    method: str
    path: str
    query: str
    authorization: str
    body: bytes = b""

    def json(self) -> dict[str, Any]:
        """Return the body; Refused (400) when it is no JSON object."""
        try:
            value = decode(self.body)
        except ValueError as error:
            raise Refused(400, f"Invalid JSON body: {error}") from None
        if not isinstance(value, dict):
            raise Refused(400, "The body must be a JSON object")
        return value

    def parameters(self) -> "Parameters":
        """Return the query's parameters."""
        return Parameters(dict(parse_qsl(self.query, keep_blank_values=True)))


def _typed(headers: Mapping[str, str]) -> dict[str, str]:
    return {**_JSON, **headers}


@attrs.frozen
class Answer:
    """A status, a body and its headers, which say that it is JSON unless told otherwise."""

    status: int
    body: bytes
    headers: Mapping[str, str] = attrs.field(factory=dict, converter=_typed)

    @classmethod
    def json(cls, status: int, value: Any) -> Self:
        """Return the answer of this status and value."""
        return cls(status, encode(value))

    @classmethod
    def of(cls, refused: Refused) -> Self:
        """Return the error answer that a refusal stands for."""
        headers = {"Allow": refused.allow} if refused.allow else {}
        return cls(refused.status, encode(refused.body), headers)


Handler = Callable[[Call, str], Answer]
"""Answers a call; the text is the id in the path, or empty for a route without one."""

Member = Callable[[Caller, Call, str], Answer]
"""The same for a caller whose account is known."""


@attrs.frozen
class Parameters:
    """A query's parameters, the last where one is repeated; unknown ones are ignored."""

    given: Mapping[str, str]

    def names(self, name: str) -> list[str]:
        """Return the names that a parameter lists, separated by commas."""
        asked = self.given.get(name, "")
        return [each.strip() for each in asked.split(",")] if asked else []

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number; Refused (400) when it is none, or out of its bounds."""
        text = self.given.get(name)
        if text is None:
            return default
        digits = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_OFFSET))
        if digits and low <= int(text) <= high:
            return int(text)
        raise Refused(400, f'{name} must be a whole number from {low} to {high}, not "{text}"')

    def flag(self, name: str) -> bool:
        """Return whether a parameter is true; Refused (400) when it is neither true nor false."""
        text = self.given.get(name, "false")
        if text not in {"true", "false"}:
            raise Refused(400, f'{name} must be true or false, not "{text}"')
        return text == "true"


@attrs.frozen
class Window:
    """What a list is asked for: which records, how many, and from where."""

    archived: bool
    limit: int
    offset: int

    @classmethod
    def of(cls, parameters: Parameters) -> Self:
        """Return the window that a list's parameters name."""
        return cls(
            parameters.flag("archived"),
            parameters.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT),
            parameters.integer("offset", 0, 0, MAX_OFFSET),
        )

    def answer(
        self, store: Store, account: str, type_name: str, show: Callable[[Record], dict[str, Any]]
    ) -> Answer:
        """Return the answer that shows this much of an account's records of a type."""
        limit, offset = self.limit, self.offset
        records, count = store.page(
            account, type_name, archived=self.archived, limit=limit, offset=offset
        )
        # What `count` counts is not documented; here it is all that match.
        pagination = {"limit": limit, "offset": offset, "count": count}
        return Answer.json(200, {"data": list(map(show, records)), "pagination": pagination})


def iso(seconds: float) -> str:
    """Return a time as the seed writes it: 2026-05-01T10:00:00.000Z."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
