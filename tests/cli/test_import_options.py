"""What each option of `routera import` does, and what it says when it cannot."""

import json
import os
import subprocess
import sys
from contextlib import closing

import pytest

from routera_async.bulk.journal_file import JournalFile
from routera_async.sandbox import Fault

HEADER = "ticket_name,pipeline,ticket_stage,external_id\n"
ROW = "T,default,new,{}\n"

LIMITED = """
import resource, sys
from routera_async.cli import run
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
sys.exit(run(sys.argv[1:]))
"""
"""Runs the command line where no file may be larger than 60 kB: what a full disk is to it."""


def untraced():
    """Return an environment in which coverage, whose own file is limited too, does not follow."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


@pytest.fixture
def write(tmp_path):
    """Write a file of so many tickets, with keys or without, and return its path."""

    def write(rows, *, keyed=True, name="tickets.csv"):
        lines = rows if isinstance(rows, str) else "".join(map(ROW.format, range(rows)))
        path = tmp_path / name
        path.write_text(HEADER + lines if keyed else _without_keys(HEADER + lines))
        return path

    return write


def _without_keys(content):
    return "".join(line.rpartition(",")[0] + "\n" for line in content.splitlines())


@pytest.fixture
def imports(routera, api):
    """Import into a sandbox, with --json; return how it ended."""
    return lambda *arguments: routera("import", *arguments, "--json")


def in_store(api):
    """Return the records that the sandbox holds."""
    return api.ask(lambda sandbox: list(sandbox.store.records()))


def posts(api):
    """Count the requests that may have created something."""
    return sum(method == "POST" for method, _, _ in api.seen())


# --- the journal ----------------------------------------------------------------------------------


def test_the_journal_is_where_it_is_told_to_be(imports, api, write, tmp_path):
    """--journal names its file: the same command goes on by it, and sends nothing again."""
    path, journal = write(3), tmp_path / "elsewhere.db"
    assert imports(path, "--journal", journal).record["journal"] == str(journal)
    again = imports(path, "--journal", journal)
    assert (again.status, again.record["created"], again.record["requests"]) == (0, 3, 0)
    assert "3 rows were done by an earlier run" in again.err
    assert not path.with_name("tickets.csv.journal").exists()
    assert posts(api) == 3


def test_without_a_journal_nothing_is_written_down(imports, write, tmp_path):
    """--no-journal leaves nothing beside the input; a second run is told so by the server."""
    path = write(2)
    assert imports(path, "--no-journal").record["journal"] is None
    assert imports(path, "--no-journal").record["duplicate"] == 2
    assert sorted(tmp_path.iterdir()) == [path]


OTHERS = [
    pytest.param(["--set", "pipeline=p"], "another mapping or other options", id="mapping"),
    pytest.param(["--no-key"], "another mapping or other options", id="keys"),
    pytest.param(["--object", "deals", *["--map", "deal_name=ticket_name"]], "other", id="kind"),
]


@pytest.mark.parametrize(("options", "says"), OTHERS)
def test_a_journal_of_another_import_is_refused(imports, api, write, options, says):
    """Resuming with another mapping, kind or way to make keys is one line, and sends nothing."""
    path = write(2)
    imports(path)
    if "--object" in options:
        options = [*options, "--map", "deal_stage=ticket_stage"]
    refused = imports(path, *options)
    assert refused.status == 2
    assert says in refused.err.splitlines()[-1]
    assert "move it aside" in refused.err
    assert posts(api) == 2


def test_a_journal_of_another_input_is_refused(imports, api, write):
    """A file that was changed is another input."""
    imports(write(2))
    refused = imports(write(3))
    assert (refused.status, refused.out, posts(api)) == (2, "", 2)
    assert "was begun with another input" in refused.error


def test_a_journal_of_another_target_is_refused(imports, api, write, tmp_path):
    """What was imported into one place has not been imported into another."""
    path = write(2)
    imports(path)
    refused = imports(path, "--sandbox-db", tmp_path / "sandbox.db")
    assert refused.status == 2
    assert f"was begun with another target, {api.environ['ROUTERA_BASE_URL']}" in refused.error


def test_a_journal_in_use_is_refused(imports, api, write):
    """A second import by one journal is one line, and leaves the first one's rejects file alone."""
    path = write("T,default,new,1\nT,,new,2\n")
    imports(path)
    rejects = path.with_name("tickets.rejects.csv")
    kept, journal = rejects.read_bytes(), path.with_name("tickets.csv.journal")
    file = JournalFile.open(journal, None, str, float)
    with closing(_Held(file)):
        refused = imports(path)
    assert (refused.status, refused.out) == (2, "")
    assert refused.error.endswith("is in use by another import: wait until it has ended")
    assert rejects.read_bytes() == kept


