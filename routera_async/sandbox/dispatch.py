"""Dispatch: a router runs on an object, and the object is a user's from then on.

API.md gives the answers. The order in which the conditions are looked at is assumed, and so is how
a user is chosen: the one who is furthest behind the share of the router's objects that is due.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import attrs

from .calls import Answer, Call, iso
from .errors import Refused
from .fields import ObjectType
from .routers import Router, Routers, RouterSettings, RouterUser
from .store import Record, Store
from .tokens import Caller
from .triggers import matches


@attrs.frozen
class Account:
    """An account that exists; one that is not active dispatches nothing.

    `assignment_limit` is how many objects its routers may assign in all; None is any number.
    """

    id: str
    active: bool = True
    assignment_limit: int | None = None


class _NotAssigned(Exception):  # noqa: N818  an answer of its own, with 200
    """A documented reason why nobody was assigned."""


class Dispatch:
    """Runs routers on objects. Without `accounts`, every account exists and has no limit."""

    def __init__(
        self,
        *,
        store: Store,
        routers: Routers,
        object_types: Iterable[ObjectType],
        accounts: Iterable[Account],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._routers = routers
        self._kinds = {kind.plural: kind for kind in object_types}
        self._accounts = {account.id: account for account in accounts}
        self._clock = clock

    def run(self, caller: Caller, call: Call, _: str) -> Answer:
        """Answer POST /dispatch/router."""
        body = call.json()
        router_id, object_id = _text(body, "router_id"), _text(body, "object_id")
        try:
            answer = self._assign(caller.account_id, router_id, object_id)
        except _NotAssigned as reason:
            answer = {"message": str(reason)}
        return Answer.json(200, answer)

    def _assign(self, account_id: str, router_id: str, object_id: str) -> dict[str, Any]:
        account = self._account(account_id)
        router = self._routers.find(account_id, router_id)
        if router is None:
            raise _NotAssigned("Router not found")
        record = self._store.fetch(account_id, router.object_type, object_id)
        if record is None or record.archived_at:
            raise _NotAssigned("Object not found")
        settings = _settings(router, record)
        limit = account.assignment_limit
        if limit is not None and self._store.assignments(account_id) >= limit:
            raise _NotAssigned("Assignment limit reached")
        user = _user(router, settings, self._store.assigned(account_id, router.id))
        return self._give(account_id, router, record, user)

    def _account(self, account_id: str) -> Account:
        account = self._accounts.get(account_id) if self._accounts else Account(account_id)
        if account is None:
            raise _NotAssigned("Account not found")
        if not account.active:
            raise _NotAssigned("Account is not active")
        return account

    def _give(self, account_id: str, router: Router, record: Record, user: str) -> dict[str, Any]:
        """Commit the assignment, and return the answer to it."""
        now = self._clock()
        fields = record.fields | {router.owner_field: user}
        given = attrs.evolve(record, updated_at=iso(now), fields=fields)
        kind = self._kinds[router.object_type]
        key = kind.key(fields)
        self._store.assign(account_id, kind.plural, given, key, router=router.id, user=user)
        failed = router.hubspot_error
        return {
            "message": "The object was successfully assigned",
            "success": True,
            "user": user,
            "field_name": router.owner_field,
            "owner_assigned_at": format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True),
        } | ({} if failed is None else {"hubspot_sync_failed": True, "hubspot_error": failed})


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Refused(400, f"{name} is missing: give a string that is not blank")
    return value


def _settings(router: Router, record: Record) -> RouterSettings:
    """Return the settings of a router that may assign a record."""
    if not router.is_published:
        raise _NotAssigned("The router is unpublished")
    if router.settings is None:
        raise _NotAssigned("The router has no settings")
    if not matches(router.settings.trigger, record.flat()):
        raise _NotAssigned("Trigger did not match")
    if record.fields.get(router.owner_field) and not router.settings.overwrite:
        raise _NotAssigned("The router can not overwrite")
    return router.settings


def _user(router: Router, settings: RouterSettings, assigned: Mapping[str, int]) -> str:
    """Return whose turn it is, or else the backup user."""
    users = [user for user in router.users if _share(user, settings)]
    if users:
        turn = min(users, key=lambda user: _after(user, assigned) / _share(user, settings))
        return turn.email
    if settings.default_user is None or settings.disable_default_assignment:
        raise _NotAssigned("There are no users available and the backup user is disabled")
    return settings.default_user


def _after(user: RouterUser, assigned: Mapping[str, int]) -> int:
    return assigned.get(user.email, 0) + 1


def _share(user: RouterUser, settings: RouterSettings) -> float:
    """Return the weight of a user in the choice: 0 for one who is not to be chosen."""
    if not (user.available or settings.ignore_working_hours):
        return 0
    return user.percentage if settings.distribution_model == "percentage" else 1
