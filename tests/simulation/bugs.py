"""The bank of seeded bugs: each must be caught, within 100 seeds or by a named test.

    python -m tests.simulation.bugs

A bug is a small change to the real client. A simulation that finds nothing proves something only
when it finds these.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import aiohttp
import attrs

from routera_async import (
    DuplicateError,
    NotSentError,
    ResponseError,
    RouteraError,
    _retrying,
    auth,
    retries,
)
from routera_async import _budget as budget
from routera_async import _evidence as evidence
from routera_async import _pool as pool
from routera_async import _telling as telling

from .scenario import simulate

SEEDS = 100
"""Within so many each must be caught."""

VARIABLE = "SEEDED_BUG"
"""Names the bug that `seeded.py` puts in for a named test."""


@attrs.frozen
class Bug:
    """A bug: how it is put in, and the test that catches it where the simulation does not."""

    name: str
    plant: Callable[[], contextlib.AbstractContextManager[Any]]
    test: str | None = None


def _also(kinds: type[BaseException]) -> Callable[[], Any]:
    """Return the bug that these, too, are sent again."""

    def sends(self: Any, error: BaseException, repeat: retries.Repeat) -> bool:
        return isinstance(error, kinds) or real(self, error, repeat)

    real = retries.RetryPolicy.sends_again
    return lambda: patch.object(retries.RetryPolicy, "sends_again", sends)


def _resend_unkeyed() -> Any:
    real = retries.RetryPolicy.sends_again

    def sends(self: Any, error: BaseException, _: retries.Repeat) -> bool:
        return real(self, error, retries.Repeat.SAFE)

    return patch.object(retries.RetryPolicy, "sends_again", sends)


def _trust_the_exception() -> Any:
    real = evidence.Evidence.failed

    def failed(self: Any, error: Exception) -> None:
        real(self, error)
        if isinstance(error, aiohttp.ClientResponseError) and self.status is None:
            self.status = error.status

    return patch.object(evidence.Evidence, "failed", failed)


def _judge_by_type() -> Any:
    real = evidence.Evidence.verdict

    def verdict(self: Any) -> RouteraError | None:
        if self.status is None and str(self.error).startswith("ServerDisconnected"):
            self.body.times = 0
        return real(self)

    return patch.object(evidence.Evidence, "verdict", verdict)


def _forget_doubt() -> Any:
    def settled(self: Any, error: RouteraError, elapsed: float, _: Any) -> RouteraError:
        error.attempts, error.elapsed = tuple(self.attempts), elapsed
        return error

    return patch.object(evidence.Call, "settled", settled)


def _forget_ours() -> Any:
    real = evidence.Call.settled

    def settled(self: Any, error: RouteraError, *args: Any, **kwargs: Any) -> RouteraError:
        error = real(self, error, *args, **kwargs)
        if isinstance(error, DuplicateError):
            error.ours = False
        return error

    return patch.object(evidence.Call, "settled", settled)


def _forget_what_was_cut_off() -> Any:
    return patch.object(evidence.Call, "cut_off", property(lambda _: None, lambda *_: None))


def _forget_what_was_refused() -> Any:
    return patch.object(evidence.Call, "refused", property(lambda _: None, lambda *_: None))


def _never_tell_of_a_cancelled_end() -> Any:
    real = telling.Telling.finished

    def finished(self: Any, call: Any, outcome: str, error: str | None, elapsed: float) -> None:
        if error != "cancelled":
            real(self, call, outcome, error, elapsed)

    return patch.object(telling.Telling, "finished", finished)


def _drop_before_draining() -> Any:
    async def close(self: Any, stop: Callable[[], Any]) -> None:
        self._closed = True
        dropped = self._pools.pop(asyncio.get_running_loop(), None)
        if dropped is not None:
            await dropped.drain()
            await stop()
            await dropped.close()

    return patch.object(pool.Pools, "close", close)


def _follow_redirects() -> Any:
    real = aiohttp.ClientSession._request

    async def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await real(self, *args, **kwargs | {"allow_redirects": True})

    return patch.object(aiohttp.ClientSession, "_request", request)


def _share_retrying() -> Any:
    real, shared = _retrying.retrying, {}

    def retrying(policy: Any, repeat: Any, **kwargs: Any) -> Any:
        def told(state: Any) -> Any:
            kwargs["before_sleep"](state)
            return asyncio.sleep(0)

        key = asyncio.get_running_loop()
        return shared.setdefault(key, real(policy, repeat, **kwargs | {"before_sleep": told}))

    return patch.object(_retrying, "retrying", retrying)


def _stampede() -> Any:
    async def token(self: Any, *, refused: str | None = None) -> str:
        if self._token is None or self._token == refused:
            try:
                self._token = auth.checked_token((await self._fetch())[0])
            except OSError as error:
                raise NotSentError("no token") from error
        return self._token

    return patch.object(auth._Renewed, "token", token)


def _never_refill() -> Any:
    return patch.multiple(
        budget.Bucket, give=lambda *_: None, succeeded=lambda *_: None, _refill=lambda *_: None
    )


def _leak_places() -> Any:
    real = pool.Pool.leave

    def leave(self: Any) -> None:
        task = asyncio.current_task()
        if not (task and task.cancelling()):
            real(self)

    return patch.object(pool.Pool, "leave", leave)


def _clock_before_admission() -> Any:
    """Have the wait for a place use up an attempt's time."""
    real = pool.Pool.queue

    async def queue(self: Any, **given: Any) -> None:
        try:
            async with asyncio.timeout(1.0):
                await real(self, **given)
        except TimeoutError:
            raise NotSentError("timed out in the queue") from None

    return patch.object(pool.Pool, "queue", queue)


