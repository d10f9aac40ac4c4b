"""Run seeds, or replay one.

python -m tests.simulation --seeds 2000 --jobs 2
python -m tests.simulation --seed 17 --trace
"""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import attrs

from .scenario import simulate

CHUNK = 250
"""Seeds that one process runs at a time."""


@attrs.define
class Totals:
    """What many runs came to; `cpu` is in seconds."""

    seeds: int = 0
    cpu: float = 0.0
    outcomes: Counter[str] = attrs.field(factory=Counter)
    faults: Counter[str] = attrs.field(factory=Counter)
    violations: list[str] = attrs.field(factory=list)

    def add(self, other: "Totals") -> None:
        """Add what other runs came to."""
        self.seeds += other.seeds
        self.cpu += other.cpu
        self.outcomes += other.outcomes
        self.faults += other.faults
        self.violations += other.violations


def run(seeds: range, rows: int = 20) -> Totals:
    """Run some seeds, one after another."""
    totals, began = Totals(len(seeds)), time.process_time()
    for seed in seeds:
        report = simulate(seed, rows=rows)
        totals.outcomes += report.outcomes
        totals.faults.update(report.faults)
        totals.violations += map(str, report.violations)
    totals.cpu = time.process_time() - began
    return totals


def run_all(start: int, count: int, *, rows: int, jobs: int) -> Totals:
    """Run many seeds, in several processes."""
    ends = range(start, start + count, CHUNK)
    chunks = [range(at, min(at + CHUNK, start + count)) for at in ends]
    totals = Totals()
    with ProcessPoolExecutor(jobs) as pool:
        for part in pool.map(run, chunks, [rows] * len(chunks)):
            totals.add(part)
    return totals


def replay(seed: int, rows: int, *, trace: bool) -> int:
    """Run one seed, and tell all of it; return the exit status."""
    report = simulate(seed, rows=rows)
    print(report.plan)
    if trace:
        print(*report.trace, sep="\n")
    print(f"outcomes {dict(report.outcomes)}, trace {report.digest}")
    print(*report.violations, sep="\n")
    return 1 if report.violations else 0


def main() -> int:
    """Do what the command line says; return the exit status: 1 when an invariant does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to run")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--rows", type=int, default=20, help="rows of one seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--trace", action="store_true", help="show all that happened in it")
    told = parser.parse_args()
    if told.seed is not None:
        return replay(told.seed, told.rows, trace=told.trace)
    totals = run_all(told.start, told.seeds, rows=told.rows, jobs=told.jobs)
    print(
        f"{totals.seeds:,} seeds of {told.rows} rows from {told.start}, {totals.cpu:,.0f} s of CPU"
    )
    print(f"outcomes: {dict(totals.outcomes.most_common())}")
    print(f"requests: {sum(totals.faults.values()):,}, with these faults: {dict(totals.faults)}")
    print(*totals.violations[:50], sep="\n")
    print(f"{len(totals.violations)} violations")
    return 1 if totals.violations else 0


if __name__ == "__main__":
    sys.exit(main())
