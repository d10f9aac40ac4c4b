"""The policy: what is sent again, how often, and how long it waits; all on a virtual clock."""

import asyncio
import random

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from routera_async._retrying import retrying
from routera_async.errors import (
    ConfigurationError,
    NotSentError,
    OutcomeUnknown,
    Overloaded,
    ResponseError,
    ValidationError,
    from_response,
)
from routera_async.retries import Repeat, RetryPolicy

SAFE, UNKEYED, RISKY = Repeat

NEVER = [
    *(("status", status) for status in (302, 400, 401, 403, 404, 405, 409, 413, 422, 501, 505)),
    *(
        ("raised", kind)
        for kind in (ConfigurationError, ValidationError, Overloaded, ResponseError)
    ),
    *(
        ("raised", kind)
        for kind in (asyncio.CancelledError, KeyboardInterrupt, ValueError, OSError)
    ),
]

patience = st.floats(0, 1000)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 8),
    wait_initial=patience,
    wait_max=patience,
    retry_after_max=patience,
)


def answered(status, retry_after=None):
    """Return the error of an answer that asks for this many seconds."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return from_response(status, headers, b"", now=None)


def error_of(kind, what):
    """Return the error that a row of NEVER names."""
    return answered(what) if kind == "status" else what("no")


transient = st.builds(
    answered, st.sampled_from([429, 500, 502, 503, 504]), st.none() | st.integers(0, 10_000)
) | st.sampled_from([NotSentError, OutcomeUnknown]).map(lambda kind: kind("lost"))


@attrs.define
class Spent:
    """What a call took: its attempts, its waits in seconds, when it ended, and how."""

    attempts: int = 0
    waits: list[float] = attrs.field(factory=list)
    ended: float = 0.0
    error: BaseException | None = None


def spend(virtually, policy, errors, *, deadline=None, repeat=Repeat.SAFE, uniform=None):
    """Make a call that meets these errors and then succeeds."""
    spent, pending = Spent(), list(errors)

    async def attempt():
        spent.attempts += 1
        if pending:
            raise pending.pop(0)

    async def call():
        clock = asyncio.get_running_loop().time
        loop = retrying(
            policy,
            repeat,
            deadline=deadline,
            clock=clock,
            uniform=uniform or random.Random(0).uniform,
            sleep=asyncio.sleep,
            before_sleep=lambda state: spent.waits.append(state.upcoming_sleep),
        )
        try:
            await loop(attempt)
        except BaseException as error:  # noqa: BLE001 (a cancellation is among those tried)
            spent.error = error
        spent.ended = clock()

    virtually(call())
    return spent


@pytest.mark.parametrize("repeat", Repeat)
@pytest.mark.parametrize(("kind", "what"), NEVER)
def test_what_is_never_sent_again(virtually, kind, what, repeat):
    """A refusal, a duplicate, a setting and a cancellation end the call at once."""
    error = error_of(kind, what)
    spent = spend(virtually, RetryPolicy(), [error], repeat=repeat)
    assert (spent.attempts, spent.waits) == (1, [])
    assert spent.error is error


@pytest.mark.parametrize(
    ("error", "repeat", "resend_unkeyed", "again"),
    [
        *((answered(status), SAFE, False, True) for status in (429, 500, 502, 503, 504)),
        *((answered(status), UNKEYED, True, True) for status in (429, 500, 502, 503, 504)),
        *((answered(status), UNKEYED, False, False) for status in (500, 502, 503, 504)),
        (answered(429), UNKEYED, False, True),
        (answered(408), SAFE, False, True),
        (answered(408), UNKEYED, True, False),
        (NotSentError("refused"), UNKEYED, False, True),
        (OutcomeUnknown("lost"), SAFE, False, True),
        (OutcomeUnknown("lost"), UNKEYED, True, False),
        (OutcomeUnknown("lost"), UNKEYED, False, False),
        *((answered(status), RISKY, True, False) for status in (408, 500, 502, 503, 504)),
        (OutcomeUnknown("lost"), RISKY, True, False),
        (answered(429), RISKY, False, True),
        (NotSentError("refused"), RISKY, False, True),
    ],
)
def test_what_is_sent_again(virtually, error, repeat, resend_unkeyed, again):
    """What was not done is sent again; what may have been done, as its key and policy allow."""
    policy = RetryPolicy(resend_unkeyed=resend_unkeyed)
    spent = spend(virtually, policy, [error], repeat=repeat)
    assert spent.attempts == (2 if again else 1)
    assert spent.error is (None if again else error)


@given(policy=policies, errors=st.lists(transient, max_size=10), seed=st.randoms())
@example(policy=RetryPolicy(), errors=[answered(500)] * 10, seed=random.Random(1))
def test_attempts_and_waits_are_bounded(virtually, policy, errors, seed):
    """A call is sent at most max_attempts times, and each wait is within its bounds."""
    spent = spend(virtually, policy, errors, uniform=seed.uniform)
    assert spent.attempts == min(len(errors) + 1, policy.max_attempts)
    assert len(spent.waits) == spent.attempts - 1
    assert spent.error is (errors[spent.attempts - 1] if spent.attempts <= len(errors) else None)
    for number, (error, wait) in enumerate(zip(errors, spent.waits, strict=False)):
        asked = getattr(error, "retry_after", None)
        if asked is None:
            assert 0 <= wait <= min(policy.wait_max, policy.wait_initial * 2**number)
        else:
            least = min(asked, policy.retry_after_max)
            assert least <= wait <= least + policy.wait_initial
    assert spent.ended == pytest.approx(sum(spent.waits))


@given(
    policy=policies,
    errors=st.lists(transient, max_size=10),
    deadline=st.floats(0, 500),
    seed=st.randoms(),
)
def test_no_wait_passes_the_deadline(virtually, policy, errors, deadline, seed):
    """A call that could only go on after its deadline ends before it, with what it met."""
    spent = spend(virtually, policy, errors, deadline=deadline, uniform=seed.uniform)
    assert spent.ended < deadline or spent.attempts == 1
    assert spent.error is (errors[spent.attempts - 1] if spent.attempts <= len(errors) else None)


def test_the_deadline_alone_stops(virtually):
    """A wait that ends before the deadline is waited, and the first that does not is not."""
    policy = RetryPolicy(wait_initial=1)
    spent = spend(
        virtually, policy, [answered(500)] * 5, deadline=7.5, uniform=lambda _, most: most
    )
    assert (spent.attempts, spent.ended) == (4, 7.0)
    assert spent.waits == [1, 2, 4]


def test_the_jitter_is_full(virtually):
    """A wait is drawn from nothing up to a ceiling that doubles until wait_max."""
    policy = RetryPolicy(max_attempts=9)
    failures = [answered(500)] * 8
    most = spend(virtually, policy, failures, uniform=lambda _, most: most)
    assert most.waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0])
    least = spend(virtually, policy, failures, uniform=lambda least, _: least)
    assert least.waits == [0.0] * 8


@pytest.mark.parametrize("status", [429, 500, 503])
def test_retry_after_is_waited_out(virtually, status):
    """What the server asks for is waited out, plus a little so that not all come back at once."""
    failures = [answered(status, 7)]
    least = spend(virtually, RetryPolicy(), failures, uniform=lambda least, _: least)
    most = spend(virtually, RetryPolicy(), failures, uniform=lambda _, most: most)
    assert least.waits == [7.0]
    assert most.waits == pytest.approx([7.2])


def test_retry_after_is_capped(virtually):
    """A server cannot put a call to sleep for longer than retry_after_max."""
    policy = RetryPolicy(retry_after_max=60)
    spent = spend(virtually, policy, [answered(429, 86_400)], uniform=lambda least, _: least)
    assert spent.waits == [60.0]


def test_many_attempts_do_not_overflow(virtually):
    """The ceiling of the two-thousandth wait is still wait_max."""
    policy = RetryPolicy(max_attempts=2001)
    spent = spend(virtually, policy, [NotSentError("no")] * 2000, uniform=lambda _, most: most)
    assert spent.waits[-1] == 20.0


def test_concurrent_calls_do_not_mix(virtually):
    """Calls of one policy, made at once, each count their own attempts and get their own result."""
    policy = RetryPolicy(max_attempts=10)

    async def call(number):
        met = 0

        async def attempt():
            nonlocal met
            met += 1
            await asyncio.sleep(0)
            if met <= number % 7:
                raise NotSentError("no")
            return number, met

        return await retrying(
            policy,
            Repeat.SAFE,
            deadline=None,
            clock=asyncio.get_running_loop().time,
            uniform=random.Random(number).uniform,
            sleep=asyncio.sleep,
            before_sleep=lambda _: None,
        )(attempt)

    async def all_of_them():
        return await asyncio.gather(*map(call, range(100)))

    assert virtually(all_of_them()) == [(number, number % 7 + 1) for number in range(100)]


@pytest.mark.parametrize(
    "settings",
    [
        {"max_attempts": 0},
        {"wait_initial": -0.1},
        {"wait_max": float("nan")},
        {"retry_after_max": -1},
    ],
)
def test_settings_that_cannot_work(settings):
    """A policy that could not work names the setting."""
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        RetryPolicy(**settings)


def test_a_policy_is_a_value():
    """Two policies with the same settings are the same, and cannot be changed."""
    assert RetryPolicy() == RetryPolicy(max_attempts=5)
    assert hash(RetryPolicy()) == hash(RetryPolicy())
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RetryPolicy().max_attempts = 1
