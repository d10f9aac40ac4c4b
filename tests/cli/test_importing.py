"""`routera import`: what arrives, what is refused, what is printed, and how it exits."""

import asyncio
import gzip
import json
import os
import signal
import sys

import pytest

from routera_async.cli import run
from routera_async.sandbox import Sandbox, Store

HEADER = "ticket_name,pipeline,ticket_stage,external_id\n"
GOOD = HEADER + "First,default,new,1\nSecond,default,new,2\n"
KEYS = [
    *("read", "created", "duplicate", "rejected", "unknown", "not_sent"),
    *("resumed", "requests", "retries", "seconds", "journal", "rejects"),
]


@pytest.fixture
def write(tmp_path):
    """Write an input file, gzipped when its name says so, and return its path."""

    def write(content, name="tickets.csv"):
        path = tmp_path / name
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return str(path)

    return write


@pytest.fixture
def summary(capsys):
    """Run an import with --json, and return its exit status and its summary."""

    def imported(*arguments):
        status = run(["import", *arguments, "--json"])
        return status, json.loads(capsys.readouterr().out)

    return imported


def in_store(path, kind="tickets"):
    """Return every record of a kind that a sandbox's file holds."""
    store = Store(path)
    try:
        return list(store.records(kind))
    finally:
        store.close()


def test_every_row_is_created(write, summary, tmp_path):
    """Each good row is one record with the row's own fields, and the exit status is 0."""
    db = tmp_path / "sandbox.db"
    status, told = summary(write(GOOD), "--sandbox-db", str(db))
    assert (status, told["read"], told["created"], told["requests"]) == (0, 2, 2, 2)
    assert list(told) == KEYS
    assert told["journal"] == str(tmp_path / "tickets.csv.journal")
    assert told["rejects"] is None
    assert {(r["ticket_name"], r["external_id"]) for r in in_store(db)} == {
        ("First", "1"),
        ("Second", "2"),
    }


def test_a_second_run_creates_nothing(write, summary, tmp_path):
    """What is there already is known by the journal, or else a duplicate: that is no failure."""
    arguments = (write(GOOD), "--sandbox-db", str(tmp_path / "sandbox.db"))
    summary(*arguments)
    status, told = summary(*arguments)
    assert (status, told["created"], told["duplicate"], told["requests"]) == (0, 2, 0, 0)
    status, told = summary(*arguments, "--no-journal")
    assert (status, told["created"], told["duplicate"], told["requests"]) == (0, 0, 2, 2)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.jsonl", "t.jsonl.gz"])
def test_all_formats_arrive_alike(write, summary, tmp_path, name):
    """CSV and JSONL, plain and gzipped, give the same records."""
    db = tmp_path / "sandbox.db"
    names, cells = [*HEADER.strip().split(","), "n"], ["Ünï 🌙", "p", "new", "1", "7"]
    as_csv = f"{','.join(names)}\n{','.join(cells)}\n"
    content = as_csv if "csv" in name else json.dumps(dict(zip(names, cells, strict=True)))
    assert summary(write(content, name), "--map", "n=n:number", "--sandbox-db", str(db))[0] == 0
    (record,) = in_store(db)
    assert (record["ticket_name"], record["n"]) == ("Ünï 🌙", 7)


def test_mapping_by_options_and_by_file_agree(write, summary, tmp_path):
    """--map, --set, --template and --missing say the same as a mapping file does."""
    path = write("Key,Area,What,Score\nA-1,Billing,Refund,?\nA-2,Login,?,5\n")
    mapping = write(
        'missing = ["?"]\n[map]\nexternal_id = "Key"\nscore = "Score:number"\n'
        '[set]\npipeline = "default"\nticket_stage = "new"\n'
        '[template]\nticket_name = "{Area}: {What}"\n',
        "mapping.toml",
    )
    by_options = ("--map", "external_id=Key", "--map", "score=Score:number", "--missing", "?")
    by_options += ("--set", "pipeline=default", "--set", "ticket_stage=new")
    by_options += ("--template", "ticket_name={Area}: {What}")
    found = []
    for number, options in enumerate([by_options, ("--mapping", mapping)]):
        db = tmp_path / f"{number}.db"
        assert summary(path, *options, "--sandbox-db", str(db), "--no-journal")[0] == 0
        found.append({(r["external_id"], r["ticket_name"], r.get("score")) for r in in_store(db)})
    assert found[0] == found[1] == {("A-1", "Billing: Refund", None), ("A-2", "Login:", 5)}


