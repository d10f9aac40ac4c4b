"""What hooks are told of calls and of tokens, what they may add, and what `log_hook` writes."""

import asyncio
import gc
import logging
import re
import sys
from functools import partial
from pathlib import Path
from typing import ClassVar

import attrs
import pytest

from routera_async import (
    AttemptFinished,
    AttemptStarted,
    ClientCredentials,
    ConfigurationError,
    ImportPaused,
    NotFoundError,
    Overloaded,
    ResponseError,
    RetryPolicy,
    RouteraClient,
    RouteraError,
    TokenProvider,
    TokenRefreshed,
    TokenRefreshFailed,
    ValidationError,
    events,
    log_hook,
)
from routera_async._evidence import AnswerBody
from routera_async.bulk.limiter import Pass

AT_ONCE = RetryPolicy(wait_initial=0, max_attempts=3)


@pytest.fixture
def told():
    """Collect events."""
    return []


@pytest.fixture
async def watched(sandbox, told):
    """Return a client of the sandbox that tells of its calls, and does not wait."""
    settings = {"base_url": sandbox.url, "retry": AT_ONCE, "hooks": [told.append]}
    async with RouteraClient(sandbox.token, **settings) as client:
        yield client


def names(told):
    """Return the names of events."""
    return [type(event).__name__ for event in told]


def ends(told):
    """Return how the calls ended: the outcome, the attempts, the status, the error."""
    return [
        (event.outcome, event.attempts, event.status, event.error)
        for event in told
        if isinstance(event, events.RequestFinished)
    ]


ATTEMPT = ["AttemptStarted", "AttemptFinished"]


async def test_a_call_is_told_from_its_beginning_to_its_end(sandbox, watched, told, new):
    """A call with two retries is told in order, and all of it has one number."""
    sandbox.faults.script(*["error_before_commit"] * 2)
    await watched.tickets.create(new)
    again = ["RetryScheduled", *ATTEMPT]
    assert names(told) == ["RequestStarted", *ATTEMPT, *again, *again, "RequestFinished"]
    assert len({event.call for event in told}) == 1
    assert ends(told) == [("created", 3, 201, None)]


async def test_what_ends_a_program_makes_no_success(watched, told, new, monkeypatch):
    """An answer that was not read to its end for it is told as lost, and as what it was."""

    class End(BaseException):
        """What nobody catches."""

    async def read(_):
        raise End

    monkeypatch.setattr(AnswerBody, "read", read)
    with pytest.raises(End):
        await watched.tickets.create(new)
    (finished,) = [event for event in told if isinstance(event, AttemptFinished)]
    assert (finished.status, finished.error) == (201, "End")
    assert ends(told) == [("created", 1, 201, "End")]


async def test_a_token_that_is_renewed_is_no_retry(sandbox, told, new):
    """A 401 that another token cures is two attempts, and the fetches are told as well."""
    credentials = ClientCredentials(sandbox.client_id, sandbox.client_secret)
    settings = {"base_url": sandbox.url, "hooks": [told.append]}
    async with RouteraClient(credentials, **settings) as client:
        await client.tickets.create(new)
        sandbox.faults.script("refused_token")
        await client.tickets.create(attrs.evolve(new, external_id="ext-002"))
    first, last = names(told)[:5], names(told)[-7:]
    assert first == ["RequestStarted", "TokenRefreshed", *ATTEMPT, "RequestFinished"]
    assert last == ["RequestStarted", *ATTEMPT, "TokenRefreshed", *ATTEMPT, "RequestFinished"]


async def test_calls_at_once_are_told_apart(sandbox, watched, told, new):
    """Each of many concurrent calls is told in its own order, under its own number."""
    sandbox.faults.script("error_before_commit")
    made = (
        watched.tickets.create(attrs.evolve(new, external_id=f"ext-{n}", ticket_name=str(n)))
        for n in range(30)
    )
    await asyncio.gather(*made)
    by_call = {}
    for event in told:
        by_call.setdefault(event.call, []).append(type(event).__name__)
    assert len(by_call) == 30
    plain = ["RequestStarted", *ATTEMPT, "RequestFinished"]
    assert sorted(map(len, by_call.values())) == [4] * 29 + [7]
    assert all(order == plain for order in by_call.values() if len(order) == 4)


