"""Subclasses with typed fields, routers and dispatch: what is read, and what is said when wrong."""

import datetime as dt
import enum
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import attrs
import cattrs
import orjson
import pytest

from routera_async import (
    BadRequestError,
    Company,
    ConfigurationError,
    Contact,
    Deal,
    DuplicateError,
    NewCompany,
    NewTicket,
    NotFoundError,
    ResponseError,
    RetryPolicy,
    RouteraClient,
    RouterTeam,
    RouterUser,
    Ticket,
    ValidationError,
)
from routera_async._shapes import from_flat
from routera_async.sandbox import Router, Sandbox

TIMES = {"created_at": "2026-05-01T10:00:00.000Z", "updated_at": "2026-05-01T10:00:00.000Z"}
FIELDS = {"ticket_name": "Lamp", "pipeline": "default", "ticket_stage": "new"}
RULES = RetryPolicy(max_attempts=2, wait_initial=0)


class Level(enum.Enum):
    """A dropdown."""

    LOW = "low"
    HIGH = "high"


class Tier(enum.StrEnum):
    """A dropdown whose options are texts as well."""

    FREE = "free"
    PAID = "paid"


class Grade(enum.IntEnum):
    """A number with few values."""

    GOOD = 1
    BAD = 2


@attrs.frozen(kw_only=True)
class MyTicket(Ticket):
    """A ticket with a field of every kind."""

    csat: float | None = None
    visits: int | None = None
    note: str | None = None
    vip: bool | None = None
    due: dt.date | None = None
    seen_at: dt.datetime | None = None
    priority: Literal["low", "high"] | None = None
    level: Level | None = None
    tier: Tier | None = None
    grade: Grade | None = None
    tags: list[str] | None = None
    scores: tuple[float, ...] = ()
    extra: Mapping[str, Any] | None = None
    anything: Any = None


@attrs.frozen(kw_only=True)
class NewMyTicket(NewTicket):
    """What is written of it."""

    csat: float | None = None
    visits: int | None = None
    note: str | None = None
    vip: bool | None = None
    due: dt.date | None = None
    seen_at: dt.datetime | None = None
    priority: Literal["low", "high"] | None = None
    level: Level | None = None
    tier: Tier | None = None
    grade: Grade | None = None
    tags: list[str] | None = None
    scores: tuple[float, ...] | None = None
    extra: Mapping[str, Any] | None = None
    anything: Any = None


VALUES = {
    "csat": 4.5,
    "visits": 2**70,
    "note": "é",
    "vip": False,
    "due": dt.date(2026, 5, 1),
    "seen_at": dt.datetime(2026, 5, 1, 10, tzinfo=dt.UTC),
    "priority": "high",
    "level": Level.HIGH,
    "tier": Tier.PAID,
    "grade": Grade.BAD,
    "tags": ["a", "b"],
    "scores": (1.0, 2.5),
    "extra": {"a": [None]},
    "anything": [1, None, {"b": 2}],
}
"""A value of every field, as an attribute."""


@attrs.frozen(kw_only=True)
class Strict(Ticket):
    """A ticket with fields of which none may be null."""

    csat: float
    visits: int
    note: str
    vip: bool
    due: dt.date
    seen_at: dt.datetime
    when: dt.date | dt.datetime
    priority: Literal["low", "high"]
    level: Level
    tier: Tier
    tags: list[str]
    scores: tuple[float, ...]
    extra: dict[str, Any]


GOOD = {
    "csat": 4,
    "visits": 3.0,
    "note": "",
    "vip": True,
    "due": "2026-05-01",
    "seen_at": "2026-05-01T12:00:00+02:00",
    "when": "2026-05-01",
    "priority": "low",
    "level": "low",
    "tier": "free",
    "tags": [],
    "scores": [1, 2.5],
    "extra": {},
}
"""The same as they come."""


def written(**fields):
    """Return a ticket to create, with a value of every field but for these."""
    return NewMyTicket(**FIELDS, **VALUES | fields)


async def sole(wires, kind, body):
    """Return what `get` makes of an answer."""
    wire = await wires.serve(wires.answer(200, orjson.dumps(body)))
    async with RouteraClient("eyJ", base_url=wire.url, retry=RULES) as reader:
        return await reader.objects(kind).get("1")


