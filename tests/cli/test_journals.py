"""`routera reconcile` and `routera report`: what an import's journal says, and what it lacks."""

import json
from contextlib import closing

import pytest

from routera_async.bulk.journal_file import OPEN, UNKNOWN, JournalFile
from routera_async.sandbox import Fault

HEADER = "ticket_name,pipeline,ticket_stage,external_id\n"
NO_LIST = Fault("refused_token", on="GET /tickets")


@pytest.fixture
def write(tmp_path):
    """Write a file of tickets, and return its path."""

    def write(content):
        path = tmp_path / "tickets.csv"
        path.write_text(content)
        return path

    return write


@pytest.fixture
def in_doubt(routera, api, write):
    """Import tickets of which the first meets a fault, with no list to settle it by."""

    def imported(content, fault, *options):
        api.ask(lambda sandbox: sandbox.faults.script(fault))
        api.ask(lambda sandbox: sandbox.faults.draw({NO_LIST: 1.0}))
        path = write(content)
        ended = routera("import", path, "--json", "--quarantine", "0s", *options)
        assert (ended.status, ended.record["unknown"]) == (3, 1)
        assert f"or look for them: routera reconcile {path}.journal" in ended.err
        api.ask(lambda sandbox: sandbox.faults.clear())
        return path.with_name("tickets.csv.journal")

    return imported


UNKEYED = "ticket_name,pipeline,ticket_stage\nA,p,new\nB,p,new\n"


def test_a_lost_answer_is_found_in_the_list(routera, api, in_doubt):
    """The row is created, its id is known, and nothing is left."""
    journal = in_doubt(UNKEYED, "disconnect_after_commit", "--no-key")
    ended = routera("reconcile", journal, "--quarantine", "0s", "--json")
    assert ended.status == 0
    (row,) = ended.record["rows"]
    assert (row["status"], api.record(row["id"])["ticket_name"]) == (
        "created",
        "AB"[row["row"] - 1],
    )
    assert ended.record["tally"] == {
        "created": 2,
        "duplicate": 0,
        "rejected": 0,
        "unknown": 0,
        "not_sent": 0,
    }
    again = routera("reconcile", journal, "--quarantine", "0s", "--json")
    assert (again.status, again.record["rows"]) == (0, [])


def test_a_row_that_did_not_arrive_is_sent_by_the_next_import(routera, api, in_doubt):
    """It is told as not sent, and the same import sends it."""
    journal = in_doubt(UNKEYED, "disconnect_before_commit", "--no-key")
    ended = routera("reconcile", journal, "--quarantine", "0s", "--json")
    assert (ended.status, ended.record["settled"]) == (0, {"not_sent": 1})
    path = journal.with_name("tickets.csv")
    again = routera("import", path, "--json", "--quarantine", "0s", "--no-key")
    assert (again.status, again.record["created"], again.record["requests"]) == (0, 2, 1)
    assert api.ask(lambda sandbox: sandbox.store.count()) == 2


def test_what_cannot_be_told_apart_is_told_with_its_candidates(routera, api, in_doubt):
    """Records of somebody else that are like ours leave the row unknown, and the status is 3."""
    journal = in_doubt(UNKEYED.replace("B,", "A,"), "disconnect_after_commit", "--no-key")
    same = ("ticket_name=A", "pipeline=p", "ticket_stage=new")
    created = routera("tickets", "create", *(f"--set={each}" for each in same))
    ended = routera("reconcile", journal, "--quarantine", "0s", "--json")
    assert ended.status == 3
    (row,) = ended.record["rows"]
    assert (row["status"], len(row["candidates"])) == ("unknown", 2)
    assert created.record["id"] in row["candidates"]
    told = routera("reconcile", journal, "--quarantine", "0s")
    assert "2 records " in told.out


def test_a_row_of_a_derived_key_is_ours(routera, api, write):
    """Nobody else can have its key, so whatever has it is the row's."""
    path = write(UNKEYED)
    assert routera("import", path, "--json").record["created"] == 2
    journal = path.with_name("tickets.csv.journal")
    fields = {"ticket_name": "C", "pipeline": "p", "ticket_stage": "new"}
    with closing(_Cut(journal)) as cut:
        fields["external_id"] = f"{cut.import_id}:2"
        cut.lose(2, json.dumps({"fields": fields | {"ticket_name": "changed since"}}))
    routera("tickets", "create", *(f"--set={name}={value}" for name, value in fields.items()))
    ended = routera("reconcile", journal, "--quarantine", "0s", "--json")
    assert (ended.status, ended.record["settled"]) == (0, {"created": 1})


def test_a_held_row_is_compared(routera, api, in_doubt):
    """On the user's own key, a record like the row that is as new as the import is the row's."""
    journal = in_doubt(HEADER + "A,p,new,1\nB,p,new,2\n", "error_after_commit")
    ended = routera("reconcile", journal, "--json")
    assert (ended.status, ended.record["settled"]) == (0, {"created": 1})


