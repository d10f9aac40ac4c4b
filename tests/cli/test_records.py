"""`routera tickets|contacts|companies|deals`: every verb, what it sends, prints and exits with."""

import asyncio
import contextlib
import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routera_async.cli.output import rows
from routera_async.sandbox import Fault

REQUIRED = {
    "tickets": {"ticket_name": "A", "pipeline": "default", "ticket_stage": "new"},
    "contacts": {"email": "a@example.com"},
    "companies": {"website_url": "https://example.com"},
    "deals": {"deal_name": "A", "pipeline": "default", "deal_stage": "open"},
}
KINDS = pytest.mark.parametrize("kind", list(REQUIRED))
PROGRAM = (sys.executable, "-m", "routera_async")


def sets(fields):
    """Return the options that set these fields."""
    return [part for name, value in fields.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture
def create(routera):
    """Create a record through the command, and return what it printed."""

    def created(kind="tickets", **fields):
        ended = routera(kind, "create", *sets(REQUIRED[kind] | fields))
        assert ended.status == 0, ended.err
        return ended.record

    return created


@KINDS
def test_every_kind_goes_through_its_life(api, routera, create, kind):
    """Created, got, found, listed, changed and archived: each command does it and prints it."""
    id_ = create(kind, external_id="e-1")["id"]
    assert routera(kind, "get", id_).record["external_id"] == "e-1"
    assert routera(kind, "find", "e-1").record["id"] == id_
    assert [each["id"] for each in routera(kind, "list").records] == [id_]
    changed = routera(kind, "update", id_, "--set", "external_id=e-2", "--clear", f"{kind[:4]}_x")
    assert (changed.status, changed.record["external_id"]) == (0, "e-2")
    assert api.record(id_)["external_id"] == "e-2"
    archived = routera(kind, "archive", id_)
    assert archived.status == 0
    assert archived.record["archived"]
    assert routera(kind, "list").out == ""
    assert [each["id"] for each in routera(kind, "list", "--archived").records] == [id_]
    assert routera(kind, "get", id_).record["archived"]


@KINDS
def test_what_is_required_is_told_before_anything_is_sent(api, routera, kind):
    """Without its required fields a create is one line, exit 2, and no request."""
    ended = routera(kind, "create", "--set", "external_id=e-1")
    assert ended.status == 2
    assert ended.error.startswith("error: ")
    assert next(iter(REQUIRED[kind])) in ended.error
    assert api.seen() == []


def test_values_are_typed(api, routera, create):
    """FIELD:TYPE=VALUE sends a number, a checkbox, a date, any JSON; without a type it is text."""
    values = {
        "csat:number": "4.5",
        "vip:checkbox": "yes",
        "due:date:%d/%m/%Y": "05/01/2026",
        "seen:datetime": "2026-01-05T10:00:00+01:00",
        "tags:json": '["a", null]',
        "url": "https://x.y/?a=b:number",
        "empty": "",
    }
    held = api.record(create(**values)["id"])
    assert {
        name: held[name] for name in ("csat", "vip", "due", "seen", "tags", "url", "empty")
    } == {
        "csat": 4.5,
        "vip": True,
        "due": "2026-01-05",
        "seen": "2026-01-05T09:00:00Z",
        "tags": ["a", None],
        "url": "https://x.y/?a=b:number",
        "empty": "",
    }


def test_clear_sends_null(api, routera, create):
    """--clear FIELD and FIELD:json=null empty a field; the rest stays as it is."""
    id_ = create(priority="high", area="billing", note="x")["id"]
    ended = routera("tickets", "update", id_, "--clear", "priority", "--set", "area:json=null")
    assert ended.status == 0
    held = api.record(id_)
    assert (held["priority"], held["area"], held["note"]) == (None, None, "x")


@pytest.mark.parametrize("source", ["file", "-"])
def test_fields_come_from_json(api, routera, tmp_path, source):
    """--json takes one object from a file or standard input, and --set goes over it."""
    fields = json.dumps(REQUIRED["tickets"] | {"csat": 3, "note": "Ünï 🌙"})
    path = tmp_path / "ticket.json"
    path.write_text(fields)
    given = ("--json", path) if source == "file" else ("--json", "-")
    ended = routera("tickets", "create", *given, "--set", "ticket_name=B", stdin=fields)
    held = api.record(ended.record["id"])
    assert (held["ticket_name"], held["csat"], held["note"]) == ("B", 3, "Ünï 🌙")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "--set", "a"], "has no '='"),
        (["create", "--set", "=a"], "names no field"),
        (["create", "--set", "a=1", "--set", "a=2"], "'a' is given twice"),
        (["create", "--set", "a:decimal=1"], "text, number, checkbox, date, datetime, json"),
        (["create", "--set", "a:number=x"], "'x' is not a number"),
        (["create", "--set", "a:json={"], "--set a:json={"),
        (["create", "--set", "a:number:%d=1"], "only a date or a datetime"),
        (["create", "--set", "a:json=NaN"], "error: "),
        (["create", "--json", "nowhere.json"], "nowhere.json: cannot be read"),
        (["create", "--json", "-"], "standard input: is not JSON"),
        (["create", "--set", "id=1"], "error: "),
        (["update", "1"], "nothing to change"),
        (["update", "1", "--set", "a=1", "--clear", "a"], "'a' is given twice"),
        (["update", "1", "--clear", "created_at"], "created_at is set by the server"),
        (["get", "a/b"], "'a/b' is no id"),
        (["archive", "a/b", "../x"], "is no id"),
        (["find", ""], "external_id must be a text, not blank"),
        (["list", "--limit", "0"], "--limit"),
        (["list", "--limit", "many"], "--limit"),
        (["list", "--format", "xml"], "--format"),
        (["list", "--frobnicate"], "frobnicate"),
        (["lists"], "lists"),
        (["get"], "ID"),
        (["archive"], "IDS"),
    ],
)
def test_wrong_usage_sends_nothing(api, routera, arguments, says):
    """What cannot be meant is told line by line, exit 2, and no request is made."""
    ended = routera("tickets", *arguments)
    assert ended.status == 2
    assert ended.out == ""
    assert says in ended.err
    assert all(line.startswith("error: ") for line in ended.err.splitlines())
    assert api.seen() == []


