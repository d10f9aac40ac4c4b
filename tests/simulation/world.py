"""What one run shares: its random streams, its rows, what was seen of them, and its trace."""

import hashlib
import random
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import attrs

from routera_async.events import (
    AttemptFinished,
    AttemptStarted,
    RequestFinished,
    RequestStarted,
)

from .loop import SimLoop

if TYPE_CHECKING:
    from asyncio import TimerHandle

EPOCH = 1_777_629_600.0
"""2026-05-01T10:00:00Z: when every run begins, by the server's clock."""

MARKER = "sim_row"
"""The custom field that says whose record one is."""


@attrs.frozen
class Violation:
    """An invariant that did not hold: of which seed, and of which row (None for the run's)."""

    seed: int
    row: int | None
    invariant: str
    detail: str

    def __str__(self) -> str:
        whose = "the run" if self.row is None else f"row {self.row}"
        return f"seed {self.seed}, {whose}: {self.invariant}: {self.detail}"


@attrs.define
class Seen:
    """A whole request that reached the server: what was done, and what the server answered.

    `status` is what the answer's status line says, whether it could be read or not; `answered` is
    when the last byte of a whole answer arrived; times are virtual seconds.
    """

    at: float
    fault: str
    token: str
    status: int | None = None
    answered: float | None = None


@attrs.define
class Result:
    """How a call ended: an outcome's name, or "cancelled", or "broken" for a foreign exception."""

    status: str
    record: Any = None
    error: BaseException | None = None
    attempts: tuple[Any, ...] | None = None


@attrs.define
class Row:
    """One record to create, and all that is known of it."""

    number: int
    key: str | None
    new: Any
    minted: bool
    marker: str = attrs.field()
    cancelled_at: float | None = None
    patience: float | None = None
    began: float | None = None
    ended: float | None = None
    results: list[Result] = attrs.field(factory=list)
    calls: list[RequestStarted] = attrs.field(factory=list)
    ends: list[RequestFinished] = attrs.field(factory=list)
    started: list[AttemptStarted] = attrs.field(factory=list)
    finished: list[AttemptFinished] = attrs.field(factory=list)
    connects: list[str] = attrs.field(factory=list)
    seen: list[Seen] = attrs.field(factory=list)
    token: str | None = None
    """The token of its latest attempt."""
    refused: set[str] = attrs.field(factory=set)
    """The tokens that it was answered 401 for."""

    @marker.default
    def _own(self) -> str:
        return f"r{self.number}"

    @property
    def keyed(self) -> bool:
        """Whether the server can know a repeat by its key."""
        return self.minted or self.key is not None


ROW: ContextVar[Row | None] = ContextVar("ROW", default=None)
"""The row that the running task works on: how a hook and a connection know whose they are."""


class World:
    """One run; `life` numbers the processes that the client lives in, where it may crash."""

    def __init__(self, seed: int, loop: SimLoop) -> None:
        self.seed = seed
        self.loop = loop
        self.rows: list[Row] = []
        self.trace: list[str] = []
        self.faults: dict[str, int] = {}
        self.violations: list[Violation] = []
        self.life = 0
        self._due: dict[int, tuple[TimerHandle, Callable[..., None], tuple[Any, ...]]] = {}
        self._events = 0

    def at(self, when: float, do: Callable[..., None], *args: Any) -> None:
        """Have something happen outside of the client, whatever becomes of the client."""
        self._events += 1
        handle = self.loop.happen_at(when, self._happen, self._events)
        self._due[self._events] = (handle, do, args)

    def _happen(self, number: int) -> None:
        _, do, args = self._due.pop(number)
        do(*args)

    def move(self, loop: SimLoop) -> None:
        """Go on in the loop of the client's next process: what was due outside still happens."""
        self.life += 1
        self.loop = loop
        for number, (handle, do, args) in self._due.items():
            handle.cancel()
            moved = loop.happen_at(handle.when(), self._happen, number)
            self._due[number] = (moved, do, args)

    def stream(self, name: str) -> random.Random:
        """Return a random stream of its own, so that a draw more here moves nothing there."""
        return random.Random(f"{self.seed}:{name}")

    def note(self, row: Row | None, what: str) -> None:
        """Add a line to the trace."""
        whose = "-" if row is None else row.number
        self.trace.append(f"{self.loop.time():.9f} {whose} {what}")

    def wrong(self, row: Row | None, invariant: str, detail: str) -> None:
        """Note a violation."""
        number = None if row is None else row.number
        self.violations.append(Violation(self.seed, number, invariant, detail))

    def digest(self) -> str:
        """Return the hash of the whole trace."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()
