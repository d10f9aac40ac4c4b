"""The journal: after any crash, what was promised is there, and nothing else is claimed."""

import asyncio
import gc
import os
import random
import sqlite3
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routera_async import ConfigurationError, JournalError, ValidationError
from routera_async.bulk import journal_file
from routera_async.bulk.journal import Binding, Entry, Journal, peek
from routera_async.bulk.journal_file import JournalFile
from tests.bulk.journal_crash import (
    BINDING,
    NOW,
    Intent,
    Outcome,
    as_left,
    as_tuple,
    everything,
    in_memory,
    inline,
    laid,
    model,
    opened,
    program,
    resumed,
)

UUID = "550e8400-e29b-41d4-a716-446655440000"
STATUSES = ["created", "duplicate", "rejected", "unknown", "not_sent", "held"]


@pytest.fixture
def path(tmp_path):
    """Return where a journal may be, under a name that a URI cannot hold."""
    return tmp_path / "tickets #1?mode=ro&%41.csv.journal"


@pytest.fixture
def memory():
    """Return a folder in memory where there is one: thousands of copies are opened there."""
    with in_memory() as folder:
        yield folder


def one_line(error):
    """Tell whether an error is one line that says something."""
    return str(error.value) and "\n" not in str(error.value)


# What is known


@given(known=st.dictionaries(st.integers(0, 9), st.sampled_from(STATUSES)), most=st.integers(0, 11))
@settings(max_examples=60, deadline=None)
async def test_the_first_rows_that_are_decided(known, most):
    """They are counted up to a row that is missing, or that may be sent again."""
    final, expected = {"created", "duplicate", "rejected"}, {}
    for row in range(most):
        if known.get(row) not in final:
            break
        expected[known[row]] = expected.get(known[row], 0) + 1
    with in_memory() as folder:
        async with opened(folder / "a.journal") as journal:
            for row, status in known.items():
                journal.settle(row, status)
            assert await journal.decided(most) == expected
            rejected = [row for row in sorted(known) if known[row] == "rejected"]
            assert [entry.row async for entry in journal.rejected()] == rejected


async def test_what_a_journal_is_bound_to_is_seen_from_outside(path):
    """Without opening it, and also while it is open; where there is none, none is made."""
    assert peek(path) is None
    assert not path.exists()
    bound = Binding(BINDING.digest, BINDING.target, BINDING.mapping, "[3, []]")
    async with Journal.open(path, bound):
        assert (seen := peek(path)) == bound
        assert seen.survey == "[3, []]"
    async with Journal.open(path, BINDING) as journal:  # what the input holds is not compared
        assert journal.binding.survey == "[3, []]"
    with sqlite3.connect(path) as db:
        db.execute("UPDATE header SET survey = '[4, []]'")
    db.close()
    assert peek(path) is None


async def test_what_was_told_is_known(path):
    """What was intended and settled is known, in this process and in the next one."""
    async with opened(path) as journal:
        assert not journal.resumed
        await asyncio.gather(*(journal.intend(row, f"k{row}") for row in range(6)))
        for row, status in enumerate(STATUSES[:5]):
            journal.settle(row, status, id=UUID if status == "created" else None)
        journal.settle(7, "rejected", reason="ticket_name is missing")
        told = {
            0: Entry(0, "created", 1, NOW, UUID, "k0"),
            1: Entry(1, "duplicate", 1, NOW, None, "k1"),
            2: Entry(2, "rejected", 1, NOW, None, "k2"),
            3: Entry(3, "unknown", 1, NOW, None, "k3"),
            4: Entry(4, "not_sent", 0, None, None, "k4"),
            5: Entry(5, "unknown", 1, NOW, None, "k5"),
            7: Entry(7, "rejected", reason="ticket_name is missing"),
        }
        assert {row: await journal.known(row) for row in told} == told
        assert await journal.known(6) is await journal.known(8) is None
    async with opened(path) as again:
        assert again.resumed
        assert (again.import_id, again.started) == (journal.import_id, journal.started)
        assert {row: await again.known(row) for row in told} == told
        assert await everything(again, range(9)) == {
            row: as_tuple(entry) for row, entry in told.items()
        }


async def test_an_intent_without_outcome_is_unknown(path):
    """A row that was intended and never settled is unknown: not absent, and not "not sent"."""
    async with opened(path) as journal:
        await journal.intend(3, None)
        left = as_left(path)
    async with opened(laid(path, left)) as resumed_:
        assert (await resumed_.known(3)).status == "unknown"
        assert [entry.row async for entry in resumed_.undecided()] == [3]
        resumed_.settle(3, "not_sent", reason="the import stopped before it")
        assert (await resumed_.known(3)).status == "unknown"


