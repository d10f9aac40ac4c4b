"""What the simulations' command lines and tests share: many seeds, or one of them again."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def options(program: str, *, seeds: int, jobs: int) -> argparse.ArgumentParser:
    """Return what every simulation is told, with how many seeds and processes it has by default."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--seeds", type=int, default=seeds, help="how many seeds to run")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--rows", type=int, default=20, help="rows of one seed")
    parser.add_argument("--jobs", type=int, default=jobs, help="processes")
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--trace", action="store_true", help="show all that happened in it")
    return parser


def parts(
    run: Callable[..., Any], told: argparse.Namespace, *rest: Any, size: int
) -> Iterator[Any]:
    """Yield what `run` gives for so many seeds at a time, in several processes."""
    end = told.start + told.seeds
    chunks = [range(at, min(at + size, end)) for at in range(told.start, end, size)]
    with ProcessPoolExecutor(told.jobs) as pool:
        yield from pool.map(run, chunks, *([each] * len(chunks) for each in (told.rows, *rest)))


def replay(simulate: Callable[..., Any], told: argparse.Namespace) -> int:
    """Run one seed, and tell all of it; return the exit status."""
    report = simulate(told.seed, rows=told.rows)
    print(report.plan)
    if told.trace:
        print(*report.trace, sep="\n")
    print(f"outcomes {dict(report.outcomes)}, trace {report.digest}")
    return ended(report.violations)


def ended(violations: Sequence[Any]) -> int:
    """Tell of violations; return the exit status: 1 when an invariant does not hold."""
    print(*violations[:50], sep="\n")
    print(f"{len(violations)} violations")
    return 1 if violations else 0


def digests(simulate: Callable[..., Any], seed: int) -> set[str]:
    """Return the digests of a seed's trace in processes whose texts hash differently."""
    module = simulate.__module__
    program = f"from {module} import simulate; print(simulate({seed}).digest)"
    return {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("0", "1")
    }
