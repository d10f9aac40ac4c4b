"""The tickets' verbs, on the sandbox; the shapes of single requests, on scripted answers."""

import asyncio
import datetime as dt
import uuid
from pathlib import Path

import attrs
import orjson
import pytest
from aioresponses import CallbackResult

from routera_async import (
    AttemptFinished,
    AttemptStarted,
    BadRequestError,
    ConfigurationError,
    DuplicateError,
    NewTicket,
    NotFoundError,
    OutcomeUnknown,
    Page,
    ResponseError,
    RetryPolicy,
    RouteraClient,
    Ticket,
    UnauthorizedError,
    ValidationError,
)
from routera_async.sandbox import Sandbox

PAGE = "https://api.routera.io/tickets?limit=100&offset=0"


def named(name, **fields):
    """Return a ticket to create."""
    return NewTicket(ticket_name=name, pipeline="default", ticket_stage="new", **fields)


async def collected(outcomes):
    """Return all outcomes, in the order of their rows."""
    return sorted([outcome async for outcome in outcomes], key=lambda outcome: outcome.row)


def key_of(body):
    """Return the external_id that a request was sent with."""
    return orjson.loads(body)["fields"]["external_id"]


async def exhaust(source, into):
    """Append all that an async iterable gives until it ends or raises."""
    async for item in source:
        into.append(item)


async def test_a_created_ticket_is_there(client, sandbox):
    """What is created is returned, can be got by its id, and is exactly what was given."""
    custom = {"priority": "high", "tags": ["é", None], "big": 2**70}
    new = named("Lamp", external_id="k1", ticket_owner="jane@example.com", custom=custom)
    ticket = await client.tickets.create(new)
    assert await client.tickets.get(ticket.id, properties=custom) == ticket
    for name in ("ticket_name", "pipeline", "ticket_stage", "ticket_owner", "external_id"):
        assert getattr(ticket, name) == getattr(new, name)
    assert ticket.custom == custom
    assert ticket.archived is False
    assert ticket.created_at.tzinfo is dt.UTC
    assert sandbox.store.count("tickets") == 1


async def test_a_mapping_is_created(client):
    """A plain mapping is the fields themselves."""
    fields = {"ticket_name": "Lamp", "pipeline": "p", "ticket_stage": "new", "priority": None}
    ticket = await client.tickets.create(fields)
    assert ticket.ticket_name == "Lamp"


async def test_a_second_of_the_same_key_is_a_duplicate(client):
    """An external_id that an active ticket holds is a DuplicateError, and creates nothing."""
    await client.tickets.create(named("Lamp", external_id="k1"))
    with pytest.raises(DuplicateError) as caught:
        await client.tickets.create(named("Other", external_id="k1"))
    assert caught.value.ours is False
    assert [ticket.ticket_name async for ticket in client.tickets.list()] == ["Lamp"]


async def test_a_rule_that_is_broken_sends_nothing(client, sandbox):
    """What breaks a documented rule, or cannot be written, is refused before anything is sent."""
    for bad in ({"ticket_name": "Lamp"}, named("Lamp", custom={"x": float("nan")}), None):
        with pytest.raises(ValidationError):
            await client.tickets.create(bad)
    assert sandbox.request_count == 0


async def test_an_unknown_field_is_the_servers_to_refuse():
    """A field that the account does not have is a BadRequestError that carries its name."""
    async with (
        Sandbox() as strict,
        RouteraClient(strict.token, base_url=strict.url) as client,
    ):
        with pytest.raises(BadRequestError, match="colour"):
            await client.tickets.create(named("Lamp", custom={"colour": "red"}))


