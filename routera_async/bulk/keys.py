"""Which row of an input had a key first: on disk, so that memory does not grow with the rows."""

import sqlite3
from contextlib import ExitStack, closing
from functools import cached_property
from typing import Any

from routera_async.errors import JournalError, OutcomeName, one_line

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -4000;  -- KiB
CREATE TABLE keys (key TEXT PRIMARY KEY, row INTEGER NOT NULL, status TEXT) WITHOUT ROWID;
BEGIN;
"""


AT_HAND = 1_000
"""How many of the latest keys are held in memory, to be moved to the disk together."""

_PLACES = 2**23
"""Bits, a MiB in all, one of which is set for each key on the disk: where it is not, there is none
such (Bloom, 1970, with one hash). Among a million, one new key in nine is looked for in vain."""

_DECIDED = {"created", "duplicate"}
"""Statuses of rows whose key is a record's."""

_Claim = tuple[int, OutcomeName | None]


class Keys:
    """The keys of one input; all but the latest in a database of its own that vanishes with it.

    Raises JournalError for a disk that is full.
    """

    def __init__(self, at_hand: int = AT_HAND) -> None:
        self._at_hand = at_hand
        self._latest: dict[str, _Claim] = {}
        self._moved = bytearray()
        self._closing = ExitStack()

    def claim(self, key: str, row: int, status: OutcomeName | None = None) -> _Claim:
        """Return the first row that had this key, and what became of it: this row, when none had.

        The status is None while the row is under way. A row that an earlier run has decided takes
        the key from one that is not decided: its record has it, whatever becomes of that one.
        """
        found = self._latest.get(key)
        if found is None and self._moved:
            place = hash(key) % _PLACES
            if self._moved[place >> 3] & (1 << (place & 7)):
                found = self._on_disk(key)
        if found is not None and (status is None or found[1] in _DECIDED):
            return found
        if len(self._latest) >= self._at_hand:
            self._move()
        self._latest[key] = claim = (row, status)
        return claim

    def settle(self, key: str, row: int, status: OutcomeName) -> None:
        """Note what became of a row that has a key, if it has it still.

        One that created nothing gives its key up: the next row that has it is the first then.
        """
        is_free = status in {"rejected", "not_sent"}
        if (claim := self._latest.get(key)) is not None:
            if claim[0] == row and is_free:
                del self._latest[key]
            elif claim[0] == row:
                self._latest[key] = (row, status)
        elif self._moved and is_free:
            self._execute("DELETE FROM keys WHERE key = ? AND row = ?", (key, row))
        elif self._moved:
            settled = "UPDATE keys SET status = ? WHERE key = ? AND row = ?"
            self._execute(settled, (status, key, row))

    def close(self) -> None:
        """Let go of the database; nothing more can be claimed."""
        self._latest.clear()
        self._at_hand = 0
        self._closing.close()

    @cached_property
    def _db(self) -> sqlite3.Connection:
        """The database: few inputs have so many keys that they need one."""
        if not self._at_hand:
            raise JournalError("the keys of the input are closed")
        try:
            db = sqlite3.connect("", isolation_level=None)  # "": a file that no other sees
            self._closing.enter_context(closing(db))
            db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise _fault(error) from error
        return db

    def _on_disk(self, key: str) -> _Claim | None:
        found = self._execute("SELECT row, status FROM keys WHERE key = ?", (key,))
        claim: _Claim | None = found.fetchone()
        return claim

    def _move(self) -> None:
        """Move the latest to the disk; what a fault has left half done is done again."""
        try:
            self._db.executemany(
                "REPLACE INTO keys VALUES (?, ?, ?)",
                [(key, row, status) for key, (row, status) in self._latest.items()],
            )
        except sqlite3.Error as error:
            raise _fault(error) from error
        self._moved = self._moved or bytearray(_PLACES // 8)
        for key in self._latest:
            place = hash(key) % _PLACES
            self._moved[place >> 3] |= 1 << (place & 7)
        self._latest.clear()

    def _execute(self, statement: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise _fault(error) from error


def _fault(error: sqlite3.Error) -> JournalError:
    return JournalError(f"the keys of the input cannot be kept: {one_line(str(error))}")