def test_a_json_file_that_is_no_object(api, routera, tmp_path):
    """A list is not taken for fields, and bytes that are not UTF-8 for no text."""
    (tmp_path / "ticket.json").write_bytes(b'{"a": "\xff"}')
    ended = routera("tickets", "create", "--json", tmp_path / "ticket.json")
    assert (ended.status, ended.error[-19:]) == (2, "not UTF-8 at byte 8")
    ended = routera("tickets", "create", "--json", "-", stdin="[1]")
    assert (ended.status, ended.error) == (
        2,
        'error: standard input: must hold one JSON object: {"FIELD": VALUE}',
    )


def test_properties_are_asked_for(api, routera, create):
    """--properties A,B asks for them, once each, and they are in what is printed."""
    id_ = create(priority="high", csat="5")["id"]
    both = ("--properties", "priority,csat", "--properties", " csat")
    assert routera("tickets", "get", id_, *both).record["priority"] == "high"
    assert routera("tickets", "list", *both).record["csat"] == "5"
    assert [query for *_, query in api.seen()[1:]] == [
        "properties=priority,csat",
        "properties=priority,csat&limit=100&offset=0",
    ]


def test_limit_reads_no_more_than_it_needs(api, routera, create):
    """--limit N prints N records, and asks for no more."""
    for number in range(3):
        create(ticket_name=number)
    assert [each["ticket_name"] for each in routera("tickets", "list", "--limit", 2).records] == [
        "0",
        "1",
    ]
    assert api.seen()[-1][2] == "limit=2&offset=0"


def test_the_formats_tell_the_same(api, routera, create):
    """An array, a line for each, rows under a header, a table: each format tells what is there."""
    create(ticket_name='say "hi", you', note="two\nlines", csat="5")
    create(ticket_name="Ünï 🌙")
    listed = ("tickets", "list", "--properties", "note", "--format")
    records = routera(*listed, "jsonl").records
    assert json.loads(routera(*listed, "json").out) == records
    rows = list(csv.DictReader(io.StringIO(routera(*listed, "csv").out, newline="")))
    assert [row["ticket_name"] for row in rows] == ['say "hi", you', "Ünï 🌙"]
    assert [row["note"] for row in rows] == ["two\nlines", ""]
    assert set(rows[0]) >= {"id", "created_at", "updated_at", "archived", "archived_by", "note"}
    assert "csat" not in rows[0]
    assert rows[0]["archived"] == "false"
    header, first, second = routera(*listed, "table").out.splitlines()
    assert header.split() == ["id", "ticket_name", "pipeline", "ticket_stage", "note"]
    assert 'say "hi", you' in first
    assert "two lines" in first
    assert "Ünï 🌙" in second


