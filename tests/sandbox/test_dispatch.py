"""POST /dispatch/router: every documented answer, and who gets which object."""

import aiohttp
import orjson
import pytest

from routera_async.sandbox import Account, Router, RouterUser, Sandbox

from .conftest import Client

JANE, JOE = "jane@example.com", "joe@example.com"
NOBODY = "There are no users available and the backup user is disabled"


class Dispatcher:
    """Runs routers on contacts of its own."""

    def __init__(self, client, sandbox) -> None:
        self.client = client
        self.sandbox = sandbox

    async def contact(self, **fields):
        """Create a contact; return its id."""
        return (await self.client.create("contacts", **fields))[1]["id"]

    async def run(self, router_id, object_id):
        """Dispatch; return the answer's body, which is a 200."""
        body = orjson.dumps({"router_id": router_id, "object_id": object_id})
        status, answer, _ = await self.client.send("POST", "/dispatch/router", body)
        assert status == 200
        return answer

    async def route(self, *, users=(JANE,), contact=None, **router):
        """Declare a router and dispatch a new contact with it; return the answer's body."""
        router_id = self.sandbox.add_router(Router("r", "contacts", users, **router))
        return await self.run(router_id, await self.contact(**contact or {}))

    async def users(self, router_id, count):
        """Dispatch so many new contacts; return who got them, in order."""
        return [(await self.run(router_id, await self.contact()))["user"] for _ in range(count)]


@pytest.fixture
def dispatcher(client, sandbox):
    """Return a dispatcher of the sandbox."""
    return Dispatcher(client, sandbox)


@pytest.fixture
async def session():
    """Open an HTTP session."""
    async with aiohttp.ClientSession() as opened:
        yield opened


# -- assigned ---------------------------------------------------------------------------------


async def test_an_assignment_is_answered_and_written(dispatcher, client, sandbox, clock):
    """The answer is the documented one, and the object has the owner from then on."""
    router_id = sandbox.add_router(Router("r", "contacts", [JANE]))
    object_id = await dispatcher.contact()
    clock.now += 1
    assert list((await dispatcher.run(router_id, object_id)).items()) == [
        ("message", "The object was successfully assigned"),
        ("success", True),
        ("user", JANE),
        ("field_name", "contact_owner"),
        ("owner_assigned_at", "Fri, 01 May 2026 10:00:01 GMT"),
    ]
    _, contact = await client.get(f"/contacts/{object_id}")
    assert (contact["contact_owner"], contact["last_name"]) == (JANE, "Doe")
    assert contact["updated_at"] == "2026-05-01T10:00:01.250Z"


async def test_another_field_may_hold_the_owner(client, sandbox):
    """`owner_field` says which; the object type's own owner stays as it is."""
    router = Router("r", "tickets", [JANE], settings={"owner_field": "assignee"})
    _, ticket = await client.create(ticket_owner=JOE)
    answer = await Dispatcher(client, sandbox).run(sandbox.add_router(router), ticket["id"])
    assert (answer["field_name"], answer["user"]) == ("assignee", JANE)
    _, ticket = await client.get(f"/tickets/{ticket['id']}?properties=assignee")
    assert (ticket["assignee"], ticket["ticket_owner"]) == (JANE, JOE)


async def test_a_failed_sync_is_told_and_undoes_nothing(dispatcher, sandbox):
    """The assignment holds; the answer says that HubSpot does not know of it."""
    answer = await dispatcher.route(has_integration=True, hubspot_error="HubSpot is down")
    assert (answer["success"], answer["hubspot_sync_failed"]) == (True, True)
    assert answer["hubspot_error"] == "HubSpot is down"
    assert [contact["contact_owner"] for contact in sandbox.store.records("contacts")] == [JANE]


async def test_keys_survive_an_assignment(dispatcher, client):
    """An assigned record keeps its unique values: another create with them is a 409."""
    await dispatcher.route(contact={"external_id": "x", "email": JOE})
    assert (await client.create("contacts", external_id="x"))[0] == 409
    assert (await client.create("contacts", email=JOE))[0] == 409


# -- who --------------------------------------------------------------------------------------


async def test_users_take_turns(dispatcher, sandbox):
    """Round robin gives each user one after the other, in the order of the declaration."""
    router_id = sandbox.add_router(Router("r", "contacts", [JANE, JOE, "z@example.com"]))
    turns = await dispatcher.users(router_id, 7)
    assert turns == [JANE, JOE, "z@example.com", JANE, JOE, "z@example.com", JANE]


async def test_percentages_are_held(dispatcher, sandbox):
    """Each user gets the share that is due, at any time as near to it as one object allows."""
    users = [RouterUser(JANE, percentage=70), RouterUser(JOE, percentage=30)]
    users.append(RouterUser("z@example.com", percentage=0))
    settings = {"distribution_model": "percentage"}
    router_id = sandbox.add_router(Router("r", "contacts", users, settings=settings))
    given = await dispatcher.users(router_id, 20)
    assert (given.count(JANE), given.count(JOE)) == (14, 6)
    assert all(abs(given[:n].count(JANE) - 0.7 * n) < 1 for n in range(20))


async def test_a_user_outside_working_hours_is_passed_over(dispatcher, sandbox):
    """Unless the router ignores working hours, only who is available gets anything."""
    users = [RouterUser(JANE, available=False), RouterUser(JOE)]
    router_id = sandbox.add_router(Router("r", "contacts", users))
    assert await dispatcher.users(router_id, 2) == [JOE, JOE]
    settings = {"ignore_working_hours": True}
    sandbox.add_router(Router("r", "contacts", users, settings=settings))
    assert await dispatcher.users(router_id, 3) == [JANE, JANE, JANE]
    assert await dispatcher.users(router_id, 1) == [JOE]


