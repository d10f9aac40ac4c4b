"""The token route, and which tokens carry an account context."""

import base64
from urllib.parse import urlencode

import jwt
import pytest

from routera_async.sandbox import Sandbox
from routera_async.sandbox.errors import Refused
from routera_async.sandbox.tokens import _CACHED, Caller, Tokens

SECRET = "s" * 32
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def basic(client_id, client_secret):
    """Return the HTTP Basic header of these credentials."""
    return "Basic " + base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()


@pytest.fixture
def ask(client, sandbox):
    """Ask the token route: the form's fields, and the Authorization header if any."""

    async def send(form, authorization=""):
        headers = FORM | {"Authorization": authorization}
        data = form if isinstance(form, bytes) else urlencode(form).encode()
        return (await client.send("POST", "/oauth2/token", data, headers))[:2]

    return send


GRANT = {"grant_type": "client_credentials"}


@pytest.mark.parametrize("way", ["form", "basic"])
async def test_the_credentials_are_worth_a_token(ask, client, sandbox, clock, way):
    """The form or HTTP Basic gets a token that works until it expires, and then no longer."""
    pair = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
    form, header = (GRANT | pair, "") if way == "form" else (GRANT, basic(*pair.values()))
    status, body = await ask(form, header)
    assert status == 200
    assert body == {
        "access_token": body["access_token"],
        "expires_in": 3600,
        "token_type": "Bearer",
    }
    bearer = {"Authorization": f"bearer {body['access_token']}"}
    assert (await client.send("GET", "/tickets", headers=bearer))[0] == 200
    clock.now += 3600
    assert (await client.send("GET", "/tickets", headers=bearer))[0] == 401


async def test_every_token_is_a_new_one(ask, sandbox):
    """Two answers within one second hold two tokens, so that a refresh can be told."""
    header = basic(sandbox.client_id, sandbox.client_secret)
    assert (await ask(GRANT, header))[1] != (await ask(GRANT, header))[1]


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        (b"", 400, ("invalid_request", "grant_type is missing from the form body")),
        ({"grant_type": ""}, 400, ("invalid_request", "grant_type is missing from the form body")),
        (b"\xff=1", 400, ("invalid_request", "The form body is not UTF-8")),
        (
            {"grant_type": "password"},
            400,
            ("unsupported_grant_type", "grant_type must be client_credentials"),
        ),
        (GRANT, 401, ("invalid_client", "Invalid client_id or client_secret")),
        (
            GRANT | {"client_id": "x", "client_secret": "y"},
            401,
            ("invalid_client", "Invalid client_id or client_secret"),
        ),
    ],
    ids=str,
)
async def test_the_token_route_refuses_in_oauths_shape(ask, form, status, error):
    """400 for the grant type, 401 for the client, and never the API's own error body."""
    assert await ask(form) == (status, {"error": error[0], "error_description": error[1]})


async def test_one_right_half_is_not_enough(ask, sandbox):
    """The id with another secret, or the secret with another id, is refused."""
    for pair in [(sandbox.client_id, "é"), ("x", sandbox.client_secret), (sandbox.client_id, "")]:
        form = GRANT | dict(zip(("client_id", "client_secret"), pair, strict=True))
        assert (await ask(form))[0] == 401
        assert (await ask(GRANT, basic(*pair)))[0] == 401


async def test_a_basic_header_is_base64_and_nothing_else(ask, sandbox):
    """Right credentials with a foreign character between them are refused."""
    header = basic(sandbox.client_id, sandbox.client_secret)
    assert (await ask(GRANT, header))[0] == 200
    assert (await ask(GRANT, f"{header[:20]}!{header[20:]}"))[0] == 401


@pytest.mark.parametrize("header", ["Basic", "Basic ???", "Basic /w==", "Basic bm9jb2xvbg=="])
async def test_a_broken_basic_header_is_answered_401(ask, sandbox, header):
    """HTTP Basic that cannot be read is an invalid client, also beside a right form."""
    pair = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
    assert (await ask(GRANT | pair, header))[0] == 401


