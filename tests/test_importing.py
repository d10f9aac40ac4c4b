"""`import_file`: a file into Routera from code, as a web backend's background task does it."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from routera_async import (
    Bulk,
    ConfigurationError,
    ImportProgress,
    ImportSettings,
    JournalError,
    Mapping,
    NotSentError,
    RouteraClient,
    UnauthorizedError,
    import_file,
)
from routera_async.bulk import books
from routera_async.bulk.readers import CsvSource, open_source
from routera_async.bulk.report import Summary
from routera_async.importing import FileImport
from routera_async.sandbox import Sandbox

HEADER = "ticket_name,pipeline,ticket_stage,external_id\n"
AT_ONCE = Bulk(quarantine=0.0)


@pytest.fixture
def write(tmp_path):
    """Write a file of so many tickets, or of a content, and return its path."""

    def write(content=3, name="tickets.csv"):
        if isinstance(content, int):
            content = HEADER + "".join(f"T,p,new,{n}\n" for n in range(content))
        path = tmp_path / name
        opened = gzip.open if name.endswith(".gz") else open
        with opened(path, "wt") as file:
            file.write(content)
        return path

    return write


def content_of(path):
    """Return what is in a file."""
    return Path(path).read_text()


def told(summary):
    """Return a tally as one can compare it."""
    assert summary.conserves()
    names = ("read", "created", "duplicate", "rejected", "unknown", "not_sent")
    return tuple(getattr(summary, name) for name in names)


async def test_a_file_is_imported(client, sandbox, write):
    """Each good row is a record, and the summary says where the journal and the rejects are."""
    path = write(HEADER + "A,p,new,1\n,p,new,2\nC,p,new,1\n")
    summary = await import_file(client, path)
    assert told(summary) == (3, 1, 1, 1, 0, 0)
    assert summary.journal == f"{path}.journal"
    assert summary.rejects == str(path.with_name("tickets.rejects.csv"))
    assert summary.requests == 1
    (record,) = sandbox.store.records()
    assert (record["ticket_name"], record["external_id"]) == ("A", "1")


OTHERS = [
    pytest.param("contacts", "email,first_name\na@x.co,Ann\nb@x.co,\na@x.co,\n", id="contacts"),
    pytest.param("companies", "website_url\nhttps://a.co\nhttps://b.co\nhttps://a.co\n", id="co"),
    pytest.param("deals", "deal_name,pipeline,deal_stage\nA,p,open\nB,p,open\nA,p,open\n", id="d"),
]


@pytest.mark.parametrize(("kind", "content"), OTHERS)
async def test_each_kind_is_imported(client, sandbox, write, kind, content):
    """A row is what `object` says; by its own key it is seen to repeat another."""
    summary = await import_file(client, write(content), settings=ImportSettings(object=kind))
    twice = kind != "deals"
    assert told(summary) == (3, 3 - twice, int(twice), 0, 0, 0)
    assert sandbox.store.count(kind) == 3 - twice
    again = await import_file(client, write(content), settings=ImportSettings(object=kind))
    assert (told(again), again.requests) == (told(summary), 0)


async def test_a_mapping_is_made_in_code(client, sandbox, write):
    """The same as the command line's options, by names."""
    mapping = Mapping.build(
        ("Key", "What"),
        known_fields=("ticket_name", "pipeline", "ticket_stage", "external_id"),
        maps=["ticket_name=What", "external_id=Key"],
        sets=["pipeline=p", "ticket_stage=new"],
    )
    assert told(await import_file(client, write("Key,What\n1,A\n"), mapping=mapping))[:2] == (1, 1)
    (record,) = sandbox.store.records()
    assert (record["ticket_name"], record["pipeline"]) == ("A", "p")


async def test_progress_is_told(client, write):
    """Whoever asked hears how far it is: never backwards, at most all, and all at the end."""
    heard = []
    summary = await import_file(client, write(200), on_progress=heard.append)
    assert all(isinstance(each, ImportProgress) for each in heard)
    assert {each.total for each in heard} == {200}
    done = [each.done for each in heard]
    assert done == sorted(done)
    assert (done[-1], heard[-1].summary.created) == (200, 200)
    assert heard[0].summary is not heard[-1].summary
    assert told(summary) == (200, 200, 0, 0, 0, 0)


