"""The limiter against servers that fail, on a virtual clock.

The client is a model of the session: a retry loop with full jitter that passes the gate before
each attempt, and goes straight back to it when a probe has failed.
"""

import asyncio
import contextlib
import itertools
import random
import sys

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routera_async._evidence import CANCELLED
from routera_async.bulk.limiter import Limiter, LimiterState, Pass
from routera_async.errors import ConfigurationError, NotSentError
from routera_async.events import (
    AttemptFinished,
    ImportPaused,
    ImportResumed,
    LimiterChanged,
)

LATENCY = 0.02
"""Seconds that the fake server takes for an answer."""


@contextlib.asynccontextmanager
async def slot_of(limiter):
    """Hold a slot, as a row does."""
    await limiter.take()
    try:
        yield
    finally:
        limiter.give_back()


class Fixed:
    """What the limiter is held against: as many at once as there are workers, and no gate."""

    gave_up = False

    def began(self):
        """Hear nothing."""

    def ended(self, met):
        """Hear nothing."""

    async def take(self):
        """Have a place for everybody."""

    def give_back(self):
        """Have it still."""

    async def enter(self):
        """Stand open."""
        return Pass()

    def rows_ended(self):
        """Do nothing."""

    stop = rows_ended


@attrs.define
class Server:
    """Answers after `LATENCY` with what `decide(server, now)` says: a status, or None for never."""

    decide: object = lambda *_: 201
    at_once: bool = False
    requests: int = 0
    under_way: int = 0
    most: int = 0

    async def answer(self):
        """Answer one request."""
        self.requests += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            status = self.decide(self, asyncio.get_running_loop().time())
            if status is None:
                await asyncio.Event().wait()
            if status == 201 or not self.at_once:
                await asyncio.sleep(LATENCY)
            return status
        finally:
            self.under_way -= 1


@attrs.define
class World:
    """One import of a model, and what is counted in it."""

    server: Server
    limiter: object
    timeout: float = 30.0
    attempts: int = 5
    retry_after: float | None = None
    rng: random.Random = attrs.field(factory=lambda: random.Random(7))
    created: int = 0
    given_up: list = attrs.field(factory=list)
    ambiguous: int = 0
    ended: float = 0.0
    gave_up_at: float = 0.0
    sent_at: list = attrs.field(factory=list)

    async def run(self, rows, workers):
        """Import some rows with so many workers, and return this world."""
        rows = iter(range(rows))

        async def work():
            for _ in rows:
                try:
                    async with slot_of(self.limiter):
                        await self.call()
                except NotSentError as error:
                    self.given_up.append(error)
                    if self.limiter.gave_up:
                        self.gave_up_at = self.gave_up_at or asyncio.get_running_loop().time()
                        return
            self.limiter.rows_ended()

        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())
        self.ended = asyncio.get_running_loop().time()
        if isinstance(self.limiter, Limiter):
            self.limiter.close()
        return self

    async def call(self):
        """Write one row, repeating what fails."""
        number = 0
        for counted in range(self.attempts):
            if counted:
                await asyncio.sleep(self.rng.uniform(0, min(0.2 * 2 ** (counted - 1), 20)))
            passed = Pass(probe=True)
            while passed.probe:
                passed = await self.limiter.enter()
                number += 1
                status = await self.attempt(number, passed)
                if status is not None and status < 500 and status != 429:
                    self.created += 1
                    return
        self.given_up.append(status)

    async def attempt(self, number, passed):
        """Make one attempt, and tell the limiter of it."""
        loop = asyncio.get_running_loop()
        began, status, error = loop.time(), None, None
        self.sent_at.append(began)
        self.limiter.began()
        try:
            async with asyncio.timeout(
                (passed.timeout or self.timeout) * self.rng.uniform(0.95, 1)
            ):
                status = await self.server.answer()
        except TimeoutError:
            error = "TimeoutError"
        except asyncio.CancelledError:
            error = CANCELLED
            raise
        finally:
            self.ambiguous += status is None or status >= 500
            self.limiter.ended(
                AttemptFinished(
                    "POST",
                    "/tickets",
                    number,
                    sent=True,
                    status=status,
                    error=error,
                    elapsed=loop.time() - began,
                    retry_after=self.retry_after if status == 429 else None,
                )
            )
        return status


