"""Each fault does on the wire and in the store what it says, and a stop leaves nothing of it."""

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import get_args

import aiohttp
import pytest

from routera_async.sandbox import Fault, FaultName, Faults, Router, Sandbox, faults

from .conftest import Client

BODY = b'{"fields":{"ticket_name":"Lamp","pipeline":"default","ticket_stage":"new"}}'
SOON = 10
"""Seconds after which a test is taken to hang."""


async def until(condition):
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110  the sandbox has no events of its own to wait for
            await asyncio.sleep(0)


async def opened(sandbox, method="POST", path="/tickets", body=BODY):
    """Send one request on a connection of its own; return the streams."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Authorization: Bearer {sandbox.token}\r\n\r\n".encode() + body)
    return reader, writer


async def wire(sandbox):
    """Return all that a POST of a ticket is answered with until the connection closes."""
    async with asyncio.timeout(SOON):
        reader, writer = await opened(sandbox)
        try:
            return await reader.read()
        finally:
            writer.close()


async def post(client):
    """POST a ticket; return the status, the body and the headers as they are."""
    headers = {"Authorization": f"Bearer {client.token}"}
    async with client.session.post(
        client.url + "/tickets", data=BODY, headers=headers, allow_redirects=False
    ) as answer:
        return answer.status, await answer.read(), answer.headers


# -- what each does -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(("name", "records"), [("before", 0), ("after", 1)])
async def test_an_error_comes_before_or_after_the_commit(client, sandbox, name, records, status):
    """The answer is the documented error, and only "after" leaves a record."""
    sandbox.faults.script(Fault(f"error_{name}_commit", status=status))
    given, body, _ = await client.send("POST", "/tickets", BODY)
    assert given == status
    assert body["error"] is True
    assert sandbox.store.count() == records
    assert sandbox.requests[-1].status == status


async def test_an_error_can_be_a_gateways(client, sandbox):
    """A page of HTML or no body at all, and with a Retry-After if asked for."""
    page = Fault("error_before_commit", status=502, body="html", retry_after=3)
    sandbox.faults.script(page, Fault("error_after_commit", status=504, body="empty"))
    status, body, headers = await post(client)
    assert (status, headers["Content-Type"], headers["Retry-After"]) == (502, "text/html", "3")
    assert b"<h1>502 Bad Gateway</h1>" in body
    assert (await post(client))[:2] == (504, b"")


@pytest.mark.parametrize(("when", "records"), [("before", 0), ("after", 1)])
async def test_a_reset_is_a_reset(sandbox, when, records):
    """The client meets RST; the request is noted as one without an answer."""
    sandbox.faults.script(f"reset_{when}_commit")
    with pytest.raises(ConnectionResetError):
        await wire(sandbox)
    assert sandbox.store.count() == records
    assert [request.status for request in sandbox.requests] == [None]


@pytest.mark.parametrize(("when", "records"), [("before", 0), ("after", 1)])
async def test_a_disconnect_is_a_close_without_a_byte(sandbox, when, records):
    """The client meets the end of the stream and nothing else."""
    sandbox.faults.script(f"disconnect_{when}_commit")
    assert await wire(sandbox) == b""
    assert sandbox.store.count() == records
    assert [request.status for request in sandbox.requests] == [None]


@pytest.mark.parametrize(("when", "records"), [("before", 0), ("after", 1)])
async def test_a_hang_lasts_until_the_client_leaves(sandbox, when, records):
    """Nothing comes; when the client goes, the sandbox lets go of the request."""
    sandbox.faults.script(f"hang_{when}_commit")
    reader, writer = await opened(sandbox)
    await until(lambda: sandbox.requests)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.02)
    assert len(sandbox._active) == 1
    writer.close()
    await until(lambda: not sandbox._active)
    assert sandbox.store.count() == records
    assert [request.status for request in sandbox.requests] == [None]


async def test_a_late_commit_comes_after_the_client_has_gone():
    """Nothing is done while the client waits, nor until the seconds have passed after it left."""
    slept = []

    async def sleep(seconds):
        slept.append((seconds, sandbox.store.count()))

    async with Sandbox(sleep=sleep) as sandbox:
        sandbox.faults.script(Fault("late_commit", seconds=7))
        _, writer = await opened(sandbox)
        await until(lambda: sandbox.requests)
        for _ in range(20):
            await asyncio.sleep(0)
        assert (slept, sandbox.store.count()) == ([], 0)
        writer.close()
        await until(lambda: sandbox.store.count() == 1)
        assert slept == [(7, 0)]


async def test_a_slow_answer_is_done_and_comes_late():
    """The commit comes first, then the seconds, then the answer."""
    slept = []

    async def sleep(seconds):
        slept.append((seconds, sandbox.store.count()))

    async with Sandbox(sleep=sleep) as sandbox, aiohttp.ClientSession() as session:
        sandbox.faults.script(Fault("slow_answer", seconds=9))
        assert (await Client(session, sandbox.url, sandbox.token).create())[0] == 201
    assert slept == [(9, 1)]


async def test_a_dripped_answer_comes_whole_a_byte_at_a_time():
    """Between any two bytes of the body are the seconds, and the connection is used again."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    async with Sandbox(sleep=sleep) as sandbox, aiohttp.ClientSession() as session:
        client = Client(session, sandbox.url, sandbox.token)
        sandbox.faults.script(Fault("dripped_answer", seconds=0.5))
        status, body, headers = await post(client)
        assert (status, sandbox.store.get(json.loads(body)["id"])["ticket_name"]) == (201, "Lamp")
        assert slept == [0.5] * len(body) == [0.5] * int(headers["Content-Length"])
        assert (await client.create())[0] == 201
        assert len(sandbox._web.connections) == 1


