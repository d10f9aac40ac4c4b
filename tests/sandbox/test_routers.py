"""Routers: how they are declared and kept, and what the API shows of them."""

import aiohttp
import pytest

from routera_async.sandbox import Router, RouterSettings, RouterUser, Sandbox, SandboxError

from .conftest import Client

NOW = "2026-05-01T10:00:00.250Z"
PLAIN = Router("Inbound", "contacts", ["jane@example.com", "joe@example.com"], teams=["Sales"])


async def test_a_router_is_shown_as_documented(client, sandbox):
    """GET answers every property of API.md, by id and in a page, without those of the sandbox."""
    router_id = sandbox.add_router(PLAIN)
    shown = {
        "id": router_id,
        "name": "Inbound",
        "object_type": "contacts",
        "has_integration": False,
        "is_published": True,
        "settings": {
            "overwrite": False,
            "owner_field": "contact_owner",
            "distribution_model": "round robin",
            "default_user": None,
            "disable_default_assignment": False,
            "ignore_working_hours": False,
            "account_matching": False,
            "rotation_type": "",
            "trigger": {"groups": [{"conditions": []}]},
        },
        "users": [{"email": "jane@example.com"}, {"email": "joe@example.com"}],
        "teams": [{"name": "Sales"}],
        "archived": False,
        "created_at": NOW,
        "updated_at": NOW,
    }
    assert await client.get(f"/routers/{router_id}") == (200, shown)
    assert await client.get(f"/routers/{router_id.upper()}") == (200, shown)
    page = {"data": [shown], "pagination": {"limit": 10, "offset": 0, "count": 1}}
    assert await client.get("/routers") == (200, page)


async def test_what_was_set_is_shown(client, sandbox):
    """Settings, an integration and an own id are shown as declared, and no settings as null."""
    settings = {"owner_field": "assignee", "trigger": {"groups": []}, "rotation_type": "weekly"}
    own = "0B5F6F0E-3B8A-4C8E-9E8F-2F6A5D1C7B3A"
    router = Router("Desk", "tickets", settings=settings, has_integration=True, id=own)
    assert sandbox.add_router(router) == own.lower()
    _, shown = await client.get(f"/routers/{own}")
    assert (shown["id"], shown["has_integration"]) == (own.lower(), True)
    assert shown["settings"] == shown["settings"] | settings
    bare = sandbox.add_router(Router("Bare", "deals", settings=None, is_published=False))
    _, shown = await client.get(f"/routers/{bare}")
    assert (shown["settings"], shown["is_published"]) == (None, False)


async def test_routers_are_paged_and_archived_like_objects(client, sandbox, clock):
    """An archived router leaves the list until it is asked for, and says when and by whom."""
    ids = [sandbox.add_router(Router(f"r{number}", "deals")) for number in range(3)]
    clock.now += 1
    sandbox.archive_router(ids[1])
    _, page = await client.get("/routers?limit=1&offset=1")
    assert ([router["id"] for router in page["data"]], page["pagination"]["count"]) == ([ids[2]], 2)
    _, page = await client.get("/routers?archived=true")
    assert [router["id"] for router in page["data"]] == ids
    _, shown = await client.get(f"/routers/{ids[1]}")
    at = "2026-05-01T10:00:01.250Z"
    assert (shown["archived"], shown["archived_by"]) == (at, sandbox.client_id)
    assert (await client.get("/routers?limit=0"))[0] == 400
    with pytest.raises(SandboxError, match="no active router has the id"):
        sandbox.archive_router(ids[1])


@pytest.mark.parametrize(
    ("router_id", "status"),
    [
        *(("", 400), ("nope", 400), ("{0b5f6f0e-3b8a-4c8e-9e8f-2f6a5d1c7b3a}", 400)),
        *(("0b5f6f0e3b8a4c8e9e8f2f6a5d1c7b3a", 400), ("0b5f6f0e-3b8a-4c8e-9e8f-2f6a5d1c7b3a", 404)),
    ],
)
async def test_an_id_is_a_uuid_or_refused(client, router_id, status):
    """400 for what is no UUID, 404 for one that no router has."""
    given, body = await client.get(f"/routers/{router_id}")
    assert (given, body["error"]) == (status, True)


