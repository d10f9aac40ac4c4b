"""Where a call's token comes from."""

import re
from collections.abc import Awaitable, Callable
from typing import Protocol

from .errors import ConfigurationError

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""What may stand behind "Bearer", RFC 6750 2.1: no line break can enter a header."""


class Auth(Protocol):
    """A source of bearer tokens."""

    async def token(self, *, refused: str | None = None) -> str:
        """Return the token to send.

        `refused` is a token that the server has just answered with 401; a source that has no
        other returns the same again, and the call fails.
        """


class StaticToken:
    """One JWT, for as long as it lasts.

    Raises `ConfigurationError` when the text cannot stand in a header.
    """

    def __init__(self, jwt: str) -> None:
        self._token = checked_token(jwt)

    def __repr__(self) -> str:
        return "StaticToken(…)"

    async def token(self, *, refused: str | None = None) -> str:  # noqa: ARG002 (it has no other)
        """Return the JWT, whatever was refused."""
        return self._token


class TokenProvider:
    """Tokens from an async callable of the caller's, asked again when one is refused."""

    def __init__(self, fetch: Callable[[], Awaitable[str]]) -> None:
        self._fetch = fetch
        self._token: str | None = None

    def __repr__(self) -> str:
        return "TokenProvider(…)"

    async def token(self, *, refused: str | None = None) -> str:
        """Return the token in hand, or fetch one when there is none or it was refused."""
        if self._token is None or self._token == refused:
            self._token = checked_token(await self._fetch())
        return self._token


def checked_token(text: object) -> str:
    """Return a token that may stand in a header, as `Secret`; the error never shows it."""
    if isinstance(text, str) and _TOKEN.fullmatch(text):
        return Secret(text)
    kind = "empty" if text == "" else f"a {type(text).__name__} that cannot stand in a header"
    del text
    raise ConfigurationError(f"the token is {kind}: pass the JWT alone, without 'Bearer'")


class Secret(str):
    """A text that its `repr` does not show, so that no traceback with locals does."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


def as_auth(auth: "str | Auth | Callable[[], Awaitable[str]]") -> Auth:
    """Return the source of tokens for what a caller passed: a JWT, an `Auth`, or a callable."""
    if isinstance(auth, str):
        return StaticToken(auth)
    if hasattr(auth, "token"):
        return auth
    if callable(auth):
        return TokenProvider(auth)
    raise ConfigurationError(
        f"auth must be a JWT, an Auth or an async callable, not {type(auth).__name__}"
    )
