"""The mappings of other help desks' exports: each row of an export ends as its guide says.

The example files are made by hand, with the column names of their vendors: Zendesk's export of
tickets and its API's tickets, Jira's "CSV (all fields)", HubSpot's default properties, and
ServiceNow's incident table. The guides in docs/migrating name the pages. What is real comes from
../shared/data.
"""

import csv
import gzip
import json
import re
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from routera_async.cli import run
from routera_async.sandbox import Store

ROOT = Path(__file__).parents[1]
MAPPINGS = ROOT / "examples/mappings"
DATA = ROOT.parent / "shared/data"
JIRA = sorted((DATA / "jira_storypoints").glob("*.csv"))
SERVICENOW = DATA / "servicenow_incidents/incident_event_log.csv.gz"

EXPECTED = {
    ("zendesk.csv", "zendesk"): {
        "zendesk-35436": {
            "ticket_name": "Invoice 42 charged twice",
            "pipeline": "default",
            "ticket_stage": "open",
            "ticket_owner": "jane@example.com",
            "priority": "high",
            "group": "Billing",
            "requester": "ana@example.com",
            "tags": "invoice refund",
            "ticket_type": "Problem",
            "opened_at": "2026-01-05T16:47:00Z",
        },
        "zendesk-35437": {
            "ticket_name": 'Dark mode: text is "black on black" 🌙',
            "pipeline": "default",
            "ticket_stage": "new",
            "priority": "medium",
            "group": "Support",
            "requester": "mei@example.com",
            "tags": "mobile",
            "opened_at": "2026-01-06T03:18:00Z",
        },
        "zendesk-35438": {
            "ticket_name": "Export fails, with an empty page",
            "pipeline": "default",
            "ticket_stage": "waiting",
            "ticket_owner": "joe@example.com",
            "priority": "medium",
            "group": "Support",
            "requester": "zoe@example.com",
            "tags": "export",
            "ticket_type": "Incident",
            "opened_at": "2026-01-06T06:56:00Z",
        },
        "zendesk-35440": {
            "ticket_name": "=SUM(A1:A9) is shown as text",
            "pipeline": "default",
            "ticket_stage": "closed",
            "ticket_owner": "support@example.com",
            "priority": "urgent",
            "group": "Billing",
            "requester": "ana@example.com",
            "ticket_type": "Question",
            "opened_at": "2026-01-07T10:00:00Z",
            "solved_at": "2026-01-08T09:05:00Z",
        },
        "zendesk-35441": {
            "ticket_name": "Pending: new card",
            "pipeline": "default",
            "ticket_stage": "waiting",
            "ticket_owner": "jane@example.com",
            "priority": "low",
            "group": "Billing",
            "requester": "mei@example.com",
            "tags": "card",
            "ticket_type": "Task",
            "opened_at": "2026-01-09T23:59:00Z",
        },
    },
    ("zendesk.jsonl", "zendesk_json"): {
        "zendesk-35436": {
            "ticket_name": "Invoice 42 charged twice",
            "pipeline": "default",
            "ticket_stage": "open",
            "ticket_owner": "jane@example.com",
            "priority": "high",
            "description": "We are 42 people and all of us see it;\nplease call back.",
            "tags": ["invoice", "refund"],
            "opened_at": "2026-01-05T16:47:03Z",
        },
        "zendesk-35437": {
            "ticket_name": "Dark mode: text is black on black 🌙",
            "pipeline": "default",
            "ticket_stage": "new",
            "priority": "medium",
            "description": "It worked yesterday, today it does not.",
            "tags": [],
            "opened_at": "2026-01-06T03:18:20Z",
        },
        "zendesk-35438": {
            "ticket_name": "Export fails",
            "pipeline": "default",
            "ticket_stage": "waiting",
            "ticket_owner": "support@example.com",
            "priority": "medium",
            "description": "See the attached log.",
            "tags": ["export"],
            "opened_at": "2026-01-06T06:56:00Z",
        },
    },
    ("jira.csv", "jira"): {
        "HELP-1": {
            "ticket_name": "Invoice 42 charged twice",
            "pipeline": "support",
            "ticket_stage": "open",
            "ticket_owner": "jane@example.com",
            "priority": "high",
            "description": "We are 42 people and all of us see it;\nplease call back.",
            "issue_type": "Bug",
            "label": "invoice",
            "story_points": 3,
            "opened_at": "2026-01-05T16:47:00Z",
        },
        "HELP-2": {
            "ticket_name": "Dark mode: text is black on black 🌙",
            "pipeline": "support",
            "ticket_stage": "new",
            "priority": "medium",
            "description": "It worked yesterday, today it does not.",
            "issue_type": "Task",
            "opened_at": "2026-01-06T03:18:00Z",
        },
        "SHOP-7": {
            "ticket_name": "Export fails",
            "pipeline": "shop",
            "ticket_stage": "closed",
            "ticket_owner": "support@example.com",
            "priority": "urgent",
            "description": "h2. Log\n{code}500{code}",
            "issue_type": "Bug",
            "label": "export",
            "story_points": 0.5,
            "opened_at": "2026-01-06T06:56:00Z",
            "resolved_at": "2026-01-08T11:29:00Z",
        },
        "SHOP-9": {
            "ticket_name": "New card",
            "pipeline": "shop",
            "ticket_stage": "waiting",
            "ticket_owner": "joe@example.com",
            "priority": "low",
            "issue_type": "Story",
            "story_points": 8,
            "opened_at": "2026-01-09T23:59:00Z",
        },
    },
    ("hubspot.csv", "hubspot"): {
        "hubspot-1301": {
            "ticket_name": "Invoice 42 charged twice",
            "pipeline": "default",
            "ticket_stage": "open",
            "ticket_owner": "jane@example.com",
            "priority": "high",
            "source": "Email",
            "category": "Billing issue",
            "description": "We are 42 people and all of us see it;\nplease call back.",
            "opened_at": "2026-01-05T16:47:00Z",
        },
        "hubspot-1302": {
            "ticket_name": "Dark mode: text is black on black 🌙",
            "pipeline": "default",
            "ticket_stage": "new",
            "priority": "medium",
            "source": "Chat",
            "category": "Product issue",
            "description": "It worked yesterday, today it does not.",
            "opened_at": "2026-01-06T03:18:00Z",
        },
        "hubspot-1303": {
            "ticket_name": "Wrong size",
            "pipeline": "returns",
            "ticket_stage": "closed",
            "ticket_owner": "support@example.com",
            "priority": "low",
            "source": "Form",
            "opened_at": "2026-01-06T06:56:00Z",
            "closed_at": "2026-01-08T11:29:00Z",
        },
        "hubspot-1305": {
            "ticket_name": "New card",
            "pipeline": "default",
            "ticket_stage": "waiting",
            "ticket_owner": "joe@example.com",
            "priority": "urgent",
            "source": "Phone",
            "opened_at": "2026-01-09T23:59:00Z",
        },
    },
    ("hubspot_contacts.csv", "hubspot_contacts"): {
        "hubspot-51": {
            "first_name": "Ana",
            "last_name": "Kovač",
            "email": "ana@example.com",
            "contact_owner": "jane@example.com",
            "phone": "+385 1 5550100",
            "job_title": "Head of finance",
        },
        "hubspot-52": {
            "first_name": "Zoë",
            "last_name": "Ångström",
            "email": "zoe@example.com",
            "contact_owner": "sales@example.com",
        },
        "hubspot-53": {"last_name": "Nguyen", "phone": "+84 24 5550100"},
    },
    ("servicenow.csv", "servicenow"): {
        "INC0010001": {
            "ticket_name": "Invoice 42 charged twice",
            "pipeline": "support",
            "ticket_stage": "open",
            "ticket_owner": "jane@example.com",
            "priority": "high",
            "category": "inquiry",
            "contact_type": "phone",
            "description": "We are 42 people and all of us see it;\nplease call back.",
            "opened_at": "2026-01-05T16:47:03Z",
        },
        "INC0010002": {
            "ticket_name": "No network in room 5",
            "pipeline": "network",
            "ticket_stage": "new",
            "priority": "urgent",
            "category": "network",
            "contact_type": "self-service",
            "opened_at": "2026-01-06T03:18:20Z",
        },
        "INC0010003": {
            "ticket_name": 'VPN drops after "sleep"',
            "pipeline": "support",
            "ticket_stage": "closed",
            "ticket_owner": "support@example.com",
            "priority": "low",
            "category": "software",
            "contact_type": "email",
            "description": "Since the update.",
            "opened_at": "2026-01-06T06:56:00Z",
            "closed_at": "2026-01-15T12:00:00Z",
        },
        "INC0010005": {
            "ticket_name": "New laptop",
            "pipeline": "support",
            "ticket_stage": "waiting",
            "ticket_owner": "joe@example.com",
            "priority": "low",
            "category": "hardware",
            "contact_type": "walk-in",
            "opened_at": "2026-01-09T23:59:59Z",
        },
    },
}
"""Each example, its mapping, and the fields of every record that it gives, by its key."""