def imported(virtually, rows, workers, decide=lambda *_: 201, *, fixed=False, world=(), **options):
    """Import rows into a server on a virtual clock; return the world and the events."""
    events = []

    async def scenario():
        limiter = Fixed() if fixed else Limiter(workers, hooks=[events.append], **options)
        model = dict(world)
        server = Server(decide, at_once=model.pop("at_once", False))
        return await World(server, limiter, **model).run(rows, workers)

    return virtually(scenario()), events


def kinds(events, *wanted):
    """Return the events of some kinds."""
    return [event for event in events if isinstance(event, wanted)]


def blackout(start, length, answer):
    """Return a server's decisions: nothing works for some seconds."""

    def decide(_, now):
        return answer() if start <= now < start + length else 201

    return decide


RNG = random.Random(1)


def undisturbed(workers, rows=30_000):
    """Return how long an import takes at a fixed concurrency when nothing fails."""
    return rows / workers * LATENCY


ANSWERS = {
    "hang": lambda: None,
    "503": lambda: 503,
    "both": lambda: RNG.choice([None, 503]),
}


@pytest.mark.parametrize("workers", [32, 100])
def test_a_healthy_import_costs_nothing(virtually, workers):
    """An import that meets no fault takes 3 % longer at most than at a fixed concurrency."""
    world, events = imported(virtually, 30_000, workers)
    assert world.created == 30_000
    assert world.ended <= 1.03 * undisturbed(workers)
    assert world.server.most == workers
    assert kinds(events, LimiterChanged)[-1] == LimiterChanged(workers)
    assert not kinds(events, ImportPaused)


@pytest.mark.parametrize("length", [60.0, 61.3, 62.7])
@pytest.mark.parametrize("answer", sorted(ANSWERS))
@pytest.mark.parametrize("workers", [32, 100])
def test_a_blackout_is_waited_out(virtually, workers, answer, length):
    """A minute's blackout costs no row, few requests, few doubts, and hardly more than itself.

    At once or never: every way in which a server can be away.
    """
    decide = blackout(3.7, length, ANSWERS[answer])
    world, events = imported(
        virtually, 30_000, workers, decide, world={"at_once": True, "rng": random.Random(length)}
    )
    assert (world.created, world.given_up) == (30_000, [])
    assert world.server.requests <= 1.05 * 30_000
    assert world.ambiguous <= 0.01 * world.server.requests
    assert world.ended <= 1.05 * (length + undisturbed(workers))
    assert len(kinds(events, ImportPaused)) == len(kinds(events, ImportResumed)) == 1
    resumed = kinds(events, ImportResumed)[0]
    assert length <= resumed.paused_for <= 1.05 * length + 0.5


@pytest.mark.parametrize("workers", [32, 100])
def test_faults_at_random_are_no_reason_to_slow_down(virtually, workers):
    """With 1 attempt in 10 failing the import is as fast as at a fixed concurrency."""
    rng = random.Random(5)

    def decide(*_):
        return rng.choice([500, 503]) if rng.random() < 0.1 else 201

    fixed, _ = imported(virtually, 30_000, workers, decide, fixed=True)
    world, events = imported(virtually, 30_000, workers, decide)
    assert world.created >= 29_995
    assert world.ended <= 1.06 * fixed.ended
    assert not kinds(events, ImportPaused)


def test_a_cut_that_is_of_no_use_is_taken_back(virtually):
    """With 1 attempt in 5 failing, whatever the concurrency, it is not given away."""
    rng = random.Random(5)

    def decide(*_):
        return 500 if rng.random() < 0.2 else 201

    fixed, _ = imported(virtually, 30_000, 100, decide, fixed=True)
    world, events = imported(virtually, 30_000, 100, decide)
    assert world.ended <= 1.5 * fixed.ended
    limits = [event.limit for event in kinds(events, LimiterChanged)]
    assert any(after == before * 2 > 16 for before, after in itertools.pairwise(limits))


