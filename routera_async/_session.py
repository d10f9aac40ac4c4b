"""One authenticated exchange: admission, deadline, attempts, evidence. The only file that sends.

A call goes through these in order:

1. admission    a fair queue no longer than the pool is wide, so that no attempt's clock runs while
                it waits for a connection
2. the token    set on each request, for our own origin only
3. the attempt  one time-out, one body that knows when it began to be written, one bounded read
4. the verdict  from the status line when there is one, else from that evidence; never from the
                type of an exception: aiohttp raises a malformed 201 as a "status 400"
5. again?       `RetryPolicy` decides; tenacity is entered only once a first attempt has failed

What the attempts of a call prove together is told by `Call.settled`.
"""

import asyncio
import logging
import random
import re
import uuid
import warnings
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import quote

import attrs
from aiohttp import ClientSession
from tenacity import RetryCallState
from yarl import URL

from ._evidence import CANCELLED, AnswerBody, Call, Evidence
from ._pool import NO_TIMEOUT, Pool
from ._version import __version__
from .auth import Auth, ClientCredentials, Secret, checked_token
from .errors import (
    Attempt,
    ConfigurationError,
    NotSentError,
    Overloaded,
    RouteraError,
    UnauthorizedError,
    ValidationError,
    one_line,
)
from .events import AttemptFinished, AttemptStarted, Event, Hook, RetryScheduled
from .retries import RetryPolicy

RECORD_LIMIT = 2**20
"""Bytes read of the answer that holds one record, after decompression."""

PAGE_LIMIT = 2**24
"""Bytes read of the answer that holds one page of records, after decompression."""

_JITTER = 0.95
"""An attempt's time-out is drawn from this fraction of `timeout` to all of it."""

_NO_SEGMENT = re.compile(r"[/\\?#%\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]|^\.{0,2}$")
"""What would lead out of its place in a path, or be read in two ways on the way."""

_HEADERS = {"Accept": "application/json", "User-Agent": f"routera-async/{__version__}"}

_BLANK = re.compile(r"[\x00-\x20\x7f]")

_log = logging.getLogger("routera_async")


@attrs.frozen
class Answer:
    """A 2xx and what it took to get it; `elapsed` is in seconds.

    `excerpt` is what an error may show of the body.
    """

    status: int
    body: bytes
    excerpt: bytes
    attempts: tuple[Attempt, ...]
    elapsed: float


