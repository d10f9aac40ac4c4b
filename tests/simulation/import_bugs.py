"""The bank of an import's seeded bugs: each caught within 100 seeds, or by a named test.

python -m tests.simulation.import_bugs
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import attrs

from routera_async.bulk import journal_file, many, reconcile
from routera_async.bulk.books import ImportBooks
from routera_async.bulk.journal import Journal
from routera_async.bulk.journal_rows import OPEN
from routera_async.bulk.limiter import Limiter

from .bugs import SEEDS, Bug, caught_by_test
from .imports import simulate

Planted = contextlib.AbstractContextManager[Any]


def _told(journal: Any, row: int, key: str | None) -> None:
    """Tell a journal of an intent without waiting for its commit."""
    journal._check()
    journal._tell((row, OPEN, 1, int(journal._clock() * 1000), None, key, None, None))


def _no_commit_before_send() -> Planted:
    async def intend(self: Any, row: int, key: str | None) -> None:
        _told(self, row, key)
        self._linger()

    return patch.object(Journal, "intend", intend)


def _intent_after_send() -> Planted:
    real, keys = ImportBooks.closes, dict[int, str | None]()

    async def intends(self: Any, row: int, new: Any) -> None:
        self._began[row] = self._clock()
        keys[row] = new.own

    def closes(self: Any, new: Any, outcome: Any) -> Any:
        if outcome.row in self._began:
            _told(self._journal, outcome.row, keys[outcome.row])
        return real(self, new, outcome)

    return patch.multiple(ImportBooks, intends=intends, closes=closes)


def _ignore_open_intents() -> Planted:
    real = Journal.known

    async def known(self: Any, row: int) -> Any:
        entry = await real(self, row)
        return None if entry is None or entry.status == "unknown" else entry

    return patch.object(Journal, "known", known)


def _no_lock() -> Planted:
    settings = tuple(each for each in journal_file._SETTINGS if "EXCLUSIVE" not in each)
    return patch.object(journal_file, "_SETTINGS", settings)


def _no_quarantine() -> Planted:
    real = many.reconcile

    async def at_once(*args: Any, **kwargs: Any) -> Any:
        return await real(*args, **kwargs | {"wait": lambda: asyncio.sleep(0)})

    return patch.object(many, "reconcile", at_once)


def _forget_the_derived_key() -> Planted:
    def key(self: Any, row: int) -> str | None:
        again = "again" if self._journal.resumed else "first"
        return f"{self._journal.import_id}:{again}:{row}" if self._derive else None

    return patch.object(ImportBooks, "key", key)


def _send_repeats_at_once() -> Planted:
    def none(*_: Any, **__: Any) -> None:
        return None

    return patch.multiple(ImportBooks, awaits=none, _claim=none)


def _settle_before_the_answer() -> Planted:
    real = ImportBooks.intends

    async def intends(self: Any, row: int, new: Any) -> None:
        await real(self, row, new)
        self._journal.settle(row, "created")

    return patch.object(ImportBooks, "intends", intends)


def _forget_the_doubt() -> Planted:
    """Have what this life meets decide, whatever an earlier one has left."""
    real = ImportBooks.closes

    def closes(self: Any, new: Any, outcome: Any) -> Any:
        self._in_doubt.pop(outcome.row, None)
        return real(self, new, outcome)

    return patch.object(ImportBooks, "closes", closes)


def _forget_what_is_nameless() -> Planted:
    return patch.object(ImportBooks, "_note_nameless", lambda *_: None)


def _forget_the_keys_of_rows_passed_over() -> Planted:
    real = ImportBooks.known

    async def known(self: Any, row: int, given: Any) -> Any:
        self._asked = row
        return await real(self, row, given)

    return patch.object(ImportBooks, "known", known)


def _pass_over_rows_in_doubt() -> Planted:
    final = (*journal_file._FINAL, journal_file.UNKNOWN)
    where = journal_file._FIRST_UNDECIDED.replace("?, ?", "?, ?, ?", 1)
    return patch.multiple(journal_file, _FINAL=final, _FIRST_UNDECIDED=where)


def _trust_any_record() -> Planted:
    """Take whatever has the key for ours."""
    real = many.reconcile

    async def trusting(doubts: Any, **kwargs: Any) -> Any:
        return await real([attrs.evolve(doubt, ours=True) for doubt in doubts], **kwargs)

    return patch.object(many, "reconcile", trusting)


def _lose_outcomes() -> Planted:
    """Have the journal forget the outcomes that it was told since its last commit."""
    real = Journal._take

    def take(self: Any) -> Any:
        group = real(self)
        if group.waiting:
            group.told = [each for each in group.told if each[1] == OPEN]
        return group

    return patch.object(Journal, "_take", take)


def _look_at_the_clock_twice() -> Planted:
    """Set the timer of a probe by another look at the clock than the one that found it not due."""
    real = Limiter._wind

    def wind(self: Any, pause: Any, now: float) -> None:
        real(self, pause, self._loop.time())

    return patch.object(Limiter, "_wind", wind)


def _with(target: Any, name: str, instead: Any) -> Callable[[], Planted]:
    return lambda: patch.object(target, name, instead)


BUGS = [
    Bug("no commit before send", _no_commit_before_send),
    Bug("intent after send", _intent_after_send),
    Bug("resume ignores open intents", _ignore_open_intents),
    Bug(
        "the wrong input is accepted",
        _with(journal_file, "_compare", lambda *_: None),
        test="tests/bulk/test_journal.py::test_another_import_is_refused",
    ),
    Bug("a missing lock", _no_lock, test="tests/bulk/test_journal.py::test_two_in_one_process"),
    Bug("quarantine too short", _no_quarantine),
    Bug(
        "the first list pass is trusted",
        _with(reconcile._Found, "misses", lambda _: False),
        test="tests/simulation/test_imports.py::test_absence_is_looked_for_twice",
    ),
    Bug("derived key forgotten on resume", _forget_the_derived_key),
    Bug("a repeated key sent at once", _send_repeats_at_once),
    Bug("outcome settled before the answer", _settle_before_the_answer),
    Bug("a 409 on resume is somebody else's", _with(ImportBooks, "is_doubtful", lambda *_: False)),
    Bug("what an earlier life left in doubt is forgotten", _forget_the_doubt),
    Bug(
        "a created row without an id is no candidate",
        _forget_what_is_nameless,
        test="tests/bulk/test_many.py::test_a_twin_whose_id_was_lost",
    ),
    Bug("whatever has the key is ours", _trust_any_record),
    Bug("outcomes are lost in a commit", _lose_outcomes),
    Bug("the keys of rows passed over are forgotten", _forget_the_keys_of_rows_passed_over),
    Bug("rows in doubt are passed over", _pass_over_rows_in_doubt),
    Bug(
        "a probe is lost where a timer rings early",
        _look_at_the_clock_twice,
        test="tests/bulk/test_limiter.py::test_no_probe_is_lost_where_timers_ring_early",
    ),
]


def caught(bug: Bug) -> str | None:
    """Return what catches a bug first, or None when nothing does."""
    if bug.test is not None:
        return caught_by_test(bug.name, bug.test)
    with bug.plant():
        for seed in range(SEEDS):
            if violations := simulate(seed).violations:
                return f"seed {seed}: {violations[0].invariant}"
    return None


def main() -> int:
    """Print what catches each bug; return 1 when one is not caught."""
    found = {bug.name: caught(bug) for bug in BUGS}
    for name, by in found.items():
        print(f"| {name} | {by or 'NOT CAUGHT'} |")
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
