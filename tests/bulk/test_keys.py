"""The keys of an input: the first row that has one is known, and memory does not grow with them."""

import tracemalloc
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routera_async import JournalError
from routera_async.bulk.keys import AT_HAND, Keys

STATUSES = ["created", "duplicate", "rejected", "unknown", "not_sent"]

keys = st.sampled_from(["a", "A", "", "ä", "nul\0", "nul", "1", "1.0"])
claims = st.tuples(st.just("claim"), keys, st.sampled_from([None, *STATUSES]))
ends = st.sampled_from(["settle", "settle another"])
settlements = st.tuples(ends, keys, st.sampled_from(STATUSES))


def claim_all(known, rows):
    """Claim a key for each row."""
    for row in range(rows):
        known.claim(f"external-id-{row}", row)


@given(steps=st.lists(claims | settlements, max_size=60), at_hand=st.integers(1, 4))
def test_the_first_row_has_the_key(steps, at_hand):
    """A key is its first row's, with what became of it, until that has created nothing.

    But a row that was decided earlier takes it from one that is not, which is not heard then. So it
    is for the latest, which are in memory, and for those that were moved to the disk.
    """
    model = {}
    decided = {"created", "duplicate"}
    with closing(Keys(at_hand)) as known:
        for row, (what, key, status) in enumerate(steps):
            holder = model.get(key)
            if what == "claim":
                if holder is None or (status is not None and holder[1] not in decided):
                    model[key] = (row, status)
                assert known.claim(key, row, status) == model[key]
                continue
            if what == "settle another" or holder is None:
                known.settle(key, 1_000, status)
                continue
            known.settle(key, holder[0], status)
            if status in {"rejected", "not_sent"}:
                model.pop(key, None)
            elif key in model:
                model[key] = (model[key][0], status)
        for key, (row, status) in model.items():
            assert known.claim(key, 1_000) == (row, status)


def test_memory_does_not_grow_with_the_keys():
    """Each of 200,000 keys is known again, and they are held on disk."""
    tracemalloc.start()
    try:
        with closing(Keys()) as known:
            claim_all(known, 200_000)
            for row in range(0, 200_000, 1_000):
                assert known.claim(f"external-id-{row}", -1) == (row, None)
            (cached,) = known._db.execute("PRAGMA cache_size").fetchone()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000
    assert -4_000 <= cached < 0  # KiB of SQLite's own, which Python does not see


def test_a_disk_that_is_full():
    """A disk that is full is told as such, by an error of ours."""
    with closing(Keys()) as known:
        pages = known._db.execute("PRAGMA page_count").fetchone()[0]
        known._db.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(JournalError, match="cannot be kept: database or disk is full"):
            claim_all(known, 100_000)


def test_each_input_has_its_own():
    """Two inputs share no keys, and nothing is left of one that is closed."""
    with closing(Keys()) as one, closing(Keys()) as other:
        assert one.claim("a", 1) == (1, None)
        assert other.claim("a", 2) == (2, None)
    with pytest.raises(JournalError, match="closed"):
        one.claim("a", 3)


def test_few_keys_need_no_database():
    """Keys that are at hand take neither a file nor the memory of many; closed is closed."""
    with closing(Keys()) as known:
        claim_all(known, AT_HAND)
        known.settle("external-id-0", 0, "created")
        assert "_db" not in vars(known)
        claim_all(known, AT_HAND + 1)
        assert "_db" in vars(known)
    with closing(Keys()) as few:
        few.claim("a", 1)
    with pytest.raises(JournalError, match="closed"):
        few.claim("a", 2)
