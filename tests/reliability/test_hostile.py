"""Whatever a server answers, a call ends in what is proven, and in nothing else."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from routera_async import RouteraError, Ticket
from tests.reliability.hostile import TABLE
from tests.reliability.wire import (
    CALLS,
    HANG,
    MOST,
    RECORD,
    TOKEN,
    UNKEYED,
    Server,
    client_of,
    whole,
)

ROOT = Path(__file__).parents[2]
TRANSIENT = {500, 502, 503, 504}
PIECES = {TOKEN[at : at + 16] for at in range(len(TOKEN) - 15)}
"""Parts of the token that are long enough to be told from chance."""

MIB = 2**20


async def ended(made):
    """Return what a call ends with."""
    try:
        return await made
    except RouteraError as error:
        return error


def sent_again(attempt, kind):
    """Return whether the table of what an attempt proves lets another follow."""
    if attempt.status in TRANSIENT or attempt.outcome == "not_sent":
        return True
    lost = attempt.outcome == "unknown" and (attempt.status is None or attempt.status < 200)
    return lost and kind != "create unkeyed"


def shown(error):
    """Return all that a person may see of an error, and what goes to another process."""
    parts = [str(error), repr(error), repr(vars(error)), pickle.dumps(error).decode("latin-1")]
    return "\n".join(parts)


def check_error(error, hostile, kind):
    """Check what an error says of a call: its outcome, its attempts, its text."""
    last = error.attempts[-1]
    assert [sent_again(attempt, kind) for attempt in error.attempts[:-1]] in ([], [True])
    assert len(error.attempts) == MOST or not sent_again(last, kind)
    if last.status and 200 <= last.status < 300:
        assert (error.outcome, len(error.attempts)) == ("created", 1)
    if hostile.says_2xx:
        assert error.outcome in {"created", "unknown"}
    text = str(error)
    assert text.isprintable()
    assert not [piece for piece in PIECES if piece in shown(error)]
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), text, vars(error))


def check_requests(server, hostile, kind, attempts):
    """Check what arrived: a create once an attempt, our token each time, a cookie never."""
    most = attempts if kind.startswith("create") else 2 * attempts  # aiohttp repeats a lost GET
    assert attempts <= len(server.requests) <= most
    for _, asked in server.requests:
        assert hostile.early or asked.count(f"Authorization: Bearer {TOKEN}\r\n".encode()) == 1
        assert b"cookie" not in asked.lower()
    used = [connection for connection, _ in server.requests]
    assert hostile.framed or len(set(used)) == len(used)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("kind", CALLS)
async def test_a_hostile_answer(name, kind, caplog):
    """A call ends in the record or a typed error that the answer proves, and the client lives on.

    A 2xx that could be read is never sent again; a connection is not used after it broke.
    """
    caplog.set_level("DEBUG")
    hostile, call = TABLE[name], CALLS[kind]
    server = Server(lambda _: hostile.steps(call.shape), early=hostile.early)
    async with server, client_of(server, endless=hostile.endless) as client:
        result = await ended(call.make(client))
        assert type(result) in [call.returns if end is Ticket else end for end in hostile.ends]
        if isinstance(result, RouteraError):
            check_error(result, hostile, kind)
        attempts = len(getattr(result, "attempts", "1"))
        check_requests(server, hostile, kind, attempts)

        before = {connection for connection, _ in server.requests}
        server.answer, server.early = lambda _: [whole(200, RECORD)], False
        assert (await client.tickets.get("1")).external_id == "ext-001"
        assert hostile.framed or server.requests[-1][0] not in before
    assert not [piece for piece in PIECES if piece in caplog.text]
    assert not [record for record in caplog.records if record.levelname not in {"DEBUG", "INFO"}]


@pytest.mark.parametrize("said", [whole(400, b"{}"), whole(201, RECORD), b"\0"])
@pytest.mark.parametrize("kind", CALLS)
async def test_what_comes_unasked_answers_nothing(kind, said):
    """What a server says on an idle connection is not taken for the next call's answer."""
    call = CALLS[kind]
    good = whole(200, call.shape(RECORD.replace(b"default", b"asked")))
    async with Server(lambda _: [good]) as server, client_of(server) as client:
        await call.make(client)
        await server.say(said)
        result = await call.make(client)
        first, second = (connection for connection, _ in server.requests)
    assert first != second
    assert "asked" in repr(result)


async def test_a_server_that_speaks_first_is_not_dialled_for_ever():
    """What a new connection brings is the answer to its request, as far as anyone can know."""
    server = Server(lambda _: [whole(503, b"", "Connection: close"), HANG], early=True)
    async with server, client_of(server) as client:
        error = await ended(client.tickets.create(UNKEYED))
    assert isinstance(error, RouteraError)
    assert len(server.requests) == MOST


def test_memory():
    """No hostile answer takes 20 MB of memory, that of the server that gives it included."""
    program = [sys.executable, "-W", "error", "-m", "tests.reliability.memory"]
    ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    gained = json.loads(ran.stdout)
    assert set(gained) == set(CALLS)
    assert gained["get"] < 8 * MIB
    assert gained["list"] < 20 * MIB  # of which a page may be 16
