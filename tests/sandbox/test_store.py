"""The store: what is committed stays, and what is not a sandbox's file is refused."""

import sqlite3
import subprocess
import sys

import pytest

from routera_async.sandbox import SandboxError, Store
from routera_async.sandbox.errors import Duplicate
from routera_async.sandbox.store import _BATCH, Record

NOW = "2026-05-01T10:00:00.000Z"


@pytest.fixture
def store():
    """Open a store in memory."""
    opened = Store()
    yield opened
    opened.close()


def record(record_id, **fields):
    """Return a record that was created now."""
    return Record(record_id, NOW, NOW, None, None, fields)


def add(store, record_id, account="a", kind="tickets", natural_key=None, **fields):
    """Commit a record."""
    store.create(account, kind, record(record_id, **fields), natural_key)


# -- the oracle -------------------------------------------------------------------------------


def test_the_oracle_tells_what_exists(store):
    """count, records, get and find give flat objects of all accounts, oldest first."""
    add(store, "1", external_id="x", note="hello")
    add(store, "2", account="b")
    add(store, "3", kind="contacts", external_id="y")
    first = {
        "id": "1",
        "external_id": "x",
        "created_at": NOW,
        "updated_at": NOW,
        "archived": False,
        "note": "hello",
    }
    assert store.count() == 2
    assert [flat["id"] for flat in store.records()] == ["1", "2"]
    assert store.get("1") == store.find("x") == next(store.records()) == first
    assert (store.get("9"), store.find("9"), store.find("y")) == (None, None, None)
    assert store.count("contacts") == 1
    assert store.find("y", "contacts") == store.get("3")


def test_the_oracle_shows_archived_records_on_demand(store):
    """Archived records are counted and listed when asked for; `get` knows them, `find` not."""
    add(store, "1", external_id="x")
    add(store, "2")
    assert store.archive("a", "tickets", "1", at="2026-06-01T00:00:00.000Z", by="me")
    assert (store.count(), store.count(archived=True)) == (1, 2)
    assert [flat["id"] for flat in store.records()] == ["2"]
    assert [flat["id"] for flat in store.records(archived=True)] == ["1", "2"]
    assert store.find("x") is None
    assert store.get("1") == {
        "id": "1",
        "external_id": "x",
        "created_at": NOW,
        "updated_at": "2026-06-01T00:00:00.000Z",
        "archived": "2026-06-01T00:00:00.000Z",
        "archived_by": "me",
    }


def test_records_may_be_added_while_the_oracle_is_read(store):
    """Reading goes batch by batch and meets what was added behind it, each record once."""
    for number in range(_BATCH + 1):
        add(store, str(number))
    seen = []
    for flat in store.records():
        seen.append(flat["id"])
        if len(seen) == 1:
            add(store, "late")
    assert seen == [*map(str, range(_BATCH + 1)), "late"]


# -- writes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "first", "second", "other"),
    [
        ("external_id", {"external_id": "x"}, {"external_id": "x"}, {"external_id": "X"}),
        ("external_id", {"external_id": "x\x00y"}, {"external_id": "x\x00y"}, {"external_id": "x"}),
        ("natural_key", {"natural_key": "e"}, {"natural_key": "e"}, {"natural_key": "E"}),
    ],
)
def test_keys_are_unique_among_an_accounts_active_records(store, column, first, second, other):
    """A key is refused once, by name; in another account or type, or once archived, it is free."""
    add(store, "1", **first)
    with pytest.raises(Duplicate) as caught:
        add(store, "2", **second)
    assert caught.value.column == column
    add(store, "3", **other)
    add(store, "4", account="b", **second)
    add(store, "5", kind="contacts", **second)
    store.archive("a", "tickets", "1", at=NOW, by="me")
    add(store, "6", **second)
    assert [flat["id"] for flat in store.records(archived=True)] == ["1", "3", "4", "6"]


def test_only_an_accounts_own_active_record_is_archived(store):
    """Archiving what is another's, of another type, unknown or archived does nothing."""
    add(store, "1")
    for account, kind, record_id in [
        ("b", "tickets", "1"),
        ("a", "contacts", "1"),
        ("a", "tickets", "9"),
    ]:
        assert not store.archive(account, kind, record_id, at=NOW, by="me")
    assert store.archive("a", "tickets", "1", at=NOW, by="me")
    assert not store.archive("a", "tickets", "1", at=NOW, by="you")
    assert store.get("1")["archived_by"] == "me"


