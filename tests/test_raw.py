"""Requests of the caller's own making, `find` and `dispatch`: what is sent, and how often."""

import pytest

from routera_async import (
    BadRequestError,
    ConfigurationError,
    DuplicateError,
    NotFoundError,
    NotSentError,
    OutcomeUnknown,
    RateLimitedError,
    Response,
    ResponseError,
    RetryPolicy,
    RouteraClient,
    ServerError,
    UnauthorizedError,
    ValidationError,
)
from routera_async.sandbox import Fault, Router, Sandbox

FIELDS = {"ticket_name": "Lamp", "pipeline": "default", "ticket_stage": "new"}
ROUTER = Router("Inbound", "tickets", ["jane@example.com", "joe@example.com"])

LOST = ["error_after_commit", "reset_after_commit", "disconnect_after_commit"]
NOT_DONE = ["error_before_commit", "reset_before_commit", "disconnect_before_commit"]


@pytest.fixture
async def sandbox():
    """Run a sandbox that takes any custom field and has a router."""
    async with Sandbox(any_field=True, routers=[ROUTER]) as running:
        yield running


@pytest.fixture
async def client(sandbox, at_once):
    """Return a client of it that does not wait."""
    async with RouteraClient(sandbox.token, base_url=sandbox.url, retry=at_once) as opened:
        yield opened


# -- request ---------------------------------------------------------------------------------------


async def test_every_method_of_the_sandbox(client, sandbox):
    """What the SDK has verbs for can be asked by hand as well, and the answer is all there."""
    made = await client.request("POST", "/tickets", json={"fields": {**FIELDS, "big": 2**70}})
    assert isinstance(made, Response)
    assert (made.status, made.headers["content-type"]) == (201, "application/json")
    ticket = made.json()
    assert ticket["big"] == 2**70
    path = f"/tickets/{ticket['id']}"
    got = await client.request("GET", path, params={"properties": "big"})
    assert got.json() == ticket
    assert (got.attempts[0].outcome, len(got.attempts)) == ("created", 1)
    assert 0 <= got.attempts[0].elapsed <= got.elapsed
    changed = await client.request("PATCH", path, json={"fields": {"ticket_name": "é"}})
    assert changed.json()["ticket_name"] == "é"
    listed = await client.request("GET", "/tickets", params={"limit": "1", "archived": "true"})
    assert [each["id"] for each in listed.json()["data"]] == [ticket["id"]]
    assert (await client.request("DELETE", path)).json()["archived"]
    assert sandbox.store.count() == 0


async def test_what_is_sent(wires, token):
    """The query, the body and the method are the given ones; without `json` there is no body."""
    wire = await wires.serve(wires.answer(200, b"[1]", "X-Thing: a"))
    async with RouteraClient(token, base_url=f"{wire.url}/v2") as client:
        answer = await client.request("PUT", "/a/bc", json=[1, {"é": None}])
        await client.request("DELETE", "/a", params={"q": "a b&c"})
        await client.request("POST", "/a", json=None)
        await client.request("GET", "/a", params={"archived": True, "limit": 5, "csat": 4.5})
        await client.with_options(headers={"X-More": "1"}).request("GET", "/a")
    assert (answer.json(), answer.headers["x-thing"]) == ([1], "a")
    lines = [head.split(b"\r\n")[0] for head in wire.requests]
    assert lines == [
        b"PUT /v2/a/bc HTTP/1.1",
        b"DELETE /v2/a?q=a+b%26c HTTP/1.1",
        b"POST /v2/a HTTP/1.1",
        b"GET /v2/a?archived=true&limit=5&csat=4.5 HTTP/1.1",
        b"GET /v2/a HTTP/1.1",
    ]
    assert wire.bodies == ['[1,{"é":null}]'.encode(), b"", b"", b"", b""]
    assert all(b"Authorization: Bearer " in head for head in wire.requests)
    assert b"X-More: 1" in wire.requests[4]


