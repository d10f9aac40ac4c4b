"""Time limits: as `asyncio.timeout`, with one timer of the loop for all of them."""

import asyncio
import random
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routera_async._limits import Limits

SECONDS = st.integers(min_value=0, max_value=12)


async def held(limit, seconds):
    """Return how it ended and when, of what sleeps for so long within a limit."""
    loop = asyncio.get_running_loop()
    try:
        with limit:
            await asyncio.sleep(seconds)
        return "kept", loop.time()
    except TimeoutError:
        return "ended", loop.time()


def test_a_limit_ends_what_it_holds_on_time(virtually):
    """What would last longer is cancelled at that time, and raises `TimeoutError`."""

    async def scenario():
        limits = Limits(asyncio.get_running_loop())
        return [await held(limits.until(5.0), 60.0), await held(limits.until(7.0), 1.0)]

    assert virtually(scenario()) == [("ended", 5.0), ("kept", 6.0)]


def test_what_has_no_limit_is_never_ended(virtually):
    """None stands for no limit, within another or not."""

    async def scenario():
        return await held(Limits(asyncio.get_running_loop()).until(None), 1e5)

    assert virtually(scenario()) == ("kept", 1e5)


def test_a_limit_that_has_passed_ends_the_first_wait(virtually):
    """It need not lie ahead: what was late when it began is ended as soon as it waits."""

    async def scenario():
        limits = Limits(asyncio.get_running_loop())
        await asyncio.sleep(10)
        return await held(limits.until(3.0), 1.0)

    assert virtually(scenario()) == ("ended", 10.0)


@given(st.lists(st.tuples(SECONDS, SECONDS.map(lambda whole: whole + 0.5)), max_size=300))
def test_many_at_once_each_end_on_their_own_time(virtually, plan):
    """Whatever order they begin and end in, each has its own end, or is kept."""

    async def scenario():
        limits = Limits(asyncio.get_running_loop())
        return await asyncio.gather(*(held(limits.until(end), needed) for end, needed in plan))

    assert virtually(scenario()) == [
        ("ended", end) if end < needed else ("kept", needed) for end, needed in plan
    ]


class Nested:
    """Blocks within each other's limits, and what each has seen.

    `limits` are each block's end and how long it waits afterwards; the innermost waits `sleeps`.
    """

    def __init__(self, until, limits, sleeps):
        self.seen = []
        self._until = until
        self._limits = limits
        self._sleeps = sleeps

    async def run(self, cancelled):
        """Run them, cancelled from without at that time, and return what was seen."""
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(self._block(0))
        if cancelled is not None:
            loop.call_at(cancelled + 0.75, task.cancel)
        await asyncio.wait([task])
        return self.seen, task.cancelled(), loop.time()

    async def _block(self, depth):
        if depth == len(self._limits):
            for seconds in self._sleeps:
                await asyncio.sleep(seconds)
            return
        end, afterwards = self._limits[depth]
        try:
            async with self._until(end + (depth + 1) / 8):  # no two at one time
                await self._block(depth + 1)
        except (TimeoutError, asyncio.CancelledError) as error:
            self.seen.append((depth, type(error), asyncio.get_running_loop().time()))
            if not isinstance(error, TimeoutError):
                raise
        await asyncio.sleep(afterwards)


@given(
    st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=4),
    st.lists(SECONDS, min_size=1, max_size=4),
    SECONDS | st.none(),
)
def test_nested_limits_and_cancellations_are_told_apart_as_asyncio_does(
    virtually, limits, sleeps, cancelled
):
    """Each block sees what it would see with `asyncio.timeout_at`, whoever ends it and when."""

    async def ours():
        of_loop = Limits(asyncio.get_running_loop())

        @asynccontextmanager
        async def until(when):
            with of_loop.until(when):
                yield

        return await Nested(until, limits, sleeps).run(cancelled)

    theirs = Nested(asyncio.timeout_at, limits, sleeps).run(cancelled)
    assert virtually(ours()) == virtually(theirs)


