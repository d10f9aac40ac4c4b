"""Where tokens come from, and that they are never shown."""

import asyncio
import base64
import json
import traceback

import attrs
import pytest

from routera_async import (
    ClientCredentials,
    ConfigurationError,
    NewTicket,
    NotSentError,
    RouteraClient,
    StaticToken,
    TokenProvider,
)
from routera_async.auth import Secret, as_auth, checked_token, in_hand

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


def test_a_class_of_the_callers_own_is_always_asked(token):
    """What it has in hand is for it to say."""

    class Own(StaticToken):
        async def token(self, refused=None):
            return f"other than {refused}"

    assert in_hand(StaticToken(token))(None) == token
    assert in_hand(Own(token))(None) is None


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


@attrs.define
class Route:
    """A token route that answers after a second, with the tokens t1, t2 and so on."""

    status: int = 200
    answer: dict | bytes = attrs.field(factory=lambda: {"expires_in": 3600})
    asked: int = 0

    async def post(self, *_):
        """Answer one request."""
        self.asked += 1
        number = self.asked
        await asyncio.sleep(1)
        if isinstance(self.answer, bytes):
            return self.status, self.answer
        return self.status, json.dumps({"access_token": f"t{number}"} | self.answer).encode()

    def auth(self):
        """Return what asks this route."""
        return ClientCredentials("id", "canary-secret").over(self.post)


async def at(seconds):
    """Sleep until a time of the loop's clock."""
    await asyncio.sleep(seconds - asyncio.get_running_loop().time())


@pytest.mark.parametrize("basic", [True, False])
async def test_credentials_are_granted_a_token(sandbox, basic):
    """An API client's id and secret, in the form or as Basic, give tokens that the API takes."""
    credentials = ClientCredentials(sandbox.client_id, sandbox.client_secret, basic=basic)
    new = NewTicket(ticket_name="a", pipeline="b", ticket_stage="c")
    async with RouteraClient(credentials, base_url=sandbox.url) as client:
        await asyncio.gather(*(client.tickets.create(new) for _ in range(20)))
    assert [request.path for request in sandbox.requests] == ["/oauth2/token"] + ["/tickets"] * 20


async def test_wrong_credentials_are_a_wrong_setting(sandbox):
    """A secret that the token route refuses is a ConfigurationError, and no ticket is sent."""
    async with RouteraClient(ClientCredentials("id", "no"), base_url=sandbox.url) as client:
        with pytest.raises(ConfigurationError, match="the token route answered 401: "):
            await client.tickets.get("1")
    assert [request.path for request in sandbox.requests] == ["/oauth2/token"]


async def test_the_token_route_is_not_followed_elsewhere(wires):
    """A redirect of the token route is refused: the secret goes nowhere else."""
    elsewhere = await wires.serve(wires.answer(200, b"{}"))
    wire = await wires.serve(wires.answer(307, b"", f"Location: {elsewhere.url}/oauth2/token"))
    async with RouteraClient(ClientCredentials("id", "s"), base_url=wire.url) as client:
        with pytest.raises(ConfigurationError, match="answered 307"):
            await client.tickets.get("1")
    assert (len(wire.requests), len(elsewhere.requests)) == (1, 0)


def test_what_credentials_send():
    """The secret stands in the form, or in a Basic header whose parts are quoted (RFC 6749)."""
    grant = {"grant_type": "client_credentials"}
    form = ClientCredentials("a:b", "c d").form()
    assert form == (grant | {"client_id": "a:b", "client_secret": "c d"}, {})
    _, headers = basic = ClientCredentials("a:b", "c d", basic=True).form()
    assert basic[0] == grant
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"a%3Ab:c+d"


@pytest.mark.parametrize("pair", [("", "canary"), ("id", "")])
def test_credentials_that_are_empty(pair):
    """An empty id or secret is refused, and the other is not shown."""
    with pytest.raises(ConfigurationError, match="must not be empty") as caught:
        ClientCredentials(*pair)
    assert "canary" not in shown(caught.value)


