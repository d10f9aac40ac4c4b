"""Imports that crash anywhere come to the same, and the bugs that are planted are found."""

from datetime import UTC, datetime, timedelta

import pytest

from routera_async.bulk.reconcile import Doubt, reconcile
from tests.simulation.import_bugs import BUGS, caught
from tests.simulation.imports import at_every_commit, at_every_step, run_seeds, simulate
from tests.simulation.seeds import digests


@pytest.mark.parametrize("start", range(0, 300, 50))
def test_no_invariant_is_violated(start):
    """In 300 seeds of 20 rows, killed up to four times each, what is told is what the store holds.

    No row with a key is created twice, none is unknown once faults have ended, and none is sent
    before its intent is on disk.
    """
    totals = run_seeds(range(start, start + 50))
    assert totals.violations == []
    assert totals.crashes >= 50
    assert {"created", "rejected", "duplicate"} <= set(totals.outcomes)


@pytest.mark.parametrize(("seed", "rows"), [(3, 6), (20, 6)])
def test_a_crash_at_every_step(seed, rows):
    """Whichever step of its loop an import is killed at, it resumes to the same."""
    totals = run_seeds(range(seed, seed + 1), rows, at_every_step)
    assert totals.violations == []
    assert totals.crashes >= 50


@pytest.mark.parametrize("seed", [6, 14])
def test_a_copy_between_any_two_writes(seed):
    """Whatever is on disk before and after each commit, an import resumes from it to the same."""
    totals = run_seeds(range(seed, seed + 1), 10, at_every_commit)
    assert totals.violations == []
    assert totals.crashes >= 20


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a planted bug may forget to await
def test_a_planted_bug_is_caught(bug):
    """Each bug of the bank is found within 100 seeds, or by the test that it names."""
    assert caught(bug)


@pytest.mark.parametrize("seed", [17, 40])
def test_a_seed_is_one_run(seed):
    """A seed gives the same trace in any process, crashes and all, whatever its hash seed."""
    assert digests(simulate, seed) == {simulate(seed).digest}


@pytest.mark.parametrize("key_name", ["external_id", None])
async def test_absence_is_looked_for_twice(key_name):
    """A record that a first pass over the list misses, and a second shows, is not told as absent.

    A list may be served from a copy that is behind, or change under whoever reads it.
    """
    now = datetime(2026, 5, 1, tzinfo=UTC)
    fields = {"ticket_name": "Lamp", "external_id": "ext-1"} if key_name else {"ticket_name": "L"}
    passes = iter([[], [{**fields, "id": "1", "created_at": now}]])

    async def records(_):
        for flat in next(passes):
            yield flat

    async def claimed(_):
        return set()

    async def wait():
        """Wait for nothing."""

    doubt = Doubt(
        row=0,
        fields=fields,
        first_sent=now,
        last_sent=now,
        key_name=key_name,
        naming=frozenset({"ticket_name"}),
    )
    (verdict,) = await reconcile(
        [doubt],
        began=now,
        records=records,
        claimed=claimed,
        wait=wait,
        quarantine=timedelta(seconds=60),
    )
    assert (verdict.status, verdict.id) == ("created", "1")