async def test_a_router_is_its_accounts_own(client, sandbox):
    """Another account's routers are neither listed nor found, nor can one take its id."""
    router_id = sandbox.add_router(PLAIN, account_id="other")
    assert (await client.get("/routers"))[1]["data"] == []
    assert (await client.get(f"/routers/{router_id}"))[0] == 404
    with pytest.raises(SandboxError, match="router Inbound: its id is another account's"):
        sandbox.add_router(PLAIN)


async def test_a_router_takes_the_place_of_its_earlier_self(client, sandbox, clock):
    """One of the same name and object type is the same router: changed, and active again."""
    router_id = sandbox.add_router(PLAIN)
    sandbox.archive_router(router_id)
    clock.now += 1
    assert sandbox.add_router(Router("Inbound", "contacts", is_published=False)) == router_id
    _, shown = await client.get(f"/routers/{router_id}")
    assert (shown["is_published"], shown["users"], shown["archived"]) == (False, [], False)
    assert (shown["created_at"], shown["updated_at"]) == (NOW, "2026-05-01T10:00:01.250Z")
    assert sandbox.add_router(Router("Inbound", "deals")) != router_id


async def test_a_file_keeps_routers(tmp_path):
    """A restart on the same file has its routers, and declaring one again does not add to them."""
    async with Sandbox(db=tmp_path / "a.db", routers=[PLAIN, Router("Desk", "tickets")]):
        pass
    again = Sandbox(db=tmp_path / "a.db", routers=[PLAIN])
    async with again as sandbox, aiohttp.ClientSession() as session:
        _, page = await Client(session, sandbox.url, sandbox.token).get("/routers")
    assert [router["name"] for router in page["data"]] == ["Inbound", "Desk"]


PARTS = RouterSettings(distribution_model="percentage")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Router("r", "contact"), "router r: its object_type is one of contacts, companies"),
        (lambda: Router("r", "deals", id="x"), "router r: its id is a UUID, not 'x'"),
        (lambda: Router("r", "deals", hubspot_error="x"), "router r: hubspot_error needs has_int"),
        (
            lambda: Router("r", "deals", ["jane"]),
            "a router's user is an e-mail address, not 'jane'",
        ),
        (lambda: RouterUser("a@b", percentage=101), "a@b: a percentage is from 0 to 100, not 101"),
        (
            lambda: Router("r", "deals", [RouterUser("a@b", 60)], settings=PARTS),
            "router r: the percentages of its users are 60 together, not 100",
        ),
        (lambda: RouterSettings(distribution_model="dice"), "distribution_model is round robin or"),
        (lambda: RouterSettings(default_user="jane"), "default_user is an e-mail address"),
        (lambda: RouterSettings(trigger={}), "a trigger is "),
        (
            lambda: Sandbox(routers=[Router("r", "deals", settings={"owner_field": "note"})]),
            "router r: deals has no user field note",
        ),
        (
            lambda: Sandbox(routers=[Router("r", "deals", settings={"owner_field": "pipeline"})]),
            "router r: deals has no user field pipeline",
        ),
        (lambda: Sandbox(routers=[PLAIN, PLAIN]), "two routers of an object type have one name"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    """ValueError says in one line what is wrong with a declaration."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  its message is compared below
        make()
    assert str(caught.value).startswith(message)


def test_any_field_may_be_the_owner_field():
    """With any_field a router may write a field that is not declared, but no text of the type."""
    Sandbox(any_field=True, routers=[Router("r", "deals", settings={"owner_field": "handler"})])
    with pytest.raises(ValueError, match="deals has no user field deal_name"):
        Sandbox(
            any_field=True, routers=[Router("r", "deals", settings={"owner_field": "deal_name"})]
        )