async def test_the_same_errors(client, sandbox):
    """What is refused raises the error that the verbs raise, with the same evidence."""
    await client.tickets.create({**FIELDS, "external_id": "k"})
    twice = {"fields": {**FIELDS, "external_id": "k"}}
    cases = [
        (NotFoundError, 404, ("GET", "/tickets/x"), {}),
        (NotFoundError, 404, ("GET", "/unheard/of"), {}),
        (BadRequestError, 400, ("GET", "/tickets"), {"params": {"limit": "0"}}),
        (BadRequestError, 400, ("POST", "/tickets"), {"json": {"fields": {}}}),
        (DuplicateError, 409, ("POST", "/tickets"), {"json": twice}),
    ]
    for kind, status, given, settings in cases:
        with pytest.raises(kind) as caught:
            await client.request(*given, **settings)
        assert (caught.value.status, caught.value.attempts[0].status) == (status, status)
        assert caught.value.outcome == ("duplicate" if status == 409 else "rejected")
        assert caught.value.elapsed > 0
    async with RouteraClient(sandbox.mint_token(ttl=0), base_url=sandbox.url) as other:
        with pytest.raises(UnauthorizedError):
            await other.request("GET", "/tickets")


@pytest.mark.parametrize("fault", LOST + NOT_DONE)
async def test_a_post_is_not_repeated(client, sandbox, fault):
    """After a lost answer or a 500 a POST may have been done: it is not sent again."""
    sandbox.faults.script(fault)
    with pytest.raises((OutcomeUnknown, ServerError)) as caught:
        await client.request("POST", "/tickets", json={"fields": FIELDS})
    assert (caught.value.outcome, len(caught.value.attempts)) == ("unknown", 1)
    assert sandbox.request_count == 1
    assert sandbox.store.count() == (fault in LOST)


@pytest.mark.parametrize("fault", LOST + NOT_DONE)
async def test_a_post_that_may_be_repeated(client, sandbox, fault):
    """With `repeatable` a POST is sent again: here the key makes it so."""
    sandbox.faults.script(fault)
    fields = {"fields": {**FIELDS, "external_id": "k"}}
    if fault in LOST:
        with pytest.raises(DuplicateError) as caught:
            await client.request("POST", "/tickets", json=fields, repeatable=True)
        assert caught.value.ours
    else:
        await client.request("POST", "/tickets", json=fields, repeatable=True)
    assert (sandbox.request_count, sandbox.store.count()) == (2, 1)


@pytest.mark.parametrize("fault", LOST + NOT_DONE)
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("repeatable", [None, False])
async def test_the_rest_is_repeated(client, sandbox, method, fault, repeatable):
    """Another method is sent again, unless the caller says that it must not be."""
    ticket = await client.tickets.create(FIELDS)
    path = f"/tickets/{ticket.id}"
    sandbox.faults.script(Fault(fault, on=f"{method} /tickets/*"))
    body = {"json": {"fields": {"ticket_name": "b"}}} if method == "PATCH" else {}
    once = repeatable is False and fault.startswith("error")
    if once or (repeatable is False and method == "PATCH"):
        with pytest.raises((OutcomeUnknown, ServerError)) as caught:
            await client.request(method, path, **body, repeatable=repeatable)
        assert (caught.value.outcome, sandbox.request_count) == ("unknown", 2)
    elif method == "DELETE" and fault in LOST:
        with pytest.raises(NotFoundError) as caught:
            await client.request(method, path, **body, repeatable=repeatable)
        assert caught.value.outcome == "unknown"
    elif repeatable is None:
        assert (await client.request(method, path, **body)).status == 200
        assert sandbox.request_count == 3


async def test_a_post_that_was_not_done_is_repeated(client, sandbox):
    """After a 429 a POST is sent again, for it was not done."""
    sandbox.faults.script("rate_limited", "rate_limited")
    answer = await client.request("POST", "/tickets", json={"fields": FIELDS})
    assert (answer.status, len(answer.attempts), sandbox.store.count()) == (201, 3, 1)


PATHS = [
    "http://x",
    "https://api.routera.io/tickets",
    "//host",
    "//host/tickets",
    "/a/../b",
    "/..",
    "/.",
    "/a/./b",
    "/a%2Fb",
    "/%2e%2e/a",
    "/a\\b",
    "tickets",
    "",
    "/",
    "/a/",
    "/a//b",
    "/a?x=1",
    "/a#b",
    "/a b",
    "/a\n",
    "/a\x00b",
    "/a\r\nHost: evil",
    "/a\u2028",
    "/\ud800",
    " /a",
    "@host/a",
    ":80/a",
]


@pytest.mark.parametrize("path", PATHS, ids=ascii)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_path_that_leads_elsewhere(client, sandbox, path, method):
    """A path that is none, or could lead out of the base URL, is refused; nothing is sent."""
    with pytest.raises(ValidationError, match="is no path") as caught:
        await client.request(method, path)
    assert caught.value.outcome == "not_sent"
    assert "\n" not in str(caught.value)
    assert sandbox.request_count == 0


