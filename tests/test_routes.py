"""Every route of the API and every status that it documents: what comes of it, and what is stored.

The API's own words for each are in API.md. One call, one attempt, against the sandbox.
"""

import datetime as dt
from collections.abc import Callable

import attrs
import pytest

from routera_async import (
    APIStatusError,
    BadRequestError,
    ClientCredentials,
    Company,
    ConfigurationError,
    Contact,
    Deal,
    DispatchResult,
    DuplicateError,
    NewCompany,
    NewContact,
    NewDeal,
    NewTicket,
    NotFoundError,
    OutcomeUnknown,
    ResponseError,
    RetryPolicy,
    Router,
    RouteraClient,
    RouteraError,
    ServerError,
    Ticket,
    UnauthorizedError,
    ValidationError,
)
from routera_async import sandbox as own
from routera_async.sandbox import Fault, Sandbox

PLURALS = ("contacts", "companies", "deals", "tickets")
NOBODY = "00000000-0000-4000-8000-000000000000"
ROUTER = own.Router("Inbound", "tickets", ["jane@example.com"])

ONCE = RetryPolicy(max_attempts=1)
TWICE = RetryPolicy(max_attempts=2, wait_initial=0)

NEW = {
    "contacts": NewContact(email="a@example.com", external_id="new"),
    "companies": NewCompany(website_url="a.example", external_id="new"),
    "deals": NewDeal(deal_name="a", pipeline="b", deal_stage="c", external_id="new"),
    "tickets": NewTicket(ticket_name="a", pipeline="b", ticket_stage="c", external_id="new"),
}
KINDS = {"contacts": Contact, "companies": Company, "deals": Deal, "tickets": Ticket}
NAMES = {
    "contacts": "first_name",
    "companies": "company_name",
    "deals": "deal_name",
    "tickets": "ticket_name",
}
"""A text field of each."""


class World:
    """A sandbox with an active record, another, and an archived one of the kind in question."""

    def __init__(self, sandbox, client, plural) -> None:
        self.sandbox = sandbox
        self.client = client
        self.plural = plural
        self.name = NAMES[plural]
        self.new = NEW[plural]
        self.objects = getattr(client, plural)

    async def fill(self):
        """Create what is there before the call."""
        for key in ("held", "other", "gone"):
            given = {self.name: key, "external_id": key}
            fields = {"pipeline": "b", "ticket_stage": "c"} if self.plural == "tickets" else {}
            fields |= {"pipeline": "b", "deal_stage": "c"} if self.plural == "deals" else {}
            record = await self.objects.create(given | fields)
            setattr(self, key, record.id)
        await self.objects.archive(self.gone)
        self.before = self.stored()

    def stored(self):
        """Return all that the store holds of the kind, by id."""
        return {flat["id"]: flat for flat in self.sandbox.store.records(self.plural, archived=True)}

    def done(self):
        """Return what happened in the store since."""
        after = self.stored()
        changes = ["created"] * len(after.keys() - self.before.keys())
        for id_, flat in self.before.items():
            if after[id_]["archived"] != flat["archived"]:
                changes.append("archived")
            elif after[id_] != flat:
                changes.append("changed")
        return " ".join(changes) or "nothing"

    def break_(self, method, path):
        """Let the next such request meet a 500 before anything is done."""
        self.sandbox.faults.script(Fault("error_before_commit", on=f"{method} {path}"))


@attrs.frozen
class Case:
    """A call that is answered with `status`, and what must come of it."""

    route: str
    status: int
    call: Callable
    result: type
    """What is returned, or raised."""
    outcome: str | None = None
    """Of the error."""
    done: str = "nothing"


def _broken(route, call):
    """Return a call that meets a 500."""
    method, _, path = route.partition(" ")

    async def broken(world):
        world.break_(method, path.replace("{plural}", world.plural).replace("{id}", "*"))
        return await call(world)

    return broken


def _unknown_to(token, call):
    """Return a call with a token that is refused."""

    async def refused(world):
        world.client = RouteraClient(token(world), base_url=world.sandbox.url, retry=ONCE)
        world.objects = getattr(world.client, world.plural)
        async with world.client:
            return await call(world)

    return refused


def expired(world):
    """Return a token that has expired."""
    return world.sandbox.mint_token(ttl=0)


def without_account(world):
    """Return a token without the account context."""
    return world.sandbox.mint_token(account_id=None)


async def met(call):
    """Return what a call returns or raises."""
    try:
        return await call
    except RouteraError as error:
        return error


async def first_page(listing):
    """Return the first page of a list."""
    return await anext(listing.pages())