@pytest.fixture
def typed(client):
    """Return the verbs of tickets with typed fields."""
    return client.objects(MyTicket, NewMyTicket)


def asked(request):
    """Return the names that a request asks for."""
    query = dict(pair.split("=") for pair in request.query.split("&"))
    return query["properties"].replace("%2C", ",").split(",")


async def test_what_is_written_is_read(typed, sandbox):
    """Typed fields go out as JSON and come back as the same values, whatever the verb."""
    ticket = await typed.create(written())
    assert type(ticket) is MyTicket
    assert {name: getattr(ticket, name) for name in VALUES} == VALUES
    assert (type(ticket.tier), type(ticket.grade)) == (Tier, Grade)
    assert ticket.custom == {}
    assert sandbox.store.get(ticket.id)["due"] == "2026-05-01"
    assert sandbox.store.get(ticket.id)["seen_at"] == "2026-05-01T10:00:00Z"
    assert await typed.get(ticket.id) == ticket
    assert [each async for each in typed.list()] == [ticket]
    changed = await typed.update(ticket.id, {"csat": 5, "level": Level.LOW, "tags": None})
    assert (changed.csat, changed.level, changed.tags) == (5.0, Level.LOW, None)
    assert changed.visits == 2**70
    assert await typed.find("none") is None


async def test_they_are_asked_for(typed, sandbox):
    """Every verb asks for the declared fields, and for those that the caller adds, once each."""
    ticket = await typed.create(written(), properties=["more", "csat"])
    await typed.get(ticket.id, properties=["more", "more"])
    await typed.update(ticket.id, {"csat": 5}, properties=["more"])
    assert [each.custom async for each in typed.list(properties=["more"])] == [{"more": None}]
    assert len(sandbox.requests) == 4
    for request in sandbox.requests:
        assert asked(request) == [*VALUES, "more"]


async def test_an_archived_record_has_them_too(client, sandbox):
    """`archive` returns the typed fields although the API answers it with the default ones."""

    @attrs.frozen(kw_only=True)
    class Rated(Ticket):
        csat: float

    rated = client.objects(Rated)
    ticket = await rated.create({**FIELDS, "csat": 4.5})
    archived = await rated.archive(ticket.id)
    assert (archived.csat, bool(archived.archived)) == (4.5, True)
    assert [request.method for request in sandbox.requests] == ["POST", "DELETE", "GET"]
    plain = await client.tickets.create(FIELDS)
    await client.tickets.archive(plain.id)
    assert [request.method for request in sandbox.requests][3:] == ["POST", "DELETE"]


async def test_an_archived_record_that_cannot_be_read(wires, token):
    """When the reading fails after the archiving, the error says that it was archived."""
    flat = orjson.dumps({"id": "1", "archived": TIMES["created_at"], **TIMES})
    wire = await wires.serve(wires.answer(200, flat), wires.answer(404, b"{}"))
    async with RouteraClient(token, base_url=wire.url) as client:
        with pytest.raises(ResponseError, match="archived") as caught:
            await client.objects(MyTicket).archive("1")
    assert (caught.value.outcome, caught.value.id, caught.value.status) == ("created", "1", 200)
    assert [attempt.status for attempt in caught.value.attempts] == [200]


async def test_a_whole_answer_to_archive_is_enough(wires, token):
    """A server that shows the fields when it archives is not asked again."""

    @attrs.frozen(kw_only=True)
    class Rated(Ticket):
        csat: float

    flat = orjson.dumps({"id": "1", "csat": 4, "archived": TIMES["created_at"], **TIMES})
    wire = await wires.serve(wires.answer(200, flat))
    async with RouteraClient(token, base_url=wire.url) as client:
        assert (await client.objects(Rated).archive("1")).csat == 4
    assert len(wire.requests) == 1


async def test_good_values(wires):
    """What fits a field's type is read as that type: whole numbers as floats, offsets as UTC."""
    read = await sole(wires, Strict, {"id": "1", **TIMES, **GOOD, "more": 5})
    assert (read.csat, type(read.csat), read.visits, type(read.visits)) == (4.0, float, 3, int)
    assert read.due == dt.date(2026, 5, 1)
    assert read.seen_at == dt.datetime(2026, 5, 1, 10, tzinfo=dt.UTC)
    assert type(read.when) is dt.date
    assert (read.priority, read.level, read.tier) == ("low", Level.LOW, Tier.FREE)
    assert (read.tags, read.scores, read.extra) == ([], (1.0, 2.5), {})
    assert read.custom == {"more": 5}


