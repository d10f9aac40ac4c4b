"""How records are printed: a table for a person, JSON, JSONL and CSV for what comes next."""

import csv
import io
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from routera_async._codec import to_flat
from routera_async._shapes import field_names
from routera_async.errors import one_line

FormatName = Literal["table", "json", "jsonl", "csv"]
Format = Annotated[
    FormatName | None,
    Parameter(
        name="--format",
        help="How to print: table, json, jsonl or csv. A table on a terminal, jsonl elsewhere, "
        "unless told.",
    ),
]

_TABLE_ROWS = 100
"""Rows of one table: a longer list is several, so that memory does not grow with it."""

_CELL = 200
"""Characters of a cell that a table shows."""

_ENDLESS = 10_000
"""Characters of a line that goes to no terminal: nothing is folded or cut there."""


class Rows(ABC):
    """Prints records one after another, and forgets them; `end` when there are no more.

    `columns` are told in this order; those that a record has beside them come behind, but in CSV.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def add(self, record: Any) -> None:
        """Print one record: a model, or a flat mapping."""
        self._add(_ordered(record, self._columns))

    @abstractmethod
    def _add(self, flat: dict[str, Any]) -> None: ...

    def end(self) -> None:
        """Print what belongs behind the last record."""
        sys.stdout.flush()


class _Lines(Rows):
    def _add(self, flat: dict[str, Any]) -> None:
        _write(f"{_json(flat)}\n")


class _Array(Rows):
    _before = "[\n"

    def _add(self, flat: dict[str, Any]) -> None:
        _write(f"{self._before}{_json(flat)}")
        self._before = ",\n"

    def end(self) -> None:
        _write("[]\n" if self._before == "[\n" else "\n]\n")
        super().end()


class _Csv(Rows):
    _headed = False

    def _add(self, flat: dict[str, Any]) -> None:
        self._head()
        self._row(_csv_cell(flat.get(name)) for name in self._columns)

    def end(self) -> None:
        self._head()
        super().end()

    def _head(self) -> None:
        if not self._headed:
            self._headed = True
            self._row(self._columns)

    def _row(self, cells: Iterable[str]) -> None:
        line = io.StringIO()
        csv.writer(line).writerow(cells)  # with another line's end, 3.11 does not quote a lone CR
        _write(f"{line.getvalue()[:-2]}\n")


class _Tables(Rows):
    def __init__(self, columns: Sequence[str], asked: Sequence[str]) -> None:
        super().__init__(columns)
        self._asked = asked
        self._told: Sequence[str] = ()
        self._flats: list[dict[str, Any]] = []

    def _add(self, flat: dict[str, Any]) -> None:
        self._flats.append(flat)
        if len(self._flats) == _TABLE_ROWS:
            self._print()

    def end(self) -> None:
        if self._flats:
            self._print()
        super().end()

    def _print(self) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        self._told = self._told or [name for name in self._columns if self._tells(name)]
        for name in self._told:
            table.add_column(name, overflow="fold", no_wrap=name == "id")
        for flat in self._flats:
            table.add_row(*(Text(_cell(flat.get(name))) for name in self._told))
        _write_table(table)
        self._flats.clear()

    def _tells(self, name: str) -> bool:
        return name in self._asked or any(_cell(flat.get(name)) for flat in self._flats)


def _cell(value: Any) -> str:
    return one_line(shown(value), _CELL)


_ROWS: dict[FormatName, type[Rows]] = {"json": _Array, "jsonl": _Lines, "csv": _Csv}


def rows(
    chosen: FormatName | None,
    columns: Sequence[str],
    *,
    seldom: Sequence[str] = (),
    asked: Sequence[str] = (),
) -> Rows:
    """Return what prints many records: these columns, and those that were `asked` for behind them.

    A table leaves out the `seldom` ones, and one that is empty throughout its first block, unless
    it was asked for.
    """
    name, columns = _chosen(chosen), list(dict.fromkeys((*columns, *asked)))
    if name == "table":
        return _Tables([each for each in columns if each not in seldom or each in asked], asked)
    return _ROWS[name](columns)


def show(chosen: FormatName | None, record: Any, *, asked: Sequence[str] = ()) -> None:
    """Print one record whole, its fields in the order in which `rows` has them.

    A table leaves out an empty one, unless it was `asked` for.
    """
    name, flat = _chosen(chosen), _ordered(record, asked)
    if name == "table":
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        told = ((key, value) for key, value in _leaves(flat) if shown(value) or key in asked)
        for key, value in told:
            table.add_row(key, Text(one_line(shown(value), sys.maxsize)))
        _write_table(table)
    elif name == "json":
        _write(f"{_json(flat, indent=2)}\n")
    else:
        _ROWS[name](list(flat)).add(flat)
    sys.stdout.flush()


def _ordered(record: Any, columns: Sequence[str]) -> dict[str, Any]:
    """Return a record flat: what it declares, then what is asked for, then what else it has."""
    if isinstance(record, dict):
        return record
    flat, declared = to_flat(record, nulls=True), field_names(type(record))
    order = (name for name in (*declared, *columns) if name in flat)
    return {name: flat[name] for name in order} | flat


def shown(value: Any) -> str:
    """Return a JSON value as a person reads it."""
    match value:
        case None:
            return ""
        case str():
            return value
        case [*items]:
            return ", ".join(map(shown, items))
        case {"email": str(only)} | {"name": str(only)} if len(value) == 1:
            return only  # a router's user or team
        case _:
            return _json(value)


def _chosen(name: FormatName | None) -> FormatName:
    return name or ("table" if sys.stdout.isatty() else "jsonl")


def _leaves(flat: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a record's keys and values, those of an object within it as `settings.overwrite`."""
    for key, value in flat.items():
        if isinstance(value, dict) and value and not prefix:
            yield from _leaves(value, f"{key}.")
        else:
            yield one_line(f"{prefix}{key}"), value


def _csv_cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else _json(value)


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=not _speaks_unicode(), indent=indent)


def _speaks_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:  # half a surrogate pair, or a terminal that is not UTF-8
        encoding = sys.stdout.encoding
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _write_table(table: Table) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _ENDLESS)
    with console.capture() as captured:  # rich would end the process when nobody reads
        console.print(table)
    _write(captured.get())