def test_a_server_that_turns_away_is_sent_no_more_than_it_takes(virtually):
    """Where only 50 find a place, fewer rows are given up by far, and about as fast."""

    def decide(server, _):
        return 503 if server.under_way > 50 else 201

    at_once = {"at_once": True}
    fixed, _ = imported(virtually, 30_000, 100, decide, fixed=True, world=at_once)
    world, events = imported(virtually, 30_000, 100, decide, world=at_once)
    assert len(world.given_up) <= 0.2 * len(fixed.given_up)
    assert world.ambiguous <= 0.5 * fixed.ambiguous
    assert world.ended <= 1.2 * fixed.ended
    assert min(event.limit for event in kinds(events, LimiterChanged)[100:]) <= 50


def test_a_server_that_breaks_down_under_load_is_not_kept_down(virtually):
    """Where more than 50 at once make everything hang, most of the work still gets done."""

    def decide(server, _):
        return None if server.under_way > 50 else 201

    world, _ = imported(virtually, 3_000, 100, decide, world={"timeout": 5.0}, timeout=5.0)
    fixed, _ = imported(virtually, 3_000, 100, decide, fixed=True, world={"timeout": 5.0})
    assert fixed.created <= 0.2 * 3_000
    assert world.created >= 0.95 * 3_000
    assert world.ended <= 0.3 * fixed.ended


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8])
def test_no_row_is_given_up_however_few_there_are_at_once(virtually, workers):
    """A single row under way is enough to tell an outage, before its attempts run out."""
    decide = blackout(1.0, 60.0, lambda: 503)
    world, _ = imported(virtually, 400, workers, decide)
    assert (world.created, world.given_up) == (400, [])


def test_a_row_that_the_server_chokes_on_is_given_up_and_holds_nobody_up(virtually):
    """A row that is answered 500 each time ends after its five attempts, though all alone."""

    def decide(server, _):
        return 500 if 10 < server.requests <= 15 else 201

    world, events = imported(virtually, 20, 1, decide)
    assert (world.created, world.given_up) == (19, [500])
    assert world.server.requests == 19 + 5
    assert not kinds(events, ImportPaused)


@pytest.mark.parametrize("status", [504, None])
def test_the_last_row_is_given_up_as_ever(virtually, status):
    """A row that always fails keeps nobody waiting for half an hour, when it is the last of all."""
    bad = []

    def decide(server, _):
        task = asyncio.current_task()
        if server.requests == 60:  # the last row's first attempt
            bad.append(task)
        return status if task in bad else 201

    world, events = imported(virtually, 60, 4, decide)
    assert (world.created, world.given_up) == (59, [status])
    assert world.server.requests == 59 + 5
    assert len(kinds(events, ImportPaused)) == 1


def test_a_probe_is_counted_only_for_the_last_row(virtually):
    """As long as others hold a slot, wait for one, or may come, a probe is on their behalf."""

    async def scenario():
        async with limited(2) as limiter, slot_of(limiter):
            for _ in range(10):
                limiter.ended(finished(503))
            first = await limiter.enter()
            async with slot_of(limiter):
                limiter.rows_ended()
                second = await limiter.enter()
            third = await limiter.enter()
            return [first.probe, second.probe, third.probe]

    assert virtually(scenario()) == [True, True, False]


def test_what_waited_goes_on_in_order_and_without_a_herd(virtually):
    """After an outage the first are the first, and no more at once than the limit, small again."""
    after = []

    def decide(server, now):
        if now >= 11.0:
            after.append(server.under_way)
        return 503 if 1.0 <= now < 11.0 else 201

    world, _ = imported(virtually, 30_000, 100, decide)
    assert world.created == 30_000
    assert max(after[:8]) <= 8
    assert max(after[:24]) <= 16
    assert max(after) == 100


