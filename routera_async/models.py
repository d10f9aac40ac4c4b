"""The records of the API: what it returns, and what is written to it.

Field names are the API's own (API.md, "Objects"). Models know nothing of JSON: `_codec` does.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

import attrs

SYSTEM_FIELDS = frozenset({"id", "created_at", "updated_at", "archived", "archived_by"})
"""Set by the server alone; writing one is answered with 400."""


@attrs.frozen(kw_only=True)
class Record:
    """What every object that the API returns has.

    `archived` is False when active and an aware datetime when archived; the API's own sample also
    shows a bare true, which stays True. `custom` holds every key that the model does not declare.
    """

    id: str
    external_id: str | None = None
    created_at: datetime
    updated_at: datetime
    archived: bool | datetime = False
    archived_by: str | None = None
    custom: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class Ticket(Record):
    """A ticket as the API returns it."""

    ticket_name: str | None = None
    pipeline: str | None = None
    ticket_stage: str | None = None
    ticket_owner: str | None = None


@attrs.frozen(kw_only=True)
class New:
    """What every object to be created may have.

    `external_id` makes the create safe to repeat: the server keeps it unique among active
    records. `custom` holds the account's own fields; a None in it is sent as null, while any other
    attribute that is None is left out.
    """

    external_id: str | None = None
    custom: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class NewTicket(New):
    """A ticket to create; the three without a default are required by the API."""

    ticket_name: str
    pipeline: str
    ticket_stage: str
    ticket_owner: str | None = None


T_co = TypeVar("T_co", covariant=True)


@attrs.frozen
class Page(Generic[T_co]):
    """One page of a list: its records, and where it lay in the whole."""

    records: tuple[T_co, ...]
    limit: int
    offset: int