OF_REAL_DATA = {"jira_issues", "servicenow_event_log"}
"""Mappings whose files are those of ../shared/data."""

NEVER_WRITTEN = {"id", "created_at", "updated_at", "archived", "archived_by", "external_id"}


def imported(capsys, path, mapping, *options):
    """Import a file, and return its exit status and its tally."""
    mapped = ("--mapping", str(MAPPINGS / f"{mapping}.toml"))
    status = run(["import", str(path), *mapped, "--json", *options])
    return status, json.loads(capsys.readouterr().out)


def stored(db):
    """Return the fields that were written of each record of a sandbox's file, by its key."""
    with closing(Store(db)) as store:
        records = [*store.records("tickets"), *store.records("contacts")]
    return {
        record["external_id"]: {
            name: value
            for name, value in record.items()
            if name not in NEVER_WRITTEN and value is not None
        }
        for record in records
    }


@pytest.mark.parametrize(("name", "mapping"), EXPECTED, ids=lambda value: value)
def test_each_row_of_an_export_arrives_as_the_guide_says(name, mapping, tmp_path, capsys):
    """Stages, priorities and owners are the account's, times have a zone, the rest is untouched."""
    path, db = tmp_path / name, tmp_path / "sandbox.db"
    path.write_bytes((MAPPINGS / name).read_bytes())
    kind = "contacts" if "contacts" in mapping else "tickets"
    options = ("--object", kind, "--sandbox-db", str(db), "--no-journal")
    status, told = imported(capsys, path, mapping, *options)
    expected = EXPECTED[name, mapping]
    assert (status, told["read"], told["created"]) == (0, len(expected), len(expected))
    assert stored(db) == expected
    status, told = imported(capsys, path, mapping, *options)
    assert (status, told["created"], told["duplicate"]) == (0, 0, len(expected))