class _Held:
    """A journal that is open elsewhere."""

    def __init__(self, file):
        self._file = file

    def close(self):
        """Release it."""
        self._file.close([], whole=True)


def test_a_damaged_journal_is_refused(imports, api, write):
    """It is left as it is, and nothing is sent."""
    path = write(2)
    imports(path)
    journal = path.with_name("tickets.csv.journal")
    damaged = bytearray(journal.read_bytes())
    damaged[-40:] = bytes(40)
    journal.write_bytes(damaged)
    refused = imports(path)
    assert (refused.status, refused.out, posts(api)) == (2, "", 2)
    assert "the journal is damaged" in refused.error
    assert journal.read_bytes() == damaged


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        pytest.param("tickets", ["--journal", "/proc/no.journal"], "journal cannot be", id="proc"),
        pytest.param("t" * 250, [], "the journal cannot be opened: File name too", id="too long"),
        pytest.param("t" * 250, ["--no-journal"], "rejects file cannot be written", id="rejects"),
    ],
)
def test_a_place_that_cannot_be_written_is_found_at_once(imports, api, write, name, options, says):
    """A journal or a rejects file that cannot be made is one line; nothing is sent."""
    refused = imports(write(2, name=f"{name}.csv"), *options)
    assert (refused.status, refused.out, posts(api)) == (2, "", 0)
    assert says in refused.error


def test_a_disk_that_fills_up_stops_the_import(api, write):
    """What cannot be written down is not sent; with room again, the same command ends it."""
    arguments = ["import", str(write(2_000, keyed=False)), "--json"]
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments],
        capture_output=True,
        check=False,
        env=untraced(),
    )
    assert ended.returncode == 3, ended.stderr
    assert b"the journal cannot be written" in ended.stderr
    assert b"Traceback" not in ended.stderr
    assert 0 < len(in_store(api)) < 2_000
    again = subprocess.run(
        [sys.executable, "-m", "routera_async", *arguments], capture_output=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert len({record["external_id"] for record in in_store(api)}) == len(in_store(api)) == 2_000


def test_a_rejects_file_that_cannot_be_ended_hides_no_summary(api, write):
    """What was imported is told all the same, with one line on what is missing."""
    path = write("T,default,new,0\n" + "TTTTTTTTTT,,new,1\n" * 1_150)
    arguments = ["import", str(path), "--json", "--no-journal"]
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments],
        capture_output=True,
        check=False,
        env=untraced(),
    )
    told = json.loads(ended.stdout)
    assert (told["created"], told["read"]) == (1, 1_151)
    assert b"the rejects file cannot be written: File too large" in ended.stderr
    assert (ended.returncode, b"Traceback" in ended.stderr) == (3, False)


# --- keys -----------------------------------------------------------------------------------------


def test_a_row_without_a_key_is_given_one(imports, api, write):
    """It is made of the import's id and the row; --no-key gives none."""
    assert imports(write(2, keyed=False)).status == 0
    one, other = (record["external_id"] for record in in_store(api))
    assert {one[-2:], other[-2:]} == {":0", ":1"}
    assert one[:32] == other[:32]
    assert imports(write(2, keyed=False, name="other.csv"), "--no-key").status == 0
    assert [record.get("external_id") for record in in_store(api)].count(None) == 2


@pytest.mark.parametrize(
    ("options", "status", "tally"),
    [
        ([], 0, (2, 1, 0)),
        (["--on-repeat", "first"], 0, (2, 1, 0)),
        (["--on-repeat", "reject"], 1, (2, 0, 1)),
    ],
)
def test_a_repeated_key_is_seen_before_it_is_sent(imports, api, write, options, status, tally):
    """The first row with a key is sent; --on-repeat says what the others are."""
    path = write("A,default,new,1\nB,default,new,2\nC,default,new,1\n")
    ended = imports(path, *options)
    told = ended.record
    assert (ended.status, told["created"], told["duplicate"], told["rejected"]) == (status, *tally)
    assert sorted(record["ticket_name"] for record in in_store(api)) == ["A", "B"]
    assert posts(api) == 2
    if status:
        assert "it repeats the external_id of row 1 (the first on line 4)" in ended.err