async def test_not_sent_takes_back_one_intent_alone(path):
    """A second sending that provably never left leaves the doubt of the first."""
    async with opened(path) as journal:
        await journal.intend(1, None)
        journal.settle(1, "not_sent")
        assert await journal.known(1) == Entry(1, "not_sent")
        await journal.intend(1, None)
        journal.settle(1, "unknown", reason="reset")
        await journal.intend(1, None)
        assert (await journal.known(1)).attempts == 2
        journal.settle(1, "not_sent", reason="refused")
        assert await journal.known(1) == Entry(1, "unknown", 1, NOW, reason="refused")
        journal.settle(1, "created", id="17")
        journal.settle(1, "not_sent")
        assert await journal.known(1) == Entry(1, "created", 1, NOW, "17")


async def test_the_first_time_of_sending_stays(path):
    """A row that is sent again keeps the time of its first intent, unless that one never left."""
    now = iter([NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 4])
    async with Journal.open(path, BINDING, clock=lambda: next(now)) as journal:
        assert journal.started == NOW
        await journal.intend(0, None)
        await journal.intend(0, None)
        assert await journal.known(0) == Entry(0, "unknown", 2, NOW + 1)
        await journal.intend(1, None)
        journal.settle(1, "not_sent")
        await journal.intend(1, None)
        assert await journal.known(1) == Entry(1, "unknown", 1, NOW + 4)


async def test_what_a_list_proves(path):
    """What is proven holds against whatever attempts have met: "not sent" takes all of them back.

    The key stays, what was sent is not kept any longer, and the row may be sent again as if new.
    """
    async with opened(path) as journal:
        for row in range(3):
            await journal.intend(row, f"k{row}")
            journal.settle(row, "unknown", reason="reset", body='{"fields": {}}')
            assert (await journal.known(row)).body == '{"fields": {}}'
        journal.settle(0, "not_sent", reason="absent", proven=True)
        journal.settle(1, "created", id=UUID, proven=True)
        journal.settle(2, "duplicate", id="17", reason="theirs", proven=True)
        journal.settle(3, "duplicate", proven=True)
        told = {
            0: Entry(0, "not_sent", 0, None, None, "k0", "absent"),
            1: Entry(1, "created", 1, NOW, UUID, "k1"),
            2: Entry(2, "duplicate", 1, NOW, "17", "k2", "theirs"),
            3: Entry(3, "duplicate"),
        }
        assert {row: await journal.known(row) for row in told} == told
    async with opened(path) as journal:
        assert {row: await journal.known(row) for row in told} == told
        assert [entry async for entry in journal.undecided()] == []
        await journal.intend(0, "k0")
        journal.settle(0, "not_sent")
        assert (await journal.known(0)).status == "not_sent"


async def test_a_body_is_kept_as_it_was_sent(path):
    """What was sent of a row in doubt comes back as it was, and goes with the next outcome."""
    body = '{"fields": {"ticket_name": "nul\\u0000 \\ud83d\\ude00 é 😀 \\n", "n": 1e400}}' * 99
    async with opened(path) as journal:
        journal.settle(0, "held", body=body)
        journal.settle(1, "unknown", body=body)
    async with opened(path) as journal:
        assert [entry.body async for entry in journal.undecided()] == [body, body]
        assert body not in repr(await journal.known(0))
        await journal.intend(0, None)
        journal.settle(1, "created")
        assert (await journal.known(0)).body is (await journal.known(1)).body is None


async def test_whose_an_id_is(path):
    """An id is a row's once it is told of it, on disk or not, whatever it looks like."""
    ids = [UUID, UUID.upper(), "17", "é"]
    async with opened(path) as journal:
        for row, id_ in enumerate(ids[:3]):
            journal.settle(row, "created", id=id_)
        journal.settle(4, "rejected")
        assert await journal.owned([*ids, "18", UUID.replace("5", "6")]) == set(ids[:3])
        assert await journal.owned(iter(ids[:1])) == {UUID}
        assert await journal.owned([]) == set()
        journal.settle(5, "duplicate", id="é")
        assert await journal.owned(["é"]) == {"é"}
    async with opened(path) as journal:
        assert await journal.owned(ids) == set(ids)


