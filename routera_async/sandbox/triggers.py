"""Which objects a router is for: the trigger of its settings.

API.md gives its outside, {"groups": [{"conditions": []}]}, and no condition. Assumed: a condition
is {"field", "operator", "value"}; a group matches when all its conditions hold, a trigger when any
of its groups matches, and either matches everything when it is empty.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import attrs

EVERYTHING: Mapping[str, Any] = MappingProxyType({"groups": [{"conditions": []}]})
"""The trigger that API.md shows."""

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        "equals": lambda held, value: bool(held == value),
        "not equals": lambda held, value: bool(held != value),
        "contains": lambda held, value: isinstance(held, str) and str(value) in held,
        "is empty": lambda held, _: held is None or held == "",
        "is not empty": lambda held, _: held is not None and held != "",
    }
)


@attrs.frozen
class Condition:
    """What one field of an object must be."""

    field: str
    operator: str
    value: Any = None

    def __attrs_post_init__(self) -> None:
        if self.operator not in _OPERATORS:
            known = ", ".join(_OPERATORS)
            raise ValueError(f"a condition's operator is one of {known}, not {self.operator!r}")

    def holds(self, flat: Mapping[str, Any]) -> bool:
        """Return whether a flat object meets it; a field that it lacks is null."""
        return _OPERATORS[self.operator](flat.get(self.field), self.value)


def read(trigger: Mapping[str, Any]) -> list[list[Condition]]:
    """Return the conditions of each group; ValueError when that is no trigger."""
    try:
        return [[Condition(**each) for each in group["conditions"]] for group in trigger["groups"]]
    except (TypeError, KeyError):
        raise ValueError(
            'a trigger is {"groups": [{"conditions": [{"field", "operator", "value"}]}]},'
            f" not {trigger!r}"
        ) from None


def matches(trigger: Mapping[str, Any], flat: Mapping[str, Any]) -> bool:
    """Return whether a trigger is for a flat object."""
    groups = read(trigger)
    return not groups or any(all(each.holds(flat) for each in group) for group in groups)
