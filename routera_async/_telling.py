"""What a client's hooks are told of each attempt; loaded by the first client that has some."""

import logging
from collections.abc import Sequence

from ._evidence import Call, Evidence
from ._hooks import Hook
from .errors import RouteraError
from .events import AttemptFinished, AttemptStarted, Event, RetryScheduled

_log = logging.getLogger("routera_async")


class Telling:
    """Tells hooks; one that raises is logged once, and breaks no call.

    `before` told some of them already, and has logged those that raised.
    """

    def __init__(self, hooks: Sequence[Hook], before: "Telling | None" = None) -> None:
        self.hooks = tuple(hooks)
        self._faulty: set[int] = before._faulty if before else set()  # noqa: SLF001

    def started(self, call: Call) -> None:
        """Tell that a call's next attempt is about to be sent."""
        self._tell(AttemptStarted(call.method, call.url.path, call.made + 1))

    def finished(
        self, call: Call, evidence: Evidence, verdict: RouteraError | None, elapsed: float
    ) -> None:
        """Tell what a call's last attempt met, which the call has noted."""
        self._tell(
            AttemptFinished(
                call.method,
                call.url.path,
                call.made,
                sent=evidence.sent,
                status=evidence.status,
                error=evidence.error,
                elapsed=elapsed,
                retry_after=getattr(verdict, "retry_after", None),
            )
        )

    def scheduled(self, call: Call, delay: float) -> None:
        """Tell that a call's next attempt is sent after `delay` seconds."""
        self._tell(RetryScheduled(call.method, call.url.path, call.made + 1, delay))

    def _tell(self, event: Event) -> None:
        for hook in self.hooks:
            try:
                hook(event)
            except Exception:  # noqa: BLE001 (whatever it is, the call goes on)
                if id(hook) not in self._faulty:
                    self._faulty.add(id(hook))
                    _log.exception("a hook raised; the calls go on, and this is not said again")