async def count(listing):
    """Return the keys of all that is listed, as a type of its own."""
    return Listed([record.external_id async for record in listing])


class Listed(list):
    """What a list gave."""


POST, GET, LIST = "POST /{plural}", "GET /{plural}/{id}", "GET /{plural}"
PATCH, DELETE = "PATCH /{plural}/{id}", "DELETE /{plural}/{id}"


def create(world):
    """Create the new record."""
    return world.objects.create(world.new)


def read(world):
    """Get the active record."""
    return world.objects.get(world.held, properties=["csat"])


def read_all(world):
    """List all."""
    return count(world.objects.list())


def update(world):
    """Change the active record."""
    return world.objects.update(world.held, {world.name: "changed", "csat": None})


def archive(world):
    """Archive the active record."""
    return world.objects.archive(world.held)


def creates():
    """Yield what is asked of POST."""
    yield Case(POST, 201, create, "record", done="created")
    yield Case(
        POST,
        201,
        lambda world: world.objects.create(attrs.evolve(world.new, external_id="gone")),
        "record",
        done="created",
    )
    for custom in ({"unheard_of": 1}, {"csat": "five"}, {"priority": "urgent"}):
        yield Case(
            POST,
            400,
            lambda world, custom=custom: world.objects.create(
                attrs.evolve(world.new, custom=custom)
            ),
            BadRequestError,
            "rejected",
        )
    yield Case(
        POST,
        409,
        lambda world: world.objects.create(attrs.evolve(world.new, external_id="held")),
        DuplicateError,
        "duplicate",
    )


def reads():
    """Yield what is asked of GET."""
    yield Case(GET, 200, read, "record")
    yield Case(GET, 200, lambda world: world.objects.get(world.gone), "record")
    yield Case(
        GET,
        400,
        lambda world: world.objects.get(world.held, properties=["unheard_of"]),
        BadRequestError,
        "rejected",
    )
    yield Case(GET, 404, lambda world: world.objects.get(NOBODY), NotFoundError, "rejected")
    yield Case(LIST, 200, read_all, Listed)
    yield Case(
        LIST,
        400,
        lambda world: first_page(world.objects.list(properties=["unheard_of"])),
        BadRequestError,
        "rejected",
    )


def changes():
    """Yield what is asked of PATCH and DELETE."""
    yield Case(PATCH, 200, update, "record", done="changed")
    for changes in ({"unheard_of": 1}, {"csat": "five"}):
        yield Case(
            PATCH,
            400,
            lambda world, changes=changes: world.objects.update(world.held, changes),
            BadRequestError,
            "rejected",
        )
    for id_ in ("gone", "nobody"):
        yield Case(
            PATCH,
            404,
            lambda world, id_=id_: world.objects.update(
                getattr(world, id_, NOBODY), {world.name: "changed"}
            ),
            NotFoundError,
            "rejected",
        )
        yield Case(
            DELETE,
            404,
            lambda world, id_=id_: world.objects.archive(getattr(world, id_, NOBODY)),
            NotFoundError,
            "rejected",
        )
    yield Case(
        PATCH,
        409,
        lambda world: world.objects.update(world.held, {"external_id": "other"}),
        DuplicateError,
        "duplicate",
    )
    yield Case(
        PATCH,
        200,
        lambda world: world.objects.update(world.held, {"external_id": "gone"}),
        "record",
        done="changed",
    )
    yield Case(DELETE, 200, archive, "record", done="archived")
    # An id that is missing is a 400 as well, but the client sends no such request.
    for route, call in [
        (GET, lambda world: world.objects.get("")),
        (PATCH, lambda world: world.objects.update("", {})),
        (DELETE, lambda world: world.objects.archive("")),
    ]:
        yield Case(route, 400, call, ValidationError, "not_sent")


def refusals():
    """Yield what any of them may be answered with."""
    for route, call in [
        (POST, create),
        (GET, read),
        (LIST, read_all),
        (PATCH, update),
        (DELETE, archive),
    ]:
        for token in (expired, without_account):
            yield Case(route, 401, _unknown_to(token, call), UnauthorizedError, "rejected")
        if route not in {GET, DELETE}:
            yield Case(route, 500, _broken(route, call), ServerError, "unknown")


