"""What every list reads in the same way: its pages, and its query."""

import pytest

from routera_async.sandbox.app import ACCOUNT

NOW = "2026-05-01T10:00:00.250Z"


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
