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
import copy
import random
import ssl
import uuid
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from aiohttp import ClientSession

from ._evidence import CANCELLED, Call, Evidence
from ._gate import Gate, tell_gate
from ._hooks import Hook
from ._how import HEADERS, Headers, how_of
from ._options import Options, merged
from ._pool import Pool, Pools
from ._token_route import TokenRoute
from ._urls import BaseURL
from .auth import Auth, ClientCredentials, Secret, checked_token, in_hand, listen
from .errors import (
    Attempt,
    NotSentError,
    Overloaded,
    RouteraError,
    UnauthorizedError,
)
from .retries import Repeat

if TYPE_CHECKING:  # what a first attempt without hooks needs none of is loaded when it is needed
    from tenacity import RetryCallState

    from ._telling import Telling
    from .stats import Stats

RECORD_LIMIT = 2**20
"""Bytes read of the answer that holds one record, after decompression."""

PAGE_LIMIT = 2**24
"""Bytes read of the answer that holds one page of records, after decompression."""

_JITTER = 0.95
"""An attempt's time-out is drawn from this fraction of `timeout` to all of it."""


class Answer:
    """A 2xx, and what it took to get it; `elapsed` is in seconds."""

    def __init__(self, met: Evidence, call: Call, elapsed: float) -> None:
        assert met.status is not None
        self.status = met.status
        self.body = met.data()
        self.elapsed = elapsed
        self._call = call
        self._met = met

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What each attempt met."""
        return self._call.attempts

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers, with lower-case names and without the token."""
        return self._met.headers()

    def excerpt(self) -> bytes:
        """Return what an error may show of the body."""
        return self._met.excerpt()


