"""JSON lines, plain or gzipped, as rows."""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

import orjson

from routera_async.bulk.rows import CELL_MAX, READING, Row, Source, Survey, open_binary
from routera_async.errors import ConfigurationError

LINE_MAX = 16 << 20
"""The most bytes of one JSONL line."""

DEPTH_MAX = 100
"""How deep a JSON value may nest; orjson writes 254 levels at most."""

_TOO_DEEP = f"nested over {DEPTH_MAX} levels deep"

NAMES_MAX = 10_000
"""The most column names of one JSONL file: with more, its keys hold data."""

_LONG_NUMBER = re.compile(rb"\d{19}")
"""The shortest run of digits that may not fit in 64 bits, which orjson would round."""


class JsonlSource(Source):
    """A file with one JSON object a line."""

    format = "jsonl"

    @property
    def columns(self) -> tuple[str, ...]:
        """Every key of every object, in the order first seen; asking for it surveys the file."""
        return self.survey().columns

    def rows(self) -> Iterator[Row]:
        """Yield each line as a row; blank lines are no rows."""
        for number, (line, text) in enumerate(self._texts()):
            values, problem = _parse(text)
            raw = _line_text(text) if problem and not values else None
            yield Row(number, line, values, problem, raw=raw)

    def _read_through(self) -> Survey:
        count, fault, names = 0, None, dict[str, None]()
        try:
            for row in self.rows():
                count += 1
                names.update(dict.fromkeys(row.values))
                if len(names) > NAMES_MAX:
                    break
        except ConfigurationError as error:
            fault = str(error)
        if len(names) > NAMES_MAX:
            raise ConfigurationError(
                f"{self.path}: its objects have over {NAMES_MAX:,} different keys, so the keys"
                " hold data: give every object the same few keys"
            )
        if not count and fault is None:
            raise ConfigurationError(f"{self.path}: is empty: it has no line that is not blank")
        return Survey(count, tuple(names), fault)

    def _texts(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        try:
            with open_binary(self.path) as stream:
                while text := stream.readline(LINE_MAX + 1):
                    number += 1
                    if number == 1:
                        text = text.removeprefix(BOM_UTF8)
                    if not text.isspace() and text:
                        yield number, text
                    while len(text) > LINE_MAX and text[-1:] != b"\n":
                        text = stream.readline(LINE_MAX + 1)
        except READING as error:
            raise self._stopped(number, error) from None


def _parse(text: bytes) -> tuple[dict[str, Any], str | None]:
    """Return a line's object, and what is wrong with the line or its object."""
    if len(text) > LINE_MAX:
        return {}, "a line over 16 MiB, of which only that much is kept"
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return {}, _bad_json(text, error)
    if not isinstance(value, dict):
        return {}, f"not a JSON object, but {_KIND_NAMES.get(type(value), 'a number')}"
    problem = _bad_value(value) if _is_suspect(text) else None
    if problem == _TOO_DEEP:
        return {}, problem  # so that nobody walks or writes it again
    if problem is None and _LONG_NUMBER.search(text):
        value = json.loads(text)
    return value, problem


_KIND_NAMES = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}


def _line_text(text: bytes) -> str:
    return text.rstrip(b"\r\n").decode(errors="surrogateescape")


def _bad_json(text: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text.decode()
    except UnicodeDecodeError as bad:
        return f"not UTF-8: byte {bad.start + 1} of the line is 0x{text[bad.start]:02X}"
    if b"\0" in text:
        return "a NUL byte"
    return f"not JSON: {error.msg} (column {error.colno})"


def _is_suspect(text: bytes) -> bool:
    """Whether an object might hold what `_bad_value` looks for: nearly none need the walk."""
    return (
        len(text) > CELL_MAX
        or b"\\u0000" in text
        or text.count(b"[") + text.count(b"{") > DEPTH_MAX
    )


def _bad_value(value: Any) -> str | None:
    """Say what is wrong with a value or one in it, without recursion."""
    waiting = [(value, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEPTH_MAX:
            return _TOO_DEEP
        if isinstance(value, dict):
            waiting += [(each, depth + 1) for pair in value.items() for each in pair]
        elif isinstance(value, list):
            waiting += [(each, depth + 1) for each in value]
        elif isinstance(value, str):
            if "\0" in value:
                return "a NUL character"
            if len(value) > CELL_MAX // 4 and len(value.encode()) > CELL_MAX:
                return f"a value holds {len(value.encode()):,} bytes; the most is {CELL_MAX:,}"
    return None
