"""Between the API's flat answers, its {"fields": ...} envelope, and the models.

    to_fields    NewTicket or a mapping  ->  {internal_name: value}, the documented rules checked
    to_changes   a mapping               ->  the same for an update
    encode       fields                  ->  the bytes of a write
    decode       the bytes of an answer  ->  JSON values
    page_from    one page of a list      ->  Page[Ticket]
    to_flat      Ticket                  ->  the flat object again

What a flat object becomes is told by `_shapes`. A `ValidationError` names the field at fault, a
`ResponseError` the place ("expected text @ $.id").
"""

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, TypeVar

import attrs
import orjson

from ._shapes import field_names, from_flat, required_fields
from .errors import ResponseError, ValidationError
from .models import SYSTEM_FIELDS, New, Page, Stored

T = TypeVar("T")
R = TypeVar("R", bound=Stored)
F = TypeVar("F", bound=Callable[..., Any])

_AS_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * 19
"""Digits that may be more than 64 bits hold; orjson would read such an integer as a float.

They are sought where every digit is a zero: ten times as fast as by a regular expression.
"""

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS
"""A dataclass is refused, for its NaN and its naive times would be changed without a word."""


def to_fields(new: New | Mapping[str, Any], kind: type[New]) -> dict[str, Any]:
    """Return what goes inside `fields` to create a record of this kind.

    A plain mapping is taken as the fields themselves. Raises `ValidationError` when a required
    field is missing or a system field is written.
    """
    fields = _declared(new, kind) if isinstance(new, New) else _given(new, kind)
    for name in required_fields(kind):
        if fields.get(name) is None:
            raise ValidationError(f"{name} is required")
    if kind.needs_one and all(fields.get(name) is None for name in kind.needs_one):
        raise ValidationError(f"one of {', '.join(kind.needs_one)} is required")
    return _writable(fields)


def to_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what goes inside `fields` to change a record: a None in it is sent as null.

    Raises `ValidationError` when a system field is written.
    """
    if not isinstance(changes, Mapping):
        raise ValidationError(f"changes must be a mapping, not {type(changes).__name__}")
    return _writable(dict(changes))


def _writable(fields: dict[str, Any]) -> dict[str, Any]:
    if not SYSTEM_FIELDS.isdisjoint(fields):
        forbidden = min(SYSTEM_FIELDS & fields.keys())
        raise ValidationError(f"{forbidden} is set by the server and cannot be written")
    return fields


def encode(fields: Mapping[str, Any]) -> bytes:
    """Return the JSON body of a write.

    Raises `ValidationError` for what JSON cannot say, or what would change on the way without a
    word: NaN and the infinities, a naive datetime, a lone surrogate, a key that is no text.
    """
    try:
        for name, value in fields.items():
            if type(value) is not str:
                _check(value, str(name))
        return _dumps({"fields": fields})
    except (TypeError, ValueError, RecursionError) as error:
        problem = _unwritable(fields, error)
    raise problem


def decode(body: bytes) -> Any:
    """Return the JSON value of an answer; raises `ResponseError` when it is none."""
    try:
        if _LONG_NUMBER in body.translate(_AS_ZERO):
            return json.loads(body.decode(), parse_float=_finite, parse_constant=_finite)
        return orjson.loads(body)
    except (ValueError, RecursionError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else "not JSON"
    raise ResponseError(f"the answer's body is {what} ({len(body)} bytes)")


def encode_json(value: Any) -> bytes:
    """Return a JSON body of the caller's own shape; raises `ValidationError` as `encode` does."""
    try:
        _check(value, "json")
        return _dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        problem = ValidationError(f"json cannot be written as JSON: {error}")
    raise problem


