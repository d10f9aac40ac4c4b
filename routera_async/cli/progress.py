"""What a person sees while an import runs: a live bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self, TextIO, cast

import attrs
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from routera_async.bulk.engine import Outcome
from routera_async.bulk.report import Summary
from routera_async.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    ImportPaused,
    ImportReconciling,
    ImportResumed,
    RowInDoubt,
)

_EVERY = 5.0
"""Seconds between two plain lines,"""

_EVERY_PAUSED = 60.0
"""and while nothing is sent."""

_MINUTE = 60


@attrs.define
class Watch:
    """What is known of an import while it runs; a hook that hears of attempts and pauses.

    `total` is how many rows will be read, `give_up_after` how many seconds an outage is waited
    out; `clock` gives seconds. The answers to the rows `in_doubt` were lost, which is settled at
    the end.
    """

    total: int
    summary: Summary = attrs.field(factory=Summary)
    clock: Callable[[], float] = time.monotonic
    give_up_after: float | None = None
    in_doubt: set[int] = attrs.field(factory=set)
    in_flight: int = 0
    paused: str | None = None
    """Why nothing is sent now, or None."""
    looking: ImportReconciling | None = None
    """What is looked for in the list, at the end."""
    started: float = attrs.field(init=False)
    paused_at: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.started = self.paused_at = self.clock()

    def __call__(self, event: Event) -> None:
        """Take note of an event of the client."""
        match event:
            case AttemptStarted():
                self.in_flight += 1
            case AttemptFinished():
                self.in_flight -= 1
            case ImportPaused():
                self.paused, self.paused_at = event.reason, self.clock()
            case ImportResumed():
                self.paused = None
            case RowInDoubt():
                self.in_doubt.add(event.row)
            case ImportReconciling():
                self.looking, self.paused_at = event, self.clock()

    def told(self, outcome: Outcome[Any]) -> None:
        """Take note that a row is done."""
        self.in_doubt.discard(outcome.row)
        self.looking = None

    @property
    def done(self) -> int:
        """How many rows have an outcome."""
        return self.summary.outcomes

    @property
    def elapsed(self) -> float:
        """Seconds since the import began."""
        return self.clock() - self.started

    @property
    def rate(self) -> float:
        """Rows done a second by this run."""
        return (self.done - self.summary.resumed) / self.elapsed if self.elapsed > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take at this rate, or None before there is one."""
        left = self.total - self.done
        return left / self.rate if self.rate else None if left else 0.0

    @property
    def time_left(self) -> str:
        """The time left, for a person."""
        return f"{_clock(self.left)} left"

    def pause(self) -> str:
        """Return, while nothing is sent, why and how long that is waited out; else nothing."""
        waited = int(self.clock() - self.paused_at)
        if self.looking is not None:
            rows, left = self.looking.rows, max(0, round(self.looking.wait) - waited)
            when = f"in {_counted(left, 'second')}" if left else "now"
            return f"{_rows(rows)} in doubt: the list is read {when}, to see what has arrived"
        if self.paused is None:
            return ""
        why = self.paused.partition(" (")[0]  # what aiohttp calls it is no help here
        if waited < _MINUTE:
            return f"{why}; waiting, {_counted(waited, 'second')}"
        minutes = waited // _MINUTE
        if self.give_up_after is None:
            return f"{why}; waiting, {_counted(minutes, 'minute')}"
        return f"{why}; waiting, {minutes} of {self.give_up_after / _MINUTE:g} minutes"

    def line(self) -> str:
        """Return the tally so far as one line of plain text."""
        tally = self.summary
        return (
            f"{self.done:,} of {self.total:,} · {self.rate:,.0f}/s · created {tally.created:,} · "
            f"duplicate {tally.duplicate:,} · rejected {tally.rejected:,} · "
            f"unknown {tally.unknown + len(self.in_doubt):,} · retries {tally.retries:,} · "
            f"in flight {self.in_flight:,}"
        )


class Progress(Protocol):
    """A way to show an import while it runs."""

    def __enter__(self) -> Self:
        """Begin to show it."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Show how it ended."""

    def moved(self) -> None:
        """Take note that something has happened."""

    def hidden(self) -> AbstractContextManager[None]:
        """Show nothing meanwhile."""


class Lines:
    """One plain line every five seconds, one when an import pauses or goes on, one at the end.

    While nothing is sent there is one a minute.
    """

    def __init__(self, watch: Watch, console: Console) -> None:
        self._watch = watch
        self._console = console
        self._next = watch.clock() + _EVERY
        self._why = self._pause()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._print()

    def moved(self) -> None:
        """Print a line when it is time for the next."""
        now, why = self._watch.clock(), self._pause()
        if now >= self._next or why != self._why:
            self._next = now + (_EVERY_PAUSED if any(why) else _EVERY)
            self._why = why
            self._print()

    def hidden(self) -> AbstractContextManager[None]:
        """Show nothing meanwhile: it does not by itself."""
        return nullcontext()

    def _pause(self) -> tuple[bool, bool]:
        return self._watch.paused is not None, self._watch.looking is not None

    def _print(self) -> None:
        line = self._watch.pause() or f"{self._watch.line()} · {self._watch.time_left}"
        self._console.print(Text(line), soft_wrap=True)


class Bar:
    """A bar that is drawn again eight times a second, above the tally so far."""

    def __init__(self, watch: Watch, console: Console) -> None:
        self._watch = watch
        self._live = Live(get_renderable=self.render, console=console, refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def moved(self) -> None:
        """Do nothing: the bar looks by itself."""

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Leave the terminal to somebody else meanwhile."""
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def render(self) -> Group:
        """Return the bar and, below it, the line."""
        watch = self._watch
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(ratio=1)
        row.add_column(justify="right", no_wrap=True)
        share = watch.done / watch.total if watch.total else 1.0
        row.add_row(
            ProgressBar(total=1.0, completed=share, complete_style="green", finished_style="green"),
            f"{share:4.0%} · {watch.time_left}",
        )
        lines = [Text(watch.line())]
        if pause := watch.pause():
            lines.append(Text(pause, style="yellow"))
        return Group(row, *lines)


def progress(watch: Watch, console: Console) -> Progress:
    """Return the bar on a terminal, and plain lines elsewhere."""
    return Bar(watch, console) if console.is_terminal else Lines(watch, console)


class Forgiving:
    """Standard error as it is now; that it cannot be written must not end an import."""

    def __init__(self) -> None:
        self._stream: TextIO | None = sys.stderr

    @property
    def encoding(self) -> str:
        """The stream's encoding."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Say whether it is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Return its descriptor."""
        if self._stream is None:
            raise OSError("there is no standard error")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write, or else never again."""
        try:
            if self._stream is not None:
                self._stream.write(text)
        except OSError:
            self._lost()
        return len(text)

    def flush(self) -> None:
        """Write out what is buffered."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except OSError:
            self._lost()

    def _lost(self) -> None:
        if sys.stderr is self._stream:  # else Python would try it again at its exit, and say so
            sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        self._stream = None


def console() -> Console:
    """Return standard error, as what shows how an import goes."""
    return Console(file=cast("IO[str]", Forgiving()), highlight=False)


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count:,} rows are"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
