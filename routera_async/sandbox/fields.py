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

PLURALS = ("contacts", "companies", "deals", "tickets")
"""The internal names of the object types, which are their path segments too."""

EMAIL = r"[^@\s\x00-\x20\x7f-\xa0]+@[^@\s\x00-\x20\x7f-\xa0]+"
"""What an e-mail address must match: one @, and neither spaces nor control characters."""

_EMAIL = re.compile(EMAIL)
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}.*)?")
_SHOWN = 60  # characters of a name or a value in a message: enough to find it in the input


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_email(value: Any) -> bool:
    """Return whether a value is a text that could be an e-mail address."""
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


CONFIGURABLE = ("checkbox", "date", "dropdown", "number", "text", "user")
"""The types that an account may give to its own fields (API.md, "Rules for every object")."""

# A text may hold line breaks although the API calls the type "single-line text": it documents no
# refusal, and what other help desks export does hold them.
_TYPES: Mapping[str, tuple[Callable[[Any], bool], str]] = MappingProxyType(
    {
        "text": (lambda value: isinstance(value, str), "a string"),
        "number": (_is_number, "a number"),
        "checkbox": (lambda value: isinstance(value, bool), "true or false"),
        "dropdown": (lambda value: isinstance(value, str), "one of its options"),
        "date": (_is_date, "a date (YYYY-MM-DD) or an ISO 8601 date-time"),
        "user": (is_email, "a user's e-mail address"),
        "email": (is_email, "an e-mail address"),  # a contact's own; no account can configure it
    }
)


@attrs.frozen
class Field:
    """A field of an object type: its internal name, its type, and a dropdown's options.

    The types are those of the API: text, number, checkbox, dropdown, date, user. A field
    is of every object type, unless `object_type` names the one that has it, such as "tickets".
    Raises ValueError, in one line that says what to do, when the declaration makes no sense.
    """

    name: str
    type: str = "text"
    options: tuple[str, ...] = ()
    blank: bool = True
    """Whether a text may be empty or all spaces."""
    object_type: str | None = None

    def __attrs_post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("a field needs a name: NAME=TYPE, such as csat=number")
        if self.name in SYSTEM_FIELDS:
            raise ValueError(f"{self.name} is a system field: declare another name")
        if self.type not in _TYPES:
            raise ValueError(_unknown_type(self))
        if self.type == "dropdown" and not (self.options and all(self.options)):
            raise ValueError(f"{self.name}: name the options: {self.name}=dropdown:low,high")
        if self.type != "dropdown" and self.options:
            raise ValueError(f"{self.name}: only a dropdown has options; write {self.type} alone")
        if self.object_type not in {None, *PLURALS}:
            known = ", ".join(PLURALS)
            raise ValueError(f"{self.object_type} is no object type; use one of {known}")

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

    A name such as `tickets.csat` declares it for that object type only.
    Raises ValueError, in one line that says what to do.
    """
    name, equals, rest = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r}: write NAME=TYPE, such as csat=number")
    kind, colon, options = rest.partition(":")
    listed = tuple(option.strip() for option in options.split(",")) if colon else ()
    object_type, dot, own = name.strip().partition(".")
    if not dot:
        return Field(object_type, kind.strip(), listed)
    return Field(own, kind.strip(), listed, object_type=object_type)


@attrs.frozen(eq=False)
class ObjectType:
    """One of API.md's object types: what its records hold and what a create needs."""

    plural: str
    """The path segment."""
    singular: str
    """What one record is called."""
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

        Those of another object type are left out. Raises ValueError for a name that the type, or
        an earlier field, already has.
        """
        fields = dict(self.fields)
        for field in custom:
            if field.object_type not in {None, self.plural}:
                continue
            if field.type not in CONFIGURABLE:
                raise ValueError(_unknown_type(field))
            if field.name in fields:
                raise ValueError(
                    f"{field.name} is already a field of {self.plural}: rename it,"
                    f" or name the object type that it is for: TYPE.{field.name}"
                )
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
        """Raise Refused (400) unless a record of these values has what the type needs."""
        missing = [name for name in self.required if values.get(name) is None]
        if missing:
            raise Refused(400, f"Required and missing or null: {', '.join(missing)}")
        # That a blank text does not count is assumed: a ticket's required fields refuse one.
        needed = [values.get(name) or "" for name in self.needs_one]
        if needed and not any(value.strip() for value in needed):
            raise Refused(400, f"At least one of {', '.join(self.needs_one)} is required")

    def key(self, fields: Mapping[str, Any]) -> str | None:
        """Return the natural key of a record of these fields, or None."""
        return fields.get(self.natural_key) if self.natural_key else None

    @property
    def owner(self) -> str:
        """Return the name of the field that holds the assigned owner."""
        return f"{self.singular}_owner"

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


def _unknown_type(field: Field) -> str:
    known = ", ".join(CONFIGURABLE)
    return f"{field.name}: unknown type {field.type!r}; use one of {known}"


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


# Which type each standard field has is assumed, but for the owners' ("the assigned owner's
# e-mail"). Natural keys are compared as they are written: nothing is said of case or slashes.
CONTACTS = ObjectType(
    plural="contacts",
    singular="contact",
    fields=_fields(
        Field("first_name"),
        Field("last_name"),
        Field("email", "email"),
        Field("contact_owner", "user"),
    ),
    defaults=("first_name", "last_name", "email", "contact_owner"),
    needs_one=("email", "first_name", "last_name"),
    natural_key="email",
)

COMPANIES = ObjectType(
    plural="companies",
    singular="company",
    fields=_fields(
        Field("company_name"),
        Field("website_url", blank=False),  # as external_id: two blank ones would be duplicates
        Field("description"),
        Field("industry"),
        Field("company_owner", "user"),
    ),
    defaults=("company_name", "description", "industry", "company_owner"),
    needs_one=("company_name", "website_url"),
    natural_key="website_url",
)

DEALS = ObjectType(
    plural="deals",
    singular="deal",
    fields=_fields(
        Field("deal_name", blank=False),
        Field("pipeline", blank=False),
        Field("deal_stage", blank=False),
        Field("deal_owner", "user"),
    ),
    defaults=("deal_name", "pipeline", "deal_stage", "deal_owner"),
    required=("deal_name", "deal_stage", "pipeline"),
)

TICKETS = ObjectType(
    plural="tickets",
    singular="ticket",
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

OBJECT_TYPES = (CONTACTS, COMPANIES, DEALS, TICKETS)
"""The object types that are served."""