async def test_without_a_journal_there_is_none(client, write, tmp_path):
    """journal=False writes nothing down; rows are not looked for in each other then."""
    summary = await import_file(client, write(2), settings=ImportSettings(journal=False))
    assert (told(summary), summary.journal) == ((2, 2, 0, 0, 0, 0), None)
    assert [each.name for each in tmp_path.iterdir()] == ["tickets.csv"]


async def test_a_journal_may_stand_elsewhere(client, write, tmp_path):
    """By a path, as where the folder of the input is not one's own."""
    settings = ImportSettings(journal=tmp_path / "kept" / "one.journal")
    with pytest.raises(JournalError, match="cannot be opened"):
        await import_file(client, write(2), settings=settings)
    (tmp_path / "kept").mkdir()
    as_text = ImportSettings(journal=str(settings.journal), limit=1)
    assert (await import_file(client, write(2), settings=as_text)).created == 1
    summary = await import_file(client, write(2), settings=settings)
    assert summary.journal == str(tmp_path / "kept" / "one.journal")


async def test_a_limit_reads_no_more_and_later_all(client, write):
    """What was done under a limit is not done again without it."""
    path = write(5)
    assert told(await import_file(client, path, settings=ImportSettings(limit=2)))[:2] == (2, 2)
    summary = await import_file(client, path)
    assert (told(summary)[:2], summary.requests) == ((5, 5), 3)


async def test_what_is_decided_is_not_read_again(client, write, monkeypatch):
    """A finished import is told by its journal, and the file is only held against its digest."""
    path = write(HEADER + "A,p,new,1\nB,p,new,2\nC,p,new,1\n")
    summary = await import_file(client, path)
    monkeypatch.setattr(CsvSource, "_body", lambda _: pytest.fail("the file is read"))
    again = await import_file(client, path)
    assert (told(again), again.resumed, again.requests) == (told(summary), 3, 0)


MIXED = [
    *("A,p,new,1", ",p,new,2", "C,p,new,3", "D,p,new,1", "E,p,new,", "F,p,new,2", "G,p"),
    *("H,p,new,7", ",p,new,", "J,p,new,3", "K,p,new,9", "L,p,new,9", "M,p,new,"),
]


@pytest.fixture
async def reference():
    """Return a client of another sandbox, where the same is done in one go."""
    async with (
        Sandbox() as sandbox,
        RouteraClient(sandbox.token, base_url=sandbox.url) as opened,
    ):
        yield opened


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "csv.gz"])
@pytest.mark.parametrize("limit", range(len(MIXED) + 1))
async def test_wherever_it_is_taken_up_it_ends_the_same(client, reference, write, suffix, limit):
    """The rows that are done count, their keys are known, and the rejects are all in the file."""
    columns = HEADER.strip().split(",")
    lines = [json.dumps(dict(zip(columns, row.split(","), strict=False))) for row in MIXED]
    content = "\n".join(lines) if suffix == "jsonl" else HEADER + "\n".join(MIXED)
    once, twice = (write(content, f"{name}.{suffix}") for name in ("once", "twice"))
    whole = await import_file(reference, once, settings=ImportSettings(concurrency=1))
    first = await import_file(client, twice, settings=ImportSettings(limit=limit, concurrency=1))
    then = await import_file(client, twice, settings=ImportSettings(concurrency=1))
    assert told(whole) == (13, 7, 3, 3, 0, 0)
    assert told(then) == told(whole)
    assert (first.read, then.resumed) == (limit, limit)
    assert first.requests + then.requests == whole.requests
    assert content_of(whole.rejects) == content_of(then.rejects)


