"""What a call is made with: the settings in which copies of one client differ."""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from .errors import ConfigurationError
from .retries import RetryPolicy

_HEADER = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""A header's name: RFC 9110 5.6.2, token."""

_VALUE = r"[\t\x20-\x7e\x80-\xff]*"
"""A header's value: no line break can enter."""

_OURS = frozenset(
    {
        "accept",
        "accept-encoding",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that say how a request is sent or who sends it: not the caller's to set."""


def merged(*layers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of all layers: a later one's go before an earlier one's, in any case."""
    found = {name.lower(): (name, value) for each in layers for name, value in each.items()}
    return dict(found.values())


def seconds(name: str, value: Any) -> float:
    """Return a duration in seconds; raises `ConfigurationError` for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{name} must be a number of seconds, not {value!r}")
    if not 0 < value < math.inf:
        raise ConfigurationError(
            f"{name} must be a finite number of seconds, more than 0, not {value!r}"
        )
    return value


def whole_number(name: str, value: Any, least: int) -> int:
    """Return a whole number; raises `ConfigurationError` for another, or one below `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        more = "more than 0" if least == 1 else f"{least} or more"
        raise ConfigurationError(f"{name} must be a whole number, {more}, not {value!r}")
    return value


def checked_headers(headers: Any) -> Mapping[str, str]:
    """Return headers that may be added to a request; raises `ConfigurationError` for others."""
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f"headers must be a mapping, not {type(headers).__name__}")
    for name, value in headers.items():
        if not isinstance(name, str) or not re.fullmatch(_HEADER, name):
            raise ConfigurationError("headers: a name is not one that HTTP knows")
        if name.lower() in _OURS:
            raise ConfigurationError(f"headers: {name} is set by the client")
        if not isinstance(value, str) or not re.fullmatch(_VALUE, value):
            raise ConfigurationError(f"headers: the value of {name} cannot stand in a header")
    return MappingProxyType(dict(headers))


@attrs.frozen(kw_only=True)
class Options:
    """How a call is made: `timeout` is an attempt's, `deadline` the call's, both in seconds.

    `headers` are added to each request, and are not shown: a caller may keep a secret there.
    Raises `ConfigurationError` for a setting that cannot be.
    """

    retry: RetryPolicy = attrs.field()
    timeout: float = attrs.field()
    deadline: float | None = attrs.field()
    headers: Mapping[str, str] = attrs.field(factory=dict, converter=checked_headers, repr=False)

    @retry.validator
    def _check_retry(self, _: Any, value: Any) -> None:
        if not isinstance(value, RetryPolicy):
            raise ConfigurationError(f"retry must be a RetryPolicy, not {value!r}")

    @timeout.validator
    def _check_timeout(self, _: Any, value: Any) -> None:
        seconds("timeout", value)

    @deadline.validator
    def _check_deadline(self, _: Any, value: Any) -> None:
        if value is not None:
            seconds("deadline", value)