async def test_expires_in_is_what_the_sandbox_was_told():
    """token_ttl sets how long a token lasts and what the route says about it."""
    async with Sandbox(token_ttl=7.9) as sandbox:
        claims = jwt.decode(sandbox.token, options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == pytest.approx(7.9)


# -- which tokens carry an account context ----------------------------------------------------


def sign(claims, key=SECRET, algorithm="HS256"):
    """Return the Authorization header of a token of our own making."""
    return "Bearer " + jwt.encode(claims, key, algorithm=algorithm)


GOOD = {"account_id": "acme", "exp": 100}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer not.a.jwt",
        "Bearer \udcff.\udcff.\udcff",
        "Bearer " + base64.urlsafe_b64encode(b"[" * 6000).decode() + ".e30.x",
        sign(GOOD).replace("Bearer", "Basic"),
        sign(GOOD).removeprefix("Bearer "),
        sign(GOOD)[:-2],
        sign(GOOD, key="t" * 32),
        sign(GOOD, key="s" * 64, algorithm="HS512"),
        sign(GOOD, key=None, algorithm="none"),
        sign({"exp": 100}),
        sign(GOOD | {"account_id": ""}),
        sign(GOOD | {"account_id": 7}),
        sign(GOOD | {"account_id": None}),
        sign(GOOD | {"exp": 10}),
        sign(GOOD | {"exp": 9.5}),
        sign(GOOD | {"exp": "soon"}),
    ],
    ids=lambda header: ascii(header[-12:]),
)
def test_no_account_context(header):
    """What is not a Bearer JWT of ours, unexpired and with an account_id, is nobody."""
    with pytest.raises(Refused) as caught:
        Tokens(SECRET, ttl=60, clock=lambda: 10.0).caller(header)
    assert (caught.value.status, caught.value.message) == (
        401,
        "Unauthorized: missing account context",
    )


@pytest.mark.parametrize(
    ("claims", "expires"),
    [
        (GOOD, 100.0),
        (GOOD | {"iat": 10**12, "nbf": 10**12, "aud": "elsewhere"}, 100.0),
        ({"account_id": "acme"}, float("inf")),
    ],
)
def test_a_token_that_a_user_signed_is_taken(claims, expires):
    """Only the signature, the account_id and `exp`, by the sandbox's clock, decide."""
    tokens = Tokens(SECRET, ttl=60, clock=lambda: 10.0)
    assert tokens.caller(sign(claims | {"sub": "me"})) == Caller("acme", "me", expires)


def test_a_signature_is_checked_once(monkeypatch):
    """A token that was good is not verified again, so a request costs no cryptography."""
    tokens = Tokens(SECRET, ttl=60, clock=lambda: 10.0)
    header = sign(GOOD)
    first = tokens.caller(header)
    monkeypatch.setattr(jwt, "decode", None)
    assert tokens.caller(header) is first


def test_the_tokens_that_are_remembered_are_bounded():
    """However many tokens come by, what is remembered of them does not grow."""
    tokens = Tokens(SECRET, ttl=60, clock=lambda: 10.0)
    for number in range(_CACHED + 10):
        tokens.caller(sign(GOOD | {"jti": str(number)}))
    assert len(tokens._callers) <= _CACHED


async def test_a_token_can_be_minted_expired_or_without_an_account(client, sandbox):
    """mint_token makes what a test of a client's own error handling needs."""
    for token in (sandbox.mint_token(ttl=0), sandbox.mint_token(account_id=None)):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await client.send("GET", "/tickets", headers=headers))[0] == 401


async def test_the_sandboxs_token_is_always_a_valid_one(sandbox, clock):
    """`sandbox.token` stays the same while it holds, and is a new one after that."""
    first = sandbox.token
    assert sandbox.token == first
    clock.now += 3600
    assert sandbox.token != first
    assert sandbox.token == sandbox.token
