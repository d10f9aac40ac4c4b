"""What stands before an import's attempts, and is told of each: the session's half of a limiter."""

from typing import TYPE_CHECKING, Protocol

from ._evidence import Call, Evidence
from .errors import RouteraError

if TYPE_CHECKING:
    from .events import AttemptFinished


class Leave(Protocol):
    """Leave to make one attempt; `timeout` is in seconds, or None for the usual one."""

    @property
    def probe(self) -> bool:
        """Whether it is made to find out about the server, and not counted."""

    @property
    def timeout(self) -> float | None:
        """How long it may take."""


class Gate(Protocol):
    """What an import's attempts pass before they are admitted."""

    @property
    def stands_open(self) -> bool:
        """Whether there is leave for everybody, of no special kind."""

    async def enter(self) -> Leave:
        """Wait for leave; raises `NotSentError` when there will be none."""

    def began(self) -> None:
        """Hear that an attempt is about to be sent."""

    def succeeded(self, elapsed: float) -> None:
        """Hear that an attempt was answered with a success, after so many seconds."""

    def ended(self, met: "AttemptFinished") -> None:
        """Hear of any other end of an attempt."""


def tell_gate(
    gate: Gate, call: Call, evidence: Evidence, verdict: RouteraError | None, elapsed: float
) -> None:
    """Tell a gate what a call's last attempt met; no event is made for what nearly all meet."""
    if verdict is None:
        gate.succeeded(elapsed)
        return
    from ._telling import finished  # noqa: PLC0415 (most clients have no gate)

    gate.ended(finished(call, evidence, verdict, elapsed))