class Session:
    """Sends calls to one base URL with one source of tokens, over one pool for each running loop.

    `proxy` is a URL, and `tls` what an https connection is made with. `owns_auth` says that the
    source of tokens was made for this session, which closes it then. Raises `ConfigurationError`
    for a `base_url` or a proxy that is none.
    """

    def __init__(
        self,
        auth: Auth | ClientCredentials,
        options: Options,
        *,
        base_url: str,
        max_connections: int,
        max_waiting: int | None = None,
        hooks: Sequence[Hook] = (),
        http: ClientSession | None = None,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
        owns_auth: bool = False,
    ) -> None:
        self._base = BaseURL(base_url)
        self._options = options
        self._how, self._hop = how_of(self._base, proxy, tls)
        self._headers = Headers(self._own_headers(options))
        self._max_waiting = max_waiting
        self._telling = _telling(hooks)
        self._gate: Gate | None = None
        self._background = False
        self._uniform = random.uniform
        self._pools = Pools(max_connections, http)
        self._owns_auth = owns_auth or isinstance(auth, ClientCredentials)
        route = TokenRoute(
            self._pools,
            self._base,
            self._how,
            self._hop,
            timeout=options.timeout,
            limit=RECORD_LIMIT,
        )
        self._auth = auth.over(route.post) if isinstance(auth, ClientCredentials) else auth
        self._in_hand = in_hand(self._auth)
        if self._telling is not None:
            listen(self._auth, self._telling)

    @property
    def max_connections(self) -> int:
        """How many attempts are in flight at the most."""
        return self._pools.limit

    @property
    def base_url(self) -> str:
        """Where the API is, without a slash at the end."""
        return str(self._base)

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """What is told of every call."""
        return () if self._telling is None else self._telling.of_calls

    @property
    def options(self) -> Options:
        """How a call is made."""
        return self._options

    def stats(self) -> "Stats":
        """Return what all copies do, and have done."""
        return self._pools.stats(self._options.retry.budget)

    def with_options(self, options: Options) -> "Session":
        """Return a session that makes calls otherwise, over the same connections."""
        other = copy.copy(self)
        other._options = options  # noqa: SLF001 (it is one of our own)
        other._headers = Headers(self._own_headers(options))  # noqa: SLF001
        return other

    def in_background(self) -> "Session":
        """Return a session for an import, whose concurrency bounds it and not `max_waiting`.

        Its calls are never refused for those that wait, nor are others for its own; and its retries
        take tokens of the imports' lane.
        """
        other = copy.copy(self)
        other._background = True  # noqa: SLF001 (it is one of our own)
        return other

    def gated(self, gate: Gate, hooks: Iterable[Hook] = ()) -> "Session":
        """Return one in the background whose attempts pass a gate, which hears of each as hooks."""
        other = self.in_background()
        other._gate = gate  # noqa: SLF001 (it is one of our own)
        other._telling = _telling((*self.hooks, *hooks))  # noqa: SLF001
        return other

    def _own_headers(self, options: Options) -> dict[str, str]:
        added = {name: Secret(value) for name, value in options.headers.items()}
        return merged(HEADERS, self._hop, added)

    def mint(self) -> str:
        """Return a key that nobody else has, no forked process either: a random UUID, RFC 9562."""
        return str(uuid.uuid4())

    def reopen(self) -> None:
        """Allow calls again after `close`."""
        self._pools.reopen()

    async def close(self) -> None:
        """Refuse new calls, let those in flight finish within 30 seconds, close the pool."""
        await self._pools.close(self._stop_auth)

    def close_from_outside(self) -> None:
        """Close the pools of all loops, from where none of them runs; nothing is waited for."""
        self._pools.close_from_outside()

    async def _stop_auth(self) -> None:
        if self._owns_auth and (stop := getattr(self._auth, "aclose", None)) is not None:
            await stop()

    async def request(
        self,
        method: str,
        segments: tuple[str, ...],
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        repeat: Repeat,
        limit: int = RECORD_LIMIT,
    ) -> Answer:
        """Make one call and return its 2xx.

        `segments` are the path's; `repeat` says what doing it twice means; `limit` is in bytes of
        the answer. Otherwise raises the `RouteraError` that says what is proven.
        """
        pool = self._pools.opened() or await self._pools.open()
        options, started = self._options, pool.loop.time()
        call = Call(
            method=method,
            url=self._base.join(segments, query),
            body=body,
            repeat=repeat,
            limit=limit,
            started=started,
            deadline=None if options.deadline is None else started + options.deadline,
        )
        if self._telling is not None:
            self._telling.started(call, segments, str(self._base))
        pool.began()
        try:
            with pool.limits.until(call.deadline) as call.bound:
                result = await self._attempt(call, pool)
                if isinstance(result, Evidence):
                    lane = pool.imports if self._background else pool.calls
                    if lane:  # else all tokens are there: none was ever taken
                        lane[options.retry.budget].succeeded()
                elif options.retry.sends_again(result, call.repeat) and not call.over:
                    result = await self._again(call, pool, result)
        except TimeoutError:
            result = call.cut_off or NotSentError(
                f"{call}: the deadline of {options.deadline} s passed before it was sent"
            )
        except BaseException as error:
            lost = call.cut_off or NotSentError(f"{call} was cut off")
            self._failed(call, pool, lost, _named(error))
            raise
        finally:
            pool.ended()
        elapsed = pool.loop.time() - started
        if isinstance(result, RouteraError):
            raise self._failed(call, pool, result)
        if self._telling is not None:
            self._telling.finished(call, "created", None, elapsed)
        return Answer(result, call, elapsed)

    def _failed(
        self, call: Call, pool: Pool, error: RouteraError, named: str | None = None
    ) -> RouteraError:
        """Return a call's last error in the light of all its attempts, and tell of it."""
        elapsed = pool.loop.time() - call.started
        error = call.settled(error, elapsed, self._options.retry)
        pool.counts.failed += 1
        if self._telling is not None:
            self._telling.finished(call, error.outcome, named or _named(error), elapsed)
        return error

    async def _again(self, call: Call, pool: Pool, first: RouteraError) -> Evidence | RouteraError:
        """Hand the first attempt's failure to tenacity, and let it make the others."""
        from ._retrying import retrying  # noqa: PLC0415 (most calls need no second attempt)

        met = [first]
        policy = self._options.retry
        tokens = (pool.imports if self._background else pool.calls)[policy.budget]

        async def attempt() -> Evidence:
            if met:
                raise met.pop()
            made = call.made
            try:
                result = await self._attempt(call, pool)
            finally:
                if call.made == made:
                    tokens.give(1.0)  # nothing was sent for it
            if isinstance(result, Evidence):
                tokens.give(1.0)
                return result
            if result.outcome not in {"unknown", "not_sent"}:
                tokens.give(1.0)  # the server is there: it has decided
            raise result

        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds)
            await tokens.take()

        def scheduled(state: "RetryCallState") -> None:
            if self._telling is not None:
                self._telling.repeats(call, state.upcoming_sleep)

        loop = retrying(
            policy,
            call.repeat,
            deadline=call.deadline,
            clock=pool.loop.time,
            uniform=self._uniform,
            sleep=sleep,
            before_sleep=scheduled,
            is_over=lambda: call.over,
        )
        try:
            return await loop(attempt)
        except RouteraError as error:
            return error.with_traceback(None)

    def _attempt(self, call: Call, pool: Pool) -> Awaitable[Evidence | RouteraError]:
        """Send once, through the gate if there is one."""
        if self._gate is None or self._gate.stands_open:
            return self._admitted(call, pool, self._options.timeout)
        return self._let_through(self._gate, call, pool)

    async def _let_through(self, gate: Gate, call: Call, pool: Pool) -> Evidence | RouteraError:
        """Send once when the gate is passed, and again and again while that is but a probe."""
        while True:
            try:
                leave = await gate.enter()
            except NotSentError as error:
                call.over = True
                return error.with_traceback(None)
            limit = self._options.timeout
            if leave.timeout is not None:
                limit = min(limit, leave.timeout)
            result = await self._admitted(call, pool, limit)
            if not leave.probe or isinstance(result, Evidence):
                return result
            if not self._options.retry.sends_again(result, call.repeat):
                return result

    async def _admitted(self, call: Call, pool: Pool, limit: float) -> Evidence | RouteraError:
        """Send once when admitted, and once more when a 401 is cured by another token.

        `limit` is in seconds, for the attempt.
        """
        try:
            bounded = not (call.admitted or self._background)
            has_place = pool.enter(self._max_waiting if bounded else None)
        except Overloaded as error:
            return error
        if not has_place:
            await pool.queue(counts=not self._background)
        call.admitted = True
        try:
            token = self._in_hand(call.refused) or await self._token(pool, call.refused)
            result = await self._exchange(call, pool, token, limit)
            if isinstance(result, UnauthorizedError) and call.refused is None:
                call.refused = token
                fresh = await self._token(pool, token)
                if fresh != token:
                    result = await self._exchange(call, pool, fresh, limit)
        except RouteraError as error:
            return error.with_traceback(None)
        else:
            return result
        finally:
            pool.leave()

    async def _token(self, pool: Pool, refused: str | None) -> str:
        limit = self._options.timeout
        try:
            with pool.limits.until(pool.loop.time() + limit):
                token = await self._auth.token(refused=refused)
            return token if isinstance(token, Secret) else checked_token(token)
        except RouteraError:
            raise
        except TimeoutError:
            problem = NotSentError(f"no token could be had within {limit} s")
        except Exception as error:  # noqa: BLE001 (a caller's own provider may raise anything)
            problem = NotSentError(f"no token could be had ({type(error).__name__})")
        raise problem

    async def _exchange(
        self, call: Call, pool: Pool, token: str, limit: float
    ) -> Evidence | RouteraError:
        """Send once, within `limit` seconds, note what was met, and return what it proves."""
        evidence = Evidence(call, token)
        began = pool.loop.time()
        headers = self._headers.with_token(token)
        if call.made:
            pool.counts.retries += 1
        if self._telling is not None:
            headers = self._telling.sends(call, headers)
        if self._gate is not None:
            self._gate.began()
        try:
            with pool.limits.until(began + limit * self._uniform(_JITTER, 1.0)):
                evidence.met(
                    await pool.http.request(
                        call.method,
                        call.url,
                        data=evidence.body,
                        headers=headers,
                        **self._how,
                    )
                )
                await evidence.read()
        except asyncio.CancelledError:
            evidence.cut_off(self._options.deadline)
            raise
        except Exception as error:  # noqa: BLE001 (the evidence decides, never the type)
            evidence.failed(error)
        except BaseException as error:  # the program ends, in the middle of this
            evidence.failed(error)
            evidence.was_cut_off = True
            raise
        finally:
            verdict = evidence.verdict()
            elapsed = pool.loop.time() - began
            call.note(evidence, verdict, began, elapsed)
            if self._gate is not None:
                tell_gate(self._gate, call, evidence, verdict, elapsed)
            if self._telling is not None:
                self._telling.met(call, evidence, verdict, elapsed)
        return verdict or evidence


def _named(error: BaseException) -> str:
    return CANCELLED if isinstance(error, asyncio.CancelledError) else type(error).__name__


def _telling(hooks: Sequence[Hook]) -> "Telling | None":
    """Return what tells hooks, or None when there are none."""
    if not hooks:
        return None
    from ._telling import Telling  # noqa: PLC0415 (most clients have no hooks)

    return Telling(hooks)