def test_fetch_finds_an_accounts_own_records_only(store):
    """A record is another account's, or another type's, as good as absent."""
    add(store, "1", note="hello")
    assert store.fetch("a", "tickets", "1") == record("1", note="hello")
    assert store.fetch("b", "tickets", "1") is None
    assert store.fetch("a", "contacts", "1") is None
    assert store.fetch("a", "tickets", "9") is None


def test_an_update_replaces_fields_and_keys(store):
    """What a record holds, its keys and its time change; a taken key is refused, by name."""
    add(store, "1", external_id="x", natural_key="e")
    add(store, "2", external_id="y", natural_key="f")
    changed = Record("2", NOW, "2026-06-01T00:00:00.000Z", None, None, {"external_id": "x"})
    with pytest.raises(Duplicate) as caught:
        store.update("a", "tickets", changed)
    assert caught.value.column == "external_id"
    with pytest.raises(Duplicate) as caught:
        store.update("a", "tickets", record("2"), "e")
    assert caught.value.column == "natural_key"
    store.archive("a", "tickets", "1", at=NOW, by="me")
    store.update("a", "tickets", changed, "e")
    assert store.find("x") == changed.flat()
    add(store, "3", external_id="y", natural_key="f")


def test_only_an_accounts_own_active_record_is_updated(store):
    """An update of what is another's, of another type or archived does nothing."""
    add(store, "1", note="old")
    store.update("b", "tickets", record("1", note="new"))
    store.update("a", "contacts", record("1", note="new"))
    assert store.get("1")["note"] == "old"
    store.archive("a", "tickets", "1", at=NOW, by="me")
    store.update("a", "tickets", record("1", note="new"))
    assert store.get("1")["note"] == "old"


def test_put_creates_or_replaces(store):
    """The second put of an id replaces the first in its place, unless it is another account's."""
    assert store.put("a", "routers", record("1", name="one"))
    add(store, "2", kind="routers")
    store.archive("a", "routers", "1", at=NOW, by="me")
    assert store.put("a", "routers", record("1", name="two"))
    assert [flat["id"] for flat in store.records("routers")] == ["1", "2"]
    assert (store.get("1")["name"], store.get("1")["archived"]) == ("two", False)
    assert not store.put("b", "routers", record("1", name="three"))
    assert store.get("1")["name"] == "two"


def test_assignments_are_counted(store):
    """Each router's are counted by user, and the account's in all."""
    for number, (router, user) in enumerate([("r", "a@b"), ("r", "a@b"), ("r", "c@d"), ("s", "e")]):
        add(store, str(number), owner=None)
        given = record(str(number), owner=user)
        store.assign("a", "tickets", given, None, router=router, user=user)
        assert store.get(str(number))["owner"] == user
    assert store.assigned("a", "r") == {"a@b": 2, "c@d": 1}
    assert (store.assignments("a"), store.assignments("b")) == (4, 0)


def test_an_assignment_that_fails_leaves_nothing(store):
    """The record and the count are written together or not at all, and the store goes on."""
    add(store, "1", owner=None)
    store._db.execute("ALTER TABLE assignments RENAME TO gone")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        store.assign("a", "tickets", record("1", owner="a@b"), None, router="r", user="a@b")
    assert store.get("1")["owner"] is None
    add(store, "2")


def test_a_file_of_before_there_were_routers_gets_them(tmp_path):
    """A file without the table of assignments is taken, and has it from then on."""
    old = Store(tmp_path / "a.db")
    add(old, "1")
    old._db.execute("DROP TABLE assignments")
    old.close()
    again = Store(tmp_path / "a.db")
    again.assign("a", "tickets", record("1"), None, router="r", user="a@b")
    assert again.assignments("a") == 1
    again.close()


# -- pages ------------------------------------------------------------------------------------


def pages(store, archived=False, limit=2):
    """Return every page's ids and the counts that came with them."""
    found, counts, offset = [], [], 0
    while True:
        page, count = store.page("a", "tickets", archived=archived, limit=limit, offset=offset)
        counts.append(count)
        if not page:
            return found, counts
        found.append([entry.id for entry in page])
        offset += len(page)


def test_pages_follow_changes_between_them(store):
    """What was noted of a listing is dropped by a create and by an archiving."""
    for number in range(5):
        add(store, str(number))
    assert pages(store) == ([["0", "1"], ["2", "3"], ["4"]], [5, 5, 5, 5])
    add(store, "5")
    assert pages(store) == ([["0", "1"], ["2", "3"], ["4", "5"]], [6, 6, 6, 6])
    store.archive("a", "tickets", "1", at=NOW, by="me")
    assert pages(store) == ([["0", "2"], ["3", "4"], ["5"]], [5, 5, 5, 5])
    assert pages(store, archived=True)[0] == [["0", "1"], ["2", "3"], ["4", "5"]]
    store.archive("a", "tickets", "0", at=NOW, by="me")
    page, _ = store.page("a", "tickets", archived=False, limit=2, offset=2)
    assert [entry.id for entry in page] == ["4", "5"]