async def test_a_file_that_changes_is_no_input(client, sandbox, write):
    """While it is still being written, or when another took its place, nothing is guessed."""
    path = write(6)
    source = open_source(path)
    settings = ImportSettings(limit=3)
    assert told(await import_file(client, source, settings=settings))[:2] == (3, 3)
    write(HEADER + "B,p,new,b\n" * 6)
    with pytest.raises(ConfigurationError, match="has changed since it was opened"):
        await import_file(client, source)
    other = FileImport.prepared(write(2, "b.csv"), mapping=None, settings=ImportSettings())
    write(3, "b.csv")
    with pytest.raises(ConfigurationError, match="has changed since it was opened"):
        async with other.opened(client):
            pytest.fail("it is open")
    assert sandbox.store.count() == 3


async def test_another_file_is_read_anew(client, write):
    """What the journal tells of a file's rows and columns is told of those bytes alone."""
    row = {"ticket_name": "A", "pipeline": "p", "ticket_stage": "new", "a": 1}
    path = write(json.dumps(row), "t.jsonl")
    await import_file(client, path)
    write(f"{json.dumps(row)}\n{json.dumps(row | {'b': 2})}", "t.jsonl")
    work = FileImport.prepared(path, mapping=None, settings=ImportSettings())
    assert (work.total, work.unused) == (2, ["a", "b"])


async def test_too_many_rejects_of_an_earlier_run_stop_the_next(client, write, sandbox):
    """The fault tells the whole tally, and the file of rejects is whole."""
    path = write(HEADER + "A,p,new,1\n,p,new,2\n,p,new,3\nD,p,new,4\nE,p,new,5\n")
    settings = ImportSettings(limit=4, concurrency=1)
    first = await import_file(client, path, settings=settings)
    kept = content_of(first.rejects)
    with pytest.raises(ConfigurationError, match="2 of 4 rows are rejected"):
        await import_file(client, path, settings=ImportSettings(max_rejects=1))
    assert content_of(first.rejects) == kept
    assert sandbox.store.count() == 2


@pytest.fixture
async def resumable(client, write):
    """Import half of a file, every second row of which is rejected; return it."""
    path = write(HEADER + "A,p,new,\n,p,new,\n" * 100)
    await import_file(client, path, settings=ImportSettings(limit=150))
    return path


async def test_others_have_their_turn_while_rows_are_passed_over(client, resumable, monkeypatch):
    """Reading them is done bit by bit on the loop."""
    monkeypatch.setattr(books, "_TURN", 0.0)
    work = FileImport.prepared(resumable, mapping=None, settings=ImportSettings())
    turns, tallies = 0, []

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    work.on_outcome = lambda outcome: tallies.append((outcome.row, turns))
    async with work.opened(client):
        await work.run(client)
    task.cancel()
    passed = [turn for row, turn in tallies if row < 150]
    assert len(passed) == 75
    assert passed == sorted(set(passed))
    assert told(work.summary) == (200, 100, 0, 100, 0, 0)


async def test_cut_off_while_rows_are_passed_over(client, resumable, monkeypatch):
    """The tally is the journal's; a file that lacks rejects is not named."""
    monkeypatch.setattr(books, "_TURN", 0.0)
    work = FileImport.prepared(resumable, mapping=None, settings=ImportSettings())

    def stop(_):
        work.stop()
        work.stop()

    work.on_outcome = stop
    async with work.opened(client):
        await work.run(client)
    assert told(work.summary) == (150, 75, 0, 75, 0, 0)
    assert (work.summary.resumed, work.summary.rejects) == (150, None)


async def test_progress_begins_with_what_was_done(client, resumable):
    """Whoever resumes sees at once how far it is."""
    heard = []
    await import_file(client, resumable, on_progress=heard.append)
    assert heard[0].done == heard[0].summary.resumed == 150


async def test_a_canary_asks_once_more_before_what_is_left(client, write):
    """More rows than the canary has may be done already; without any left nothing is asked."""
    path, heard = write(9), []

    async def confirm(progress):
        heard.append(progress.done)
        return True

    await import_file(client, path, settings=ImportSettings(limit=5))
    settings = ImportSettings(canary=2)
    for _ in range(2):
        await import_file(client, path, settings=settings, confirm=confirm)
    assert heard == [5]