@pytest.mark.parametrize("basic", [True, False])
def test_no_repr_shows_a_secret(basic):
    """Neither the credentials, nor what asks with them, nor what is sent shows the secret."""
    credentials = ClientCredentials("id", "canary", basic=basic)
    granted = credentials.over(None)
    hidden = base64.b64encode(b"id:canary").decode()
    everything = repr([credentials, vars(credentials), granted, vars(granted), credentials.form()])
    assert "canary" not in everything
    assert hidden not in everything


def test_one_fetch_serves_all(virtually):
    """However many need a token at once, the token route is asked once."""

    async def main():
        route = Route()
        auth = route.auth()
        assert await asyncio.gather(*(auth.token() for _ in range(100))) == ["t1"] * 100
        refused = await asyncio.gather(*(auth.token(refused="t1") for _ in range(100)))
        assert refused == ["t2"] * 100
        assert await auth.token(refused="t1") == "t2"
        assert route.asked == 2

    virtually(main())


def test_a_cancelled_caller_fails_nobody(virtually):
    """When the caller that began a fetch is cancelled, the others get its token."""

    async def main():
        route = Route()
        auth = route.auth()
        first, second = (asyncio.create_task(auth.token()) for _ in range(2))
        await asyncio.sleep(0.5)
        first.cancel()
        assert await second == "t1"
        assert first.cancelled()
        assert route.asked == 1

    virtually(main())


@pytest.mark.parametrize(("lasts", "renewed_at"), [(3600, 3541), (100, 91)])
def test_a_token_is_renewed_before_its_end(virtually, lasts, renewed_at):
    """A token is renewed a minute before its end, or a tenth of its life when that is less."""

    async def main():
        route = Route(answer={"expires_in": lasts})
        auth = route.auth()
        await auth.token()  # at 1
        await at(renewed_at - 0.1)
        assert await auth.token() == "t1"
        await at(renewed_at)
        assert await auth.token() == "t1"  # it still lasts: nobody waits
        await at(renewed_at + 1.5)
        assert await auth.token() == "t2"

    virtually(main())


def test_a_failed_renewal_is_no_fault_while_the_token_lasts(virtually):
    """When the token route is down the old token is used to its end, and not if it was refused."""

    async def main():
        route = Route()
        auth = route.auth()
        await auth.token()
        route.status = 503
        await at(3545)
        assert await auth.token() == "t1"
        with pytest.raises(NotSentError, match="the token route answered 503"):
            await auth.token(refused="t1")
        await at(3601)
        with pytest.raises(NotSentError, match="the token route answered 503"):
            await auth.token()
        route.status = 200
        assert await auth.token() == f"t{route.asked}"

    virtually(main())


def test_a_failed_renewal_is_tried_again_after_a_while(virtually):
    """While the old token lasts, a renewal that failed is tried again 5 s later; nobody waits."""

    async def main():
        clock = asyncio.get_running_loop().time
        route = Route()
        auth = route.auth()
        await auth.token()  # at 1, and for an hour
        route.status = 503
        asked = {}
        for second in range(3541, 3553):
            await at(second)
            assert await auth.token() == "t1"
            assert clock() == second
            await asyncio.sleep(0)
            asked[second] = route.asked - 1
        assert asked == dict.fromkeys(range(3541, 3546), 1) | dict.fromkeys(
            range(3546, 3551), 2
        ) | dict.fromkeys(range(3551, 3553), 3)

    virtually(main())


def test_a_fetch_that_was_cancelled_before_it_began(virtually):
    """A fetch whose task is cancelled before its first step breaks no later one."""

    async def main():
        route = Route()
        auth = route.auth()
        caller = asyncio.create_task(auth.token())
        await asyncio.sleep(0)
        fetching = asyncio.all_tasks() - {caller, asyncio.current_task()}
        for task in fetching:
            task.cancel()
        with pytest.raises(NotSentError, match="cancelled"):
            await caller
        assert (len(fetching), route.asked) == (1, 0)
        assert await auth.token() == "t1"

    virtually(main())


def _at_once(loop, coro, **kwargs):
    """Run a fetch that does not wait, as an eager task factory does; give a task that is done."""
    if getattr(coro, "__name__", None) != "_renew":
        return asyncio.Task(coro, loop=loop, **kwargs)
    done = loop.create_future()
    try:
        coro.send(None)
    except StopIteration as ended:
        done.set_result(ended.value)
    assert done.done()
    return done


