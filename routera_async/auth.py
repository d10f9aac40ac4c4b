"""Where a call's token comes from."""

import asyncio
import copy
import inspect
import math
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar
from urllib.parse import quote_plus
from weakref import ref

import orjson

from .errors import TRY_AGAIN, ConfigurationError, NotSentError, RouteraError, one_line

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""What may stand behind "Bearer", RFC 6750 2.1: no line break can enter a header."""

_RENEW_BEFORE = 60.0
"""Seconds before its end that a token is renewed."""

_RENEW_AGAIN = 5.0
"""Seconds after a renewal that failed before another is tried, while the old token still lasts."""

_LASTS = 3600.0
"""Seconds that a token lasts when the token route does not say (API.md shows 3600)."""

V = TypeVar("V")


class Listener(Protocol):
    """What hears of each fetch of a token."""

    def fetched(self, elapsed: float, lasts: float | None, error: str | None) -> None:
        """Hear what a token lasts, or the name of what its fetch failed with; in seconds."""


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
        jwt = hidden(jwt)
        self._token = checked_token(jwt)

    def __repr__(self) -> str:
        return "StaticToken(…)"

    async def token(self, *, refused: str | None = None) -> str:
        """Return the JWT, whatever was refused."""
        return self._in_hand(refused)

    def _in_hand(self, _: str | None) -> str:
        return self._token


class _Renewed:
    """A token that is fetched when there is none, before it expires, and when it was refused.

    However many callers need one, one fetch is under way: it is a task of its own, so that a caller
    who is cancelled fails nobody else. While the token in hand still lasts, nobody waits for its
    renewal, and one that fails is no fault yet.
    """

    def __init__(self) -> None:
        self._token: str | None = None
        self._renew_at = math.inf
        self._expires_at = math.inf
        self._fetching: asyncio.Task[RouteraError | None] | None = None
        self._heard_by: list[ref[Listener]] = []  # whose copy no other thread can disturb

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    async def _fetch(self) -> tuple[str, float]:
        """Return a new token, and how many seconds it lasts."""
        raise NotImplementedError  # pragma: no cover

    async def token(self, *, refused: str | None = None) -> str:
        """Return the token in hand, or a new one when it is missing, at its end or refused."""
        if (token := self._in_hand(refused)) is not None:
            return token
        failed = await _ended(self._begin(asyncio.get_running_loop()))
        if failed is not None:
            raise copy.copy(failed)  # each caller's own: what the call met is written on it
        assert self._token is not None
        return self._token

    def _in_hand(self, refused: str | None) -> str | None:
        """Return the token while it lasts, and see to the next one in time."""
        if self._token is None or self._token == refused:
            return None
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._expires_at:
            return None
        if now >= self._renew_at:
            self._begin(loop)
        return self._token

    async def aclose(self) -> None:
        """Cancel a fetch that nobody waits for any more."""
        if self._fetching is not None and self._fetching.get_loop() is asyncio.get_running_loop():
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Task[RouteraError | None]":
        """Return the fetch that is under way on this loop, or begin one."""
        fetching = self._fetching
        if fetching is None or fetching.done() or fetching.get_loop() is not loop:
            fetching = self._fetching = loop.create_task(self._renew())
        return fetching

    async def _renew(self) -> RouteraError | None:
        began = asyncio.get_running_loop().time()
        self._renew_at = began + _RENEW_AGAIN
        try:
            token, lasts = await self._fetch()
            self._token = checked_token(token)
        except RouteraError as error:
            self._tell(began, None, type(error).__name__)
            return error.with_traceback(None)
        except Exception as error:  # noqa: BLE001 (a caller's own provider may raise anything)
            self._tell(began, None, type(error).__name__)
            return NotSentError(f"no token could be had ({type(error).__name__})")
        now = asyncio.get_running_loop().time()
        self._expires_at = now + lasts
        self._renew_at = self._expires_at - min(_RENEW_BEFORE, lasts / 10)
        self._tell(began, None if lasts == math.inf else lasts, None)
        return None

    def _tell(self, began: float, lasts: float | None, error: str | None) -> None:
        elapsed = asyncio.get_running_loop().time() - began
        for heard_by in self._heard_by.copy():
            if (listener := heard_by()) is not None:
                listener.fetched(elapsed, lasts, error)


async def _ended(fetching: "asyncio.Task[RouteraError | None]") -> RouteraError | None:
    """Wait for a fetch that others may wait for too; one that was cancelled failed."""
    try:
        return await asyncio.shield(fetching)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not fetching.cancelled() or (task and task.cancelling()):
            raise  # it is this caller who is cancelled
    return NotSentError("no token could be had (cancelled)")


class TokenProvider(_Renewed):
    """Tokens from an async callable of the caller's, asked again when one is refused."""

    def __init__(self, fetch: Callable[[], Awaitable[str]]) -> None:
        super().__init__()
        self._ask = fetch

    async def _fetch(self) -> tuple[str, float]:
        asked = self._ask()
        if not inspect.isawaitable(asked):
            raise ConfigurationError("a callable for tokens must be async: what it gave is no JWT")
        return await asked, math.inf