def page_from(
    answer: Any, kind: type[R], *, limit: int, offset: int
) -> tuple[Page[R], ResponseError | None]:
    """Return one page of a list; `limit` and `offset` are what was asked for.

    When a record cannot be read, the page ends before it, and the error is returned too.
    """
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise ResponseError("cannot read the answer as a page: expected a list @ $.data")
    records: list[R] = []
    problem = None
    for number, flat in enumerate(data):
        try:
            records.append(from_flat(flat, kind, f"$.data[{number}]"))
        except ResponseError as error:
            problem = error
            break
    return Page(tuple(records), limit=limit, offset=offset), problem


def to_flat(record: Any, *, nulls: bool = False) -> dict[str, Any]:
    """Return a record as the API shows it: flat, times in UTC with milliseconds.

    An attribute that is None is null, with `nulls`, or left out.
    """
    flat = {
        name: _plain(value, nulls)
        for name in field_names(type(record))
        if (value := getattr(record, name)) is not None or nulls
    }
    return flat | dict(record.custom)


def _given(new: Any, kind: type[New]) -> dict[str, Any]:
    if isinstance(new, Mapping):
        return dict(new)
    raise ValidationError(f"expected {kind.__name__} or a mapping, not {type(new).__name__}")


def _declared(new: New, kind: type[New]) -> dict[str, Any]:
    if not isinstance(new, kind):
        raise ValidationError(f"expected {kind.__name__} or a mapping, not {type(new).__name__}")
    if type(new.custom) is not dict and not isinstance(new.custom, Mapping | None):
        raise ValidationError(f"custom must be a mapping, not {type(new.custom).__name__}")
    names = field_names(type(new))
    fields = {name: value for name in names if (value := getattr(new, name)) is not None}
    if new.custom:
        if taken := names.keys() & new.custom.keys():
            raise ValidationError(
                f"{min(taken)} is an attribute of {type(new).__name__}: not in custom"
            )
        fields.update(new.custom)
    return fields


def _check(value: Any, name: str) -> None:
    """Refuse what orjson would change without a word."""
    match value:
        case str() | int() | None:
            pass
        case float() if not math.isfinite(value):
            raise ValidationError(f"{name}: {value} is not a number that JSON can hold")
        case datetime() if value.tzinfo is None:
            raise ValidationError(f"{name}: {value} has no time zone: give an aware datetime")
        case Enum():
            _check(value.value, name)
        case Mapping():
            for key, inner in value.items():
                if not isinstance(key, str):
                    raise ValidationError(f"{name}: the key {key!r} is not text")
                _check(inner, f"{name}.{key}")
        case list() | tuple():
            for at, inner in enumerate(value):
                _check(inner, f"{name}[{at}]")


def _dumps(value: Any) -> bytes:
    try:
        written = orjson.dumps(value, option=_OPTIONS)
        return bytes(memoryview(written))  # a copy of its own length, for orjson's holds 4 KiB
    except TypeError as error:
        if "64-bit" not in str(error):
            raise
    return json.dumps(value, default=_by_orjson, ensure_ascii=False).encode()


def _unwritable(fields: Mapping[str, Any], error: Exception) -> ValidationError:
    """Return the error for fields that do not encode, naming the first at fault."""
    for name, value in fields.items():
        try:
            _dumps({name: value})
        except (TypeError, ValueError, RecursionError) as own:
            return ValidationError(f"{name!r} cannot be written as JSON: {own}")
    return ValidationError(f"the fields cannot be written as JSON: {error}")


def _by_orjson(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value, option=_OPTIONS))


def _finite(text: str) -> float:
    """Read a number as orjson does: NaN, the infinities and what overflows to them are none."""
    number = float(text)
    if math.isfinite(number):
        return number
    raise ValueError(f"{text} is not JSON")


def _iso(value: datetime) -> str:
    utc = value.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any, nulls: bool) -> Any:
    """Return a value as JSON holds it."""
    match value:
        case datetime():
            return _iso(value)
        case date():
            return value.isoformat()
        case Enum():
            return value.value
        case tuple() | list():
            return [_plain(each, nulls) for each in value]
        case _ if attrs.has(type(value)):
            return to_flat(value, nulls=nulls)
        case _:
            return value