@pytest.mark.parametrize("fault", [None, "error_after_commit", "reset_after_commit"])
@pytest.mark.parametrize("keyed", [True, False])
async def test_the_end_says_what_the_error_does(sandbox, watched, told, new, fault, keyed):
    """The outcome that a hook is told is that of the error, with its name and its attempts."""
    sandbox.faults.script(*[fault] * 5 if fault else [])
    given = new if keyed else attrs.evolve(new, external_id=None)
    try:
        record = await watched.tickets.create(given)
        expected = ("created", len(told) // 3, 201, None)
        assert record.id
    except RouteraError as error:
        status = getattr(error, "status", None)
        expected = (error.outcome, len(error.attempts), status, type(error).__name__)
    assert ends(told) == [expected]


async def test_what_was_refused_has_an_end(sandbox, told, new):
    """A call that finds the queue full, and one that is not found, end as their errors say."""
    settings = {"max_connections": 1, "max_waiting": 0, "hooks": [told.append]}
    async with RouteraClient(sandbox.token, base_url=sandbox.url, **settings) as client:
        first = asyncio.create_task(client.tickets.create(new))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await client.tickets.create(new)
        await first
        with pytest.raises(NotFoundError):
            await client.tickets.get("none")
    assert ends(told) == [
        ("not_sent", 0, None, "Overloaded"),
        ("created", 1, 201, None),
        ("rejected", 1, 404, "NotFoundError"),
    ]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([], ("unknown", 1, None, "cancelled")),
        ([b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n"], ("created", 1, 201, "cancelled")),
        ([b"HTTP/1.1 400 No\r\nContent-Length: 9\r\n\r\n"], ("rejected", 1, 400, "cancelled")),
    ],
)
async def test_a_call_that_is_cut_off_has_an_end(wires, told, new, token, answer, expected):
    """A cancelled call is told with what it proves until then."""
    wire = await wires.serve((*answer, wires.HANG))
    async with RouteraClient(token, base_url=wire.url, hooks=[told.append]) as client:
        call = asyncio.create_task(client.tickets.create(new))
        await wire.arrived.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert ends(told) == [expected]


async def test_an_unreadable_answer_is_created(wires, told, new, token):
    """What cannot be read of a 201 is no matter of the call: it has created."""
    wire = await wires.serve(wires.answer(201, b"{"))
    async with RouteraClient(token, base_url=wire.url, hooks=[told.append]) as client:
        with pytest.raises(ResponseError):
            await client.tickets.create(new)
    assert ends(told) == [("created", 1, 201, None)]


async def test_what_is_no_call_is_not_told(watched, told):
    """A record that breaks a rule, and an id that is none, begin no call."""
    for made in (watched.tickets.create({}), watched.tickets.get("a/b")):
        with pytest.raises(ValidationError):
            await made
    assert told == []


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/tickets", "/tickets"),
        ("/deals/1", "/deals/{id}"),
        ("/routers/1", "/routers/{id}"),
        ("/dispatch/router", "/dispatch/router"),
        ("/tickets/1/notes", None),
        ("/notes", None),
    ],
)
async def test_the_route_has_no_id(watched, told, sandbox, path, route):
    """A path is told by the API's name for it, which no id makes another; a query never."""
    with pytest.raises(RouteraError):
        await watched.request("DELETE", path, params={"q": "canary"})
    started = told[0]
    assert (started.path, started.route, started.base_url) == (path, route, sandbox.url)
    assert "canary" not in repr(told)


async def test_an_import_tells_of_its_calls(sandbox, told):
    """The hooks of a client and those of `create_many` hear of each row's call."""
    others = []
    rows = [{"ticket_name": "a", "pipeline": "b", "ticket_stage": "c"}] * 5
    settings = {"base_url": sandbox.url, "hooks": [told.append]}
    async with RouteraClient(sandbox.token, **settings) as client:
        outcomes = client.tickets.create_many(rows, hooks=[others.append])
        assert [each.status async for each in outcomes] == ["created"] * 5
    calls = [event for event in told if hasattr(event, "call")]
    assert calls == [event for event in others if hasattr(event, "call")]
    assert ends(told) == [("created", 1, 201, None)] * 5


# -- tokens --------------------------------------------------------------------------------------


def test_a_token_that_cannot_be_had_is_told(virtually, answers, told, flat, new):
    """A fetch that fails and one that does not are told, with their seconds and no token."""
    answers.post("https://api.routera.io/tickets", status=201, body=flat)
    fates = iter([OSError("canary"), "canary"])

    async def fetch():
        await asyncio.sleep(2)
        fate = next(fates)
        if isinstance(fate, OSError):
            raise fate
        return fate

    async def main():
        async with RouteraClient(fetch, hooks=[told.append], retry=AT_ONCE) as client:
            await client.tickets.create(new)

    virtually(main())
    fetched = [event for event in told if not hasattr(event, "call")]
    assert fetched == [TokenRefreshFailed(2.0, "OSError"), TokenRefreshed(2.0, None)]
    assert "canary" not in repr(told)


