"""What a person sees while an import runs."""

import io

import pytest
from rich.console import Console

from routera_async.bulk.engine import Outcome
from routera_async.cli.progress import Bar, Lines, Watch, progress
from routera_async.events import (
    AttemptFinished,
    AttemptStarted,
    ImportPaused,
    ImportReconciling,
    ImportResumed,
    RetryScheduled,
    RowInDoubt,
)


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
    watched.summary.created = done
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


NOT_ANSWERING = ImportPaused("Routera is not answering (ServerDisconnectedError)", 1.0)
PAUSES = [
    pytest.param(1800.0, 0.0, "waiting, 0 seconds", id="at first"),
    pytest.param(1800.0, 59.9, "waiting, 59 seconds", id="under a minute"),
    pytest.param(1800.0, 180.0, "waiting, 3 of 30 minutes", id="minutes"),
    pytest.param(90.0, 60.0, "waiting, 1 of 1.5 minutes", id="90s"),
    pytest.param(None, 600.0, "waiting, 10 minutes", id="never given up"),
]


@pytest.mark.parametrize(("give_up_after", "lasted", "says"), PAUSES)
def test_a_pause_is_told_in_words(give_up_after, lasted, says):
    """Why, and how long of how long; what aiohttp calls it is left out."""
    watched, clock = watch()
    watched.give_up_after = give_up_after
    watched(NOT_ANSWERING)
    clock.now += lasted
    assert watched.pause() == f"Routera is not answering; {says}"
    watched(ImportResumed(lasted))
    assert watched.pause() == ""


def test_rows_in_doubt_are_unknown_until_they_are_settled():
    """They are counted while the import runs, and what is waited for at its end is told."""
    watched, clock = watch(total=3, done=1)
    watched(RowInDoubt(1))
    watched(RowInDoubt(2))
    assert "unknown 2 · " in watched.line()
    watched(ImportReconciling(2, 60.0))
    clock.now += 20.0
    told = "2 rows are in doubt: the list is read in 40 seconds, to see what has arrived"
    assert watched.pause() == told
    clock.now += 60.0
    assert "the list is read now" in watched.pause()
    watched.summary.created += 1
    watched.told(Outcome(status="created", row=1))
    watched.summary.unknown += 1
    watched.told(Outcome(status="unknown", row=2))
    assert (watched.pause(), watched.done) == ("", 3)
    assert "unknown 1 · " in watched.line()


def test_what_an_earlier_run_has_done_says_nothing_of_the_rate():
    """Rows that the journal knows take no time, and would promise too much."""
    watched, _ = watch(total=1000, done=500)
    watched.summary.resumed = 400
    assert (watched.rate, watched.left) == (10.0, 50.0)


def test_a_pause_is_a_line_of_its_own():
    """Where there is no terminal, a pause is told when it begins, each minute, and at its end."""
    watched, clock = watch(seconds=0.0)
    out = console(terminal=False)
    with progress(watched, out) as shown:
        watched(NOT_ANSWERING)
        for _ in range(125):
            shown.moved()
            clock.now += 1.0
        watched(ImportResumed(125.0))
        shown.moved()
    waiting = [line for line in out.file.getvalue().splitlines() if "waiting" in line]
    assert [line.partition("; ")[2] for line in waiting] == [
        *("waiting, 0 seconds", "waiting, 1 minute", "waiting, 2 minutes")
    ]


def test_the_bar_tells_of_a_pause_below():
    """On a terminal it is a line of its own, below the tally."""
    watched, _ = watch()
    watched(NOT_ANSWERING)
    out = console(terminal=True)
    out.print(progress(watched, out).render())
    assert "Routera is not answering; waiting, 0 seconds" in out.file.getvalue().splitlines()[-1]
