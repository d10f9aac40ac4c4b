"""Map a source's columns to the fields of a record.

The same three settings come as options of the command line and from a TOML file:

    --map FIELD=COLUMN[:TYPE[:FORMAT]]    [map]       FIELD = "COLUMN:TYPE", or
                                                      FIELD = {column, type, format, empty}
                                                      or {column, values, other, empty}
    --set FIELD=VALUE                     [set]       FIELD = "text", 5, true or 2026-11-23
    --template FIELD="{a} {b}"            [template]  FIELD = "{a} {b}"
    --missing TEXT                        missing = ["?"]

An option replaces what the file says of its field. A column named like a known field maps itself
unless that field is set otherwise. COLUMN may hold colons: the longest text that is a column wins.
FORMAT is strptime's; a time without a zone is taken to be in UTC. `values` is a table of cells and
what each becomes, `other` what a cell becomes that is not in it, `empty` what an empty one does.
The texts that mean missing are the options' and the file's together.
"""

import math
import re
import tomllib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import attrs

from routera_async.bulk.cells import TYPES, Converter, converter, is_empty, text, utc_text
from routera_async.errors import ConfigurationError, ValidationError
from routera_async.models import SYSTEM_FIELDS

_SHOWN = 60
"""Characters of a bad cell, and names of columns, that a message shows."""

_TYPED = re.compile(rf"(.*?)(:({'|'.join(TYPES)})(:.*)?)?", re.DOTALL)

_PIECES = re.compile(r"\{\{|\}\}|\{(?P<column>[^{}]*)\}|(?P<brace>[{}])|[^{}]+")
"""A template's pieces: an escaped brace, a column, a brace without its partner, plain text."""


@attrs.frozen
class FromColumn:
    """A field that takes a column's cell, converted when a type is named."""

    field: str
    column: str
    type: str | None = None
    format: str | None = None
    _convert: Converter | None = attrs.field(init=False, eq=False, repr=False)

    @_convert.default
    def _converter(self) -> Converter | None:
        return None if self.type is None else converter(self.type, self.format)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.column,)

    def value(self, cells: dict[str, Any], missing: frozenset[str]) -> Any:
        """Return the field's value, or None when the cell is empty."""
        cell = cells.get(self.column)
        if is_empty(cell, missing):
            return None
        return cell if self._convert is None else self._converted(self._convert, cell)

    def _converted(self, convert: Converter, cell: Any) -> Any:
        try:
            return convert(cell)
        except ValueError as error:
            raise _bad_cell(self.field, self.column, cell, error) from None


@attrs.frozen
class Constant:
    """A field that has one value in every record."""

    field: str
    constant: Any
    columns: tuple[str, ...] = attrs.field(default=(), init=False)

    def value(self, cells: dict[str, Any], missing: frozenset[str]) -> Any:  # noqa: ARG002
        """Return the constant."""
        return self.constant


@attrs.frozen
class FromTemplate:
    """A field made of texts and cells; `parts` are (text, "") and ("", column)."""

    field: str
    parts: tuple[tuple[str, str], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return tuple(column for _, column in self.parts if column)

    def value(self, cells: dict[str, Any], missing: frozenset[str]) -> str | None:
        """Return the text, or None when every cell is empty. Empty ones leave no outer blanks."""
        full = [each for each in self.columns if not is_empty(cells.get(each), missing)]
        if not full:
            return None
        written = "".join(
            _cell_text(self.field, column, cells[column]) if column in full else literal
            for literal, column in self.parts
        )
        return written if len(full) == len(self.columns) else written.strip()


@attrs.frozen
class Translated:
    """A field that takes what a table says of a column's cell.

    `values` are pairs of a cell's text, as `_as_key` writes it, and what it becomes. A cell that
    is in none becomes `other`, and is bad when that is None.
    """

    field: str
    column: str
    values: tuple[tuple[str, Any], ...]
    other: Any = None
    _table: dict[str, Any] = attrs.field(init=False, eq=False, repr=False)

    @_table.default
    def _by_key(self) -> dict[str, Any]:
        return dict(self.values)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.column,)

    def value(self, cells: dict[str, Any], missing: frozenset[str]) -> Any:
        """Return what the cell becomes, or None when it is empty."""
        cell = cells.get(self.column)
        if is_empty(cell, missing):
            return None
        key = _as_key(_cell_text(self.field, self.column, cell))
        if (value := self._table.get(key, self.other)) is None:
            raise _bad_cell(self.field, self.column, cell, "is none of its values")
        return value


@attrs.frozen
class WithDefault:
    """A field that has `empty` wherever another setting leaves it out."""

    setting: FromColumn | Translated
    empty: Any

    @property
    def field(self) -> str:
        """The field that it fills."""
        return self.setting.field

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return self.setting.columns

    def value(self, cells: dict[str, Any], missing: frozenset[str]) -> Any:
        """Return the field's value, which is never None."""
        value = self.setting.value(cells, missing)
        return self.empty if value is None else value


Setting = FromColumn | Translated | WithDefault | Constant | FromTemplate


def _as_key(cell: str) -> str:
    """Return what two cells share that one value is written for: letters in any case, no blanks."""
    return cell.strip().casefold()


