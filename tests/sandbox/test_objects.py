"""The five routes of each object type, and every status that API.md documents for them."""

from uuid import UUID

import aiohttp
import pytest

from routera_async.sandbox import Sandbox
from routera_async.sandbox.app import ACCOUNT
from routera_async.sandbox.fields import ALWAYS, TICKETS

from .conftest import CUSTOM, LEAST, Client, written

NOW = "2026-05-01T10:00:00.250Z"
TIMES = ("created_at", "updated_at")


# -- POST /tickets ----------------------------------------------------------------------------


async def test_create_answers_201_with_the_seeds_flat_object(client):
    """A create answers the seed's keys in the seed's order, and no other."""
    status, body = await client.create(external_id="ext-001", ticket_owner="jane@example.com")
    assert status == 201
    assert list(body.items()) == [
        ("id", str(UUID(body["id"], version=4))),
        ("external_id", "ext-001"),
        ("created_at", NOW),
        ("updated_at", NOW),
        ("archived", False),
        ("ticket_name", "Lamp"),
        ("pipeline", "default"),
        ("ticket_stage", "new"),
        ("ticket_owner", "jane@example.com"),
    ]


@pytest.mark.parametrize("given", [{}, {"external_id": None, "ticket_owner": None}])
async def test_nullable_fields_are_null_when_absent(client, given):
    """external_id and ticket_owner are present and null when nothing, or null, was written."""
    _, body = await client.create(**given)
    assert (body["external_id"], body["ticket_owner"]) == (None, None)


async def test_a_whole_second_keeps_its_milliseconds(client, clock):
    """A time always shows milliseconds and Z, as the seed's example does."""
    clock.now = 1777629600.0
    assert (await client.create())[1]["created_at"] == "2026-05-01T10:00:00.000Z"


async def test_custom_fields_stand_at_the_top_level(client):
    """A create answers the custom fields that were written, and not those that were not."""
    custom = {
        "priority": "high",
        "csat": 4.5,
        "done": False,
        "due": "2026-05-01",
        "note": "two\nlines",
        "assignee": None,
    }
    _, body = await client.create(**custom)
    assert {name: body[name] for name in custom} == custom
    _, body = await client.create(csat=1)
    assert body["csat"] == 1
    assert "priority" not in body


async def test_a_create_takes_properties(client, sandbox):
    """`properties` adds to what a create answers, and an unknown one is 400: nothing is stored."""
    path = "/tickets?properties=note,csat"
    status, body, _ = await client.send("POST", path, written(csat=1, priority="low"))
    assert (status, body["csat"], body["note"], body["priority"]) == (201, 1, None, "low")
    status, body, _ = await client.send("POST", "/tickets?properties=colour", written())
    assert (status, body["message"]) == (400, 'properties: unknown property "colour"')
    assert sandbox.store.count() == 1