async def cancelled_at(client, path, number):
    """Begin an import, and cancel it at the N-th turn of the loop; say whether it had ended."""
    task = asyncio.create_task(import_file(client, path, settings=ImportSettings(bulk=AT_ONCE)))
    for _ in range(number):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return False
    return True


async def test_it_can_be_cancelled_at_any_moment(client, sandbox, write):
    """Whenever that is, the journal is closed, and the same import goes on to the same end."""
    path, number = write(40), 0
    while not await cancelled_at(client, path, number):
        number += 1 + number // 8
        assert number < 100_000
    assert number > 50
    summary = await import_file(client, path, settings=ImportSettings(bulk=AT_ONCE))
    assert told(summary) == (40, 40, 0, 0, 0, 0)
    assert sandbox.store.count() == 40


async def test_the_loop_is_not_blocked_while_the_file_is_read_through(client, write):
    """Counting its rows, hashing it and opening the journal are done in a thread."""
    path = write(30_000)
    task = asyncio.create_task(import_file(client, path, settings=ImportSettings(limit=0)))
    loop, longest = asyncio.get_running_loop(), 0.0
    turns = 0
    while not task.done():
        began = loop.time()
        await asyncio.sleep(0)
        longest, turns = max(longest, loop.time() - began), turns + 1
    assert told(await task) == (0, 0, 0, 0, 0, 0)
    assert turns > 100


@pytest.mark.parametrize(("allowed", "stops"), [(2, True), ("10%", True), (200, False)])
async def test_too_many_rejects_stop_it(client, sandbox, write, allowed, stops):
    """What is under way may finish, and the error tells where to look."""
    path = write(HEADER + "".join(f"T,{'p' if n % 2 else ''},new,{n}\n" for n in range(400)))
    work = import_file(client, path, settings=ImportSettings(max_rejects=allowed))
    if not stops:
        assert told(await work) == (400, 200, 0, 200, 0, 0)
        return
    with pytest.raises(ConfigurationError, match="more than max_rejects allows: look at") as caught:
        await work
    assert str(path.with_name("tickets.rejects.csv")) in str(caught.value)
    assert sandbox.store.count() < 200
    summary = await import_file(client, path)
    assert told(summary) == (400, 200, 0, 200, 0, 0)


async def test_after_the_canary_it_asks(client, sandbox, write):
    """`confirm` is told how far it is, when the canary's rows are done; its answer is obeyed."""
    path, asked = write(20), []

    async def no(progress):
        asked.append((progress.done, progress.summary.created, sandbox.store.count()))
        return False

    settings = ImportSettings(canary=3)
    assert told(await import_file(client, path, settings=settings, confirm=no))[:2] == (3, 3)
    assert asked == [(3, 3, 3)]
    assert told(await import_file(client, path, settings=settings))[:2] == (20, 20)


async def test_a_canary_in_doubt_is_asked_about_too(client, sandbox, write):
    """Rows that are settled only at the end hold nobody up."""
    sandbox.faults.script("disconnect_after_commit")
    bulk = Bulk(quarantine=0.0, derive_keys=False)
    path = write("ticket_name,pipeline,ticket_stage\nA,p,new\nB,p,new\nC,p,new\n")
    summary = await import_file(client, path, settings=ImportSettings(canary=2, bulk=bulk))
    assert told(summary) == (3, 3, 0, 0, 0, 0)


async def test_what_confirm_raises_is_raised(client, write):
    """A fault of the caller's own is the caller's."""

    async def broken(_):
        raise LookupError("nobody there")

    with pytest.raises(LookupError):
        await import_file(client, write(5), settings=ImportSettings(canary=2), confirm=broken)
    assert told(await import_file(client, write(5)))[:2] == (5, 5)


