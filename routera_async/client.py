"""The client: opens and closes the session, and names the resources."""

import copy
import os
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cached_property
from types import EllipsisType, TracebackType
from typing import Any, Self, TypeVar, overload

from aiohttp import ClientSession

# What a create needs none of is loaded when it is asked for, and `get_type_hints` finds it there.
import routera_async  # noqa: TC001

from ._hooks import Hook, all_guarded
from ._options import Options, checked_headers, merged, whole_number
from ._session import Session
from .auth import Auth, ClientCredentials, Secret, as_auth, hidden
from .errors import ConfigurationError
from .models import (
    Company,
    Contact,
    Deal,
    NewCompany,
    NewContact,
    NewDeal,
    NewTicket,
    Ticket,
)
from .resources import Objects, objects_of
from .retries import RetryPolicy

T = TypeVar("T", bound=Ticket)
NT = TypeVar("NT", bound=NewTicket)
C = TypeVar("C", bound=Contact)
NC = TypeVar("NC", bound=NewContact)
O = TypeVar("O", bound=Company)  # noqa: E741 (an organisation)
NO = TypeVar("NO", bound=NewCompany)
D = TypeVar("D", bound=Deal)
ND = TypeVar("ND", bound=NewDeal)

BASE_URL = "https://api.routera.io"
"""Where the API is, API.md, "Base and authentication"."""


