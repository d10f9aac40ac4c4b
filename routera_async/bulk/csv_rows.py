"""CSV, plain or gzipped, as rows. A stray quote costs the line it stands on and no more."""

import csv
import io
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO

from routera_async.bulk.rows import CELL_MAX, READING, Row, Source, Survey, open_binary
from routera_async.errors import ConfigurationError

ROW_MAX = 1 << 20
"""The most characters of one CSV row: past it, a quote is taken to be one never closed."""

_SURE = 8 << 10
"""How many characters a quoted row may always run on over further lines."""

_SPARE = 8 << 20
"""How many characters may be read in vain and given back, and how many more for each line."""

_SPARE_PER_LINE = 1 << 10

_Record = tuple[int, list[str], str | None, str | None]
"""One CSV record: its line, its cells, its problem, and its raw line when its cells are not as many
as there are columns."""


class CsvSource(Source):
    """A CSV file. A header that commas do not split may use semicolons or tabs."""

    format = "csv"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        # The limit belongs to the process, not to a reader, so it is only ever raised, and only
        # as far as a row may go: then a cell that is too big is found here and not by csv.
        csv.field_size_limit(max(csv.field_size_limit(), ROW_MAX + 1))
        self.delimiter, self._columns = self._header()

    @property
    def columns(self) -> tuple[str, ...]:
        """The names in the header."""
        return self._columns

    def rows(self) -> Iterator[Row]:
        """Yield each row after the header; blank lines are no rows."""
        width, columns = len(self._columns), self._columns
        for number, (line, cells, problem, raw) in enumerate(self._body()):
            values = dict(zip(columns, cells, strict=False))
            if problem is None and len(cells) == width:
                yield Row(number, line, values)
                continue
            if problem is None:
                few = "few" if len(cells) < width else "many"
                problem = f"too {few} cells: {len(cells)}, and the header has {width}"  # noqa: PLW2901
            yield Row(number, line, values, problem, tuple(cells[width:]), raw)

    def _read_through(self) -> Survey:
        count, fault = 0, None
        try:
            for _ in self._body():
                count += 1
        except ConfigurationError as error:
            fault = str(error)
        return Survey(count, self._columns, fault)

    def _body(self) -> Iterator[_Record]:
        return islice(self._records(self.delimiter, len(self._columns)), 1, None)

    def _records(self, delimiter: str, width: int | None = None) -> Iterator[_Record]:
        lines: _Lines | None = None
        try:
            with open_binary(self.path) as stream, _as_text(stream) as text:
                lines = _Lines(text)
                yield from _split(lines, delimiter, width)
        except READING as error:
            raise self._stopped(lines.number if lines else 0, error) from None

    def _header(self) -> tuple[str, tuple[str, ...]]:
        """Return the delimiter and the names, from the first line that is not blank."""
        heads = {each: next(self._records(each), None) for each in (",", ";", "\t")}
        able = [each for each, head in heads.items() if head and not head[2] and len(head[1]) > 1]
        if "," not in able and len(able) > 1:
            raise ConfigurationError(
                f"{self.path}: its header has both semicolons and tabs, and no commas: use one"
            )
        delimiter = able[0] if able else ","
        head = heads[delimiter]
        if head is None:
            raise ConfigurationError(f"{self.path}: is empty: its first line must name its columns")
        line, names, problem, _ = head
        names = _numbered(names)
        problem = problem or _bad_names(names)
        if problem:
            raise ConfigurationError(f"{self.path}: the header on line {line}: {problem}")
        return delimiter, tuple(names)


def _as_text(stream: BinaryIO) -> TextIO:
    # newline="" hands each line's end over as it is; surrogateescape keeps what is not UTF-8.
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _numbered(names: list[str]) -> list[str]:
    """Return the names with those that repeat an earlier one numbered: Labels, Labels (2)."""
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        repeats = seen[name] > 1 and name.strip()
        numbered.append(f"{name} ({seen[name]})" if repeats else name)
    return numbered


