"""Interleaved runs: what is compared is measured side by side, again and again.

In each run every job has a fresh process, for the order of a process's memory alone is worth some
per cent, and what it did before may be worth a sixth. The processes of a run take turns, a block of
calls each, so that whatever else the machine does falls on all of them; the block in the middle is
what a run says. A ratio is that of two jobs in the same run.
"""

import json
import os
import random
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any

import attrs

Figures = dict[str, list[float]]
"""What each workload took in each run, for one call, in µs of CPU."""


@attrs.frozen
class Job:
    """A workload, and how many calls of it make one block; `name` tells it from its likes."""

    workload: str
    calls: int
    custom: tuple[int, int] = (0, 0)
    """How many custom fields, and of which length."""
    name: str = attrs.field(default=attrs.Factory(lambda self: self.workload, takes_self=True))


class Worker:
    """A process that makes calls when it is told to."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.process = subprocess.Popen(  # noqa: S603 (our own)
            [sys.executable, "-m", f"benchmarks.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environ(),
        )
        self.told = self.line()

    def line(self) -> str:
        """Return what the process says next."""
        said = _pipe(self.process.stdout).readline().strip()
        if not said:
            raise RuntimeError(f"{self.process.args} ended")
        return said

    def run(self, job: Job) -> float:
        """Return the CPU seconds that a block of a job took."""
        told = _pipe(self.process.stdin)
        told.write(f"{job.calls} {job.custom[0]} {job.custom[1]}\n")
        told.flush()
        return float(self.line())

    def close(self) -> None:
        """End the process: its input ends."""
        self.process.communicate()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@contextmanager
def serving() -> Generator[str]:
    """Run the server in a process of its own, and yield its URL."""
    server = Worker("server")
    try:
        yield f"http://127.0.0.1:{server.told}"
    finally:
        server.close()


def measure(
    url: str,
    jobs: Sequence[Job],
    *,
    runs: int,
    blocks: int,
    progress: Callable[[str], None],
) -> Figures:
    """Return what a call of each job took in each run."""
    figures: Figures = {job.name: [] for job in jobs}
    with ExitStack() as stack:  # whatever is compiled, is now: code compiled by a process is slower
        for job in jobs:
            _started(stack, job.workload, url).run(job)
    for number in range(runs):
        progress(f"run {number + 1} of {runs}: {', '.join(job.name for job in jobs)}")
        with ExitStack() as stack:
            workers = {job: _started(stack, job.workload, url) for job in jobs}
            spent: dict[Job, list[float]] = {job: [] for job in jobs}
            for _ in range(blocks):
                for job in random.sample(jobs, len(jobs)):
                    spent[job].append(workers[job].run(job))
        for job, seconds in spent.items():
            figures[job.name].append(statistics.median(seconds) / job.calls * 1e6)
    return figures


def _started(stack: ExitStack, workload: str, url: str) -> Worker:
    worker = Worker("worker", workload, url)
    stack.callback(worker.close)
    return worker


def programs(
    commands: dict[str, list[str]], *, runs: int, blocks: int, progress: Callable[[str], None]
) -> Figures:
    """Return the CPU that each program took in each run, in µs."""
    figures: Figures = {name: [] for name in commands}
    for command in commands.values():
        _cpu_of(command)  # whatever is compiled or cached, is now
    for number in range(runs):
        progress(f"run {number + 1} of {runs}: {len(commands)} programs")
        spent = dict.fromkeys(commands, 0.0)
        for _ in range(blocks):
            for name in random.sample(list(commands), len(commands)):
                spent[name] += _cpu_of(commands[name])
        for name, seconds in spent.items():
            figures[name].append(seconds / blocks * 1e6)
    return figures


def _cpu_of(command: Iterable[str]) -> float:
    before = _children()
    subprocess.run([*command], check=True, stdout=subprocess.DEVNULL, env=_environ())  # noqa: S603
    return _children() - before


def _environ() -> dict[str, str]:
    """Return an environment where modules are compiled once, as pip has compiled the others'."""
    return {name: each for name, each in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def once(*arguments: str) -> Any:
    """Return the JSON value that `python -m benchmarks.gathered` prints."""
    command = [sys.executable, "-m", "benchmarks.gathered", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603 (our own)
    return json.loads(done.stdout)
