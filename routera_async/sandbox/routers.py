"""Routers: declared by the person who runs the sandbox, kept in the store, read by the API."""

import math
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from . import triggers
from .calls import Answer, Call, Window, iso
from .errors import Refused, SandboxError
from .fields import OBJECT_TYPES, ObjectType, is_email
from .store import Record, Store
from .tokens import Caller

MODELS = ("round robin", "percentage")
"""The distribution models that API.md names."""

_TYPE = "routers"  # what the store calls them, as it calls contacts "contacts"
_NAMES = uuid.UUID("5f5d9a52-3d0e-4c52-8d0a-0d1f6b1f4a3e")  # the namespace of ids made of names
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_OWNERS = {kind.plural: kind.owner for kind in OBJECT_TYPES}
_WHOLE = 100  # per cent


@attrs.frozen
class RouterUser:
    """Somebody to whom a router gives objects.

    `percentage` is the share that the model of that name gives. One who is not `available` is
    outside working hours, and passed over unless the router ignores these.
    """

    email: str
    percentage: float = 0
    available: bool = True

    def __attrs_post_init__(self) -> None:
        if not is_email(self.email):
            raise ValueError(f"a router's user is an e-mail address, not {self.email!r}")
        if not 0 <= self.percentage <= _WHOLE:
            raise ValueError(f"{self.email}: a percentage is from 0 to 100, not {self.percentage}")


@attrs.frozen(kw_only=True)
class RouterSettings:
    """A router's settings, by the names that the API gives them.

    Without an `owner_field` it is the object type's own, such as contact_owner.
    `account_matching` and `rotation_type` are shown and change nothing. Raises ValueError for a
    model, a backup user or a trigger that there cannot be.
    """

    overwrite: bool = False
    owner_field: str | None = None
    distribution_model: str = "round robin"
    default_user: str | None = None
    disable_default_assignment: bool = False
    ignore_working_hours: bool = False
    account_matching: bool = False
    rotation_type: str = ""
    trigger: Mapping[str, Any] = attrs.field(default=triggers.EVERYTHING, converter=dict)

    def __attrs_post_init__(self) -> None:
        if self.distribution_model not in MODELS:
            known = " or ".join(MODELS)
            raise ValueError(f"distribution_model is {known}, not {self.distribution_model!r}")
        if not (self.default_user is None or is_email(self.default_user)):
            raise ValueError(f"default_user is an e-mail address, not {self.default_user!r}")
        triggers.read(self.trigger)


def _settings(given: RouterSettings | Mapping[str, Any] | None) -> RouterSettings | None:
    return RouterSettings(**given) if isinstance(given, Mapping) else given


def _user(given: RouterUser | Mapping[str, Any] | str) -> RouterUser:
    if isinstance(given, str):
        return RouterUser(given)
    return given if isinstance(given, RouterUser) else RouterUser(**given)


def _users(given: Iterable[RouterUser | Mapping[str, Any] | str]) -> tuple[RouterUser, ...]:
    return tuple(_user(each) for each in given)


def _id(router: "Router") -> str:
    return str(uuid.uuid5(_NAMES, f"{router.object_type}/{router.name}"))


def _lower(text: str) -> str:
    return text.lower()