def _bad_names(names: list[str]) -> str | None:
    for place, name in enumerate(names, 1):
        if not name.strip():
            return f"column {place} has no name"
        if name in names[: place - 1]:
            return f"two columns are named {name!r}"
    return None


class _TooLong(Exception):  # noqa: N818 (a signal, caught in this file)
    """A row has passed ROW_MAX."""


class _Lines:
    """A text's physical lines; those of the row being read are kept, so they can be given back."""

    def __init__(self, text: TextIO) -> None:
        self._read = text.readline
        self._back: deque[str] = deque()
        self._given_back = 0
        self.number = 0
        self.begin()

    def begin(self) -> None:
        """Start a new row."""
        self.taken: list[str] = []
        self.size = 0
        self.flaw: str | None = None

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else self._read(ROW_MAX + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        self.size += len(line)
        if self.size > _SURE and self.size > self._limit():
            raise _TooLong
        if not line.isascii() or "\0" in line:
            self.flaw = self.flaw or _bad_characters(line, self.number)
        return line

    def raw(self) -> str:
        """Return the lines of this row as they are, but for the last one's end."""
        return "".join(self.taken).rstrip("\r\n")

    def _limit(self) -> int:
        """Return how long this row may get: less once many were given back, so time is linear."""
        if len(self.taken) == 1:
            return ROW_MAX
        spare = _SPARE + _SPARE_PER_LINE * self.number - self._given_back
        return min(max(spare, _SURE), ROW_MAX)

    def keep_first(self) -> str:
        """Give back every line of this row but its first, which is returned without its end."""
        first, *rest = self.taken
        self._back.extendleft(reversed(rest))
        self._given_back += self.size - len(first)
        self.number -= len(rest)
        piece = first
        # A line that was cut at the limit: its remainder is read and dropped, piece by piece.
        while piece and piece[-1] not in "\r\n":
            piece = self._read(ROW_MAX)
        return first.rstrip("\r\n")


def _bad_characters(line: str, number: int) -> str | None:
    try:
        line.encode()
    except UnicodeEncodeError as error:
        byte = line[error.start].encode(errors="surrogateescape")[0]
        place = len(line[: error.start].encode(errors="surrogateescape")) + 1
        return f"not UTF-8: byte {place} of line {number} is 0x{byte:02X}"
    return f"a NUL byte on line {number}" if "\0" in line else None


def _split(lines: _Lines, delimiter: str, width: int | None) -> Iterator[_Record]:
    """Split lines into records. One whose quotes are wrong costs its first line and no more.

    One that has not `width` cells keeps its raw lines too.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        start = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _TooLong) as error:
            yield start, [], _bad_quotes(error, lines), lines.keep_first()
            continue
        if cells:
            # A character has at most four bytes, so a short row needs no look at its cells.
            flaw = _too_big(cells) if lines.size > CELL_MAX // 4 else None
            fits = width is None or len(cells) == width
            yield start, cells, lines.flaw or flaw, None if fits else lines.raw()


def _bad_quotes(error: Exception, lines: _Lines) -> str:
    below = len(lines.taken) - 1
    if isinstance(error, _TooLong):
        if not below:
            return "a line over 1 MiB, of which only that much is kept"
        return f"a quote opened on this line is not closed within {lines.size:,} characters"
    if "unexpected end" in str(error):
        return "a quote opened on this line is never closed"
    if "expected after" in str(error):
        where = f", {below:,} lines below the one that opens it" if below else ""
        return f"text follows a closing quote{where}"
    return str(error)


def _too_big(cells: list[str]) -> str | None:
    for place, cell in enumerate(cells, 1):
        size = len(cell.encode(errors="surrogateescape"))
        if size > CELL_MAX:
            return f"cell {place} holds {size:,} bytes; the most is {CELL_MAX:,}"
    return None