BAD = [
    ("csat", "4.5", "expected number @ $.csat"),
    ("csat", True, "expected number @ $.csat"),
    ("csat", None, "expected number @ $.csat"),
    ("csat", 10**400, "expected number @ $.csat"),
    ("visits", 1.5, "expected whole number @ $.visits"),
    ("visits", True, "expected whole number @ $.visits"),
    ("visits", "1", "expected whole number @ $.visits"),
    ("note", 5, "expected text @ $.note"),
    ("note", None, "expected text @ $.note"),
    ("vip", 0, "expected true or false @ $.vip"),
    ("vip", "true", "expected true or false @ $.vip"),
    ("due", "01.05.2026", "expected a date @ $.due"),
    ("due", "2026-05-01T25:00:00Z", "expected a date @ $.due"),
    ("when", "tomorrow", "expected a date @ $.when"),
    ("when", None, "expected a date @ $.when"),
    ("due", 20260501, "expected a date @ $.due"),
    ("seen_at", "2026-05-01", "expected an ISO 8601 time @ $.seen_at"),
    ("seen_at", 1777629600, "expected an ISO 8601 time @ $.seen_at"),
    ("priority", "urgent", "expected one of low, high @ $.priority"),
    ("priority", None, "expected one of low, high @ $.priority"),
    ("level", "urgent", "expected one of low, high @ $.level"),
    ("level", 1, "expected one of low, high @ $.level"),
    ("tier", "urgent", "expected one of free, paid @ $.tier"),
    ("tags", "text", "expected a list @ $.tags"),
    ("tags", ["a", 5], "expected text @ $.tags[1]"),
    ("scores", [1, 2, "3"], "expected number @ $.scores[2]"),
    ("scores", None, "expected a list @ $.scores"),
    ("extra", [], "expected an object @ $.extra"),
]


@pytest.mark.parametrize(("name", "value", "problem"), BAD)
async def test_a_wrong_value_is_named(wires, name, value, problem):
    """A value that is not of the field's type is refused, by name, and never converted."""
    text = json.dumps({"id": "1", **TIMES, **GOOD, name: value}).encode()
    wire = await wires.serve(wires.answer(200, text))
    async with RouteraClient("eyJ", base_url=wire.url) as reader:
        with pytest.raises(ResponseError) as caught:
            await reader.objects(Strict).get("1")
    assert str(caught.value) == f"cannot read the answer as a Strict: {problem}"
    assert (caught.value.id, caught.value.status, caught.value.outcome) == ("1", 200, "created")
    assert caught.value.body == text[:65_536]


async def test_a_missing_field_is_named(wires):
    """A field without a default that the answer lacks is missing, by name."""
    body = {"id": "1", **TIMES, **GOOD}
    del body["csat"]
    with pytest.raises(ResponseError, match=re.escape("a Strict: missing @ $.csat")):
        await sole(wires, Strict, body)


async def test_a_wrong_value_on_a_page_is_named(wires, token):
    """On a page the place is the record's number in it, and its field."""
    data = [{"id": str(number), **TIMES, "csat": "5" if number == 3 else 5} for number in range(5)]
    wire = await wires.serve(wires.answer(200, orjson.dumps({"data": data})))
    async with RouteraClient(token, base_url=wire.url) as client:
        with pytest.raises(ResponseError) as caught:
            [each async for each in client.objects(MyTicket).list()]
    problem = "cannot read the answer as a MyTicket: expected number @ $.data[3].csat"
    assert str(caught.value) == problem
    assert caught.value.id == "3"


async def test_a_page_with_something_else_on_it(wires, token):
    """What is no object, or no list, is named by its place as well."""
    for body, problem in [
        (b'{"data": [null]}', "cannot read the answer as a Ticket: expected an object @ $.data[0]"),
        (b'{"data": {}}', "cannot read the answer as a page: expected a list @ $.data"),
    ]:
        wire = await wires.serve(wires.answer(200, body))
        async with RouteraClient(token, base_url=wire.url) as client:
            with pytest.raises(ResponseError) as caught:
                await anext(aiter(client.tickets.list()))
        assert str(caught.value) == problem


