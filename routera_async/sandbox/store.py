# ruff: noqa: S608  statements are put together from constants of this file only
"""The records, in SQLite: a file, or memory. Statements are short and run on the loop itself.

A create is one autocommitted INSERT. In a file (WAL, synchronous=NORMAL) what was acknowledged
outlives the process, also when it is killed; only a power cut may lose the last moments.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from .errors import Duplicate, SandboxError
from .wire import decode, encode

VERSION = "1"
"""What a file says that this version made; any other is refused."""

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE routera_sandbox (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE records (
    seq INTEGER PRIMARY KEY,  -- the order in which they were created
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    type TEXT NOT NULL,
    external_id TEXT,
    natural_key TEXT,         -- a contact's email, a company's website_url
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    archived_at TEXT,
    archived_by TEXT,
    fields TEXT NOT NULL      -- everything that was written, as a JSON object
) STRICT;
CREATE UNIQUE INDEX active_external_id ON records (external_id, type, account)
    WHERE archived_at IS NULL AND external_id IS NOT NULL;
CREATE UNIQUE INDEX active_natural_key ON records (natural_key, type, account)
    WHERE archived_at IS NULL AND natural_key IS NOT NULL;
CREATE INDEX listed ON records (type, account, seq, archived_at);
INSERT INTO routera_sandbox VALUES ('version', '1');
COMMIT;
"""
_ASSIGNMENTS = """
CREATE TABLE IF NOT EXISTS assignments (  -- how many objects each router gave to each user
    account TEXT NOT NULL,
    router TEXT NOT NULL,
    user TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (account, router, user)
) STRICT, WITHOUT ROWID;
"""  # apart from the schema, so that a file of before there were routers gets it too
_COLUMNS = "id, created_at, updated_at, archived_at, archived_by, fields"
_INSERT = (
    "INSERT INTO records (id, account, type, external_id, natural_key, created_at, updated_at,"
    " fields) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_REPLACING = (
    "ON CONFLICT (id) DO UPDATE SET fields = excluded.fields, updated_at = excluded.updated_at,"
    " archived_at = NULL, archived_by = NULL"
    " WHERE account = excluded.account AND type = excluded.type"
)
_UPDATE = (
    "UPDATE records SET external_id = ?, natural_key = ?, updated_at = ?, fields = ?"
    " WHERE id = ? AND account = ? AND type = ? AND archived_at IS NULL"
)
_COUNT = (
    "INSERT INTO assignments VALUES (?, ?, ?, 1)"
    " ON CONFLICT (account, router, user) DO UPDATE SET count = count + 1"
)
_BATCH = 1_000  # rows of one SELECT of the oracle: no cursor stays open while others write


@attrs.frozen
class Record:
    """One stored record; times are ISO 8601 UTC text, as the API shows them."""

    id: str
    created_at: str
    updated_at: str
    archived_at: str | None
    archived_by: str | None
    fields: dict[str, Any]

    def flat(self) -> dict[str, Any]:
        """Return the flat object that the API answers with, every field in it."""
        flat: dict[str, Any] = {
            "id": self.id,
            "external_id": None,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "archived": self.archived_at or False,
        }
        if self.archived_at:
            flat["archived_by"] = self.archived_by
        flat.update(self.fields)
        return flat


