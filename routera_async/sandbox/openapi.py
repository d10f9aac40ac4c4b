"""The sandbox's own description: an OpenAPI 3.1 document of the object types that it serves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .calls import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET
from .fields import ALWAYS, EMAIL, SYSTEM_FIELDS, Field, ObjectType
from .routers import MODELS

Json = dict[str, Any]
"""A part of the document."""


def _object(**properties: Any) -> Json:
    """Return the schema of an object that always has these properties."""
    return {"type": "object", "required": [*properties], "properties": properties}


def _with_optional(schema: Json, **properties: Any) -> Json:
    """Return the schema of an object that may have these too, and no others."""
    known = {**schema["properties"], **properties}
    return {**schema, "properties": known, "additionalProperties": False}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _list_of(schema: Json) -> Json:
    return {"type": "array", "items": schema}


def _ref(section: str, name: str) -> Json:
    return {"$ref": f"#/components/{section}/{name}"}


_TEXT = {"type": "string"}
_NOT_BLANK = {"type": "string", "pattern": r"[^\s\x1c-\x1f\x85]"}  # as str.strip sees it
_LISTABLE = {"type": "string", "pattern": r"^[^,]*[^,\s\x1c-\x1f\x85][^,]*$"}
_BOOLEAN = {"type": "boolean"}
_INTEGER = {"type": "integer"}
_TIME = {"type": "string", "format": "date-time"}
_UUID = {"type": "string", "format": "uuid"}
_EMAIL = {"type": "string", "pattern": f"^{EMAIL}$"}
_DATE = {"anyOf": [{"type": "string", "format": "date"}, _TIME]}
_ARCHIVED = {"anyOf": [{"const": False}, _TIME], "description": "When; false while active."}
_TYPES: Mapping[str, Json] = {
    "text": _TEXT,
    "number": {"type": "number"},
    "checkbox": _BOOLEAN,
    "dropdown": _TEXT,
    "date": _TEXT,
    "user": _EMAIL,
    "email": _EMAIL,
}
"""What an answer holds for each type of field, if not null."""

_ROUTER_SETTINGS = _object(
    overwrite=_BOOLEAN,
    owner_field=_TEXT,
    distribution_model={"enum": [*MODELS]},
    default_user=_or_null(_EMAIL),
    disable_default_assignment=_BOOLEAN,
    ignore_working_hours=_BOOLEAN,
    account_matching=_BOOLEAN,
    rotation_type=_TEXT,
    trigger=_object(groups=_list_of(_object(conditions=_list_of({"type": "object"})))),
)
_SCHEMAS: Mapping[str, Json] = {
    "Error": _object(message=_TEXT, error={"const": True}),
    "OAuthError": _object(error=_TEXT, error_description=_TEXT),
    "Token": _object(access_token=_TEXT, expires_in=_INTEGER, token_type={"const": "Bearer"}),
    "Credentials": {
        "type": "object",
        "required": ["grant_type"],
        "properties": {
            "grant_type": {"const": "client_credentials"},
            "client_id": _TEXT,
            "client_secret": _TEXT,
        },
        "description": "Without the credentials, for a request that has them as HTTP Basic.",
    },
    "Pagination": _object(limit=_INTEGER, offset=_INTEGER, count=_INTEGER),
    "Router": _object(
        id=_UUID,
        name=_TEXT,
        object_type=_TEXT,
        has_integration=_BOOLEAN,
        is_published=_BOOLEAN,
        settings=_or_null(_ROUTER_SETTINGS),
        users=_list_of(_object(email=_EMAIL)),
        teams=_list_of(_object(name=_TEXT)),
        archived=_ARCHIVED,
        created_at=_TIME,
        updated_at=_TIME,
    ),
    "Dispatch": _object(router_id=_NOT_BLANK, object_id=_NOT_BLANK),
    "Assigned": _with_optional(
        _object(
            message=_TEXT,
            success={"const": True},
            user=_EMAIL,
            field_name=_TEXT,
            owner_assigned_at={"type": "string", "description": "An RFC 2822 date."},
        ),
        hubspot_sync_failed={"const": True, "description": "It is assigned all the same."},
        hubspot_error=_TEXT,
    ),
    "NotAssigned": {**_object(message=_TEXT), "additionalProperties": False},
}

_WHEN = {
    "400": "Invalid JSON body, unknown field name, validation failure, or forbidden system field",
    "401": "Missing account context",
    "404": "Not found",
    "405": "The path does not take this method",
    "409": "Duplicate active record (email, website_url, or external_id)",
    "413": "The body is larger than the sandbox reads",
    "500": "Internal server error",
}
_ANYWHERE = ("400", "405", "413", "500")  # a GET, too, may have a body that cannot be read
_NOT_HTTP = {"text/plain": {"schema": _TEXT}}  # aiohttp's own, such as to a URL of over 8190 bytes
_MEMBER = ("401", *_ANYWHERE)
_ONE = ("404", *_MEMBER)
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "Holds the account context.",
}


def document(kinds: Iterable[ObjectType], *, echo: bool = True) -> Json:
    """Return the document of a sandbox that serves these object types.

    With `echo` a create takes `properties`.
    """
    paths = {
        "/oauth2/token": {"post": _token()},
        "/openapi.json": {"get": _self()},
        "/routers": {"get": _list("routers", "Router", _WINDOW)},
        "/routers/{id}": {"get": _get("router", "Router", [_path_id(_UUID)])},
        "/dispatch/router": {"post": _dispatch()},
    }
    schemas = dict(_SCHEMAS)
    for kind in kinds:
        paths |= _paths(kind, echo=echo)
        schemas |= _schemas(kind)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Routera, as the sandbox of routera_async has it", "version": "1"},
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": _BEARER, "basic": {"type": "http", "scheme": "basic"}},
            "schemas": schemas,
            "responses": {status: _failure(status) for status in _WHEN},
        },
    }


# -- operations -----------------------------------------------------------------------------------


def _operation(name: str, success: Json, failures: Sequence[str], **more: Any) -> Json:
    """Return an operation, which is called by its name, with all that it may answer."""
    answers = {status: _ref("responses", status) for status in failures}
    return {"operationId": name, **more, "responses": {**success, **answers}}


def _answer(description: str, schema: Json, **more: Any) -> Json:
    return {"description": description, "content": _content(schema), **more}


def _content(schema: Json, media_type: str = "application/json") -> Json:
    return {media_type: {"schema": schema}}


def _body(schema: Json) -> Json:
    return {"required": True, "content": _content(schema)}


def _failure(status: str) -> Json:
    answer = _answer(_WHEN[status], _ref("schemas", "Error"))
    if status == "400":
        answer["content"] |= _NOT_HTTP
    if status == "405":
        answer["headers"] = {"Allow": {"schema": _TEXT, "required": True}}
    return answer


def _token() -> Json:
    refused = _ref("schemas", "OAuthError")
    either = {"anyOf": [refused, _ref("schemas", "Error")]}
    answers = {
        "200": _answer("A token", _ref("schemas", "Token")),
        "400": {"description": "Wrong grant_type", "content": _content(either) | _NOT_HTTP},
        "401": _answer("Wrong client_id or client_secret", refused),
    }
    form = _content(_ref("schemas", "Credentials"), "application/x-www-form-urlencoded")
    return _operation(
        "token",
        answers,
        [status for status in _ANYWHERE if status != "400"],
        security=[{}, {"basic": []}],
        requestBody={"required": True, "content": form},
    )


def _self() -> Json:
    answer = _answer("This document", {"type": "object"})
    return _operation("describe", {"200": answer}, _ANYWHERE, security=[])


def _dispatch() -> Json:
    outcomes = [_ref("schemas", "Assigned"), _ref("schemas", "NotAssigned")]
    return _operation(
        "dispatch",
        {"200": _answer("Assigned, or why not", {"oneOf": outcomes})},
        _MEMBER,
        requestBody=_body(_ref("schemas", "Dispatch")),
    )


def _get(noun: str, schema: str, parameters: Sequence[Json]) -> Json:
    answer = _answer(f"The {noun}", _ref("schemas", schema))
    return _operation(f"get_{noun}", {"200": answer}, _ONE, parameters=parameters)


def _list(plural: str, schema: str, parameters: Sequence[Json]) -> Json:
    page = _object(data=_list_of(_ref("schemas", schema)), pagination=_ref("schemas", "Pagination"))
    success = {"200": _answer("A page", page)}
    return _operation(f"list_{plural}", success, _MEMBER, parameters=parameters)


# -- parameters -----------------------------------------------------------------------------------


def _path_id(schema: Json) -> Json:
    return {"name": "id", "in": "path", "required": True, "schema": schema}


def _query(name: str, schema: Json, **more: Any) -> Json:
    return {"name": name, "in": "query", "schema": schema, **more}


_WINDOW = (
    _query("archived", {**_BOOLEAN, "default": False}),
    _query("limit", {**_INTEGER, "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}),
    _query("offset", {**_INTEGER, "minimum": 0, "maximum": MAX_OFFSET, "default": 0}),
)


def _properties(kind: ObjectType) -> Json:
    known = {"enum": sorted({*kind.fields, *SYSTEM_FIELDS})}
    names = _list_of(_LISTABLE if kind.any_field else known)
    return _query("properties", names, style="form", explode=False)


# -- object types ---------------------------------------------------------------------------------


def _paths(kind: ObjectType, *, echo: bool) -> Json:
    """Return the five routes of an object type."""
    noun, record = kind.singular, kind.singular.capitalize()
    found, added = _path_id(_TEXT), _properties(kind)
    shown = {"200": _answer(f"The {noun}", _ref("schemas", record))}
    created = _answer("Created", _ref("schemas", record), links=_links(noun))
    write = "409", *_MEMBER
    return {
        f"/{kind.plural}": {
            "post": _operation(
                f"create_{noun}",
                {"201": created},
                write,
                parameters=[added] if echo else [],
                requestBody=_body(_ref("schemas", f"New{record}")),
            ),
            "get": _list(kind.plural, record, [added, *_WINDOW]),
        },
        f"/{kind.plural}/{{id}}": {
            "parameters": [found],
            "get": _get(noun, record, [added]),
            "patch": _operation(
                f"update_{noun}",
                shown,
                ("404", *write),
                parameters=[added],
                requestBody=_body(_ref("schemas", f"{record}Changes")),
            ),
            "delete": _operation(f"archive_{noun}", shown, _ONE),
        },
    }


def _links(noun: str) -> Json:
    """Return what can be done next with a record that was created."""
    return {
        verb: {"operationId": f"{verb}_{noun}", "parameters": {"id": "$response.body#/id"}}
        for verb in ("get", "update", "archive")
    }


def _schemas(kind: ObjectType) -> Json:
    """Return the schemas of a record, of what creates one, and of what changes one."""
    record = kind.singular.capitalize()
    changes = _object(fields=_writable(kind))
    new = _object(fields={**_writable(kind), **_needs(kind)})
    return {record: _record(kind), f"New{record}": new, f"{record}Changes": changes}


def _record(kind: ObjectType) -> Json:
    fields = {name: _or_null(_TYPES[field.type]) for name, field in kind.fields.items()}
    system = {"id": _UUID, "created_at": _TIME, "updated_at": _TIME, "archived": _ARCHIVED}
    return {
        "type": "object",
        "required": [*ALWAYS, *kind.defaults],
        "properties": {**system, **fields, "archived_by": _or_null(_TEXT)},
        "additionalProperties": kind.any_field,
    }


def _writable(kind: ObjectType) -> Json:
    """Return the schema of `fields`: null clears a field that is not required."""
    fields = {
        name: _write(field) if name in kind.required else _or_null(_write(field))
        for name, field in kind.fields.items()
    }
    schema: Json = {"type": "object", "properties": fields, "additionalProperties": kind.any_field}
    if kind.any_field:
        schema["propertyNames"] = {**_NOT_BLANK, "not": {"enum": sorted(SYSTEM_FIELDS)}}
    return schema


def _needs(kind: ObjectType) -> Json:
    """Return what the schema of `fields` adds for a create."""
    if not kind.needs_one:
        return {"required": [*kind.required]}
    return {
        "anyOf": [{"required": [name], "properties": {name: _NOT_BLANK}} for name in kind.needs_one]
    }


def _write(field: Field) -> Json:
    if field.options:
        return {"enum": [*field.options]}
    if field.type == "date":
        return _DATE
    return _TYPES[field.type] if field.blank else _NOT_BLANK
