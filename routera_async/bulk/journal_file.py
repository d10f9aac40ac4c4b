"""A journal on disk: its layout, what is checked before it is believed, and its transactions.

    FILE.journal       SQLite; application_id "Rtra", user_version 3
      header           one row: the import's id, when it began, what it is bound to, `open`
      rows             one per row of the input that anything is known of
    FILE.journal-wal   while it is open or after a crash: what has not reached FILE.journal yet

SQLite finds a page that is broken, but neither a changed byte inside one, nor a broken frame in the
middle of the write-ahead log (it drops what follows), nor a log that was not copied along. So
each row and the header carry a checksum, the log is read through before SQLite sees it, and
`open` says that there must be one.

Everything here blocks, and is called by one thread at a time. While a journal is open, nothing else
in the process may open and close its file: POSIX would drop the lock (SQLite knows its own).
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self

import attrs

from routera_async.bulk.journal_rows import (
    CREATED,
    DUPLICATE,
    HELD,
    OPEN,
    REJECTED,
    UNKNOWN,
    Record,
    after,
    checksum_of,
    columns_of,
    packed,
    unpacked,
)
from routera_async.bulk.write_ahead import is_broken
from routera_async.errors import ConfigurationError, JournalError, one_line

_APPLICATION, _VERSION = 0x52747261, 3

_HEADER = (
    "CREATE TABLE header (import_id TEXT, started INTEGER, digest TEXT, target TEXT,"
    " mapping TEXT, survey TEXT, open INTEGER, checksum INTEGER)"
)
_ROWS = (
    "CREATE TABLE rows (row INTEGER PRIMARY KEY, status INTEGER, attempts INTEGER,"
    " sent INTEGER, id, key TEXT, reason TEXT, body TEXT, checksum INTEGER)"
)

_SETTINGS = (
    "PRAGMA locking_mode=EXCLUSIVE",  # first: then no other process is ever let in, nor -shm made
    "PRAGMA synchronous=FULL",
    "PRAGMA fullfsync=ON",  # macOS: its fsync alone leaves data in the disk's cache
    "PRAGMA cell_size_check=ON",
)

BATCH = 1_000
"""Rows that are read at once."""

_TOGETHER = (64, 32, 16, 8, 4, 2, 1)
"""How many rows one statement writes. Each lets go of Python's lock and must wait to have it again,
so a statement a row had the journal and the loop wait for each other."""

_INTO, _VALUES = "REPLACE INTO rows VALUES", "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
_REPLACE = {n: f"{_INTO} {', '.join([_VALUES] * n)}" for n in _TOGETHER}

_FINAL = (CREATED, DUPLICATE, REJECTED)
"""The statuses of rows that are not sent again."""

_FIRST_UNDECIDED = (
    "SELECT nth FROM (SELECT row, status, row_number() OVER (ORDER BY row) - 1 AS nth FROM rows)"
    " WHERE row <> nth OR status NOT IN (?, ?, ?) ORDER BY nth LIMIT 1"
)

_SELECT = "SELECT row, status, attempts, sent, id, key, reason, body, checksum FROM rows "


@attrs.frozen
class Binding:
    """What a journal is bound to: resuming with anything else is refused.

    `digest` is the SHA-256 of the input's bytes in hex, `target` the base URL or the sandbox's
    database, and `mapping` a canonical text of the kind of object, the mapping and every option
    that changes what is sent. `survey` is what reading the input through has found, for whoever
    resumes; it follows from the digest and is not compared. None of them may hold a secret: they
    are kept in the file.
    """

    digest: str
    target: str
    mapping: str
    survey: str = attrs.field(default="", eq=False)


class JournalFile:
    """An open journal, locked against everybody else until it is closed."""

    binding: Binding

    def __init__(self, path: Path, db: sqlite3.Connection, *, resumed: bool) -> None:
        self.resumed = resumed
        self.import_id = ""
        self.started = 0.0
        self.top = -1
        self._path = path
        self._db = db
        self._open: dict[int, Record] = {}  # the rows under way, which are not read again

    @classmethod
    def open(
        cls,
        path: Path,
        binding: Binding | None,
        new_id: Callable[[], str],
        clock: Callable[[], float],
    ) -> Self:
        """Create or resume a journal; without a binding it must be there, and may be anybody's.

        Raises ConfigurationError when it is bound to something else or in use, and JournalError
        when it cannot be used; a damaged one is left as it is.
        """
        path = path.resolve()  # SQLite puts its log beside the file that a link leads to
        try:
            created = False
            if not path.exists():
                if binding is None:
                    raise ConfigurationError(f"{path}: no such file")
                created = _create(path, binding, new_id(), clock())
            _look(path)
            return cls._locked(path, binding, resumed=not created)
        except (sqlite3.Error, UnicodeError) as error:  # which an error's own text may raise
            raise _refused(path, error) from None
        except OSError as error:
            raise JournalError(
                f"{path}: the journal cannot be opened: {error.strerror or error}"
            ) from None

    @classmethod
    def _locked(cls, path: Path, binding: Binding | None, *, resumed: bool) -> Self:
        log = _log(path).exists()
        self = cls(path, _connect(path, "mode=rw"), resumed=resumed)
        try:
            self._set_up()
            self._read_header(binding)
            self._verify()
            log = True
            self._db.execute("UPDATE header SET open = 1")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except BaseException:
            _close(path, self._db, log=log)
            raise
        return self

    def _set_up(self) -> None:
        for setting in _SETTINGS:
            self._db.execute(setting)
        if self._db.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
            raise JournalError(f"{self._path}: no journal can be kept on this file system")

    def _read_header(self, binding: Binding | None) -> None:
        self.import_id, started, self.binding = _header(self._path, self._db)
        self.started = started / 1000
        if binding is not None:
            _compare(self._path, self.binding, binding)

    def _verify(self) -> None:
        """Believe every row or nothing; then call what an earlier process left open unknown."""
        schema = self._db.execute("SELECT sql FROM sqlite_schema ORDER BY rowid").fetchall()
        if schema != [(_HEADER,), (_ROWS,)]:
            raise _damaged(self._path, "its tables are not as they were made")
        (problem,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if problem != "ok":
            raise _damaged(self._path, problem)
        for *record, checksum in self._db.execute(_SELECT):
            if checksum != checksum_of(*record):
                raise _damaged(self._path, f"row {record[0]} is not as it was written")
        (top,) = self._db.execute("SELECT max(row) FROM rows").fetchone()
        self.top = -1 if top is None else top
        while left := self._select("WHERE status = ? LIMIT ?", OPEN, BATCH):
            self._put((record[0], UNKNOWN, *record[2:]) for record in left)

    def write(self, told: list[Record]) -> None:
        """Commit a group, in the order in which it was told; it is on disk when this returns."""
        known = self._before(told)
        for record in told:
            known[record[0]] = after(known.get(record[0]), record)
        if not known:
            return
        self._put(known.values())
        self.top = max(self.top, *known)
        for row, record in known.items():
            if record[1] == OPEN:
                self._open[row] = record
            else:
                self._open.pop(row, None)

    def _before(self, told: list[Record]) -> dict[int, Record]:
        """Return what the file holds of the rows that are told of."""
        rows = {record[0] for record in told}
        known = {row: self._open[row] for row in rows & self._open.keys()}
        if older := [row for row in rows - known.keys() if row <= self.top]:
            found = self._select("WHERE row IN (SELECT value FROM json_each(?))", json.dumps(older))
            known |= {record[0]: record for record in found}
        return known

    def read(self, row: int) -> list[Record]:
        """Return what is known of this row and those after it, in order, a batch at the most."""
        return self._select("WHERE row >= ? ORDER BY row LIMIT ?", row, BATCH)

    def decided(self, most: int) -> dict[int, int]:
        """Count, by status, the first rows up to one that is not there or may be sent again."""
        found = self._db.execute(_FIRST_UNDECIDED, _FINAL).fetchone()
        (end,) = found or (self.top + 1,)
        found = self._db.execute(
            "SELECT status, count(*) FROM rows WHERE row < ? GROUP BY status", (min(end, most),)
        )
        return dict(found)

    def rejected(self, row: int) -> list[Record]:
        """Return the rows from this one on that are rejected; a batch."""
        return self._select(
            "WHERE row >= ? AND status = ? ORDER BY row LIMIT ?", row, REJECTED, BATCH
        )

    def undecided(self, row: int) -> list[Record]:
        """Return the rows from this one on whose outcome is open, unknown or held; a batch."""
        where = "WHERE row >= ? AND status IN (?, ?, ?) ORDER BY row LIMIT ?"
        return self._select(where, row, OPEN, UNKNOWN, HELD, BATCH)

    def nameless(self, row: int) -> list[Record]:
        """Return the rows from this one on that are created, and whose ids were lost; a batch."""
        lost = "status = ? AND id IS NULL AND body IS NOT NULL"
        return self._select(f"WHERE row >= ? AND {lost} ORDER BY row LIMIT ?", row, CREATED, BATCH)

    def owned(self, ids: list[str]) -> set[str]:
        """Return which of these ids belong to a row: it reads all of them."""
        stored = {packed(id_): id_ for id_ in ids}
        found = self._db.execute("SELECT id FROM rows WHERE id IS NOT NULL")
        return {stored[id_] for (id_,) in found if id_ in stored}

    def tally(self) -> dict[int, int]:
        """Count the rows of each status."""
        return dict(self._db.execute("SELECT status, count(*) FROM rows GROUP BY status"))

    def close(self, told: list[Record], *, whole: bool) -> None:
        """Commit what is left and release the file; not `whole` after a fault: only release it."""
        log = True
        try:
            if whole:
                self.write(told)
                self._db.execute("UPDATE header SET open = 0")
                log = False
        finally:
            _close(self._path, self._db, log=log)

    def abandon(self) -> Callable[[], None]:
        """Return what releases the file without this object, for when it was left open."""
        return partial(_close, self._path, self._db, log=True)

    def _select(self, where: str, *values: Any) -> list[Record]:
        found = self._db.execute(_SELECT + where, values).fetchall()
        return [(*record[:4], unpacked(record[4]), *record[5:8]) for record in found]

    def _put(self, records: Iterable[Record]) -> None:
        stored = [columns_of(record) for record in records]
        self._db.execute("BEGIN IMMEDIATE")
        at = 0
        for count in _TOGETHER:
            while len(stored) - at >= count:
                together = chain.from_iterable(stored[at : at + count])
                self._db.execute(_REPLACE[count], tuple(together))
                at += count
        self._db.execute("COMMIT")


def peek(path: Path) -> Binding | None:
    """Return what a journal is bound to, or None where there is none that can be read.

    This blocks, briefly, and locks nothing.
    """
    try:
        with closing(_connect(path.resolve(), "mode=ro&immutable=1")) as db:
            *_, binding = _header(path, db)
    except (sqlite3.Error, UnicodeError, OSError, JournalError):  # opening it tells what is wrong
        return None
    return binding


def _header(path: Path, db: sqlite3.Connection) -> tuple[str, int, Binding]:
    """Return an import's id, when it began (ms), and what it is bound to."""
    found = db.execute(
        "SELECT checksum, import_id, started, digest, target, mapping, survey FROM header"
    )
    checksum, *header = found.fetchone() or (None,)
    if checksum != checksum_of(*header):
        raise _damaged(path, "its header is not as it was written")
    import_id, started, *bound = header
    return import_id, started, Binding(*bound)