def cases_of_the_rest():
    """Yield what routers, dispatch and the token route are asked."""
    one, all_, run = "GET /routers/{id}", "GET /routers", "POST /dispatch/router"
    token = "POST /oauth2/token"

    def read(world):
        return world.client.routers.get(ROUTER.id)

    async def list_(world):
        return Listed([router.id async for router in world.client.routers.list()])

    def dispatch(world):
        return world.client.dispatch(router_id=ROUTER.id, object_id=world.held)

    async def with_credentials(world, secret=None):
        auth = ClientCredentials(world.sandbox.client_id, secret or world.sandbox.client_secret)
        url = world.sandbox.url
        async with RouteraClient(auth, base_url=url, retry=ONCE) as client:
            return await client.tickets.get(world.held)

    yield Case(one, 200, read, Router)
    yield Case(one, 400, lambda world: world.client.routers.get("x"), BadRequestError, "rejected")
    yield Case(one, 404, lambda world: world.client.routers.get(NOBODY), NotFoundError, "rejected")
    yield Case(all_, 200, list_, Listed)
    yield Case(
        all_,
        400,
        lambda world: world.client.request("GET", "/routers", params={"limit": "0"}),
        BadRequestError,
        "rejected",
    )
    yield Case(run, 200, dispatch, DispatchResult, done="changed")
    for router_id, object_id in [(NOBODY, "held"), (ROUTER.id, "gone"), (ROUTER.id, "nobody")]:
        yield Case(
            run,
            200,
            lambda world, router_id=router_id, object_id=object_id: world.client.dispatch(
                router_id=router_id, object_id=getattr(world, object_id, NOBODY)
            ),
            DispatchResult,
        )
    yield Case(
        run,
        400,
        lambda world: world.client.dispatch(router_id="", object_id=world.held),
        BadRequestError,
        "rejected",
    )
    for route, call in [(one, read), (all_, list_), (run, dispatch)]:
        yield Case(route, 401, _unknown_to(expired, call), UnauthorizedError, "rejected")
        if route != all_:
            yield Case(route, 500, _broken(route, call), ServerError, "unknown")
    yield Case(token, 200, with_credentials, Ticket)
    yield Case(
        token,
        401,
        lambda world: with_credentials(world, secret="wrong"),
        ConfigurationError,
        "not_sent",
    )
    yield Case(
        token,
        400,
        lambda world: world.client.request("POST", "/oauth2/token", json={}),
        BadRequestError,
        "rejected",
    )


DOCUMENTED = {
    ("POST /{plural}", 201),
    ("POST /{plural}", 400),
    ("POST /{plural}", 401),
    ("POST /{plural}", 409),
    ("POST /{plural}", 500),
    ("GET /{plural}/{id}", 200),
    ("GET /{plural}/{id}", 400),
    ("GET /{plural}/{id}", 401),
    ("GET /{plural}/{id}", 404),
    ("GET /{plural}", 200),
    ("GET /{plural}", 400),
    ("GET /{plural}", 401),
    ("GET /{plural}", 500),
    ("PATCH /{plural}/{id}", 200),
    ("PATCH /{plural}/{id}", 400),
    ("PATCH /{plural}/{id}", 401),
    ("PATCH /{plural}/{id}", 404),
    ("PATCH /{plural}/{id}", 409),
    ("PATCH /{plural}/{id}", 500),
    ("DELETE /{plural}/{id}", 200),
    ("DELETE /{plural}/{id}", 400),
    ("DELETE /{plural}/{id}", 401),
    ("DELETE /{plural}/{id}", 404),
    ("GET /routers", 200),
    ("GET /routers", 400),
    ("GET /routers", 401),
    ("GET /routers/{id}", 200),
    ("GET /routers/{id}", 400),
    ("GET /routers/{id}", 401),
    ("GET /routers/{id}", 404),
    ("GET /routers/{id}", 500),
    ("POST /dispatch/router", 200),
    ("POST /dispatch/router", 400),
    ("POST /dispatch/router", 401),
    ("POST /dispatch/router", 500),
    ("POST /oauth2/token", 200),
    ("POST /oauth2/token", 400),
    ("POST /oauth2/token", 401),
}
"""Each route of API.md and each status that it names."""

OF_OBJECTS = [*creates(), *reads(), *changes(), *refusals()]

TABLE = [
    *((plural, case) for plural in PLURALS for case in OF_OBJECTS),
    *(("tickets", case) for case in cases_of_the_rest()),
]


def id_of(value):
    """Return what a case is called."""
    return value if isinstance(value, str) else f"{value.route} {value.status}"


@pytest.fixture
async def world(request):
    """Run a sandbox of an account with two custom fields and a router, and fill it."""
    plural = getattr(request, "param", "tickets")
    fields = ["csat=number", "priority=dropdown:low,high"]
    async with (
        Sandbox(fields=fields, routers=[ROUTER]) as sandbox,
        RouteraClient(sandbox.token, base_url=sandbox.url, retry=ONCE) as client,
    ):
        filled = World(sandbox, client, plural)
        await filled.fill()
        yield filled


