"""What is an outage, and how patient one is with it. Pure: it is told what happened, and when."""

import math

import attrs

from routera_async.events import AttemptFinished

_OUT = 10
"""Failures in a row that are an outage: by chance, with 1 attempt in 10 failing, once in 10¹⁰."""

_OUT_AT_FIRST = 3
"""The same before any healthy answer: nothing speaks for this server yet. Was it chance, then the
answers to the others that are under way open the gate at once."""

_OUT_FOR_ONE = 4
"""The same when one call has met as many, and is about to be given up, after 5."""

_PATIENCE = 0.5
_PATIENCE_GROWS = 0.04
"""Seconds between probes, and their growth with the outage: its end is noticed within about 5 % of
it, and a minute costs about 45 probes, half an hour about 140."""

_USUAL_TIMES = 4
"""No probe has less time than four usual answers take."""

_USUAL_UNKNOWN = 0.5
"""Seconds that an answer is taken to need before there was one: it may need a connection first."""

_MINUTES = 120
"""Seconds from which a time is told in minutes."""

_SERVER_ERROR, _THROTTLED = 500, 429


def is_throttled(event: AttemptFinished) -> bool:
    """Tell whether the server asks to slow down."""
    return event.status == _THROTTLED


def is_healthy(event: AttemptFinished) -> bool:
    """Tell whether the server did its work: it decided, were it to refuse."""
    return event.status is not None and event.status < _SERVER_ERROR and not is_throttled(event)


@attrs.define
class Silence:
    """The attempts since the last healthy answer, `since` when the first of them began.

    An outage is waited out for `give_up_after` seconds, or for ever if None; for
    `unreachable_after` while the server was never `reached`.
    """

    give_up_after: float | None
    unreachable_after: float
    reached: bool = False
    since: float = 0.0
    _failures: int = attrs.field(default=0, init=False)

    @property
    def bound(self) -> float:
        """Seconds after which to give up: infinite for never."""
        bound = math.inf if self.give_up_after is None else self.give_up_after
        return bound if self.reached else min(bound, self.unreachable_after)

    def healthy(self) -> None:
        """Hear of a healthy answer."""
        self.reached, self._failures = True, 0

    def failed(self, event: AttemptFinished, began: float) -> None:
        """Hear of any other end of an attempt."""
        self.since = self.since if self._failures else began
        self.reached |= is_throttled(event)
        self._failures += 1

    def is_outage(self, event: AttemptFinished) -> bool:
        """Tell an outage from faults that chance or single rows explain, after this last failure.

        A row that the server chokes on is answered 500 each time: alone, that is no outage.
        """
        if self._failures >= (_OUT if self.reached else _OUT_AT_FIRST):
            return True
        last_of_many = self._failures >= _OUT_FOR_ONE <= event.number
        return last_of_many and event.status != _SERVER_ERROR

    def verdict(self, seconds: float, reason: str) -> str:
        """Say for a person that it lasted too long, and what to do."""
        lasted = f"{seconds:.0f} seconds"
        if seconds >= _MINUTES:
            lasted = f"{seconds / 60:.0f} minutes"
        if self.reached:
            return f"Routera has not answered for {lasted}: {reason}; run the same command again"
        return (
            f"Routera has not answered once in {lasted}: {reason}; check the base URL and the "
            "network, then run the same command again"
        )


def patience(lasted: float, usual: float | None, timeout: float) -> float:
    """Return the seconds between two probes, which are also what each may take.

    `lasted` is the outage's seconds so far, `usual` a healthy answer's, `timeout` an attempt's.
    """
    needed = _USUAL_TIMES * (_USUAL_UNKNOWN if usual is None else usual)
    return min(max(_PATIENCE + _PATIENCE_GROWS * lasted, needed), timeout)


def reason(event: AttemptFinished) -> str:
    """Say for a person what is wrong."""
    if is_throttled(event):
        return "Routera asks to slow down (429)"
    if event.status is not None:
        return f"Routera answers {event.status}"
    said = "Routera is not answering" if event.sent else "Routera cannot be reached"
    return f"{said} ({event.error})"
