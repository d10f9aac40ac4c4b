"""Every route of the sandbox's API and every status that API.md documents for it."""

import zlib
from io import BytesIO
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routera_async.sandbox.app import ACCOUNT, Api, Call
from routera_async.sandbox.fields import TICKETS, ObjectType
from routera_async.sandbox.store import Store
from routera_async.sandbox.tokens import Credentials, Tokens

NOW = "2026-05-01T10:00:00.250Z"
FULL = {"ticket_name": "Lamp", "pipeline": "default", "ticket_stage": "new"}
UNAUTHORIZED = {"message": "Unauthorized: missing account context", "error": True}
MIB = 1024 * 1024


def written(**changes):
    """Return a complete create's body with these fields changed; `...` takes one out."""
    fields = {name: value for name, value in (FULL | changes).items() if value is not ...}
    return orjson.dumps({"fields": fields})


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


async def test_accounts_do_not_see_each_other(client, sandbox):
    """Another account's token neither meets the first one's keys nor reads its records."""
    _, ours = await client.create(external_id="ext-001")
    other = {"Authorization": f"Bearer {sandbox.mint_token(account_id='other')}"}
    body = written(external_id="ext-001")
    assert (await client.send("POST", "/tickets", body, other))[0] == 201
    assert (await client.send("GET", f"/tickets/{ours['id']}", headers=other))[0] == 404
    _, page, _ = await client.send("GET", "/tickets", headers=other)
    assert page["pagination"]["count"] == 1
    assert page["data"][0]["id"] != ours["id"]


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
async def test_a_body_over_8_mib_is_answered_413(client, sandbox, chunked):
    """A body of one byte too many is refused in JSON, whether or not it says its length."""

    async def parts():
        yield b"x" * (8 * MIB)
        yield b"x"

    body = parts() if chunked else BytesIO(b"x" * (8 * MIB + 1))
    status, answer, _ = await client.send("POST", "/tickets", body)
    assert (status, answer) == (
        413,
        {"message": "The body is larger than 8388608 bytes", "error": True},
    )
    assert sandbox.requests[-1].status == 413


async def test_a_body_of_8_mib_is_read(client):
    """The limit itself is allowed."""
    body = written(note="x" * (8 * MIB - len(written(note=""))))
    assert len(body) == 8 * MIB
    assert (await client.send("POST", "/tickets", BytesIO(body)))[0] == 201


async def test_a_compressed_body_is_measured_decompressed(client):
    """A small body that inflates over the limit is refused as a large one is."""
    body, deflate = zlib.compress(b" " * (9 * MIB)), {"Content-Encoding": "deflate"}
    assert (await client.send("POST", "/tickets", body, deflate))[0] == 413
    body = zlib.compress(written())
    assert (await client.send("POST", "/tickets", body, deflate))[0] == 201


async def test_a_body_that_is_not_compressed_as_it_says_is_answered_400(client):
    """A Content-Encoding that does not fit the body is the client's error, in JSON."""
    headers = {"Content-Encoding": "gzip"}
    status, body, _ = await client.send("POST", "/tickets", written(), headers)
    assert (status, body["error"]) == (400, True)
    assert "cannot be decoded" in body["message"]


async def test_a_client_that_asks_before_it_sends_is_told_to(client):
    """`Expect: 100-continue` is answered, so the body comes and is read."""
    headers = {"Expect": "100-continue"}
    assert (await client.send("POST", "/tickets", written(), headers))[0] == 201


# -- authentication ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/tickets"), ("GET", "/tickets"), ("GET", f"/tickets/{UUID(int=0)}")],
)
async def test_every_route_answers_401_without_an_account_context(client, method, path):
    """No route but the token's looks at anything else before it knows the account."""
    answer = await client.send(method, path, b"{", {"Authorization": "Bearer x"})
    assert answer[:2] == (401, UNAUTHORIZED)