def test_what_a_row_takes_on_disk(memory):
    """A row that is done takes about 50 bytes: what was sent is kept for rows in doubt alone."""
    large(memory / "journal", 20_000)
    assert 40 < (memory / "journal").stat().st_size / 20_000 < 60


@pytest.mark.parametrize(
    "id_",
    [
        UUID,
        UUID.upper(),
        UUID.replace("-", ""),
        UUID[:-1] + "g",
        UUID[:-1] + "-",
        UUID[:-2] + " 0",
        "-" * 36,
        "0" * 36,
        "17",
        "é",
        "ab" * 40,
    ],
)
async def test_an_id_comes_back_as_it_was(path, id_):
    """Any id comes back as it was given; a UUID takes 16 bytes."""
    async with opened(path) as journal:
        journal.settle(0, "created", id=id_)
    async with opened(path) as journal:
        assert (await journal.known(0)).id == id_
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT length(id), typeof(id) FROM rows").fetchone() == (
            (16, "blob") if id_ == UUID else (len(id_), "text")
        )
    db.close()


async def test_foreign_texts_cannot_harm(path):
    """A reason is shortened to one line; a key that is no text is refused, and it alone."""
    async with opened(path) as journal:
        with pytest.raises(ValidationError):
            await journal.intend(0, "\ud800")
        await journal.intend(1, "nul\0 é 😀")
        journal.settle(1, "rejected", reason="a\nb\ud800" + "x" * 10_000)
        entry = await journal.known(1)
    assert entry.key == "nul\0 é 😀"
    assert len(entry.reason) == 500
    assert entry.reason.isprintable()


def test_the_import_has_an_id_of_its_own(path, tmp_path):
    """Each import has 128 random bits for a name, unless a simulation gives them."""

    async def ids():
        for name in "ab":
            async with opened(tmp_path / name) as journal:
                yield journal.import_id
        async with opened(path, new_id=lambda: "17") as journal:
            yield journal.import_id

    async def main():
        return [each async for each in ids()]

    first, second, given_ = asyncio.run(main())
    assert len(bytes.fromhex(first)) == len(bytes.fromhex(second)) == 16
    assert first != second
    assert given_ == "17"


# Whatever happens, and a crash at any time

texts = st.none() | st.sampled_from(["ext-1", UUID, "ä b"])
ops = st.lists(
    st.one_of(
        st.lists(st.builds(Intent, st.integers(0, 12), texts), min_size=1, max_size=4),
        st.builds(
            Outcome,
            st.integers(0, 12),
            st.sampled_from(STATUSES),
            texts,
            texts,
            st.none() | st.just('{"fields": {}}'),
            st.booleans(),
        ),
        st.sampled_from(["flush", "reopen", "turn"]),
        st.integers(0, 13),  # ask what is known of it
    ),
    max_size=30,
)


class Told:
    """A journal, all that it was told, and what a crash would leave after each commit."""

    def __init__(self, path) -> None:
        self.told = []
        self.left = []
        self._path = path
        self.open()

    def open(self):
        """Open or resume it."""
        self.journal = opened(self._path, run=self._run, new_id=lambda: "1d" * 16)
        self.left.append((as_left(self._path), len(self.told)))

    def _run(self, function):
        so_far = len(self.told)  # the group has just been taken

        def run():
            self.left.append((as_left(self._path), self.left[-1][1]))
            answer = function()
            self.left.append((as_left(self._path), so_far))
            return answer

        return inline(run)

    def holds(self, told):
        """Tell whether what was told so far is on disk."""
        return self.left[-1][1] >= told

    async def intend(self, intent):
        """Intend, and see that it is on disk when that returns."""
        told = len(self.told)
        self.told.append(intent)
        await self.journal.intend(intent.row, intent.key)
        assert self.holds(told + 1)

    async def do(self, op):
        """Do one thing."""
        if isinstance(op, list):
            await asyncio.gather(*map(self.intend, op))
        elif isinstance(op, Outcome):
            self.told.append(op)
            self.journal.settle(
                op.row, op.status, id=op.id, reason=op.reason, body=op.body, proven=op.proven
            )
        elif op == "flush":
            await self.journal.flush()
            assert self.holds(len(self.told))
        elif op == "reopen":
            await self.journal.aclose()
            assert self.holds(len(self.told))
            self.told.append(None)
            self.open()
        elif op == "turn":
            await asyncio.sleep(0)
        else:
            entry = await self.journal.known(op)
            assert (entry and as_tuple(entry)) == model(self.told).get(op)