class ClientCredentials:
    """An API client's id and secret, for which the token route gives tokens (OAuth 2.0, RFC 6749).

    They are sent in the form, or as HTTP Basic with `basic=True`. A token is renewed a minute
    before it expires, or a tenth of its life before when that is shorter, and when it is refused.
    Raises `ConfigurationError` when either is empty.
    """

    def __init__(self, client_id: str, client_secret: str, *, basic: bool = False) -> None:
        client_secret = hidden(client_secret)
        if not (_is_text(client_id) and _is_text(client_secret)):
            raise ConfigurationError("client_id and client_secret must be text")
        self.client_id = client_id
        self._secret = client_secret
        self._basic = basic
        if not client_id or not client_secret:
            raise ConfigurationError("client_id and client_secret must not be empty")

    def __repr__(self) -> str:
        return f"ClientCredentials({self.client_id!r}, …)"

    def over(self, post: "Post") -> Auth:
        """Return a source of tokens that asks the token route through `post`."""
        return _Granted(self, post)

    def hide(self, body: bytes) -> bytes:
        """Return an answer without the secret that it may quote, in whatever form it was sent."""
        for sent in (self._secret, quote_plus(self._secret), self._pair()):
            body = body.replace(sent.encode(), b"[secret]")
        return body

    def form(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the form and the headers of a request for a token."""
        form = {"grant_type": "client_credentials"}
        if not self._basic:
            return form | {"client_id": self.client_id, "client_secret": self._secret}, {}
        return form, {"Authorization": Secret(f"Basic {self._pair()}")}

    def _pair(self) -> str:
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self._secret)}"  # RFC 6749 2.3.1
        return b64encode(pair.encode()).decode()


class _Granted(_Renewed):
    """Tokens that the token route grants to an API client."""

    def __init__(self, credentials: ClientCredentials, post: "Post") -> None:
        super().__init__()
        self._credentials = credentials
        self._post = post

    async def _fetch(self) -> tuple[str, float]:
        status, body = await self._post(*self._credentials.form())
        granted = _grant(status, body if status == 200 else self._credentials.hide(body))  # noqa: PLR2004
        del body  # no traceback with locals shows it
        if isinstance(granted, RouteraError):
            raise granted
        return granted


Post = Callable[[Mapping[str, str], Mapping[str, str]], Awaitable[tuple[int, bytes]]]
"""Posts a form with headers to the token route; returns the status and the body."""


def _grant(status: int, body: bytes) -> tuple[str, float] | RouteraError:
    """Read the token route's answer, API.md "Base and authentication"."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    told = answer if isinstance(answer, dict) else {}
    if status >= 500 or status == 429 or status in TRY_AGAIN:  # noqa: PLR2004 (what may pass)
        return NotSentError(f"no token could be had: the token route answered {status}")
    if status != 200:  # noqa: PLR2004
        why = told.get("error_description") or told.get("error") or "no reason given"
        return ConfigurationError(f"the token route answered {status}: {one_line(str(why), 200)}")
    token, lasts = told.get("access_token"), told.get("expires_in", _LASTS)
    if not isinstance(token, str) or not isinstance(lasts, int | float) or not lasts > 0:
        return ConfigurationError("the token route answered 200 without a token that lasts")
    return Secret(token), float(lasts)


def in_hand(auth: Auth) -> Callable[[str | None], str | None]:
    """Return what gives the token that nobody need wait for, when another was refused, or None.

    A class of the caller's own is always asked as `Auth` says.
    """
    if type(auth) in {StaticToken, TokenProvider, _Granted}:
        return auth._in_hand  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001 (our own)
    return lambda _: None


def listen(auth: Auth, listener: Listener) -> None:
    """Have every fetch of a source of tokens told, as long as the listener lives.

    A class of the caller's own tells nothing, and a `StaticToken` has nothing to tell.
    """
    if isinstance(auth, _Renewed):
        listeners = auth._heard_by  # noqa: SLF001 (our own)
        listeners.append(ref(listener, listeners.remove))


def checked_token(text: object) -> str:
    """Return a token that may stand in a header, as `Secret`; the error never shows it."""
    if isinstance(text, str) and _TOKEN.fullmatch(text):
        return Secret(text)
    what = "not text" if not isinstance(text, str) else "unfit for a header" if text else "empty"
    del text
    raise ConfigurationError(f"the token is {what}: pass the JWT alone, without 'Bearer'")


class Secret(str):
    """A text that its `repr` does not show, so that no traceback with locals does."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


def hidden(value: V) -> V | Secret:
    """Return a text as `Secret`, and anything else as it is."""
    return Secret(value) if isinstance(value, str) else value


def as_auth(
    auth: "str | Auth | ClientCredentials | Callable[[], Awaitable[str]]",
) -> "Auth | ClientCredentials":
    """Return the source of tokens for what a caller passed: a JWT, an `Auth`, or a callable."""
    auth = hidden(auth)
    if isinstance(auth, str):
        return StaticToken(auth)
    if isinstance(auth, ClientCredentials) or (hasattr(auth, "token") and not _is_class(auth)):
        return auth
    if callable(auth) and not _is_class(auth):
        return TokenProvider(auth)
    raise ConfigurationError(
        f"auth must be a JWT, an Auth or an async callable, not {type(auth).__name__}"
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_class(value: object) -> bool:
    return isinstance(value, type)
