"""One exchange: what is sent where, how often, within what time; on scripted answers."""

import asyncio
import logging
import string

import aiohttp
import attrs
import pytest
from aioresponses import CallbackResult
from hypothesis import given
from hypothesis import strategies as st

from routera_async import (
    AttemptFinished,
    AttemptStarted,
    BadRequestError,
    ConfigurationError,
    DuplicateError,
    NotSentError,
    OutcomeUnknown,
    Overloaded,
    RateLimitedError,
    RetryPolicy,
    RetryScheduled,
    RouteraClient,
    ServerError,
    TokenProvider,
    UnauthorizedError,
    ValidationError,
)
from routera_async._session import _segment, checked_base_url

TICKETS = "https://api.routera.io/tickets"
REQUEST = (
    b'{"fields":{"external_id":"ext-001","ticket_name":"Support request",'
    b'"pipeline":"default","ticket_stage":"new"}}'
)


def create(virtually, new, auth="eyJ", **settings):
    """Create a ticket on a virtual clock; return it, or the error, and the seconds it took."""

    async def main():
        clock = asyncio.get_running_loop().time
        async with RouteraClient(auth, **settings) as client:
            (result,) = await asyncio.gather(client.tickets.create(new), return_exceptions=True)
            return result, clock()

    return virtually(main())


def sent(answers):
    """Return what was sent with each request: the token, the body, how."""
    (calls,) = answers.requests.values()
    return [call.kwargs for call in calls]


def tokens(answers):
    """Return the token of each request."""
    return [call["headers"]["Authorization"].removeprefix("Bearer ") for call in sent(answers)]


def after(seconds, status=201, body=b""):
    """Return a callback that answers after some seconds."""

    async def answer(url, **_):
        await asyncio.sleep(seconds)
        return CallbackResult(status=status, body=body)

    return answer


def provider(*given_tokens):
    """Return a source of these tokens, one after the other."""
    pending = iter(given_tokens)

    async def fetch():
        return next(pending)

    return TokenProvider(fetch)


@pytest.mark.parametrize("failures", [(500, 500), (502,), (503, 504), (429,), (502, 503, 504, 500)])
def test_a_failing_server_is_asked_again(virtually, answers, flat, new, failures):
    """500, 500, 201 is one ticket and three requests, of the same bytes; so with its kin."""
    for status in failures:
        answers.post(TICKETS, status=status)
    answers.post(TICKETS, status=201, body=flat)
    ticket, _ = create(virtually, new)
    assert ticket.id == "550e8400-e29b-41d4-a716-446655440000"
    assert [call["data"].decode().encode() for call in sent(answers)] == [REQUEST] * (
        len(failures) + 1
    )


def test_a_duplicate_is_asked_once(virtually, answers, new):
    """409 is one request and a DuplicateError that is not ours."""
    answers.post(TICKETS, status=409, body='{"message": "Duplicate", "error": true}', repeat=True)
    error, seconds = create(virtually, new)
    assert type(error) is DuplicateError
    assert (error.message, error.ours, error.outcome) == ("Duplicate", False, "duplicate")
    assert len(sent(answers)) == len(error.attempts) == 1
    assert seconds == 0


def test_a_bad_request_is_asked_once(virtually, answers, new):
    """400 is one request, and carries the server's message."""
    message = "Unknown field: colour"
    answers.post(TICKETS, status=400, payload={"message": message, "error": True}, repeat=True)
    error, _ = create(virtually, new)
    assert type(error) is BadRequestError
    assert (error.message, error.status, error.outcome) == (message, 400, "rejected")
    assert len(sent(answers)) == 1


def test_a_server_that_keeps_failing(virtually, answers, unkeyed):
    """After max_attempts the last error is raised, with what each attempt met."""
    answers.post(TICKETS, status=503, repeat=True)
    error, seconds = create(virtually, unkeyed, retry=RetryPolicy(max_attempts=3))
    assert type(error) is ServerError
    assert [(each.number, each.status, each.outcome) for each in error.attempts] == [
        (1, 503, "unknown"),
        (2, 503, "unknown"),
        (3, 503, "unknown"),
    ]
    assert 0 < seconds <= 0.2 + 0.4
    assert error.elapsed == seconds
    assert error.attempts[2].started == seconds