@settings(max_examples=200)
@given(ops=ops)
def test_a_crash_anywhere(virtually, ops):
    """A journal as left before or after any commit holds exactly what was committed by then.

    So every intent that returned is there, every outcome that was flushed, and nothing else.
    """

    async def main(folder):
        told = Told(folder / "journal")
        try:
            for op in ops:
                await told.do(op)
        finally:
            await told.journal.aclose()
        assert as_left(folder / "journal")[1] is None
        for left, so_far in dict.fromkeys(told.left):
            async with opened(laid(folder / "copy", left), run=inline) as copy:
                assert copy.import_id == "1d" * 16
                known = model([*told.told[:so_far], None])
                assert await everything(copy, range(14)) == known

    with in_memory() as folder:
        virtually(main(folder))


def grown(path, groups):
    """Write these groups; return what is left after each."""
    file = JournalFile.open(path, BINDING, lambda: "1d" * 16, lambda: NOW)
    left = []
    for group in groups:
        file.write(group)
        left.append(as_left(path))
    file.close([], whole=True)
    return left


def intents(rows, key=""):
    """Return records of intents."""
    now = int(NOW * 1000)
    return [(row, journal_file.OPEN, 1, now, None, f"{key}{row}", None, None) for row in rows]


def content(path):
    """Return the import's id and the rows, or None when that is refused by a JournalError."""
    try:
        return resumed(path)
    except JournalError:
        return None


@pytest.mark.parametrize("rows", [1, 300], ids=["in one page", "in several pages"])
def test_a_journal_cut_in_its_last_transaction(memory, rows):
    """Cut at every byte of its last transaction, a journal is as before it, or as after it."""
    groups = [intents(range(5)), intents([5]), intents(range(6, 6 + rows), "x" * 20)]
    *_, (data, before), (same, after) = grown(memory / "journal", groups)
    assert data == same
    assert len(before) < len(after)
    copy = memory / "copy"
    one, other = (content(laid(copy, (data, log))) for log in (before, after))
    assert one != other
    seen = set()
    step = 1 if rows == 1 else 13  # coprime with the size of a frame's head and of a page
    for cut in range(len(before), len(after), step):
        found = content(laid(copy, (data, after[:cut])))
        assert found == one, cut
        seen.add(cut)
    assert len(seen) > 1_000


def test_a_log_that_is_broken_before_its_end(memory):
    """A byte changed in the log before its last transaction is refused, and nothing is changed.

    SQLite alone would take it for the end of the log, and forget all that comes after.
    """
    left = grown(memory / "journal", [intents([row]) for row in range(6)])
    (data, log), end = left[-1], len(left[-2][1])
    copy = memory / "copy"
    _, whole = content(laid(copy, (data, log)))
    assert len(whole) == 6
    for at in [*range(56), *range(56, end, 17)]:
        broken = bytearray(log)
        broken[at] ^= 1 << at % 8
        found = content(laid(copy, (data, bytes(broken))))
        if found is None:
            assert as_left(copy) == (data, bytes(broken))
        else:
            assert 32 + 4120 * 4 < at < end or found[1] == whole, at


def of_structure(data):
    """Return the bits that hold the file together: of its head, its schema, each page's head."""
    pages = range(4_096, len(data), 4_096)
    heads = [*range(108), *(page + at for page in pages for at in range(14))]
    schema = [at for at in range(108, 4_096) if data[at]]
    return [(at, bit) for at in heads for bit in range(8)] + [(at, at % 8) for at in schema]


def anywhere(data):
    """Return some bits of the file."""
    rng = random.Random(7)
    return [(rng.randrange(len(data)), rng.randrange(8)) for _ in range(800)]


@pytest.mark.parametrize("bits", [of_structure, anywhere])
def test_a_changed_bit_is_refused_or_harmless(memory, bits):
    """Whatever bit of a journal changes, it is refused, or it holds what it held."""
    settled = [
        (row, journal_file.CREATED, 0, None, UUID, None, "why", "{}") for row in range(0, 300, 3)
    ]
    path, copy = memory / "journal", memory / "copy"
    grown(path, [intents(range(300)), settled])
    data, whole = path.read_bytes(), content(path)
    refused = 0
    for at, bit in bits(data):
        broken = bytearray(data)
        broken[at] ^= 1 << bit
        found = content(laid(copy, (bytes(broken), None)))
        assert found in (None, whole), (at, bit)
        refused += found is None
    assert refused > 200