def test_rejected_rows_can_be_fixed_and_imported(write, summary, tmp_path):
    """A refused row goes to the rejects file with line and reason; unfixed, it is refused again.

    Once all are fixed the totals of both runs are those of the input.
    """
    db = ("--sandbox-db", str(tmp_path / "sandbox.db"))
    path = write(GOOD + ",default,new,3\nFourth,default,new,4,extra\nFifth,default,5\n")
    status, told = summary(path, *db)
    assert (status, told["created"], told["rejected"]) == (1, 2, 3)
    rejects = tmp_path / "tickets.rejects.csv"
    assert told["rejects"] == str(rejects)
    header, third, fourth, fifth = rejects.read_text().splitlines()
    assert header == HEADER.strip() + ",line,status,reason"
    assert third == ",default,new,3,4,rejected,ticket_name is required"
    assert fourth.startswith('"Fourth,default,new,4,extra",,,,5,rejected,')
    assert fifth.startswith('"Fifth,default,5",,,,6,rejected,')
    status, again = summary(str(rejects), *db, "--set", "pipeline=p", "--set", "ticket_stage=new")
    assert (status, again["read"], again["created"], again["rejected"]) == (1, 3, 0, 3)
    fixed = f"{header}\nThird{third}\nFourth,default,new,4,5,rejected,\nFifth,default,new,5,6,,\n"
    (tmp_path / "fixed.csv").write_text(fixed)
    status, again = summary(str(tmp_path / "fixed.csv"), *db)
    assert (status, again["read"], again["created"]) == (0, 3, 3)
    assert told["created"] + again["created"] == told["read"]


def test_a_dry_run_sends_nothing(write, summary, tmp_path):
    """--dry-run checks every row, says what would be sent, and needs no token."""
    status, told = summary(write(GOOD + ",default,new,3\n"), "--dry-run")
    assert (status, told["read"], told["not_sent"], told["rejected"]) == (1, 3, 2, 1)
    assert told["requests"] == told["created"] == 0
    assert summary(write(GOOD), "--dry-run")[0] == 0


OTHERS = [
    pytest.param("contacts", "email,first_name\na@x.co,Ann\nb@x.co,\n", id="contacts"),
    pytest.param("companies", "website_url,industry\nhttps://a.co,toys\nhttps://b.co,\n", id="co"),
    pytest.param("deals", "deal_name,pipeline,deal_stage\nA,p,open\nB,p,open\n", id="deals"),
]


@pytest.mark.parametrize(("kind", "content"), OTHERS)
def test_every_kind_of_object_is_imported(write, summary, tmp_path, kind, content):
    """--object says what a row is; columns named like its fields map themselves."""
    db = tmp_path / "sandbox.db"
    path = write(content)
    assert summary(path, "--object", kind, "--dry-run")[0] == 0
    status, told = summary(path, "--object", kind, "--sandbox-db", str(db))
    assert (status, told["created"]) == (0, 2)
    first = content.splitlines()[1].split(",")[0]
    assert first in {value for record in in_store(db, kind) for value in record.values()}


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        (
            "contacts",
            "phone\n1\n",
            "one of email, first_name, last_name, which every contact needs",
        ),
        ("companies", "industry\n1\n", "one of company_name, website_url, which every company"),
        ("deals", "deal_name,pipeline\n1,2\n", "nothing fills deal_stage, which every deal needs"),
        ("invoices", "a\n1\n", "tickets"),
    ],
)
def test_what_a_kind_requires_must_be_filled(write, capsys, kind, content, says):
    """A mapping that cannot make one valid record is told before anything is sent."""
    assert run(["import", write(content), "--object", kind, "--sandbox"]) == 2
    assert says in capsys.readouterr().err


def test_a_dry_run_holds_each_row_to_its_kind(write, summary, tmp_path):
    """A contact without any of its names and no email is rejected, with its line."""
    path = write("email,first_name,note\na@x.co,,\n,,lost\n")
    status, told = summary(path, "--object", "contacts", "--dry-run")
    assert (status, told["not_sent"], told["rejected"]) == (1, 1, 1)
    rejects = (tmp_path / "tickets.dry-run.rejects.csv").read_text()
    assert "one of email, first_name, last_name is required" in rejects


