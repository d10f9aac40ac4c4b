"""Between the API's flat answers, its {"fields": ...} envelope, and the models.

    to_fields    NewTicket or a mapping  ->  {internal_name: value}, the documented rules checked
    to_changes   a mapping               ->  the same for an update
    encode       fields                  ->  the bytes of a write
    decode       the bytes of an answer  ->  JSON values
    from_flat    a flat object           ->  Ticket, undeclared keys in `custom`
    page_from    one page of a list      ->  Page[Ticket]
    to_flat      Ticket                  ->  the flat object again

A `ValidationError` names the field at fault, a `ResponseError` the place ("expected text @ $.id").
"""

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
import orjson
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.cols import homogenous_tuple_structure_factory, list_structure_factory
from cattrs.gen import make_dict_structure_fn, override

from .errors import ConfigurationError, ResponseError, ValidationError
from .models import SYSTEM_FIELDS, DispatchResult, New, Page, Stored

T = TypeVar("T")
R = TypeVar("R", bound=Stored)
F = TypeVar("F", bound=Callable[..., Any])

_LONG_NUMBER = re.compile(rb"\d{19}")
"""Digits that may be more than 64 bits hold; orjson would read such an integer as a float."""

_READABLE = frozenset({str, float, int, bool, date, datetime, bool | datetime, Any})
"""The types of attributes that are read, but for those that are made of others."""

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS
"""A dataclass is refused, for its NaN and its naive times would be changed without a word."""


def to_fields(new: New | Mapping[str, Any], kind: type[New]) -> dict[str, Any]:
    """Return what goes inside `fields` to create a record of this kind.

    A plain mapping is taken as the fields themselves. Raises `ValidationError` when a required
    field is missing or a system field is written.
    """
    fields = dict(new) if isinstance(new, Mapping) else _declared(new, kind)
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
    if forbidden := SYSTEM_FIELDS & fields.keys():
        raise ValidationError(f"{min(forbidden)} is set by the server and cannot be written")
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
        if _LONG_NUMBER.search(body):
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


def from_flat(flat: Any, kind: type[T], at: str = "$") -> T:
    """Return the record that a flat object is.

    Keys that the model does not declare stand in `custom`. Raises `ResponseError` that names what
    was expected and where, and holds the id when the object has one; `at` is the object's own place
    in the answer.
    """
    try:
        return _converter.structure(flat, kind)
    except BaseValidationError as error:
        problems = transform_error(error, path=at, format_exception=_expected)
    except ValueError as error:
        problems = [f"{error} @ {at}"]
    unreadable = ResponseError(f"cannot read the answer as a {kind.__name__}: {problems[0]}")
    if isinstance(flat, dict) and isinstance(flat.get("id"), str):
        unreadable.id = flat["id"]
    raise unreadable


def page_from(answer: Any, kind: type[R], *, limit: int, offset: int) -> Page[R]:
    """Return one page of a list; `limit` and `offset` are what was asked for."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise ResponseError("cannot read the answer as a page: expected a list @ $.data")
    records = (from_flat(flat, kind, f"$.data[{number}]") for number, flat in enumerate(data))
    return Page(tuple(records), limit=limit, offset=offset)


def dispatched(answer: Any) -> DispatchResult:
    """Return what a dispatch's answer says; its time is an RFC 2822 date (API.md, "Dispatch")."""
    if isinstance(answer, dict) and isinstance(when := answer.get("owner_assigned_at"), str):
        try:
            told = parsedate_to_datetime(when)
        except ValueError:
            pass  # an ISO 8601 time is read as well
        else:
            answer = {**answer, "owner_assigned_at": told.isoformat()}
    return from_flat(answer, DispatchResult)


def check_model(kind: type[Stored]) -> None:
    """Raise `ConfigurationError` for a model with an attribute that no JSON value can become."""
    for each in kind.__mro__:
        undecorated = issubclass(each, Stored) and "__attrs_attrs__" not in vars(each)
        if undecorated and inspect.get_annotations(each):
            raise ConfigurationError(f"{each.__name__} needs @attrs.frozen(kw_only=True) above it")
    try:
        attrs.resolve_types(kind)
    except (NameError, TypeError) as error:
        problem = f"{kind.__name__} has a type that cannot be found: {error}"
    else:
        wrong = next((field for field in attrs.fields(kind) if not _readable(field.type)), None)
        if wrong is None:
            return
        problem = (
            f"{kind.__name__}.{wrong.name} has a type that cannot be read, {wrong.type}: take str, "
            "float, int, bool, date, datetime, a Literal, an Enum, or list[...] of one"
        )
    raise ConfigurationError(problem)


def to_flat(record: Any) -> dict[str, Any]:
    """Return a record as the API shows it: flat, times in UTC with milliseconds, no empty keys."""
    flat = {
        name: _plain(value)
        for name in field_names(type(record))
        if (value := getattr(record, name)) is not None
    }
    return flat | dict(record.custom)


def _once_a_model(function: F) -> F:
    """Remember what a function says of each model; mypy holds attrs classes to be unhashable."""
    return cache(function)  # type: ignore[return-value]


@_once_a_model
def field_names(kind: type) -> dict[str, None]:
    """Return the API's field names that a model declares, in order: keys without values."""
    return {name: None for name in attrs.fields_dict(kind) if name != "custom"}


@_once_a_model
def required_fields(kind: type[New]) -> tuple[str, ...]:
    """Return the API's field names without which a record of this kind cannot be created."""
    return tuple(field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING)


