"""Tells hooks what happens to calls: none of them breaks one, and without any nothing is made."""

import logging
from collections.abc import Iterable
from itertools import count

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
)

_log = logging.getLogger("routera_async")

_numbers = count(1)
"""Of calls: one hook may watch several clients, so no two calls of a process have the same."""


class Hooks:
    """What is told of calls, in order: `hooks`, the import's gate, `more` hooks.

    The gate hears of nothing but the attempts.
    """

    def __init__(
        self, hooks: Iterable[Hook], gate: Hook | None = None, more: Iterable[Hook] = ()
    ) -> None:
        before, after = tuple(hooks), tuple(more)
        self.of_calls = before + after
        self._of_attempts = before + (() if gate is None else (gate,)) + after
        self._with_headers = [
            (hook, given)
            for hook in self.of_calls
            if callable(given := getattr(hook, "headers", None))
        ]
        self._faulty: set[int] = set()

    def started(self, call: Call, segments: tuple[str, ...], base_url: str) -> None:
        """Tell that a call was made, and number it."""
        call.number = next(_numbers)
        if self.of_calls:
            route = route_of(segments)
            self._tell(
                self.of_calls,
                RequestStarted(call.method, call.url.path, call.number, route, base_url),
            )

    def finished(self, call: Call, outcome: str, error: str | None, elapsed: float) -> None:
        """Tell that a call ended; `error` names what was raised."""
        if self.of_calls:
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
        event = AttemptStarted(call.method, call.url.path, attempt, call.number)
        self._tell(self._of_attempts, event)
        if not self._with_headers:
            return headers
        headers = headers.copy()
        for hook, given in self._with_headers:
            try:
                if added := given(event):
                    headers.update(checked_headers(added))
            except Exception:  # noqa: BLE001 (as below)
                self._raised(hook)
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
        self._tell(
            self._of_attempts,
            AttemptFinished(
                call.method,
                call.url.path,
                attempt,
                sent=evidence.sent,
                status=evidence.status,
                error=evidence.error,
                elapsed=elapsed,
                retry_after=getattr(verdict, "retry_after", None),
                call=call.number,
            ),
        )

    def repeats(self, call: Call, delay: float) -> None:
        """Tell that a call will be sent again."""
        self._tell(
            self._of_attempts,
            RetryScheduled(call.method, call.url.path, call.made + 1, delay, call.number),
        )

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

    def _raised(self, hook: Hook) -> None:
        if id(hook) not in self._faulty:
            self._faulty.add(id(hook))
            _log.exception("a hook raised; the calls go on, and this is not said again")
