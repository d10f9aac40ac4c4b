"""Many calls at once: `python -m benchmarks.gathered PEER URL CALLS` prints what that came to.

All are submitted with one `asyncio.gather`, as nobody should and many do. A ticker then says for
how long the loop was blocked: at a tick, and at an instant. A loop that is blocked for a second has
kept one tick waiting, and two hundred callers who would have come in that second; the garbage
collector's rare long passes are seen by the latter alone.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .peers import PEERS, Peer

TICK = 0.005
"""Seconds between two looks at the loop."""


class Ticker:
    """Notes how late the loop is, by the wall's clock and by the CPU's.

    On a machine that does other things too, only the second is the loop's own fault.
    """

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK)
            self.wall.append(time.perf_counter() - wall - TICK)
            self.cpu.append(time.thread_time() - cpu - TICK)


def waits(late: list[float]) -> Iterator[float]:
    """Yield how long those waited who came at every tick, those ticks too that were not had."""
    for each in late:
        left = max(each, 0.0)
        yield left
        while left > TICK:
            left -= TICK
            yield left


def percentile(late: Iterable[float], share: float) -> float:
    """Return what this share waited at the most, in milliseconds."""
    every = sorted(max(each, 0.0) for each in late) or [0.0]
    return every[min(int(len(every) * share), len(every) - 1)] * 1e3


async def gather(peer: Peer, url: str, calls: int) -> dict[str, Any]:
    """Make the calls and return what it came to."""
    ticker = Ticker()
    async with peer.open(url) as send:
        await send()
        began, cpu = time.perf_counter(), time.process_time()
        waiting = asyncio.gather(*(send() for _ in range(calls)), return_exceptions=True)
        ticking = asyncio.create_task(ticker.run())  # runs when all of the above have begun
        await asyncio.sleep(0)
        submitted = time.perf_counter() - began
        answers = await waiting
        cpu = time.process_time() - cpu
        ticking.cancel()
    failures = [repr(answer) for answer in answers if isinstance(answer, BaseException)]
    return {
        "failures": len(failures),
        "first_failure": next(iter(failures), None),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,  # Linux: in KiB
        "submitted_s": submitted,
        "cpu_us": cpu / calls * 1e6,
        "blocked_p99_ms": percentile(ticker.cpu, 0.99),
        "blocked_p99_wall_ms": percentile(ticker.wall, 0.99),
        "instants_p99_ms": percentile(waits(ticker.cpu), 0.99),
        "blocked_max_ms": percentile(ticker.cpu, 1.0),
    }


def main(name: str, url: str, calls: str, show: Callable[[str], None] = print) -> None:
    """Run one peer."""
    peer = next(peer for peer in PEERS if peer.name == name)
    show(json.dumps(asyncio.run(gather(peer, url, int(calls)))))


if __name__ == "__main__":
    main(*sys.argv[1:4])