def test_a_429_pauses_everyone_once(virtually):
    """A hundred 429s that ask for 5 seconds are one pause of 5 seconds, in which nothing is sent.

    Nor does the answer to what was under way open the gate before.
    """

    def decide(server, now):
        return 429 if 1.0 <= now < 1.01 and server.requests % 2 else 201

    world, events = imported(virtually, 30_000, 100, decide, world={"retry_after": 5.0})
    assert world.created == 30_000
    (paused,), (resumed,) = kinds(events, ImportPaused), kinds(events, ImportResumed)
    assert (paused.reason, paused.retry_in) == ("Routera asks to slow down (429)", 5.0)
    assert resumed.paused_for == pytest.approx(5.0, abs=0.1)
    told = next(at for at in world.sent_at if at >= 1.0) + LATENCY
    assert not [at for at in world.sent_at if told < at < told + 5.0]
    assert len([at for at in world.sent_at if told + 5.0 <= at < told + 5.0 + LATENCY / 2]) == 1
    assert world.ended <= undisturbed(100) + 5.0 + 1.5
    assert [event.limit for event in kinds(events, LimiterChanged)].count(50) == 2  # up, and down


@pytest.mark.parametrize(("asked", "at_most"), [(None, 12), (1e6, 70.0)])
def test_a_429_is_obeyed_within_reason(virtually, asked, at_most):
    """Without Retry-After each pause is twice the last; with a long one a minute is the most."""
    decide = blackout(1.0, 10.0, lambda: 429)
    world, events = imported(virtually, 10_000, 100, decide, world={"retry_after": asked})
    assert world.created == 10_000
    assert len(kinds(events, ImportPaused)) == 1
    assert world.ended <= at_most + 10
    later = [at for at in world.sent_at if 1.1 <= at < 10.9]
    told = next(at for at in world.sent_at if at >= 1.0) + LATENCY
    waits = [b - a for a, b in itertools.pairwise([told - LATENCY, *later])]
    assert waits == pytest.approx([0.5 * 2**n + LATENCY for n in range(len(later))])
    assert len(later) == (4 if asked is None else 0)


def test_an_outage_that_lasts_too_long_is_given_up(virtually):
    """Whoever waits is told so at once, and that nothing was sent; and what to do."""
    world, events = imported(
        virtually, 3_000, 32, blackout(0.5, 1e9, lambda: 503), give_up_after=300.0
    )
    assert world.limiter.gave_up
    assert world.ended == pytest.approx(0.5 + 300, abs=1)
    told = {str(error) for error in world.given_up}
    assert told == {
        "Routera has not answered for 5 minutes: Routera answers 503; run the same command again"
    }
    assert all(isinstance(error, NotSentError) for error in world.given_up)
    assert len(world.given_up) == 32
    assert not kinds(events, ImportResumed)


@pytest.mark.parametrize(("answer", "at_most"), [(lambda: 503, 16), (lambda: None, 31)])
@pytest.mark.parametrize("give_up_after", [1800.0, None])
def test_a_server_that_never_answered_is_one_error_at_the_start(
    virtually, answer, at_most, give_up_after
):
    """A wrong host is told within seconds, and not after the half hour of an outage."""
    world, _ = imported(virtually, 3_000, 32, lambda *_: answer(), give_up_after=give_up_after)
    assert world.gave_up_at <= at_most
    assert world.created == 0
    assert len(world.given_up) == 32
    assert "not answered once" in str(world.given_up[0])
    assert "run the same command again" in str(world.given_up[0])


def test_an_outage_may_be_waited_out_for_ever(virtually):
    """With None nobody gives up."""
    decide = blackout(0.5, 100_000.0, lambda: 503)
    world, _ = imported(virtually, 300, 32, decide, give_up_after=None)
    assert (world.created, world.given_up) == (300, [])
    assert world.limiter.state().give_up_after is None