class Session:
    """Sends calls to one base URL with one source of tokens, over one pool for each running loop.

    `timeout` is one attempt's and `deadline` the whole call's, both in seconds. Raises
    `ConfigurationError` for a `base_url` that is not an http(s) URL, or is http to a far host.
    """

    def __init__(
        self,
        auth: Auth | ClientCredentials,
        *,
        base_url: str,
        retry: RetryPolicy,
        timeout: float,
        deadline: float | None,
        max_connections: int,
        max_waiting: int | None,
        hooks: Sequence[Hook],
        http: ClientSession | None,
        rng: random.Random | None = None,
    ) -> None:
        self._base = checked_base_url(base_url)
        self._auth = auth.over(self._post) if isinstance(auth, ClientCredentials) else auth
        self._retry = retry
        self._timeout = timeout
        self._deadline = deadline
        self._max_waiting = max_waiting
        self._hooks = tuple(hooks)
        self._faulty: set[int] = set()
        self._http = http
        self._rng = rng or random.Random()  # noqa: S311 (neither jitter nor a key is a secret)
        self._uniform = self._rng.uniform
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        self._collections: dict[tuple[str, ...], URL] = {}
        self._closed = False
        self.max_connections = max_connections

    def mint(self) -> str:
        """Return a key that nobody else has: a random UUID, RFC 9562 5.4."""
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def reopen(self) -> None:
        """Allow calls again after `close`."""
        self._closed = False

    async def close(self) -> None:
        """Refuse new calls, let those in flight finish within 30 seconds, close the pool."""
        self._closed = True
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            try:
                await pool.drain()
            finally:
                if (stop := getattr(self._auth, "aclose", None)) is not None:
                    await stop()
                await pool.close()

    def __del__(self) -> None:
        if any(pool.open for pool in getattr(self, "_pools", {}).values()):
            warnings.warn(
                "a RouteraClient was left open: use `async with`, or await aclose()",
                ResourceWarning,
                stacklevel=1,
                source=self,
            )

    async def request(
        self,
        method: str,
        segments: tuple[str, ...],
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        repeatable: bool,
        limit: int = RECORD_LIMIT,
    ) -> Answer:
        """Make one call and return its 2xx.

        `segments` are the path's; `repeatable` says that doing it twice is the same as doing it
        once; `limit` is in bytes of the answer. Otherwise raises the `RouteraError` that says what
        is proven.
        """
        if self._closed:
            raise ConfigurationError("the client is closed: open another, or `async with` it again")
        pool = self._pools.get(asyncio.get_running_loop()) or await self._open()
        started = pool.loop.time()
        call = Call(
            method=method,
            url=self._url(segments, query),
            body=body,
            repeatable=repeatable,
            limit=limit,
            started=started,
            deadline=None if self._deadline is None else started + self._deadline,
        )
        pool.began()
        try:
            async with asyncio.timeout_at(call.deadline):
                result = await self._until_decided(call, pool)
        except TimeoutError:
            result = call.cut_off or NotSentError(
                f"{call}: the deadline of {self._deadline} s passed before"
            )
        finally:
            pool.ended()
        elapsed = pool.loop.time() - started
        if isinstance(result, RouteraError):
            raise call.settled(result, elapsed, resends=self._retry.resend_unkeyed)
        assert result.status is not None
        return Answer(
            status=result.status,
            body=result.data(),
            excerpt=result.excerpt(),
            attempts=tuple(call.attempts),
            elapsed=elapsed,
        )

    def _url(self, segments: tuple[str, ...], query: Mapping[str, str] | None) -> URL:
        """Join a path below the base URL, out of which no segment can lead."""
        url = self._collections.get(segments)
        if url is None:
            url = URL(f"{self._base}/{'/'.join(map(_segment, segments))}", encoded=True)
            if len(segments) == 1:
                self._collections[segments] = url
        return url.with_query(query) if query else url

    async def _open(self) -> Pool:
        """Open the running loop's pool, and forget those whose loops have ended."""
        pool = Pool(self.max_connections, self._http, self._retry.budget)
        self._pools = {loop: other for loop, other in self._pools.items() if other.open}
        self._pools[pool.loop] = pool
        await pool.close_with_loop()
        return pool

    async def _until_decided(self, call: Call, pool: Pool) -> Evidence | RouteraError:
        first = await self._attempt(call, pool)
        if isinstance(first, Evidence):
            pool.retry_tokens.succeeded()
            return first
        if self._retry.sends_again(first, repeatable=call.repeatable):
            return await self._again(call, pool, first)
        return first

    async def _again(self, call: Call, pool: Pool, first: RouteraError) -> Evidence | RouteraError:
        """Hand the first attempt's failure to tenacity, and let it make the others."""
        met = [first]

        async def attempt() -> Evidence:
            if met:
                raise met.pop()
            result = await self._attempt(call, pool)
            if isinstance(result, Evidence):
                pool.retry_tokens.give(1.0)
                return result
            if result.outcome not in {"unknown", "not_sent"}:
                pool.retry_tokens.give(1.0)  # the server is there: it has decided
            raise result

        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds)
            await pool.retry_tokens.take()

        def scheduled(state: RetryCallState) -> None:
            number = len(call.attempts) + 1
            self._tell(RetryScheduled(call.method, call.url.path, number, state.upcoming_sleep))

        retrying = self._retry.retrying(
            repeatable=call.repeatable,
            deadline=call.deadline,
            clock=pool.loop.time,
            uniform=self._uniform,
            sleep=sleep,
            before_sleep=scheduled,
        )
        try:
            return await retrying(attempt)
        except RouteraError as error:
            return error.with_traceback(None)

    async def _attempt(self, call: Call, pool: Pool) -> Evidence | RouteraError:
        """Send once when admitted, and once more when a 401 is cured by another token."""
        try:
            await pool.admit(None if call.attempts else self._max_waiting)
        except Overloaded as error:
            return error
        try:
            token = await self._token()
            result = await self._exchange(call, pool, token)
            if isinstance(result, UnauthorizedError) and not call.refreshed:
                call.refreshed = True
                fresh = await self._token(refused=token)
                if fresh != token:
                    result = await self._exchange(call, pool, fresh)
        except RouteraError as error:
            return error.with_traceback(None)
        else:
            return result
        finally:
            pool.leave()

    async def _token(self, refused: str | None = None) -> str:
        try:
            token = await self._auth.token(refused=refused)
            return token if isinstance(token, Secret) else checked_token(token)
        except RouteraError:
            raise
        except Exception as error:  # noqa: BLE001 (a caller's own provider may raise anything)
            problem = NotSentError(f"no token could be had ({type(error).__name__})")
        raise problem

    async def _post(self, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Post to the token route, whose answer is a record's size at the most."""
        pool = self._pools[asyncio.get_running_loop()]
        async with (
            asyncio.timeout(self._timeout),
            pool.http.post(
                self._url(("oauth2", "token"), None),
                data=form,
                headers={**headers, **_HEADERS},
                allow_redirects=False,
                raise_for_status=False,
                timeout=NO_TIMEOUT,
            ) as response,
        ):
            body = AnswerBody(response, RECORD_LIMIT)
            await body.read()
        return response.status, body.whole()

    async def _exchange(self, call: Call, pool: Pool, token: str) -> Evidence | RouteraError:
        """Send once, note what was met, and return what it proves."""
        evidence = Evidence(call, token)
        number = len(call.attempts) + 1
        began = pool.loop.time()
        if self._hooks:
            self._tell(AttemptStarted(call.method, call.url.path, number))
        try:
            async with asyncio.timeout(self._timeout * self._uniform(_JITTER, 1.0)):
                evidence.met(
                    await pool.http.request(
                        call.method,
                        call.url,
                        data=evidence.body,
                        headers=_headers(token),
                        allow_redirects=False,
                        raise_for_status=False,  # whatever the caller's own session says
                        timeout=NO_TIMEOUT,
                    )
                )
                await evidence.read()
        except asyncio.CancelledError:
            evidence.error = CANCELLED
            raise
        except Exception as error:  # noqa: BLE001 (the evidence decides, never the type)
            evidence.failed(error)
        finally:
            verdict = evidence.verdict()
            elapsed = pool.loop.time() - began
            call.note(evidence, verdict, began, elapsed)
            if self._hooks:
                self._tell(
                    AttemptFinished(
                        call.method,
                        call.url.path,
                        number,
                        sent=evidence.sent,
                        status=evidence.status,
                        error=evidence.error,
                        elapsed=elapsed,
                    )
                )
        return verdict or evidence

    def _tell(self, event: Event) -> None:
        for hook in self._hooks:
            try:
                hook(event)
            except Exception:  # noqa: BLE001 (whatever it is, the call goes on)
                if id(hook) not in self._faulty:
                    self._faulty.add(id(hook))
                    _log.exception("a hook raised; the calls go on, and this is not said again")


def checked_base_url(text: str) -> str:
    """Return a base URL without its last slash; raises `ConfigurationError` for any other."""
    try:
        url = URL(text)
        host = url.host or ""
    except (ValueError, TypeError):
        raise ConfigurationError("base_url is not a URL") from None
    if _BLANK.search(text):
        raise ConfigurationError("base_url holds a space or a control character")
    if url.user or url.password or url.query_string or url.fragment:
        raise ConfigurationError("base_url must be a scheme, a host and perhaps a path, no more")
    if url.scheme not in {"http", "https"} or not host:
        raise ConfigurationError(f"base_url must begin with https:// and name a host, not {text!r}")
    if url.scheme == "http" and not _is_loopback(host):
        raise ConfigurationError(f"http:// would show the token to the network: https://{host}")
    return str(url).rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _segment(text: str) -> str:
    if _NO_SEGMENT.search(text):
        raise ValidationError(f"{one_line(text, 80)!r} is no id")
    return quote(text, safe="")


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": Secret(f"Bearer {token}"), **_HEADERS}