@attrs.frozen
class Router:
    """A router: which objects it is for, and to whom it gives them.

    `users` may be e-mail addresses; settings of None are none at all. `hubspot_error` is what its
    sync with HubSpot fails with, None when it does not. The id is made of name and object type, so
    that a declaration is the same router in every run. Raises ValueError for what cannot be.
    """

    name: str
    object_type: str
    """Such as "contacts"."""
    users: tuple[RouterUser, ...] = attrs.field(default=(), converter=_users)
    settings: RouterSettings | None = attrs.field(
        factory=RouterSettings, converter=_settings, kw_only=True
    )
    teams: tuple[str, ...] = attrs.field(default=(), converter=tuple, kw_only=True)
    is_published: bool = attrs.field(default=True, kw_only=True)
    has_integration: bool = attrs.field(default=False, kw_only=True)
    hubspot_error: str | None = attrs.field(default=None, kw_only=True)
    id: str = attrs.field(
        default=attrs.Factory(_id, takes_self=True), converter=_lower, kw_only=True
    )

    def __attrs_post_init__(self) -> None:
        if wrong := self._misdeclared() or self._misshared():
            raise ValueError(f"router {self.name}: {wrong}")

    @property
    def owner_field(self) -> str:
        """Return the name of the field that it writes."""
        return (self.settings and self.settings.owner_field) or _OWNERS[self.object_type]

    def _misdeclared(self) -> str | None:
        if not _UUID.fullmatch(self.id):
            return f"its id is a UUID, not {self.id!r}"
        if self.object_type not in _OWNERS:
            return f"its object_type is one of {', '.join(_OWNERS)}, not {self.object_type!r}"
        if self.hubspot_error is not None and not self.has_integration:
            return "hubspot_error needs has_integration=True"
        return None

    def _misshared(self) -> str | None:
        if not self.users or not self.settings or self.settings.distribution_model != "percentage":
            return None
        total = math.fsum(user.percentage for user in self.users)
        if math.isclose(total, _WHOLE):
            return None
        return f"the percentages of its users are {total:g} together, not 100"

    def check(self, kind: ObjectType) -> None:
        """Raise ValueError unless it writes a field of the object type that can hold a user."""
        field = kind.fields.get(self.owner_field)
        if field.type != "user" if field else not kind.any_field:
            wrong = f"{kind.plural} has no user field {self.owner_field}"
            raise ValueError(f"router {self.name}: {wrong}")

    def record(self, now: str) -> Record:
        """Return what the store keeps of it."""
        fields = attrs.asdict(self)
        return Record(fields.pop("id"), now, now, None, None, fields)

    @classmethod
    def of(cls, record: Record) -> "Router":
        """Return the router that the store has kept."""
        return cls(id=record.id, **record.fields)


class Routers:
    """The routers of every account, over the store, as the API lets them be read."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def put(self, account: str, router: Router) -> None:
        """Keep a router, in the place of the account's own of that id if there is one."""
        if not self._store.put(account, _TYPE, router.record(iso(self._clock()))):
            raise SandboxError(f"router {router.name}: its id is another account's; give it an id")

    def find(self, account: str, router_id: str) -> Router | None:
        """Return the account's router of this id unless it is archived."""
        record = self._store.fetch(account, _TYPE, router_id.lower())
        return None if record is None or record.archived_at else Router.of(record)

    def archive(self, account: str, router_id: str, *, by: str) -> bool:
        """Archive a router; return False when the account has no such one."""
        return self._store.archive(account, _TYPE, router_id.lower(), at=iso(self._clock()), by=by)

    def get(self, caller: Caller, _: Call, router_id: str) -> Answer:
        """Answer GET /routers/{id}."""
        if not _UUID.fullmatch(router_id):
            raise Refused(400, f'A router\'s id is a UUID, not "{router_id}"')
        record = self._store.fetch(caller.account_id, _TYPE, router_id.lower())
        if record is None:
            raise Refused(404, f"No router has the id {router_id}")
        return Answer.json(200, _flat(record))

    def list(self, caller: Caller, call: Call, _: str) -> Answer:
        """Answer GET /routers."""
        window = Window.of(call.parameters())
        return window.answer(self._store, caller.account_id, _TYPE, _flat)


def _flat(record: Record) -> dict[str, Any]:
    """Return a router as the API shows it (API.md, "Routers")."""
    router = Router.of(record)
    settings = router.settings and attrs.asdict(router.settings)
    flat = {
        "id": record.id,
        "name": router.name,
        "object_type": router.object_type,
        "has_integration": router.has_integration,
        "is_published": router.is_published,
        "settings": settings and settings | {"owner_field": router.owner_field},
        "users": [{"email": user.email} for user in router.users],
        "teams": [{"name": name} for name in router.teams],
        "archived": record.archived_at or False,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }
    return flat | ({"archived_by": record.archived_by} if record.archived_at else {})
