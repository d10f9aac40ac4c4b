"""Which route a call is for, who may call it, and what no route takes."""

import zlib
from io import BytesIO
from uuid import UUID

import pytest

from .conftest import written

UNAUTHORIZED = {"message": "Unauthorized: missing account context", "error": True}
MIB = 1024 * 1024


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


PATHS = ("/contacts", "/companies", "/deals", "/tickets", "/routers")
MEMBERS = [
    ("POST", "/dispatch/router"),
    *((method, path) for path in PATHS for method in ("POST", "GET") if path != "/routers"),
    *(("GET", f"{path}/{UUID(int=0)}") for path in PATHS),
    *((method, f"{path}/x") for path in PATHS[:-1] for method in ("PATCH", "DELETE")),
    ("GET", "/routers"),
]


@pytest.mark.parametrize(("method", "path"), MEMBERS)
async def test_every_route_answers_401_without_an_account_context(client, method, path):
    """No route but the token's and the document's does anything before it knows the account."""
    answer = await client.send(method, path, b"{", {"Authorization": "Bearer x"})
    assert answer[:2] == (401, UNAUTHORIZED)


async def test_a_token_is_refused_when_it_has_expired(client, clock):
    """A token holds up to its last moment and not at it, although it was accepted before."""
    clock.now += 3599.9
    assert (await client.create())[0] == 201
    clock.now += 0.1
    assert await client.create() == (401, UNAUTHORIZED)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/tickets/", 400, "The id is missing from the path"),
        ("/tickets/nope", 404, "No record of tickets has the id nope"),
        ("/tickets/nope/more", 404, "Unknown route: /tickets/nope/more"),
        ("/", 404, "Unknown route: /"),
        ("/ticket", 404, "Unknown route: /ticket"),
        ("/routers/x/y", 404, "Unknown route: /routers/x/y"),
        ("/dispatch", 404, "Unknown route: /dispatch"),
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
        ("POST", "/tickets/x", "GET, PATCH, DELETE"),
        ("PUT", "/companies/x", "GET, PATCH, DELETE"),
        ("POST", "/routers", "GET"),
        ("DELETE", "/routers/x", "GET"),
        ("GET", "/dispatch/router", "POST"),
        ("POST", "/openapi.json", "GET"),
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
