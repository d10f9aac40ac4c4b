"""What a person sees while an import runs: a live bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import attrs
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from routera_async.bulk.report import Summary
from routera_async.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    ImportPaused,
    ImportResumed,
)

_EVERY = 5.0
"""Seconds between two plain lines."""


@attrs.define
class Watch:
    """What is known of an import while it runs; a hook that hears of attempts and pauses.

    `total` is how many rows will be read, `give_up_after` how many seconds an outage is waited
    out; `clock` gives seconds.
    """

    total: int
    summary: Summary = attrs.field(factory=Summary)
    clock: Callable[[], float] = time.monotonic
    give_up_after: float | None = None
    done: int = 0
    in_flight: int = 0
    paused: str | None = None
    """Why nothing is sent now, or None."""
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

    @property
    def elapsed(self) -> float:
        """Seconds since the import began."""
        return self.clock() - self.started

    @property
    def rate(self) -> float:
        """Rows done a second, since the import began."""
        return self.done / self.elapsed if self.elapsed > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take at this rate, or None before there is one."""
        return (self.total - self.done) / self.rate if self.rate else None

    @property
    def time_left(self) -> str:
        """The time left, for a person."""
        return f"{_clock(self.left)} left"

    def pause(self) -> str:
        """Return, while nothing is sent, why and how long that is waited out; else nothing."""
        if self.paused is None:
            return ""
        waited = int((self.clock() - self.paused_at) // 60)
        of = "" if self.give_up_after is None else f" of {round(self.give_up_after / 60)}"
        return f"{self.paused}; waiting, {waited}{of} minutes"

    def line(self) -> str:
        """Return the tally so far as one line of plain text."""
        tally = self.summary
        return (
            f"{self.done:,} of {self.total:,} · {self.rate:,.0f}/s · created {tally.created:,} · "
            f"duplicate {tally.duplicate:,} · rejected {tally.rejected:,} · "
            f"unknown {tally.unknown:,} · retries {tally.retries:,} · "
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
        """Take note that one more row is done."""


class Lines:
    """One plain line every five seconds, one when an import pauses or goes on, one at the end."""

    def __init__(self, watch: Watch, console: Console) -> None:
        self._watch = watch
        self._console = console
        self._next = watch.clock() + _EVERY
        self._paused = watch.paused

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._print()

    def moved(self) -> None:
        """Print a line when five seconds have passed since the last."""
        now = self._watch.clock()
        if now >= self._next or self._watch.paused != self._paused:
            self._next = now + _EVERY
            self._paused = self._watch.paused
            self._print()

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


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