@pytest.mark.parametrize(
    ("headers", "least"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after": "7"}, 7),
        (
            {
                "Date": "Thu, 12 Jun 2025 14:29:00 GMT",
                "Retry-After": "Thu, 12 Jun 2025 14:29:30 GMT",
            },
            30,
        ),
        ({"Retry-After": "86400"}, 60),
        ({}, 0),
        ({"Retry-After": "soon"}, 0),
    ],
)
def test_retry_after_is_waited_out(virtually, answers, flat, new, headers, least):
    """A 429 is sent again after what its Retry-After asks for, at most retry_after_max."""
    answers.post(TICKETS, status=429, headers=headers)
    answers.post(TICKETS, status=201, body=flat)
    ticket, seconds = create(virtually, new)
    assert ticket.external_id == "ext-001"
    assert least <= seconds <= least + 0.2


def test_a_server_that_only_throttles(virtually, answers, new):
    """A 429 on every attempt is a RateLimitedError: provably not done."""
    answers.post(TICKETS, status=429, headers={"Retry-After": "1"}, repeat=True)
    error, _ = create(virtually, new)
    assert type(error) is RateLimitedError
    assert (error.outcome, error.retry_after, len(error.attempts)) == ("not_sent", 1.0, 5)


def test_the_request_itself(virtually, answers, flat, new):
    """A create is the documented request, with one token, and follows no redirect."""
    answers.post(TICKETS, status=201, body=flat)
    create(virtually, new, auth="eyJ.eyJ.sig")
    (call,) = sent(answers)
    assert call["headers"]["Authorization"] == "Bearer eyJ.eyJ.sig"
    assert call["headers"]["User-Agent"].startswith("routera-async/")
    assert call["data"].content_type == "application/json"
    assert call["allow_redirects"] is False


def test_an_attempts_time_is_its_own(virtually, answers, flat, new):
    """The clock of an attempt starts when it is admitted: waiting in line does not use it up."""
    answers.post(TICKETS, callback=after(0.9, body=flat), repeat=True)

    async def main():
        once = RetryPolicy(max_attempts=1)
        async with RouteraClient("eyJ", max_connections=2, timeout=1.0, retry=once) as client:
            return await asyncio.gather(*(client.tickets.create(new) for _ in range(20)))

    assert len(virtually(main())) == 20
    assert len(sent(answers)) == 20


def test_an_attempt_ends_in_time(virtually, answers, new, at_once):
    """No attempt takes more than its time-out, and not all end in the same moment."""
    answers.post(TICKETS, callback=after(60), repeat=True)
    error, seconds = create(virtually, new, timeout=10.0, retry=at_once)
    lengths = [attempt.elapsed for attempt in error.attempts]
    assert len(lengths) == 5
    assert all(9.5 <= length <= 10.0 for length in lengths)
    assert len(set(lengths)) > 1
    assert seconds <= 50


def test_the_deadline_ends_an_attempt(virtually, answers, new):
    """A call ends at its deadline, whatever attempt is under way."""
    answers.post(TICKETS, callback=after(60), repeat=True)
    error, seconds = create(virtually, new, deadline=2.0)
    assert type(error) is NotSentError
    assert "deadline of 2.0 s" in str(error)
    assert seconds == error.elapsed == 2.0
    assert len(error.attempts) == 1


