"""The example programs run as they stand, against a sandbox."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from benchmarks.web import SERVICES
from routera_async.sandbox import Sandbox

EXAMPLES = Path(__file__).parent.parent / "examples"


async def printed_by(program, sandbox):
    """Run an example in a process of its own, and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(EXAMPLES / program)),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"ROUTERA_TOKEN": sandbox.token, "ROUTERA_BASE_URL": sandbox.url},
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


@pytest.mark.parametrize(
    ("program", "prints", "records"),
    [
        ("create_one.py", "refused: ", 1),
        ("create_concurrently.py", "{'created': 1000}", 1_000),
        ("import_from_code.py", "{'created': 360}", 360),
    ],
)
async def test_the_program_does_what_it_says(program, prints, records):
    """Each program prints what it is about, and leaves the records it speaks of."""
    async with Sandbox(any_field=True) as sandbox:
        assert prints in await printed_by(program, sandbox)
        assert sandbox.store.count() == records


def test_every_program_is_run():
    """A new example program has to be run as well: here, or in test_web_examples."""
    programs = {path.stem for path in EXAMPLES.glob("*.py")}
    here = {"create_one", "create_concurrently", "import_from_code"}
    services = {"background", *(f"{name}_app" for name in SERVICES), "worker"}
    assert programs == here | services
