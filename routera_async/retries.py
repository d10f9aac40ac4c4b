"""When a call is sent again, and how long it waits first.

The policy is a frozen value; `_retrying` makes tenacity's loop of it.
"""

import math
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import attrs

from .errors import (
    TRY_AGAIN,
    APIStatusError,
    ConfigurationError,
    NotSentError,
    OutcomeUnknown,
    RateLimitedError,
    ServerError,
)

_TRANSIENT = frozenset({500, 502, 503, 504})


def _at_least(least: float) -> Callable[[Any, "attrs.Attribute[Any]", Any], None]:
    def check(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if not (_is_number(value) and value >= least):
            raise ConfigurationError(f"{attribute.name} must be {least} or more, not {value!r}")

    return check


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value < math.inf


def _whole(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, int):
        raise ConfigurationError(f"{attribute.name} must be a whole number, not {value!r}")


def _yes_or_no(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{attribute.name} must be True or False, not {value!r}")


def _a_budget(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, RetryBudget):
        raise ConfigurationError(f"{attribute.name} must be a RetryBudget, not {value!r}")


def _more_than_0(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not (_is_number(value) and value > 0):  # with 0, what waits for a token would for ever
        raise ConfigurationError(f"{attribute.name} must be more than 0, not {value!r}")


class Repeat(Enum):
    """What it means to do a call twice."""

    SAFE = auto()
    """The same as doing it once: a read, a change that sets values, a create with a key."""
    UNKEYED = auto()
    """Perhaps a second record: a create without a key."""
    RISKY = auto()
    """It may do more harm than not being done: a dispatch, or what nothing is known of."""


@attrs.frozen(kw_only=True, cache_hash=True)
class RetryBudget:
    """How many retries a client may add to what it is asked for.

    A retry takes a token, of which there are `capacity` at the start and at the most, and gives it
    back when the server answers it. Tokens return by themselves, `per_second`, and with every call
    that succeeds at its first attempt, `per_success`. A retry that finds none waits, oldest first:
    so an outage costs the server about a tenth more requests than no retries at all would, no call
    fails for want of a token, and when the outage ends, what waited goes on. Imports have as many
    tokens of their own, so that no call waits for what rows hold.
    """

    capacity: float = attrs.field(default=100.0, validator=_at_least(1))
    per_second: float = attrs.field(default=1.0, validator=_more_than_0)
    per_success: float = attrs.field(default=0.1, validator=_at_least(0))


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often and how patiently one call is sent again.

    The call is sent at most `max_attempts` times. Before each repeat it waits a random time
    between 0 and `wait_initial` · 2ⁿ seconds, at most `wait_max` ("full jitter", Brooker, AWS
    Architecture Blog, 2015), or what the server's `Retry-After` asks for, at most
    `retry_after_max` seconds. A 409 is never sent again.

    A create without an external_id is sent again after a 500, 502, 503 or 504 as well, and that
    may create a second record: the first attempt may have done its work before it failed. With
    `resend_unkeyed=False` such a call raises `OutcomeUnknown` instead.

    A dispatch is sent again only when it provably was not done, for it may assign twice; with
    `resend_dispatch=True` it is treated like a read.
    """

    max_attempts: int = attrs.field(default=5, validator=[_at_least(1), _whole])
    wait_initial: float = attrs.field(default=0.2, validator=_at_least(0))
    wait_max: float = attrs.field(default=20.0, validator=_at_least(0))
    retry_after_max: float = attrs.field(default=60.0, validator=_at_least(0))
    resend_unkeyed: bool = attrs.field(default=True, validator=_yes_or_no)
    resend_dispatch: bool = attrs.field(default=False, validator=_yes_or_no)
    budget: RetryBudget = attrs.field(default=RetryBudget(), validator=_a_budget)

    def sends_again(self, error: BaseException, repeat: Repeat) -> bool:
        """Return whether this error may be followed by another attempt."""
        match error:
            case NotSentError() | RateLimitedError():
                return True
            case ServerError(status=status):
                return status in _TRANSIENT and self.takes(repeat)
            case APIStatusError(status=status) if status in TRY_AGAIN:
                return repeat is Repeat.SAFE
            case OutcomeUnknown():
                return repeat is Repeat.SAFE
            case _:  # whatever is not listed, a cancellation among it, goes through
                return False

    def takes(self, repeat: Repeat) -> bool:
        """Return whether a server's fault may be followed by such a repeat."""
        return repeat is Repeat.SAFE or (repeat is Repeat.UNKEYED and self.resend_unkeyed)