async def test_a_source_that_clients_share_tells_each(sandbox, new, told):
    """Clients that share a source of tokens are told by it, as long as they live."""
    other = []

    async def fetch():
        return sandbox.token

    source = TokenProvider(fetch)
    async with RouteraClient(source, base_url=sandbox.url, hooks=[other.append]):
        pass
    async with RouteraClient(source, base_url=sandbox.url, hooks=[told.append]) as client:
        await client.with_options(timeout=5).tickets.create(new)
    assert names(told).count("TokenRefreshed") == 1
    assert {type(event) for event in other} <= {TokenRefreshed}


async def test_a_client_that_is_made_while_a_source_tells(told):
    """Another thread may make a client of a source at any step of its telling of a fetch."""

    async def fetch():
        return "a.b.c"

    source, made = TokenProvider(fetch), {}

    def step(frame, *_):
        where = (frame.f_code, frame.f_lineno)
        if where not in made:
            made[where] = RouteraClient(source, hooks=[told.append])
        return step

    usual = sys.gettrace()
    sys.settrace(step)
    try:
        await source.token()
        await source.token(refused="a.b.c")
    finally:
        sys.settrace(usual)
    assert "TokenRefreshed" in names(told)
    made.clear()
    gc.collect()
    assert not source._heard_by


# -- headers -------------------------------------------------------------------------------------


class Tracing:
    """A hook that adds a header to each attempt."""

    def __init__(self, make):
        self._make = make

    def __call__(self, event):
        """Be a hook."""

    def listens(self):
        """Listen to every call."""
        return True

    def headers(self, event):
        """Return the header."""
        return self._make(event)


async def test_a_hook_adds_headers_to_each_attempt(wires, flat, new, token):
    """Each attempt has the headers that a hook gives it, and its own of the client's."""
    wire = await wires.serve(wires.answer(503), wires.answer(201, flat))
    hook = Tracing(lambda event: {"X-Attempt": f"{event.number}"})
    settings = {"base_url": wire.url, "hooks": [hook], "retry": AT_ONCE}
    async with RouteraClient(token, **settings) as client:
        await client.with_options(headers={"x-attempt": "0", "X-Own": "1"}).tickets.create(new)
    for number, head in enumerate(wire.requests, 1):
        assert head.lower().count(b"x-attempt") == 1
        assert b"X-Attempt: %d\r\n" % number in head
        assert b"X-Own: 1\r\n" in head
        assert f"Authorization: Bearer {token}\r\n".encode() in head


@pytest.mark.parametrize(
    "make",
    [
        lambda _: {"Authorization": "Bearer evil"},
        lambda _: {"X-A": "1\r\nX-Evil: evil"},
        lambda _: {"X-A": 1},
        lambda _: "evil",
        lambda _: 1 / 0,
    ],
)
async def test_a_hooks_wrong_headers_break_nothing(wires, flat, new, token, caplog, make):
    """Headers that a hook must not set, or cannot, are not sent; that is logged once."""
    wire = await wires.serve(wires.answer(201, flat))
    fine = Tracing(lambda _: {"X-Fine": "1"})
    hooks = [Tracing(make), fine]
    async with RouteraClient(token, base_url=wire.url, hooks=hooks) as client:
        for _ in range(2):
            await client.tickets.create(new)
    assert not any(b"evil" in head for head in wire.requests)
    assert all(b"X-Fine: 1" in head for head in wire.requests)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_hook_that_does_not_listen_is_told_nothing(sandbox, new, caplog):
    """Only who listens when a call is made is told of it; who fails to say so does not listen."""

    class Listening(Tracing):
        """Listens as it is told to."""

        def __init__(self, listens):
            super().__init__(lambda _: {})
            self.listens = listens
            self.told = []

        def __call__(self, event):
            """Keep what is told."""
            self.told.append(type(event).__name__)

    answers = iter([False, True, False])
    hook, faulty = Listening(lambda: next(answers)), Listening(lambda: 1 / 0)
    settings = {"base_url": sandbox.url, "hooks": [faulty, hook], "retry": AT_ONCE}
    sandbox.faults.script("error_before_commit", None, None, "error_before_commit")
    async with RouteraClient(sandbox.token, **settings) as client:
        for number in range(3):
            await client.tickets.create(attrs.evolve(new, external_id=f"ext-{number}"))
    assert hook.told == ["RequestStarted", *ATTEMPT, "RequestFinished"]
    assert len(caplog.records) == 1


