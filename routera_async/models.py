"""The records of the API: what it returns, and what is written to it.

Field names are the API's own (API.md, "Objects"). Models know nothing of JSON: `_codec` does.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

import attrs

SYSTEM_FIELDS = frozenset({"id", "created_at", "updated_at", "archived", "archived_by"})
"""Set by the server alone; writing one is answered with 400."""


@attrs.frozen(kw_only=True)
class Stored:
    """What everything that the API returns has.

    `archived` is False when active and an aware datetime when archived; the API's own sample also
    shows a bare true, which stays True. `custom` holds every key that the model does not declare.
    """

    id: str
    created_at: datetime
    updated_at: datetime
    archived: bool | datetime = False
    archived_by: str | None = None
    custom: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class Record(Stored):
    """What every object that can be created has beside that.

    A subclass of a ticket, contact, company or deal may declare the account's own fields as typed
    attributes; `RouteraClient.objects` reads them.
    """

    external_id: str | None = None


@attrs.frozen(kw_only=True)
class Ticket(Record):
    """A ticket as the API returns it."""

    ticket_name: str | None = None
    pipeline: str | None = None
    ticket_stage: str | None = None
    ticket_owner: str | None = None


@attrs.frozen(kw_only=True)
class Contact(Record):
    """A contact as the API returns it."""

    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    contact_owner: str | None = None


@attrs.frozen(kw_only=True)
class Company(Record):
    """A company as the API returns it; its `website_url` stands in `custom`, when asked for."""

    company_name: str | None = None
    description: str | None = None
    industry: str | None = None
    company_owner: str | None = None


@attrs.frozen(kw_only=True)
class Deal(Record):
    """A deal as the API returns it."""

    deal_name: str | None = None
    pipeline: str | None = None
    deal_stage: str | None = None
    deal_owner: str | None = None


@attrs.frozen(kw_only=True)
class New:
    """What every object to be created may have.

    `external_id` makes the create safe to repeat: the server keeps it unique among active
    records. `custom` holds the account's own fields; a None in it is sent as null, while any other
    attribute that is None is left out. A subclass may declare the account's own fields as typed
    attributes.
    """

    needs_one: ClassVar[tuple[str, ...]] = ()
    """At least one of these must be set."""
    unique: ClassVar[tuple[str, ...]] = ("external_id",)
    """What the server keeps unique among active records, so that a repeat creates nothing."""

    external_id: str | None = None
    custom: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class NewTicket(New):
    """A ticket to create; the three without a default are required by the API."""

    ticket_name: str
    pipeline: str
    ticket_stage: str
    ticket_owner: str | None = None


@attrs.frozen(kw_only=True)
class NewContact(New):
    """A contact to create: at least one of email, first_name and last_name is required.

    Its email is unique among active contacts, so it makes the create safe to repeat as well.
    """

    needs_one: ClassVar[tuple[str, ...]] = ("email", "first_name", "last_name")
    unique: ClassVar[tuple[str, ...]] = ("external_id", "email")

    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    contact_owner: str | None = None


@attrs.frozen(kw_only=True)
class NewCompany(New):
    """A company to create: at least one of company_name and website_url is required.

    Its website_url is unique among active companies, so it makes the create safe to repeat as well.
    """

    needs_one: ClassVar[tuple[str, ...]] = ("company_name", "website_url")
    unique: ClassVar[tuple[str, ...]] = ("external_id", "website_url")

    company_name: str | None = None
    website_url: str | None = None
    description: str | None = None
    industry: str | None = None
    company_owner: str | None = None


@attrs.frozen(kw_only=True)
class NewDeal(New):
    """A deal to create; the three without a default are required (assumed from the ticket's)."""

    deal_name: str
    pipeline: str
    deal_stage: str
    deal_owner: str | None = None


T_co = TypeVar("T_co", covariant=True)


@attrs.frozen
class Page(Generic[T_co]):
    """One page of a list: its records, and the limit and offset that were asked for."""

    records: tuple[T_co, ...]
    limit: int
    offset: int
