"""Tells hooks what happens to calls: none of them breaks one, and without any nothing is made."""

import logging
from collections.abc import Iterable
from itertools import count
from typing import TypeGuard

from multidict import CIMultiDict

from ._evidence import Call, Evidence
from ._options import checked_headers
from ._urls import route_of
from .errors import RouteraError
from .events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    Hook,
    RequestFinished,
    RequestStarted,
    RetryScheduled,
    TokenRefreshed,
    TokenRefreshFailed,
    TracingHook,
)

_log = logging.getLogger("routera_async")

_numbers = count(1)
"""Of calls: one hook may watch several clients, so no two calls of a process have the same."""


class Hooks:
    """What is told of calls, in order: `hooks`, the import's gate, `more` hooks.

    The gate hears of nothing but the attempts. A call that nobody else listens to has no number.
    """

    def __init__(
        self, hooks: Iterable[Hook], gate: Hook | None = None, more: Iterable[Hook] = ()
    ) -> None:
        before, after = tuple(hooks), tuple(more)
        self.of_calls = before + after
        self._of_gate = () if gate is None else (gate,)
        self._of_attempts = before + self._of_gate + after
        self._tracing = tuple(hook for hook in self.of_calls if _is_tracing(hook))
        self._always = len(self._tracing) < len(self.of_calls)
        self._faulty: set[int] = set()

    def started(self, call: Call, segments: tuple[str, ...], base_url: str) -> None:
        """Give a number to a call that somebody listens to, and tell that it was made."""
        if self._always or any(map(self._listens, self._tracing)):
            call.number = next(_numbers)
            path, route = call.url.path, route_of(segments)
            event = RequestStarted(call.method, path, call.number, route, base_url)
            self._tell(self.of_calls, event)

    def finished(self, call: Call, outcome: str, error: str | None, elapsed: float) -> None:
        """Tell that a call ended; `error` names what was raised."""
        if call.number:
            self._tell(
                self.of_calls,
                RequestFinished(
                    call.method,
                    call.url.path,
                    call.number,
                    outcome,
                    call.made,
                    call.status,
                    error,
                    elapsed,
                ),
            )

    def sends(self, call: Call, attempt: int, headers: CIMultiDict[str]) -> CIMultiDict[str]:
        """Tell that an attempt is about to be sent, and return its headers with the hooks' own."""
        if hooks := self._of_attempts if call.number else self._of_gate:
            event = AttemptStarted(call.method, call.url.path, attempt, call.number)
            self._tell(hooks, event)
            if self._tracing and call.number:
                return self._with_theirs(headers.copy(), event)
        return headers

    def met(
        self,
        call: Call,
        attempt: int,
        evidence: Evidence,
        verdict: RouteraError | None,
        elapsed: float,
    ) -> None:
        """Tell what an attempt met."""
        if hooks := self._of_attempts if call.number else self._of_gate:
            event = AttemptFinished(
                call.method,
                call.url.path,
                attempt,
                evidence.sent,
                evidence.status,
                evidence.error,
                elapsed,
                getattr(verdict, "retry_after", None),
                call.number,
            )
            self._tell(hooks, event)

    def repeats(self, call: Call, delay: float) -> None:
        """Tell that a call will be sent again."""
        if call.number:
            number = call.made + 1
            event = RetryScheduled(call.method, call.url.path, number, delay, call.number)
            self._tell(self.of_calls, event)

    def fetched(self, elapsed: float, lasts: float | None, error: str | None) -> None:
        """Tell that a fetch of a token ended; `error` names what it failed with."""
        if error is None:
            self._tell(self.of_calls, TokenRefreshed(elapsed, lasts))
        else:
            self._tell(self.of_calls, TokenRefreshFailed(elapsed, error))

    def _tell(self, hooks: tuple[Hook, ...], event: Event) -> None:
        for hook in hooks:
            try:
                hook(event)
            except Exception:  # noqa: BLE001 (whatever it is, the call goes on)
                self._raised(hook)

    def _listens(self, hook: TracingHook) -> bool:
        try:
            return hook.listens()
        except Exception:  # noqa: BLE001 (as above)
            self._raised(hook)
            return False

    def _with_theirs(self, headers: CIMultiDict[str], event: AttemptStarted) -> CIMultiDict[str]:
        for hook in self._tracing:
            try:
                if added := hook.headers(event):
                    headers.update(checked_headers(added))
            except Exception:  # noqa: BLE001 (as above)
                self._raised(hook)
        return headers

    def _raised(self, hook: Hook) -> None:
        if id(hook) not in self._faulty:
            self._faulty.add(id(hook))
            _log.exception("a hook raised; the calls go on, and this is not said again")


def _is_tracing(hook: Hook) -> TypeGuard[TracingHook]:
    return all(callable(getattr(hook, name, None)) for name in ("headers", "listens"))