def test_limit_reads_no_more(write, summary):
    """--limit N reads the first N rows."""
    status, told = summary(write(GOOD), "--sandbox", "--limit", "1")
    assert (status, told["read"], told["created"]) == (0, 1, 1)


def test_a_table_is_printed_without_json(write, capsys):
    """Without --json the summary is a table, and the notes go to standard error."""
    assert run(["import", write("more," + GOOD.replace("\n", "\n,", 2)), "--sandbox"]) == 0
    printed = capsys.readouterr()
    assert "created" in printed.out
    assert "2" in printed.out
    assert "columns not imported: more" in printed.err


BAD_SETTINGS = [
    pytest.param(GOOD, ["--map", "note=nope"], "no column 'nope'", id="unknown column"),
    pytest.param(GOOD, ["--map", "n=pipeline:decimal"], "text, number, checkbox", id="bad type"),
    pytest.param(GOOD, ["--map", "created_at=pipeline"], "created_at", id="system field"),
    pytest.param("a,b\n1,2\n", [], "nothing fills ticket_name", id="required field unmapped"),
    pytest.param("", [], "is empty", id="empty file"),
    pytest.param("é,b\n".encode("latin-1"), [], "UTF-8", id="header not UTF-8"),
    pytest.param(GOOD.encode("utf-16"), [], "UTF-16", id="UTF-16"),
    pytest.param(GOOD, ["--concurrency", "0"], "--concurrency", id="no concurrency"),
    pytest.param(GOOD, ["--concurrency", "100000000"], "1 to 1,000", id="too much concurrency"),
    pytest.param(GOOD, ["--base-url", ""], "exclude", id="an empty base URL"),
    pytest.param(GOOD, ["--concurrency", "many"], "--concurrency", id="not a number"),
    pytest.param(GOOD, ["--limit", "-1"], "--limit", id="negative limit"),
    pytest.param(GOOD, ["--frobnicate"], "frobnicate", id="unknown option"),
    pytest.param(GOOD, ["--base-url", "http://127.0.0.1:9"], "exclude", id="two targets"),
    pytest.param(GOOD, ["--mapping", "nowhere.toml"], "nowhere.toml", id="no mapping file"),
    pytest.param(GOOD, ["--sandbox-db", "/nowhere/x.db"], "/nowhere/x.db", id="no folder"),
]


@pytest.mark.parametrize(("content", "options", "says"), BAD_SETTINGS)
def test_a_bad_setting_is_one_line_and_exit_2(write, capsys, content, options, says):
    """A setting that cannot work sends nothing and is told in one line."""
    assert run(["import", write(content), "--sandbox", *options]) == 2
    printed = capsys.readouterr()
    (line,) = [line for line in printed.err.splitlines() if not line.startswith("columns not")]
    assert line.startswith("error: ")
    assert says in line
    assert printed.out == ""


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        pytest.param({}, "set ROUTERA_TOKEN", id="no token"),
        pytest.param({"ROUTERA_TOKEN": "a\nb"}, "the token", id="token with a line break"),
        pytest.param(
            {"ROUTERA_TOKEN": "a.b.c", "ROUTERA_BASE_URL": "api.x"}, "https://", id="no scheme"
        ),
        pytest.param(
            {"ROUTERA_TOKEN": "a.b.c", "ROUTERA_BASE_URL": "http://x.com"}, "https", id="far http"
        ),
        pytest.param(
            {"ROUTERA_TOKEN": "a.b.c", "ROUTERA_BASE_URL": "ftp://x"}, "https", id="bad scheme"
        ),
    ],
)
def test_a_bad_account_is_one_line_and_exit_2(write, capsys, monkeypatch, environment, says):
    """A missing token or an address that cannot be is told before anything is sent."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(["import", write(GOOD)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert "a.b.c" not in line


def test_a_missing_file_is_one_line_and_exit_2(capsys):
    """A file that is not there is named."""
    assert run(["import", "nowhere.csv", "--sandbox"]) == 2
    assert capsys.readouterr().err == "error: nowhere.csv: no such file\n"


BAD_ROWS = [
    pytest.param(b"A,default,new\n", "cells", id="too few cells"),
    pytest.param(b"A,default,new,9,9\n", "cells", id="too many cells"),
    pytest.param("Café,default,new,9\n".encode("latin-1"), "UTF-8", id="not UTF-8"),
    pytest.param(b"A\0B,default,new,9\n", "NUL", id="a NUL byte"),
    pytest.param(
        b"A" * 131_073 + b",default,new,9\n", "the most is 131,072", id="a cell too large"
    ),
    pytest.param(b'"A,default,new,9\n', "quote", id="an unterminated quote"),
]


@pytest.mark.parametrize(("bad", "says"), BAD_ROWS)
def test_a_bad_row_is_rejected_and_the_rest_go_on(write, summary, tmp_path, bad, says):
    """A row that cannot be read is rejected with its line; the rows around it are created."""
    path = write(GOOD.encode() + bad + b"Last,default,new,5\n")
    status, told = summary(path, "--sandbox")
    assert (status, told["read"], told["created"], told["rejected"]) == (1, 4, 3, 1)
    rejects = (tmp_path / "tickets.rejects.csv").read_bytes().decode(errors="replace")
    assert ",4,rejected," in rejects
    assert says in rejects


def test_a_jsonl_line_that_is_no_object_is_rejected(write, summary, tmp_path):
    """A JSONL line that is a list, or no JSON, is rejected with its line; the rest go on."""
    good = '{"ticket_name":"A","pipeline":"p","ticket_stage":"new","external_id":"%d"}\n'
    status, told = summary(write(good % 1 + "[1]\n{oops\n" + good % 2, "t.jsonl"), "--sandbox")
    assert (status, told["created"], told["rejected"]) == (1, 2, 2)
    rejects = [json.loads(line) for line in (tmp_path / "t.rejects.jsonl").read_text().splitlines()]
    assert [(each["line"], each["raw"]) for each in rejects] == [(2, "[1]"), (3, "{oops")]


async def started(sandbox, *arguments, token=None):
    """Start an import in a process of its own, against a sandbox of ours."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "routera_async", "import", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"ROUTERA_TOKEN": token or sandbox.token, "ROUTERA_BASE_URL": sandbox.url},
    )