@pytest.mark.parametrize(
    ("name", "mapping", "known", "column"),
    [
        ("zendesk.csv", "zendesk", ",New,", "Status"),
        ("zendesk.jsonl", "zendesk_json", '"new"', "status"),
        ("jira.csv", "jira", ",To Do,", "Status"),
        ("hubspot.csv", "hubspot", '"New"', "Ticket status"),
        ("servicenow.csv", "servicenow", '"1"', "state"),
    ],
)
def test_a_state_that_nobody_named_is_rejected(name, mapping, known, column, tmp_path, capsys):
    """A state of one's own is told before anything is sent, and no stage is guessed for it."""
    content = (MAPPINGS / name).read_text("utf-8")
    path = tmp_path / name
    path.write_text(content.replace(known, known[0] + "Escalated" + known[-1], 1), "utf-8")
    status, told = imported(capsys, path, mapping, "--dry-run")
    assert (status, told["rejected"], told["not_sent"]) == (1, 1, told["read"] - 1)
    rejects = Path(told["rejects"]).read_text("utf-8")
    assert f"column '{column}': 'Escalated' is none of its values" in rejects


def test_real_issues_of_jira(tmp_path, capsys):
    """All sixteen files pass, and one arrives as it is, blank descriptions left out."""
    assert len(JIRA) == 16
    read = 0
    for path in JIRA:
        status, told = imported(capsys, path, "jira_issues", "--dry-run")
        assert (status, told["read"]) == (0, told["not_sent"])
        read += told["read"]
    assert read == 23_313
    db, path = tmp_path / "sandbox.db", DATA / "jira_storypoints/clover.csv"
    options = ("--set", "pipeline=clover", "--sandbox-db", str(db), "--no-journal")
    (tmp_path / path.name).symlink_to(path)
    assert imported(capsys, tmp_path / path.name, "jira_issues", *options)[0] == 0
    with path.open(encoding="utf-8", newline="") as file:
        assert stored(db) == {row["issuekey"]: issue(row) for row in csv.DictReader(file)}


