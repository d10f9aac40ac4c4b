"""`routera sandbox`: a Routera of one's own, until Ctrl-C."""

import asyncio
import signal
import sys
import time

import jwt
import pytest

from routera_async import BadRequestError, NewTicket, RouteraClient
from routera_async.cli import run


async def test_it_serves_until_it_is_interrupted(tmp_path):
    """It tells its address, a token that works for long and an API client, and stops at Ctrl-C.

    What cannot be read as HTTP, such as a path of over 8,190 bytes, is no traceback.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "routera_async", "sandbox"),
        *("--field", "priority=dropdown:low,high", "--db", str(tmp_path / "sandbox.db")),
        *("--router", "Inbound=contacts:jane@example.com,joe@example.com"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told = {}
    while "ROUTERA_CLIENT_SECRET" not in told:
        line = (await process.stdout.readline()).decode().strip()
        name, _, value = line.removeprefix("export ").partition("=")
        told[name] = value
    new = NewTicket(ticket_name="A", pipeline="p", ticket_stage="new", custom={"priority": "high"})
    async with RouteraClient(told["ROUTERA_TOKEN"], base_url=told["ROUTERA_BASE_URL"]) as client:
        assert (await client.tickets.create(new)).custom == {"priority": "high"}
        (router,) = [each async for each in client.routers.list()]
        assert [user.email for user in router.users] == ["jane@example.com", "joe@example.com"]
        with pytest.raises(BadRequestError):
            await client.request("GET", f"/tickets/{'x' * 9_000}")
    lasts = jwt.decode(told["ROUTERA_TOKEN"], options={"verify_signature": False})["exp"]
    assert lasts - time.time() > 29 * 86_400
    granted = {name: value for name, value in told.items() if name != "ROUTERA_TOKEN"}
    async with RouteraClient.from_env(granted) as client:
        assert len([each async for each in client.tickets.list()]) == 1
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"stopped after 4 requests" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--field", "priority"], "NAME=TYPE"),
        (["--field", "n=decimal"], "decimal"),
        (["--router", "Inbound"], "NAME=OBJECTS:EMAIL"),
        (["--router", "Inbound=invoices:a@b.co"], "--router: router Inbound: its object_type"),
        (["--router", "Inbound=contacts:nobody"], "e-mail address"),
        (["--field", "ticket_name=text"], "ticket_name is already a field of tickets"),
        (["--field", "a=text", "--field", "a=number"], "a is already a field of contacts"),
        (
            ["--router", "A=contacts:a@b.co", "--router", "A=contacts:c@d.co"],
            "two routers of an object type have one name",
        ),
        (["--token-ttl", "0"], "--token-ttl"),
        (["--token-ttl", "inf"], "--token-ttl"),
        (["--port", "99999"], "99999"),
        (["--db", "/nowhere/at/all.db"], "/nowhere/at/all.db"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_2(arguments, says, capsys):
    """What it cannot be told is told back in one line."""
    assert run(["sandbox", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line
