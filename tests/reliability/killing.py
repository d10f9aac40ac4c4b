"""Imports in processes of their own, killed when the sandbox has seen so many requests."""

import asyncio
import json
import os
import random
import sqlite3
import sys
from contextlib import closing

from routera_async.bulk.journal import _NAMES
from routera_async.sandbox import Sandbox
from routera_async.sandbox.faults import Faults

TALLY = ("read", "created", "duplicate", "rejected", "unknown", "not_sent")

KINDS = (
    *("error_before_commit", "error_after_commit"),
    *("disconnect_before_commit", "disconnect_after_commit"),
    *("reset_before_commit", "reset_after_commit"),
)


def odds(share, *, errors=True):
    """Return faults before and after the commit, drawn in this share of the writes.

    `errors` are 500s, after which even a create without a key is sent again.
    """
    kinds = [kind for kind in KINDS if errors or not kind.startswith("error")]
    return dict.fromkeys(kinds, share / len(kinds))


class Killer(Faults):
    """Faults as drawn, and a SIGKILL for the import that sends the N-th request.

    It falls before the request is done, or after that and before its answer.
    """

    def __init__(self):
        super().__init__()
        self.kills = 0
        self._victim = None
        self._left = {}

    def lie_in_wait(self, victim, number, *, after):
        """Kill a process at the N-th request from now."""
        self._victim = victim
        self._left = {after: number}

    def meet(self, method, path):
        """Return the fault that a request meets, none of which is done yet."""
        self._count(after=False)
        return super().meet(method, path)

    async def sleep(self, _seconds):
        """Stand in for the sandbox's latency: what was asked for is done, and not answered yet."""
        self._count(after=True)
        await asyncio.sleep(0)

    def _count(self, *, after):
        if after not in self._left:
            return
        self._left[after] -= 1
        if not self._left[after] and self._victim.returncode is None:
            self.kills += 1
            self._victim.kill()


def sandbox_of(killer, **settings):
    """Return a sandbox whose requests the killer counts."""
    made = Sandbox(
        any_field=True, latency=1.0, sleep=killer.sleep, keep_requests=0, token_ttl=1e6, **settings
    )
    made.faults = killer
    return made


async def started(sandbox, *arguments):
    """Start an import into a sandbox, in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if "ROUTERA" not in name}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "routera_async", "import", *map(str, arguments), "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean | {"ROUTERA_TOKEN": sandbox.token, "ROUTERA_BASE_URL": sandbox.url},
    )


async def survived(sandbox, killer, instants, *arguments):
    """Import until all is sent, killed at each of the instants; return the status and the summary.

    An instant is a number of requests, and whether the kill falls after the last of them is done.
    """
    for number, after in [*instants, *[(0, False)] * 5]:
        process = await started(sandbox, *arguments)
        killer.lie_in_wait(process, number, after=after)
        out, err = await process.communicate()
        if process.returncode < 0:
            continue
        assert b"Traceback" not in err, err.decode()
        assert out, err.decode()
        told = json.loads(out)
        if not told["not_sent"]:
            return process.returncode, told
    raise AssertionError("it has not ended")


def drawn(rng, most, kills):
    """Draw the instants of some kills: the first is certain to fall."""
    return [(rng.randint(1, most), rng.random() < 0.5) for _ in range(kills)]


def seeded(*seed):
    """Return a generator for a seed."""
    return random.Random(repr(seed))


def journal_of(path):
    """Return what a closed journal says: the status and the id of each row."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        found = db.execute("SELECT row, status, id FROM rows ORDER BY row").fetchall()
    return {
        row: (_NAMES[status], _uuid(id_) if isinstance(id_, bytes) else id_)
        for row, status, id_ in found
    }


def _uuid(packed):
    text = packed.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
