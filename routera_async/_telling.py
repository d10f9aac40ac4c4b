"""What a client's hooks are told of each call; loaded by the first client that has some."""

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Protocol, TypeGuard

from multidict import CIMultiDict

from ._evidence import Call, Evidence
from ._hooks import Guarded, Hook, guarded
from ._options import checked_headers
from ._urls import route_of
from .errors import RouteraError
from .events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    RequestFinished,
    RequestStarted,
    RetryScheduled,
    TokenRefreshed,
    TokenRefreshFailed,
)

_numbers = count(1)
"""Of calls: one hook may watch several clients, so no two calls of a process have the same."""


class TracingHook(Hook, Protocol):
    """A hook that follows calls to where they go: it may add headers to each attempt.

    Any hook that has these two methods is one. Headers that the client sets, Authorization among
    them, are refused like an exception of the hook's: none are added then.
    """

    def listens(self) -> bool:
        """Return whether a call that is made now is to be told at all.

        It is asked at the beginning of a call that no other hook hears of: then a hook that does
        not listen costs that call next to nothing.
        """

    def headers(self, event: AttemptStarted, /) -> Mapping[str, str]:
        """Return the headers to add to an attempt, which the hook has just been told of."""


class Telling:
    """What hooks are told of calls, in their order; no event is made that none is told of.

    A call that nobody listens to has no number.
    """

    def __init__(self, hooks: Iterable[Hook]) -> None:
        self.of_calls = tuple(map(guarded, hooks))
        self._tracing = [(each, each.hook) for each in self.of_calls if _is_tracing(each.hook)]
        self._always = len(self._tracing) < len(self.of_calls)
        self._of_requests = self._who_hears_of(RequestStarted)
        self._of_attempts = self._who_hears_of(AttemptStarted)
        self._of_answers = self._who_hears_of(AttemptFinished)
        self._of_ends = self._who_hears_of(RequestFinished)

    def _who_hears_of(self, kind: type[Event]) -> tuple[Guarded, ...]:
        return tuple(hook for hook in self.of_calls if hook.hears_of(kind))

    def started(self, call: Call, segments: tuple[str, ...], base_url: str) -> None:
        """Give a number to a call that somebody listens to, and tell that it was made."""
        if self._always or any(_listens(*each) for each in self._tracing):
            call.number = next(_numbers)
            if self._of_requests:
                path, route = call.url.path, route_of(segments)
                event = RequestStarted(call.method, path, call.number, route, base_url)
                self._tell(self._of_requests, event)

    def finished(self, call: Call, outcome: str, error: str | None, elapsed: float) -> None:
        """Tell that a call ended; `error` names what was raised."""
        if call.number and self._of_ends:
            self._tell(
                self._of_ends,
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

    def sends(self, call: Call, headers: CIMultiDict[str]) -> CIMultiDict[str]:
        """Tell that an attempt is about to be sent, and return its headers with the hooks' own."""
        if call.number and self._of_attempts:
            event = AttemptStarted(call.method, call.url.path, call.made + 1, call.number)
            self._tell(self._of_attempts, event)
            if self._tracing:
                return self._with_theirs(headers.copy(), event)
        return headers

    def met(
        self, call: Call, evidence: Evidence, verdict: RouteraError | None, elapsed: float
    ) -> None:
        """Tell what a call's last attempt met, which the call has noted."""
        if call.number and self._of_answers:
            self._tell(self._of_answers, finished(call, evidence, verdict, elapsed))

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

    def _tell(self, hooks: tuple[Guarded, ...], event: Event) -> None:
        for hook in hooks:
            hook(event)

    def _with_theirs(self, headers: CIMultiDict[str], event: AttemptStarted) -> CIMultiDict[str]:
        for guard, hook in self._tracing:
            try:
                if added := hook.headers(event):
                    headers.update(checked_headers(added))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # noqa: BLE001 (whatever it is, the call goes on)
                guard.raised()
        return headers


def finished(
    call: Call, evidence: Evidence, verdict: RouteraError | None, elapsed: float
) -> AttemptFinished:
    """Return what is told of a call's last attempt, which the call has noted."""
    return AttemptFinished(
        call.method,
        call.url.path,
        call.made,
        evidence.sent,
        evidence.status,
        evidence.error,
        elapsed,
        getattr(verdict, "retry_after", None),
        call.number,
    )


def _listens(guard: Guarded, hook: TracingHook) -> bool:
    try:
        return hook.listens()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 (as above)
        guard.raised()
        return False


def _is_tracing(hook: Hook) -> TypeGuard[TracingHook]:
    return all(callable(getattr(hook, name, None)) for name in ("headers", "listens"))
