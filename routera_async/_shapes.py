"""From JSON values to the attributes of the models: which types are read, and how strictly.

One private cattrs converter, with a hook for each type. A value of another type is never turned
into what was expected: "12" is no number, and no text is a list of letters.
"""

import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.cols import homogenous_tuple_structure_factory, list_structure_factory
from cattrs.gen import make_dict_structure_fn, override

from .errors import ConfigurationError, ResponseError, one_line
from .models import New, Stored

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_READABLE = frozenset({str, float, int, bool, date, datetime, bool | datetime, Any})
"""The types of attributes that are read, but for those that are made of others."""


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


def _once_a_model(function: F) -> F:
    """Remember what a function says of each model; mypy holds attrs classes to be unhashable."""
    return cache(function)  # type: ignore[return-value]


@_once_a_model  # what it raises is not remembered
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
            "float, int, bool, date, datetime, date | datetime, a Literal, an Enum, a list[...] of "
            "one, dict[str, Any] or Any"
        )
    raise ConfigurationError(problem)


@_once_a_model
def field_names(kind: type) -> dict[str, None]:
    """Return the API's field names that a model declares, in order: keys without values."""
    return {name: None for name in attrs.fields_dict(kind) if name != "custom"}


@_once_a_model
def required_fields(kind: type[New]) -> tuple[str, ...]:
    """Return the API's field names without which a record of this kind cannot be created."""
    return tuple(field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING)


def _text(value: Any, _: Any) -> str:
    if type(value) is not str:
        raise ValueError("expected text")
    return value


def _perhaps_text(value: Any, _: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    raise ValueError("expected text")


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
    """Read a date, or the date that a time is told with, whatever its offset."""
    if type(value) is str:
        try:
            return datetime.fromisoformat(value).date()
        except ValueError:
            pass
    raise ValueError("expected a date")


def _moment(value: Any, kind: Any) -> date | None:
    """Read what may be a date or a time: a date field of the API's holds either."""
    if value is None and NoneType in get_args(kind):
        return None
    try:
        return _time(value, datetime)
    except ValueError:
        pass
    return _date(value, date)


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
    if kind is None:  # of no attribute: the model's own validator, converter or post-init says so
        said = error.args[0] if error.args else ""
        return one_line(str(said)) or type(error).__name__
    if isinstance(error, KeyError):
        return "missing"
    said = str(error)
    return said if said.startswith("expected") else f"expected {kind}"


def _record_hook(kind: type[T]) -> Callable[[Any, Any], T]:
    names, never_null = field_names(kind), _never_null(kind)
    as_is = override(struct_hook=lambda value, _: value)
    build = make_dict_structure_fn(kind, _converter, **_direct(kind), custom=as_is)

    def structure(flat: Any, _: Any) -> T:
        if type(flat) is not dict:
            raise ValueError("expected an object")
        custom = {}
        if not flat.keys() <= names.keys():
            custom = {name: value for name, value in flat.items() if name not in names}
        told = {**flat, "custom": custom}
        for name in never_null:
            if name in told and told[name] is None:
                del told[name]
        return build(told, kind)

    return structure


_TAKEN = inspect.signature(make_dict_structure_fn).parameters.keys()


def _direct(kind: type) -> dict[str, Any]:
    """Return the hooks of the attributes whose types need no look at what was asked for.

    But for those that are named as an argument of the function that takes them by name.
    """
    return {
        field.name: override(struct_hook=_HOOKS[field.type])
        for field in attrs.fields(kind)
        if field.type in _HOOKS and field.name not in _TAKEN
    }


def _never_null(kind: type) -> frozenset[str]:
    """Return the attributes that null leaves at their default, for their type does not hold it."""
    return frozenset(
        field.name
        for field in attrs.fields(kind)
        if field.default is not attrs.NOTHING
        and field.type is not Any
        and not {None, NoneType}.intersection(get_args(field.type))
    )


def _readable(kind: Any) -> bool:
    """Say whether the hooks below read a type: one of these, perhaps None, or a list of one."""
    if kind in _READABLE or _is_enum(kind) or _is_a(kind, Literal) or _is_moment(kind):
        return True
    if _is_object(kind):
        return get_args(kind) == (str, Any)
    inner = [each for each in get_args(kind) if each not in {NoneType, Ellipsis}]
    listed = _is_list(kind) or _is_union(kind)
    return listed and len(inner) == 1 and _readable(inner[0])


def _is_a(kind: Any, origin: Any) -> bool:
    return bool(get_origin(kind) is origin)


def _is_union(kind: Any) -> bool:
    return _is_a(kind, Union) or _is_a(kind, UnionType)


def _is_moment(kind: Any) -> bool:
    return _is_union(kind) and set(get_args(kind)) - {NoneType} == {date, datetime}


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _is_object(kind: Any) -> bool:
    return _is_a(kind, Mapping) or _is_a(kind, dict)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list or (
        get_origin(kind) is tuple and get_args(kind)[1:] == (Ellipsis,)
    )


_HOOKS: dict[Any, Callable[[Any, Any], Any]] = {
    str: _text,
    float: _number,
    int: _whole_number,
    bool: _flag,
    date: _date,
    datetime: _time,
}
"""The hooks of the plain types."""

_converter = Converter()
for _kind, _hook in _HOOKS.items():
    _converter.register_structure_hook(_kind, _exactly(_kind, _hook))
_converter.register_structure_hook_func(lambda kind: kind == str | None, _perhaps_text)
_converter.register_structure_hook_func(lambda kind: kind == bool | datetime, _archived)
_converter.register_structure_hook_func(_is_moment, _moment)
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
