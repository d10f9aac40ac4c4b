"""The client: opens and closes the session, and names the resources."""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from aiohttp import ClientSession

from ._session import Session
from .auth import Auth, ClientCredentials, Secret, as_auth, hidden
from .errors import ConfigurationError
from .events import Hook
from .resources import Tickets
from .retries import RetryPolicy

BASE_URL = "https://api.routera.io"
"""Where the API is, API.md, "Base and authentication"."""


class RouteraClient:
    """The Routera API, over one pool of connections.

    `auth` is a JWT, an `Auth`, or an async callable that returns a JWT. `timeout` bounds one
    attempt, in seconds, from the moment it is admitted; `deadline` bounds a whole call, with its
    waiting, its attempts and the pauses between them. At most `max_connections` attempts are in
    flight; the rest wait in order, and with `max_waiting` a call that would have more than that
    many in front raises `Overloaded` at once. `hooks` are told of every attempt. `session` is the
    caller's own aiohttp session, which is never closed here. `mint_external_ids` gives every create
    that has no external_id a fresh one, a random UUID, before its first attempt.

    May be built with no event loop running. Raises `ConfigurationError` for a setting that cannot
    work, plain http to a host that is not loopback among them.
    """

    def __init__(
        self,
        auth: str | Auth | ClientCredentials | Callable[[], Awaitable[str]],
        *,
        base_url: str = BASE_URL,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 (frozen)
        timeout: float = 30.0,
        deadline: float | None = None,
        max_connections: int = 100,
        max_waiting: int | None = None,
        hooks: Sequence[Hook] = (),
        session: ClientSession | None = None,
        mint_external_ids: bool = False,
    ) -> None:
        auth = hidden(auth)
        _check_positive(timeout=timeout, deadline=deadline, max_connections=max_connections)
        if max_waiting is not None and max_waiting < 0:
            raise ConfigurationError(f"max_waiting must be 0 or more, not {max_waiting!r}")
        self._session = Session(
            as_auth(auth),
            base_url=base_url,
            retry=retry,
            timeout=timeout,
            deadline=deadline,
            max_connections=max_connections,
            max_waiting=max_waiting,
            hooks=hooks,
            http=session,
        )
        self.tickets = Tickets(self._session, mint=mint_external_ids)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **settings: Any) -> Self:
        """Return a client with what the environment says.

        That is `ROUTERA_TOKEN`, or `ROUTERA_CLIENT_ID` and `ROUTERA_CLIENT_SECRET`, and perhaps
        `ROUTERA_BASE_URL`. `settings` are the constructor's. Raises `ConfigurationError` when there
        is neither a token nor credentials.
        """
        token = Secret(environ.get("ROUTERA_TOKEN", "").strip())
        client_id = environ.get("ROUTERA_CLIENT_ID", "").strip()
        secret = Secret(environ.get("ROUTERA_CLIENT_SECRET", "").strip())
        base_url = environ.get("ROUTERA_BASE_URL")
        del environ  # no traceback with locals shows it
        if not token and not (client_id and secret):
            raise ConfigurationError(
                "no token: set ROUTERA_TOKEN to a JWT of your account, "
                "or ROUTERA_CLIENT_ID and ROUTERA_CLIENT_SECRET"
            )
        if base_url:
            settings.setdefault("base_url", base_url)
        return cls(token or ClientCredentials(client_id, secret), **settings)

    async def __aenter__(self) -> Self:
        self._session.reopen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Refuse new calls, let those in flight finish within 30 seconds, close the pool.

        Entering the client with `async with` opens it again.
        """
        await self._session.close()


def _check_positive(**settings: float | None) -> None:
    for name, value in settings.items():
        if value is not None and not value > 0:
            raise ConfigurationError(f"{name} must be more than 0, not {value!r}")