async def test_a_gate_hears_where_nobody_listens(sandbox, new):
    """What holds an import back is told of its attempts, and of nothing else."""

    class Gate:
        """Lets everything through, and keeps what it is told."""

        stands_open = False
        told: ClassVar[list[str | int]] = []

        async def enter(self):
            """Let an attempt through."""
            return Pass()

        def began(self):
            """Keep that an attempt began."""
            self.told.append("began")

        def succeeded(self, elapsed):
            """Keep that it succeeded."""
            assert elapsed > 0
            self.told.append(201)

        def ended(self, met):
            """Keep how else it ended."""
            self.told.append(met.status)

    hook = Tracing(lambda _: {"X-Never": "1"})
    hook.listens = lambda: False
    sandbox.faults.script("error_before_commit")
    settings = {"base_url": sandbox.url, "hooks": [hook], "retry": AT_ONCE}
    async with RouteraClient(sandbox.token, **settings) as client:
        client.tickets._session = client._session.gated(Gate())
        await client.tickets.create(new)
    assert Gate.told == ["began", 500, "began", 201]
    assert "X-Never" not in sandbox.requests[-1].headers


@pytest.mark.parametrize("of_client", [True, False])
async def test_a_hook_that_raises_in_an_import_is_logged_once(sandbox, caplog, of_client):
    """Whoever tells it: the calls, the limiter, or the import; and no row is lost for it."""

    def broken(_):
        raise ZeroDivisionError

    rows = [{"ticket_name": "a", "pipeline": "p", "ticket_stage": "s"} for _ in range(60)]
    sandbox.faults.draw({"error_before_commit": 0.3}, seed=1)
    ours, theirs = ([broken], []) if of_client else ([], [broken])
    settings = {"base_url": sandbox.url, "hooks": ours, "retry": AT_ONCE}
    async with RouteraClient(sandbox.token, mint_external_ids=True, **settings) as client:
        outcomes = [each async for each in client.tickets.create_many(rows, hooks=theirs)]
    assert len(outcomes) == 60
    assert caplog.text.count("a hook raised") == 1


def raiser(error):
    """Return what raises that, whatever it is given."""

    def raises(*_):
        raise error

    return raises


ASKED = {
    "told": raiser,
    "listens": lambda error: attach(Tracing(lambda _: {}), "listens", raiser(error)),
    "headers": lambda error: Tracing(raiser(error)),
}
"""How a hook may come to raise: when it is told, or asked."""


def attach(hook, name, method):
    """Return a hook with another method."""
    setattr(hook, name, method)
    return hook


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("error", [asyncio.CancelledError(), pytest.fail.Exception("no")])
async def test_whatever_a_hook_raises_breaks_nothing(sandbox, new, caplog, asked, error):
    """Neither what cancels a task nor what fails a test: the call goes on, and that is logged."""
    settings = {"base_url": sandbox.url, "hooks": [ASKED[asked](error)], "retry": AT_ONCE}
    async with RouteraClient(sandbox.token, **settings) as client:
        assert await client.tickets.create(new)
    assert caplog.text.count("a hook raised") == 1


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_passes_a_hook(answers, flat, new, asked, kind):
    """Who interrupts a process in a hook's midst ends it."""
    answers.post("https://api.routera.io/tickets", status=201, body=flat)

    async def main():
        async with RouteraClient("eyJ", hooks=[ASKED[asked](kind())]) as client:
            await client.tickets.create(new)

    with pytest.raises(kind):
        asyncio.run(main())


async def hears(_):
    """Be awaited by nobody."""


class Hears:
    """A hook whose call is to be awaited."""

    async def __call__(self, _):
        """Be awaited by nobody."""


@pytest.mark.parametrize("hook", [hears, Hears(), Hears().__call__, partial(hears)])
async def test_an_async_hook_is_refused(sandbox, hook):
    """Wherever hooks are given: what is awaited by nobody would never run."""
    settings = {"base_url": sandbox.url, "hooks": [hook]}
    with pytest.raises(ConfigurationError, match=r"a hook must be a plain function: .* is async"):
        RouteraClient(sandbox.token, **settings)
    async with RouteraClient(sandbox.token, base_url=sandbox.url) as client:
        with pytest.raises(ConfigurationError, match="a hook must be a plain function"):
            client.tickets.create_many([], hooks=[hook])
        with pytest.raises(ConfigurationError, match="must be a list of callables"):
            client.tickets.create_many([], hooks=hook)


# -- log_hook ------------------------------------------------------------------------------------