async def test_an_id_that_nobody_has(client):
    """An id without a record is a NotFoundError."""
    with pytest.raises(NotFoundError):
        await client.tickets.get("550e8400-e29b-41d4-a716-446655440000")


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100])
async def test_a_list_is_all_there_is(client, sandbox, size):
    """Every record is listed once, in pages that overlap, until one is not full."""
    names = [f"T{number}" for number in range(4)]
    for name in names:
        await client.tickets.create(named(name))
    before = sandbox.request_count
    pages = [page async for page in client.tickets.list(page_size=size).pages()]
    assert [ticket.ticket_name for page in pages for ticket in page.records] == names
    assert pages[0].offset == 0
    assert {page.limit for page in pages} == {size}
    assert sandbox.request_count - before == {1: 5, 2: 4, 3: 2, 4: 2, 5: 1, 100: 1}[size]
    again = client.tickets.list(page_size=size)
    for _ in range(2):
        assert [ticket.ticket_name async for ticket in again] == names


async def test_an_empty_list(client):
    """A list of nothing is one empty page."""
    assert [page async for page in client.tickets.list().pages()] == [Page((), limit=100, offset=0)]
    assert [ticket async for ticket in client.tickets.list()] == []


@pytest.mark.parametrize(
    ("asked", "query"),
    [
        ({}, {}),
        ({"archived": True}, {"archived": "true"}),
        ({"properties": ["a", "b"]}, {"properties": "a,b"}),
        ({"properties": iter(("a",)), "archived": True}, {"properties": "a", "archived": "true"}),
    ],
)
async def test_what_a_list_asks_for(wires, token, asked, query):
    """The query of a list is the documented one, on every page."""
    record = b'{"id":"1","created_at":"2026-05-01T10:00:00Z","updated_at":"2026-05-01T10:00:00Z"}'
    full, short = b'{"data":[%s]}' % record, b'{"data":[]}'
    wire = await wires.serve(wires.answer(200, full), wires.answer(200, short))
    async with RouteraClient(token, base_url=wire.url) as client:
        assert len([ticket async for ticket in client.tickets.list(**asked, page_size=1)]) == 1
    for number, head in enumerate(wire.requests):
        _, target, _ = head.decode().split(" ", 2)
        path, _, text = target.partition("?")
        assert path == "/tickets"
        sent = dict(pair.split("=") for pair in text.split("&"))
        assert sent == query | {"limit": "1", "offset": str(number)}
    assert len(wire.requests) == 2


@pytest.mark.parametrize("size", [0, 101, -1, "10", None, 10.5, True])
def test_a_page_size_that_the_api_does_not_take(size):
    """A page holds 1 to 100 records."""
    with pytest.raises(ConfigurationError, match="1 to 100"):
        RouteraClient("eyJ").tickets.list(page_size=size)


@pytest.mark.parametrize("body", ["[]", "<html>", '{"data": [{"id": 5}]}', '{"data": {}}'])
async def test_a_page_that_cannot_be_read(answers, body):
    """A page that cannot be read is a ResponseError that knows its answer and its attempts."""
    answers.get(PAGE, body=body)
    async with RouteraClient("eyJ") as client:
        with pytest.raises(ResponseError) as caught:
            await anext(aiter(client.tickets.list()))
    assert (caught.value.status, caught.value.body) == (200, body.encode())
    assert [attempt.status for attempt in caught.value.attempts] == [200]


async def test_a_long_page_is_read(wires, token):
    """A page may be longer than one record may be."""
    times = '"created_at":"2026-05-01T10:00:00Z","updated_at":"2026-05-01T10:00:00Z"'
    note = "x" * 400_000
    records = [f'{{"id":"{number}",{times},"note":"{note}"}}' for number in range(5)]
    body = f'{{"data":[{",".join(records)}]}}'
    wire = await wires.serve(wires.answer(200, body.encode()))
    async with RouteraClient(token, base_url=wire.url) as client:
        assert [ticket.custom["note"] async for ticket in client.tickets.list()] == [note] * 5


async def test_properties_of_a_create(wires, flat, new, token):
    """A create can ask for custom fields in its answer."""
    wire = await wires.serve(wires.answer(201, flat))
    async with RouteraClient(token, base_url=wire.url) as client:
        await client.tickets.create(new, properties=["priority"])
        await client.tickets.create(new)
    first, second = (head.split(b" ")[1] for head in wire.requests)
    assert (first, second) == (b"/tickets?properties=priority", b"/tickets")