@pytest.mark.parametrize(
    ("given", "settings", "problem"),
    [
        (("TRACE", "/a"), {}, "method must be one of"),
        (("get", "/a"), {}, "method must be one of"),
        (("GET / HTTP/1.1\r\n", "/a"), {}, "method must be one of"),
        (("GET", "/a"), {"json": {}}, "a GET has no body"),
        (("POST", "/a"), {"json": float("nan")}, "json: nan"),
        (("POST", "/a"), {"json": {"a": [object()]}}, "cannot be written as JSON"),
        (("POST", "/a"), {"json": {1: 2}}, "is not text"),
        (([], "/a"), {}, "method must be one of"),
        (("GET", None), {}, "'None' is no path"),
        (("GET", 5), {}, "'5' is no path"),
        (("GET", "/a"), {"params": [("a", "b")]}, "params must be a mapping, not list"),
        (("GET", "/a"), {"params": "a=b"}, "params must be a mapping, not str"),
        (("GET", "/a"), {"params": {"a": None}}, "params: 'a' must be a text, .* not None"),
        (("GET", "/a"), {"params": {"a": ["b"]}}, "params: 'a' must be a text"),
        (("GET", "/a"), {"params": {"a": float("nan")}}, "params: 'a' must be a text"),
        (("GET", "/a"), {"params": {"a": "\ud800"}}, "params: 'a' must be a text"),
        (("GET", "/a"), {"params": {None: "b"}}, "params: None must be a text"),
    ],
)
async def test_what_cannot_be_sent(client, sandbox, given, settings, problem):
    """A method that there is not, and a body that is no JSON, are refused before sending."""
    with pytest.raises(ValidationError, match=problem):
        await client.request(*given, **settings)
    assert sandbox.request_count == 0


async def test_a_response_shows_nothing(client):
    """Neither the body nor the headers of an answer stand in its repr."""
    answer = await client.request("POST", "/tickets", json={"fields": {**FIELDS, "pin": "s3cret"}})
    assert b"s3cret" in answer.body
    assert "s3cret" not in repr(answer)
    assert "application/json" not in repr(answer)
    assert "201" in repr(answer)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"NaN"])
async def test_a_body_that_is_no_json(wires, token, body):
    """A 2xx is returned whatever its body; `json()` of another raises a ResponseError."""
    wire = await wires.serve(wires.answer(202, body))
    async with RouteraClient(token, base_url=wire.url) as client:
        answer = await client.request("POST", "/a")
    assert (answer.status, answer.body) == (202, body)
    with pytest.raises(ResponseError, match="not JSON") as caught:
        answer.json()
    assert (caught.value.outcome, caught.value.status) == ("created", 202)
    assert (caught.value.attempts, caught.value.elapsed) == (answer.attempts, answer.elapsed)
    assert caught.value.body == b""  # the caller has it


async def test_a_redirect_is_not_followed(wires, token):
    """A redirect of a raw request is not followed either."""
    wire = await wires.serve(wires.answer(307, b"", "Location: http://127.0.0.1:1/"))
    async with RouteraClient(token, base_url=wire.url) as client:
        with pytest.raises(ConfigurationError, match="redirects are not followed"):
            await client.request("GET", "/a")
    assert len(wire.requests) == 1


async def test_a_page_may_be_long(wires, token):
    """What is read is as long as a page may be, and no longer."""
    fits, over = b'"%s"' % (b"x" * 2_000_000), b'"%s"' % (b"x" * 2**24)
    wire = await wires.serve(wires.answer(200, fits), wires.answer(200, over))
    async with RouteraClient(token, base_url=wire.url) as client:
        assert len((await client.request("GET", "/a")).json()) == 2_000_000
        with pytest.raises(ResponseError, match="longer than 16777216 bytes"):
            await client.request("GET", "/a")


# -- find ------------------------------------------------------------------------------------------


async def test_find(client, sandbox):
    """The active record of an external_id is found with its properties; without one it is None."""
    for number in range(5):
        await client.tickets.create({**FIELDS, "external_id": f"k{number}", "csat": number})
    found = await client.tickets.find("k3", properties=["csat"])
    assert (found.external_id, found.custom) == ("k3", {"csat": 3})
    assert await client.tickets.find("k") is None
    assert await client.tickets.find("K3") is None
    assert await client.contacts.find("k3") is None
    await client.tickets.archive(found.id)
    assert await client.tickets.find("k3") is None
    again = await client.tickets.create({**FIELDS, "external_id": "k3"})
    assert await client.tickets.find("k3") == again