async def logged(wires, caplog, token, *script, call):
    """Return the log of one call."""
    caplog.set_level(logging.DEBUG, "routera_async")
    wire = await wires.serve(*script)
    settings = {"base_url": wire.url, "hooks": [log_hook], "retry": AT_ONCE}
    async with RouteraClient(token, **settings) as client:
        await asyncio.gather(call(client), return_exceptions=True)
    return [record for record in caplog.records if record.name == "routera_async"]


async def test_the_log_has_fields(wires, caplog, flat, new, token):
    """Each event is a record: its name, and each of its attributes as a field."""
    script = wires.answer(500), wires.answer(201, flat)
    records = await logged(wires, caplog, token, *script, call=lambda it: it.tickets.create(new))
    assert [(record.levelname, record.routera_event) for record in records] == [
        ("DEBUG", "RequestStarted"),
        ("DEBUG", "AttemptStarted"),
        ("DEBUG", "AttemptFinished"),
        ("INFO", "RetryScheduled"),
        ("DEBUG", "AttemptStarted"),
        ("DEBUG", "AttemptFinished"),
        ("DEBUG", "RequestFinished"),
    ]
    assert len({record.routera_call for record in records}) == 1
    failed, ended = records[2], records[-1]
    assert (failed.routera_status, failed.routera_number) == (500, 1)
    assert (ended.routera_outcome, ended.routera_attempts) == ("created", 2)
    assert failed.getMessage().startswith(
        "AttemptFinished method=POST path=/tickets number=1 sent=True status=500 elapsed="
    )


@pytest.mark.parametrize(
    ("status", "level"), [(400, "INFO"), (409, "INFO"), (500, "WARNING"), (429, "WARNING")]
)
async def test_the_level_says_whether_to_look(wires, caplog, new, token, status, level):
    """What is decided is INFO, what is unknown or was not done WARNING."""
    script = wires.answer(status, b"{}")
    records = await logged(wires, caplog, token, script, call=lambda it: it.tickets.create(new))
    assert (records[-1].routera_event, records[-1].levelname) == ("RequestFinished", level)


async def test_the_log_holds_nothing_secret(wires, caplog, token):
    """No body, header, token or query is in a record, nor in its fields."""
    body = f'{{"canary": "{token}"}}'.encode()
    script = wires.answer(400, body, "X-Canary: canary")

    async def call(client):
        twin = client.with_options(headers={"X-Key": "canary"})
        json = {"field": "canary"}
        await twin.request("POST", "/tickets", params={"q": "canary"}, json=json)

    records = await logged(wires, caplog, token, script, call=call)
    seen = repr([vars(record) for record in records]) + caplog.text
    assert len(records) == 4
    assert "canary" not in seen
    assert token[30:] not in seen


def test_a_level_that_is_off_costs_no_record(caplog):
    """What is below the logger's level is not logged, and the rest is."""
    caplog.set_level(logging.INFO, "routera_async")
    log_hook(AttemptStarted("GET", "/tickets", 1))
    log_hook(AttemptFinished("GET", "/tickets", 1, True, 200, None, 0.1))
    log_hook(ImportPaused("Routera is not answering", retry_in=0.5))
    (record,) = caplog.records
    assert (record.levelname, record.routera_retry_in) == ("WARNING", 0.5)


def test_no_field_takes_a_records_own_name():
    """`extra` must not overwrite what a record has: each field of each event is prefixed."""
    own = vars(logging.makeLogRecord({}))
    kinds = events.Event.__args__
    fields = {f"routera_{field.name}" for kind in kinds for field in attrs.fields(kind)}
    assert fields
    assert not fields & own.keys()


def test_the_page_has_every_event():
    """The page's table has each event, in the order of a call's, with its attributes."""
    page = (Path(__file__).parents[1] / "docs" / "observability.md").read_text("utf-8")
    rows = re.findall(r"^\| `([A-Z]\w+)` \|[^|]*:<br>(`.*`) \|$", page, re.MULTILINE)
    documented = {name: re.findall(r"`(\w+)`", attributes) for name, attributes in rows}
    assert documented == {
        kind.__name__: [field.name for field in attrs.fields(kind)]
        for kind in events.Event.__args__
    }


@pytest.mark.parametrize("kind", events.Event.__args__, ids=lambda kind: kind.__name__)
def test_every_event_can_be_logged(kind, caplog):
    """Each kind of event is one record with its name, and is frozen."""
    caplog.set_level(logging.DEBUG, "routera_async")
    event = kind(**{field.name: None for field in attrs.fields(kind)})
    log_hook(event)
    assert caplog.records[0].routera_event == kind.__name__
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.call = 1
