"""The sandbox itself: the socket, what goes through it, and the life of both."""

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from .app import ACCOUNT, Api
from .calls import Answer, Call
from .dispatch import Account
from .errors import Refused, SandboxError
from .faults import Faults, Line, response, show
from .fields import OBJECT_TYPES, Field, parse_field
from .held import Held
from .requests import ReceivedRequest, RequestLog, visible
from .routers import Router
from .store import Store
from .tokens import Credentials, Tokens

MAX_BODY = 8 * 1024 * 1024
"""Bytes of a request's body, decompressed. Assumed: the API names no limit."""

SHUTDOWN = 0.1
"""Seconds that a stop waits for a client to take its answer. Nothing else is waited for."""

_SHOWN = 200
"""Characters of a log's line that tell what could not be read."""

_LAST_PORT = 65_535

_MIN_SECRET = 32  # bytes: RFC 7518, 3.2 asks it of an HS256 key, and PyJWT warns below it


class Sandbox:
    """A Routera of one's own, for as long as `async with` holds it, or `with`.

    `with` serves it in a thread of its own, for code that is not async or has loops of its own.
    Whoever holds it, `store`, `faults` and `requests` may be used from any thread.

    `fields` are the account's custom fields, declared or written as for `parse_field`;
    `any_field` takes every other name for one that holds any JSON value. With `echo` the answer to
    a write holds the fields that were written, and a create takes `properties`; the API's page says
    neither, and False answers a create with the default fields alone. `routers` are the account's
    own; `accounts` are those that exist, which is every one unless some are named.
    `db` is a file that keeps records, routers, credentials and secret from run to run. `latency`
    is slept before each answer, after the commit; `token_ttl` is how long a token lasts; both in
    seconds. `secret` signs the tokens and is random unless given, at least 32 bytes. `clock`
    gives seconds since the epoch and `sleep` waits for some; both are there for tests to replace.
    `faults` is told what shall go wrong, and `requests` holds what arrived.

    Raises ValueError for a field or a router that cannot be declared, and SandboxError for a host
    that is not loopback, a secret that is too short and, on entering, a port or a file that cannot
    be used.
    """

    store: Store
    """What really exists: ask it, rather than the API, what an import did."""
    url: str
    """Where it listens, without a slash at the end: http://127.0.0.1:PORT."""
    _api: Api
    _tokens: Tokens
    _token: str
    _credentials: Credentials
    _web: "_Server"
    _runner: web.ServerRunner
    _held: Held

    def __init__(
        self,
        *,
        fields: Iterable[Field | str] = (),
        any_field: bool = False,
        echo: bool = True,
        routers: Iterable[Router] = (),
        accounts: Iterable[Account] = (),
        db: str | Path = ":memory:",
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
        token_ttl: float = 3600.0,
        secret: str | None = None,
        keep_requests: int = 10_000,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        custom = [parse_field(field) if isinstance(field, str) else field for field in fields]
        self._types = [kind.with_custom(custom, any_field=any_field) for kind in OBJECT_TYPES]
        self._echo = echo
        self._routers = [self._checked(router) for router in routers]
        if len({router.id for router in self._routers}) < len(self._routers):
            raise ValueError("two routers of an object type have one name: rename one of them")
        self._accounts = list(accounts)
        if secret is not None and len(secret.encode()) < _MIN_SECRET:
            raise SandboxError(f"secret is too short: give at least {_MIN_SECRET} bytes, or none")
        self._db = db
        self._host = _loopback(host)
        self._port = port
        self._secret = secret
        self._token_ttl = token_ttl
        self._clock = clock
        self._sleep = sleep
        self._running = False
        self._active: set[asyncio.Task[object]] = set()
        self.latency = latency
        self.faults = Faults()
        self.requests = RequestLog(keep_requests)
        self.request_count = 0

    async def __aenter__(self) -> Self:
        if self._running:
            raise SandboxError("this sandbox is already running: make another one")
        self.store = Store(self._db)
        try:
            self._open()
            await self._listen()
        except BaseException:
            self.store.close()
            raise
        self._running = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running = False
        try:
            await self._stop_listening()
        finally:
            self.store.close()

    def __enter__(self) -> Self:
        held = Held(self)
        held.open()
        self._held = held
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._held.close()

    @property
    def client_id(self) -> str:
        """The API client's id, for the token route."""
        return self._credentials.client_id

    @property
    def client_secret(self) -> str:
        """The API client's secret, for the token route."""
        return self._credentials.client_secret

    @property
    def token(self) -> str:
        """A JWT that is valid now: the same until it expires."""
        try:
            self._tokens.caller(f"Bearer {self._token}")
        except Refused:
            self._token = self.mint_token()
        return self._token

    def mint_token(self, *, ttl: float | None = None, account_id: str | None = ACCOUNT) -> str:
        """Return a JWT for an account; `ttl` in seconds, 0 for one that has already expired.

        Without an account_id (None) it has no account context, and every route answers 401.
        """
        seconds = self._tokens.ttl if ttl is None else ttl
        return self._tokens.mint(account_id=account_id, client_id=self.client_id, ttl=seconds)

    def add_router(self, router: Router, *, account_id: str = ACCOUNT) -> str:
        """Add a router to an account, or put it in the place of the one that has its id.

        Returns the id; raises ValueError when its object type has no such owner field.
        """
        self._api.routers.put(account_id, self._checked(router))
        return router.id

    def archive_router(self, router_id: str, *, account_id: str = ACCOUNT) -> None:
        """Archive a router, which the API itself cannot do; SandboxError when there is none."""
        if not self._api.routers.archive(account_id, router_id, by=self.client_id):
            raise SandboxError(f"no active router has the id {router_id}")

    def _open(self) -> None:
        """Build the API over the store, with the credentials that the store keeps."""
        keep = self.store.setting
        secret = self._secret or keep("secret", secrets.token_hex(32))
        self._credentials = Credentials(
            client_id=keep("client_id", f"client-{secrets.token_hex(8)}"),
            client_secret=keep("client_secret", secrets.token_urlsafe(32)),
        )
        self._tokens = Tokens(secret, ttl=self._token_ttl, clock=self._clock)
        self._token = self.mint_token()
        self._api = Api(
            store=self.store,
            tokens=self._tokens,
            credentials=self._credentials,
            object_types=self._types,
            accounts=self._accounts,
            echo=self._echo,
            clock=self._clock,
        )
        for router in self._routers:
            self.add_router(router)

    def _checked(self, router: Router) -> Router:
        """Return a router; ValueError when its object type has no such owner field."""
        (kind,) = (each for each in self._types if each.plural == router.object_type)
        router.check(kind)
        return router

    async def _listen(self) -> None:
        if not 0 <= self._port <= _LAST_PORT:  # uvloop would take it modulo 65,536
            raise SandboxError(f"port {self._port}: give 0 to {_LAST_PORT}, 0 for any free one")
        # aiohttp's low-level server: an Application's router, middlewares and signals would cost
        # more than the rest of a request, and the importer under test shares this core.
        self._web = _Server(self._handle)
        self._runner = web.ServerRunner(self._web, shutdown_timeout=SHUTDOWN)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise SandboxError(
                f"cannot listen on {self._host} port {self._port}: {why};"
                " choose another port, or 0 for any free one"
            ) from error
        self.url = _base_url(self._host, self._runner.addresses[0][1])

    async def _stop_listening(self) -> None:
        """Stop within about two SHUTDOWNs: what sleeps or still sends its body is cut off."""
        for task in self._active:
            task.cancel()
        await asyncio.gather(*self._active, return_exceptions=True)
        transports = [connection.transport for connection in self._web.connections]
        await self._runner.cleanup()
        for transport in filter(None, transports):
            transport.abort()  # closed, but one whose client does not read would linger
        await asyncio.sleep(0)  # a transport closes its socket in the loop's next turn

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request; what a stop must cut off is in `_active`."""
        self.request_count += 1
        task = asyncio.current_task()
        assert task is not None
        self._active.add(task)
        try:
            return await self._answer(request)
        finally:
            self._active.discard(task)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Read a request, do it, note it and answer it, unless a fault comes between.

        Before `Api.answer` nothing is committed.
        """
        url, authorization = request.rel_url, request.headers.get("Authorization", "")
        call = Call(request.method, url.path, url.raw_query_string, authorization)
        fault = None
        try:
            call.body = await _body(request)
            fault = self.faults.meet(call.method, call.path)
            answer = self._api.answer(call) if fault is None or fault.commits else None
        except Refused as refused:
            answer = Answer.of(refused)
        if fault is not None:
            answer = fault.answer(answer)
        if self.requests.keep:
            self.requests.add(_received(call, request, answer.status if answer else None))
        if self.latency > 0:
            await self._sleep(self.latency)
        if fault is not None:
            return await show(fault, answer, self._line(request, call))
        assert answer is not None
        return response(answer)

    def _line(self, request: web.BaseRequest, call: Call) -> Line:
        gone = partial(self._web.gone, request.protocol)
        return Line(request, gone, self._sleep, partial(self._api.answer, call))


class _OneLine(logging.Filter):
    """Tells in one line what could not be read as HTTP: it is answered 400, and is no fault."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the traceback away, and keep the record."""
        problem = record.exc_info[1] if record.exc_info else None
        if isinstance(problem, HttpProcessingError):
            why = " ".join(problem.message.split())[:_SHOWN]
            record.msg, record.args = "answered 400 to what is not HTTP: %s", (why,)
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.exc_info = None
            return _log.isEnabledFor(logging.INFO)
        return True


_log = logging.getLogger("routera_async.sandbox.http")
_log.addFilter(_OneLine())


class _Server(web.Server):
    """aiohttp's low-level server, which also tells when a client has gone."""

    def __init__(self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(handle, request_factory=_request, access_log=None, logger=_log)
        self._leaving: dict[RequestHandler, asyncio.Event] = {}

    async def gone(self, connection: RequestHandler) -> None:
        """Wait until the connection is closed."""
        if connection.transport is not None:
            await self._leaving.setdefault(connection, asyncio.Event()).wait()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Let those go on who wait for it."""
        super().connection_lost(handler, exc)
        if (waiting := self._leaving.pop(handler, None)) is not None:
            waiting.set()


def _loopback(host: str) -> str:
    """Return the address to bind; SandboxError unless it is this machine's own."""
    if host == "localhost":  # one address, not one of each family with a port of its own
        return "127.0.0.1"
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return host
    raise SandboxError(f"the sandbox listens on loopback only: use 127.0.0.1, not {host!r}")


def _base_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """Make a request as aiohttp does, with our own limit on its body."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY)


async def _body(request: web.BaseRequest) -> bytes:
    """Return the body, decompressed; Refused when it is too large or cannot be decompressed."""
    if (request.content_length or 0) > MAX_BODY:
        raise _too_large()
    try:
        if "Expect" in request.headers:  # the low-level server leaves this to us
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None
    except web.RequestPayloadError:
        raise Refused(400, "The body cannot be decoded as its headers say") from None


def _too_large() -> Refused:
    return Refused(413, f"The body is larger than {MAX_BODY} bytes")


def _received(call: Call, request: web.BaseRequest, status: int | None) -> ReceivedRequest:
    headers = visible(request.headers)
    return ReceivedRequest(call.method, call.path, call.query, headers, call.body, status)