def issue(row):
    """Return what a row of Jira's must be read back as."""
    fields = {"ticket_name": row["title"], "pipeline": "clover", "ticket_stage": "new"}
    if row["description"].strip():
        fields["description"] = row["description"]
    return fields | {"story_points": int(row["storypoint"])}


STAGES = {"New": "new", "Active": "open", "Resolved": "closed", "Closed": "closed"}
PRIORITIES = {"1": "urgent", "2": "high", "3": "medium", "4": "low"}


def test_real_incidents_of_servicenow(tmp_path, capsys):
    """The whole log passes, and the first row of each incident is the one that is created."""
    (tmp_path / SERVICENOW.name).symlink_to(SERVICENOW)
    path, db = tmp_path / SERVICENOW.name, tmp_path / "sandbox.db"
    status, told = imported(capsys, path, "servicenow_event_log", "--dry-run")
    assert (status, told["read"]) == (0, 119_998)
    assert (told["not_sent"], told["duplicate"]) == (20_769, 99_229)
    few = ("--limit", "2000", "--sandbox-db", str(db), "--no-journal")
    assert imported(capsys, path, "servicenow_event_log", *few)[0] == 0
    with gzip.open(SERVICENOW, "rt", encoding="utf-8", newline="") as file:
        rows = list(islice(csv.DictReader(file), 2_000))
    assert stored(db) == {row["number"]: incident(row) for row in reversed(rows)}


def incident(row):
    """Return what a row of ServiceNow's log must be read back as."""
    day, month, year, hour, minute = re.split("[/ :]", row["opened_at"])
    fields = {
        name: row[name] for name in ("category", "subcategory", "contact_type") if row[name] != "?"
    }
    return fields | {
        "ticket_name": " ".join(
            cell for cell in (row["number"], row["category"], row["subcategory"]) if cell != "?"
        ),
        "pipeline": "support" if row["assignment_group"] == "?" else row["assignment_group"],
        "ticket_stage": STAGES.get(row["incident_state"], "waiting"),
        "priority": PRIORITIES[row["priority"][0]],
        "opened_at": f"{year}-{month:0>2}-{day:0>2}T{hour:0>2}:{minute:0>2}:00Z",
    }


def test_every_mapping_is_tried_and_told():
    """A new mapping needs a file here, and a place in one of the guides."""
    mappings = {path.stem for path in MAPPINGS.glob("*.toml")}
    assert mappings == {mapping for _, mapping in EXPECTED} | OF_REAL_DATA
    guides = "".join(path.read_text("utf-8") for path in (ROOT / "docs/migrating").glob("*.md"))
    assert [each for each in mappings if f"`{each}.toml`" not in guides] == []
