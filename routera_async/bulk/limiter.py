"""How fast an import may go: how many rows at once, when it waits for Routera, and at what rate.

1. a slot    is taken for each row before its intent is written. There are as many as the server
             has shown that it can take (`Window`).
2. the gate  is passed by each attempt, the first as any later one. It stands open, until Routera
             asks to slow down or does not answer at all (`Silence`); then all wait, and one at a
             time is let through as a probe. The first healthy answer opens it, and those who
             waited go on in order, no more at once than there are slots.
3. the rate  holds every attempt to so many in any second, where one is asked for (`Rate`).

It is told of each attempt, and knows nothing else of the server. It starts no task and draws no
random number; its one timer is cancelled by `close`.
"""

import asyncio
import math
from collections import deque
from collections.abc import Sequence

import attrs

from routera_async._hooks import Hook, guarded
from routera_async.errors import ConfigurationError, NotSentError
from routera_async.events import (
    AttemptFinished,
    Event,
    ImportPaused,
    ImportResumed,
    LimiterChanged,
)

from .outage import Silence, is_healthy, is_throttled, patience, reason
from .rate import Rate
from .window import Window

_SLOW_DOWN = 0.5
"""Seconds of the first pause after a 429 without Retry-After; each that follows is doubled,"""

_DOUBLINGS = 10
"""as often as this."""

_CANCELLED = "cancelled"
"""How the session calls an attempt that its caller ended; that says nothing of the server.

One that its call's own deadline ended has found the server silent, like any that timed out."""


@attrs.frozen
class Pass:
    """Leave to make one attempt.

    A `probe` is not the call's own doing, so it is not counted against its attempts; `timeout` is
    in seconds, or None for the usual one.
    """

    probe: bool = False
    timeout: float | None = None


_OPEN = Pass()

_Waiter = asyncio.Future[Pass | None]
"""Is granted leave, or None when it is turned away."""


@attrs.frozen
class LimiterState:
    """What a progress bar shows: all times in seconds, None for what there is none of.

    `limit` rows may be under way and `in_flight` are. `paused_for` counts since the last healthy
    answer, up to `give_up_after`; `reason` is why, for a person. `rate` is per second.
    """

    limit: int
    in_flight: int
    paused_for: float | None
    give_up_after: float | None
    reason: str | None
    rate: float | None


@attrs.define
class _Pause:
    """Since when and why the gate is closed, and when the next probe is due."""

    since: float
    reason: str
    is_outage: bool
    next_probe: float
    not_before: float


