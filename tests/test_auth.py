"""Where tokens come from, and that they are never shown."""

import traceback

import pytest

from routera_async import ConfigurationError, RouteraClient, StaticToken, TokenProvider
from routera_async.auth import Secret, as_auth, checked_token

BAD_TOKENS = {
    "crlf": "canary\r\nX-Evil: 1",
    "newline": "canary\n",
    "empty": "",
    "blank": " ",
    "with Bearer": "Bearer canary",
    "non-ASCII": "canäry",
    "NUL": "canary\0",
    "quoted": '"canary"',
    "padding alone": "=",
}


class Server:
    """Hands out the tokens t1, t2, t3 and so on."""

    def __init__(self) -> None:
        self.asked = 0

    async def fetch(self):
        """Return the next."""
        self.asked += 1
        return f"t{self.asked}"


def shown(error):
    """Return all that a traceback can show of an error, the variables of our frames included."""
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame for frame in trace.stack if "routera_async/" in frame.filename]
    assert ours
    return "".join(
        [str(error), repr(error), repr(error.args), repr(vars(error))]
        + [repr(frame.locals) for frame in ours]
    )


@pytest.mark.parametrize("text", BAD_TOKENS.values(), ids=BAD_TOKENS)
@pytest.mark.parametrize(
    "take", [checked_token, StaticToken, as_auth, RouteraClient], ids=lambda take: take.__name__
)
def test_a_bad_token_is_refused_and_not_shown(take, text):
    """What cannot stand in a header is refused where it is passed, and shown nowhere."""
    with pytest.raises(ConfigurationError, match=r"the token is .* without 'Bearer'") as caught:
        take(text)
    assert "can" not in shown(caught.value).replace("cannot", "")


@pytest.mark.parametrize(
    ("text", "what"), [("", "empty"), ("a b", "unfit for a header"), (None, "not text")]
)
def test_a_bad_token_is_described(text, what):
    """The error says which of the things that can be wrong it is."""
    with pytest.raises(ConfigurationError, match=f"the token is {what}:"):
        checked_token(text)


def test_a_good_token_is_not_shown_by_another_error(token):
    """A token that was taken before another setting was refused is in none of our frames."""
    with pytest.raises(ConfigurationError) as caught:
        RouteraClient(token, base_url="http://far.example")
    assert token not in shown(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        RouteraClient.from_env({"ROUTERA_TOKEN": token, "ROUTERA_BASE_URL": "http://far.example"})
    assert token not in shown(caught.value)


@pytest.mark.parametrize("text", ["eyJ.eyJ.s-_g", "a+b/c~d.e==", "0"])
async def test_a_static_token(text):
    """A token is sent as it is, and is the same again when it was refused."""
    auth = StaticToken(text)
    assert await auth.token() == text
    assert await auth.token(refused=text) == text


def test_no_repr_shows_a_token(token):
    """Neither the sources of tokens nor the tokens themselves show one."""
    auth = StaticToken(token)
    assert token not in repr([auth, TokenProvider(lambda: token), checked_token(token)])
    assert token not in repr(vars(auth))
    assert str(Secret(token)) == token


async def test_a_provider_is_asked_once():
    """A token is fetched when it is first needed, and kept."""
    server = Server()
    auth = TokenProvider(server.fetch)
    assert server.asked == 0
    assert [await auth.token() for _ in range(3)] == ["t1", "t1", "t1"]


async def test_a_provider_is_asked_again_for_a_refused_token():
    """A refused token is replaced; one that was replaced already is not fetched again."""
    server = Server()
    auth = TokenProvider(server.fetch)
    first = await auth.token()
    assert await auth.token(refused=first) == "t2"
    assert await auth.token(refused=first) == "t2"
    assert await auth.token() == "t2"
    assert server.asked == 2


@pytest.mark.parametrize("answer", ["Bearer canary", None, b"canary", ""])
async def test_a_provider_that_answers_badly(answer):
    """What a provider returns is checked as any token is, and is not kept."""

    async def fetch():
        return answer

    auth = TokenProvider(fetch)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="the token is") as caught:
            await auth.token()
        assert "canary" not in shown(caught.value)


@pytest.mark.parametrize("auth", [None, 5, b"eyJ", object()])
def test_what_is_no_auth(auth):
    """Only a JWT, an Auth or a callable can be where tokens come from."""
    with pytest.raises(ConfigurationError, match=f"not {type(auth).__name__}"):
        RouteraClient(auth)


def test_an_auth_is_taken_as_it_is():
    """An Auth is used itself; a callable is asked through a provider."""
    auth = StaticToken("t")
    assert as_auth(auth) is auth
    assert isinstance(as_auth(Server().fetch), TokenProvider)