# --- pace and outages -----------------------------------------------------------------------------


def test_a_rate_is_kept(imports, write):
    """--rate 20 lets no more than 20 requests through in any second."""
    ended = imports(write(30), "--rate", "20")
    assert (ended.status, ended.record["created"]) == (0, 30)
    assert ended.record["seconds"] >= 1.0


def test_an_outage_is_waited_out_no_longer_than_told(imports, api, write):
    """--give-up-after ends an import that has no answers; later the same command goes on."""
    path = write(20)
    api.ask(lambda sandbox: sandbox.faults.draw({Fault("error_before_commit", status=503): 1.0}))
    ended = imports(path, "--give-up-after", "1s")
    assert (ended.status, ended.record["created"]) == (3, 0)
    assert "Routera has not answered once in 1 seconds: Routera answers 503" in ended.err
    assert "run the same command again" in ended.err
    assert "Routera answers 503; waiting, " in ended.err
    api.ask(lambda sandbox: sandbox.faults.clear())
    again = imports(path)
    assert (again.status, again.record["created"]) == (0, 20)


def test_a_host_that_is_not_there_is_one_error(routera, write, monkeypatch):
    """Nothing was sent, so the status is 3, and the line says what to check."""
    monkeypatch.setenv("ROUTERA_TOKEN", "a.b.c")
    monkeypatch.setenv("ROUTERA_BASE_URL", "http://127.0.0.1:1")
    ended = routera("import", write(3), "--json", "--give-up-after", "1s")
    assert (ended.status, ended.record["created"], ended.record["requests"]) == (3, 0, 0)
    (line,) = (line for line in ended.err.splitlines() if line.startswith("error: "))
    assert "Routera has not answered once" in line
    assert "check the base URL and the network" in line


def test_lost_answers_are_looked_for_after_the_quarantine(imports, api, write):
    """Without keys a row whose answer was lost is looked for in the list at the end."""
    api.ask(lambda sandbox: sandbox.faults.script("disconnect_after_commit"))
    ended = imports(write(4, keyed=False), "--no-key", "--quarantine", "0s")
    assert (ended.status, ended.record["created"], ended.record["unknown"]) == (0, 4, 0)
    assert len(in_store(api)) == 4


# --- canary and rejects ---------------------------------------------------------------------------


def test_a_canary_asks_nobody_where_nobody_is(imports, api, write):
    """Without a terminal the import stops after the canary and says how it goes on: --yes."""
    path = write(10)
    ended = imports(path, "--canary", "4")
    assert (ended.status, ended.record["read"], ended.record["created"]) == (3, 4, 4)
    told = "stopped after the canary: 6 rows were not sent; run the same command again with --yes"
    assert told in ended.err
    assert posts(api) == 4
    again = imports(path, "--canary", "4", "--yes")
    assert (again.status, again.record["created"], posts(api)) == (0, 10, 10)


def test_a_canary_in_doubt_holds_nothing_up(imports, api, write):
    """A row whose answer was lost is settled at the end, and the canary does not wait for that."""
    api.ask(lambda sandbox: sandbox.faults.script("disconnect_after_commit"))
    options = ("--no-key", "--quarantine", "0s", "--canary", "2", "--yes")
    ended = imports(write(5, keyed=False), *options)
    assert (ended.status, ended.record["created"]) == (0, 5)


@pytest.mark.parametrize(("allowed", "done"), [("3", 1_000), ("75%", 1_000), ("40%", 1_000)])
def test_too_many_rejects_stop_an_import(imports, api, write, allowed, done):
    """--max-rejects is a number of rows, or a share of those that are done."""
    path = write("".join(f"T,{'' if n % 2 else 'p'},new,{n}\n" for n in range(1_000)))
    ended = imports(path, "--max-rejects", allowed, "--concurrency", "8")
    told = ended.record
    if allowed == "75%":
        assert (ended.status, told["created"], told["rejected"]) == (1, 500, 500)
        return
    assert ended.status == 3
    assert told["read"] < done
    assert (told["unknown"], told["not_sent"]) == (0, 0)
    assert told["created"] == len(in_store(api))
    assert "more than max_rejects allows" in ended.err
    assert "rows were not sent; run the same command again" in ended.err