def test_a_changed_schema_is_refused(memory):
    """A bit changed in what the tables are is refused even while they are empty.

    Otherwise rows might be told apart no more once there are some.
    """
    path, copy = memory / "journal", memory / "copy"
    grown(path, [])
    data = path.read_bytes()
    for sql in (journal_file._HEADER, journal_file._ROWS):
        start = data.index(sql.encode())
        for at in range(start, start + len(sql)):
            broken = bytearray(data)
            broken[at] ^= 1 << at % 8
            assert content(laid(copy, (bytes(broken), None))) is None


async def test_a_log_that_was_not_copied_along(path, tmp_path):
    """A journal left by a crash is refused without its log: what is in it would be forgotten."""
    async with opened(path) as journal:
        await journal.intend(0, None)
        left = as_left(path)
    copy = laid(tmp_path / "copies" / "journal", (left[0], None))
    for _ in range(2):
        with pytest.raises(JournalError, match="journal-wal, which holds its last rows") as error:
            opened(copy)
        assert one_line(error)
        assert as_left(copy) == (left[0], None)
    async with opened(laid(copy, left)) as whole:
        assert await whole.known(0)


def foreign(path):
    """Make a database of somebody else's."""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE rows (row)")
    db.close()


def of_another_version(path):
    """Make a journal that a later routera may make."""
    grown(path, [])
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 4")
    db.close()


def truncated(path):
    """Make a journal that has lost its second half."""
    grown(path, [intents(range(1_000))])
    path.write_bytes(path.read_bytes()[:20_480])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (foreign, "not a journal of an import"),
        (of_another_version, "version 4"),
        (truncated, "is damaged"),
        (lambda path: path.write_bytes(b""), "not a journal of an import"),
        (lambda path: path.write_text("ticket_name,pipeline\n" * 99), "is damaged"),
        (lambda path: path.mkdir(), "cannot be opened"),
    ],
    ids=["foreign", "version", "truncated", "empty", "text", "directory"],
)
def test_what_is_no_journal_is_left_alone(path, made, said):
    """A file that is no journal, or not one that can be read, is refused and stays as it is."""
    made(path)
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(JournalError, match=said) as error:
        opened(path)
    assert one_line(error)
    assert str(path) in str(error.value)
    assert before is None or path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_journal_where_none_can_be(tmp_path):
    """A folder that is not there is told as such."""
    with pytest.raises(JournalError, match="cannot be") as error:
        opened(tmp_path / "nowhere" / "journal")
    assert one_line(error)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Binding("cd" * 32, BINDING.target, BINDING.mapping), "another input"),
        (Binding(BINDING.digest, "http://127.0.0.1:1", BINDING.mapping), BINDING.target),
        (Binding(BINDING.digest, BINDING.target, "contacts"), "another mapping or other options"),
    ],
    ids=["input", "target", "mapping"],
)
async def test_another_import_is_refused(path, other, said):
    """A journal is not resumed with another input, target or mapping; then it is as it was."""
    async with opened(path) as journal:
        await journal.intend(0, None)
        left = as_left(path)
    for each in (as_left(path), left):
        laid(path, each)
        with pytest.raises(ConfigurationError, match=said) as error:
            opened(path, other)
        assert one_line(error)
        assert "move it aside to begin a new import" in str(error.value)
        async with opened(path) as resumed_:
            assert (await resumed_.known(0)).status == "unknown"


# One process at a time

HOLD = """
async def main():
    journal = opened(sys.argv[1])
    await journal.intend(5, None)
    print("held", flush=True)
    sys.stdin.read()
    await journal.aclose()

asyncio.run(main())
"""

TRY = """
from routera_async import RouteraError
try:
    journal = opened(sys.argv[1])
except RouteraError as error:
    print(type(error).__name__, error)
else:
    print("opened", flush=True)
    sys.stdin.read()
    asyncio.run(journal.aclose())
"""


def test_two_processes(path):
    """A journal is one process's, until that ends however it may; then its intents are there."""
    with program(HOLD, path) as holder:
        assert holder.stdout.readline() == "held\n"
        with program(TRY, path) as other:
            said, problems = other.communicate()
        assert said.startswith("ConfigurationError")
        assert "in use by another import" in said
        assert not problems
        with pytest.raises(ConfigurationError, match="in use by another import") as error:
            opened(path)
        assert one_line(error)
        holder.kill()
        holder.wait()
    assert [record[0] for record in resumed(path)[1]] == [5]


