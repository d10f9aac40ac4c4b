"""One exchange: what is sent where, how often, within what time; on scripted answers."""

import asyncio
import logging

import aiohttp
import attrs
import pytest
from aioresponses import CallbackResult

from routera_async import (
    AttemptFinished,
    AttemptStarted,
    BadRequestError,
    ClientCredentials,
    ConfigurationError,
    DuplicateError,
    NotSentError,
    OutcomeUnknown,
    Overloaded,
    RateLimitedError,
    RequestFinished,
    RequestStarted,
    RetryBudget,
    RetryPolicy,
    RetryScheduled,
    RouteraClient,
    ServerError,
    TokenProvider,
    UnauthorizedError,
)

BASE = "https://api.routera.io"
TICKETS = f"{BASE}/tickets"
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


@pytest.mark.parametrize("deadline", [None, 1.5])
def test_a_provider_that_hangs(virtually, answers, new, deadline):
    """Each caller waits for a token no longer than `timeout`, nor beyond its deadline."""

    async def fetch():
        await asyncio.get_running_loop().create_future()

    async def main():
        clock, ends = asyncio.get_running_loop().time, []

        async def call():
            with pytest.raises(NotSentError, match=r"no token|deadline of 1.5 s") as caught:
                await client.tickets.create(new)
            assert caught.value.attempts == ()
            ends.append(clock())

        settings = {"timeout": 2.0, "deadline": deadline, "retry": RetryPolicy(max_attempts=1)}
        async with RouteraClient(fetch, **settings) as client:
            first = asyncio.create_task(call())
            await asyncio.sleep(1)
            await asyncio.gather(first, call())
        return ends

    assert virtually(main()) == ([2, 3] if deadline is None else [1.5, 2.5])
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
    assert str(error) == (
        "POST /tickets could not be sent: TimeoutError: the deadline of 2.0 s passed; "
        "an earlier attempt may have been done"
    )
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


def test_an_import_neither_is_refused_nor_has_others_refused(virtually, answers, flat, new):
    """Rows of an import wait behind calls, however many wait, and no call is refused for theirs."""
    answers.post(TICKETS, callback=after(10, body=flat), repeat=True)

    async def imported(client):
        rows = [attrs.evolve(new, external_id=f"row-{n}") for n in range(4)]
        return [each.status async for each in client.tickets.create_many(rows, concurrency=2)]

    async def main():
        async with RouteraClient("eyJ", max_connections=2, max_waiting=1) as client:
            calls = [asyncio.create_task(client.tickets.create(new)) for _ in range(3)]
            await asyncio.sleep(1)
            importing = asyncio.create_task(imported(client))
            await asyncio.sleep(1)
            with pytest.raises(Overloaded):
                await client.tickets.create(new)
            await calls[1]  # and the third has its place, before the rows
            waited = client.tickets.create(new)
            return await asyncio.gather(*calls, waited, importing)

    *calls, rows = virtually(main())
    assert len(calls) == 4
    assert rows == ["created"] * 4
    assert len(sent(answers)) == 8


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


def test_a_repeat_for_want_of_a_token_is_never_refused_admission(virtually, answers, flat, new):
    """A call whose token could not be had was admitted as well, and is not refused its repeat."""
    answers.post(TICKETS, callback=after(5, body=flat), repeat=True)
    failures = iter([OSError()])

    async def fetch():
        if error := next(failures, None):
            raise error
        return "t"

    async def main():
        policy = RetryPolicy(wait_initial=1.0)
        settings = {"max_connections": 1, "max_waiting": 0, "retry": policy}
        async with RouteraClient(fetch, **settings) as client:
            client._session._uniform = lambda _, most: most
            without = asyncio.create_task(client.tickets.create(new))
            await asyncio.sleep(0.5)
            return await asyncio.gather(without, client.tickets.create(new))

    assert len(virtually(main())) == 2
    assert len(sent(answers)) == 2