async def test_the_backup_user_steps_in(dispatcher):
    """When no user is available the default user gets the object."""
    settings = {"default_user": JOE}
    assert (await dispatcher.route(users=(), settings=settings))["user"] == JOE
    away = [RouterUser(JANE, available=False)]
    assert (await dispatcher.route(users=away, settings=settings))["user"] == JOE
    assert (await dispatcher.route(settings=settings))["user"] == JANE


async def test_turns_outlive_a_restart(tmp_path, session):
    """A file keeps whose turn it is."""
    given = []
    for _ in range(3):
        sandbox = Sandbox(db=tmp_path / "a.db", routers=[Router("r", "contacts", [JANE, JOE])])
        async with sandbox:
            dispatcher = Dispatcher(Client(session, sandbox.url, sandbox.token), sandbox)
            given += await dispatcher.users(Router("r", "contacts").id, 1)
    assert given == [JANE, JOE, JANE]


# -- not assigned -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("router", "contact", "message"),
    [
        ({"is_published": False}, {}, "The router is unpublished"),
        ({"settings": None}, {}, "The router has no settings"),
        ({}, {"contact_owner": JOE}, "The router can not overwrite"),
        ({"users": []}, {}, NOBODY),
        ({"users": [RouterUser(JANE, available=False)]}, {}, NOBODY),
        (
            {"users": [], "settings": {"default_user": JOE, "disable_default_assignment": True}},
            {},
            NOBODY,
        ),
        (
            {
                "settings": {
                    "trigger": {
                        "groups": [{"conditions": [{"field": "email", "operator": "is not empty"}]}]
                    }
                }
            },
            {},
            "Trigger did not match",
        ),
    ],
)
async def test_a_reason_not_to_assign_is_all_that_is_said(
    dispatcher, sandbox, router, contact, message
):
    """The documented message comes alone, with 200, and the object is as it was."""
    assert await dispatcher.route(contact=contact, **router) == {"message": message}
    (record,) = sandbox.store.records("contacts")
    assert record["contact_owner"] == contact.get("contact_owner")


async def test_an_owner_is_overwritten_on_demand(dispatcher):
    """With `overwrite` an object that has an owner gets another."""
    answer = await dispatcher.route(contact={"contact_owner": JOE}, settings={"overwrite": True})
    assert answer["user"] == JANE


async def test_a_router_that_is_not_there_is_not_found(dispatcher, sandbox):
    """An id that is none, unknown, another account's, or archived: 200, Router not found."""
    object_id = await dispatcher.contact()
    archived = sandbox.add_router(Router("archived", "contacts", [JANE]))
    sandbox.archive_router(archived)
    other = sandbox.add_router(Router("other", "contacts", [JANE]), account_id="other")
    for router_id in ("nope", Router("unknown", "contacts").id, archived, other):
        assert await dispatcher.run(router_id, object_id) == {"message": "Router not found"}


async def test_an_object_that_is_not_there_is_not_found(dispatcher, client, sandbox):
    """An unknown, an archived or another object type's id: 200, Object not found."""
    router_id = sandbox.add_router(Router("r", "contacts", [JANE]))
    archived = await dispatcher.contact()
    await client.archive(f"/contacts/{archived}")
    _, ticket = await client.create()
    for object_id in ("nope", archived, ticket["id"]):
        assert await dispatcher.run(router_id, object_id) == {"message": "Object not found"}


@pytest.mark.parametrize(
    ("accounts", "messages"),
    [
        ([Account("other")], ["Account not found"]),
        ([Account("sandbox", active=False)], ["Account is not active"]),
        ([Account("sandbox", assignment_limit=0)], ["Assignment limit reached"]),
        (
            [Account("sandbox", assignment_limit=2)],
            ["The object was successfully assigned"] * 2 + ["Assignment limit reached"],
        ),
        ([Account("sandbox")], ["The object was successfully assigned"] * 3),
    ],
)
async def test_the_account_must_allow_it(session, accounts, messages):
    """Once accounts are named only these exist; each is active or not, and may have a limit."""
    router = Router("r", "contacts", [JANE])
    async with Sandbox(accounts=accounts, routers=[router]) as sandbox:
        dispatcher = Dispatcher(Client(session, sandbox.url, sandbox.token), sandbox)
        for message in messages:
            answer = await dispatcher.run(router.id, await dispatcher.contact())
            assert answer["message"] == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Invalid JSON body"),
        (b"[]", "The body must be a JSON object"),
        (b'{"object_id": "x"}', "router_id is missing: give a string that is not blank"),
        (b'{"router_id": "x"}', "object_id is missing"),
        (b'{"router_id": null, "object_id": "x"}', "router_id is missing"),
        (b'{"router_id": "x", "object_id": 7}', "object_id is missing"),
        (b'{"router_id": "x", "object_id": " "}', "object_id is missing"),
    ],
)
async def test_a_body_that_lacks_something_is_answered_400(client, body, message):
    """Invalid JSON and missing fields are refused with the error body."""
    status, answer, _ = await client.send("POST", "/dispatch/router", body)
    assert (status, answer["error"]) == (400, True)
    assert answer["message"].startswith(message)
