"""Who may call: JWTs with an account context, and the client credentials that are worth one."""

import base64
import hmac
import math
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import attrs
import jwt

from .errors import OAuthRefused, Refused

MISSING_ACCOUNT = "Unauthorized: missing account context"
"""The message of every 401 outside the token route (API.md, "Base and authentication")."""

_CACHED = 1_000  # tokens whose signature is known to be good; one run rarely sees more than a few
# The clock is ours, so PyJWT checks the signature and the claims' shapes, but no times.
_OPTIONS: Any = {
    "verify_aud": False,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}


@attrs.frozen
class Caller:
    """Whom a token speaks for, until `expires` (seconds since the epoch)."""

    account_id: str
    client_id: str
    expires: float


class Tokens:
    """Mints and reads the HS256 JWTs of one secret; `ttl` is in seconds."""

    def __init__(self, secret: str, *, ttl: float, clock: Callable[[], float]) -> None:
        self.ttl = ttl
        self._secret = secret
        self._clock = clock
        self._callers: dict[str, Caller] = {}

    def mint(self, *, account_id: str | None, client_id: str, ttl: float) -> str:
        """Return a JWT that lasts `ttl` seconds; without an account_id it has no context."""
        now = self._clock()
        claims: dict[str, Any] = {"sub": client_id, "iat": now, "exp": now + ttl}
        claims["jti"] = uuid.uuid4().hex  # so that a refreshed token differs from the stale one
        if account_id is not None:
            claims["account_id"] = account_id
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def caller(self, authorization: str) -> Caller:
        """Return whom an Authorization header speaks for; Refused (401) when it is nobody."""
        scheme, _, token = authorization.partition(" ")
        caller = self._callers.get(token) or self._verified(token)
        if caller is None or scheme.lower() != "bearer" or self._clock() >= caller.expires:
            raise Refused(401, MISSING_ACCOUNT)
        return caller

    def _verified(self, token: str) -> Caller | None:
        try:
            claims = jwt.decode(token, self._secret, algorithms=["HS256"], options=_OPTIONS)
        except (jwt.PyJWTError, ValueError, RecursionError):  # of a header that is not even text
            return None
        caller = _caller(claims)
        if caller is not None:
            if len(self._callers) >= _CACHED:
                self._callers.clear()
            self._callers[token] = caller
        return caller


def _caller(claims: dict[str, Any]) -> Caller | None:
    """Return the account context of verified claims, or None when they hold none."""
    account_id = claims.get("account_id")
    # A token without `exp` never expires (RFC 7519, 4.1.4): a user may sign one with the secret.
    expires = claims.get("exp", math.inf)
    if not isinstance(account_id, str) or not account_id or not isinstance(expires, int | float):
        return None
    return Caller(account_id, str(claims.get("sub", "")), float(expires))


@attrs.frozen
class Credentials:
    """The one API client that the sandbox knows."""

    client_id: str
    client_secret: str = attrs.field(repr=False)

    def check(self, body: bytes, authorization: str) -> None:
        """Raise OAuthRefused unless the request asks for a token and shows these credentials."""
        form = _form(body)
        grant = form.get("grant_type")
        if not grant:
            raise OAuthRefused(400, "invalid_request", "grant_type is missing from the form body")
        if grant != "client_credentials":
            raise OAuthRefused(
                400, "unsupported_grant_type", "grant_type must be client_credentials"
            )
        given = _basic(authorization) or (form.get("client_id"), form.get("client_secret"))
        if not (_same(given[0], self.client_id) and _same(given[1], self.client_secret)):
            raise OAuthRefused(401, "invalid_client", "Invalid client_id or client_secret")


def _form(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode()))
    except ValueError:
        raise OAuthRefused(400, "invalid_request", "The form body is not UTF-8") from None


def _basic(authorization: str) -> tuple[str, str] | None:
    """Return the client_id and client_secret of an HTTP Basic header, or None without one."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(encoded, validate=True).decode()
    except ValueError:
        pair = ""
    client_id, _, client_secret = pair.partition(":")
    return client_id, client_secret


def _same(given: str | None, expected: str) -> bool:
    return hmac.compare_digest((given or "").encode(), expected.encode())