async def test_a_drip_ends_when_the_client_leaves(sandbox):
    """The rest is not sent to nobody, and nothing is logged as an error."""
    sandbox.faults.script(Fault("dripped_answer", seconds=0))
    sandbox._sleep = lambda _: asyncio.sleep(0.001)
    reader, writer = await opened(sandbox)
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()
    await until(lambda: not sandbox._active)
    assert sandbox.store.count() == 1


async def test_a_truncated_answer_announces_more_than_it_sends(sandbox):
    """The status line and the headers are whole, the body is half of what they announce."""
    sandbox.faults.script("truncated_answer")
    head, _, body = (await wire(sandbox)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n")
    assert len(body) == int(head.rpartition(b" ")[2]) // 2
    assert (sandbox.store.count(), sandbox.requests[-1].status) == (1, 201)


async def test_two_lengths_contradict_each_other(client, sandbox):
    """The wire says 201, and aiohttp makes an error "400" of it."""
    sandbox.faults.script("two_lengths", "two_lengths")
    head = (await wire(sandbox)).partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 201 Created\r\n")
    assert head.count(b"Content-Length: ") == 2
    with pytest.raises(aiohttp.ClientResponseError) as caught:
        await post(client)
    assert caught.value.status == 400
    assert (sandbox.store.count(), sandbox.requests[-1].status) == (2, 201)


async def test_bad_json_is_a_whole_answer_of_half_a_body(client, sandbox):
    """The length is right, and the JSON ends too early."""
    sandbox.faults.script("bad_json")
    status, body, _ = await post(client)
    assert status == 201
    with pytest.raises(ValueError, match="line 1"):
        json.loads(body)
    assert sandbox.store.count() == 1


@pytest.mark.parametrize(
    ("asked", "told"),
    [(None, None), (7, "7"), (2.0, "2"), (1.5, "1.5"), *[("Fri, 01 May 2026 10:00:07 GMT",) * 2]],
)
async def test_a_rate_limit_may_say_how_long(client, sandbox, asked, told):
    """429 with the header as it was given, a whole number as one, or without; nothing is done."""
    sandbox.faults.script(Fault("rate_limited", retry_after=asked))
    status, _, headers = await post(client)
    assert (status, headers.get("Retry-After")) == (429, told)
    assert sandbox.store.count() == 0


async def test_a_refused_token_is_the_documented_401(client, sandbox):
    """One request meets it; the token itself stays good."""
    sandbox.faults.script("refused_token")
    message = "Unauthorized: missing account context"
    assert await client.create() == (401, {"message": message, "error": True})
    assert (await client.create())[0] == 201


async def test_a_redirect_leads_where_it_is_told(client, sandbox):
    """307 and the location; nothing is done here."""
    sandbox.faults.script(Fault("redirect", location="http://127.0.0.1:9/tickets"))
    status, _, headers = await post(client)
    assert (status, headers["Location"]) == (307, "http://127.0.0.1:9/tickets")
    assert sandbox.store.count() == 0


@pytest.mark.parametrize("name", ["error_after_commit", "bad_json", "disconnect_after_commit"])
async def test_done_is_what_the_api_does(client, sandbox, name):
    """What the API refuses is not stored because its answer was lost."""
    assert (await client.create(external_id="x"))[0] == 201
    sandbox.faults.script(name)
    _, writer = await opened(sandbox, body=BODY[:-2] + b',"external_id":"x"}}')
    await until(lambda: len(sandbox.requests) == 2)
    writer.close()
    assert sandbox.store.count() == 1


SETTINGS = {
    "redirect": {"location": "http://127.0.0.1:9/"},
    **{name: {"seconds": 0} for name in ("late_commit", "slow_answer", "dripped_answer")},
}


@pytest.mark.parametrize("write", ["PATCH", "DELETE", "DISPATCH"])
@pytest.mark.parametrize("name", get_args(FaultName))
async def test_every_fault_is_for_every_write(sandbox, client, write, name):
    """A change, an archiving and an assignment are done or not as the fault's table says."""
    _, ticket = await client.create()
    router = sandbox.add_router(Router("r", "tickets", ["jane@example.com"]))
    path, body = f"/tickets/{ticket['id']}", b'{"fields":{"pipeline":"other"}}'
    if write == "DISPATCH":
        ids = {"router_id": router, "object_id": ticket["id"]}
        path, body = "/dispatch/router", json.dumps(ids).encode()
    fault = Fault(name, **SETTINGS.get(name, {}))
    sandbox.faults.script(fault)
    _, writer = await opened(sandbox, write.replace("DISPATCH", "POST"), path, body)
    await until(lambda: len(sandbox.requests) == 2)
    assert (sandbox.store.get(ticket["id"]) != ticket) is fault.commits
    writer.close()
    if name == "late_commit":
        await until(lambda: sandbox.store.get(ticket["id"]) != ticket)
    await until(lambda: not sandbox._active)


def test_every_fault_is_in_the_docs():
    """The table of docs/sandbox.md has the rows of the module's own, in its order."""
    docs = Path(__file__).parents[2] / "docs" / "sandbox.md"
    listed = re.findall(r"^\| `(\w+)` \| (nothing|done)", docs.read_text(), re.MULTILINE)
    assert listed == re.findall(r"^    (\w+) +(nothing|done)", faults.__doc__, re.MULTILINE)
    assert [name for name, _ in listed] == list(get_args(FaultName))


# -- which request meets which ------------------------------------------------------------------


async def test_a_script_is_met_in_order(client, sandbox):
    """None is a write that meets nothing; reads and the token route take no turn."""
    sandbox.faults.script(Fault("error_before_commit", status=503), None, "rate_limited")
    assert (await client.get("/tickets"))[0] == 200
    assert (await client.send("POST", "/oauth2/token", b""))[0] == 400
    assert [(await client.create())[0] for _ in range(4)] == [503, 201, 429, 201]
    assert sandbox.faults.met == {"error_before_commit": 1, "rate_limited": 1}


async def test_a_fault_may_be_for_other_requests(client, sandbox):
    """`on` names a method and a path, with wildcards; others pass it by in the script."""
    sandbox.faults.script(
        Fault("rate_limited", on="GET /tickets/*"),
        Fault("error_before_commit", on="POST /oauth2/token"),
        "refused_token",
    )
    assert (await client.create())[0] == 401
    assert (await client.get("/tickets"))[0] == 200
    assert (await client.send("POST", "/oauth2/token", b""))[0] == 500
    assert (await client.get("/tickets/x"))[0] == 429


async def statuses(client, count=200):
    """Return what so many creates are answered with."""
    return [(await client.create())[0] for _ in range(count)]


async def test_drawn_faults_come_again_from_their_seed(client, sandbox):
    """The same seed and order give the same faults, another seed others, at about their odds."""
    odds = {"rate_limited": 0.2, Fault("error_after_commit", status=502): 0.1}
    drawn = []
    for seed in (7, 7, 8):
        sandbox.faults.draw(odds, seed=seed)
        drawn.append(await statuses(client))
    assert drawn[0] == drawn[1] != drawn[2]
    assert 80 < sandbox.faults.met["rate_limited"] < 160
    assert 30 < sandbox.faults.met["error_after_commit"] < 90
    assert sandbox.faults.met["rate_limited"] == sum(part.count(429) for part in drawn)


async def test_a_script_goes_before_the_dice(client, sandbox):
    """A scripted None spares its request what would have been drawn."""
    sandbox.faults.draw({"rate_limited": 1})
    sandbox.faults.script(None, "refused_token")
    assert await statuses(client, 3) == [201, 401, 429]


async def test_reads_are_not_drawn_for_unless_asked(client, sandbox):
    """Odds on writes leave a GET alone; odds on a GET leave writes alone."""
    sandbox.faults.draw({"rate_limited": 1})
    assert (await client.get("/tickets"))[0] == 200
    sandbox.faults.draw({Fault("rate_limited", on="GET /*"): 1})
    assert (await client.get("/tickets"))[0] == 429
    assert (await client.create())[0] == 201


async def test_clear_ends_them_all(client, sandbox):
    """Scripted and drawn faults are gone; what was met stays counted."""
    sandbox.faults.script("rate_limited", "rate_limited")
    sandbox.faults.draw({"refused_token": 1})
    assert (await client.create())[0] == 429
    sandbox.faults.clear()
    assert await statuses(client, 2) == [201, 201]
    assert sandbox.faults.met == {"rate_limited": 1}


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: Fault("flood"), "name must be one of .*, not 'flood'"),
        (lambda: Fault("error_before_commit", status=400), "status must be one of 500, 502"),
        (lambda: Fault("error_before_commit", body="xml"), "body must be one of json, html"),
        (lambda: Fault("reset_after_commit", status=502), "reset_after_commit has no status"),
        (lambda: Fault("error_after_commit", seconds=2), "error_after_commit has no seconds"),
        (lambda: Fault("slow_answer", seconds=-1), "seconds must be 0 or more, not -1"),
        (lambda: Fault("slow_answer", seconds=float("nan")), "seconds must be 0 or more"),
        (lambda: Fault("rate_limited", on="/tickets"), "on must be a method and a path"),
        (lambda: Fault("redirect"), "redirect needs a location"),
        (lambda: Faults().script("flood"), "not 'flood'"),
        (lambda: Faults().draw({"flood": 0.1}), "not 'flood'"),
        (lambda: Faults().draw({"rate_limited": -0.1}), "from 0 to 1"),
        (lambda: Faults().draw({"rate_limited": 0.6, "redirect": 0.6}), "redirect needs"),
        (lambda: Faults().draw({"rate_limited": 0.6, "slow_answer": 0.6}), "more than 1 together"),
    ],
)
def test_what_makes_no_sense_is_refused(make, wrong):
    """ValueError says in one line what is wrong."""
    with pytest.raises(ValueError, match=wrong) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_it_says_what_is_to_come():
    """The repr counts what is scripted, drawn from and met."""
    faults = Faults()
    faults.script(None, "rate_limited")
    faults.draw({"refused_token": 0.5})
    assert faults.meet("POST", "/tickets") is None
    assert faults.meet("POST", "/tickets").name == "rate_limited"
    assert repr(faults) == "<Faults: 0 scripted, 1 drawn, met Counter({'rate_limited': 1})>"