def test_tasks_that_begin_at_once(virtually):
    """With eager tasks a fetch may be done before its task is known; it serves all the same."""

    async def main():
        eager = getattr(asyncio, "eager_task_factory", _at_once)  # from Python 3.12 on
        asyncio.get_running_loop().set_task_factory(eager)
        server = Server()
        auth = TokenProvider(server.fetch)
        assert [await auth.token() for _ in range(2)] == ["t1", "t1"]
        assert [await auth.token(refused="t1") for _ in range(2)] == ["t2", "t2"]
        assert server.asked == 2

    virtually(main())


def test_each_caller_gets_an_error_of_its_own(virtually):
    """What a call met is written on its error, so no two calls share one."""

    async def main():
        auth = Route(status=500).auth()
        first, second = await asyncio.gather(auth.token(), auth.token(), return_exceptions=True)
        assert type(first) is type(second) is NotSentError
        assert first is not second

    virtually(main())


@pytest.mark.parametrize(
    ("status", "answer", "kind", "says"),
    [
        (400, {"error": "invalid_request", "error_description": "No grant"}, None, "No grant"),
        (401, {"error": "invalid_client"}, None, "answered 401: invalid_client"),
        (401, {"error_description": "not canary-secret\r\n"}, None, r"not \[secret\]$"),
        (404, b"<html>", None, "answered 404: no reason given"),
        (302, b"", None, "answered 302"),
        (429, b"", NotSentError, "answered 429"),
        (500, b"", NotSentError, "answered 500"),
        (503, b"<html>", NotSentError, "answered 503"),
        (200, b"", None, "without a token"),
        (200, b"[]", None, "without a token"),
        (200, {"access_token": None}, None, "without a token"),
        (200, {"access_token": "Bearer canary"}, None, "unfit for a header"),
        (200, {"expires_in": 0}, None, "without a token"),
        (200, {"expires_in": "soon"}, None, "without a token"),
    ],
)
def test_what_the_token_route_may_answer(virtually, status, answer, kind, says):
    """A refusal is a wrong setting, an outage is not sent, and no answer shows a secret."""

    async def main():
        with pytest.raises(kind or ConfigurationError, match=says) as caught:
            await Route(status=status, answer=answer).auth().token()
        assert "canary" not in shown(caught.value)

    virtually(main())


def test_a_token_without_an_end_lasts_an_hour(virtually):
    """When the token route does not say how long a token lasts, it is an hour."""

    async def main():
        body = b'{"access_token": "t1", "token_type": "Bearer"}'
        route = Route(answer=body)
        auth = route.auth()
        await auth.token()
        await at(3540)
        await auth.token()
        assert route.asked == 1
        await at(3541)
        await auth.token()
        await at(3543)
        assert await auth.token() == "t1"
        assert route.asked == 2

    virtually(main())


def test_a_token_serves_the_next_loop(virtually):
    """A source of tokens outlives the loop on which it fetched one, and a fetch that was cut."""
    server = Server()
    auth = TokenProvider(server.fetch)

    async def cut():
        task = asyncio.create_task(auth.token())
        await asyncio.sleep(0)
        task.cancel()

    virtually(cut())
    assert virtually(auth.token()) == virtually(auth.token())


def test_closing_ends_a_fetch(virtually):
    """A fetch that is under way when its source is closed is cancelled; its callers are not."""

    async def main():
        auth = Route().auth()
        await auth.aclose()
        caller = asyncio.create_task(auth.token())
        await asyncio.sleep(0.5)
        await auth.aclose()
        with pytest.raises(NotSentError, match="cancelled"):
            await caller
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtually(main())


def test_a_fetch_that_was_cancelled_elsewhere_is_an_error(virtually):
    """A callable that is itself cancelled makes no token, and cancels none of its callers."""

    async def fetch():
        raise asyncio.CancelledError

    async def main():
        with pytest.raises(NotSentError, match="no token could be had"):
            await TokenProvider(fetch).token()

    virtually(main())
