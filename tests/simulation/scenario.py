"""One seed is one run: what is drawn of it, and how the callers behave."""

import asyncio
import contextlib
import gc
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import attrs

from routera_async import (
    ClientCredentials,
    ConfigurationError,
    ForbiddenError,
    NewTicket,
    NotFoundError,
    NotSentError,
    RetryPolicy,
    RouteraClient,
    RouteraError,
    UnauthorizedError,
)
from routera_async.auth import _Renewed
from routera_async.bulk.many import Bulk
from routera_async.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    ImportPaused,
    RequestFinished,
    RequestStarted,
    RetryScheduled,
)
from routera_async.retries import RetryBudget

from .faults import FAULTS, OF_A_GRANT, OF_THE_ACCOUNT
from .loop import NO_TIME, Deadlock, Endless, SimLoop
from .network import SLOWEST, Network, Weather, connector, virtual_keep_alive
from .server import CLIENT_ID, CLIENT_SECRET, HOST, TOKEN_ROUTE, Server
from .world import MARKER, ROW, Result, Row, Violation, World

SOURCES = ("credentials", "credentials", "a callable", "a JWT")
"""Where the tokens come from."""

_FAILS_AS = (OSError, TimeoutError, aiohttp.ClientError, NotSentError, asyncio.CancelledError)
"""What a fetch of a token may end with: what a network, a server or a closing does to it."""

_FOR_EVER = 36_000
"""Seconds that a token lasts which outlives its run."""

_DRAIN = 30.0
"""Seconds that a closing waits for the calls under way, at the most."""

_STOPS = (ConfigurationError, UnauthorizedError, ForbiddenError, NotFoundError)
"""Faults that stop a `create_many`."""

BEHAVIOURS = ("gather", "gather", "group", "strict group", "many", "many", "one by one")


@attrs.frozen(kw_only=True)
class Plan:
    """What is drawn of one seed; durations are virtual seconds."""

    behaviour: str
    timeout: float
    deadline: float | None
    max_connections: int
    connector_limit: int
    max_waiting: int | None
    mint: bool
    source: str
    basic: bool
    life: int
    ungranted: float
    """How often the token route fails."""
    retry: RetryPolicy
    mix: tuple[str, ...]
    often: float
    stale: float
    keep_alive: float
    wary: bool
    """Whether the pool is of the client's own kind, or as in a session of the caller's."""
    weather: Weather
    spread: float
    stop_after: int | None
    closes_at: float | None
    cancels: int
    impatient: float

    @property
    def renews(self) -> bool:
        """Whether another token can be had."""
        return self.source != "a JWT"


@attrs.frozen
class Report:
    """What a run came to."""

    seed: int
    digest: str
    outcomes: Counter[str]
    faults: dict[str, int]
    violations: list[Violation]
    trace: list[str] = attrs.field(repr=False)
    plan: Plan = attrs.field(repr=False)


def draw(rng: random.Random) -> Plan:
    """Draw a plan: which faults there are at all, and how everything is set."""
    timeout = rng.choice((0.4, 1.0, 5.0))
    connections = rng.randint(1, 8)
    return Plan(
        behaviour=rng.choice(BEHAVIOURS),
        timeout=timeout,
        deadline=None if rng.random() < 0.5 else timeout * rng.uniform(0.3, 6.0),
        max_connections=connections,
        connector_limit=rng.choice((0, connections, connections, max(1, connections - 2))),
        max_waiting=None if rng.random() < 0.9 else rng.randint(0, 5),
        mint=rng.random() < 0.5,
        source=(source := rng.choice(SOURCES)),
        basic=rng.random() < 0.5,
        life=rng.choice((2, 20, _FOR_EVER)) if source == "credentials" else _FOR_EVER,
        ungranted=rng.choice((0.0, 0.3, 0.6)),
        retry=_draw_retry(rng),
        mix=_draw_mix(rng),
        often=rng.choice((0.05, 0.3, 0.3, 0.6, 0.9)),
        stale=rng.choice((0.0, 0.2, 0.8)),
        keep_alive=rng.choice((0.05, 15.0)),
        wary=rng.random() < 0.5,
        weather=_draw_weather(rng),
        spread=rng.choice((0.0, 0.5, 5.0)),
        stop_after=None if rng.random() < 0.8 else rng.randint(1, 10),
        closes_at=None if rng.random() < 0.8 else rng.uniform(0.0, rng.choice((0.3, 1.0, 5.0))),
        cancels=rng.choice((0, 0, 1, 3, 8)),
        impatient=rng.choice((0.0, 0.0, 0.2)),
    )