def test_many_processes_begin_at_once(path):
    """Of several that create one journal at the same time, one has it."""
    others = [program(TRY, path) for _ in range(4)]
    said = [other.stdout.readline().split()[0] for other in others]
    for other in others:
        with other:
            assert not other.communicate()[1]
    assert sorted(said) == ["ConfigurationError"] * 3 + ["opened"]
    assert list(path.parent.iterdir()) == [path]


def test_the_journal_of_another_is_not_replaced(path):
    """A journal that another process creates in the same moment is taken as it is."""
    assert journal_file._create(path, BINDING, "one", NOW)
    before = path.read_bytes()
    assert not journal_file._create(path, BINDING, "other", NOW)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


async def test_two_in_one_process(path):
    """The same process cannot open it twice either, nor does trying free it for others."""
    async with opened(path) as journal:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="in use"):
                opened(path)
        with program(TRY, path) as other:
            assert other.communicate()[0].startswith("ConfigurationError")
        await journal.intend(0, None)
    async with opened(path) as journal:
        assert await journal.known(0)


async def test_a_log_that_is_being_written(path):
    """A log that looks broken is no damage while another process may be writing it."""
    log = path.parent / f"{path.name}-wal"
    async with opened(path) as journal:
        for row in range(4):
            await journal.intend(row, None)
        whole = log.read_bytes()
        log.write_bytes(whole[:60] + b"!" + whole[61:])
        with pytest.raises(ConfigurationError, match="in use"):
            opened(path)
        log.write_bytes(whole)
    assert len(resumed(path)[1]) == 4