async def test_a_minted_key(sandbox):
    """With mint_external_ids a create without a key gets one, and a key that was given stays."""
    async with RouteraClient(sandbox.token, base_url=sandbox.url, mint_external_ids=True) as client:
        first, second = [await client.tickets.create(named("Lamp")) for _ in range(2)]
        kept = await client.tickets.create(named("Lamp", external_id="k1"))
    assert uuid.UUID(first.external_id).version == 4
    assert first.external_id != second.external_id
    assert kept.external_id == "k1"


@pytest.mark.parametrize("mint", [True, False])
async def test_a_minted_key_makes_a_create_repeatable(wires, flat, unkeyed, token, mint):
    """A create with a minted key is sent again after a lost answer, with the same key."""
    wire = await wires.serve(wires.CLOSE, wires.answer(201, flat))
    settings = {"retry": RetryPolicy(wait_initial=0), "mint_external_ids": mint}
    async with RouteraClient(token, base_url=wire.url, **settings) as client:
        if mint:
            await client.tickets.create(unkeyed)
            assert wire.bodies[0] == wire.bodies[1]
        else:
            with pytest.raises(OutcomeUnknown):
                await client.tickets.create(unkeyed)
    assert len(wire.requests) == 1 + mint


@pytest.mark.parametrize("lost", [True, False])
async def test_a_duplicate_of_a_minted_key_is_ours(wires, unkeyed, token, lost):
    """A 409 on a key that was minted here proves that we created it: nobody else can hold it.

    It may be the first answer: a proxy repeats a POST of its own accord.
    """
    wire = await wires.serve(*([wires.CLOSE] if lost else []), wires.answer(409, b"{}"))
    settings = {"retry": RetryPolicy(wait_initial=0), "mint_external_ids": True}
    async with RouteraClient(token, base_url=wire.url, **settings) as client:
        (each,) = await collected(client.tickets.create_many([unkeyed]))
    assert (each.status, each.error.outcome, each.error.ours) == ("created", "created", True)
    assert each.record is None
    assert each.external_id == each.error.external_id == key_of(wire.bodies[-1])


async def test_many_are_created(client, sandbox):
    """Each record of an input has one outcome, and the rest go on whatever one of them meets."""
    await client.tickets.create(named("Lamp", external_id="taken"))
    rows = [
        named("A", external_id="k1"),
        named("B", external_id="taken"),
        {"ticket_name": "C"},
        named("D", custom={"id": "x"}),
        named("E"),
        5,
    ]
    outcomes = await collected(client.tickets.create_many(rows, concurrency=2))
    assert [(each.row, each.status, each.external_id) for each in outcomes] == [
        (0, "created", "k1"),
        (1, "duplicate", "taken"),
        (2, "rejected", None),
        (3, "rejected", None),
        (4, "created", None),
        (5, "rejected", None),
    ]
    assert [each.given for each in outcomes] == rows
    assert [type(each.error).__name__ for each in outcomes] == [
        "NoneType",
        "DuplicateError",
        "ValidationError",
        "ValidationError",
        "NoneType",
        "ValidationError",
    ]
    assert outcomes[0].record.external_id == "k1"
    assert [len(each.attempts) for each in outcomes] == [1, 1, 0, 0, 1, 0]
    assert sandbox.store.count("tickets") == 3


@pytest.fixture
async def tacit():
    """Run a sandbox whose answer to a create holds the default fields alone, and a client of it."""
    async with (
        Sandbox(any_field=True, echo=False) as sandbox,
        RouteraClient(sandbox.token, base_url=sandbox.url) as client,
    ):
        yield client