def test_the_table_is_whole():
    """The table has each route with each status that the API documents, and no other."""
    for plural in PLURALS:
        mine = {(case.route, case.status) for each, case in TABLE if each == plural}
        documented = {pair for pair in DOCUMENTED if "{plural}" in pair[0]}
        assert mine >= documented
    assert {(case.route, case.status) for _, case in TABLE} == DOCUMENTED


@pytest.mark.parametrize(("world", "case"), TABLE, indirect=["world"], ids=id_of)
async def test_every_route_and_status(world, case):
    """What a documented answer means: the value or the typed error, its outcome, what is stored."""
    requests = world.sandbox.request_count
    result = await met(case.call(world))
    assert type(result) is (KINDS[world.plural] if case.result == "record" else case.result)
    assert getattr(result, "outcome", None) == case.outcome
    assert world.done() == case.done
    if isinstance(result, ValidationError):
        assert world.sandbox.request_count == requests
    elif case.route != "POST /oauth2/token":
        assert world.sandbox.requests[-1].status == case.status
    if isinstance(result, APIStatusError):
        assert (result.status, result.attempts[-1].status) == (case.status, case.status)
        assert result.message


async def test_a_400_to_an_archive(wires, token):
    """A 400 that the sandbox has no reason for is a BadRequestError: nothing was done."""
    wire = await wires.serve(wires.answer(400, b'{"message": "bad id", "error": true}'))
    async with RouteraClient(token, base_url=wire.url) as client:
        with pytest.raises(BadRequestError, match="400: bad id") as caught:
            await client.tickets.archive("1")
    assert (caught.value.outcome, len(wire.requests)) == ("rejected", 1)


@pytest.mark.parametrize("world", PLURALS, indirect=True)
async def test_what_each_verb_returns(world):
    """Records come back as they are in the store: changed, archived, and by whom."""
    changed = await world.objects.update(
        world.held, {world.name: "changed", "priority": "low"}, properties=["csat"]
    )
    assert getattr(changed, world.name) == "changed"
    assert changed.custom == {"priority": "low", "csat": None}
    archived = await world.objects.archive(world.held)
    assert type(archived) is KINDS[world.plural]
    assert isinstance(archived.archived, dt.datetime)
    assert archived.archived_by == world.sandbox.client_id
    listed = await count(world.objects.list())
    assert listed == ["other"]
    assert await count(world.objects.list(archived=True)) == ["held", "other", "gone"]
    assert (await world.objects.get(world.held)).archived == archived.archived


# -- answers that are lost -------------------------------------------------------------------------

LOST = ("error_after_commit", "reset_after_commit", "disconnect_after_commit")
NOT_DONE = ("error_before_commit", "reset_before_commit", "disconnect_before_commit")


@pytest.fixture
def patient(world):
    """Return the verbs of a client that sends twice at the most."""
    return getattr(world.client.with_options(retry=TWICE), world.plural)


@pytest.mark.parametrize("fault", LOST + NOT_DONE)
@pytest.mark.parametrize("world", PLURALS, indirect=True)
async def test_an_archive_whose_answer_was_lost(world, patient, fault):
    """The archived record is returned, though the repeat of what was done meets a 404."""
    world.sandbox.faults.script(fault)
    record = await patient.archive(world.held)
    assert record.id == world.held
    assert isinstance(record.archived, dt.datetime)
    assert world.done() == "archived"
    sent = [request.method for request in world.sandbox.requests]
    again = ["DELETE", "DELETE", "GET"] if fault in LOST else ["DELETE", "DELETE"]
    assert sent[-len(again) :] == again


@pytest.mark.parametrize("fault", LOST + NOT_DONE)
async def test_an_archive_of_nothing_whose_answer_was_lost(world, patient, fault):
    """A 404 that stays one is a NotFoundError, whose outcome the lost answer leaves unknown."""
    world.sandbox.faults.script(fault)
    with pytest.raises(NotFoundError) as caught:
        await patient.archive(NOBODY)
    assert caught.value.outcome == "unknown"
    assert world.done() == "nothing"


async def test_an_archive_that_a_404_belies(wires, token, flat):
    """A record that is there and active after all was not archived: the 404 is raised."""
    wire = await wires.serve(wires.CLOSE, wires.answer(404, b"{}"), wires.answer(200, flat))
    async with RouteraClient(token, base_url=wire.url, retry=TWICE) as client:
        with pytest.raises(NotFoundError) as caught:
            await client.tickets.archive("1")
    assert caught.value.outcome == "unknown"
    assert [head[:3] for head in wire.requests] == [b"DEL", b"DEL", b"GET"]


