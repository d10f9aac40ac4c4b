"""An event loop whose clock is virtual and whose order is drawn from a seed.

Built on asyncio's own `BaseEventLoop` (Python 3.11 to 3.13), of which it overrides the private
`_run_once`, `_process_events` and `_write_to_self`: pinned here, for tests only.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

RESTLESS = 0.5
"""How often a loop's timers ring early."""

SHUFFLED = 0.3
"""How often the callbacks that are ready at once are run in another order than they came."""


EARLY = 1e-3
"""Seconds by which a timer may ring early, as on uvloop, which counts milliseconds."""

GLANCE = 2e-5
"""Seconds that may pass between two looks at the clock."""

NO_TIME = 5 * EARLY
"""Seconds that are no time at all, where timers ring early and looks take time."""


class Deadlock(RuntimeError):  # noqa: N818 (the name of what it is)
    """Nothing is scheduled, and what runs still waits."""


class Endless(RuntimeError):  # noqa: N818 (as above)
    """The virtual time or the steps that a run may take have passed."""


class _Clock:
    """Stands where the loop's selector would: waiting for a timer moves the clock to it."""

    def __init__(self, now: float) -> None:
        self.now = now

    def select(self, timeout: float | None) -> list[Any]:
        """Let the time until the next timer pass."""
        if timeout is None:
            raise Deadlock("deadlock: nothing is scheduled, and a task still waits")
        self.now += max(0.0, timeout)
        return []


class _Task(asyncio.Task):
    """A task that stands at the same place of a set in every run: a TaskGroup iterates over one."""

    _made = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _Task._made += 1
        self._number = _Task._made
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number


class SimLoop(asyncio.BaseEventLoop):
    """Runs callbacks in an order drawn from `seed`, on a clock that only timers move.

    Half of the seeds have a loop like uvloop: its timers ring a little early, and its clock moves
    between two looks at it. The clock begins at `now`. No thread and no socket can be used.
    `at_step` is called with the number of each step. Raises `Deadlock` when nothing more can
    happen, and `Endless` after `most_seconds` of virtual time or `most_steps`.
    """

    def __init__(
        self,
        seed: object = 0,
        *,
        now: float = 0.0,
        most_seconds: float = 20_000.0,
        most_steps: int = 300_000,
    ) -> None:
        super().__init__()
        _Task._made = 0
        self._selector = _Clock(now)
        self._clock_resolution = 1e-9
        self._draw = random.Random(f"{seed}:loop").random
        self._shuffle = random.Random(f"{seed}:order").shuffle
        restless = random.Random(f"{seed}:clock")
        self._uniform = restless.uniform if restless.random() < RESTLESS else None
        self._most_seconds = most_seconds
        self._most_steps = most_steps
        self.steps = 0
        self.at_step: Callable[[int], None] | None = None
        self.at_steps: dict[int, list[Any]] = {}
        self.complaints: list[str] = []
        self.set_exception_handler(self._complain)
        self.set_task_factory(_task)

    def time(self) -> float:
        """Return the virtual seconds that have passed."""
        if self._uniform is not None:
            self._selector.now += self._uniform(0, GLANCE)
        return self._selector.now

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call something at a time, or a little before it."""
        early = 0.0 if self._uniform is None else self._uniform(0, EARLY)
        return super().call_at(when - early, callback, *args, context=context)

    def happen_at(self, when: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
        """Have something happen in the world: it is no timer, and is neither early nor late."""
        return super().call_at(when, callback, *args)

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, end what it left behind, and close; return its result.

        What was still pending, and what went to the loop's exception handler, is in `complaints`.
        """
        try:
            return self.run_until_complete(main)
        except BaseException:
            self.at_step = None
            self.call_soon(self.stop)
            self.run_forever()  # `main` may have ended as well, and asked the loop to stop
            raise
        finally:
            self._end_tasks()
            self.run_until_complete(self.shutdown_asyncgens())
            self.close()

    def run_in_executor(self, *_: Any) -> Any:
        """Refuse: a thread has no place in the order of things."""
        raise RuntimeError("threads are forbidden in the simulation")

    def create_connection(self, *_: Any, **__: Any) -> Any:
        """Refuse: a socket's answers are not drawn from the seed."""
        raise RuntimeError("sockets are forbidden in the simulation")

    create_server = create_datagram_endpoint = sock_connect = add_reader = create_connection

    def _run_once(self) -> None:
        ready = self._ready
        if len(ready) > 1 and self._draw() < SHUFFLED:
            order = list(ready)
            self._shuffle(order)
            ready.clear()
            ready.extend(order)
        super()._run_once()
        self.steps += 1
        if self.steps > self._most_steps or self._selector.now > self._most_seconds:
            self._most_steps, self._most_seconds = self.steps + 1_000, float("inf")  # to clean up
            raise Endless(f"endless: {self.steps} steps, {self._selector.now:.0f} virtual seconds")
        if self.at_step is not None:
            self.at_step(self.steps)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is no selector to wake up."""

    def _complain(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context['message']}: {context.get('exception')!r}")

    def _end_tasks(self) -> None:
        """Cancel what is pending, and let each see it."""
        self.at_step = None
        pending = sorted(asyncio.all_tasks(self), key=hash)
        for task in pending:
            self.complaints.append(f"a task was left pending: {task.get_coro()}")
            task.cancel()
        if pending:
            try:
                self.run_until_complete(asyncio.wait(pending, timeout=60))
            except (Deadlock, Endless) as error:
                self.complaints.append(f"a cancelled task does not end: {error}")


def _task(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    return _Task(coro, loop=loop, **kwargs)