@pytest.mark.parametrize("key", [None, "", " \t", 5, b"k"])
async def test_find_of_no_key(client, sandbox, key):
    """What is no key is refused: None would find the first ticket that has none."""
    await client.tickets.create(FIELDS)
    with pytest.raises(ValidationError, match="external_id must be a text"):
        await client.tickets.find(key)
    assert sandbox.request_count == 1


async def test_what_find_costs(client, sandbox):
    """It reads a hundred records a request, and no page after the one that has the record."""
    for number in range(250):
        await client.tickets.create({**FIELDS, "external_id": f"k{number}"})
    for key, cost in [("k0", 1), ("k99", 1), ("k100", 2), ("k249", 3), ("none", 3)]:
        before = sandbox.request_count
        assert ((await client.tickets.find(key)) is None) == (key == "none")
        assert sandbox.request_count - before == cost
    assert all(request.method in {"POST", "GET"} for request in sandbox.requests)


# -- dispatch --------------------------------------------------------------------------------------


def assigned(sandbox):
    """Return how many objects the router gave away, one that was given twice counted twice."""
    rows = sandbox.store.assigned("sandbox", ROUTER.id)
    return sum(rows.values())


@pytest.mark.parametrize("fault", LOST + NOT_DONE)
async def test_a_dispatch_is_not_repeated(client, sandbox, fault):
    """After a 500 or a lost answer a dispatch may have been done: a repeat could assign twice."""
    ticket = await client.tickets.create(FIELDS)
    sandbox.faults.script(fault)
    with pytest.raises((OutcomeUnknown, ServerError)) as caught:
        await client.dispatch(router_id=ROUTER.id, object_id=ticket.id)
    assert (caught.value.outcome, len(caught.value.attempts)) == ("unknown", 1)
    assert sandbox.request_count == 2
    assert assigned(sandbox) == (fault in LOST)


@pytest.mark.parametrize("fault", LOST + NOT_DONE)
async def test_a_dispatch_that_may_be_repeated(client, sandbox, fault):
    """With `resend_dispatch` it is sent again; where it was done the repeat cannot overwrite."""
    twin = client.with_options(retry=RetryPolicy(wait_initial=0, resend_dispatch=True))
    ticket = await client.tickets.create(FIELDS)
    sandbox.faults.script(fault)
    result = await twin.dispatch(router_id=ROUTER.id, object_id=ticket.id)
    assert result.assigned == (fault in NOT_DONE)
    assert (sandbox.request_count, assigned(sandbox)) == (3, 1)
    sandbox.faults.script(fault)  # the original is as it was
    with pytest.raises((OutcomeUnknown, ServerError)):
        await client.dispatch(router_id=ROUTER.id, object_id=ticket.id)


async def test_a_dispatch_that_is_not_let_in(client, sandbox):
    """A 429 is sent again, and in the end is an error that says that nothing was done."""
    ticket = await client.tickets.create(FIELDS)
    sandbox.faults.script("rate_limited", "rate_limited")
    assert (await client.dispatch(router_id=ROUTER.id, object_id=ticket.id)).assigned
    assert (sandbox.request_count, assigned(sandbox)) == (4, 1)
    sandbox.faults.script(*["rate_limited"] * 5)
    with pytest.raises(RateLimitedError) as caught:
        await client.dispatch(router_id=ROUTER.id, object_id=ticket.id)
    assert (caught.value.outcome, len(caught.value.attempts)) == ("not_sent", 5)


async def test_a_dispatch_that_does_not_leave(wires, token, at_once):
    """A dispatch that could not be sent is tried again, and was not sent."""
    wire = await wires.serve(wires.CLOSE)
    wire.close()
    async with RouteraClient(token, base_url=wire.url, retry=at_once) as client:
        with pytest.raises(NotSentError) as caught:
            await client.dispatch(router_id="r", object_id="o")
    assert (caught.value.outcome, len(caught.value.attempts)) == ("not_sent", 5)
    assert wire.requests == []


@pytest.mark.parametrize(("router_id", "object_id"), [(5, "o"), ("r", None), (object(), "o")])
async def test_a_dispatch_of_what_is_no_id(client, sandbox, router_id, object_id):
    """What is no text is refused, by the server when JSON can say it, and never assigned."""
    with pytest.raises((ValidationError, BadRequestError)):
        await client.dispatch(router_id=router_id, object_id=object_id)
    assert assigned(sandbox) == 0