def test_a_mapping_that_is_wrong_is_wrong_usage(imports, api, write):
    """When too many are rejected and nothing is created, the status is 2."""
    ended = imports(write("T,,new,1\n" * 20), "--max-rejects", "5")
    assert (ended.status, posts(api)) == (2, 0)


def test_a_dry_run_leaves_everything_alone(imports, api, write, tmp_path):
    """It tells of repeated keys, and touches neither journal nor an older rejects file."""
    path = write("A,default,new,1\nB,,new,2\nC,default,new,1\n")
    imports(path)
    before = {each: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()}
    ended = imports(path, "--dry-run")
    told = ended.record
    assert (ended.status, told["not_sent"], told["duplicate"], told["rejected"]) == (1, 1, 1, 1)
    assert "it repeats the external_id of row 1 (the first on line 4)" in ended.err
    dry = tmp_path / "tickets.dry-run.rejects.csv"
    assert told["rejects"] == str(dry)
    assert {each: each.read_bytes() for each in before} == before
    assert {each for each in tmp_path.iterdir() if each.is_file()} == {*before, dry}
    assert imports(path, "--dry-run", "--on-repeat", "reject").record["rejected"] == 2
    assert posts(api) == 1


# --- what cannot be -------------------------------------------------------------------------------

BAD = [
    (["--journal", "a", "--no-journal"], "--journal and --no-journal exclude each other"),
    (["--journal", "a", "--sandbox"], "--sandbox forgets its records, and --journal does not"),
    (["--journal", "tickets.csv"], "--journal must be another file than the input"),
    (["--on-repeat", "last"], "--on-repeat"),
    (["--rate", "0"], "--rate must be more than 0, not 0.0"),
    (["--rate", "fast"], "--rate"),
    (["--rate", "nan"], "--rate must be more than 0"),
    (["--give-up-after", "soon"], "--give-up-after must be a duration such as 90s, 30m or 2h"),
    (["--give-up-after", "0"], "--give-up-after must be more than 0, not 0.0"),
    (["--quarantine", "never"], "--quarantine must be a duration such as 90s"),
    (["--quarantine", "-1s"], "--quarantine"),
    (["--canary", "-1"], "--canary must be a whole number, 0 or more, not -1"),
    (["--canary", "few"], "--canary"),
    (["--max-rejects", "some"], "--max-rejects must be a number or a share"),
    (["--max-rejects", "-5%"], "--max-rejects"),
    (["--limit", "-1"], "--limit must be 0 or more"),
]


@pytest.mark.parametrize(("options", "says"), BAD, ids=[" ".join(each[0]) for each in BAD])
def test_a_bad_value_is_one_line_and_exit_2(
    imports, api, write, tmp_path, monkeypatch, options, says
):
    """A setting that cannot be is told in one line, and nothing is sent."""
    path = write(2)
    monkeypatch.chdir(tmp_path)
    refused = imports(path, *options)
    assert (refused.status, refused.out, posts(api)) == (2, "", 0)
    assert refused.error.startswith("error: ")
    assert says in refused.error


@pytest.mark.parametrize("where", ["/dev/full", "closed", "nobody reads"])
def test_an_import_outlives_standard_error(api, write, where):
    """That nothing can be told is no reason to end, nor to end otherwise."""
    command = [sys.executable, "-m", "routera_async", "import", str(write(200))]
    reading, writing = os.pipe()
    os.close(reading)
    if where == "/dev/full":
        os.close(writing)
        writing = os.open(where, os.O_WRONLY)
    if where == "closed":
        command = ["bash", "-c", 'exec "$@" 2>&-', "bash", *command]
    ended = subprocess.run(command, stderr=writing, stdout=subprocess.PIPE, check=False)
    os.close(writing)
    assert ended.returncode == 0
    assert b"created" in ended.stdout
    assert len(in_store(api)) == 200