async def test_defaults(wires):
    """A field that the answer lacks has its default, and null is None where the type takes it."""

    @attrs.frozen(kw_only=True)
    class Defaulted(Ticket):
        priority: str = "low"
        tags: list[str] = attrs.field(factory=list)
        csat: float | None = 3.0

    read = await sole(wires, Defaulted, {"id": "1", **TIMES, "csat": None})
    assert (read.priority, read.tags, read.csat) == ("low", [], None)


async def test_null_is_the_default_where_the_type_does_not_take_it(wires, token):
    """Null of an attribute with a default, whose type has no None, reads as if it were not there.

    Without a default it is an error, as `BAD` says; an attribute that may be anything is None.
    """

    @attrs.frozen(kw_only=True)
    class Defaulted(Ticket):
        priority: Literal["low", "high"] = "low"
        tags: list[str] = attrs.field(factory=list)
        vip: bool = True
        choice: Literal["a", None] = "a"  # noqa: PYI061 (it may be written so)
        anything: Any = 5

    nulls = dict.fromkeys(["priority", "tags", "vip", "choice", "anything", "archived"])
    read = await sole(wires, Defaulted, {"id": "1", **TIMES, **nulls})
    assert (read.priority, read.tags, read.vip, read.archived) == ("low", [], True, False)
    assert (read.choice, read.anything) == (None, None)
    answers = (
        {"id": "1", **TIMES, "archived": None, "users": None, "teams": None},
        {
            "message": "m",
            "success": None,
            "hubspot_sync_failed": None,
        },
    )
    wire = await wires.serve(*[wires.answer(200, orjson.dumps(each)) for each in answers])
    async with RouteraClient(token, base_url=wire.url) as client:
        router = await client.routers.get("1")
        result = await client.dispatch(router_id="r", object_id="o")
    assert (router.archived, router.users, router.teams) == (False, (), ())
    assert (result.assigned, result.hubspot_sync_failed) == (False, False)


@pytest.mark.parametrize(
    ("told", "due", "when"),
    [
        ("2026-05-01", dt.date(2026, 5, 1), dt.date(2026, 5, 1)),
        (
            "2026-05-01T23:30:00-05:00",
            dt.date(2026, 5, 1),
            dt.datetime(2026, 5, 2, 4, 30, tzinfo=dt.UTC),
        ),
        ("2026-05-01 10:00", dt.date(2026, 5, 1), dt.datetime(2026, 5, 1, 10, tzinfo=dt.UTC)),
        (None, None, None),
    ],
)
async def test_a_date_field_that_holds_a_time(told, due, when):
    """A date field may hold a time: a `date` is the day as written, `date | datetime` is either."""

    @attrs.frozen(kw_only=True)
    class Dated(Ticket):
        due: dt.date | None = None
        begin: dt.date | dt.datetime | None = None
        days: list[dt.date | dt.datetime] = attrs.field(factory=list)

    async with (
        Sandbox(fields=["due=date", "begin=date"]) as sandbox,
        RouteraClient(sandbox.token, base_url=sandbox.url) as client,
    ):
        ticket = await client.tickets.create({**FIELDS, "due": told, "begin": told})
        read = from_flat(sandbox.store.get(ticket.id) | {"days": [told] if told else None}, Dated)
    assert (read.due, read.begin, type(read.begin)) == (due, when, type(when))
    assert read.days == ([when] if when else [])


@attrs.frozen(kw_only=True)
class Guarded(Ticket):
    """A ticket with rules of its own."""

    csat: float = attrs.field(default=0.0, validator=attrs.validators.le(5))
    note: str = attrs.field(default="", validator=attrs.validators.in_(["", "a"]))
    tier: Any = attrs.field(default=None, converter=lambda value: value and Tier(value))

    def __attrs_post_init__(self) -> None:
        if self.csat == 3:
            raise KeyError("three will\nnot do")
        if self.csat == 4:
            raise RuntimeError


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"csat": 9}, "'csat' must be <= 5: 9.0"),
        ({"note": "b"}, "'note' must be in ['', 'a'] (got 'b')"),
        ({"tier": "gold"}, "'gold' is not a valid Tier"),
        ({"csat": 3}, "three will not do"),
        ({"csat": 4}, "RuntimeError"),
    ],
)
async def test_a_models_own_rule_is_told(wires, fields, problem):
    """What a model's own validator, converter or post-init raises is said in its own words."""
    with pytest.raises(ResponseError) as caught:
        await sole(wires, Guarded, {"id": "1", **TIMES, **fields})
    assert str(caught.value) == f"cannot read the answer as a Guarded: {problem} @ $"
    assert caught.value.id == "1"


