"""tenacity's loop, which makes a call's other attempts once the first has failed.

It is built anew for each call that needs it: an `AsyncRetrying` shared by concurrent calls mixes
their state and can return None for work that was never done (tenacity issue 93). Waits and stops
run on the clock they are given. tenacity itself is loaded with this file, by the first call that
fails.
"""

from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from tenacity.stop import stop_after_attempt, stop_base
from tenacity.wait import wait_base, wait_exponential

from .errors import APIStatusError
from .retries import Repeat, RetryPolicy


def retrying(
    policy: RetryPolicy,
    repeat: Repeat,
    *,
    deadline: float | None,
    clock: Callable[[], float],
    uniform: Callable[[float, float], float],
    sleep: Callable[[float], Awaitable[None]],
    before_sleep: Callable[[RetryCallState], None],
    is_over: Callable[[], bool] = lambda: False,
) -> AsyncRetrying:
    """Return tenacity's loop for one call; never share it.

    `deadline` is a time of `clock`, which no wait may pass; `uniform` draws the jitter; `is_over`
    tells that the call is not to be sent again, whatever it has met.
    """
    return AsyncRetrying(
        stop=stop_after_attempt(policy.max_attempts) | _OutOfTime(deadline, clock, is_over),
        wait=_FullJitter(policy, uniform),
        retry=retry_if_exception(lambda e: policy.sends_again(e, repeat)),
        sleep=sleep,
        before_sleep=before_sleep,
        reraise=True,
    )


class _OutOfTime(stop_base):
    """Stop rather than sleep past a deadline, or when the call is over."""

    def __init__(
        self, deadline: float | None, clock: Callable[[], float], is_over: Callable[[], bool]
    ) -> None:
        self._deadline = deadline
        self._clock = clock
        self._is_over = is_over

    def __call__(self, retry_state: RetryCallState) -> bool:
        if self._deadline is None or self._is_over():
            return self._is_over()
        return self._clock() + retry_state.upcoming_sleep >= self._deadline


class _FullJitter(wait_base):
    """Wait what the server asked for, else anything up to the exponential ceiling."""

    def __init__(self, policy: RetryPolicy, uniform: Callable[[float, float], float]) -> None:
        self._policy = policy
        self._uniform = uniform
        self._ceiling = wait_exponential(multiplier=policy.wait_initial, max=policy.wait_max)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        if isinstance(error, APIStatusError) and error.retry_after is not None:
            asked = min(error.retry_after, self._policy.retry_after_max)
            return asked + self._uniform(0.0, self._policy.wait_initial)  # not all at once
        return self._uniform(0.0, float(self._ceiling(retry_state)))