def _cell_text(field: str, column: str, cell: Any) -> str:
    try:
        return text(cell)
    except ValueError as error:
        raise _bad_cell(field, column, cell, error) from None


def _bad_cell(field: str, column: str, cell: Any, error: object) -> ValidationError:
    shown = repr(cell)
    if len(shown) > _SHOWN:
        shown = shown[: _SHOWN - 1] + "…"
    return ValidationError(f"field {field!r}, column {column!r}: {shown} {error}")


@attrs.frozen
class Mapping:
    """How the cells of one row become the fields of one record: build it with `build`."""

    settings: tuple[Setting, ...]
    missing: frozenset[str] = frozenset()

    @classmethod
    def build(
        cls,
        columns: Iterable[str],
        *,
        known_fields: Iterable[str],
        maps: Iterable[str] = (),
        sets: Iterable[str] = (),
        templates: Iterable[str] = (),
        missing: Iterable[str] = (),
        file: Path | None = None,
    ) -> "Mapping":
        """Build from the options' texts and a mapping file, for a source with these columns.

        Raises ConfigurationError, in one line, for the first setting that cannot be.
        """
        builder = _Builder(tuple(columns))
        content = _read_file(file) if file else {}
        settings: dict[str, Setting] = {
            field: FromColumn(field, field) for field in known_fields if field in builder.columns
        }
        options = builder.from_options(maps, sets, templates)
        settings |= builder.from_file(f"{file}", content, replaced=options) | options
        return cls(tuple(settings.values()), frozenset(missing) | _missing(file, content))

    def fields(self, cells: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a row's cells; those whose cells are empty are left out.

        Raises ValidationError, naming field, column and value, for a cell that is not of its type.
        """
        fields = {}
        for setting in self.settings:
            value = setting.value(cells, self.missing)
            if value is not None:
                fields[setting.field] = value
        return fields

    def as_text(self) -> str:
        """Return a text that is the same exactly for mappings that give the same fields."""
        settings = sorted(self.settings, key=lambda setting: setting.field)
        return f"{settings} missing {sorted(self.missing)}"

    def unused(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Return those of the columns that no field takes anything from."""
        used = {column for setting in self.settings for column in setting.columns}
        return tuple(column for column in columns if column not in used)


@attrs.frozen
class _Builder:
    """Reads settings for a source with these columns; `origin` says where one was written."""

    columns: tuple[str, ...]

    def from_options(
        self, maps: Iterable[str], sets: Iterable[str], templates: Iterable[str]
    ) -> dict[str, Setting]:
        read: list[tuple[str, Iterable[str], _Make]] = [
            ("--map", maps, self.column),
            ("--set", sets, self.constant),
            ("--template", templates, self.template),
        ]
        return _by_field(
            (f"{option} {written}", make, *_pair(option, written))
            for option, texts, make in read
            for written in texts
        )

    def from_file(
        self, name: str, content: dict[str, Any], replaced: Container[str]
    ) -> dict[str, Setting]:
        read: list[tuple[str, _Make]] = [
            ("map", self.column),
            ("set", self.constant),
            ("template", self.template),
        ]
        return _by_field(
            (f"{name}: [{table}] {field}", make, field, value)
            for table, make in read
            for field, value in content.get(table, {}).items()
            if field not in replaced
        )

    def column(self, origin: str, field: str, value: Any) -> FromColumn | Translated | WithDefault:
        table = value if isinstance(value, dict) else {}
        _check_keys(origin, table, ("column", "type", "format", "values", "other", "empty"))
        setting = self._filled(origin, field, value)
        if "empty" in table:
            return WithDefault(setting, _constant(f"{origin}.empty", table["empty"]))
        return setting

    def _filled(self, origin: str, field: str, value: Any) -> FromColumn | Translated:
        if not isinstance(value, dict):
            column, name, form = self._split(origin, _as_text(origin, value))
        elif "values" in value or "other" in value:
            return self._translated(origin, field, value)
        else:
            column, name, form = self._from_table(origin, value)
        try:
            return FromColumn(field, column, name, form)
        except ValueError as error:
            raise ConfigurationError(f"{origin}: {error}") from None

    def _translated(self, origin: str, field: str, value: dict[str, Any]) -> Translated:
        column, name, form = self._from_table(origin, value)
        if name is not None or form is not None:
            raise ConfigurationError(f"{origin}: values have the types that they are written with")
        table = value.get("values")
        if not isinstance(table, dict) or not table:
            raise ConfigurationError(f'{origin}: values must be a table: {{"Open" = "new"}}')
        values: dict[str, Any] = {}
        for cell, becomes in table.items():
            if _as_key(cell) in values:
                raise ConfigurationError(f"{origin}.values: {cell!r} is given twice")
            values[_as_key(cell)] = _constant(f"{origin}.values: {cell!r}", becomes)
        other = _constant(f"{origin}.other", value["other"]) if "other" in value else None
        return Translated(field, column, tuple(sorted(values.items())), other)

    def constant(self, origin: str, field: str, value: Any) -> Constant:
        return Constant(field, _constant(origin, value))

    def template(self, origin: str, field: str, value: Any) -> FromTemplate:
        parts = tuple(self._parts(origin, _as_text(origin, value)))
        if not any(column for _, column in parts):
            raise ConfigurationError(f"{origin}: names no {{column}}; --set gives a constant")
        return FromTemplate(field, parts)

    def _parts(self, origin: str, template: str) -> Iterator[tuple[str, str]]:
        for piece in _PIECES.finditer(template):
            column = piece["column"]
            if piece["brace"]:
                raise ConfigurationError(
                    f"{origin}: the brace at character {piece.start() + 1} has no partner;"
                    " write {{ or }} for a brace itself"
                )
            if column is None:
                yield {"{{": "{", "}}": "}"}.get(piece[0], piece[0]), ""
            elif column and column in self.columns:
                yield "", column
            else:
                note = "; braces hold a column's name and nothing else"
                raise self._unknown(origin, column, note if re.search(r"[:!.\[]", column) else "")

    def _split(self, origin: str, written: str) -> tuple[str, str | None, str | None]:
        """Split COLUMN[:TYPE[:FORMAT]] after the longest text that is a column."""
        colons = [place for place, letter in enumerate(written) if letter == ":"]
        if written in self.columns:
            return written, None, None
        for place in reversed(colons):
            if written[:place] in self.columns:
                name, colon, form = written[place + 1 :].partition(":")
                return written[:place], name, form if colon else None
        typed = _TYPED.fullmatch(written)
        raise self._unknown(origin, typed[1] if typed else written)

    def _from_table(self, origin: str, value: dict[str, Any]) -> tuple[str, str | None, str | None]:
        if "column" not in value:
            raise ConfigurationError(f"{origin}: needs a column")
        column, name, form = (
            _as_text(f"{origin}.{key}", value[key]) if key in value else None
            for key in ("column", "type", "format")
        )
        if form is not None and name is None:
            raise ConfigurationError(f"{origin}: a format needs a type, date or datetime")
        if column is None or column not in self.columns:
            raise self._unknown(origin, str(column))
        return column, name, form

    def _unknown(self, origin: str, column: str, note: str = "") -> ConfigurationError:
        by_case = {each.casefold(): each for each in self.columns}
        close = get_close_matches(column.casefold(), by_case, n=1)
        hint = f" (did you mean {by_case[close[0]]!r}?)" if close else ""
        names = ", ".join(self.columns[:_SHOWN]) or "none"
        more = f" and {len(self.columns) - _SHOWN:,} more" if len(self.columns) > _SHOWN else ""
        return ConfigurationError(
            f"{origin}: no column {column!r}{hint}{note}; the columns are: {names}{more}"
        )


_Make = Callable[[str, str, Any], Setting]


def _by_field(written: Iterable[tuple[str, _Make, str, Any]]) -> dict[str, Setting]:
    """Make each setting, and refuse a field that cannot be written or is given twice."""
    settings: dict[str, Setting] = {}
    for origin, make, field, value in written:
        if not field.strip():
            raise ConfigurationError(f"{origin}: names no field")
        if field in SYSTEM_FIELDS:
            raise ConfigurationError(f"{origin}: {field!r} is set by the server, never written")
        if field in settings:
            raise ConfigurationError(f"{origin}: {field!r} is given twice")
        settings[field] = make(origin, field, value)
    return settings


def _pair(option: str, written: str) -> tuple[str, str]:
    field, equals, rest = written.partition("=")
    if not equals:
        wanted = {"--map": "COLUMN", "--set": "VALUE"}.get(option, "'{COLUMN} {COLUMN}'")
        raise ConfigurationError(f"{option} {written}: has no '='; write FIELD={wanted}")
    return field.strip(), rest


def _constant(origin: str, value: Any) -> Any:
    """Return a value that a file gives as it is sent; a date or a time becomes its text."""
    if isinstance(value, datetime):
        value = utc_text(value)
    elif isinstance(value, date):
        value = value.isoformat()
    if not isinstance(value, str | int | float) or not _is_finite(value):
        raise ConfigurationError(f"{origin}: must be a text, a number, true, false or a date")
    if is_empty(value):
        raise ConfigurationError(f"{origin}: gives no value")
    return value


def _is_finite(value: str | float) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _as_text(origin: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{origin}: must be a text in quotes")
    return value


# --- the mapping file -----------------------------------------------------------------------------


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start + 1}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from None
    _check_keys(f"{path}", content, ("map", "set", "template", "missing"))
    for name in content.keys() - {"missing"}:
        if not isinstance(content[name], dict):
            raise ConfigurationError(f"{path}: {name} must be a table: [{name}]")
    return content


def _check_keys(origin: str, table: dict[str, Any], known: Sequence[str]) -> None:
    for name in table:
        if name not in known:
            raise ConfigurationError(
                f"{origin}: has no setting {name!r}; there are {', '.join(known)}"
            )


def _missing(path: Path | None, content: dict[str, Any]) -> frozenset[str]:
    texts = content.get("missing", [])
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise ConfigurationError(f'{path}: missing must be a list of texts: ["?"]')
    return frozenset(texts)