async def test_what_is_none_is_not_written(typed, sandbox):
    """Of a typed new record what is None is left out, and False and 0 are written."""
    await typed.create(NewMyTicket(**FIELDS, vip=False, visits=0, custom={"more": None}))
    sent = orjson.loads(sandbox.requests[0].body)["fields"]
    assert sent == {**FIELDS, "vip": False, "visits": 0, "more": None}


async def test_a_plain_new_ticket_is_taken_only_where_it_is_asked_for(client, typed, sandbox):
    """With a class of its own for what is written, another class's record is refused."""
    with pytest.raises(ValidationError, match="expected NewMyTicket or a mapping, not NewTicket"):
        await typed.create(NewTicket(**FIELDS))
    assert sandbox.request_count == 0
    ticket = await client.objects(MyTicket).create(NewTicket(**FIELDS, custom={"csat": 1}))
    assert ticket.csat == 1.0


async def test_two_that_clash_on_one_client(client):
    """Two subclasses that hold one field to be different things do not know of each other."""

    @attrs.frozen(kw_only=True)
    class AsText(Ticket):
        score: str | None = None

    @attrs.frozen(kw_only=True)
    class AsNumber(Ticket):
        score: float | None = None

    text, number = client.objects(AsText), client.objects(AsNumber)
    one = await text.create({**FIELDS, "score": "five"})
    two = await number.create({**FIELDS, "score": 5})
    assert ((await text.get(one.id)).score, (await number.get(two.id)).score) == ("five", 5.0)
    with pytest.raises(ResponseError, match=re.escape("expected number @ $.score")):
        await number.get(one.id)
    with pytest.raises(ResponseError, match=re.escape("expected text @ $.score")):
        await text.get(two.id)
    plain = [each.custom async for each in client.tickets.list(properties=["score"])]
    assert plain == [{"score": "five"}, {"score": 5}]


async def test_nothing_is_registered(typed):
    """The plain tickets read as before, and so does cattrs' own converter."""
    before = cattrs.structure({"ticket_name": 5}, NewerTicket)
    ticket = await typed.create(written())
    assert cattrs.structure({"ticket_name": 5}, NewerTicket) == before == NewerTicket("5")
    with pytest.raises(cattrs.StructureHandlerNotFoundError):
        cattrs.global_converter.get_structure_hook(dt.date)
    assert cattrs.structure("5", float) == 5.0
    assert type(ticket) is MyTicket


@attrs.frozen
class NewerTicket:
    """Something of the caller's that cattrs reads."""

    ticket_name: str


@pytest.mark.parametrize(
    ("base", "new", "path", "fields"),
    [
        (Ticket, None, "tickets", FIELDS),
        (Contact, None, "contacts", {"email": "a@b"}),
        (Company, NewCompany, "companies", {"website_url": "b.example"}),
        (Deal, None, "deals", {"deal_name": "a", "deal_stage": "b", "pipeline": "c"}),
    ],
)
async def test_each_kind_has_its_path(client, sandbox, base, new, path, fields):
    """A subclass of each of the four goes to the path of its kind."""

    @attrs.frozen(kw_only=True)
    class Mine(base):
        csat: float | None = None

    objects = client.objects(Mine, new) if new else client.objects(Mine)
    record = await objects.create({**fields, "csat": 5})
    assert record.csat == 5.0
    assert sandbox.requests[0].path == f"/{path}"
    assert asked(sandbox.requests[0]) == ["csat"]
    await objects.update(record.id, {"external_id": "k"})
    with pytest.raises(DuplicateError):
        await objects.create({**fields, "email": "c@d", "external_id": "k"})


class Undecorated(Ticket):
    """A subclass whose field attrs knows nothing of."""

    csat: float | None = None