def _draw_retry(rng: random.Random) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=rng.choice((1, 2, 3, 5, 5)),
        wait_initial=rng.choice((0.0, 0.05, 0.2)),
        wait_max=rng.choice((0.5, 5.0)),
        retry_after_max=rng.choice((0.5, 60.0)),
        resend_unkeyed=rng.random() < 0.5,
        budget=RetryBudget(
            capacity=rng.choice((1.0, 3.0, 100.0)),
            per_second=rng.choice((0.5, 1.0)),
            per_success=rng.choice((0.0, 0.1)),
        ),
    )


def _draw_mix(rng: random.Random) -> tuple[str, ...]:
    """Draw which faults this run knows: few of them together reach deeper than all at once."""
    accounts = rng.random() < 0.3
    names = [name for name in FAULTS if accounts or name == "401" or name not in OF_THE_ACCOUNT]
    drawn = rng.sample(names, rng.choice((1, 3, 6, len(names))))
    return tuple(dict.fromkeys([*drawn, "401"] if rng.random() < 0.3 else drawn))


def _draw_weather(rng: random.Random) -> Weather:
    begins = rng.uniform(0.0, 3.0)
    return Weather(
        bad=rng.choice((0.0, 0.05, 0.3)),
        outage=(0.0, 0.0) if rng.random() < 0.8 else (begins, begins + rng.uniform(0.5, 20.0)),
        split=rng.choice((0.0, 0.1, 0.5)),
    )