class Limiter:
    """Holds one import to what the server can take. Belongs to the loop that it was made on.

    At most `most` rows are under way, `start` at first. `timeout` is an attempt's usual one. An
    outage is waited out for `give_up_after` seconds, or for ever if None; for `unreachable_after`
    while this import has had no healthy answer yet. A 429 pauses for its Retry-After, at most
    `retry_after_max` seconds. `rate` is in attempts per second and needs pyrate-limiter. `hooks`
    are told of what changes.

    `gave_up` says that an outage lasted too long, and that nothing is let through any more.
    """

    def __init__(
        self,
        most: int,
        *,
        start: int = 8,
        timeout: float = 30.0,
        give_up_after: float | None = 1800.0,
        unreachable_after: float = 15.0,
        retry_after_max: float = 60.0,
        rate: float | None = None,
        hooks: Sequence[Hook] = (),
    ) -> None:
        if most < 1 or start < 1:
            raise ConfigurationError("at least one row must be allowed under way")
        self.gave_up = False
        self._loop = asyncio.get_running_loop()
        self._window = Window(most, start, since=self._loop.time())
        self._silence = Silence(give_up_after, unreachable_after)
        self._rate = None if rate is None else Rate(rate, self._loop.time)
        self._timeout = timeout
        self._retry_after_max = retry_after_max
        self._hooks = tuple(map(guarded, hooks))
        self._held = 0
        self._under_way = 0
        self._rows: deque[_Waiter] = deque()
        self._gate: deque[_Waiter] = deque()
        self._pause: _Pause | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rows_ended = False
        self._promised = False  # a new row has its slot in order to be the probe
        self._asked_at = -math.inf
        self._asked = 0
        self._over: str | None = None
        self._closed = False

    @property
    def over(self) -> bool:
        """Whether it was stopped or has given up: no slot is given any more."""
        return self._over is not None

    @property
    def verdict(self) -> NotSentError | None:
        """Why it has given up, or None when it has not."""
        return NotSentError(self._over) if self.gave_up else None

    def state(self) -> LimiterState:
        """Return what it is doing now."""
        pause, bound = self._pause, self._silence.bound
        return LimiterState(
            limit=self._window.limit,
            in_flight=self._held,
            paused_for=None if pause is None else self._loop.time() - pause.since,
            give_up_after=None if bound == math.inf else bound,
            reason=None if pause is None else pause.reason,
            rate=None if self._rate is None else self._rate.per_second,
        )

    def take_now(self) -> bool:
        """Take a slot if one is free: else `take` waits for it."""
        is_free = self._held < self._window.limit and not self._rows and self._over is None
        if is_free and self.stands_open:
            self._held += 1
            return True
        return False

    async def take(self) -> None:
        """Take a slot, waiting for it in order.

        Raises `NotSentError` once the import was stopped or has given up.
        """
        if not self.take_now() and await self._wait(self._rows) is None:
            raise NotSentError(self._over)

    def give_back(self) -> None:
        """Give a slot back."""
        self._held -= 1
        if self._rows or self._gate:
            self._admit()

    @property
    def stands_open(self) -> bool:
        """Whether an attempt passes the gate as if there were none."""
        return self._pause is None and not self._gate and self._rate is None

    async def enter(self) -> Pass:
        """Pass the gate, before one attempt. Raises `NotSentError` when the import has given up."""
        while not self.stands_open:
            passed: Pass | None = _OPEN
            if self._pause is not None or self._gate:
                passed = await self._wait(self._gate)
            if passed is None:
                raise NotSentError(self._over)
            if self._rate is not None:
                await self._rate.take()
            if passed is not _OPEN or self._pause is None:  # else it was closed in the meantime
                return passed
        return _OPEN

    def rows_ended(self) -> None:
        """Hear that no row will come after those that hold or await a slot."""
        self._rows_ended = True

    def stop(self) -> None:
        """Give no more slots; what is under way goes on."""
        self._over = self._over or "the import was stopped before this row was sent"
        self._admit()

    def close(self) -> None:
        """Let go of everything: no more slots, no timer, and a gate that stays open."""
        self._closed = True
        self._open()
        self.stop()

    def began(self) -> None:
        """Hear that an attempt is about to be sent."""
        self._under_way += 1

    def succeeded(self, elapsed: float) -> None:
        """Hear that an attempt was answered with a success, after so many seconds."""
        limit = self._window.limit
        if not self._closed and not self.gave_up:
            self._healthy(elapsed)
        self._one_less(limit)

    def ended(self, met: AttemptFinished) -> None:
        """Hear of any other end of an attempt."""
        limit = self._window.limit
        if met.error != _CANCELLED and not self._closed and not self.gave_up:
            if is_healthy(met):
                self._healthy(met.elapsed)
            else:
                self._unhealthy(met, self._loop.time())
        self._one_less(limit)

    def _one_less(self, limit: int) -> None:
        """Count an attempt less, and tell when its end has changed the limit."""
        self._under_way -= 1
        if self._window.limit != limit:
            self._tell(LimiterChanged(self._window.limit))

    def _healthy(self, elapsed: float) -> None:
        self._window.healthy(elapsed, self._under_way)
        self._silence.healthy()
        if self._pause is not None and (now := self._loop.time()) >= self._pause.not_before:
            self._resume(self._pause, now)

    def _unhealthy(self, event: AttemptFinished, now: float) -> None:
        began = now - event.elapsed
        self._silence.failed(event, began)
        if self._pause is not None:
            self._pause.reason = reason(event)
        if is_throttled(event):
            self._window.throttled(now, began)
            self._slow_down(event, now, began)
        elif self._pause is None:
            self._window.failed(now, began, event.number)
            if self._silence.is_outage(event):
                self._close_gate(event, now, None)

    def _slow_down(self, event: AttemptFinished, now: float, began: float) -> None:
        """Pause everyone once: what was under way when we were told so is told it again."""
        told_already = began <= self._asked_at
        seconds = event.retry_after
        if seconds is None:
            if told_already:
                return
            seconds = _SLOW_DOWN * 2 ** min(self._asked, _DOUBLINGS)
        if not told_already:
            self._asked_at, self._asked = now, self._asked + 1
        until = now + min(seconds, self._retry_after_max)
        if self._pause is None:
            self._close_gate(event, now, until)
        elif until > self._pause.not_before:
            self._pause.not_before = until
            self._pause.next_probe = max(until, self._pause.next_probe)
            self._wind(self._pause, now)

    def _close_gate(self, event: AttemptFinished, now: float, until: float | None) -> None:
        """Pause until the time that we were told, or else for an outage."""
        since = self._silence.since
        next_probe = now + self._patience(since, now) if until is None else until
        self._pause = _Pause(since, reason(event), until is None, next_probe, until or now)
        self._wind(self._pause, now)
        self._tell(ImportPaused(self._pause.reason, retry_in=next_probe - now))

    def _resume(self, pause: _Pause, now: float) -> None:
        if pause.is_outage:
            self._window.restart(now)
        self._asked = 0
        self._open()
        self._tell(ImportResumed(now - pause.since))

    def _open(self) -> None:
        self._pause, self._promised = None, False
        if self._timer is not None:
            self._timer.cancel()
        self._admit()

    def _wind(self, pause: _Pause, now: float) -> None:
        """Set the timer to the next probe, or to giving up when whoever comes is the probe."""
        if self._timer is not None:
            self._timer.cancel()
        due = pause.since + self._silence.bound
        if pause.next_probe > now:
            due = min(due, pause.next_probe)
        if due < math.inf:
            self._timer = self._loop.call_at(due, self._due, pause)

    def _due(self, pause: _Pause) -> None:
        """Give up or send a probe; a loop may ring a little early, and is then asked once more.

        The clock is read once: a probe that is not due yet may be due a moment later.
        """
        now = self._loop.time()
        if now >= pause.since + self._silence.bound:
            self.gave_up = True
            self._over = self._silence.verdict(now - pause.since, pause.reason)
            self._admit(now)
        else:
            self._admit(now)
            self._wind(pause, now)

    def _admit(self, now: float | None = None) -> None:
        """Let through whoever may go now."""
        if self._over is not None:
            self._refuse(self._rows)
        if self.gave_up:
            self._refuse(self._gate)
        elif self._pause is not None:
            self._probe(self._pause, self._loop.time() if now is None else now)
        else:
            # A row that waits at the gate holds its slot, and loads nobody.
            while self._gate and self._held - len(self._gate) < self._window.limit:
                self._grant(self._gate, _OPEN)
            while self._rows and self._held < self._window.limit:
                self._held += self._grant(self._rows, _OPEN)

    def _probe(self, pause: _Pause, now: float) -> None:
        """Let one through when it is time: whoever waits at the gate, or else a new row."""
        is_due = now >= pause.next_probe
        seconds = self._patience(pause.since, now)
        if self._gate and (is_due or self._promised):
            # The last row of all is given up as ever: it may be its own fault, and nobody waits.
            is_last = self._rows_ended and self._held <= 1 and not self._rows
            granted = self._grant(self._gate, Pass(probe=not is_last, timeout=seconds))
            self._promised = False
        elif is_due and self._rows and self._held < self._window.limit:
            granted = self._promised = self._grant(self._rows, _OPEN)
            self._held += granted
        else:
            return
        if granted:
            pause.next_probe = now + seconds
            self._wind(pause, now)

    def _patience(self, since: float, now: float) -> float:
        return patience(now - since, self._window.usual, self._timeout)

    async def _wait(self, queue: deque[_Waiter]) -> Pass | None:
        waiter: _Waiter = self._loop.create_future()
        queue.append(waiter)
        self._admit()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter in queue:
                queue.remove(waiter)
            elif queue is self._rows and not waiter.cancelled() and waiter.result():
                self._held -= 1  # granted in the very moment of the cancellation
            self._admit()
            raise

    @staticmethod
    def _grant(queue: deque[_Waiter], leave: Pass) -> bool:
        """Give leave to the first who still waits, if any does."""
        while queue:
            waiter = queue.popleft()
            if not waiter.done():
                waiter.set_result(leave)
                return True
        return False

    @staticmethod
    def _refuse(queue: deque[_Waiter]) -> None:
        while queue:
            waiter = queue.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def _tell(self, event: Event) -> None:
        for hook in self._hooks:
            hook(event)