async def test_a_token_is_refused_when_it_has_expired(client, clock):
    """A token holds up to its last moment and not at it, although it was accepted before."""
    clock.now += 3599.9
    assert (await client.create())[0] == 201
    clock.now += 0.1
    assert await client.create() == (401, UNAUTHORIZED)


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


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/tickets/", 400, "The id is missing from the path"),
        ("/tickets/nope", 404, "No record of tickets has the id nope"),
        ("/tickets/nope/more", 404, "Unknown route: /tickets/nope/more"),
        ("/", 404, "Unknown route: /"),
        ("/ticket", 404, "Unknown route: /ticket"),
        ("/contacts", 404, "Unknown route: /contacts"),
        ("/oauth2/token/x", 404, "Unknown route: /oauth2/token/x"),
    ],
)
async def test_what_does_not_exist_is_said_in_json(client, path, status, message):
    """A missing id is 400; an unknown id or route is 404 with the error body."""
    assert await client.get(path) == (status, {"message": message, "error": True})


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/tickets", "POST, GET"),
        ("OPTIONS", "/tickets", "POST, GET"),
        ("POST", "/tickets/x", "GET"),
        ("GET", "/oauth2/token", "POST"),
    ],
)
async def test_a_method_that_a_route_lacks_is_answered_405(client, method, path, allow):
    """The answer says in its message and its Allow header what the route takes."""
    status, body, headers = await client.send(method, path)
    message = f"{method} is not allowed on {path}; use {allow}"
    assert (status, body) == (405, {"message": message, "error": True})
    assert headers["Allow"] == allow


async def test_a_fault_of_the_sandbox_is_answered_500(client, sandbox, caplog):
    """An exception becomes the documented 500 and a log entry with its traceback."""
    sandbox.store.close()
    assert await client.create() == (500, {"message": "Internal server error", "error": True})
    assert "POST /tickets failed" in caplog.text
    assert "ProgrammingError" in caplog.text


# -- GET /tickets -----------------------------------------------------------------------------


async def test_an_empty_list_is_a_page(client):
    """A list of nothing is a page of nothing, with the defaults in its pagination."""
    assert await client.get("/tickets") == (
        200,
        {"data": [], "pagination": {"limit": 10, "offset": 0, "count": 0}},
    )


async def test_pages_are_stable_and_complete(client):
    """Pages in a row hold every record once, in the order of creation; count is of them all."""
    names = [f"n{number}" for number in range(25)]
    for name in names:
        await client.create(ticket_name=name)
    pages = [(await client.get(f"/tickets?limit=10&offset={start}"))[1] for start in (0, 10, 20)]
    assert [t["ticket_name"] for page in pages for t in page["data"]] == names
    assert [page["pagination"] for page in pages] == [
        {"limit": 10, "offset": start, "count": 25} for start in (0, 10, 20)
    ]
    _, past = await client.get("/tickets?offset=25")
    assert past == {"data": [], "pagination": {"limit": 10, "offset": 25, "count": 25}}


async def test_a_list_shows_what_a_get_shows(client):
    """A listed record is the record that GET answers, `properties` included."""
    _, created = await client.create(note="hello")
    _, page = await client.get("/tickets?properties=note&limit=100")
    assert page["data"] == [(await client.get(f"/tickets/{created['id']}?properties=note"))[1]]
    assert page["data"][0]["note"] == "hello"


async def test_archived_records_are_listed_on_demand(client, sandbox):
    """`archived=true` adds them in their place; without it they are neither shown nor counted."""
    created = [(await client.create())[1] for _ in range(3)]
    sandbox.store.archive(ACCOUNT, "tickets", created[1]["id"], at=NOW, by="someone")
    for query, kept in [("", (0, 2)), ("?archived=false", (0, 2)), ("?archived=true", (0, 1, 2))]:
        _, page = await client.get(f"/tickets{query}")
        assert [ticket["id"] for ticket in page["data"]] == [created[i]["id"] for i in kept]
        assert page["pagination"]["count"] == len(kept)


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=101", "limit=-1", "limit=ten", "limit=", "limit=1.5", "limit=%2B5"),
        *("limit=²", "limit=٣", "offset=-1", "offset=x", "offset=", f"offset={2**63}"),
        f"offset={'9' * 5000}",
        *("archived=yes", "archived=", "archived=True", "archived=1"),
    ],
    ids=lambda query: query[:20],
)
async def test_a_bad_query_value_is_answered_400(client, query):
    """The message names the parameter that cannot be understood and what it may be."""
    status, body = await client.get(f"/tickets?{query}")
    assert (status, body["error"]) == (400, True)
    assert body["message"].startswith(query.partition("=")[0] + " must be ")