class Store:
    """The records of every account, and the oracle that tests ask what really exists.

    Any thread may ask it: one statement, or one transaction, runs at a time.
    Raises SandboxError for a path that cannot be opened, or that another program or another
    version made; such a file is left as it was.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise SandboxError(f"cannot open {path}: {error}") from error
        self._ends: dict[tuple[str, str, bool, int], int] = {}
        self._totals: dict[tuple[str, str, bool], int] = {}
        self._seen: tuple[int, Any] = (0, None)
        try:
            self._prepare(path)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the database; nothing that was acknowledged is lost."""
        self._db.close()

    # -- the oracle -----------------------------------------------------------------------------

    def count(self, type_name: str = "tickets", *, archived: bool = False) -> int:
        """Return how many active records exist, of all accounts; `archived` counts those too."""
        sql = f"SELECT count(*) FROM records WHERE type = ? {_active(archived)}"
        return int(self._rows(sql, type_name)[0][0])

    def records(
        self, type_name: str = "tickets", *, archived: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yield the active records of all accounts, flat, oldest first; `archived` adds those."""
        sql = (
            f"SELECT seq, {_COLUMNS} FROM records WHERE type = ? AND seq > ? {_active(archived)}"
            f" ORDER BY seq LIMIT {_BATCH}"
        )
        seq = 0
        while rows := self._rows(sql, type_name, seq):
            yield from (_record(row[1:]).flat() for row in rows)
            seq = rows[-1][0]

    def get(self, record_id: str) -> dict[str, Any] | None:
        """Return the record with this id, flat, archived or not, or None."""
        sql = f"SELECT {_COLUMNS} FROM records WHERE id = ?"
        return _flat(self._rows(sql, record_id))

    def find(self, external_id: str, type_name: str = "tickets") -> dict[str, Any] | None:
        """Return the active record with this external_id, flat, or None."""
        sql = f"SELECT {_COLUMNS} FROM records WHERE type = ? AND external_id = ? {_active(False)}"
        return _flat(self._rows(sql, type_name, external_id))

    # -- the API's reads and writes: one account each ---------------------------------------------

    def create(
        self, account: str, type_name: str, record: Record, natural_key: str | None = None
    ) -> None:
        """Commit a new record, or raise Duplicate: its key belongs to an active one."""
        self._write(_INSERT, _row(account, type_name, record, natural_key))

    def update(
        self, account: str, type_name: str, record: Record, natural_key: str | None = None
    ) -> None:
        """Commit an active record's new fields and time, or raise Duplicate as `create` does."""
        fields = record.fields
        new = (fields.get("external_id"), natural_key, record.updated_at, encode(fields).decode())
        self._write(_UPDATE, (*new, record.id, account, type_name))

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        """Return the rows that a statement reads."""
        with self._lock:
            return self._db.execute(statement, values).fetchall()

    def _write(self, statement: str, values: Sequence[Any]) -> int:
        """Return how many rows a statement wrote; Duplicate when a key is another's."""
        try:
            with self._lock:
                return self._db.execute(statement, values).rowcount
        except sqlite3.IntegrityError as error:
            # SQLite names the columns: "UNIQUE constraint failed: records.natural_key, ..."
            column = "natural_key" if "natural_key" in str(error) else "external_id"
            raise Duplicate(column) from error

    def fetch(self, account: str, type_name: str, record_id: str) -> Record | None:
        """Return one record of the account, archived or not, or None."""
        sql = f"SELECT {_COLUMNS} FROM records WHERE id = ? AND account = ? AND type = ?"
        rows = self._rows(sql, record_id, account, type_name)
        return _record(rows[0]) if rows else None

    def page(
        self, account: str, type_name: str, *, archived: bool, limit: int, offset: int
    ) -> tuple[list[Record], int]:
        """Return a page of the account's records, oldest first, and how many match in all."""
        where = f"FROM records WHERE type = ? AND account = ? {_active(archived)}"
        key = (type_name, account)
        self._forget_if_changed()
        # Paging through everything would skip the rows before each page once more, and count
        # them all: for 100,000 records that is seconds of the loop that the importer runs on.
        start = self._ends.get((*key, archived, offset))
        skip = offset if start is None else 0
        sql = f"SELECT seq, {_COLUMNS} {where} AND seq > ? ORDER BY seq LIMIT ? OFFSET ?"
        rows = self._rows(sql, *key, start or 0, limit, skip)
        if rows:
            self._ends[*key, archived, offset + len(rows)] = rows[-1][0]
        if (*key, archived) not in self._totals:
            self._totals[*key, archived] = self._rows(f"SELECT count(*) {where}", *key)[0][0]
        return [_record(row[1:]) for row in rows], self._totals[*key, archived]

    def archive(self, account: str, type_name: str, record_id: str, *, at: str, by: str) -> bool:
        """Archive an active record; return False when the account has no such one."""
        sql = (
            "UPDATE records SET archived_at = ?, archived_by = ?, updated_at = ?"
            f" WHERE id = ? AND account = ? AND type = ? {_active(False)}"
        )
        return self._write(sql, (at, by, at, record_id, account, type_name)) == 1

    # -- what routers did --------------------------------------------------------------------------

    def put(self, account: str, type_name: str, record: Record) -> bool:
        """Commit a record, new or in the place of the account's own that has its id.

        Returns False when the id is another's.
        """
        return self._write(f"{_INSERT} {_REPLACING}", _row(account, type_name, record, None)) == 1

    def assign(
        self,
        account: str,
        type_name: str,
        record: Record,
        natural_key: str | None,
        *,
        router: str,
        user: str,
    ) -> None:
        """Commit a record that a router gives to a user, and count it: both or neither."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:
                self.update(account, type_name, record, natural_key)
                self._db.execute(_COUNT, (account, router, user))

    def assigned(self, account: str, router: str) -> dict[str, int]:
        """Return how many objects a router has given to each of its users, by e-mail."""
        sql = "SELECT user, count FROM assignments WHERE account = ? AND router = ?"
        return dict(self._rows(sql, account, router))

    def assignments(self, account: str) -> int:
        """Return how many objects the routers of an account have assigned."""
        sql = "SELECT coalesce(sum(count), 0) FROM assignments WHERE account = ?"
        return int(self._rows(sql, account)[0][0])

    def _forget_if_changed(self) -> None:
        """Drop what was noted of the listings when this or another connection has written."""
        foreign = self._rows("PRAGMA data_version")[0]
        if (self._db.total_changes, foreign) != self._seen:
            self._seen = (self._db.total_changes, foreign)
            self._ends.clear()
            self._totals.clear()

    # -- what a restart must find again -----------------------------------------------------------

    def setting(self, name: str, default: str) -> str:
        """Return the setting of this name that the database keeps: the first default given."""
        self._write("INSERT OR IGNORE INTO routera_sandbox VALUES (?, ?)", (name, default))
        sql = "SELECT value FROM routera_sandbox WHERE name = ?"
        return str(self._rows(sql, name)[0][0])

    def _prepare(self, path: str | Path) -> None:
        """Refuse what is not ours before anything is written; then lay out a new database."""
        try:
            tables = {row[0] for row in self._db.execute("SELECT name FROM sqlite_master")}
            if not tables:
                self._db.executescript(_SCHEMA)
            elif "routera_sandbox" not in tables:
                raise SandboxError(f"{path} is a database of another program: name another file")
            sql = "SELECT value FROM routera_sandbox WHERE name = 'version'"
            if self._db.execute(sql).fetchone() != (VERSION,):
                raise SandboxError(
                    f"{path} was made by another version of the sandbox: name another file"
                )
            self._db.execute(_ASSIGNMENTS)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            raise SandboxError(f"{path} is not a sandbox database: {error}") from error


def _active(archived: bool) -> str:
    return "" if archived else "AND archived_at IS NULL"


def _row(account: str, type_name: str, record: Record, natural_key: str | None) -> Sequence[Any]:
    """Return the values of an INSERT."""
    fields = record.fields
    return (
        record.id,
        account,
        type_name,
        fields.get("external_id"),
        natural_key,
        record.created_at,
        record.updated_at,
        encode(fields).decode(),
    )


def _record(row: Sequence[Any]) -> Record:
    record_id, created_at, updated_at, archived_at, archived_by, fields = row
    values = decode(fields.encode())
    return Record(record_id, created_at, updated_at, archived_at, archived_by, values)


def _flat(rows: Sequence[Any]) -> dict[str, Any] | None:
    return _record(rows[0]).flat() if rows else None
