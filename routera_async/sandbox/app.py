"""The API: what each route answers. From a call to an answer in one step, without awaiting.

Nothing here knows of sockets: `server.py` reads the call and writes the answer.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self
from urllib.parse import parse_qsl

import attrs

from .errors import Duplicate, Refused
from .fields import ALWAYS, ObjectType
from .store import Record, Store
from .tokens import Caller, Credentials, Tokens
from .wire import decode, encode

ACCOUNT = "sandbox"
"""The account that the credentials, and a token unless told otherwise, belong to."""

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
"""API.md: "limit default 10, at most 100"; of its two lower bounds, 10 and 1, the wider."""

_MAX_OFFSET = 2**63 - 1  # what SQLite can count to
_JSON = {"Content-Type": "application/json"}
_log = logging.getLogger("routera_async.sandbox")


@attrs.define
class Call:
    """A request: the path percent-decoded, the query as sent, the body once it is read."""

    method: str
    path: str
    query: str
    authorization: str
    body: bytes = b""


def _typed(headers: Mapping[str, str]) -> dict[str, str]:
    return {**_JSON, **headers}


@attrs.frozen
class Answer:
    """A status, a body and its headers, which say that it is JSON unless told otherwise."""

    status: int
    body: bytes
    headers: Mapping[str, str] = attrs.field(factory=dict, converter=_typed)

    @classmethod
    def of(cls, refused: Refused) -> Self:
        """Return the error answer that a refusal stands for."""
        headers = {"Allow": refused.allow} if refused.allow else {}
        return cls(refused.status, encode(refused.body), headers)


Handler = Callable[[Call, str], Answer]
"""Answers a call; the text is the id in the path, or empty for a route without one."""

Member = Callable[[Caller, Call, str], Answer]
"""The same for a caller whose account is known."""


class Api:
    """Every route of API.md that is served, over one store."""

    def __init__(
        self,
        *,
        store: Store,
        tokens: Tokens,
        credentials: Credentials,
        object_types: Iterable[ObjectType],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._credentials = credentials
        self._clock = clock
        self._paths: dict[str, dict[str, Handler]] = {"/oauth2/token": {"POST": self._token}}
        self._parents: dict[str, dict[str, Handler]] = {}
        for kind in object_types:
            self._serve(kind)

    def answer(self, call: Call) -> Answer:
        """Return the answer to a call: by then everything that it says is committed."""
        try:
            handler, record_id = self._route(call)
            return handler(call, record_id)
        except Refused as refused:
            return Answer.of(refused)
        except Exception:  # noqa: BLE001  whatever it is, the client gets the documented 500
            _log.exception("%s %s failed in the sandbox itself", call.method, call.path)
            return Answer.of(Refused(500, "Internal server error"))

    def _serve(self, kind: ObjectType) -> None:
        """Add an object type's routes."""
        self._paths[f"/{kind.plural}"] = {
            "POST": self._known(partial(self._create, kind)),
            "GET": self._known(partial(self._list, kind)),
        }
        self._parents[f"/{kind.plural}"] = {"GET": self._known(partial(self._get, kind))}

    def _known(self, handler: Member) -> Handler:
        """Return the handler for callers with an account context only: 401 for the rest."""

        def handle(call: Call, record_id: str) -> Answer:
            return handler(self._tokens.caller(call.authorization), call, record_id)

        return handle

    def _route(self, call: Call) -> tuple[Handler, str]:
        methods, record_id = self._paths.get(call.path), ""
        if methods is None:
            parent, _, record_id = call.path.rpartition("/")
            methods = self._parents.get(parent)
        if methods is None:
            raise Refused(404, f"Unknown route: {call.path}")
        if call.method not in methods:
            allow = ", ".join(methods)
            message = f"{call.method} is not allowed on {call.path}; use {allow}"
            raise Refused(405, message, allow=allow)
        return methods[call.method], record_id

    def _token(self, call: Call, _: str) -> Answer:
        self._credentials.check(call.body, call.authorization)
        client_id, ttl = self._credentials.client_id, self._tokens.ttl
        token = self._tokens.mint(account_id=ACCOUNT, client_id=client_id, ttl=ttl)
        body = {"access_token": token, "expires_in": int(ttl), "token_type": "Bearer"}
        return Answer(200, encode(body))

    def _create(self, kind: ObjectType, caller: Caller, call: Call, _: str) -> Answer:
        values = _fields(call.body)
        kind.check(values)
        kind.check_required(values)
        fields = dict.fromkeys(kind.defaults) | values
        now = _iso(self._clock())
        record = Record(str(uuid.uuid4()), now, now, None, None, fields)
        natural_key = kind.natural_key and fields.get(kind.natural_key)
        try:
            self._store.create(caller.account_id, kind.plural, record, natural_key)
        except Duplicate as duplicate:
            raise _conflict(kind, duplicate, fields) from None
        # The seed gives the default properties. The custom fields that were written are added,
        # which is assumed: whoever creates a record looks for what was just written.
        return Answer(201, encode(record.flat()))

    def _get(self, kind: ObjectType, caller: Caller, call: Call, record_id: str) -> Answer:
        if not record_id:
            raise Refused(400, "The id is missing from the path")
        names = _properties(kind, _query(call))
        record = self._store.fetch(caller.account_id, kind.plural, record_id)
        if record is None:
            raise Refused(404, f"No record of {kind.plural} has the id {record_id}")
        return Answer(200, encode(_shown(record, names)))

    def _list(self, kind: ObjectType, caller: Caller, call: Call, _: str) -> Answer:
        query = _query(call)
        names = _properties(kind, query)
        limit = _integer(query, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
        offset = _integer(query, "offset", 0, 0, _MAX_OFFSET)
        records, count = self._store.page(
            caller.account_id,
            kind.plural,
            archived=_flag(query, "archived"),
            limit=limit,
            offset=offset,
        )
        data = [_shown(record, names) for record in records]
        # What `count` counts is not documented; here it is all that match.
        pagination = {"limit": limit, "offset": offset, "count": count}
        return Answer(200, encode({"data": data, "pagination": pagination}))


def _fields(body: bytes) -> dict[str, Any]:
    """Return the `fields` of a write's body; Refused (400) when it is not such a body."""
    try:
        value = decode(body)
    except ValueError as error:
        raise Refused(400, f"Invalid JSON body: {error}") from None
    if not isinstance(value, dict):
        raise Refused(400, 'The body must be a JSON object: {"fields": {...}}')
    fields = value.get("fields")
    if not isinstance(fields, dict):
        wrong = "must be an object" if "fields" in value else "is missing"
        raise Refused(400, f'fields {wrong}: write {{"fields": {{internal_name: value}}}}')
    return fields


def _conflict(kind: ObjectType, duplicate: Duplicate, fields: dict[str, Any]) -> Refused:
    name = kind.natural_key if duplicate.column == "natural_key" else "external_id"
    return Refused(
        409, f'Duplicate: an active record of {kind.plural} has the {name} "{fields[str(name)]}"'
    )


def _shown(record: Record, names: Iterable[str]) -> dict[str, Any]:
    """Return the flat object with the properties of these names, null where it has none."""
    flat = record.flat()
    shown = {name: flat.get(name) for name in names}
    if record.archived_at:  # API.md: then archived_by is present too
        shown["archived_by"] = record.archived_by
    return shown


def _query(call: Call) -> dict[str, str]:
    """Return the query's parameters, the last where one is repeated; unknown ones are ignored."""
    return dict(parse_qsl(call.query, keep_blank_values=True))


def _properties(kind: ObjectType, query: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the default properties and of those asked for."""
    asked = query.get("properties", "")
    names = [name.strip() for name in asked.split(",")] if asked else []
    for name in names:
        if not kind.knows(name):
            raise Refused(400, f'properties: unknown property "{name}"')
    return (*ALWAYS, *kind.defaults, *names)


def _integer(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_OFFSET))
    if digits and low <= int(text) <= high:
        return int(text)
    raise Refused(400, f'{name} must be a whole number from {low} to {high}, not "{text}"')


def _flag(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "false")
    if text not in {"true", "false"}:
        raise Refused(400, f'{name} must be true or false, not "{text}"')
    return text == "true"


def _iso(seconds: float) -> str:
    """Return a time as the seed writes it: 2026-05-01T10:00:00.000Z."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
