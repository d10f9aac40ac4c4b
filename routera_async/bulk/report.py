"""What an import leaves behind: the file of its rejected rows, and its summary."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TextIO

import attrs
import orjson

from routera_async.bulk.readers import CsvSource, Row, Source
from routera_async.errors import ConfigurationError, OutcomeName

_ADDED = ("line", "status", "reason")
"""What a rejects file has after the input's own columns."""

_PREFIX = "reject_"
"""What goes before an added name that the input has itself."""


_WHOLE = "; the first column holds the whole line"
"""What the reason ends with, when a row could not be split into the columns."""


def rejects_path(source: Source, *, rehearsed: bool = False) -> Path:
    """Return where the rejects of an input go: tickets.csv.gz to tickets.rejects.csv beside it.

    Those of a dry run go to tickets.dry-run.rejects.csv.
    """
    name = source.path.name
    if name.lower().endswith(".gz"):
        name = name[: -len(".gz")]
    stem = f"{Path(name).stem}.dry-run" if rehearsed else Path(name).stem
    return source.path.with_name(f"{stem}.rejects.{source.format}")


class RejectsFile:
    """The rows that were not imported, in the input's own columns and format.

    Each is followed by its `line` in the input, the `status` and the `reason`. Fixed, it can be
    imported with the same command; an input that is itself such a file has its three columns
    replaced. The file is opened by the first row: that it is there means that this import had
    rejects, so on entering, one left by an earlier import is moved aside, to a name that ends in
    `.bak`, and it is tried whether one can be written. `rehearsed` is for a dry run.

    Raises ConfigurationError when it cannot be written or moved.
    """

    def __init__(self, source: Source, *, rehearsed: bool = False) -> None:
        self.path = rejects_path(source, rehearsed=rehearsed)
        self.rows = 0
        self._own, self._added = _columns(source)
        self._delimiter = source.delimiter if isinstance(source, CsvSource) else None
        self._stream: TextIO | None = None
        self._again = self._own != source.columns

    def unfixed(self, row: Row) -> str | None:
        """Say that a row of a rejects file still holds a whole line, as it was rejected; or None.

        Whatever a spreadsheet makes of it, such a row must not pass for one with blank cells.
        """
        if not self._again or row.problem is not None:
            return None
        kept = {name: row.values[name] for name in row.values if name not in self._added}
        if self._delimiter is None:
            return "not fixed: raw holds the whole line" if kept.keys() == {"raw"} else None
        line, *others = (kept.get(name, "") for name in self._own)
        if any(others) or not str(row.values.get(self._added[-1], "")).endswith(_WHOLE):
            return None
        try:
            cells = next(csv.reader([line], delimiter=self._delimiter, strict=True), [])
        except csv.Error:
            cells = []
        return None if len(cells) == len(self._own) else f"not fixed{_WHOLE}"

    def write(self, row: Row, status: str, reason: str) -> None:
        """Write one row, with the bytes that it had in the input."""
        with self._writing():
            if self._stream is None:
                self._stream = self._opened()
            if self._delimiter:
                self._write_cells(self._stream, self._cells(row, status, reason))
            else:
                self._stream.write(self._object(row, status, reason))
        self.rows += 1

    def close(self) -> None:
        """Write out what is buffered; later rows cannot be written."""
        if self._stream is not None:
            with self._writing():
                self._stream.close()

    def begin(self) -> None:
        """Move an older file aside, and make sure that one can be written."""
        with self._writing():
            if self.path.exists():
                self.path.replace(f"{self.path}.bak")
            self.path.touch()
            self.path.unlink()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigurationError(
                f"{self.path}: the rejects file cannot be written: {error.strerror or error}"
            ) from None

    def _opened(self) -> TextIO:
        # surrogateescape gives bytes that are not UTF-8 back as they were in the input.
        stream = self.path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        if self._delimiter:
            self._write_cells(stream, [*self._own, *self._added])
        return stream

    def _write_cells(self, stream: TextIO, cells: list[str]) -> None:
        # The default line end, CR LF, makes the writer quote a cell that holds either of the two.
        csv.writer(stream, delimiter=self._delimiter or ",").writerow(cells)

    def _cells(self, row: Row, status: str, reason: str) -> list[str]:
        if row.raw is None:
            cells = [row.values.get(column, "") for column in self._own]
        else:
            cells = [row.raw, *[""] * (len(self._own) - 1)]
            reason += _WHOLE
        return [*cells, str(row.line), status, reason]

    def _object(self, row: Row, status: str, reason: str) -> str:
        own = {"raw": row.raw} if row.raw is not None else row.values
        kept = {name: value for name, value in own.items() if name not in self._added}
        return _line(kept | dict(zip(self._added, (row.line, status, reason), strict=True)))


def _columns(source: Source) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return an input's own columns, and the names of the three that are added to them."""
    columns = source.columns
    added = tuple(_deepest(name, columns) for name in _ADDED)
    own = tuple(name for name in columns if name not in added)
    # Objects that differ in their keys leave the three anywhere in the union: the name must tell.
    placed = columns[-3:] == added or (
        source.format == "jsonl" and source.path.name.endswith(".rejects.jsonl")
    )
    if own and placed and added == _free(own):
        return own, added
    return columns, _free(columns)


def _free(columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        f"{_PREFIX}{_deepest(each, columns)}" if each in columns else each for each in _ADDED
    )


def _deepest(name: str, columns: tuple[str, ...]) -> str:
    """Return the name with as many prefixes as the columns have it with, one after another."""
    while f"{_PREFIX}{name}" in columns:
        name = f"{_PREFIX}{name}"
    return name


def _line(value: dict[str, Any]) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE).decode()
    except TypeError:  # an int over 64 bits, or a byte that is not UTF-8
        return json.dumps(value, ensure_ascii=False) + "\n"


@attrs.define
class Summary:
    """The tally of one import: what became of every row that was read.

    `resumed` of the rows that were read were done by an earlier run. `seconds` is how long it took;
    `journal` and `rejects` are paths, or None when there is none.
    """

    read: int = 0
    created: int = 0
    duplicate: int = 0
    rejected: int = 0
    unknown: int = 0
    not_sent: int = 0
    resumed: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    journal: str | None = None
    rejects: str | None = None

    def add(self, status: OutcomeName) -> None:
        """Count one row's outcome; `read` is counted by who reads."""
        setattr(self, status, getattr(self, status) + 1)

    @property
    def outcomes(self) -> int:
        """How many rows have one."""
        return self.created + self.duplicate + self.rejected + self.unknown + self.not_sent

    def conserves(self) -> bool:
        """Whether every row that was read has exactly one outcome."""
        return self.read == self.outcomes

    def as_dict(self) -> dict[str, Any]:
        """Return the tally as `--json` prints it, in this order."""
        return attrs.asdict(self) | {"seconds": round(self.seconds, 3)}

    @property
    def exit_status(self) -> int:
        """0: all created or there already; 1: some rejected; 3: some unknown or not sent."""
        if self.unknown or self.not_sent:
            return 3
        return 1 if self.rejected else 0
