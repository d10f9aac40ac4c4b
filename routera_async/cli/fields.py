"""The fields that a command writes: `--set FIELD[:TYPE[:FORMAT]]=VALUE`, `--clear`, `--json`."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from routera_async.bulk.cells import TYPES, converter
from routera_async.errors import ConfigurationError

_STANDARD_INPUT = "-"


def fields_of(
    sets: Iterable[str], clears: Iterable[str] = (), file: Path | None = None
) -> dict[str, Any]:
    """Return the fields to write: a JSON object's, and over them those given one by one.

    A field that is cleared is None. Raises `ConfigurationError` in one line for what cannot be.
    """
    given: dict[str, Any] = {}
    for origin, field, value in [*map(_setting, sets), *map(_cleared, clears)]:
        if not field:
            raise ConfigurationError(f"{origin}: names no field")
        if field in given:
            raise ConfigurationError(f"{origin}: {field!r} is given twice")
        given[field] = value
    return (_object(file) if file else {}) | given


def _setting(written: str) -> tuple[str, str, Any]:
    target, equals, text = written.partition("=")
    origin = f"--set {written}"
    if not equals:
        raise ConfigurationError(f"{origin}: has no '='; write FIELD=VALUE or FIELD:TYPE=VALUE")
    field, typed, spec = target.partition(":")
    return origin, field.strip(), _value(origin, spec, text) if typed else text


def _cleared(field: str) -> tuple[str, str, None]:
    return f"--clear {field}", field.strip(), None


def _value(origin: str, spec: str, text: str) -> Any:
    """Return the value of a type, named as import's --map names it; json says anything."""
    name, *form = spec.split(":", 1)
    try:
        convert = json.loads if spec == "json" else converter(name, *form)
    except ValueError as error:
        more = "" if name in TYPES else ", json"
        raise ConfigurationError(f"{origin}: {error}{more}") from None
    try:
        return convert(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{origin}: {text!r} {error}") from None


def _object(path: Path) -> dict[str, Any]:
    name = "standard input" if str(path) == _STANDARD_INPUT else str(path)
    try:
        content = sys.stdin.read() if str(path) == _STANDARD_INPUT else path.read_text("utf-8-sig")
        fields = json.loads(content)
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name}: not UTF-8 at byte {error.start + 1}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name}: is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ConfigurationError(f'{name}: must hold one JSON object: {{"FIELD": VALUE}}')
    return fields