@pytest.mark.parametrize("other", [str, Level, NewTicket, "Ticket", None, Router, attrs.Attribute])
def test_a_class_that_is_no_record(other):
    """Only a subclass of the four kinds will do."""
    with pytest.raises(ConfigurationError, match="no subclass of Ticket, Contact, Company, Deal"):
        RouteraClient("eyJ").objects(other)


@pytest.mark.parametrize("other", [NewCompany, Ticket, str, "NewTicket"])
def test_a_class_that_is_not_written_of_it(other):
    """What is written of a ticket is a subclass of NewTicket."""
    with pytest.raises(ConfigurationError, match="no subclass of NewTicket"):
        RouteraClient("eyJ").objects(MyTicket, other)


UNREADABLE = [
    bytes,
    complex,
    object,
    dt.time,
    list,
    set[str],
    str | float,
    float | str | None,
    list[bytes],
    list[bytes] | None,
    tuple[str, int],
    dict[str, float],
    Mapping[int, Any],
    attrs.Attribute,
]


@pytest.mark.parametrize("unreadable", UNREADABLE, ids=str)
def test_a_type_that_cannot_be_read(unreadable):
    """A field of a type that no JSON value is, or of several, is refused at once, by its name."""

    @attrs.frozen(kw_only=True)
    class Odd(Ticket):
        note: str | None = None
        shade: unreadable

    with pytest.raises(ConfigurationError, match=re.escape("Odd.shade has a type that cannot be")):
        RouteraClient("eyJ").objects(Odd)


def test_a_subclass_that_attrs_does_not_know():
    """A subclass without the decorator would never be given its field: it is refused."""
    with pytest.raises(ConfigurationError, match=re.escape("Undecorated needs @attrs.frozen")):
        RouteraClient("eyJ").objects(Undecorated)

    @attrs.frozen(kw_only=True)
    class Below(Undecorated):
        note: str | None = None

    with pytest.raises(ConfigurationError, match=re.escape("Undecorated needs @attrs.frozen")):
        RouteraClient("eyJ").objects(Below)

    class Bare(MyTicket):
        """A subclass that adds no field needs none."""

    assert RouteraClient("eyJ").objects(Bare) is not None


POSTPONED = """
from __future__ import annotations

import datetime as dt

import attrs

from routera_async import Ticket


@attrs.frozen(kw_only=True)
class Postponed(Ticket):
    csat: float
    due: dt.date | None = None


@attrs.frozen(kw_only=True)
class Unfindable(Ticket):
    shade: Colour | None = None


class Undecorated(Ticket):
    csat: float
"""


@pytest.fixture
def postponed(tmp_path, monkeypatch):
    """Import a module whose annotations are texts."""
    (tmp_path / "postponed.py").write_text(POSTPONED)
    monkeypatch.syspath_prepend(tmp_path)
    return __import__("postponed")


async def test_postponed_annotations(client, postponed):
    """A class of a module with `from __future__ import annotations` is read as any other."""
    objects = client.objects(postponed.Postponed)
    ticket = await objects.create({**FIELDS, "csat": 4, "due": dt.date(2026, 5, 1)})
    assert (ticket.csat, ticket.due) == (4.0, dt.date(2026, 5, 1))
    wrong = await client.tickets.create({**FIELDS, "csat": "4"})
    with pytest.raises(ResponseError, match=re.escape("expected number @ $.csat")):
        await objects.get(wrong.id)


def test_a_name_that_nothing_has(postponed):
    """A postponed annotation that leads to nothing is refused, by the name that is not found."""
    with pytest.raises(ConfigurationError, match=r"Unfindable has a type .*: name 'Colour'"):
        RouteraClient("eyJ").objects(postponed.Unfindable)
    with pytest.raises(ConfigurationError, match="Undecorated needs"):
        RouteraClient("eyJ").objects(postponed.Undecorated)


# -- routers ---------------------------------------------------------------------------------------

INBOUND = Router("Inbound", "tickets", ["jane@example.com"], teams=["Desk"])
BARE = Router("Bare", "tickets", settings=None)


@pytest.fixture
async def routed():
    """Run a sandbox with two routers, and return it and its client."""
    async with (
        Sandbox(any_field=True, routers=[INBOUND, BARE]) as sandbox,
        RouteraClient(sandbox.token, base_url=sandbox.url, retry=RULES) as client,
    ):
        yield client, sandbox