BUGS = [
    Bug("retry on 409", _also(DuplicateError)),
    Bug("trust ClientResponseError.status", _trust_the_exception),
    Bug("resend an unkeyed create after a lost answer", _resend_unkeyed),
    Bug(
        "count the wait for the pool in the time-out",
        _clock_before_admission,
        test="tests/test_session.py::test_an_attempts_time_is_its_own",
    ),
    Bug("follow redirects", _follow_redirects),
    Bug("share one AsyncRetrying", _share_retrying),
    Bug("a stampede for a new token", _stampede),
    Bug("swallow a cancellation", _also(asyncio.CancelledError)),
    Bug("send again after a garbled 201", _also(ResponseError)),
    Bug("a budget that never refills", _never_refill),
    Bug("take a disconnect for not sent", _judge_by_type),
    Bug("forget an earlier attempt that may have been done", _forget_doubt),
    Bug("call our own record somebody else's", _forget_ours),
    Bug(
        "forget the status when the deadline cuts its body off",
        _forget_what_was_cut_off,
        test="tests/test_evidence.py::test_a_status_decides_though_the_deadline_cuts_its_body_off",
    ),
    Bug("keep a place when cancelled", _leak_places),
    Bug("tell no hook that a cancelled call has ended", _never_tell_of_a_cancelled_end),
    Bug("send a refused token again after a failed fetch", _forget_what_was_refused),
    Bug(
        "drop the pool before it is drained",
        _drop_before_draining,
        test="tests/reliability/test_tokens.py::test_closing_waits_for_another_token",
    ),
]


def caught(bug: Bug) -> str | None:
    """Return what catches a bug first, or None when nothing does."""
    with bug.plant():
        for seed in range(SEEDS):
            if violations := simulate(seed).violations:
                return f"seed {seed}: {violations[0].invariant}"
    return caught_by_test(bug.name, bug.test) if bug.test else None


def caught_by_test(name: str, test: str) -> str | None:
    """Return a test if it fails with a bug planted."""
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "tests.simulation.seeded", test],
        env=os.environ | {VARIABLE: name},
        capture_output=True,
        check=False,
    )
    return test if ended.returncode == 1 else None


def main() -> int:
    """Print what catches each bug; return 1 when one is not caught."""
    found = {bug.name: caught(bug) for bug in BUGS}
    for name, by in found.items():
        print(f"| {name} | {by or 'NOT CAUGHT'} |")
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
