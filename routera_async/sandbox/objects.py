"""The routes of one object type: what each does with its records."""

import uuid
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import attrs

from .calls import Answer, Call, Parameters, Window, iso
from .errors import Duplicate, Refused
from .fields import ALWAYS, ObjectType
from .store import Record, Store
from .tokens import Caller


class Objects:
    """The records of one object type, as the API lets them be written and read.

    With `echo`, the answer to a write holds what was written, and a create's what `properties` asks
    for; without it, that to a create holds the default properties alone.
    """

    def __init__(
        self, kind: ObjectType, store: Store, clock: Callable[[], float], *, echo: bool
    ) -> None:
        self._kind = kind
        self._store = store
        self._clock = clock
        self._echo = echo

    def create(self, caller: Caller, call: Call, _: str) -> Answer:
        """Answer POST /{plural}."""
        kind = self._kind
        # API.md gives a create no query. That `properties` is taken as elsewhere is assumed, and so
        # is that the fields that were written are added to the default ones, which the seed gives:
        # whoever creates a record looks for what was just written.
        asked = self._properties(call.parameters()) if self._echo else self._always
        values = _fields(call)
        kind.check(values)
        kind.check_required(values)
        fields = dict.fromkeys(kind.defaults) | values
        now = iso(self._clock())
        record = Record(str(uuid.uuid4()), now, now, None, None, fields)
        try:
            self._store.create(caller.account_id, kind.plural, record, kind.key(fields))
        except Duplicate as duplicate:
            raise self._conflict(duplicate, fields) from None
        return Answer.json(201, _shown(record, self._written(asked, values)))

    def get(self, caller: Caller, call: Call, record_id: str) -> Answer:
        """Answer GET /{plural}/{id}."""
        _check_id(record_id)
        names = self._properties(call.parameters())
        return Answer.json(200, _shown(self._fetch(caller, record_id), names))

    def list(self, caller: Caller, call: Call, _: str) -> Answer:
        """Answer GET /{plural}."""
        parameters = call.parameters()
        names = self._properties(parameters)
        window = Window.of(parameters)
        plural, show = self._kind.plural, partial(_shown, names=names)
        return window.answer(self._store, caller.account_id, plural, show)

    def update(self, caller: Caller, call: Call, record_id: str) -> Answer:
        """Answer PATCH /{plural}/{id}: the fields that are written change, null clears.

        404 for an archived record is assumed, and so is what no fields at all do: nothing.
        """
        _check_id(record_id)
        names = self._properties(call.parameters())
        values = _fields(call)
        self._kind.check(values)
        record = self._fetch(caller, record_id)
        if record.archived_at:
            raise self._unknown(record_id)
        if values:
            record = self._changed(caller, record, values)
        return Answer.json(200, _shown(record, self._written(names, values)))

    def archive(self, caller: Caller, _: Call, record_id: str) -> Answer:
        """Answer DELETE /{plural}/{id}."""
        _check_id(record_id)
        account, plural = caller.account_id, self._kind.plural
        now = iso(self._clock())
        if not self._store.archive(account, plural, record_id, at=now, by=caller.client_id):
            raise self._unknown(record_id)
        return Answer.json(200, _shown(self._fetch(caller, record_id), self._always))

    @property
    def _always(self) -> tuple[str, ...]:
        return (*ALWAYS, *self._kind.defaults)

    def _written(self, asked: tuple[str, ...], values: Iterable[str]) -> tuple[str, ...]:
        """Return the names that the answer to a write shows."""
        return (*asked, *values) if self._echo else asked

    def _fetch(self, caller: Caller, record_id: str) -> Record:
        """Return a record, archived or not; Refused (404) when there is no such one."""
        record = self._store.fetch(caller.account_id, self._kind.plural, record_id)
        if record is None:
            raise self._unknown(record_id)
        return record

    def _changed(self, caller: Caller, record: Record, values: dict[str, Any]) -> Record:
        """Commit these values of a record, and return it as it is now."""
        fields = record.fields | values
        self._kind.check_required(fields)
        changed = attrs.evolve(record, updated_at=iso(self._clock()), fields=fields)
        key = self._kind.key(fields)
        try:
            self._store.update(caller.account_id, self._kind.plural, changed, key)
        except Duplicate as duplicate:
            raise self._conflict(duplicate, fields) from None
        return changed

    def _properties(self, parameters: Parameters) -> tuple[str, ...]:
        """Return the names of the default properties and of those asked for."""
        names = parameters.names("properties")
        for name in names:
            if not self._kind.knows(name):
                raise Refused(400, f'properties: unknown property "{name}"')
        return (*self._always, *names)

    def _unknown(self, record_id: str) -> Refused:
        return Refused(404, f"No record of {self._kind.plural} has the id {record_id}")

    def _conflict(self, duplicate: Duplicate, fields: dict[str, Any]) -> Refused:
        kind = self._kind
        name = kind.natural_key if duplicate.column == "natural_key" else "external_id"
        held = f'the {name} "{fields[str(name)]}"'
        return Refused(409, f"Duplicate: an active record of {kind.plural} has {held}")


def _check_id(record_id: str) -> None:
    if not record_id:
        raise Refused(400, "The id is missing from the path")


def _fields(call: Call) -> dict[str, Any]:
    """Return the `fields` of a write's body; Refused (400) when it is not such a body."""
    body = call.json()
    fields = body.get("fields")
    if not isinstance(fields, dict):
        wrong = "must be an object" if "fields" in body else "is missing"
        raise Refused(400, f'fields {wrong}: write {{"fields": {{internal_name: value}}}}')
    return fields


def _shown(record: Record, names: Iterable[str]) -> dict[str, Any]:
    """Return the flat object with the properties of these names, null where it has none."""
    flat = record.flat()
    shown = {name: flat.get(name) for name in names}
    if record.archived_at:  # API.md: then archived_by is present too
        shown["archived_by"] = record.archived_by
    return shown