async def test_a_router_is_read(routed):
    """A router has its settings, users and teams as values, and settings may be null."""
    client, sandbox = routed
    inbound, bare = [router async for router in client.routers.list()]
    assert (inbound.id, inbound.name, inbound.object_type) == (INBOUND.id, "Inbound", "tickets")
    assert (inbound.is_published, inbound.has_integration, inbound.archived) == (True, False, False)
    assert inbound.users == (RouterUser(email="jane@example.com"),)
    assert inbound.teams == (RouterTeam(name="Desk"),)
    assert inbound.settings.distribution_model == "round robin"
    assert inbound.settings.owner_field == "ticket_owner"
    assert inbound.settings.trigger == {"groups": [{"conditions": []}]}
    assert inbound.custom == inbound.settings.custom == {}
    assert (bare.settings, bare.users, bare.teams) == (None, (), ())
    assert await client.routers.get(INBOUND.id) == inbound
    with pytest.raises(NotFoundError):
        await client.routers.get("00000000-0000-4000-8000-000000000000")
    with pytest.raises(BadRequestError, match="UUID"):
        await client.routers.get("inbound")
    sandbox.archive_router(BARE.id)
    assert [router.id async for router in client.routers.list()] == [INBOUND.id]
    (shown,) = [each async for each in client.routers.list(archived=True) if each.id == BARE.id]
    assert isinstance(shown.archived, dt.datetime)
    assert shown.archived_by == sandbox.client_id


async def test_a_router_with_what_nobody_declared(wires, token):
    """Keys that the API's page does not name stand in `custom`, wherever they are."""
    body = {
        "id": "1",
        **TIMES,
        "new": 1,
        "settings": {"overwrite": True, "new": 2, "trigger": None},
        "users": [{"email": None, "new": 3}, {}],
        "teams": [{"name": "Desk", "new": 4}],
    }
    wire = await wires.serve(wires.answer(200, orjson.dumps(body)))
    async with RouteraClient(token, base_url=wire.url) as client:
        router = await client.routers.get("1")
    assert (router.name, router.custom) == (None, {"new": 1})
    assert (router.settings.overwrite, router.settings.custom) == (True, {"new": 2})
    assert [user.custom for user in router.users] == [{"new": 3}, {}]
    assert [team.custom for team in router.teams] == [{"new": 4}]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"users": {}}, "expected a list @ $.users"),
        ({"users": [{"email": "a"}, {"email": 5}]}, "expected text @ $.users[1].email"),
        ({"teams": ["Desk"]}, "expected an object @ $.teams[0]"),
        ({"settings": []}, "expected an object @ $.settings"),
        ({"settings": {"overwrite": "no"}}, "expected true or false @ $.settings.overwrite"),
        ({"settings": {"trigger": []}}, "expected an object @ $.settings.trigger"),
        ({"is_published": 1}, "expected true or false @ $.is_published"),
    ],
)
async def test_a_router_that_cannot_be_read(wires, token, fields, problem):
    """What is wrong within a router is named by its whole place."""
    wire = await wires.serve(wires.answer(200, orjson.dumps({"id": "1", **TIMES, **fields})))
    async with RouteraClient(token, base_url=wire.url) as client:
        with pytest.raises(ResponseError) as caught:
            await client.routers.get("1")
    assert str(caught.value) == f"cannot read the answer as a Router: {problem}"


# -- dispatch --------------------------------------------------------------------------------------


async def test_an_assignment(routed):
    """An object that is assigned says to whom, in which field and when, as an aware time."""
    client, sandbox = routed
    ticket = await client.tickets.create(FIELDS)
    before = dt.datetime.now(dt.UTC)
    result = await client.dispatch(router_id=INBOUND.id, object_id=ticket.id)
    assert (result.assigned, result.success, result.user) == (True, True, "jane@example.com")
    assert result.message == "The object was successfully assigned"
    assert result.field_name == "ticket_owner"
    assert abs(result.owner_assigned_at - before) < dt.timedelta(seconds=60)
    assert result.owner_assigned_at.tzinfo is not None
    assert (result.hubspot_sync_failed, result.hubspot_error, result.custom) == (False, None, {})
    assert sandbox.store.get(ticket.id)["ticket_owner"] == "jane@example.com"