def test_the_deadline_ends_the_waiting_in_line(virtually, answers, flat, new):
    """A call that is not admitted before its deadline is not sent, and takes nobody's place."""
    answers.post(TICKETS, callback=after(3, body=flat), repeat=True)

    async def main():
        async with RouteraClient("eyJ", max_connections=1, deadline=4.0) as client:
            calls = [client.tickets.create(new) for _ in range(3)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            return results, await client.tickets.create(new)

    (first, second, third), later = virtually(main())
    assert first == later
    assert type(second) is type(third) is NotSentError
    assert (len(second.attempts), third.attempts) == (1, ())
    assert third.elapsed == 4.0


def test_the_deadline_ends_the_wait_for_a_token(virtually, answers, new):
    """A call whose token does not come before its deadline is not sent."""

    async def fetch():
        await asyncio.sleep(60)

    error, seconds = create(virtually, new, auth=fetch, deadline=2.0)
    assert (type(error), error.attempts, seconds) == (NotSentError, (), 2.0)
    assert not answers.requests


def test_the_deadline_ends_the_repeats(virtually, answers, new):
    """Rather than wait past the deadline a call ends with what it met last."""
    answers.post(TICKETS, status=500)
    answers.post(TICKETS, status=429, headers={"Retry-After": "30"}, repeat=True)
    error, seconds = create(virtually, new, deadline=20.0)
    assert type(error) is RateLimitedError
    assert error.outcome == "unknown"
    assert len(error.attempts) == 2
    assert seconds <= 0.2


def test_a_deadline_after_a_failure_leaves_it_unknown(virtually, answers, new):
    """When an attempt before the one that ran out of time may have been done, so may the call."""
    answers.post(TICKETS, status=500)
    answers.post(TICKETS, callback=after(60))
    error, seconds = create(virtually, new, deadline=2.0)
    assert type(error) is OutcomeUnknown
    assert [attempt.outcome for attempt in error.attempts] == ["unknown", "not_sent"]
    assert seconds == 2.0


def test_an_overloaded_client_says_so_at_once(virtually, answers, flat, new):
    """With max_waiting calls in line another is refused at once, and the others are served."""
    answers.post(TICKETS, callback=after(1, body=flat), repeat=True)

    async def main():
        async with RouteraClient("eyJ", max_connections=2, max_waiting=3) as client:
            calls = [client.tickets.create(new) for _ in range(7)]
            return await asyncio.gather(*calls, return_exceptions=True)

    results = virtually(main())
    assert [type(result).__name__ for result in results] == ["Ticket"] * 5 + ["Overloaded"] * 2
    refused = results[-1]
    assert (refused.outcome, refused.attempts, refused.elapsed) == ("not_sent", (), 0.0)
    assert type(refused) is Overloaded
    assert len(sent(answers)) == 5


def test_a_repeat_is_never_refused_admission(virtually, answers, flat, new):
    """A call that was admitted once waits for its repeat, however long the line."""
    answers.post(TICKETS, status=429, headers={"Retry-After": "1"})
    answers.post(TICKETS, callback=after(5, body=flat), repeat=True)

    async def main():
        async with RouteraClient("eyJ", max_connections=1, max_waiting=0) as client:
            throttled = asyncio.create_task(client.tickets.create(new))
            await asyncio.sleep(0.5)
            return await asyncio.gather(throttled, client.tickets.create(new))

    assert len(virtually(main())) == 2
    assert len(sent(answers)) == 3


def test_a_refused_token_is_replaced_once(virtually, answers, flat, new):
    """After a 401 the call is sent again at once with the provider's next token."""
    answers.post(TICKETS, status=401)
    answers.post(TICKETS, status=201, body=flat)
    ticket, seconds = create(virtually, new, auth=provider("t1", "t2"))
    assert ticket.external_id == "ext-001"
    assert tokens(answers) == ["t1", "t2"]
    assert seconds == 0


def test_a_second_401_is_an_error(virtually, answers, new):
    """A 401 on the new token as well ends the call."""
    answers.post(TICKETS, status=401, payload={"message": "no account"}, repeat=True)
    error, _ = create(virtually, new, auth=provider("t1", "t2", "t3"))
    assert (type(error), error.message, error.outcome) == (
        UnauthorizedError,
        "no account",
        "rejected",
    )
    assert tokens(answers) == ["t1", "t2"]
    assert [attempt.status for attempt in error.attempts] == [401, 401]


def test_a_call_replaces_its_token_only_once(virtually, answers, new):
    """A 401 on a repeat is final when the call has replaced its token before."""
    for status in (401, 500, 401):
        answers.post(TICKETS, status=status)
    error, _ = create(virtually, new, auth=provider("t1", "t2", "t3"))
    assert (type(error), error.outcome) == (UnauthorizedError, "unknown")
    assert tokens(answers) == ["t1", "t2", "t2"]


def test_the_same_token_is_not_tried_twice(virtually, answers, new):
    """A source that has no other token is believed: one request."""
    answers.post(TICKETS, status=401, repeat=True)
    error, _ = create(virtually, new, auth="only")
    assert (type(error), tokens(answers)) == (UnauthorizedError, ["only"])


def test_a_provider_that_fails(virtually, answers, flat, new):
    """When no token can be had nothing is sent; it is tried again, and its error is not shown."""
    failures = iter([ValueError("secret=canary"), TimeoutError(), None])

    async def fetch():
        if error := next(failures):
            raise error
        return "t"

    answers.post(TICKETS, status=201, body=flat)
    ticket, _ = create(virtually, new, auth=fetch)
    assert ticket.external_id == "ext-001"

    async def never():
        raise ValueError("secret=canary")

    error, _ = create(virtually, new, auth=never)
    assert (type(error), error.attempts) == (NotSentError, ())
    assert str(error) == "no token could be had (ValueError)"
    assert error.__cause__ is error.__context__ is None


def test_an_auth_that_fails(virtually, answers, new):
    """An Auth of the caller's own may raise anything: nothing is sent, nor its words shown."""

    class Own:
        async def token(self, **_):
            raise ValueError("secret=canary")

    error, _ = create(virtually, new, auth=Own())
    assert type(error) is NotSentError
    assert str(error) == "no token could be had (ValueError)"
    assert error.__cause__ is error.__context__ is None
    assert not answers.requests


@pytest.mark.parametrize("bad", ["Bearer canary", "canary\r\nX-Evil: 1", "", None])
def test_what_an_auth_returns_is_checked(virtually, answers, new, bad):
    """A token of the caller's own Auth is checked like any other before it enters a header."""

    class Own:
        async def token(self, **_):
            return bad

    error, _ = create(virtually, new, auth=Own())
    assert type(error) is ConfigurationError
    assert "canary" not in str(error)
    assert not answers.requests


def test_hooks_are_told_of_every_attempt(virtually, answers, flat, new):
    """A hook is told when an attempt starts, ends, and is to be made again, in order."""
    answers.post(TICKETS, status=500)
    answers.post(TICKETS, status=201, body=flat)
    first, second = [], []
    create(virtually, new, hooks=[first.append, second.append])
    assert first == second
    call = {"method": "POST", "path": "/tickets"}
    delay = first[2].delay
    ended = {"sent": True, "error": None, "elapsed": 0.0}
    assert first == [
        AttemptStarted(**call, number=1),
        AttemptFinished(**call, number=1, status=500, **ended),
        RetryScheduled(**call, number=2, delay=delay),
        AttemptStarted(**call, number=2),
        AttemptFinished(**call, number=2, status=201, **ended),
    ]
    assert 0 <= delay <= 0.2


def test_hooks_are_told_of_what_was_not_sent(virtually, answers, new):
    """A hook is told the name of what came instead of an answer."""
    answers.post(TICKETS, exception=OSError("No route to host"))
    events = []
    create(virtually, new, hooks=[events.append], retry=RetryPolicy(max_attempts=1))
    assert attrs.asdict(events[-1]) == {
        "method": "POST",
        "path": "/tickets",
        "number": 1,
        "sent": False,
        "status": None,
        "error": "OSError: No route to host",
        "elapsed": 0.0,
        "retry_after": None,
    }


def test_a_hook_that_raises_breaks_nothing(virtually, answers, flat, new, caplog):
    """A hook that raises is logged once, the others are told, and the call goes on."""
    answers.post(TICKETS, status=500)
    answers.post(TICKETS, status=201, body=flat)
    events = []

    def faulty(event):
        raise RuntimeError("out of order")

    ticket, _ = create(virtually, new, hooks=[faulty, events.append])
    assert ticket.external_id == "ext-001"
    assert len(events) == 5
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("routera_async", logging.ERROR)
    assert "out of order" in caplog.text


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://api.routera.io", "https://api.routera.io"),
        ("https://api.routera.io/", "https://api.routera.io"),
        ("HTTPS://API.routera.io", "https://api.routera.io"),
        ("https://gateway.example:8443/routera/v1/", "https://gateway.example:8443/routera/v1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.8.9.1", "http://127.8.9.1"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_a_base_url(text, base):
    """A base URL is https, or http to this machine, and keeps its path."""
    assert checked_base_url(text) == base


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must begin with https://"),
        ("api.routera.io", "must begin with https://"),
        ("//api.routera.io", "must begin with https://"),
        ("ftp://api.routera.io", "must begin with https://"),
        ("https://", "must begin with https://"),
        ("https:///tickets", "must begin with https://"),
        ("http://far.example", "would show the token"),
        ("http://10.0.0.1", "would show the token"),
        ("http://0.0.0.0", "would show the token"),
        ("http://localhost.far.example", "would show the token"),
        ("http://127.0.0.1.far.example", "would show the token"),
        ("http://2130706433", "would show the token"),
        ("https://user:canary@api.routera.io", "no more"),
        ("https://:canary@api.routera.io", "no more"),
        ("ftp://user:canary@api.routera.io", "no more"),
        ("http://127.0.0.1@far.example", "no more"),
        ("https://api.routera.io?key=canary", "no more"),
        ("https://api.routera.io#canary", "no more"),
        ("https://api.routera.io:99999", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://api routera.io", "space"),
        ("https://api.routera.io\r\n", "space"),
        ("https://api.routera.io\0", "space"),
        (None, "not a URL"),
    ],
)
def test_a_base_url_that_is_none(text, problem):
    """Any other is refused when the client is made, on one line, without what may be secret."""
    with pytest.raises(ConfigurationError, match=problem) as caught:
        RouteraClient("eyJ", base_url=text)
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "segment",
    [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "a\\b",
        "%2e",
        "a%2Fb",
        "a b",
        "a?b",
        "a#b",
        "a\r\nb",
        "\0",
        "\ud800",
    ],
)
def test_no_id_leads_out_of_its_place(virtually, answers, segment):
    """An id that would not stay one segment of its path is refused, and nothing is sent."""

    async def main():
        async with RouteraClient("eyJ") as client:
            with pytest.raises(ValidationError, match="is no id"):
                await client.tickets.get(segment)

    virtually(main())
    assert not answers.requests