def test_at_most_max_waiting_wait_in_an_outage(virtually, answers, new):
    """In an outage calls pile up for a retry's token: beyond the places, max_waiting of them."""
    answers.post(TICKETS, status=503, repeat=True)
    budget = RetryBudget(capacity=1, per_second=0.001, per_success=0)
    policy = RetryPolicy(wait_initial=0, budget=budget)

    async def main():
        settings = {"max_connections": 2, "max_waiting": 3, "retry": policy}
        async with RouteraClient("eyJ", **settings) as client:
            calls = []
            for _ in range(20):
                calls.append(asyncio.create_task(client.tickets.create(new)))
                await asyncio.sleep(1)
            refused = [call for call in calls if call.done()]
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            return calls, refused

    calls, refused = virtually(main())
    assert refused == calls[5:]
    assert {type(call.exception()) for call in refused} == {Overloaded}


def test_calls_that_succeed_earn_retries(virtually, answers, flat, new):
    """Each that succeeds at once adds to the budget: then a retry need not wait for the clock."""
    budget = RetryBudget(capacity=1, per_second=1e-9, per_success=0.5)
    policy = RetryPolicy(wait_initial=0, budget=budget)
    for status in (503, 201, 201, 201, 503, 201):
        answers.post(TICKETS, status=status, body=flat if status == 201 else b"")

    async def main():
        async with RouteraClient("eyJ", retry=policy) as client:
            for _ in range(4):
                await client.tickets.create(new)
        return asyncio.get_running_loop().time()

    assert virtually(main()) < 60


@pytest.mark.parametrize("waits", ["a call", "a row"])
def test_neither_lane_earns_for_the_other(virtually, answers, flat, new, waits):
    """A call's retry waits until a call succeeds, however many rows do; and a row's for a row."""
    budget = RetryBudget(capacity=1, per_second=0.001, per_success=1)
    policy = RetryPolicy(wait_initial=0, budget=budget)
    answers.post(TICKETS, status=503)
    answers.post(TICKETS, status=201, body=flat, repeat=True)

    async def imported(client):
        async for outcome in client.tickets.create_many([new]):
            assert outcome.status == "created"

    async def main():
        async with RouteraClient("eyJ", retry=policy) as client:
            pool = await client._session._pools.open()
            verbs = [lambda: client.tickets.create(new), lambda: imported(client)]
            same, other = verbs if waits == "a call" else reversed(verbs)
            for lane in (pool.calls, pool.imports):
                await lane[budget].take()
            waiting = asyncio.create_task(same())
            await asyncio.sleep(1)
            await other()
            await asyncio.sleep(1)
            assert client.stats().waiting_to_retry == 1
            await same()
            await waiting
        return asyncio.get_running_loop().time()

    assert virtually(main()) < 60


def test_a_retry_that_is_never_sent_gives_its_token_back(virtually, answers, flat, new):
    """Cancelled while it waits in line, it has cost the server nothing."""
    budget = RetryBudget(capacity=1, per_second=1e-9, per_success=0)
    policy = RetryPolicy(wait_initial=0, budget=budget)
    answers.post(TICKETS, status=503)
    answers.post(TICKETS, callback=after(20, body=flat))
    answers.post(TICKETS, status=503)
    answers.post(TICKETS, status=201, body=flat)

    async def main():
        async with RouteraClient("eyJ", max_connections=1, retry=policy) as client:
            first, second = (asyncio.create_task(client.tickets.create(new)) for _ in range(2))
            await asyncio.sleep(10)
            first.cancel()
            await asyncio.gather(first, second, return_exceptions=True)
            await client.tickets.create(new)
        return first.cancelled(), asyncio.get_running_loop().time()

    was_cancelled, seconds = virtually(main())
    assert was_cancelled
    assert seconds < 60


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


