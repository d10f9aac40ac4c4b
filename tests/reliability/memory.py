"""How much memory the greedy answers take: `python -m tests.reliability.memory`.

Prints, for each kind of call, by how many bytes the process's peak grew.
"""

import asyncio
import contextlib
import json
import resource
import sys
from pathlib import Path

import routera_async._retrying  # noqa: F401 (loaded by the first retry: no memory of an answer)
from routera_async import RouteraError
from tests.reliability.hostile import GOOD, GREEDY, TABLE
from tests.reliability.wire import CALLS, Server, client_of

_STATUS = Path("/proc/self/status")


def peak():
    """Return the most memory that this process ever held, in bytes.

    Not `ru_maxrss` on Linux, which begins at what the parent process held before `exec`.
    """
    if _STATUS.exists():
        lines = _STATUS.read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def meet(call, hostile):
    """Make one call that is answered so."""
    server = Server(lambda _: hostile.steps(call.shape))
    async with server, client_of(server, endless=hostile.endless) as client:
        with contextlib.suppress(RouteraError):
            await call.make(client)


async def main():
    """Return the figures, of one process that meets every kind of call after the other."""
    for call in CALLS.values():
        await meet(call, GOOD)
    gained, before = {}, peak()
    for kind, call in CALLS.items():
        for name in GREEDY:
            await meet(call, TABLE[name])
        gained[kind] = peak() - before
    return gained


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main())))