@settings(max_examples=30)
@given(rate=st.floats(0.3, 60), workers=st.integers(1, 40), seed=st.integers(0, 99))
def test_the_rate_is_kept_in_every_second(virtually, rate, workers, seed):
    """No second holds more attempts than asked for, repeats and probes among them."""
    rng = random.Random(seed)
    world, _ = imported(
        virtually,
        100,
        workers,
        lambda *_: rng.choice([201, 201, 503]),
        rate=rate,
        world={"rng": rng},
    )
    at = world.sent_at
    span, count = (1.0, int(rate)) if rate >= 1 else (1 / rate, 1)
    assert all(b - a > span - 1e-9 for a, b in zip(at, at[count:], strict=False))
    if rate >= 5 and workers > rate:
        assert len(at) / world.ended >= 0.5 * int(rate)
    assert world.limiter.state().rate == rate
    assert world.limiter._rate._bucket.count() <= max(rate, 1)  # nothing piles up


def test_the_rate_keeps_to_the_order(virtually):
    """Whoever comes first goes first, also past those who come when there is room again."""

    async def scenario():
        async with limited(rate=3) as limiter:

            async def come(number):
                await asyncio.sleep(number * 0.1)
                await limiter.enter()
                gone.append(number)

            await asyncio.gather(*(come(number) for number in range(40)))

    gone = []
    virtually(scenario())
    assert gone == list(range(40))


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
async def test_a_rate_that_is_none_is_refused(rate):
    """A rate lets something through."""
    with pytest.raises(ConfigurationError, match="rate"):
        Limiter(8, rate=rate)


async def test_a_rate_without_its_library_says_what_to_install(monkeypatch):
    """pyrate-limiter is needed only by whoever asks for a rate."""
    monkeypatch.setitem(sys.modules, "pyrate_limiter", None)
    Limiter(8)
    with pytest.raises(ConfigurationError, match=r"pip install"):
        Limiter(8, rate=5)


@pytest.mark.parametrize("wrong", [{"most": 0}, {"most": 8, "start": 0}])
async def test_a_limit_below_one_is_refused(wrong):
    """With none under way, nothing would ever go on."""
    with pytest.raises(ConfigurationError, match="at least one"):
        Limiter(**wrong)


def finished(status=201, *, elapsed=LATENCY, number=1, error=None, retry_after=None):
    """Return the end of an attempt."""
    return AttemptFinished(
        "POST",
        "/tickets",
        number,
        sent=True,
        status=status,
        error=error,
        elapsed=elapsed,
        retry_after=retry_after,
    )


@contextlib.asynccontextmanager
async def limited(most=100, **options):
    """Make a limiter, and hold it to leaving nothing behind."""
    limiter = Limiter(most, **options)
    yield limiter
    limiter.close()
    loop = asyncio.get_running_loop()
    assert not [timer for timer in loop._scheduled if not timer.cancelled()]
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_each_generation_is_cut_once(virtually):
    """What was under way when the limit was cut does not cut it again; what began since, does."""

    async def scenario():
        async with limited(start=64) as limiter:
            await asyncio.sleep(1)
            for _ in range(64):
                limiter.ended(finished(429, elapsed=0.5, retry_after=0.1))
            once = limiter.state().limit
            await asyncio.sleep(1)
            for _ in range(64):
                limiter.ended(finished(429, elapsed=0.5, retry_after=0.1))
            return once, limiter.state().limit

    assert virtually(scenario()) == (32, 16)


def test_the_limit_doubles_in_a_round_until_it_was_cut_and_then_adds_one(virtually):
    """Fast until the first trouble, TCP's way after it."""

    async def scenario():
        async with limited(start=8) as limiter:
            for _ in range(64):
                limiter.began()
            limits = []
            for _ in range(8):
                limiter.began()
                limiter.ended(finished())
            limits.append(limiter.state().limit)
            await asyncio.sleep(1)
            limiter.ended(finished(429, retry_after=0.0))
            limits.append(limiter.state().limit)
            for _ in range(8 + 9):
                limiter.began()
                limiter.ended(finished())
            limits.append(limiter.state().limit)
            return limits

    assert virtually(scenario()) == [16, 8, 9]