async def test_an_answer_to_a_create_that_lacks_what_was_asked(tacit):
    """A create is read whatever of the record its answer holds; `get` gives the rest."""

    @attrs.frozen(kw_only=True)
    class Rated(Ticket):
        csat: float | None = None

    ticket = await tacit.tickets.create(named("A", custom={"csat": 5}), properties=["csat"])
    assert (ticket.ticket_name, ticket.custom) == ("A", {})
    assert (await tacit.tickets.get(ticket.id, properties=["csat"])).custom == {"csat": 5}
    rated = tacit.objects(Rated)
    ticket = await rated.create(named("B", custom={"csat": 4}))
    assert ticket.csat is None
    assert (await rated.get(ticket.id)).csat == 4
    assert (await rated.update(ticket.id, {"csat": 3})).csat == 3
    assert (await tacit.tickets.update(ticket.id, {"csat": 2})).custom == {}
    assert (await rated.archive(ticket.id)).csat == 2
    rows = [named(f"{n}", external_id=f"{n}", custom={"csat": n}) for n in range(3)]
    outcomes = await collected(rated.create_many(rows))
    assert [(each.status, each.record.external_id) for each in outcomes] == [
        ("created", f"{n}") for n in range(3)
    ]


async def test_a_required_attribute_that_the_answer_to_a_create_lacks(tacit):
    """An attribute without a default is missing then: the error says that the record exists."""

    @attrs.frozen(kw_only=True)
    class Rated(Ticket):
        csat: float

    with pytest.raises(ResponseError, match=r"missing @ \$.csat") as caught:
        await tacit.objects(Rated).create(named("A", custom={"csat": 5}))
    assert caught.value.outcome == "created"
    assert (await tacit.objects(Rated).get(caught.value.id)).csat == 5


async def test_custom_that_is_no_mapping(client, sandbox):
    """A `custom` that is no mapping breaks a rule: one row's is its own, and stops no import."""
    for custom in ([1], "ab", 5):
        with pytest.raises(ValidationError, match="custom must be a mapping, not"):
            await client.tickets.create(named("A", custom=custom))
    rows = [named("A", custom=[1]), named("B")]
    outcomes = await collected(client.tickets.create_many(rows))
    assert [each.status for each in outcomes] == ["rejected", "created"]
    assert sandbox.request_count == 1


@pytest.mark.parametrize("properties", [None, 5, [1], "priority", b"ab", [["a"]]])
async def test_properties_that_are_no_names(client, sandbox, properties):
    """`properties` is a list of names for every verb; anything else is refused before sending."""
    tickets = client.tickets
    with pytest.raises(ConfigurationError, match="properties must be a list of names"):
        tickets.list(properties=properties)
    for call in (
        tickets.create(named("A"), properties=properties),
        tickets.get("1", properties=properties),
        tickets.update("1", {}, properties=properties),
        tickets.find("k", properties=properties),
    ):
        with pytest.raises(ConfigurationError, match="properties must be a list of names"):
            await call
    assert sandbox.request_count == 0


@pytest.mark.parametrize("archived", ["false", None, 0])
def test_archived_is_true_or_false(archived):
    """A text is not taken for True, whatever it says."""
    with pytest.raises(ConfigurationError, match="archived must be True or False"):
        RouteraClient("eyJ").tickets.list(archived=archived)


async def test_many_are_parsed(client):
    """`parse` gives what is to be created of each record of the input."""

    async def numbers():
        for number in range(3):
            yield number

    outcomes = await collected(
        client.tickets.create_many(numbers(), parse=lambda number: named(f"T{number}"))
    )
    assert [each.given for each in outcomes] == [0, 1, 2]
    assert [each.record.ticket_name for each in outcomes] == ["T0", "T1", "T2"]


async def test_a_created_record_that_cannot_be_read(wires, new, token):
    """A record whose answer was lost is created, without a record and with the error."""
    wire = await wires.serve(wires.answer(201, b'{"id": "550e8400"}'))
    async with RouteraClient(token, base_url=wire.url) as client:
        (outcome,) = await collected(client.tickets.create_many([new]))
    assert (outcome.status, outcome.record) == ("created", None)
    assert type(outcome.error) is ResponseError
    assert outcome.error.id == "550e8400"
    assert [attempt.outcome for attempt in outcome.attempts] == ["created"]