def test_paging_in_order_skips_no_rows_again(store):
    """A page that begins where another ended goes there at once: a long listing stays linear."""
    for number in range(6):
        add(store, str(number))
    statements = []
    store._db.set_trace_callback(statements.append)
    assert pages(store)[0] == [["0", "1"], ["2", "3"], ["4", "5"]]
    listed = [sql for sql in statements if "LIMIT" in sql]
    assert len(listed) == 4
    assert all(sql.endswith("OFFSET 0") for sql in listed)
    assert len([sql for sql in statements if "count(*)" in sql]) == 1


def test_pages_follow_changes_of_another_process(tmp_path):
    """Two stores on one file see each other's records and counts."""
    ours, theirs = Store(tmp_path / "a.db"), Store(tmp_path / "a.db")
    add(ours, "1")
    assert pages(ours) == ([["1"]], [1, 1])
    add(theirs, "2")
    assert pages(ours) == ([["1", "2"]], [2, 2])
    ours.close()
    theirs.close()


def test_a_page_may_begin_anywhere(store):
    """An offset that no page ended at, and pages of other sizes, give the same order."""
    for number in range(6):
        add(store, str(number))
    for limit, offset in [(3, 0), (2, 3), (4, 1), (9, 5), (1, 6)]:
        page, count = store.page("a", "tickets", archived=False, limit=limit, offset=offset)
        wanted = [str(number) for number in range(6)][offset : offset + limit]
        assert ([entry.id for entry in page], count) == (wanted, 6)


def test_pages_hold_an_accounts_own_type_only(store):
    """Other accounts and types are neither listed nor counted."""
    add(store, "1")
    add(store, "2", account="b")
    add(store, "3", kind="contacts")
    assert pages(store) == ([["1"]], [1, 1])


# -- files ------------------------------------------------------------------------------------


def test_a_file_survives_close_and_reopen(tmp_path):
    """Records and settings are there again; a setting keeps the first value that it was given."""
    first = Store(tmp_path / "a.db")
    add(first, "1", note="😀")
    assert first.setting("secret", "one") == "one"
    first.close()
    again = Store(str(tmp_path / "a.db"))
    assert again.get("1")["note"] == "😀"
    assert again.setting("secret", "two") == "one"
    again.close()


def test_a_file_is_written_ahead(tmp_path):
    """A file is in WAL mode, so that a commit waits for no disk and readers do not wait for it."""
    store = Store(tmp_path / "a.db")
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (1,)  # NORMAL
    store.close()


KILLED = """
import os, signal, sys
from routera_async.sandbox import Store
from routera_async.sandbox.store import Record
store = Store(sys.argv[1])
for number in range(100):
    store.create("a", "tickets", Record(str(number), "t", "t", None, None, {}))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path):
    """Every create that returned is in the file although the process was killed without a word."""
    path = tmp_path / "a.db"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert ended.returncode == -9
    store = Store(path)
    assert [flat["id"] for flat in store.records()] == [str(number) for number in range(100)]
    store.close()


def foreign(path):
    """Make another program's database."""
    sqlite3.connect(path).executescript("CREATE TABLE theirs (a)").connection.close()


def other_version(path):
    """Make a database that says it is of version 0."""
    Store(path).close()
    db = sqlite3.connect(path)
    db.execute("UPDATE routera_sandbox SET value = '0'")
    db.commit()
    db.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"not a database" * 99), "is not a sandbox database"),
        (foreign, "is a database of another program: name another file"),
        (other_version, "was made by another version of the sandbox: name another file"),
    ],
    ids=["text", "foreign", "version"],
)
def test_what_is_not_ours_is_refused_and_left_alone(tmp_path, make, message):
    """Another program's or version's file raises SandboxError and is not changed by a byte."""
    path = tmp_path / "a.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(SandboxError, match=message) as caught:
        Store(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.db"]


def test_a_path_that_cannot_be_opened_is_refused(tmp_path):
    """A directory that does not exist raises SandboxError that names the path."""
    with pytest.raises(SandboxError, match=r"cannot open .*/none/a\.db: unable to open"):
        Store(tmp_path / "none" / "a.db")