def test_every_declared_field_is_told_in_one_order(api, routera, create):
    """What a record declares is always there, null or empty, in one order for list and get."""
    declared = ["id", "created_at", "updated_at", "archived", "archived_by", "external_id"]
    declared += ["ticket_name", "pipeline", "ticket_stage", "ticket_owner"]
    id_ = create(note="x", csat="5")["id"]
    asked = ("--properties", "csat,note,more")
    for archived in ([], ["--archived"]):
        (record,) = routera("tickets", "list", *asked, *archived).records
        assert [*record] == [*declared, "csat", "note", "more"]
        assert (record["archived_by"], record["more"]) == (None, None)
    assert [*routera("tickets", "get", id_, *asked).record] == [*record]
    as_csv = (*asked, "--format", "csv")
    csvs = [routera("tickets", *verb, *as_csv).out for verb in (["list"], ["get", id_])]
    assert csvs[0] == csvs[1]
    assert csvs[0].splitlines()[0].split(",") == [*record]
    assert "archived_by" not in routera("tickets", "get", id_, "--format", "table").out
    assert [*create(note="x")] == [*declared, "note"]


cells = st.text(st.sampled_from("ab,\"\r\n ;'\t") | st.characters(codec="utf-8"), max_size=6)


@settings(max_examples=200)
@given(st.lists(st.fixed_dictionaries({"a": cells, "b": cells | st.none()}), max_size=4))
def test_a_csv_file_reads_back(written):
    """Whatever texts a record holds, a reader of CSV gets them back: line ends of all kinds too."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        printed = rows("csv", ["a", "b"])
        for each in written:
            printed.add(each)
        printed.end()
    read = list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))
    assert read == [{"a": each["a"], "b": each["b"] or ""} for each in written]
    assert out.getvalue().startswith("a,b\n")


def test_a_table_keeps_the_columns_of_its_first_block(capsys):
    """A long list is several tables of the same columns, decided by the first hundred records."""
    printed = rows("table", ["a", "b", "c"], asked=["c"])
    for number in range(150):
        printed.add({"a": number, "b": None if number < 100 else number})
    printed.end()
    headers = [line.split() for line in capsys.readouterr().out.splitlines() if "a" in line]
    assert headers == [["a", "c"], ["a", "c"]]


def test_a_table_has_every_column_that_says_something(api, routera, create):
    """A column that is empty throughout is left out of a table, unless it was asked for."""
    create(ticket_name="A")
    table = ("tickets", "list", "--format", "table", "--properties", "note")
    assert "external_id" not in routera(*table).out
    assert "note" in routera(*table).out
    create(external_id="e-1")
    assert "external_id" in routera(*table).out


def test_one_record_in_each_format(api, routera, create):
    """Get prints an object, a line, a row, or a table of two columns; nothing is left out."""
    record = create(ticket_name="A")
    got = ("tickets", "get", record["id"], "--format")
    assert json.loads(routera(*got, "json").out) == routera(*got, "jsonl").record
    (row,) = csv.DictReader(io.StringIO(routera(*got, "csv").out))
    assert row["ticket_name"] == "A"
    told = dict(line.split(maxsplit=1) for line in routera(*got, "table").out.splitlines())
    assert told["created_at"].strip() == record["created_at"]


def test_nothing_is_empty_and_no_error(api, routera):
    """An empty list is no records: [] as json, a header as csv, nothing else; exit 0."""
    listed = [routera("deals", "list", "--format", name) for name in ("jsonl", "json", "table")]
    assert [(each.status, each.out, each.err) for each in listed] == [
        (0, "", ""),
        (0, "[]\n", ""),
        (0, "", ""),
    ]
    assert routera("deals", "list", "--format", "csv").out.startswith("id,created_at,updated_at")


def test_what_others_wrote_cannot_steer_a_terminal(api, routera, create):
    """A table shows no control character of a record, and no markup is obeyed."""
    id_ = create(ticket_name="\x1b[31mred[/] [bold]x", note="\u202eabc")["id"]
    for verb in ("list",), ("get", id_):
        out = routera("tickets", *verb, "--properties", "note", "--format", "table").out
        assert "[bold]x" in out
        assert not {"\x1b", "\u202e"} & set(out)


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        (Fault("refused_token"), 1, "error: refused: 401"),
        (Fault("redirect", location="https://elsewhere.example"), 2, "redirects are not followed"),
        (Fault("bad_json"), 3, "error: done, but its answer cannot be shown: "),
        (Fault("disconnect_after_commit"), 3, "error: may have been done: "),
    ],
)
def test_a_failure_tells_what_is_proven(api, routera, fault, status, says):
    """One line says refused, done or perhaps done, and the exit status says the same."""
    api.sandbox.faults.script(fault, fault)
    ended = routera("tickets", "create", *sets(REQUIRED["tickets"]))
    assert (ended.status, ended.out) == (status, "")
    assert says in ended.error


def test_a_duplicate_is_refused(api, routera, create):
    """A key that is taken is exit 1; one that an attempt of this call may have taken is exit 3."""
    create(external_id="e-1")
    again = ("tickets", "create", *sets(REQUIRED["tickets"]), "--set")
    ended = routera(*again, "external_id=e-1")
    assert (ended.status, ended.error[:20]) == (1, "error: refused: 409:")
    api.sandbox.faults.script(Fault("error_after_commit"))
    ended = routera(*again, "external_id=e-2")
    assert (ended.status, ended.error[:32]) == (3, "error: may have been done: 409: ")
    assert "(2 attempts in " in ended.error


def test_a_read_that_fails_was_not_done(api, routera):
    """A list that cannot be read is exit 3, and is not said to be done perhaps."""
    hang = Fault("disconnect_before_commit", on="GET /tickets")
    api.sandbox.faults.draw({hang: 1.0})  # for ever: aiohttp repeats a read of its own accord too
    ended = routera("tickets", "list", "--deadline", "1")
    assert ended.status == 3
    assert "may have been done" not in ended.err
    assert ended.error.startswith("error: ")


def test_nobody_listens(routera, monkeypatch):
    """A server that cannot be reached is exit 3: it is proven that nothing was sent."""
    monkeypatch.setenv("ROUTERA_TOKEN", "a.b.c")
    for verb in (["list"], ["create", *sets(REQUIRED["tickets"])]):
        ended = routera(
            *("tickets", *verb, "--format", "csv"),
            *("--base-url", "http://127.0.0.1:1", "--deadline", "0.5"),
        )
        assert (ended.status, ended.out) == (3, "")
        assert ended.error.startswith("error: not sent: ")


def test_what_is_not_there(api, routera):
    """A get of no record and a find of no key are exit 1."""
    assert routera("tickets", "get", "nope").error.startswith("error: refused: 404: ")
    ended = routera("tickets", "find", "nope")
    assert (ended.status, ended.error) == (1, "error: no active ticket has this external_id")


def test_archive_passes_over_what_is_refused(api, routera, create):
    """Each id is archived and printed; a refused one is named, and the exit status is 1."""
    first, last = (create(ticket_name=name)["id"] for name in "AB")
    ended = routera("tickets", "archive", first, "nope", "a/b", last)
    assert ended.status == 1
    assert [each["id"] for each in ended.records] == [first, last]
    assert [line.split(": ")[1] for line in ended.err.splitlines()] == ["nope", "a/b"]


def test_archive_stops_at_what_every_id_would_meet(api, routera, create):
    """A refused token stops it; what was archived is printed, and the rest is counted."""
    ids = [create(ticket_name=name)["id"] for name in "ABCD"]
    refused = Fault("refused_token", on="DELETE /tickets/*")
    api.sandbox.faults.script(None, refused, refused)
    ended = routera("tickets", "archive", *ids, "--format", "json")
    assert ended.status == 1
    assert [each["id"] for each in json.loads(ended.out)] == ids[:1]
    told, error = ended.err.splitlines()
    assert told == "2 more were not tried"
    assert error.startswith("error: refused: 401")


def fill(api, count):
    """Put contacts into the sandbox, each of about 4 KB."""

    async def filled():
        from routera_async import RouteraClient  # noqa: PLC0415

        async with RouteraClient(api.sandbox.token, base_url=api.sandbox.url) as client:
            rows = ({"first_name": f"{n}", "note": "x" * 4_000} for n in range(count))
            async for outcome in client.contacts.create_many(rows):
                assert outcome.status == "created"

    asyncio.run(filled())
    api.ask(lambda sandbox: sandbox.requests.clear())


def started(api, *arguments, **more):
    """Start a command in a process of its own."""
    return subprocess.Popen(
        [*PROGRAM, *arguments], env=os.environ | api.environ, stderr=subprocess.PIPE, **more
    )


@pytest.mark.parametrize("name", ["jsonl", "csv", "json", "table"])
def test_a_list_is_printed_as_it_is_read(api, name):
    """The first lines come before the list has been read: no format holds all records.

    A reader that goes away, and Ctrl-C, are the end of it without a traceback.
    """
    fill(api, 400)
    listed = ("contacts", "list", "--properties", "note", "--format", name)
    interrupted = started(api, *listed, stdout=subprocess.PIPE)
    left = started(api, *listed, stdout=subprocess.PIPE)
    for process in (interrupted, left):
        assert process.stdout.readline()
    assert len(api.seen()) < 8  # of 10: the pipes take no more
    left.stdout.close()
    assert (left.wait(), left.stderr.read()) == (141, b"")
    left.stderr.close()
    interrupted.send_signal(signal.SIGINT)
    _, err = interrupted.communicate()
    assert (interrupted.returncode, err) == (130, b"interrupted\n")


def test_ctrl_c_in_a_create_says_what_may_be(api):
    """A create that is cut off may have been done, and that is told; the status is 130."""
    api.sandbox.faults.script(Fault("hang_after_commit"))
    process = started(api, "tickets", "create", *sets(REQUIRED["tickets"]), stdout=subprocess.PIPE)
    while not api.seen():
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert err == b"what was under way may have been done\ninterrupted\n"


def test_a_terminal_gets_a_table(api, create):
    """On a terminal a list is a table that fits it, with every column; an empty one says none."""
    create(ticket_name="A long name that needs folding", csat="5")
    terminal, end = pty.openpty()
    environ = os.environ | api.environ | {"COLUMNS": "80"}
    for listed, shows in (
        (["tickets", "list", "--properties", "csat"], ("csat", "5")),
        (
            ["deals", "list"],
            ("none",),
        ),
    ):
        subprocess.run([*PROGRAM, *listed], stdout=end, stderr=end, env=environ, check=True)
        out = re.sub("\x1b\\[[0-9;]*m", "", os.read(terminal, 65_536).decode())
        assert all(each in out for each in shows)
        assert max(map(len, out.splitlines())) <= 80
    os.close(terminal)
    os.close(end)


def test_a_terminal_that_is_not_utf_8(api, create):
    """What an encoding cannot say is escaped: JSON stays JSON, and nothing is a traceback."""
    create(ticket_name="Ünï 🌙")
    out = {}
    for name in ("jsonl", "csv", "table"):
        process = subprocess.run(
            [*PROGRAM, "tickets", "list", "--format", name],
            env=os.environ | api.environ | {"PYTHONIOENCODING": "latin-1"},
            capture_output=True,
            check=True,
        )
        out[name] = process.stdout.decode("latin-1")
    assert json.loads(out["jsonl"])["ticket_name"] == "Ünï 🌙"
    assert "Ünï \\U0001f319" in out["csv"]
    assert "Ünï \\U0001f319" in out["table"]


def test_a_full_disk_is_one_line(api, create):
    """When the output cannot be written, that is one line and exit 3."""
    create()
    with open("/dev/full", "w") as full:  # noqa: PTH123
        process = started(api, "tickets", "list", stdout=full)
        _, err = process.communicate()
    assert process.returncode == 3
    assert err == b"error: the output could not be written: No space left on device\n"
