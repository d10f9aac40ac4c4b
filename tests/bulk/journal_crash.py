"""What the journal's tests share: a model of what it must know, copies as a crash leaves them."""

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from routera_async.bulk.journal import Binding, Journal
from routera_async.bulk.journal_file import JournalFile

BINDING = Binding(digest="ab" * 32, target="https://api.routera.io", mapping="tickets\nname=title")

NOW = 1_764_000_000.25


@attrs.frozen
class Intent:
    """That a row is about to be sent."""

    row: int
    key: str | None = None


@attrs.frozen
class Outcome:
    """That a row's fate is known."""

    row: int
    status: str
    id: str | None = None
    reason: str | None = None
    body: str | None = None
    proven: bool = False


@attrs.define
class Row:
    """What the model knows of a row: each intent not proven unsent, and the last word."""

    sent: list = attrs.Factory(list)
    under_way: bool = False
    status: str = "unknown"
    key: str | None = None
    id: str | None = None
    reason: str | None = None
    body: str | None = None

    def as_tuple(self):
        """Return what an entry must say."""
        first = self.sent[0] if self.sent else None
        return (self.status, len(self.sent), first, self.id, self.key, self.reason, self.body)


def model(told, now=NOW):
    """Return what a journal must know once it was told all this, by row.

    None among what is told is the end of a process: what was under way is not any more.
    """
    rows = {}
    for each in told:
        if each is None:
            for row in rows.values():
                row.under_way = False
        elif isinstance(each, Intent):
            row = rows.setdefault(each.row, Row())
            row.sent.append(now)
            row.under_way, row.status, row.reason, row.body = True, "unknown", None, None
            row.key = each.key or row.key
        else:
            settle(rows.setdefault(each.row, Row(status="")), each)
    return {number: row.as_tuple() for number, row in rows.items()}


def settle(row, outcome):
    """Hear an outcome: "not sent" withdraws the intent under way and decides nothing else.

    One that is proven decides whatever the attempts have met.
    """
    if outcome.proven:
        row.status, row.id, row.reason, row.body = outcome.status, outcome.id, outcome.reason, None
        row.sent = [] if outcome.status == "not_sent" else row.sent
        row.under_way = False
        return
    if outcome.status != "not_sent" or not row.sent:
        row.status = outcome.status
    elif not row.under_way:
        return
    else:
        row.sent.pop()
        row.status = "unknown" if row.sent else "not_sent"
    row.under_way = False
    row.id, row.reason, row.body = outcome.id or row.id, outcome.reason, outcome.body


def as_tuple(entry):
    """Return an entry as the model has it."""
    return (
        entry.status,
        entry.attempts,
        entry.sent,
        entry.id,
        entry.key,
        entry.reason,
        entry.body,
    )


async def everything(journal, rows):
    """Return all that a journal knows of these rows, and hold its other answers against that."""
    found = {row: entry for row in rows if (entry := await journal.known(row)) is not None}
    assert all(entry.row == row for row, entry in found.items())
    counts = {}
    for entry in found.values():
        counts[entry.status] = counts.get(entry.status, 0) + 1
    assert {name: count for name, count in (await journal.tally()).items() if count} == counts
    undecided = [entry async for entry in journal.undecided()]
    assert undecided == [e for e in found.values() if e.status in {"unknown", "held"}]
    return {row: as_tuple(entry) for row, entry in found.items()}


def opened(path, binding=BINDING, **how):
    """Open a journal by a clock that stands still."""
    return Journal.open(path, binding, clock=lambda: NOW, **how)


@contextmanager
def in_memory():
    """Give a folder in memory, where there is such a thing: thousands of files are made in it."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def inline(function):
    """Run a journal's blocking work in the loop, a turn later: no threads."""

    async def run():
        await asyncio.sleep(0)
        return function()

    return run()


def as_left(path):
    """Return the bytes that a crash would leave of a journal now: of its file and of its log."""
    log = Path(f"{path}-wal")
    return path.read_bytes(), log.read_bytes() if log.exists() else None


def laid(path, left):
    """Put a journal there as a crash left it."""
    path.parent.mkdir(exist_ok=True)
    for leftover in path.parent.glob(f"{path.name}*"):
        leftover.unlink()
    data, log = left
    path.write_bytes(data)
    if log is not None:
        Path(f"{path}-wal").write_bytes(log)
    return path


def resumed(path):
    """Open a journal's file alone, read all of it, and close it as a crash does not."""
    file = JournalFile.open(path, BINDING, lambda: "0" * 32, lambda: NOW)
    try:
        return file.import_id, file.read(0)
    finally:
        file.close([], whole=True)


def program(source, *arguments):
    """Start a program of its own that has this module's names."""
    head = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
    head += "import asyncio, os, signal\nfrom tests.bulk.journal_crash import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + source, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