class Run:
    """One seed's client, server and callers."""

    def __init__(self, seed: int, rows: int, change: Callable[[Plan], Plan] | None) -> None:
        self.loop = SimLoop(seed)
        self.world = World(seed, self.loop)
        self.plan = draw(self.world.stream("plan"))
        if change is not None:
            self.plan = change(self.plan)
        self.net = Network(self.world, self.plan.weather)
        self.server = Server(
            self.net,
            mix={name: FAULTS[name] for name in self.plan.mix},
            often=self.plan.often,
            stale=self.plan.stale,
            patience=self.plan.timeout,
            most=self.plan.max_connections,
            renews=self.plan.renews,
            grants={name: FAULTS[name] for name in OF_A_GRANT},
            ungranted=self.plan.ungranted,
            life=self.plan.life,
        )
        self.paused = False
        """Whether `create_many` has waited for the server: then there were probes, not counted."""
        self.stopped = False
        """Whether `create_many` was stopped or gave up: what waited then is not sent."""
        self.troubles: list[tuple[float, float]] = []
        """When a fetch of a token failed: from its beginning to its end."""
        self._fetching = False
        self._fetch: Callable[[], Awaitable[tuple[str, float]]]
        self._held: str | None = None
        self._renew_at = 0.0
        self._order: dict[str, int] = {}
        self._newest = 0
        self._given_up = False
        """Whether a closing has waited as long as it does."""
        self._again: set[str] = set()
        self._refused: set[str] = set()
        self._rng = self.world.stream("callers")
        self._minted = self.server.mint()
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._client: RouteraClient
        self._draw_rows(rows)

    # -- what is created -------------------------------------------------------------------------

    def _draw_rows(self, count: int) -> None:
        for number in range(count):
            self.world.rows.append(self._row(number))
        self.server.know(self.world.rows)
        keys = {row.key for row in self.world.rows if row.key and self._rng.random() < 0.1}
        for key in sorted(keys):
            self.server.insert(external_id=key)

    def _row(self, number: int) -> Row:
        """Draw a row: its own key, perhaps another row's, or none; and perhaps one to reject."""
        key = f"ext-{number}" if self._rng.random() < 0.6 else None
        if key is not None and number and self._rng.random() < 0.05:
            key = self.world.rows[-1].key
        wrong = {"ticket_owner": "nobody"} if self._rng.random() < 0.05 else {}
        new = NewTicket(
            ticket_name="Lamp",
            pipeline="default",
            ticket_stage="new",
            external_id=key,
            custom={MARKER: f"r{number}"},
            **wrong,
        )
        return Row(number, key, new, minted=self.plan.mint and key is None)

    # -- the client ------------------------------------------------------------------------------

    def _open(self, http: aiohttp.ClientSession) -> RouteraClient:
        plan = self.plan
        source = {
            "a JWT": self._minted,
            "a callable": self._token,
            "credentials": ClientCredentials(CLIENT_ID, CLIENT_SECRET, basic=plan.basic),
        }[plan.source]
        client = RouteraClient(
            source,
            base_url=f"https://{HOST}",
            retry=plan.retry,
            timeout=plan.timeout,
            deadline=plan.deadline,
            max_connections=plan.max_connections,
            max_waiting=plan.max_waiting,
            hooks=[self._hear],
            session=http,
            mint_external_ids=plan.mint,
        )
        client._session._uniform = self.world.stream("jitter").uniform
        auth = client._session._auth
        if isinstance(auth, _Renewed):
            self._fetch, auth._fetch = auth._fetch, self._watched
        return client

    async def _token(self) -> str:
        """Return a new token, or none, or once more the old one."""
        fate = self._rng.random()
        await asyncio.sleep(self._rng.uniform(0.0, 0.2))
        if fate < 0.05:
            raise OSError("the vault is closed")
        if fate > 0.1:
            self._minted = self.server.mint()
        return self._minted

    async def _watched(self) -> tuple[str, float]:
        """Fetch a token as the client does, and check I13 and I15."""
        if self._fetching:
            self.world.wrong(ROW.get(), "I13 stampede", "two fetches of a token at a time")
        began = self.loop.time()
        lasting = self._held not in self._refused and began < self._renew_at - NO_TIME
        if self._held is not None and lasting:
            self.world.wrong(ROW.get(), "I13 needless", "the token in hand was not refused")
        self._fetching = True
        try:
            token, lasts = await self._fetch()
        except BaseException as error:
            self.troubles.append((began, self.loop.time()))
            self.world.note(ROW.get(), f"no token: {type(error).__name__}")
            late = self._given_up and isinstance(error, ConfigurationError)
            if not (late or isinstance(error, _FAILS_AS)):
                self.world.wrong(ROW.get(), "I15 served", f"no token could be had: {error!r}")
            raise
        finally:
            self._fetching = False
        self.world.note(ROW.get(), "fetched a token")
        self._hold(token, lasts)
        return token, lasts

    def _hold(self, token: str, lasts: float) -> None:
        """Learn which token the client has in hand from now on."""
        if token in self._order:
            self._again.add(token)
        self._order[token] = len(self._order)
        self._held = token
        self._renew_at = self.loop.time() + lasts - min(60.0, lasts / 10)

    async def _starts(self, _: Any, __: Any, sent: aiohttp.TraceRequestStartParams) -> None:
        """Check I14 of a request that is begun: it is aiohttp that calls."""
        row = ROW.get()
        if (sent.method, sent.url.path) == TOKEN_ROUTE or row is None:
            return
        row.token = token = sent.headers["Authorization"].removeprefix("Bearer ")
        if token in row.refused and token not in self._again:
            self.world.wrong(row, "I14 refused", "a token is sent again that was refused")
        number = self._order.get(token, 0)
        if number < self._newest:
            self.world.wrong(row, "I14 old", "an old token is sent after a new one")
        self._newest = max(self._newest, number)

    def _hear(self, event: Event) -> None:
        self.paused |= isinstance(event, ImportPaused)
        row = ROW.get()
        if not hasattr(event, "call"):
            return
        assert row is not None
        if isinstance(event, RequestStarted):
            row.calls.append(event)
        elif isinstance(event, RequestFinished):
            row.ends.append(event)
        elif isinstance(event, AttemptStarted):
            row.started.append(event)
        elif isinstance(event, AttemptFinished):
            row.finished.append(event)
            if event.status == 401 and row.token is not None:
                row.refused.add(row.token)
                self._refused.add(row.token)
            told = f"{event.number} {event.sent} {event.status} {event.error}"
            self.world.note(row, f"attempt {told}")
        elif isinstance(event, RetryScheduled):
            self.world.note(row, f"again in {event.delay:.9f}")

    # -- the callers -----------------------------------------------------------------------------

    async def main(self) -> None:
        """Open a client, have the callers call, close it, and let what still runs finish."""
        plan = self.plan
        pool = connector(
            self.net, wary=plan.wary, limit=plan.connector_limit, keep_alive=plan.keep_alive
        )
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._starts)
        async with aiohttp.ClientSession(connector=pool, trace_configs=[trace]) as http:
            self._client = self._open(http)
            closing = asyncio.create_task(self._close_early())
            await self._behave()
            closing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await closing
            await asyncio.sleep(SLOWEST)  # aiohttp waits for a request's writer to end
            self._check_places()
            await self._close()
            await asyncio.sleep(SLOWEST)
            if pool._acquired or pool._waiters:
                self.world.wrong(None, "I10 leak", f"aiohttp holds {pool._acquired}")
        await asyncio.sleep(max(0.0, self.server.horizon - self.loop.time()) + 1.0)

    def _check_places(self) -> None:
        """Check that no place among those in flight is held any more."""
        for pool in self._client._session._pools._pools.values():
            held = pool._free != min(
                filter(None, (self.plan.max_connections, self.plan.connector_limit))
            )
            if held or pool.queued or pool.under_way:
                self.world.wrong(None, "I10 leak", f"the pool is not whole: {vars(pool)}")

    async def _close(self) -> None:
        """Close the client, and check I15: what was under way has ended, or had its time."""
        began = self.loop.time()
        under_way = [row for row in self.world.rows if row.began is not None and not row.results]
        await self._client.aclose()
        self._given_up |= self.loop.time() >= began + _DRAIN - NO_TIME
        left = [row for row in under_way if not row.results]
        told = self.plan.behaviour == "many"  # there an outcome is told later than it is known
        if left and not told and not self._given_up:
            self.world.wrong(left[0], "I15 drained", f"closed after {self.loop.time() - began} s")

    async def _close_early(self) -> None:
        if self.plan.closes_at is not None:
            await asyncio.sleep(self.plan.closes_at)
            self.world.note(None, "aclose")
            await self._close()

    async def _behave(self) -> None:
        if self.plan.behaviour == "many":
            await self._as_many()
        elif self.plan.behaviour == "one by one":
            await self._each(self._in_turn)
        elif self.plan.behaviour == "gather":
            await self._each(self._gathered)
        else:
            await self._each(self._grouped)

    async def _each(self, start: Callable[[list[Row]], Awaitable[None]]) -> None:
        """Create each row in a task of its own, some of which are cancelled."""
        rows = self.world.rows
        for row in self._rng.sample(rows, min(self.plan.cancels, len(rows))):
            self._cancel_later(row)
        await start(rows)

    async def _gathered(self, rows: list[Row]) -> None:
        tasks = [self._start(asyncio.create_task, row) for row in rows]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_turn(self, rows: list[Row]) -> None:
        for row in rows:
            with contextlib.suppress(asyncio.CancelledError, RouteraError):
                await self._start(asyncio.create_task, row)

    async def _grouped(self, rows: list[Row]) -> None:
        """Create the rows in a TaskGroup: in a strict one, the first error cancels all others."""
        with contextlib.suppress(BaseExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for row in rows:
                    self._start(group.create_task, row)

    def _start(self, create: Callable[..., asyncio.Task[None]], row: Row) -> asyncio.Task[None]:
        self._tasks[row.number] = task = create(self._one(row))
        return task

    async def _one(self, row: Row) -> None:
        """Create one row as a caller does, and note how that ended."""
        ROW.set(row)
        if self.plan.behaviour != "one by one":
            await asyncio.sleep(self._rng.uniform(0.0, self.plan.spread))
        elif self._rng.random() < 0.3:
            await asyncio.sleep(self._rng.uniform(0.0, 1.0))
        row.began = self.loop.time()
        if self._rng.random() < self.plan.impatient:
            row.patience = self._rng.uniform(0.0, 2 * self.plan.timeout)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(row.patience):
                await self._create(row)

    async def _create(self, row: Row) -> None:
        try:
            record = await self._client.tickets.create(row.new)
        except RouteraError as error:
            self._ended(row, Result(error.outcome, error=error, attempts=error.attempts))
            if self.plan.behaviour == "strict group":
                raise
        except asyncio.CancelledError:
            self._ended(row, Result("cancelled"))
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, it is no outcome)
            self._ended(row, Result("broken", error=error))
        else:
            self._ended(row, Result("created", record=record))

    def _ended(self, row: Row, result: Result) -> None:
        row.ended = self.loop.time()
        row.results.append(result)
        self.world.note(row, result.status)

    def _cancel_later(self, row: Row) -> None:
        """Cancel a row's task: at a virtual time, or at a step of the loop."""
        if self._rng.random() < 0.5:
            self.loop.call_later(self._rng.uniform(0.0, 3.0), self.cancel, row)
        else:
            self.loop.at_steps.setdefault(self._rng.randrange(2_000), []).append(row)
            self.loop.at_step = self._at_step

    def _at_step(self, step: int) -> None:
        for row in self.loop.at_steps.pop(step, ()):
            self.cancel(row)

    def cancel(self, row: Row) -> None:
        """Cancel a row's task, if it is under way."""
        task = self._tasks.get(row.number)
        if task is not None and task.cancel() and row.began is not None:
            row.cancelled_at = self.loop.time()
            self.world.note(row, "cancel")

    # -- create_many -----------------------------------------------------------------------------

    async def _as_many(self) -> None:
        task = asyncio.create_task(self._consume())
        if self.plan.cancels > 1:
            self.loop.call_later(self._rng.uniform(0.0, 5.0), task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _consume(self) -> None:
        rows = self.world.rows
        source = self._slowly(rows) if self._rng.random() < 0.5 else rows
        width = self._rng.randint(1, self.plan.max_connections)
        began, bulk = self.loop.time(), Bulk(reconcile=False)
        outcomes = self._client.tickets.create_many(
            source, concurrency=width, parse=self._parse, bulk=bulk
        )
        async with contextlib.aclosing(outcomes):
            with contextlib.suppress(RouteraError):
                async for outcome in outcomes:
                    waited = self.loop.time() - began
                    gives_up = self.paused and waited >= bulk.unreachable_after - NO_TIME
                    self.stopped |= gives_up or isinstance(outcome.error, _STOPS)
                    result = Result(
                        outcome.status, outcome.record, outcome.error, tuple(outcome.attempts)
                    )
                    self._ended(outcome.given, result)
                    if sum(len(row.results) for row in rows) == self.plan.stop_after:
                        break

    async def _slowly(self, rows: list[Row]) -> AsyncIterator[Row]:
        for row in rows:
            await asyncio.sleep(self._rng.uniform(0.0, 0.1))
            yield row

    def _parse(self, row: Row) -> NewTicket:
        ROW.set(row)
        row.began = self.loop.time()
        return row.new


def simulate(seed: int, *, rows: int = 20, change: Callable[[Plan], Plan] | None = None) -> Report:
    """Run one seed and return what it came to; `change` may alter its plan first."""
    from .check import check  # noqa: PLC0415 (it reads a Run)

    gc.disable()  # what is finalised when is part of a run: nothing, until it is over
    run = Run(seed, rows, change)
    try:
        with virtual_keep_alive(run.loop):
            run.loop.run(run.main())
    except (Deadlock, Endless) as error:
        run.world.wrong(None, "I6 ends", str(error))
    finally:
        gc.enable()
    check(run)
    run.server.store.close()
    return Report(
        seed,
        run.world.digest(),
        Counter(result.status for row in run.world.rows for result in row.results),
        run.world.faults,
        run.world.violations,
        run.world.trace,
        run.plan,
    )