@pytest.mark.parametrize(
    ("router_id", "owner", "message"),
    [
        ("00000000-0000-4000-8000-000000000000", None, "Router not found"),
        (BARE.id, None, "The router has no settings"),
        (INBOUND.id, "joe@example.com", "The router can not overwrite"),
    ],
)
async def test_no_assignment(routed, router_id, owner, message):
    """An object that is not assigned is no error: the result says why, and has no user."""
    client, sandbox = routed
    ticket = await client.tickets.create({**FIELDS, "ticket_owner": owner})
    result = await client.dispatch(router_id=router_id, object_id=ticket.id)
    assert (result.assigned, result.message) == (False, message)
    assert (result.user, result.field_name, result.owner_assigned_at) == (None, None, None)
    assert sandbox.store.get(ticket.id)["ticket_owner"] == owner


async def test_a_failed_sync(routed):
    """An assignment holds whose sync to HubSpot failed, and the result says that it did."""
    client, sandbox = routed
    failing = Router(
        "Failing", "tickets", ["jo@example.com"], has_integration=True, hubspot_error="no owner"
    )
    sandbox.add_router(failing)
    ticket = await client.tickets.create(FIELDS)
    result = await client.dispatch(router_id=failing.id, object_id=ticket.id)
    assert (result.assigned, result.hubspot_sync_failed) == (True, True)
    assert result.hubspot_error == "no owner"
    assert sandbox.store.get(ticket.id)["ticket_owner"] == "jo@example.com"


@pytest.mark.parametrize(
    ("told", "when"),
    [
        ("Thu, 12 Jun 2025 14:30:00 GMT", dt.datetime(2025, 6, 12, 14, 30, tzinfo=dt.UTC)),
        ("Thu, 12 Jun 2025 16:30:00 +0200", dt.datetime(2025, 6, 12, 14, 30, tzinfo=dt.UTC)),
        ("Thu, 12 Jun 2025 14:30:00 -0000", dt.datetime(2025, 6, 12, 14, 30, tzinfo=dt.UTC)),
        ("12 Jun 2025 14:30:00", dt.datetime(2025, 6, 12, 14, 30, tzinfo=dt.UTC)),
        ("2025-06-12T14:30:00Z", dt.datetime(2025, 6, 12, 14, 30, tzinfo=dt.UTC)),
        (None, None),
    ],
)
async def test_when_it_was_assigned(wires, token, told, when):
    """The time of an assignment is the documented RFC 2822 date, or an ISO 8601 time."""
    body = {"message": "m", "success": True, "owner_assigned_at": told, "new": 1}
    wire = await wires.serve(wires.answer(200, orjson.dumps(body)))
    async with RouteraClient(token, base_url=wire.url) as client:
        result = await client.dispatch(router_id="r", object_id="o")
    assert (result.owner_assigned_at, result.custom) == (when, {"new": 1})
    assert orjson.loads(wire.bodies[0]) == {"router_id": "r", "object_id": "o"}


@pytest.mark.parametrize("told", ["yesterday", "", 1749738600, {"at": 1}, "Thu, 99 Jun 2025 1:1:1"])
async def test_when_it_was_assigned_that_is_no_time(wires, token, told):
    """A dispatch that was done is no error because of its time: that is None, and in `custom`."""
    body = {"message": "m", "success": True, "owner_assigned_at": told}
    wire = await wires.serve(wires.answer(200, orjson.dumps(body)))
    async with RouteraClient(token, base_url=wire.url) as client:
        result = await client.dispatch(router_id="r", object_id="o")
    assert (result.assigned, result.owner_assigned_at) == (True, None)
    assert result.custom == {"owner_assigned_at": told}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"success": True}, "missing @ $.message"),
        ({"message": "m", "success": "yes"}, "expected true or false @ $.success"),
        ([], "expected an object @ $"),
    ],
)
async def test_a_dispatch_that_cannot_be_read(wires, token, body, problem):
    """An answer that cannot be read is an error that says that the dispatch was done."""
    wire = await wires.serve(wires.answer(200, orjson.dumps(body)))
    async with RouteraClient(token, base_url=wire.url) as client:
        with pytest.raises(ResponseError) as caught:
            await client.dispatch(router_id="r", object_id="o")
    assert str(caught.value) == f"cannot read the answer as a DispatchResult: {problem}"
    assert caught.value.outcome == "created"
    assert len(wire.requests) == 1