# -- a stop -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault("hang_before_commit"),
        Fault("hang_after_commit"),
        Fault("late_commit"),
        Fault("slow_answer", seconds=3600),
        Fault("dripped_answer", seconds=3600),
    ],
    ids=lambda fault: fault.name,
)
async def test_a_stop_cuts_off_what_hangs(fault):
    """A sandbox stops at once while faults hang, with the client there or gone."""
    async with asyncio.timeout(SOON):
        async with Sandbox() as sandbox:
            sandbox.faults.draw({fault: 1})
            stays, leaves = await opened(sandbox), await opened(sandbox)
            await until(lambda: len(sandbox.requests) == 2)
            hanging = set(sandbox._active)
            leaves[1].transport.abort()
        assert len(hanging) == 2
        assert all(task.done() for task in hanging)
        await stays[0].read()
        stays[1].close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_another_thread_waits_for_its_turn():
    """What another thread clears while a request looks for its fault is cleared after that."""
    script = Faults()
    script.script("error_before_commit")
    clearing = threading.Thread(target=script.clear)

    class Meddling(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __ne__(self, other):  # asked of the path, in the middle of the search
            clearing.start()
            while clearing.is_alive() and not script._lock.locked():
                pass
            return str.__ne__(self, other)

    assert script.meet("POST", Meddling("/tickets")).name == "error_before_commit"
    clearing.join()
    assert script.meet("POST", "/tickets") is None