def _connect(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?{how}",
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )


def _close(path: Path, db: sqlite3.Connection, *, log: bool) -> None:
    """Release the file; SQLite moves its log into it and removes it. `log`: leave an empty one."""
    db.close()
    if log:
        with suppress(OSError):
            _log(path).touch()


def _log(path: Path) -> Path:
    return Path(f"{path}-wal")


def _create(path: Path, binding: Binding, import_id: str, now: float) -> bool:
    """Put a new journal in place, whole or not at all; tell whether it was not there yet."""
    draft = path.with_name(f"{path.name}.{import_id}")
    header = (import_id, int(now * 1000), *attrs.astuple(binding))
    try:
        with closing(_connect(draft, "mode=rwc")) as db:
            db.execute("BEGIN")
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            db.execute(f"PRAGMA user_version = {_VERSION}")
            db.execute(_HEADER)
            db.execute(_ROWS)
            values = (*header, 0, checksum_of(*header))
            db.execute("INSERT INTO header VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            db.execute("COMMIT")
        return _put_in_place(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _put_in_place(draft: Path, path: Path) -> bool:
    try:
        os.link(draft, path)  # unlike a rename, it never replaces what another process has made
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        draft.rename(path)
    if os.name != "nt":
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return True


def _look(path: Path) -> None:
    """Refuse what is not a journal, or not all of one, before anything can change it."""
    log = _log(path)
    had_log = log.exists()
    with closing(_connect(path, "immutable=1")) as db:
        if db.execute("PRAGMA application_id").fetchone() != (_APPLICATION,):
            raise JournalError(f"{path}: not a journal of an import; move it aside")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            raise JournalError(
                f"{path}: a journal of version {version}, and this routera reads {_VERSION}: "
                "go on with the version that began it"
            )
        is_open = (1,) in db.execute("SELECT open FROM header").fetchall()
    if is_open and not had_log and not log.exists():  # asked twice: a process may just begin
        raise _damaged(path, f"{log.name}, which holds its last rows, is not beside it")
    if log.exists() and is_broken(log):
        _refuse_if_held(path)  # a log that is being written may look so
        raise _damaged(path, f"{log.name} is broken before its end")


def _refuse_if_held(path: Path) -> None:
    with closing(_connect(path, "mode=ro&readonly_shm=1")) as db:  # changes nothing, makes nothing
        try:
            db.execute("SELECT open FROM header")
        except sqlite3.OperationalError as error:
            if _is(error, sqlite3.SQLITE_BUSY):
                raise


def _compare(path: Path, bound: Binding, given: Binding) -> None:
    """Raise ConfigurationError, which says what differs, unless both are the same."""
    if bound == given:
        return
    if bound.digest != given.digest:
        what = "another input"
    elif bound.target != given.target:
        what = f"another target, {one_line(bound.target, 200)}"
    else:
        what = "another mapping or other options"
    raise ConfigurationError(
        f"{path} was begun with {what}: give the same, or move it aside to begin a new import"
    )


def _is(error: Exception, code: int) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == code  # the rest tells more of the same


def _damaged(path: Path, why: str) -> JournalError:
    return JournalError(
        f"{path}: the journal is damaged ({one_line(why)}): put a copy of it back, or move it "
        "aside to begin a new import, which sends every row again"
    )


def _refused(path: Path, error: Exception) -> JournalError | ConfigurationError:
    """Return what it means that a journal cannot be opened."""
    if _is(error, sqlite3.SQLITE_BUSY):
        return ConfigurationError(f"{path} is in use by another import: wait until it has ended")
    if _is(error, sqlite3.SQLITE_CORRUPT) or _is(error, sqlite3.SQLITE_NOTADB):
        return _damaged(path, str(error))
    return JournalError(f"{path}: the journal cannot be opened: {error}")