@given(st.text(min_size=1))
def test_any_id_is_one_segment_or_refused(text):
    """Whatever an id is made of, it is refused or becomes plain ASCII that no server splits."""
    try:
        segment = _segment(text)
    except ValidationError:
        return
    assert set(segment) <= set(string.ascii_letters + string.digits + "-_.~%")
    assert segment not in {".", ".."}
    assert "%2f" not in segment.lower()


async def test_an_id_is_sent_as_it_is(wires, flat, token):
    """Any other id is one segment below the base URL's own path."""
    wire = await wires.serve(wires.answer(200, flat))
    async with RouteraClient(token, base_url=f"{wire.url}/v1/") as client:
        await client.tickets.get("é;...", properties=["a b&c", "d"])
    line, *_ = wire.requests[0].splitlines()
    assert line == b"GET /v1/tickets/%C3%A9%3B...?properties=a+b%26c,d HTTP/1.1"


async def test_cookies_are_not_kept(wires, flat, new, token):
    """A server's cookies are not sent back: a client holds no state of the server's."""
    wire = await wires.serve(wires.answer(201, flat, "Set-Cookie: a=b; Path=/"))
    named = wire.url.replace("127.0.0.1", "localhost")  # aiohttp keeps no cookies of addresses
    async with RouteraClient(token, base_url=named) as client:
        await client.tickets.create(new)
        await client.tickets.create(new)
    assert len(wire.requests) == 2
    assert not any(b"cookie" in head.lower() for head in wire.requests)


async def test_a_session_of_the_callers_own(wires, flat, new, token):
    """The caller's session is used as it is, and is still open afterwards."""
    wire = await wires.serve(wires.answer(201, flat))
    async with aiohttp.ClientSession(headers={"X-Own": "yes"}) as own:
        for _ in range(2):
            async with RouteraClient(token, base_url=wire.url, session=own) as client:
                await client.tickets.create(new)
            assert not own.closed
    assert all(b"X-Own: yes" in head for head in wire.requests)
    assert len(wire.requests) == 2


async def test_a_session_that_raises_for_status(wires, new, token):
    """The caller's session may raise for a status; what is proven is told from the answer."""
    wire = await wires.serve(wires.answer(409, b'{"message": "Duplicate"}'))
    async with aiohttp.ClientSession(raise_for_status=True) as own:
        client = RouteraClient(token, base_url=wire.url, session=own)
        with pytest.raises(DuplicateError, match="Duplicate"):
            await client.tickets.create(new)
        await client.aclose()