async def test_a_refused_token_stops_the_import(write):
    """A 401 is the account's fault: the import stops, and no row is called rejected."""
    path = write(HEADER + "".join(f"T,default,new,{n}\n" for n in range(500)))
    async with Sandbox() as sandbox:
        expired = sandbox.mint_token(ttl=0)
        process = await started(sandbox, path, "--json", token=expired)
        out, err = await process.communicate()
        assert sandbox.request_count <= 64
    told = json.loads(out)
    assert process.returncode == 2
    assert (told["rejected"], told["created"]) == (0, 0)
    assert told["read"] == told["not_sent"] < 500
    assert b"missing account context; check the token that is set by ROUTERA_TOKEN: " in err
    assert expired.encode() not in out + err


class Gate:
    """Answers `passing` requests, then holds the rest until it is opened."""

    def __init__(self, passing):
        self.left = passing
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, _seconds):
        """Stand in for the sandbox's sleep."""
        self.left -= 1
        if self.left < 0:
            self.reached.set()
            await self.opened.wait()


async def test_the_first_interrupt_lets_those_under_way_finish(write):
    """Ctrl-C stops reading; what was sent is waited for and counted; the status is 130."""
    path = write(HEADER + "".join(f"T,default,new,{n}\n" for n in range(1000)))
    gate = Gate(100)
    async with Sandbox(latency=1.0, sleep=gate) as sandbox:
        process = await started(sandbox, path, "--json", "--concurrency", "8")
        await gate.reached.wait()
        process.send_signal(signal.SIGINT)
        gate.opened.set()
        out, err = await process.communicate()
        told = json.loads(out)
        assert process.returncode == 130, err
        assert told["unknown"] == 0
        assert told["created"] == told["read"] == sandbox.store.count() < 1000
    assert b"interrupted" in err
    assert b"Traceback" not in err


async def test_a_second_interrupt_stops_at_once(write):
    """Ctrl-C twice does not wait; what was under way is counted as unknown, not as lost."""
    path = write(HEADER + "".join(f"T,default,new,{n}\n" for n in range(1000)))
    gate = Gate(10)
    async with Sandbox(latency=1.0, sleep=gate) as sandbox:
        process = await started(sandbox, path, "--json", "--concurrency", "8")
        await gate.reached.wait()
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        out, err = await process.communicate()
        gate.opened.set()
    told = json.loads(out)
    assert process.returncode == 130, err
    assert told["read"] == told["created"] + told["unknown"]
    assert told["unknown"] > 0
    assert b"Traceback" not in err