async def test_without_echo_a_write_answers_what_the_api_documents(clock):
    """With echo=False a create has the default properties alone, and an update what it is asked."""
    async with (
        Sandbox(fields=CUSTOM, clock=clock, echo=False) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        client = Client(session, sandbox.url, sandbox.token)
        for asked in ("", "?properties=csat", "?properties=colour"):
            status, body, _ = await client.send("POST", f"/tickets{asked}", written(csat=1))
            assert (status, {*body}) == (201, {*ALWAYS, *TICKETS.defaults})
            path = f"/tickets/{body['id']}"
            assert sandbox.store.get(body["id"])["csat"] == 1
        _, body = await client.update(path, csat=2, note="a")
        assert {*body} == {*ALWAYS, *TICKETS.defaults}
        _, body = await client.update(f"{path}?properties=csat", csat=3, note="b")
        assert {*body} == {*ALWAYS, *TICKETS.defaults, "csat"}


INVALID_BODIES = [
    (b"", "Invalid JSON body"),
    (b"{", "Invalid JSON body"),
    (b'{"fields": {"ticket_name": "\xff"}}', "Invalid JSON body"),
    (b'{"fields": {"ticket_name": "\\ud800"}}', "Invalid JSON body"),
    (b'{"fields": {"csat": NaN}}', "Invalid JSON body"),
    (b'{"fields": {"csat": Infinity}}', "Invalid JSON body"),
    (b'{"fields": {"csat": 1e400}}', "Invalid JSON body"),
    (b'{"fields": ' + b"[" * 200 + b"]" * 200 + b"}", "nested more than 100 levels"),
    (b'{"fields": ' + b"[" * 9999 + b"]" * 9999 + b"}", "Invalid JSON body"),
    (b"[]", "must be a JSON object"),
    (b'"fields"', "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b"{}", "fields is missing"),
    (b'{"fields": null}', "fields must be an object"),
    (b'{"fields": []}', "fields must be an object"),
    (written(ticket_name=...), "Required and missing or null: ticket_name"),
    (written(ticket_stage=None), "Required and missing or null: ticket_stage"),
    (written(pipeline=...), "Required and missing or null: pipeline"),
    (b'{"fields": {}}', "missing or null: ticket_name, ticket_stage, pipeline"),
    (written(ticket_name=""), "ticket_name must be a string that is not blank"),
    (written(ticket_stage=" \t"), "ticket_stage must be a string that is not blank"),
    (written(pipeline="\n"), "pipeline must be a string that is not blank"),
    (written(external_id=""), "external_id must be a string that is not blank"),
    (written(ticket_name=7), "ticket_name must be a string that is not blank, not 7"),
    (written(external_id=1), "external_id must be a string"),
    (written(pipeline=["a"]), "pipeline must be a string that is not blank, not a list"),
    (written(ticket_stage={}), "ticket_stage must be a string that is not blank, not an object"),
    (written(ticket_owner="jane"), 'ticket_owner must be a user\'s e-mail address, not "jane"'),
    (written(ticket_owner=""), "ticket_owner must be a user's e-mail address"),
    (written(colour="red"), 'Unknown field: "colour"'),
    (written(id="x"), "id is set by the system and cannot be written"),
    (written(created_at=NOW), "created_at is set by the system"),
    (written(updated_at=None), "updated_at is set by the system"),
    (written(archived=False), "archived is set by the system"),
    (written(archived_by="x"), "archived_by is set by the system"),
    (written(priority="urgent"), 'priority must be one of low, high, not "urgent"'),
    (written(csat=True), "csat must be a number, not true"),
    (written(done="yes"), 'done must be true or false, not "yes"'),
    (written(due="01/05/2026"), "due must be a date"),
    (written(note=1.5), "note must be a string, not 1.5"),
    (written(assignee="a@b@c"), "assignee must be a user's e-mail"),
]


@pytest.mark.parametrize(("body", "message"), INVALID_BODIES, ids=lambda value: str(value)[:40])
async def test_create_answers_400_and_says_what_is_wrong(client, sandbox, body, message):
    """A body that breaks a rule is refused with a message about it, and nothing is stored."""
    status, answer, _ = await client.send("POST", "/tickets", body)
    assert status == 400
    assert answer == {"message": answer["message"], "error": True}
    assert message in answer["message"]
    assert sandbox.store.count(archived=True) == 0


async def test_a_long_value_is_cut_in_the_message(client):
    """An error message stays short when the value that it shows does not."""
    _, body = await client.create(assignee="x" * 10_000)
    assert len(body["message"]) < 200


async def test_create_answers_409_for_an_active_duplicate(client, sandbox):
    """An external_id that an active record holds is refused, and the first record stays."""
    _, first = await client.create(external_id="ext-001")
    status, body = await client.create(external_id="ext-001", ticket_name="Other")
    assert (status, body) == (
        409,
        {
            "message": 'Duplicate: an active record of tickets has the external_id "ext-001"',
            "error": True,
        },
    )
    assert list(sandbox.store.records()) == [first]


async def test_records_without_an_external_id_are_no_duplicates(client):
    """Any number of records may have no external_id."""
    assert [(await client.create())[0] for _ in range(3)] == [201, 201, 201]


async def test_an_archived_records_external_id_may_be_used_again(client, sandbox):
    """409 is about active records only."""
    _, first = await client.create(external_id="ext-001")
    assert sandbox.store.archive(ACCOUNT, "tickets", first["id"], at=NOW, by="someone")
    assert (await client.create(external_id="ext-001"))[0] == 201


# -- GET /tickets/{id} ------------------------------------------------------------------------


async def test_get_answers_the_default_properties(client):
    """Without `properties` a record comes with the default set, ticket_stage and the times."""
    _, created = await client.create(external_id="ext-001", note="hello")
    status, body = await client.get(f"/tickets/{created['id']}")
    assert status == 200
    assert list(body) == [
        "id",
        "external_id",
        "created_at",
        "updated_at",
        "archived",
        "ticket_name",
        "pipeline",
        "ticket_stage",
        "ticket_owner",
    ]
    assert body == {name: created[name] for name in body}


async def test_properties_are_added_to_the_default_set(client):
    """What `properties` names comes too: null where the record has no value."""
    _, created = await client.create(note="hello")
    _, plain = await client.get(f"/tickets/{created['id']}")
    _, body = await client.get(f"/tickets/{created['id']}?properties=note,%20csat,id")
    assert body == plain | {"note": "hello", "csat": None}
    _, body = await client.get(f"/tickets/{created['id']}?properties=")
    assert body == plain


@pytest.mark.parametrize("asked", ["colour", "note,colour", "note,", ",", "Note"])
@pytest.mark.parametrize("path", ["/tickets", "/tickets/{id}"])
async def test_an_unknown_property_is_answered_400(client, path, asked):
    """A name that is no field, also an empty one, is refused by both reads."""
    _, created = await client.create()
    status, body = await client.get(f"{path.format(**created)}?properties={asked}")
    unknown = asked.rpartition(",")[2] if asked != "note," else ""
    assert (status, body) == (
        400,
        {"message": f'properties: unknown property "{unknown}"', "error": True},
    )


async def test_an_archived_record_says_when_and_by_whom(client, sandbox):
    """`archived` is then a timestamp, and archived_by is there without being asked for."""
    _, created = await client.create()
    assert "archived_by" not in created
    sandbox.store.archive(ACCOUNT, "tickets", created["id"], at=NOW, by="someone")
    _, body = await client.get(f"/tickets/{created['id']}")
    assert body == created | {"archived": NOW, "archived_by": "someone"}


# -- contacts, companies, deals ---------------------------------------------------------------


SHOWN = {
    "contacts": ["first_name", "last_name", "email", "contact_owner"],
    "companies": ["company_name", "description", "industry", "company_owner"],
    "deals": ["deal_name", "pipeline", "deal_stage", "deal_owner"],
}


@pytest.mark.parametrize("plural", SHOWN)
async def test_each_type_has_its_own_default_properties(client, plural):
    """A create, GET and the list show the documented defaults, null where nothing was written."""
    status, created = await client.create(plural)
    assert status == 201
    assert list(created) == ["id", "external_id", *TIMES, "archived", *SHOWN[plural]]
    unset = [name for name in created if created[name] is None]
    assert sorted({*unset, *LEAST[plural]}) == sorted({"external_id", *SHOWN[plural]})
    assert await client.get(f"/{plural}/{created['id']}") == (200, created)
    assert (await client.get(f"/{plural}"))[1]["data"] == [created]


@pytest.mark.parametrize(
    ("plural", "fields", "message"),
    [
        (
            "contacts",
            {"last_name": ...},
            "At least one of email, first_name, last_name is required",
        ),
        ("contacts", {"last_name": " ", "email": None}, "At least one of email, first_name"),
        ("contacts", {"email": "jane"}, 'Field email must be an e-mail address, not "jane"'),
        ("contacts", {"contact_owner": "jane"}, "contact_owner must be a user's e-mail address"),
        ("contacts", {"ticket_name": "x"}, 'Unknown field: "ticket_name"'),
        ("companies", {"company_name": ...}, "At least one of company_name, website_url is"),
        ("companies", {"website_url": ""}, "website_url must be a string that is not blank"),
        ("companies", {"industry": 7}, "industry must be a string, not 7"),
        ("deals", {"deal_name": ...}, "Required and missing or null: deal_name"),
        ("deals", {"deal_stage": None, "pipeline": ...}, "or null: deal_stage, pipeline"),
        ("deals", {"deal_name": " "}, "deal_name must be a string that is not blank"),
        ("deals", {"assignee": "jane@example.com"}, 'Unknown field: "assignee"'),
    ],
)
async def test_each_type_has_its_own_rules(client, sandbox, plural, fields, message):
    """What a type needs and what its fields take is refused by name, and nothing is stored."""
    status, body = await client.create(plural, **fields)
    assert (status, body["error"]) == (400, True)
    assert message in body["message"]
    assert sandbox.store.count(plural, archived=True) == 0


@pytest.mark.parametrize(
    ("plural", "fields"),
    [
        ("contacts", {"email": "j@example.com", "last_name": ...}),
        ("contacts", {"first_name": "Jane", "last_name": ...}),
        ("companies", {"website_url": "example.com", "company_name": ...}),
    ],
)
async def test_any_one_of_the_needed_fields_will_do(client, plural, fields):
    """A contact and a company are complete with one of the fields that identify them."""
    status, body = await client.create(plural, **fields)
    assert (status, body) == (201, body | {name: v for name, v in fields.items() if v is not ...})


NATURAL = [("contacts", "email", "jane@example.com"), ("companies", "website_url", "example.com")]


@pytest.mark.parametrize(("plural", "name", "value"), NATURAL)
async def test_a_natural_key_is_unique_among_active_records(client, plural, name, value):
    """A create and an update answer 409 for a taken one; it is free once archived or cleared."""
    _, first = await client.create(plural, **{name: value})
    message = f'Duplicate: an active record of {plural} has the {name} "{value}"'
    refused = (409, {"message": message, "error": True})
    assert await client.create(plural, **{name: value}) == refused
    _, second = await client.create(plural)
    path = f"/{plural}/{second['id']}"
    assert await client.update(path, **{name: value}) == refused
    assert await client.get(path) == (200, second)
    assert (await client.update(f"/{plural}/{first['id']}", **{name: None}))[0] == 200
    assert (await client.update(path, **{name: value}))[0] == 200
    assert (await client.archive(path))[0] == 200
    assert (await client.create(plural, **{name: value}))[0] == 201


# -- PATCH ------------------------------------------------------------------------------------


async def test_an_update_changes_what_is_written_only(client, clock):
    """The answer shows the defaults and what was written; the time moves; the rest stays."""
    _, created = await client.create(external_id="x", note="old", csat=1)
    path = f"/tickets/{created['id']}"
    clock.now += 1
    status, body = await client.update(path, ticket_stage="closed", note="new")
    assert status == 200
    later = {"updated_at": "2026-05-01T10:00:01.250Z"}
    changed = created | later | {"ticket_stage": "closed", "note": "new"}
    assert body == {name: value for name, value in changed.items() if name != "csat"}
    assert await client.get(f"{path}?properties=note,csat") == (200, changed)


async def test_null_clears_a_field(client):
    """What is written as null is null from then on, and its key is free."""
    _, created = await client.create(external_id="x", ticket_owner="jane@example.com", note="old")
    cleared = {"external_id": None, "ticket_owner": None, "note": None}
    status, body = await client.update(f"/tickets/{created['id']}", **cleared)
    assert (status, body) == (200, created | cleared)
    assert (await client.create(external_id="x"))[0] == 201


async def test_an_update_shows_the_properties_asked_for(client):
    """`properties` adds to what an update answers, and an unknown one is 400 before any change."""
    _, created = await client.create(note="hello")
    path = f"/tickets/{created['id']}"
    _, body = await client.update(f"{path}?properties=note,csat", pipeline="other")
    assert (body["note"], body["csat"], body["pipeline"]) == ("hello", None, "other")
    assert (await client.update(f"{path}?properties=colour", pipeline="third"))[0] == 400
    assert (await client.get(path))[1]["pipeline"] == "other"


async def test_no_fields_change_nothing(client, clock):
    """An empty `fields` is answered with the record as it is; its time does not move."""
    _, created = await client.create()
    clock.now += 1
    assert await client.update(f"/tickets/{created['id']}") == (200, created)


@pytest.mark.parametrize(
    ("plural", "fields", "message"),
    [
        ("tickets", {"ticket_name": None}, "Required and missing or null: ticket_name"),
        ("tickets", {"pipeline": " "}, "pipeline must be a string that is not blank"),
        ("tickets", {"updated_at": NOW}, "updated_at is set by the system"),
        ("tickets", {"colour": "red"}, 'Unknown field: "colour"'),
        ("tickets", {"csat": "4"}, 'csat must be a number, not "4"'),
        ("contacts", {"last_name": None}, "At least one of email, first_name, last_name"),
        ("contacts", {"last_name": ""}, "At least one of email, first_name, last_name"),
        ("companies", {"company_name": None, "industry": "x"}, "At least one of company_name"),
    ],
)
async def test_an_update_that_breaks_a_rule_changes_nothing(client, plural, fields, message):
    """400 says what is wrong, and the record is as before."""
    _, created = await client.create(plural)
    path = f"/{plural}/{created['id']}"
    status, body = await client.update(path, **fields)
    assert (status, body["error"]) == (400, True)
    assert message in body["message"]
    assert await client.get(path) == (200, created)


async def test_a_needed_field_may_go_while_another_stays(client):
    """A contact may lose its name when it has, or gets, an e-mail address."""
    _, created = await client.create("contacts")
    path = f"/contacts/{created['id']}"
    assert (await client.update(path, last_name=None, email="j@example.com"))[0] == 200
    assert (await client.update(path, email=None))[0] == 400


async def test_an_update_answers_409_for_a_taken_external_id(client):
    """Another active record's external_id is refused, one's own is not."""
    await client.create(external_id="x")
    _, second = await client.create(external_id="y")
    path = f"/tickets/{second['id']}"
    message = 'Duplicate: an active record of tickets has the external_id "x"'
    assert await client.update(path, external_id="x") == (409, {"message": message, "error": True})
    assert (await client.update(path, external_id="y"))[0] == 200


# -- DELETE -----------------------------------------------------------------------------------


async def test_an_archived_record_stays(client, sandbox, clock):
    """DELETE answers the record with when and by whom; GET still does, a list only if asked."""
    _, created = await client.create(external_id="x")
    path = f"/tickets/{created['id']}"
    clock.now += 1
    at = "2026-05-01T10:00:01.250Z"
    archived = {"updated_at": at, "archived": at, "archived_by": sandbox.client_id}
    assert await client.archive(path) == (200, created | archived)
    assert await client.get(path) == (200, created | archived)
    assert (await client.get("/tickets"))[1]["data"] == []
    assert (await client.get("/tickets?archived=true"))[1]["data"] == [created | archived]
    assert (await client.create(external_id="x"))[0] == 201


async def test_what_is_archived_or_unknown_cannot_be_written(client):
    """PATCH and DELETE answer 404 for an archived, an unknown or another type's id."""
    _, created = await client.create()
    await client.archive(f"/tickets/{created['id']}")
    for path in (f"/tickets/{created['id']}", "/tickets/nope", f"/deals/{created['id']}"):
        plural, _, record_id = path[1:].partition("/")
        message = f"No record of {plural} has the id {record_id}"
        wanted = (404, {"message": message, "error": True})
        assert await client.update(path) == wanted
        assert await client.archive(path) == wanted


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_write_needs_an_id(client, method):
    """400 when the path ends before the id, as for a GET."""
    status, body, _ = await client.send(method, "/deals/", b'{"fields":{}}')
    assert (status, body["message"]) == (400, "The id is missing from the path")


async def test_another_accounts_records_cannot_be_written(client, sandbox):
    """PATCH and DELETE with another account's token answer 404 and leave the record alone."""
    _, ours = await client.create()
    other = {"Authorization": f"Bearer {sandbox.mint_token(account_id='other')}"}
    path = f"/tickets/{ours['id']}"
    for method in ("PATCH", "DELETE"):
        assert (await client.send(method, path, b'{"fields":{}}', other))[0] == 404
    assert await client.get(path) == (200, ours)
