"""The retry budget: what keeps a client from making an outage worse."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routera_async import ConfigurationError, RetryBudget
from routera_async._budget import Bucket, Lane


def test_a_token_is_there_at_once_until_they_are_used_up(virtually):
    """`capacity` retries go at once; the next waits for time to bring a token."""

    async def scenario():
        bucket = Bucket(RetryBudget(capacity=3, per_second=0.5))
        at = []
        for _ in range(5):
            await bucket.take()
            at.append(asyncio.get_running_loop().time())
        return at

    assert virtually(scenario()) == pytest.approx([0, 0, 0, 2, 4])


def test_the_oldest_goes_first(virtually):
    """Tokens go to those who wait in the order in which they came."""

    async def scenario():
        bucket, served = Bucket(RetryBudget(capacity=1)), []
        await bucket.take()

        async def wait(name):
            await bucket.take()
            served.append(name)

        async with asyncio.TaskGroup() as group:
            for name in range(20):
                group.create_task(wait(name))
        return served

    assert virtually(scenario()) == list(range(20))


def test_a_token_given_back_wakes_the_next(virtually):
    """A retry that succeeds lets the next go at once, long before time would."""

    async def scenario():
        bucket = Bucket(RetryBudget(capacity=1, per_second=0.001))
        for _ in range(100):
            await bucket.take()
            bucket.give(1.0)
        return asyncio.get_running_loop().time()

    assert virtually(scenario()) == 0.0


def test_successes_earn_tokens_up_to_the_capacity(virtually):
    """Ten calls that succeed at once earn one retry; what is full stays so."""

    async def scenario():
        bucket = Bucket(RetryBudget(capacity=2, per_second=0.001, per_success=0.1))
        for _ in range(50):
            bucket.succeeded()
        full = bucket.tokens
        await bucket.take()
        await bucket.take()
        for _ in range(10):
            bucket.succeeded()
        return full, bucket.tokens

    assert virtually(scenario()) == pytest.approx((2.0, 1.0))


@pytest.mark.parametrize("granted_first", [True, False])
def test_a_cancelled_wait_loses_no_token(virtually, granted_first):
    """One who is cancelled while waiting, or in the moment of the grant, takes no token along."""

    async def scenario():
        bucket = Bucket(RetryBudget(capacity=1, per_second=0.001))
        await bucket.take()
        waiting = asyncio.create_task(bucket.take())
        await asyncio.sleep(0)
        if granted_first:
            bucket.give(1.0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        if not granted_first:
            bucket.give(1.0)
        await bucket.take()  # would be a deadlock of a thousand seconds
        return asyncio.get_running_loop().time()

    assert virtually(scenario()) == pytest.approx(0.0)


@given(
    capacity=st.integers(1, 20),
    per_second=st.floats(0.1, 10),
    gaps=st.lists(st.floats(0, 5), max_size=60),
)
def test_no_more_is_granted_than_was_earned(virtually, capacity, per_second, gaps):
    """Over any time, the retries are at most the capacity and what time has brought."""

    async def scenario():
        loop = asyncio.get_running_loop()
        bucket = Bucket(RetryBudget(capacity=capacity, per_second=per_second))
        for granted, gap in enumerate(gaps, start=1):
            await asyncio.sleep(gap)
            await bucket.take()
            assert granted <= capacity + loop.time() * per_second + 1e-6

    virtually(scenario())


def test_a_lane_has_the_tokens_of_each_budget(virtually):
    """What is taken and left is of one budget; of one that was never used, all is left."""

    async def scenario():
        lane, used, other = Lane(), RetryBudget(capacity=2), RetryBudget(capacity=3)
        assert lane.left(used) == 2
        assert not lane
        await lane[used].take()
        return lane.left(used), lane.left(other), lane.waiting

    assert virtually(scenario()) == (1, 3, 0)


@pytest.mark.parametrize(
    "setting", [{"capacity": 0}, {"per_second": 0}, {"per_second": -1}, {"per_success": -0.1}]
)
def test_a_budget_that_cannot_work_is_refused(setting):
    """A budget under which a waiting retry would wait for ever is no budget."""
    with pytest.raises(ConfigurationError, match=next(iter(setting))):
        RetryBudget(**setting)
