"""The process that is measured: `python -m benchmarks.worker WORKLOAD URL`.

It opens one workload and runs it as often as there are lines of input, each of which says how many
calls to make, and with how many custom fields of which length. For each it prints the CPU seconds
that its own process took.
"""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from .peers import IN_FLIGHT
from .workloads import WORKLOADS, Workload

WARM_UP = IN_FLIGHT
"""Calls before each line's own: connections that an idle pool has closed are opened by these."""


async def obey(workload: Workload, url: str) -> None:
    """Make the calls that the input asks for."""
    async with workload.open(url) as run:
        print("ready", flush=True)
        for line in sys.stdin:  # nothing else runs here: it may block
            calls, custom, length = map(int, line.split())
            await run(WARM_UP, 0, 0)
            print(await run(calls, custom, length), flush=True)


def on_loop(name: str, main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on asyncio's loop or on uvloop's."""
    if name == "uvloop":
        import uvloop  # noqa: PLC0415 (it need not be installed)

        uvloop.run(main)
    else:
        asyncio.run(main)


if __name__ == "__main__":
    chosen = WORKLOADS[sys.argv[1]]
    on_loop(chosen.loop, obey(chosen, sys.argv[2]))
