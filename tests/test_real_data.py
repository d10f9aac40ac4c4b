"""Real help-desk exports, imported whole; ../shared/data/README.md says what each must give.

    WHOLE=1 pytest -n0 tests/test_real_data.py

imports all of them under faults and kills too, of which the suite does a part.
"""

import csv
import gzip
import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

from routera_async.sandbox import Store
from tests.reliability.killing import Killer, drawn, odds, sandbox_of, seeded, survived

DATA = Path(__file__).parents[2] / "shared" / "data"
JIRA = sorted((DATA / "jira_storypoints").glob("*.csv"))
SERVICENOW = DATA / "servicenow_incidents" / "incident_event_log.csv.gz"

JIRA_MAPPING = [
    *("--map", "ticket_name=title", "--map", "external_id=issuekey"),
    *("--map", "description=description", "--map", "storypoint=storypoint:number"),
    *("--set", "ticket_stage=new"),
]
SERVICENOW_MAPPING = [
    *("--template", "ticket_name={category} {subcategory}", "--map", "external_id=number"),
    *("--map", "pipeline=assignment_group", "--map", "ticket_stage=incident_state"),
    *("--map", "priority=priority", "--map", "impact=impact", "--map", "urgency=urgency"),
    *("--map", "contact_type=contact_type", "--map", "opened_at=opened_at"),
]

WHOLE = "WHOLE" in os.environ
PART = 6_000
"""Rows of the incidents that the suite imports under faults."""

TALLY = ("read", "created", "duplicate", "rejected", "unknown", "not_sent")

PEAK = """
import resource, sys
from routera_async.cli import run
status = run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""
"""Runs the command line and tells the peak of its memory, in KiB, on the last line of stderr."""


def imported(folder, path, *options):
    """Import a file in a process of its own; return the summary and the peak memory in MiB."""
    linked = folder / path.name
    if not linked.exists():
        linked.symlink_to(path)  # the rejects file goes beside the input
    ended = subprocess.run(
        [sys.executable, "-c", PEAK, "import", str(linked), *options, "--json"],
        capture_output=True,
        check=False,
        env={name: value for name, value in os.environ.items() if "ROUTERA" not in name},
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return json.loads(ended.stdout), int(ended.stderr.split()[-1]) / 1024


def import_jira(folder, db, *more):
    """Import all sixteen files, and return the sum of their summaries."""
    total = dict.fromkeys(TALLY, 0)
    for path in JIRA:
        options = [*JIRA_MAPPING, "--set", f"pipeline={path.stem}", "--sandbox-db", str(db), *more]
        told, _ = imported(folder, path, *options)
        total = {name: value + told[name] for name, value in total.items()}
    return total


def jira_rows():
    """Yield each row of the sixteen files, with the pipeline it goes to."""
    for path in JIRA:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield path.stem, row


def expected(pipeline, row):
    """Return what a row must be read back as: each cell as it is, blank ones left out."""
    cells = {"ticket_name": row["title"], "description": row["description"]}
    kept = {name: cell for name, cell in cells.items() if cell.strip()}
    return kept | {
        "pipeline": pipeline,
        "ticket_stage": "new",
        "storypoint": int(row["storypoint"]),
    }


def test_the_data_is_there():
    """The data is part of the project's surroundings: without it the tests fail."""
    assert len(JIRA) == 16
    assert SERVICENOW.is_file()


def test_jira_arrives_whole_and_once(tmp_path):
    """All 23,313 issues arrive, byte for byte; imported again, none is created."""
    db = tmp_path / "sandbox.db"
    nothing = {"rejected": 0, "unknown": 0, "not_sent": 0}
    first = {"read": 23_313, "created": 23_313, "duplicate": 0}
    assert import_jira(tmp_path, db) == first | nothing
    store = Store(db)
    found = {record["external_id"]: record for record in store.records()}
    store.close()
    assert len(found) == 23_313
    for pipeline, row in jira_rows():
        record, fields = found.pop(row["issuekey"]), expected(pipeline, row)
        assert {name: record[name] for name in fields} == fields
        assert ("description" in record) == ("description" in fields)
    assert not found
    again = {"read": 23_313, "created": 0, "duplicate": 23_313}
    assert import_jira(tmp_path, db, "--no-journal") == again | nothing


def test_servicenow_arrives_once_in_bounded_memory(tmp_path):
    """Of 119,998 rows 20,769 are created and the rest are duplicates, in memory that stays flat."""
    few, low = imported(tmp_path, SERVICENOW, *SERVICENOW_MAPPING, "--sandbox", "--limit", "5000")
    assert few["read"] == 5_000
    db = ("--sandbox-db", str(tmp_path / "sandbox.db"))
    told, high = imported(tmp_path, SERVICENOW, *SERVICENOW_MAPPING, *db)
    assert (told["read"], told["created"], told["duplicate"]) == (119_998, 20_769, 99_229)
    assert high - low < 20, f"peak {low:.0f} MiB for 5,000 rows, {high:.0f} MiB for 119,998"


async def disturbed(folder, path, creates, *options):
    """Import a file with faults at 5 % and three kills; return its tally, and the store's.

    `creates` is about how many requests it takes.
    """
    linked, killer = folder / path.name, Killer()
    linked.symlink_to(path)
    rng = seeded(path.name)
    killer.draw(odds(0.05), seed=rng.randrange(1000))
    async with sandbox_of(killer) as sandbox:
        instants = drawn(rng, creates // 3, kills=3)
        status, told = await survived(sandbox, killer, instants, linked, *options)
        assert (status, killer.kills) == (0, 3)
        found = sandbox.store.count()
    return tuple(told[name] for name in TALLY), found


async def test_jira_arrives_whole_and_once_whatever_happens(tmp_path):
    """With faults and kills each file gives what it gives undisturbed: its rows, each once."""
    total = 0
    for path in JIRA if WHOLE else [each for each in JIRA if each.stem in {"clover", "duracloud"}]:
        with path.open(encoding="utf-8", newline="") as file:
            rows = sum(1 for _ in csv.DictReader(file))
        options = [*JIRA_MAPPING, "--set", f"pipeline={path.stem}"]
        told, found = await disturbed(tmp_path, path, rows, *options)
        assert told == (rows, rows, 0, 0, 0, 0)
        assert found == rows
        total += rows
    assert total == (23_313 if WHOLE else 1_050)


async def test_servicenow_arrives_once_whatever_happens(tmp_path):
    """With faults and kills the repeated keys are the same duplicates as undisturbed."""
    with gzip.open(SERVICENOW, "rt", encoding="utf-8", newline="") as file:
        rows = islice(csv.DictReader(file), None if WHOLE else PART)
        numbers = [row["number"] for row in rows]
    read, keys = len(numbers), len(set(numbers))
    options = [*SERVICENOW_MAPPING, "--limit", str(read)]
    told, found = await disturbed(tmp_path, SERVICENOW, keys, *options)
    assert told == (read, keys, read - keys, 0, 0, 0)
    assert found == keys
    if WHOLE:
        assert told[:3] == (119_998, 20_769, 99_229)
