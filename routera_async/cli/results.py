"""What a person reads when an import has ended."""

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from routera_async.bulk.report import Summary

_KINDS = 1_000
"""Different reasons that are counted: memory must not grow with the rows."""

_SHOWN = 3
"""Reasons that are shown, the most frequent first."""


class Reasons:
    """Why rows did not arrive: how often each reason, and the first line that it met."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lines: dict[str, int] = {}

    def add(self, reason: str, line: int) -> None:
        """Count one row's reason."""
        if reason in self._counts or len(self._counts) < _KINDS:
            self._counts[reason] += 1
            self._lines.setdefault(reason, line)

    def most_frequent(self) -> list[str]:
        """Return the three most frequent, one line of text each."""
        return [
            f"{_rows(count)}: {reason} (the first on line {self._lines[reason]:,})"
            for reason, count in self._counts.most_common(_SHOWN)
        ]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def print_summary(console: Console, summary: Summary, *, dry_run: bool) -> None:
    """Print the tally as a table; after a dry run, what was not sent is what would be."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    rate = (summary.read - summary.resumed) / summary.seconds if summary.seconds else 0.0
    for name, value in [
        ("read", f"{summary.read:,}"),
        ("created", f"{summary.created:,}"),
        ("duplicate", f"{summary.duplicate:,}"),
        ("rejected", f"{summary.rejected:,}"),
        ("unknown", f"{summary.unknown:,}"),
        ("would be sent" if dry_run else "not sent", f"{summary.not_sent:,}"),
        ("requests", f"{summary.requests:,}"),
        ("retries", f"{summary.retries:,}"),
        ("seconds", f"{summary.seconds:,.1f} ({rate:,.0f} rows/s)"),
    ]:
        table.add_row(name, value)
    console.print(table)


def print_notes(
    note: Callable[[str], None],
    summary: Summary,
    reasons: Reasons,
    *,
    keys: Sequence[str],
    database: Path | None,
) -> None:
    """Tell where what did not arrive is to be found, why it did not, and where the rest is.

    `keys` are the fields by which a row that is sent again is recognised.
    """
    if summary.rejects:
        note(f"rows that did not arrive: {summary.rejects}")
    for reason in reasons.most_frequent():
        note(f"  {reason}")
    if summary.unknown:
        known = " or ".join(keys)
        note(f"unknown rows may exist: run again, and those with an {known} are recognised")
        if summary.journal is not None:
            note(f"or look for them: routera reconcile {shlex.quote(summary.journal)}")
    if database is not None:
        path = shlex.quote(str(database))
        note(f"to look at what arrived: routera sandbox --any-field --db {path}")