def test_an_unused_limit_does_not_grow(virtually):
    """Answers to the few that a slow source gives say nothing of more at once."""

    async def scenario():
        async with limited() as limiter:
            for _ in range(1000):
                limiter.began()
                limiter.ended(finished())
            return limiter.state().limit

    assert virtually(scenario()) == 8


@pytest.mark.parametrize("status", [200, 201, 400, 401, 409])
def test_a_decision_is_a_healthy_answer(virtually, status):
    """A server that refuses is there."""

    async def scenario():
        async with limited(start=4) as limiter:
            for _ in range(40):
                limiter.ended(finished(503))
                limiter.ended(finished(503))
                limiter.ended(finished(status))
            return limiter.state()

    assert virtually(scenario()).paused_for is None


def test_a_cancelled_attempt_says_nothing_of_the_server(virtually):
    """What its caller gave up is no failure, and is called as the session calls it."""

    async def scenario():
        async with limited() as limiter:
            for _ in range(1000):
                limiter.ended(finished(None, error=CANCELLED))
            return limiter.state()

    assert virtually(scenario()) == LimiterState(8, 0, None, 15.0, None, None)


def test_an_outage_is_told_to_whoever_watches(virtually):
    """The state says since when and why, and for how long at the most."""

    async def scenario():
        async with limited(hooks=[heard.append]) as limiter:
            limiter.ended(finished())
            await asyncio.sleep(0.1)
            for _ in range(10):
                await asyncio.sleep(0.1)
                limiter.ended(finished(None, error="ServerDisconnectedError", elapsed=0.1))
            await asyncio.sleep(10)
            return limiter.state()

    heard = []
    reason = "Routera is not answering (ServerDisconnectedError)"
    assert virtually(scenario()) == LimiterState(8, 0, pytest.approx(11.0), 1800.0, reason, None)
    assert heard == [ImportPaused(reason, retry_in=pytest.approx(0.54))]


def test_a_probe_has_less_time_but_enough(virtually):
    """Its time-out grows with the outage, up to the usual one, and suits a server that is slow."""

    async def scenario(usual):
        async with limited(timeout=8.0) as limiter, slot_of(limiter), slot_of(limiter):
            limiter.ended(finished(elapsed=usual))
            for _ in range(10):
                limiter.ended(finished(503))
            passes = []
            for _ in range(100):
                passes.append((await limiter.enter()).timeout)
                await asyncio.sleep(passes[-1])
            return passes

    quick, slow = virtually(scenario(0.02)), virtually(scenario(1.0))
    assert quick[0] == pytest.approx(0.52, abs=0.01)
    assert quick == sorted(quick)
    assert quick[-1] == slow[-1] == 8.0
    assert slow[0] == 4.0


def test_a_new_row_is_the_probe_when_no_call_waits(virtually):
    """When all under way have ended, the next row finds out; and only one does at a time."""

    async def scenario():
        async with limited() as limiter:
            for _ in range(10):
                limiter.ended(finished(503))

            async def row():
                async with slot_of(limiter):
                    passed = await limiter.enter()
                    begun.append(asyncio.get_running_loop().time())
                    assert passed.probe
                    await asyncio.sleep(0.3)
                    limiter.ended(finished(201 if len(begun) > 1 else 503, elapsed=0.3))

            first, second = (asyncio.create_task(row()) for _ in range(2))
            await asyncio.gather(first, second)

    begun = []
    virtually(scenario())
    assert begun == pytest.approx([2.0, 4.08], abs=0.1)


def test_a_promise_that_is_broken_wakes_the_next(virtually):
    """A new row that is refused before it is sent leaves the next to find out."""

    async def scenario():
        async with limited() as limiter:
            for _ in range(10):
                limiter.ended(finished(503))
            async with slot_of(limiter):
                pass
            async with slot_of(limiter):
                return (await limiter.enter()).timeout is not None

    assert virtually(scenario())