def test_a_call_that_a_closing_waits_for_no_longer(virtually, answers, new):
    """A call that needs a token after its client's closing gave up ends at once, and says so."""
    grant = {"access_token": "t", "expires_in": 10}
    answers.post("https://api.routera.io/oauth2/token", payload=grant, repeat=True)
    answers.post(TICKETS, status=429, headers={"Retry-After": "60"}, repeat=True)

    async def main():
        clock = asyncio.get_running_loop().time
        client = RouteraClient(ClientCredentials("id", "secret"), retry=RetryPolicy(wait_initial=0))
        call = asyncio.create_task(client.tickets.create(new))
        await asyncio.sleep(1)
        await client.aclose()
        assert clock() == 31
        with pytest.raises(ConfigurationError, match="the client was closed") as caught:
            await call
        assert clock() == 60
        assert [attempt.status for attempt in caught.value.attempts] == [429]

    virtually(main())


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
    """A hook is told when a call and its attempts start and end, and are made again, in order."""
    answers.post(TICKETS, status=500)
    answers.post(TICKETS, status=201, body=flat)
    first, second = [], []
    create(virtually, new, hooks=[first.append, second.append])
    assert first == second
    call = {"method": "POST", "path": "/tickets", "call": first[0].call}
    delay = first[3].delay
    ended = {"sent": True, "error": None, "elapsed": 0.0}
    assert first == [
        RequestStarted(**call, route="/tickets", base_url=BASE),
        AttemptStarted(**call, number=1),
        AttemptFinished(**call, number=1, status=500, **ended),
        RetryScheduled(**call, number=2, delay=delay),
        AttemptStarted(**call, number=2),
        AttemptFinished(**call, number=2, status=201, **ended),
        RequestFinished(
            **call, outcome="created", attempts=2, status=201, error=None, elapsed=delay
        ),
    ]
    assert 0 <= delay <= 0.2


def test_hooks_are_told_of_what_was_not_sent(virtually, answers, new):
    """A hook is told the name of what came instead of an answer."""
    answers.post(TICKETS, exception=OSError("No route to host"))
    events = []
    create(virtually, new, hooks=[events.append], retry=RetryPolicy(max_attempts=1))
    call = {"method": "POST", "path": "/tickets", "call": events[0].call}
    assert attrs.asdict(events[-2]) == {
        **call,
        "number": 1,
        "sent": False,
        "status": None,
        "error": "OSError: No route to host",
        "elapsed": 0.0,
        "retry_after": None,
    }
    assert attrs.asdict(events[-1]) == {
        **call,
        "outcome": "not_sent",
        "attempts": 1,
        "status": None,
        "error": "NotSentError",
        "elapsed": 0.0,
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
    assert len(events) == 7
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("routera_async", logging.ERROR)
    assert "out of order" in caplog.text


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


async def test_what_others_write_into_a_requests_headers_stays_there(
    wires, flat, new, token, monkeypatch
):
    """As instrumentations do: nothing of one call goes out with the next."""
    original, seen = aiohttp.ClientSession._request, []

    async def traced(self, *args, headers, **kwargs):
        seen.append("traceparent" in headers)
        headers["traceparent"] = "one"
        return await original(self, *args, headers=headers, **kwargs)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", traced)
    wire = await wires.serve(wires.answer(201, flat))
    async with RouteraClient(token, base_url=wire.url) as client:
        for _ in range(2):
            await client.tickets.create(new)
    assert seen == [False, False]
    assert all(b"traceparent: one" in head for head in wire.requests)


async def test_a_session_that_raises_for_status(wires, new, token):
    """The caller's session may raise for a status; what is proven is told from the answer."""
    wire = await wires.serve(wires.answer(409, b'{"message": "Duplicate"}'))
    async with aiohttp.ClientSession(raise_for_status=True) as own:
        client = RouteraClient(token, base_url=wire.url, session=own)
        with pytest.raises(DuplicateError, match="Duplicate"):
            await client.tickets.create(new)
        await client.aclose()
