"""Turn a cell into a value of the type that a mapping names.

A converter takes a CSV's text or a JSON value and raises ValueError, with the end of a sentence
("is not a number"), when the cell is no such value.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

TYPES = ("text", "number", "checkbox", "date", "datetime")
"""What a TYPE in a mapping may be."""

Converter = Callable[[Any], Any]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)

_CHECKS = dict.fromkeys(("true", "yes", "y", "1", "on", "t"), True) | dict.fromkeys(
    ("false", "no", "n", "0", "off", "f"), False
)

_SAMPLE = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
"""A moment whose year, month and day differ, to try a format on."""


def is_empty(value: Any, missing: frozenset[str] = frozenset()) -> bool:
    """Whether a cell holds nothing: null, blanks alone, or a text that means missing."""
    if isinstance(value, str):
        return not value or value.isspace() or value in missing
    return value is None


def converter(name: str, form: str | None = None) -> Converter:
    """Return the function for a TYPE and, for a date or datetime, its strptime format.

    Raises ValueError when there is no such type, or the format does not give a whole date.
    """
    if name not in TYPES:
        raise ValueError(f"{name!r} is no type: the types are {', '.join(TYPES)}")
    if form is None:
        return _CONVERTERS[name]
    if name not in {"date", "datetime"}:
        raise ValueError(f"only a date or a datetime takes a format, and {name} has {form!r}")
    _check_format(form)
    return partial(_CONVERTERS[name], form=form)


def _check_format(form: str) -> None:
    try:
        sample = datetime.strptime(_SAMPLE.strftime(form), form)  # noqa: DTZ007 (only its date)
    except ValueError as error:
        raise ValueError(f"{form!r} is not a date's format: {error}") from None
    if sample.date() != _SAMPLE.date():
        raise ValueError(f"{form!r} is not a date's format: it needs a year, a month and a day")


def text(value: Any) -> str:
    """Return a text as it is, byte for byte; a JSON number or boolean as JSON writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise ValueError("is not a text")


def number(value: Any) -> int | float:
    """Return an int when the digits are whole, else a finite float."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    digits = value.strip() if isinstance(value, str) else ""
    if not _NUMBER.fullmatch(digits):
        raise ValueError("is not a number, such as 42 or -1234.5")
    if not _WHOLE.fullmatch(digits):
        return _finite(float(digits))
    try:
        return int(digits)
    except ValueError:  # Python refuses over 4,300 digits, whose conversion is quadratic
        raise ValueError(f"is too long a number: {len(digits):,} digits") from None


def _finite(value: float) -> float:
    if math.isinf(value):
        raise ValueError("is too large a number")
    return value


def checkbox(value: Any) -> bool:
    """Return what true, yes, y, t, on, 1 and their opposites say, in any case."""
    if isinstance(value, str | bool | int):
        checked = _CHECKS.get(str(value).strip().lower())
        if checked is not None:
            return checked
    raise ValueError("is neither true nor false")


def date_text(value: Any, form: str | None = None) -> str:
    """Return a date as YYYY-MM-DD, read as ISO 8601 or by a strptime format."""
    try:
        day = date.fromisoformat(value.strip()) if form is None else _parsed(value, form).date()
    except (ValueError, AttributeError):
        raise ValueError(f"is not a date, {_wanted(form, 'such as 2026-11-23')}") from None
    return day.isoformat()


def datetime_text(value: Any, form: str | None = None) -> str:
    """Return a moment in UTC, as ISO 8601 with Z. One without a zone is taken to be in UTC."""
    try:
        moment = datetime.fromisoformat(value.strip()) if form is None else _parsed(value, form)
        return utc_text(moment)
    except (ValueError, AttributeError, OverflowError):
        wanted = _wanted(form, "such as 2026-11-23T09:30:00Z")
        raise ValueError(f"is not a date and time, {wanted}") from None


def utc_text(moment: datetime) -> str:
    """Write a moment in UTC with Z."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _parsed(value: str, form: str) -> datetime:
    return datetime.strptime(value.strip(), form)  # noqa: DTZ007 (utc_text gives the zone)


def _wanted(form: str | None, example: str) -> str:
    return example if form is None else f"written as {form!r}"


_CONVERTERS: dict[str, Callable[..., Any]] = {
    "text": text,
    "number": number,
    "checkbox": checkbox,
    "date": date_text,
    "datetime": datetime_text,
}