@pytest.mark.parametrize("early", [1.0, 0.0])
def test_a_probe_that_is_cancelled_leaves_its_turn_to_a_new_row(virtually, early):
    """Whether it is cancelled while it waits or in the moment of its turn, no wake-up is lost."""

    async def scenario():
        loop = asyncio.get_running_loop()
        async with limited() as limiter:
            loop.call_at(2.0 - early, lambda: waiting.cancel())  # noqa: PLW0108 (it is made later)
            for _ in range(10):
                limiter.ended(finished(503))
            waiting = asyncio.create_task(limiter.enter())
            async with slot_of(limiter):
                await asyncio.gather(waiting, return_exceptions=True)
                return loop.time()

    assert virtually(scenario()) == pytest.approx(2.0, abs=0.1)


class Restless:
    """A loop whose timers ring up to a millisecond early, and whose clock moves between two looks.

    So does uvloop's, which counts milliseconds.
    """

    def __init__(self, loop, rng):
        self._loop = loop
        self._rng = rng
        self._ahead = 0.0

    def time(self):
        """Tell the time, which has moved since it was told last."""
        self._ahead += self._rng.uniform(0, 5e-4)
        return self._loop.time() + self._ahead

    def call_at(self, when, *what):
        """Call a little early."""
        return self._loop.call_at(when - self._ahead - self._rng.uniform(0, 1e-3), *what)

    def create_future(self):
        """Make a future of the loop's own."""
        return self._loop.create_future()


def test_no_probe_is_lost_where_timers_ring_early(virtually):
    """A probe is sent every few seconds, also when it was not quite due as its timer rang."""

    async def scenario():
        async with limited(1, give_up_after=None) as limiter:
            limiter._loop = Restless(asyncio.get_running_loop(), random.Random(1))
            limiter.ended(finished())
            for _ in range(10):
                limiter.ended(finished(503))
            for _ in range(200):
                assert (await asyncio.wait_for(limiter.enter(), 60)).probe
                limiter.ended(finished(503))

    virtually(scenario())


def test_no_pause_is_passed_by_waiting_for_the_rate(virtually):
    """Who waits for the rate behind the open gate, and finds it closed then, waits there again."""

    async def scenario():
        async with limited(rate=1) as limiter:
            entering = [asyncio.create_task(limiter.enter()) for _ in range(4)]
            await asyncio.sleep(0.5)
            for _ in range(10):
                limiter.ended(finished(503))
            return [passed.probe for passed in await asyncio.gather(*entering)]

    assert virtually(scenario()) == [False, True, True, True]


def test_the_pause_after_a_429_begins_short_again(virtually):
    """What grew in one pause is forgotten in the next."""

    async def scenario():
        async with limited(hooks=[heard.append]) as limiter:
            for _ in range(4):
                await asyncio.sleep(10)
                limiter.ended(finished(429))
            await asyncio.sleep(10)
            limiter.ended(finished())
            await asyncio.sleep(10)
            limiter.ended(finished(429))

    heard = []
    virtually(scenario())
    assert [event.retry_in for event in kinds(heard, ImportPaused)] == [0.5, 0.5]


def test_stop_gives_no_more_slots_and_lets_what_is_under_way_go_on(virtually):
    """Ctrl-C: those who wait for a slot are told so, those who hold one may still send."""

    async def scenario():
        async with limited(1) as limiter:
            async with slot_of(limiter):
                waiting = asyncio.create_task(limiter.take())
                await asyncio.sleep(1)
                limiter.stop()
                with pytest.raises(NotSentError, match="stopped"):
                    await waiting
                assert await limiter.enter() == Pass()
            with pytest.raises(NotSentError, match="stopped"):
                async with slot_of(limiter):
                    pass

    virtually(scenario())


def test_close_lets_go_of_everything(virtually):
    """A client that outlives its import is not held up by it."""

    async def scenario():
        async with limited() as limiter:
            for _ in range(10):
                limiter.ended(finished(503))
            waiting = asyncio.create_task(limiter.enter())
            await asyncio.sleep(0)
            limiter.close()
            assert await waiting == Pass()
            for _ in range(10):
                limiter.ended(finished(503))
            return await limiter.enter()

    assert virtually(scenario()) == Pass()