class RouteraClient:
    """The Routera API, over one pool of connections.

    `tickets`, `contacts`, `companies` and `deals` are its `Objects`.

    `auth` is a JWT, an `Auth`, or an async callable that returns a JWT. `timeout` bounds one
    attempt, in seconds, from the moment it is admitted; `deadline` bounds a whole call, with its
    waiting, its attempts and the pauses between them. At most `max_connections` attempts are in
    flight; the rest wait in order, and with `max_waiting` a call that would wait while that many
    others do raises `Overloaded` at once. `hooks` are told of every call
    and its attempts. `session` is the caller's own aiohttp session, which is never closed here.
    `mint_external_ids` gives every create that has no key a fresh external_id, a random UUID,
    before its first attempt.

    `proxy` is the URL of an HTTP proxy, perhaps with a user and a password, and `tls` the context
    of https connections: own authorities and client certificates are loaded there. The
    environment's proxies are not used.

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
        hooks: Iterable[Hook] = (),
        session: ClientSession | None = None,
        mint_external_ids: bool = False,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        auth, proxy = hidden(auth), hidden(proxy)
        source = as_auth(auth)
        if max_waiting is not None:
            whole_number("max_waiting", max_waiting, 0)
        if not isinstance(mint_external_ids, bool):
            raise ConfigurationError(
                f"mint_external_ids must be True or False, not {mint_external_ids!r}"
            )
        self._mint = mint_external_ids
        self._name(
            Session(
                source,
                Options(retry=retry, timeout=timeout, deadline=deadline),
                base_url=base_url,
                max_connections=whole_number("max_connections", max_connections, 1),
                max_waiting=max_waiting,
                hooks=all_guarded(hooks),
                http=_checked_session(session),
                proxy=proxy,
                tls=_checked_tls(tls),
                owns_auth=source is not auth,
            )
        )

    def _name(self, session: Session) -> None:
        self._session = session
        vars(self).pop("routers", None)  # those of the session before
        self.tickets: Objects[Ticket, NewTicket] = self.objects(Ticket)
        self.contacts: Objects[Contact, NewContact] = self.objects(Contact)
        self.companies: Objects[Company, NewCompany] = self.objects(Company)
        self.deals: Objects[Deal, NewDeal] = self.objects(Deal)

    @cached_property
    def routers(self) -> "routera_async.Routers":
        """The account's routers."""
        from .routing import Routers  # noqa: PLC0415 (see above)

        return Routers(self._session)

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

    def with_options(
        self,
        *,
        timeout: float | EllipsisType = ...,
        deadline: float | EllipsisType | None = ...,
        retry: RetryPolicy | EllipsisType = ...,
        headers: Mapping[str, str] | EllipsisType = ...,
    ) -> Self:
        """Return a cheap copy that makes calls otherwise, over the same connections.

        What is not given stays as it is. `headers` are added to every request, beside those of
        copies before: of one name, in whatever case, the later goes before the earlier. The copy
        shares the life of its original: closing one closes both; a subclass's own attributes are
        its as well. Retries under equal budgets share their tokens. Raises `ConfigurationError` for
        a setting that cannot be.
        """
        old = self._session.options
        if isinstance(headers, Mapping):
            headers = {name: hidden(value) for name, value in headers.items()}
        if not isinstance(headers, EllipsisType):
            headers = merged(old.headers, checked_headers(headers))
        options = Options(
            retry=old.retry if isinstance(retry, EllipsisType) else retry,
            timeout=old.timeout if isinstance(timeout, EllipsisType) else timeout,
            deadline=old.deadline if isinstance(deadline, EllipsisType) else deadline,
            headers=old.headers if isinstance(headers, EllipsisType) else headers,
        )
        twin = copy.copy(self)
        twin._name(self._session.with_options(options))  # noqa: SLF001 (it is one of our own)
        return twin

    @overload
    def objects(self, record: type[T]) -> Objects[T, NewTicket]: ...
    @overload
    def objects(self, record: type[T], new: type[NT]) -> Objects[T, NT]: ...
    @overload
    def objects(self, record: type[C]) -> Objects[C, NewContact]: ...
    @overload
    def objects(self, record: type[C], new: type[NC]) -> Objects[C, NC]: ...
    @overload
    def objects(self, record: type[O]) -> Objects[O, NewCompany]: ...
    @overload
    def objects(self, record: type[O], new: type[NO]) -> Objects[O, NO]: ...
    @overload
    def objects(self, record: type[D]) -> Objects[D, NewDeal]: ...
    @overload
    def objects(self, record: type[D], new: type[ND]) -> Objects[D, ND]: ...
    def objects(self, record: type[Any], new: type[Any] | None = None) -> Objects[Any, Any]:
        """Return the verbs of a ticket, contact, company or deal with typed custom fields.

        `record` is a subclass of `Ticket` or its siblings that declares the account's own fields as
        attributes: str, float, int, bool, date, datetime, date | datetime, a Literal or Enum for a
        dropdown, a list[...] of one, dict[str, Any], each perhaps None, or Any. They are asked for
        through `properties` and validated: a wrong one raises a `ResponseError` that names it
        ("expected number @ $.csat"). Give each a default, for the answer to a create need not hold
        it. `new` is a subclass of `NewTicket` or its siblings with which custom fields are written,
        typed as well. Nothing is registered anywhere. Raises `ConfigurationError` for another
        class.
        """
        return objects_of(self._session, record, new, mint=self._mint)

    async def dispatch(self, *, router_id: str, object_id: str) -> "routera_async.DispatchResult":
        """Run a router on an object, and return whom it was assigned to, or why it was not.

        It is not sent again after it may have been done, for it may assign twice, unless the policy
        has `resend_dispatch`: then the error's outcome is "unknown".
        """
        from .routing import dispatch  # noqa: PLC0415 (see above)

        return await dispatch(self._session, router_id, object_id)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | float | bool] | None = None,
        json: Any = None,
        repeatable: bool | None = None,
    ) -> "routera_async.Response":
        """Send a request that this client knows nothing of, with the same evidence and errors.

        `path` is below the base URL, such as "/tickets/123"; `params` is the query, of texts,
        numbers and True or False, and `json` the body's value. `repeatable` says that doing it
        twice is the same as doing it once: True unless told, but for a POST, which is sent again
        only when it provably was not done. Raises `ValidationError` for a path that leads
        elsewhere.
        """
        from ._raw import request  # noqa: PLC0415 (see above)

        return await request(
            self._session, method, path, params=params, json=json, repeatable=repeatable
        )

    def stats(self) -> "routera_async.Stats":
        """Return what the client does now, and has done: cheap, and from any thread."""
        return self._session.stats()

    @property
    def base_url(self) -> str:
        """Where the API is, without a slash at the end."""
        return self._session.base_url

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


def _checked_session(session: ClientSession | None) -> ClientSession | None:
    if session is None:
        return None
    if not isinstance(session, ClientSession) and not hasattr(session, "request"):
        raise ConfigurationError(f"session must be an aiohttp.ClientSession, not {session!r}")
    if getattr(session, "auth", None) is not None:
        raise ConfigurationError("session must have no auth of its own: the token is")
    return session


def _checked_tls(tls: ssl.SSLContext | None) -> ssl.SSLContext | None:
    if tls is not None and not isinstance(tls, ssl.SSLContext):
        raise ConfigurationError(f"tls must be an ssl.SSLContext, not {tls!r}")
    return tls