def test_rows_that_were_under_way_are_for_the_import(routera, in_doubt):
    """Of a row that was cut off nothing is known but that: the import sends it again."""
    journal = in_doubt(UNKEYED, "disconnect_after_commit", "--no-key")
    with closing(_Cut(journal)) as cut:
        cut.intend(5)
    ended = routera("reconcile", journal, "--quarantine", "0s", "--json")
    assert (ended.status, ended.record["tally"]["unknown"]) == (3, 1)
    assert "1 more were under way when the import was cut off: run the same" in ended.err


class _Cut:
    """A journal whose import is cut off."""

    def __init__(self, path):
        self._file = JournalFile.open(path, None, str, float)
        self.import_id = self._file.import_id

    def intend(self, row):
        """Write down that a row is about to be sent."""
        self._file.write([(row, OPEN, 1, 1_700_000_000_000, None, None, None, None)])

    def lose(self, row, body):
        """Forget what became of a row, but what was sent."""
        self._file.write([(row, UNKNOWN, 1, 1_700_000_000_000, None, None, "lost", body)])

    def close(self):
        """Release it."""
        self._file.close([], whole=True)


def test_another_place_is_refused(routera, in_doubt, monkeypatch):
    """A list of another account would prove nothing."""
    journal = in_doubt(UNKEYED, "disconnect_after_commit", "--no-key")
    ended = routera("reconcile", journal, "--base-url", "http://127.0.0.1:1")
    assert ended.status == 2
    assert "is of an import into http://127.0.0.1:" in ended.error


def test_a_refused_token_is_named(routera, api, in_doubt):
    """Whose list cannot be read says which token was refused."""
    journal = in_doubt(UNKEYED, "disconnect_after_commit", "--no-key")
    api.sandbox.faults.draw({NO_LIST: 1.0})
    ended = routera("reconcile", journal, "--quarantine", "0s")
    assert ended.status == 1
    assert ended.error.startswith("error: refused: 401: ")
    assert "; check the token that is set by ROUTERA_TOKEN: " in ended.error


def test_an_import_into_a_sandbox_is_settled_there(routera, write, tmp_path):
    """The journal tells which file it is; without it nothing can be told."""
    db = tmp_path / "sandbox.db"
    path = write(UNKEYED)
    routera("import", path, "--sandbox-db", db)
    journal = f"{path}.journal"
    ended = routera("reconcile", journal, "--json")
    assert (ended.status, ended.record["tally"]["created"]) == (0, 2)
    db.unlink()
    assert routera("reconcile", journal).error.startswith(f"error: {db}: no such file")


def test_a_report_tells_what_became_of_the_rows(routera, in_doubt, api):
    """It tells when, where to, what of, and the tally; nothing is sent."""
    journal = in_doubt(UNKEYED + ",p,new\n", "disconnect_after_commit", "--no-key")
    sent = len(api.seen())
    told = json.loads(routera("report", journal, "--json").out)
    assert (told["object"], told["target"]) == ("tickets", api.environ["ROUTERA_BASE_URL"])
    tally = {name: told[name] for name in ("created", "rejected", "unknown", "not_sent")}
    assert tally == {"created": 1, "rejected": 1, "unknown": 1, "not_sent": 0}
    shown = routera("report", journal)
    assert shown.status == 0
    assert "created" in shown.out
    assert len(api.seen()) == sent


@pytest.mark.parametrize("command", ["report", "reconcile"])
def test_what_is_no_journal_is_refused(routera, api, tmp_path, command):
    """A file that is not there is not made, and another file is left alone."""
    path = tmp_path / "no.journal"
    assert routera(command, path).error == f"error: {path}: no such file"
    assert not path.exists()
    path.write_text("a,b\n")
    refused = routera(command, path)
    assert (refused.status, path.read_text()) == (2, "a,b\n")
    assert refused.error.startswith(f"error: {path}: ")


@pytest.mark.parametrize("command", ["report", "reconcile"])
def test_a_journal_in_use_is_refused_politely(routera, in_doubt, command):
    """It says that an import has it."""
    journal = in_doubt(UNKEYED, "disconnect_after_commit", "--no-key")
    with closing(_Cut(journal)):
        refused = routera(command, journal)
    assert (refused.status, refused.out) == (2, "")
    assert refused.error.endswith("is in use by another import: wait until it has ended")


def test_a_bad_quarantine_is_one_line(routera, api, tmp_path):
    """It is told before the journal is touched."""
    refused = routera("reconcile", tmp_path / "x", "--quarantine", "long")
    assert (refused.status, "--quarantine must be a duration" in refused.error) == (2, True)