def test_a_hook_that_raises_breaks_nothing(virtually, caplog):
    """What watches an import does not end it."""

    def broken(event):
        raise ZeroDivisionError

    async def scenario():
        limiter = Limiter(16, hooks=[broken])
        return await World(Server(blackout(0.1, 5, lambda: 503)), limiter).run(500, 16)

    assert virtually(scenario()).created == 500
    assert "ZeroDivisionError" in caplog.text
    assert caplog.text.count("a hook raised") == 1


def test_an_open_gate_costs_next_to_nothing(virtually):
    """While nothing is wrong, to enter makes no future and is the same value each time."""

    async def scenario():
        async with limited() as limiter:
            with pytest.raises(StopIteration) as ended:
                limiter.enter().send(None)
            return ended.value.value is await limiter.enter()

    assert virtually(scenario())


class Watched(Limiter):
    """Notes how many slots were held, and how many might be, when another was given."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.granted = []

    def _grant(self, queue, leave):
        granted = super()._grant(queue, leave)
        if granted and queue is self._rows:
            self.granted.append((self._held, self._window.limit))
        return granted


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    most=st.integers(1, 12),
    start=st.integers(1, 12),
    calls=st.integers(1, 60),
    cancelled=st.sets(st.integers(0, 59), max_size=30),
)
def test_whatever_happens_no_slot_is_lost(virtually, seed, most, start, calls, cancelled):
    """Never above the limit when a slot is given; nothing leaks; everyone comes to an end.

    Faults, 429s and silences come and go, and calls are cancelled at any moment: at the gate, for
    a slot, in the very moment of being let through. One who is forgotten would wait for ever, and
    the virtual clock calls that a deadlock.
    """
    rng = random.Random(seed)
    weather = [rng.choice([[201], [201, 503], [503], [429], [None, 503]]) for _ in range(6)]

    def decide(_, now):
        return rng.choice(weather[int(now)]) if now < len(weather) else 201

    async def scenario():
        limiter = Watched(most, start=start, timeout=2.0, give_up_after=None, unreachable_after=1e9)
        world = World(Server(decide), limiter, timeout=2.0, rng=rng, retry_after=0.7)

        async def call():
            await asyncio.sleep(rng.uniform(0, 2))
            async with slot_of(limiter):
                await world.call()

        tasks = [asyncio.create_task(call()) for _ in range(calls)]
        loop = asyncio.get_running_loop()
        for number, task in enumerate(tasks):
            if number in cancelled:
                loop.call_at(rng.choice([rng.uniform(0, 8), 1.0, 2.0]), task.cancel)
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError), result
        assert limiter.state().in_flight == 0
        assert all(held < limit <= most for held, limit in limiter.granted)
        limiter.close()
        assert not limiter._rows
        assert not limiter._gate
        assert world.server.under_way == 0

    virtually(scenario())


@pytest.mark.parametrize("queue", ["slot", "enter"])
@pytest.mark.parametrize("granted_first", [True, False])
def test_a_cancelled_wait_takes_nothing_along(virtually, queue, granted_first):
    """One who is cancelled while waiting, or in the moment of its turn, frees its place."""

    async def scenario():
        async with limited(1) as limiter:
            await limiter.take()
            if queue == "enter":
                for _ in range(10):
                    limiter.ended(finished(503))

            async def wait():
                if queue == "enter":
                    await limiter.enter()
                else:
                    async with slot_of(limiter):
                        await asyncio.sleep(1e6)

            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)
            if not granted_first:
                waiting.cancel()
                await asyncio.sleep(0)
            if queue == "enter":
                limiter.ended(finished(201))
            limiter.give_back()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            async with slot_of(limiter):
                await limiter.enter()
                return limiter.state().in_flight, asyncio.get_running_loop().time()

    assert virtually(scenario()) == (1, 0.0)