async def test_a_refused_token_stops_it(sandbox, write):
    """The account's fault is raised, and no row is told as rejected."""
    async with RouteraClient(sandbox.mint_token(ttl=0), base_url=sandbox.url) as client:
        with pytest.raises(UnauthorizedError):
            await import_file(client, write(50))
    async with RouteraClient(sandbox.token, base_url=sandbox.url) as client:
        assert told(await import_file(client, write(50))) == (50, 50, 0, 0, 0, 0)


async def test_a_host_that_is_not_there_is_given_up(write):
    """`unreachable_after` bounds how long there may be no answer at all."""
    settings = ImportSettings(bulk=Bulk(unreachable_after=0.5))
    async with RouteraClient("a.b.c", base_url="http://127.0.0.1:1") as client:
        with pytest.raises(NotSentError, match="has not answered once"):
            await import_file(client, write(5), settings=settings)


async def test_two_imports_by_one_journal_are_refused(client, write):
    """The one that comes second is told so, and the first goes on."""
    path = write(200)
    both = (import_file(client, path), import_file(client, path))
    ended = await asyncio.gather(*both, return_exceptions=True)
    (summary,) = (each for each in ended if isinstance(each, Summary))
    (refused,) = (each for each in ended if not isinstance(each, Summary))
    assert told(summary)[:2] == (200, 200)
    assert "in use by another import" in str(refused)


BAD = [
    pytest.param({"object": "invoices"}, "object must be one of tickets", id="object"),
    pytest.param({"limit": -1}, "limit must be a whole number, 0 or more", id="limit"),
    pytest.param({"canary": -1}, "canary must be a whole number, 0 or more", id="canary"),
    pytest.param({"max_rejects": "few"}, "max_rejects must be a number or a share", id="rejects"),
    pytest.param({"max_rejects": -1}, "max_rejects must be a number or a share", id="negative"),
    pytest.param({"concurrency": 0}, "concurrency must be 1 to 100", id="concurrency"),
    pytest.param({"concurrency": 101}, "concurrency must be 1 to 100", id="too much"),
]


@pytest.mark.parametrize(("settings", "says"), BAD)
async def test_a_setting_that_cannot_be_is_refused(client, sandbox, write, settings, says):
    """It is a `ConfigurationError` that names it, and nothing is sent."""
    with pytest.raises(ConfigurationError, match=says):
        await import_file(client, write(2), settings=ImportSettings(**settings))
    assert sandbox.request_count == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n", "nothing fills ticket_name"),
        ("", "is empty"),
        (HEADER.encode("utf-16"), "UTF"),
    ],
)
async def test_an_input_that_cannot_be_is_refused(client, sandbox, tmp_path, content, says):
    """Before anything is sent or written."""
    path = tmp_path / "tickets.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError, match=says):
        await import_file(client, path)
    assert sandbox.request_count == 0
    assert list(tmp_path.iterdir()) == [path]


async def test_rejects_are_fixed_and_imported(client, write, tmp_path):
    """The totals of both imports are those of the input."""
    lines = [{"ticket_name": "A" if n % 3 else None, "external_id": str(n)} for n in range(9)]
    rest = {"pipeline": "p", "ticket_stage": "new"}
    content = "".join(json.dumps(each | rest) + "\n" for each in lines)
    first = await import_file(client, write(content, "t.jsonl"))
    assert told(first) == (9, 6, 0, 3, 0, 0)
    rejects = tmp_path / "t.rejects.jsonl"
    rejects.write_text(rejects.read_text().replace('"ticket_name":null', '"ticket_name":"A"'))
    second = await import_file(client, rejects)
    assert told(second) == (3, 3, 0, 0, 0, 0)
    assert first.created + second.created == first.read


def test_a_tally_that_does_not_conserve_is_no_report(write):
    """A row with two outcomes is a fault of the program, which says so instead of a summary."""
    work = FileImport.prepared(
        open_source(write(2)), mapping=None, settings=ImportSettings(journal=False)
    )
    work.rehearse()
    work.summary.add("created")
    with pytest.raises(AssertionError, match="the tally does not conserve"):
        work._close_the_books()