async def test_a_read_that_cannot_be_read(wires, token):
    """A get or a list whose answer cannot be read was done: its outcome is the one of any 2xx."""
    wire = await wires.serve(wires.answer(200, b'{"id": "1"}'), wires.answer(200, b"[]"))
    async with RouteraClient(token, base_url=wire.url) as client:
        for call in (client.tickets.get("1"), anext(aiter(client.tickets.list()))):
            with pytest.raises(ResponseError) as caught:
                await call
            assert (caught.value.outcome, caught.value.status) == ("created", 200)
    assert len(wire.requests) == 2
    assert "of a get or a list, that it was answered" in " ".join(ResponseError.__doc__.split())


async def test_a_fault_of_the_account_stops_all(sandbox):
    """A token that is refused stops the import: nothing is burnt, and the error is raised."""
    expired = sandbox.mint_token(ttl=0)
    outcomes = []
    async with RouteraClient(expired, base_url=sandbox.url) as client:
        rows = (named(f"T{number}") for number in range(1000))
        created = client.tickets.create_many(rows, concurrency=4)
        with pytest.raises(UnauthorizedError):
            await exhaust(created, outcomes)
    assert {outcome.status for outcome in outcomes} == {"not_sent"}
    assert len(outcomes) == sandbox.request_count <= 4


@pytest.mark.parametrize(
    ("asked", "most"), [(0, 100), (-1, 100), (101, 100), (3, 2), ("3", 100), (2.0, 100), (True, 9)]
)
def test_a_concurrency_that_cannot_be(asked, most):
    """`concurrency` is 1 to max_connections."""
    client = RouteraClient("eyJ", max_connections=most)
    with pytest.raises(ConfigurationError, match=f"1 to {most}"):
        client.tickets.create_many([], concurrency=asked)


@pytest.mark.parametrize("key", [123, ["x"], True])
async def test_a_key_that_is_no_text_is_not_told(sandbox, key):
    """What a refusal tells as external_id is a text or None, alone as in bulk."""
    fields = {"ticket_name": "a", "pipeline": "b", "ticket_stage": "c", "external_id": key}
    async with RouteraClient(sandbox.token, base_url=sandbox.url) as client:
        with pytest.raises(BadRequestError) as caught:
            await client.tickets.create(fields)
        (outcome,) = [each async for each in client.tickets.create_many([fields])]
    assert (outcome.status, outcome.external_id) == ("rejected", None)
    assert caught.value.external_id is None


@pytest.mark.parametrize("journal", [Path("import.journal"), "import.journal", True])
async def test_a_journal_that_is_not_open(journal):
    """The path of a journal is none, and how one is opened is said at the call."""
    client = RouteraClient("eyJ")
    with pytest.raises(ConfigurationError, match=r"journal must be an open one.*Journal\.open"):
        client.tickets.create_many([], journal=journal)
    with pytest.raises(ConfigurationError, match=r"journal must be an open one.*Journal\.open"):
        await client.tickets.reconcile(journal, last_sent=0.0)


@pytest.mark.parametrize(
    ("settings", "asked", "width"), [({}, None, 32), ({"max_connections": 7}, None, 7), ({}, 3, 3)]
)
def test_how_many_are_under_way(virtually, answers, flat, new, settings, asked, width):
    """`create_many` has 32 under way unless told, and never more than max_connections."""
    under_way, most = 0, 0

    def watch(event):
        nonlocal under_way, most
        under_way += {AttemptStarted: 1, AttemptFinished: -1}.get(type(event), 0)
        most = max(most, under_way)

    async def after_a_second(url, **_):
        await asyncio.sleep(1)
        return CallbackResult(status=201, body=flat)

    answers.post("https://api.routera.io/tickets", callback=after_a_second, repeat=True)

    async def main():
        async with RouteraClient("eyJ", hooks=[watch], **settings) as client:
            rows = [attrs.evolve(new, external_id=str(number)) for number in range(300)]
            return await collected(client.tickets.create_many(rows, concurrency=asked))

    assert len(virtually(main())) == 300
    assert most == width