def test_a_cancellation_beside_it_stays_one(virtually):
    """Who is cancelled by somebody else at the very end of a limit is cancelled, not timed out."""

    async def scenario():
        limits = Limits(asyncio.get_running_loop())
        task = asyncio.ensure_future(held(limits.until(5.0), 60.0))
        asyncio.get_running_loop().call_at(5.0, task.cancel)
        await asyncio.wait([task])
        return task.cancelled()

    assert virtually(scenario())


@pytest.mark.parametrize(("by_others", "alone"), [(None, True), (5.0, False), (2.0, False)])
def test_what_cancels_is_told_inside_of_it(virtually, by_others, alone):
    """Whoever is cancelled can ask whether the limit does it, and nobody else."""

    async def block(limits):
        with limits.until(5.0) as limit:
            assert not limit.cancels
            try:
                with limits.until(5.0):
                    await asyncio.sleep(60.0)
            finally:
                assert limit.cancels is alone

    async def scenario():
        task = asyncio.ensure_future(block(Limits(asyncio.get_running_loop())))
        if by_others is not None:
            asyncio.get_running_loop().call_at(by_others, task.cancel)
        await asyncio.wait([task])
        return None if task.cancelled() else type(task.exception())

    assert virtually(scenario()) is (TimeoutError if alone else None)


def test_another_error_is_raised_as_it_is(virtually):
    """A limit changes nothing but its own cancellation."""

    async def scenario():
        with Limits(asyncio.get_running_loop()).until(5.0):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        virtually(scenario())


def test_limits_that_are_kept_set_no_timer_of_their_own(virtually):
    """However many are kept, the loop is asked for about one timer in a time-out."""

    async def scenario():
        loop = asyncio.get_running_loop()
        limits, asked = Limits(loop), []
        original = loop.call_at
        loop.call_at = lambda *how, **more: asked.append(1) or original(*how, **more)
        for _ in range(1000):
            with limits.until(loop.time() + 30):
                pass
        return len(asked)

    assert virtually(scenario()) == 1


@pytest.mark.parametrize("seed", range(30))
def test_limits_end_on_time_while_others_are_forgotten(virtually, seed):
    """Most are kept early, so that the heap is made anew again and again."""
    rng = random.Random(seed)
    plan = [(rng.randint(1, 900), rng.choice([0.5, 1_000.5])) for _ in range(400)]

    async def scenario():
        limits = Limits(asyncio.get_running_loop())
        return await asyncio.gather(*(held(limits.until(end), needed) for end, needed in plan))

    assert virtually(scenario()) == [
        ("ended", end) if end < needed else ("kept", needed) for end, needed in plan
    ]


def test_limits_that_have_ended_are_not_counted(virtually):
    """However many ended, those that are kept afterwards are forgotten."""

    async def scenario():
        loop = asyncio.get_running_loop()
        limits = Limits(loop)
        await asyncio.gather(*(held(limits.until(1.0), 9.0) for _ in range(1000)))
        for _ in range(1000):
            with limits.until(loop.time() + 1e6):
                pass
        return len(limits)

    assert virtually(scenario()) < 200


def test_nothing_is_left_behind(virtually):
    """Neither a timer once it is closed, unless a limit is open, nor the context of who set it."""
    seen = ContextVar("seen", default=None)

    async def scenario():
        loop = asyncio.get_running_loop()
        limits, rung = Limits(loop), []
        limits._ring = lambda ring=limits._ring: (rung.append(seen.get()), ring())
        seen.set("mine")
        with limits.until(5.0):
            limits.close()
            await asyncio.sleep(1.0)
        outlasted = await held(limits.until(3.0), 9.0)
        with limits.until(9.0):
            pass
        limits.close()
        await asyncio.sleep(60.0)
        return outlasted, rung

    assert virtually(scenario()) == (("ended", 3.0), [None])


def test_limits_that_are_kept_are_forgotten(virtually):
    """A long time-out and many calls do not add up to memory."""

    async def scenario():
        loop = asyncio.get_running_loop()
        limits = Limits(loop)
        with limits.until(loop.time() + 1e9):
            for _ in range(1000):
                with limits.until(loop.time() + 1e6):
                    pass
        return len(limits)

    assert virtually(scenario()) < 200
