"""`routera sandbox`: a Routera of one's own, until Ctrl-C."""

import asyncio
import signal
import sys

import pytest

from routera_async import NewTicket, RouteraClient
from routera_async.cli import run


async def test_it_serves_until_it_is_interrupted(tmp_path):
    """It tells its address and a token that works, and stops at Ctrl-C with status 0."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "routera_async", "sandbox"),
        *("--field", "priority=dropdown:low,high", "--db", str(tmp_path / "sandbox.db")),
        *("--router", "Inbound=contacts:jane@example.com,joe@example.com"),
        stdout=asyncio.subprocess.PIPE,
    )
    told = {}
    while "ROUTERA_TOKEN" not in told:
        line = (await process.stdout.readline()).decode().strip()
        name, _, value = line.removeprefix("export ").partition("=")
        told[name] = value
    new = NewTicket(ticket_name="A", pipeline="p", ticket_stage="new", custom={"priority": "high"})
    async with RouteraClient(told["ROUTERA_TOKEN"], base_url=told["ROUTERA_BASE_URL"]) as client:
        assert (await client.tickets.create(new)).custom == {"priority": "high"}
        (router,) = [each async for each in client.routers.list()]
        assert [user.email for user in router.users] == ["jane@example.com", "joe@example.com"]
    process.send_signal(signal.SIGINT)
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert b"stopped after 2 requests" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--field", "priority"], "NAME=TYPE"),
        (["--field", "n=decimal"], "decimal"),
        (["--router", "Inbound"], "NAME=OBJECTS:EMAIL"),
        (["--router", "Inbound=invoices:a@b.co"], "--router: router Inbound: its object_type"),
        (["--router", "Inbound=contacts:nobody"], "e-mail address"),
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