async def test_a_file_system_without_links(path, monkeypatch):
    """Where files cannot be linked, a journal is moved into place."""

    def link(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", link)
    async with opened(path) as journal:
        await journal.intend(0, None)
    assert list(path.parent.iterdir()) == [path]


async def test_a_journal_behind_a_link(path, tmp_path):
    """A journal that is a link is where the link leads, with its log."""
    target = tmp_path / "elsewhere"
    target.mkdir()
    path.symlink_to(target / "journal")
    for _ in range(2):
        async with opened(path) as journal:
            await journal.intend(0, None)
            assert (target / "journal-wal").exists()
    assert list(target.iterdir()) == [target / "journal"]


# What cannot be written


class Failing:
    """A connection that fails whenever it is told to commit, and counts how often it was."""

    def __init__(self, db, error) -> None:
        self.commits = 0
        self._db = db
        self._error = error

    def execute(self, statement, *values):
        """Execute anything else."""
        if statement == "COMMIT":
            self.commits += 1
            raise self._error
        return self._db.execute(statement, *values)

    def __getattr__(self, name):
        return getattr(self._db, name)


@pytest.mark.parametrize(
    "error",
    [sqlite3.OperationalError("disk I/O error"), OSError(5, "Input/output error"), MemoryError()],
    ids=["sqlite", "os", "memory"],
)
async def test_a_fault_ends_the_journal(path, error):
    """After a failed commit everyone who waits or comes later is told so; nothing is retried."""
    journal = opened(path)
    await journal.intend(0, None)
    journal._file._db = failing = Failing(journal._file._db, error)
    first = [asyncio.create_task(journal.intend(row, None)) for row in (1, 2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = [asyncio.create_task(journal.intend(3, None)), asyncio.create_task(journal.flush())]
    ended = await asyncio.gather(*first, *second, return_exceptions=True)
    for call in (journal.intend(4, None), journal.flush(), journal.known(0), journal.tally()):
        with pytest.raises(JournalError) as raised:
            await call
        assert one_line(raised)
        ended.append(raised.value)
    assert {str(each) for each in ended} == {journal.fault}
    assert len(set(map(id, ended))) == len(ended) == 8
    assert "run the same command again" in journal.fault
    journal.settle(0, "created")
    await journal.aclose()
    await journal.aclose()
    assert failing.commits == 1
    async with opened(path) as resumed_:
        assert (await resumed_.known(0)).status == "unknown"
        assert await resumed_.known(1) is None


async def test_a_full_disk(path):
    """A full disk is a fault; what was promised before is there once there is space."""
    journal = opened(path)
    pages = journal._file._db.execute("PRAGMA page_count").fetchone()[0]
    journal._file._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    promised = []

    async def go_on():
        for row in range(10_000):
            await journal.intend(row, "x" * 100)
            promised.append(row)

    with pytest.raises(JournalError, match="disk is full") as error:
        await go_on()
    assert one_line(error)
    assert len(promised) > 10
    await journal.aclose()
    assert [record[0] for record in resumed(path)[1]] == promised


LIMITED = """
import resource
from routera_async import JournalError

async def main():
    journal = opened(sys.argv[1])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    promised = 0
    try:
        while True:
            await journal.intend(promised, "x" * 100)
            promised += 1
    except JournalError as error:
        print(promised, error)
    await journal.aclose()
    resource.setrlimit(resource.RLIMIT_FSIZE, before)

asyncio.run(main())
"""


def test_a_file_that_may_not_grow(path):
    """When the system refuses to let the log grow, what was promised before is there."""
    with program(LIMITED, path) as other:
        said, problems = other.communicate()
    assert not problems
    promised = int(said.split()[0])
    assert promised > 5
    assert "cannot be written" in said
    assert len(resumed(path)[1]) >= promised


async def test_a_fault_of_the_last_commit(path):
    """What cannot be written while closing is told, once, and the lock is given up."""
    journal = opened(path)
    await journal.intend(0, None)
    journal.settle(0, "created")
    journal._file._db = Failing(journal._file._db, sqlite3.OperationalError("disk I/O error"))
    with pytest.raises(JournalError, match="disk I/O error"):
        await journal.aclose()
    async with opened(path) as resumed_:
        assert (await resumed_.known(0)).status == "unknown"


async def test_a_file_that_cannot_be_read(path):
    """A read that fails is a fault as well."""
    async with opened(path) as journal:
        await journal.intend(0, None)
    async with opened(path) as journal:
        journal._file._db.execute("ALTER TABLE rows RENAME TO lost")
        with pytest.raises(JournalError, match="no such table"):
            await journal.known(0)
        assert journal.fault
        journal._file._db.execute("ALTER TABLE lost RENAME TO rows")


# Many at once


class Counting:
    """Runs a journal's work in the loop, some turns later, and counts it."""

    def __init__(self) -> None:
        self.runs = 0
        self.running = 0

    async def run(self, function):
        """Run it, alone."""
        assert not self.running
        self.running = 1
        for _ in range(3):
            await asyncio.sleep(0)
        self.runs += 1
        self.running = 0
        return function()


def test_all_that_waits_is_committed_together(virtually, path):
    """Whatever comes in one turn, or while a commit is under way, is one transaction."""

    async def main():
        run = Counting()
        async with opened(path, run=run.run) as journal:
            await asyncio.gather(*(journal.intend(row, None) for row in range(300)))
            assert run.runs == 1
            late = [asyncio.create_task(journal.intend(300, None))]
            for row in range(301, 304):
                await asyncio.sleep(0)
                late.append(asyncio.create_task(journal.intend(row, None)))
            for row in range(300):
                journal.settle(row, "created")
            await asyncio.gather(*late)
            assert run.runs == 3
            assert (await journal.tally())["created"] == 300

    virtually(main())


def test_an_outcome_does_not_wait_for_long(virtually, path):
    """An outcome is written within a tenth of a second, even if nobody waits for anything."""

    async def main():
        run = Counting()
        async with opened(path, run=run.run) as journal:
            journal.settle(0, "rejected")
            journal.settle(1, "rejected")
            await asyncio.sleep(0.09)
            assert not run.runs
            await asyncio.sleep(0.02)
            assert run.runs == 1
            intended = asyncio.create_task(journal.intend(2, None))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            journal.settle(3, "rejected")  # while that is being committed
            await intended
            await asyncio.sleep(0.11)
            assert run.runs == 3
            left = as_left(path)
        assert len(resumed(laid(path, left))[1]) == 4

    virtually(main())


@pytest.mark.parametrize("turns", range(9))
def test_a_cancelled_intent(virtually, path, turns):
    """Cancelled at any point, an intent harms no other; its own row is whole or absent."""

    async def main():
        async with opened(path, run=Counting().run) as journal:
            tasks = [asyncio.create_task(journal.intend(row, None)) for row in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
            tasks[1].cancel()
            later = asyncio.create_task(journal.intend(3, None))
            ended = await asyncio.gather(*tasks, later, return_exceptions=True)
            assert ended[0] is ended[2] is ended[3] is None
            if ended[1] is None:
                assert await journal.known(1)
            assert set(await everything(journal, range(4))) >= {0, 2, 3}

    virtually(main())


async def test_all_waiters_cancelled(path):
    """A commit that nobody waits for any more is still whole."""
    async with opened(path) as journal:
        tasks = [asyncio.create_task(journal.intend(row, None)) for row in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await journal.intend(3, None)
        assert set(await everything(journal, range(4))) == {0, 1, 2, 3}


# Resuming a large one


def large(path, rows):
    """Make a journal of so many created rows."""
    file = JournalFile.open(path, BINDING, lambda: "1d" * 16, lambda: NOW)
    for start in range(0, rows, 10_000):
        file.write(
            [
                (row, journal_file.CREATED, 1, int(NOW * 1000), UUID, f"ext-{row}", None, None)
                for row in range(start, start + 10_000)
            ]
        )
    file.close([], whole=True)


async def test_resuming_many_rows(memory):
    """Memory does not grow with the rows that are resumed, and each is read from disk once."""
    path = memory / "journal"
    large(path, 100_000)
    tracemalloc.start()
    try:
        journal = opened(path)
        statements = []
        journal._file._db.set_trace_callback(statements.append)
        for row in range(100_000):
            entry = await journal.known(row)
            assert entry.row == row
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert await journal.known(100_000) is None
    await journal.aclose()
    assert peak < 5_000_000
    assert sum("SELECT" in each for each in statements) <= 101


async def test_rows_told_while_resuming(path):
    """Rows that are sent again while the reader goes on do not make it read anything twice."""
    large(path, 10_000)
    async with opened(path) as journal:
        statements = []
        journal._file._db.set_trace_callback(statements.append)
        for row in range(10_000):
            assert (await journal.known(row)).status == "created"
            if row >= 50 and row % 5 == 0:
                journal.settle(row - 50, "held")
        assert (await journal.known(51)).status == "created"
        assert (await journal.known(50)).status == "held"
        reads = [each for each in statements if "row >= " in each]
        assert len(reads) <= 12


async def test_undecided_in_batches(path):
    """Every undecided row is told, however many, and may be settled as it is."""
    async with opened(path) as journal:
        for row in range(2_500):
            journal.settle(row, "unknown" if row % 2 else "held")
        seen = []
        async for entry in journal.undecided():
            seen.append(entry.row)
            journal.settle(entry.row, "created")
        assert seen == list(range(2_500))
        assert (await journal.tally())["created"] == 2_500
        assert [entry async for entry in journal.undecided()] == []


# Closing


async def test_closing_leaves_one_file(path):
    """A closed journal is one file, is closed once, and takes nothing any more."""
    journal = opened(path)
    await journal.intend(0, None)
    assert (path.parent / f"{path.name}-wal").stat().st_size
    waiting = asyncio.create_task(journal.intend(1, None))
    await asyncio.sleep(0)
    journal.settle(0, "created")
    await asyncio.gather(journal.aclose(), journal.aclose())
    await waiting
    assert list(path.parent.iterdir()) == [path]
    for call in (journal.intend(2, None), journal.flush(), journal.tally()):
        with pytest.raises(JournalError, match="is closed"):
            await call
    with pytest.raises(JournalError, match="is closed"):
        journal.settle(2, "created")
    assert [record[1] for record in resumed(path)[1]] == [
        journal_file.CREATED,
        journal_file.UNKNOWN,
    ]


async def test_closing_that_is_cancelled(path):
    """Cancelled while it closes, a journal is closed all the same."""
    journal = opened(path, run=Counting().run)
    journal.settle(0, "created")
    closing = asyncio.create_task(journal.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await journal.aclose()
    assert len(resumed(path)[1]) == 1


async def test_a_journal_left_open(path):
    """A journal that is forgotten warns, and can be resumed."""
    journal = opened(path)
    await journal.intend(0, None)
    finalizer = journal._left_open
    with pytest.warns(ResourceWarning, match="was never closed"):
        finalizer()
    del journal, finalizer
    gc.collect()
    assert [record[0] for record in resumed(path)[1]] == [0]


def test_a_process_that_forgets_it(path):
    """A process that ends without closing leaves a journal that can be resumed."""
    source = """
async def main():
    journal = opened(sys.argv[1])
    await journal.intend(0, None)
    return journal

kept = asyncio.run(main())
"""
    with program(source, path) as other:
        assert not other.communicate()[1]
    assert [record[0] for record in resumed(path)[1]] == [0]