@pytest.mark.parametrize("query", ["limit=1", "limit=100", f"offset={2**63 - 1}", "colour=red"])
async def test_a_query_value_at_its_bound_is_taken(client, query):
    """The bounds themselves are allowed, and unknown parameters are ignored."""
    assert (await client.get(f"/tickets?{query}"))[0] == 200


# -- any field --------------------------------------------------------------------------------


def open_api(kind=TICKETS.with_custom([], any_field=True)):  # noqa: B008  a frozen value
    """Return a store, and a sender of calls with a valid token to an Api that serves one type."""
    tokens = Tokens("s" * 32, ttl=60, clock=lambda: 0.0)
    bearer = "Bearer " + tokens.mint(account_id="a", client_id="c", ttl=60)
    store = Store()
    api = Api(
        store=store,
        tokens=tokens,
        credentials=Credentials("id", "secret"),
        object_types=[kind],
        clock=lambda: 0.0,
    )

    def send(method, path, body=b"", query=""):
        answer = api.answer(Call(method, path, query, bearer, body))
        return answer.status, answer.body

    return store, send


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(name=st.text(min_size=1).filter(str.strip), value=json_values)
def test_any_json_value_comes_back_equal(name, value):
    """With any_field, what is written under any name is what the answer, GET and store hold."""
    store, send = open_api()
    name = f"x{name}"
    status, body = send("POST", "/tickets", written(**{name: value}))
    created = orjson.loads(body)
    assert (status, orjson.dumps(created[name])) == (201, orjson.dumps(value))
    assert orjson.dumps(store.get(created["id"])) == body
    store.close()


def test_a_types_natural_key_is_unique_too():
    """A type may name a second key (a contact's email): it answers 409 and the message names it."""
    kind = ObjectType("people", TICKETS.fields, ("ticket_owner",), natural_key="ticket_owner")
    store, send = open_api(kind)
    body = written(ticket_owner="jane@example.com")
    assert send("POST", "/people", body)[0] == 201
    status, answer = send("POST", "/people", body)
    message = 'Duplicate: an active record of people has the ticket_owner "jane@example.com"'
    assert (status, orjson.loads(answer)["message"]) == (409, message)
    assert [send("POST", "/people", written())[0] for _ in range(2)] == [201, 201]
    store.close()


@pytest.mark.parametrize("number", ["123456789012345678901234567890", "-9223372036854775809"])
def test_an_integer_of_any_size_keeps_its_digits(number):
    """An integer of more than 64 bits comes back digit for digit from every route."""
    store, send = open_api()
    body = written(n=0, e="😀 \x01").replace(b'"n":0', b'"n":' + number.encode())
    _, created = send("POST", "/tickets", body)
    _, listed = send("GET", "/tickets", query="properties=n,e")
    for answer in (created, listed):
        assert b'"n":' + number.encode() in answer
        assert '"e":"😀 \\u0001"'.encode() in answer
    store.close()


async def test_under_any_field_the_rules_of_the_known_fields_stay():
    """any_field opens other names only: not the system's, not a blank one, not the types."""
    store, send = open_api()
    for fields in ({"id": "x"}, {" ": 1}, {"ticket_owner": "jane"}, {"ticket_name": None}):
        assert send("POST", "/tickets", written(**fields))[0] == 400
    assert send("GET", "/tickets", query="properties=whatever")[0] == 200
    assert send("GET", "/tickets", query="properties=a,,b")[0] == 400
    store.close()
