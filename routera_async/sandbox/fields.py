"""What a record may hold: field types, the object types of API.md, and the rules for a write."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

import attrs

from .errors import Refused

SYSTEM_FIELDS = frozenset({"id", "created_at", "updated_at", "archived", "archived_by"})
"""Read in every answer, refused in every write (API.md, "Rules for every object")."""

ALWAYS = ("id", "external_id", "created_at", "updated_at", "archived")
"""In every answer, in the order of the seed's response example."""

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}.*)?")
_SHOWN = 60  # characters of a name or a value in a message: enough to find it in the input


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_email(value: Any) -> bool:
    return isinstance(value, str) and _EMAIL.fullmatch(value) is not None


def _is_date(value: Any) -> bool:
    if not isinstance(value, str) or not _ISO_DATE.fullmatch(value):
        return False
    read = date.fromisoformat if len(value) == len("2026-05-01") else datetime.fromisoformat
    try:
        read(value)
    except ValueError:
        return False
    return True


# A text may hold line breaks although the API calls the type "single-line text": it documents no
# refusal, and what other help desks export does hold them.
_TYPES: Mapping[str, tuple[Callable[[Any], bool], str]] = MappingProxyType(
    {
        "text": (lambda value: isinstance(value, str), "a string"),
        "number": (_is_number, "a number"),
        "checkbox": (lambda value: isinstance(value, bool), "true or false"),
        "dropdown": (lambda value: isinstance(value, str), "one of its options"),
        "date": (_is_date, "a date (YYYY-MM-DD) or an ISO 8601 date-time"),
        "user": (_is_email, "a user's e-mail address"),
    }
)


@attrs.frozen
class Field:
    """A field of an object type: its internal name, its type, and a dropdown's options.

    The types are those that API.md lists: text, number, checkbox, dropdown, date, user.
    Raises ValueError, in one line that says what to do, when the declaration makes no sense.
    """

    name: str
    type: str = "text"
    options: tuple[str, ...] = ()
    blank: bool = True
    """Whether a text may be empty or all spaces."""

    def __attrs_post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("a field needs a name: NAME=TYPE, such as csat=number")
        if self.name in SYSTEM_FIELDS:
            raise ValueError(f"{self.name} is a system field: declare another name")
        if self.type not in _TYPES:
            known = ", ".join(sorted(_TYPES))
            raise ValueError(f"{self.name}: unknown type {self.type!r}; use one of {known}")
        if self.type == "dropdown" and not (self.options and all(self.options)):
            raise ValueError(f"{self.name}: name the options: {self.name}=dropdown:low,high")
        if self.type != "dropdown" and self.options:
            raise ValueError(f"{self.name}: only a dropdown has options; write {self.type} alone")

    def accepts(self, value: Any) -> bool:
        """Say whether a value that is not null fits the field's type."""
        if self.options:
            return isinstance(value, str) and value in self.options
        return _TYPES[self.type][0](value) and (self.blank or bool(str(value).strip()))

    @property
    def expected(self) -> str:
        """Return what a value must be, to follow "must be" in a message."""
        if self.options:
            return f"one of {', '.join(self.options)}"
        return _TYPES[self.type][1] + ("" if self.blank else " that is not blank")


def parse_field(text: str) -> Field:
    """Return the field that `NAME=TYPE` or `NAME=dropdown:OPTION,OPTION` declares.

    Raises ValueError, in one line that says what to do.
    """
    name, equals, rest = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r}: write NAME=TYPE, such as csat=number")
    kind, colon, options = rest.partition(":")
    listed = tuple(option.strip() for option in options.split(",")) if colon else ()
    return Field(name.strip(), kind.strip(), listed)


@attrs.frozen(eq=False)
class ObjectType:
    """One of API.md's object types: what its records hold and what a create needs."""

    plural: str
    """The path segment."""
    fields: Mapping[str, Field]
    """Every field that can be written, by name."""
    defaults: tuple[str, ...]
    """What an answer holds beside ALWAYS when nothing more is asked for."""
    required: tuple[str, ...] = ()
    """All of these must be set on create."""
    needs_one: tuple[str, ...] = ()
    """At least one of these must be set on create."""
    natural_key: str | None = None
    """Unique among the account's active records, as external_id always is."""
    any_field: bool = False
    """Whether any other name is taken for a custom field that holds any JSON value."""

    def with_custom(self, custom: Iterable[Field], *, any_field: bool) -> "ObjectType":
        """Return the type as an account has it that has configured these custom fields.

        Raises ValueError for a name that the type, or an earlier field, already has.
        """
        fields = dict(self.fields)
        for field in custom:
            if field.name in fields:
                raise ValueError(f"{field.name} is already a field of {self.plural}: rename it")
            fields[field.name] = field
        return attrs.evolve(self, fields=MappingProxyType(fields), any_field=any_field)

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise Refused (400) for the first name or value that cannot be written."""
        for name, value in values.items():
            field = self.fields.get(name)
            if field is None:
                self._check_unknown(name)
            elif value is not None and not field.accepts(value):
                raise Refused(400, f"Field {name} must be {field.expected}, not {_shown(value)}")

    def check_required(self, values: Mapping[str, Any]) -> None:
        """Raise Refused (400) unless a create sets what the type needs."""
        missing = [name for name in self.required if values.get(name) is None]
        if missing:
            raise Refused(400, f"Required and missing or null: {', '.join(missing)}")
        if self.needs_one and all(values.get(name) is None for name in self.needs_one):
            raise Refused(400, f"At least one of {', '.join(self.needs_one)} is required")

    def knows(self, name: str) -> bool:
        """Say whether `properties` may ask for this name."""
        return name in self.fields or name in SYSTEM_FIELDS or (self.any_field and bool(name))

    def _check_unknown(self, name: str) -> None:
        if name in SYSTEM_FIELDS:
            raise Refused(400, f"Field {name} is set by the system and cannot be written")
        if not self.any_field:
            raise Refused(400, f"Unknown field: {_shown(name)}")
        if not name.strip():
            raise Refused(400, "A field name must not be blank")


def _shown(value: Any) -> str:
    """Return a value as an error message shows it: briefly."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _fields(*declared: Field) -> Mapping[str, Field]:
    # A blank external_id is refused, which is assumed: it would make the second such record a
    # duplicate of the first. To have none, it is left out or null.
    external_id = Field("external_id", blank=False)
    return MappingProxyType({field.name: field for field in (external_id, *declared)})


TICKETS = ObjectType(
    plural="tickets",
    fields=_fields(
        Field("ticket_name", blank=False),
        Field("pipeline", blank=False),
        Field("ticket_stage", blank=False),
        Field("ticket_owner", "user"),
    ),
    # ticket_stage is not in the seed's list of default properties, but in its example.
    defaults=("ticket_name", "pipeline", "ticket_stage", "ticket_owner"),
    required=("ticket_name", "ticket_stage", "pipeline"),
)

OBJECT_TYPES = (TICKETS,)
"""The object types that are served."""
