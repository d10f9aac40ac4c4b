"""Which row of an input had a key first: on disk, so that memory does not grow with the rows."""

import sqlite3
from typing import cast

from routera_async.errors import OutcomeName

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -4000;  -- KiB
CREATE TABLE keys (key TEXT PRIMARY KEY, row INTEGER NOT NULL, status TEXT) WITHOUT ROWID;
BEGIN;
"""


class Keys:
    """The keys of one input, in a database of its own that vanishes with it."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)  # "": a file that nobody else sees
        self._db.executescript(_SCHEMA)

    def claim(
        self, key: str, row: int, status: OutcomeName | None = None
    ) -> tuple[int, OutcomeName | None]:
        """Return the first row that had this key, and what became of it: this row, when none had.

        The status is None while the row is under way.
        """
        added = self._db.execute("INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", (key, row, status))
        if added.rowcount:
            return row, status
        found = self._db.execute("SELECT row, status FROM keys WHERE key = ?", (key,)).fetchone()
        return cast("tuple[int, OutcomeName | None]", found)

    def settle(self, key: str, status: OutcomeName) -> None:
        """Note what became of the row that has a key.

        One that created nothing gives its key up: the next row that has it is the first then.
        """
        if status in {"rejected", "not_sent"}:
            self._db.execute("DELETE FROM keys WHERE key = ?", (key,))
        else:
            self._db.execute("UPDATE keys SET status = ? WHERE key = ?", (status, key))

    def close(self) -> None:
        """Let go of the database."""
        self._db.close()
