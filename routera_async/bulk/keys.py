"""Which row of an input had a key first: on disk, so that memory does not grow with the rows."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from routera_async.errors import JournalError, OutcomeName, one_line

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -4000;  -- KiB
CREATE TABLE keys (key TEXT PRIMARY KEY, row INTEGER NOT NULL, status TEXT) WITHOUT ROWID;
BEGIN;
"""


class Keys:
    """The keys of one input, in a database of its own that vanishes with it.

    Raises JournalError for a disk that is full.
    """

    def __init__(self) -> None:
        with _faults_told():
            self._db = sqlite3.connect("", isolation_level=None)  # "": a file that no other sees
            self._db.executescript(_SCHEMA)

    def claim(
        self, key: str, row: int, status: OutcomeName | None = None
    ) -> tuple[int, OutcomeName | None]:
        """Return the first row that had this key, and what became of it: this row, when none had.

        The status is None while the row is under way.
        """
        with _faults_told():
            new = self._db.execute(
                "INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", (key, row, status)
            )
            if new.rowcount:
                return row, status
            found = self._db.execute("SELECT row, status FROM keys WHERE key = ?", (key,))
            return cast("tuple[int, OutcomeName | None]", found.fetchone())

    def settle(self, key: str, status: OutcomeName) -> None:
        """Note what became of the row that has a key.

        One that created nothing gives its key up: the next row that has it is the first then.
        """
        with _faults_told():
            if status in {"rejected", "not_sent"}:
                self._db.execute("DELETE FROM keys WHERE key = ?", (key,))
            else:
                self._db.execute("UPDATE keys SET status = ? WHERE key = ?", (status, key))

    def close(self) -> None:
        """Let go of the database."""
        self._db.close()


@contextmanager
def _faults_told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        why = one_line(str(error))
        raise JournalError(f"the keys of the input cannot be kept: {why}") from error
