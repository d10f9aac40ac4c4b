"""Routers, and the dispatch that runs one on an object (API.md, "Routers" and "Dispatch").

Loaded by the first client that is asked for either.
"""

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import attrs

from ._answers import listing, read
from ._codec import encode_json
from ._listing import LARGEST_PAGE, Listing
from ._session import Session
from ._shapes import from_flat
from .models import Stored
from .retries import Repeat


@attrs.frozen(kw_only=True)
class RouterSettings:
    """How a router assigns; undeclared keys stand in `custom`.

    `distribution_model` is "round robin" or "percentage"; `owner_field` is the internal name of the
    field that a dispatch sets; `trigger` is the router's condition, as JSON.
    """

    overwrite: bool | None = None
    owner_field: str | None = None
    distribution_model: str | None = None
    default_user: str | None = None
    disable_default_assignment: bool | None = None
    ignore_working_hours: bool | None = None
    account_matching: bool | None = None
    rotation_type: str | None = None
    trigger: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    custom: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class RouterUser:
    """A user among whom a router assigns."""

    email: str | None = None
    custom: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class RouterTeam:
    """A team among whom a router assigns."""

    name: str | None = None
    custom: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class Router(Stored):
    """A router: a rule by which objects of one type are assigned to users; read-only."""

    name: str | None = None
    object_type: str | None = None
    has_integration: bool | None = None
    is_published: bool | None = None
    settings: RouterSettings | None = None
    users: tuple[RouterUser, ...] = ()
    teams: tuple[RouterTeam, ...] = ()


@attrs.frozen(kw_only=True)
class DispatchResult:
    """What came of running a router on an object.

    `assigned` is True when `user` became the object's owner, in the field `field_name`; otherwise
    `message` alone says why not. `hubspot_sync_failed` is True when the assignment held and its
    sync to HubSpot did not; then `hubspot_error` says why.
    """

    message: str
    success: bool = False
    user: str | None = None
    field_name: str | None = None
    owner_assigned_at: datetime | None = None
    hubspot_sync_failed: bool = False
    hubspot_error: Any = attrs.field(default=None, hash=False)
    custom: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @property
    def assigned(self) -> bool:
        """Whether the object has a new owner."""
        return self.success


class Routers:
    """The account's routers, which can only be read."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, id: str) -> Router:  # noqa: A002 (the API's)
        """Return a router by its id, a UUID; raises `NotFoundError` when there is none."""
        answer = await self._session.request("GET", ("routers", id), repeat=Repeat.SAFE)
        return read(answer, lambda flat: from_flat(flat, Router))

    def list(self, *, archived: bool = False, page_size: int = LARGEST_PAGE) -> Listing[Router]:
        """Return all routers, to be iterated over; archived ones too when `archived`.

        `page_size` is in routers, 1 to 100; raises `ConfigurationError` for another.
        """
        return listing(self._session, "routers", Router, {}, archived=archived, size=page_size)


async def dispatch(session: Session, router_id: str, object_id: str) -> DispatchResult:
    """Run a router on an object."""
    answer = await session.request(
        "POST",
        ("dispatch", "router"),
        body=encode_json({"router_id": router_id, "object_id": object_id}),
        repeat=Repeat.SAFE if session.options.retry.resend_dispatch else Repeat.RISKY,
    )
    return read(answer, dispatched)


def dispatched(answer: Any) -> DispatchResult:
    """Return what a dispatch's answer says; its time is an RFC 2822 date (API.md, "Dispatch").

    One that is no time makes no error of a dispatch that was done: it stands in `custom` as it is.
    """
    told = answer.get("owner_assigned_at") if isinstance(answer, dict) else None
    if told is None:
        return from_flat(answer, DispatchResult)
    when = _told_time(told)
    result = from_flat({**answer, "owner_assigned_at": when}, DispatchResult)
    if when is None:
        result = attrs.evolve(result, custom={**result.custom, "owner_assigned_at": told})
    return result


def _told_time(text: Any) -> str | None:
    """Return a time in ISO 8601 that is told in this or as RFC 2822 does; None when it is none."""
    if not isinstance(text, str):
        return None
    for reader in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return reader(text).isoformat()
        except (ValueError, OverflowError):
            pass
    return None
