"""Imports that are killed at random instants, and begun again by the same command.

    KILLS=200 pytest -n0 tests/reliability/test_kill.py

imports 300 real rows as often, into a sandbox that fails 1 write in 10 before or after it has done
it, and kills each import 1 to 3 times. What the last run tells is held to the store.
"""

import csv
import os
from collections import Counter, defaultdict
from pathlib import Path

import attrs
import pytest

from tests.reliability.killing import (
    TALLY,
    Killer,
    drawn,
    journal_of,
    odds,
    sandbox_of,
    seeded,
    survived,
)

DATA = Path(__file__).parents[3] / "shared" / "data" / "jira_storypoints"
ROWS, BLANK, COPIES = 300, 3, 5
KILLS = int(os.environ.get("KILLS", "4"))

MAPPING = [
    *("--map", "ticket_name=title", "--map", "description=description"),
    *("--map", "jira=issuekey", "--set", "pipeline=default", "--set", "ticket_stage=new"),
]
VARIANTS = {
    "own": ["--map", "external_id=issuekey"],
    "derived": [],
    "no_key": ["--no-key", "--quarantine", "1s"],
}


@attrs.frozen
class Input:
    """300 rows of one project: some without a title, some that are there twice."""

    path: Path
    rows: list

    @classmethod
    def written(cls, folder, rng):
        """Draw the rows, and write them."""
        source = rng.choice(sorted(DATA.glob("*.csv")))
        with source.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["title"].strip()]
        rows = rng.sample(rows, min(ROWS - COPIES, len(rows)))
        for row in rng.sample(rows[1:], BLANK):
            row["title"] = ""
        good = [row for row in rows if row["title"]]
        rows += rng.choices(good, k=ROWS - len(rows))
        rng.shuffle(rows)
        path = folder / source.name
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return cls(path, rows)

    @property
    def good(self):
        """How often each issue that can be created is there."""
        counts = defaultdict(int)
        for row in self.rows:
            counts[row["issuekey"]] += bool(row["title"])
        return {key: count for key, count in counts.items() if count}


def held_by(store):
    """Return what the store holds, by the issue that it was made of."""
    found = defaultdict(list)
    for record in store.records():
        found[record["jira"]].append(record)
    return found


def check(variant, given, told, told_of, found):
    """Hold the summary and the journal, row by row, to the store."""
    assert told["read"] == ROWS == sum(told[name] for name in TALLY[1:])
    counted = dict.fromkeys(TALLY[1:], 0)
    owners, created = {}, Counter()
    for number, row in enumerate(given.rows):
        status, id_ = told_of[number]
        counted[status] += 1
        records = {record["id"]: record for record in found[row["issuekey"]]}
        if not row["title"]:
            assert (status, records) == ("rejected", {})
        elif status == "created":
            assert records.keys() >= {id_} - {None}  # of a 409 on a key of ours no id is known
            assert {record["ticket_name"] for record in records.values()} == {row["title"]}
            assert id_ is None or owners.setdefault(id_, number) == number
            created[row["issuekey"]] += 1
        elif status == "duplicate":
            assert variant == "own"
            assert records
        else:
            assert (variant, status) == ("no_key", "unknown")
    if variant == "own":  # nobody else was there: what exists is ours, and the others repeat it
        assert created == dict.fromkeys(given.good, 1)
    assert counted == {name: told[name] for name in TALLY[1:]}
    assert told["rejected"] == BLANK


@pytest.mark.parametrize("number", range(KILLS))
async def test_an_import_that_is_killed_ends_the_same(tmp_path, number):
    """Of rows with keys none is lost and none is there twice; no status that is told is false.

    Without keys rows may end as unknown, but none is there twice either.
    """
    variant = list(VARIANTS)[number % len(VARIANTS)]
    rng, killer = seeded("kill", number), Killer()
    given = Input.written(tmp_path, rng)
    killer.draw(odds(0.1, errors=variant != "no_key"), seed=number)
    instants = drawn(rng, ROWS - BLANK - 2 * COPIES, rng.randint(1, 3))
    async with sandbox_of(killer) as sandbox:
        arguments = (given.path, *MAPPING, *VARIANTS[variant])
        status, told = await survived(sandbox, killer, instants, *arguments)
        found = held_by(sandbox.store)
    assert killer.kills
    check(variant, given, told, journal_of(Path(told["journal"])), found)
    assert all(len(found[key]) <= count for key, count in given.good.items())
    if variant == "no_key":
        assert (status, told["not_sent"]) == (3 if told["unknown"] else 1, 0)
        return
    assert (status, told["unknown"], told["not_sent"]) == (1, 0, 0)
    once = {key: 1 if variant == "own" else count for key, count in given.good.items()}
    assert {key: len(records) for key, records in found.items() if records} == once