def _declared(new: New, kind: type[New]) -> dict[str, Any]:
    if not isinstance(new, kind):
        raise ValidationError(f"expected {kind.__name__} or a mapping, not {type(new).__name__}")
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
        return orjson.dumps(value, option=_OPTIONS)
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


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it."""
    match value:
        case datetime():
            return _iso(value)
        case date():
            return value.isoformat()
        case Enum():
            return value.value
        case tuple() | list():
            return [_plain(each) for each in value]
        case _ if attrs.has(type(value)):
            return to_flat(value)
        case _:
            return value


def _text(value: Any, _: Any) -> str:
    if type(value) is not str:
        raise ValueError("expected text")
    return value


def _number(value: Any, _: Any) -> float:
    if type(value) is int or type(value) is float:
        try:
            return float(value)
        except OverflowError:
            pass
    raise ValueError("expected number")


def _whole_number(value: Any, _: Any) -> int:
    if type(value) is int or (type(value) is float and value.is_integer()):
        return int(value)
    raise ValueError("expected whole number")


def _flag(value: Any, _: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("expected true or false")
    return value


def _date(value: Any, _: Any) -> date:
    if type(value) is str:
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError("expected a date")


def _one_of(options: dict[Any, Any]) -> Callable[[Any, Any], Any]:
    """Return the hook for what must equal one of these keys, type and all."""

    def structure(value: Any, _: Any) -> Any:
        for option, chosen in options.items():
            if type(option) is type(value) and option == value:
                return chosen
        raise ValueError(f"expected one of {', '.join(map(str, options))}")

    return structure


def _options_of(kind: type[Enum]) -> Callable[[Any, Any], Any]:
    return _one_of({option.value: option for option in kind})


def _exactly(kind: type, hook: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the hook for a type, which cattrs asks for a StrEnum or an IntEnum as well."""

    def structure(value: Any, asked: Any) -> Any:
        return hook(value, asked) if asked is kind else _options_of(asked)(value, asked)

    return structure


def _object(value: Any, _: Any) -> Mapping[str, Any]:
    if type(value) is not dict:
        raise ValueError("expected an object")
    return value


def _items(kind: Any) -> Callable[[Any, Any], Any]:
    """Return the hook for a list of one kind: text is not taken for a list of letters."""
    is_tuple = get_origin(kind) is tuple
    factory = homogenous_tuple_structure_factory if is_tuple else list_structure_factory
    collect = factory(kind, _converter)

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise ValueError("expected a list")
        return collect(value, kind)

    return structure


def _time(value: Any, _: Any) -> datetime:
    """Read ISO 8601; a time without an offset is UTC, as all of the API's are."""
    if type(value) is str and len(value) > len("2026-05-01"):
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return when if when.tzinfo else when.replace(tzinfo=UTC)
    raise ValueError("expected an ISO 8601 time")


def _archived(value: Any, _: Any) -> bool | datetime:
    """Read `archived`: false or a time; the API's generated sample also shows true."""
    return value if isinstance(value, bool) else _time(value, datetime)


def _expected(error: BaseException, kind: type | None) -> str:
    if isinstance(error, KeyError):
        return "missing"
    said = str(error)
    return said if said.startswith("expected") else f"expected {kind}"


def _record_hook(kind: type[T]) -> Callable[[Any, Any], T]:
    names = field_names(kind)
    as_is = override(struct_hook=lambda value, _: value)
    build = make_dict_structure_fn(kind, _converter, custom=as_is)

    def structure(flat: Any, _: Any) -> T:
        if type(flat) is not dict:
            raise ValueError("expected an object")
        known = {name: flat[name] for name in names if name in flat}
        custom = {name: value for name, value in flat.items() if name not in names}
        return build({**known, "custom": custom}, kind)

    return structure


def _readable(kind: Any) -> bool:
    """Say whether the hooks below read a type: one of these, perhaps None, or a list of one."""
    if kind in _READABLE or _is_enum(kind) or _is_a(kind, Literal):
        return True
    if _is_object(kind):
        return get_args(kind) == (str, Any)
    inner = [each for each in get_args(kind) if each not in {NoneType, Ellipsis}]
    listed = _is_list(kind) or _is_a(kind, Union) or _is_a(kind, UnionType)
    return listed and len(inner) == 1 and _readable(inner[0])


def _is_a(kind: Any, origin: Any) -> bool:
    return bool(get_origin(kind) is origin)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _is_object(kind: Any) -> bool:
    return _is_a(kind, Mapping) or _is_a(kind, dict)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list or (
        get_origin(kind) is tuple and get_args(kind)[1:] == (Ellipsis,)
    )


_converter = Converter()
for _kind, _hook in (
    (str, _text),
    (float, _number),
    (int, _whole_number),
    (bool, _flag),
    (date, _date),
    (datetime, _time),
):
    _converter.register_structure_hook(_kind, _exactly(_kind, _hook))
_converter.register_structure_hook_func(lambda kind: kind == bool | datetime, _archived)
_converter.register_structure_hook_func(_is_object, _object)
_converter.register_structure_hook_factory(_is_list, _items)
_converter.register_structure_hook_factory(
    lambda kind: _is_a(kind, Literal),
    lambda kind: _one_of({option: option for option in get_args(kind)}),
)
_converter.register_structure_hook_factory(_is_enum, _options_of)
_converter.register_structure_hook_factory(
    lambda kind: attrs.has(kind) and "custom" in attrs.fields_dict(kind), _record_hook
)
