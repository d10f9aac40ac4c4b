"""What a person sees while an import runs."""

import io

from rich.console import Console

from routera_async.cli.progress import Bar, Lines, Watch, progress
from routera_async.events import AttemptFinished, AttemptStarted, RetryScheduled


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        """Return the seconds it shows."""
        return self.now


def finished(*, sent):
    """Return the end of an attempt."""
    return AttemptFinished(
        "POST", "/tickets", 1, sent=sent, status=201 if sent else None, error=None, elapsed=0.1
    )


def watch(total=1000, done=250, seconds=10.0):
    """Return a watch of an import that has run for a while, and its clock."""
    clock = Clock()
    watched = Watch(total, clock=clock)
    watched.done = watched.summary.created = done
    clock.now += seconds
    return watched, clock


def console(*, terminal):
    """Return a console whose output can be read back."""
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, highlight=False)


def test_the_hook_counts_those_in_flight():
    """What has begun and not ended is in flight."""
    watched = Watch(10)
    for event in [
        AttemptStarted("POST", "/tickets", 1),
        finished(sent=False),
        RetryScheduled("POST", "/tickets", 2, 0.1),
        AttemptStarted("POST", "/tickets", 2),
        AttemptStarted("POST", "/tickets", 1),
        finished(sent=True),
    ]:
        watched(event)
    assert watched.in_flight == 1


def test_rate_and_time_left_follow_from_what_is_done():
    """250 of 1,000 rows in 10 seconds are 25 a second, and 30 seconds are left."""
    watched, _ = watch()
    assert (watched.rate, watched.left) == (25.0, 30.0)
    assert watched.line().startswith("250 of 1,000 · 25/s · created 250")
    assert watched.time_left == "0:30 left"


def test_before_the_first_row_the_time_left_is_not_known():
    """No rate, no guess."""
    watched, _ = watch(done=0)
    assert watched.left is None
    assert watched.time_left == "? left"


def test_hours_are_shown_as_such():
    """Long imports show hours, minutes and seconds."""
    watched, _ = watch(total=1_000_000, done=100)
    assert watched.time_left == "27:46:30 left"


def test_plain_lines_come_every_five_seconds_and_at_the_end():
    """Where there is no terminal, a line is printed every five seconds, and one at the end."""
    watched, clock = watch(seconds=0.0)
    out = console(terminal=False)
    shown = progress(watched, out)
    assert isinstance(shown, Lines)
    with shown:
        for _ in range(11):
            clock.now += 1.0
            shown.moved()
    lines = out.file.getvalue().splitlines()
    assert len(lines) == 3
    assert all(line.endswith(" left") for line in lines)


def test_the_bar_tells_all_that_the_line_does():
    """On a terminal a bar is drawn, with its share and the tally below it."""
    watched, _ = watch()
    out = console(terminal=True)
    shown = progress(watched, out)
    assert isinstance(shown, Bar)
    out.print(shown.render())
    drawn = out.file.getvalue()
    assert "25%" in drawn
    for part in ("250 of 1,000", "25/s", "created 250", "in flight 0", "0:30 left"):
        assert part in drawn


def test_the_bar_of_an_empty_file_is_full():
    """Nothing to do is done."""
    watched, _ = watch(total=0, done=0)
    out = console(terminal=True)
    with Bar(watched, out) as shown:
        shown.moved()
    assert "100%" in out.file.getvalue()