@pytest.mark.parametrize("fault", LOST + NOT_DONE)
async def test_an_archive_whose_record_cannot_be_read_after(world, patient, fault):
    """When the archived record cannot be read after a lost answer, the 404 is what is raised."""
    world.sandbox.faults.script(fault, None, *[Fault("error_before_commit", on="GET /*")] * 2)
    if fault in LOST:
        with pytest.raises(NotFoundError) as caught:
            await patient.archive(world.held)
        assert caught.value.outcome == "unknown"
    else:
        await patient.archive(world.held)
    assert world.done() == "archived"


@pytest.mark.parametrize("fault", LOST + NOT_DONE)
@pytest.mark.parametrize("world", PLURALS, indirect=True)
async def test_an_update_whose_answer_was_lost(world, patient, fault):
    """An update is sent again after a lost answer, and the changed record is returned."""
    world.sandbox.faults.script(fault)
    record = await patient.update(world.held, {world.name: "changed", "external_id": "mine"})
    assert (getattr(record, world.name), record.external_id) == ("changed", "mine")
    assert world.done() == "changed"
    assert [request.method for request in world.sandbox.requests][-2:] == ["PATCH", "PATCH"]


@pytest.mark.parametrize("verb", ["update", "archive"])
@pytest.mark.parametrize("fault", ["disconnect_after_commit", "reset_after_commit"])
async def test_what_stays_unknown_says_so(world, fault, verb):
    """A change of which no answer comes is unknown: the error says what each attempt met."""
    faults = world.sandbox.faults
    faults.draw({fault: 1.0})
    objects = getattr(world.client.with_options(retry=TWICE), world.plural)
    with pytest.raises(OutcomeUnknown) as caught:
        await _changed(objects, verb, world)
    faults.clear()
    assert caught.value.outcome == "unknown"
    assert [attempt.outcome for attempt in caught.value.attempts] == ["unknown", "unknown"]
    assert all(attempt.sent and attempt.error for attempt in caught.value.attempts)
    assert world.done() == {"update": "changed", "archive": "archived"}[verb]


@pytest.mark.parametrize("verb", ["update", "archive"])
@pytest.mark.parametrize("done", [True, False])
async def test_a_change_that_ends_in_500(world, patient, verb, done):
    """A change whose every answer is a 500 is a ServerError, and unknown."""
    fault = "error_after_commit" if done else "error_before_commit"
    world.sandbox.faults.script(fault, fault)
    with pytest.raises(ServerError) as caught:
        await _changed(patient, verb, world)
    assert (caught.value.status, caught.value.outcome) == (500, "unknown")
    effect = {"update": "changed", "archive": "archived"}[verb]
    assert world.done() == (effect if done else "nothing")


@pytest.mark.parametrize("verb", ["update", "archive"])
async def test_a_change_whose_answer_cannot_be_read(world, patient, verb):
    """A change whose 200 is no JSON was done, and is not sent again."""
    before = world.sandbox.request_count
    world.sandbox.faults.script("bad_json")
    with pytest.raises(ResponseError) as caught:
        await _changed(patient, verb, world)
    assert (caught.value.status, caught.value.outcome) == (200, "created")
    assert world.sandbox.request_count == before + 1
    assert world.done() == {"update": "changed", "archive": "archived"}[verb]


async def test_an_update_that_meets_a_409_after_a_lost_answer(world, patient):
    """The 409 is typed, and unknown: the request whose answer was lost may have been done."""
    world.sandbox.faults.script("disconnect_before_commit")
    with pytest.raises(DuplicateError) as caught:
        await patient.update(world.held, {"external_id": "other"})
    assert (caught.value.outcome, caught.value.ours) == ("unknown", False)
    assert [attempt.outcome for attempt in caught.value.attempts] == ["unknown", "duplicate"]
    assert world.done() == "nothing"


@pytest.mark.parametrize("verb", ["update", "archive"])
async def test_a_change_that_is_not_let_in(world, patient, verb):
    """A 429 is sent again, and was not done before."""
    world.sandbox.faults.script("rate_limited")
    await _changed(patient, verb, world)
    assert world.done() == {"update": "changed", "archive": "archived"}[verb]
    assert world.sandbox.requests[-2].status == 429


def _changed(objects, verb, world):
    if verb == "archive":
        return objects.archive(world.held)
    return objects.update(world.held, {world.name: "changed"})
