"""Run seeds, or replay one.

python -m tests.simulation --seeds 2000 --jobs 2
python -m tests.simulation --seed 17 --trace
"""

import sys
import time
from collections import Counter

import attrs

from .scenario import simulate
from .seeds import ended, options, parts, replay

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


def main() -> int:
    """Do what the command line says; return the exit status: 1 when an invariant does not hold."""
    told = options("python -m tests.simulation", seeds=2000, jobs=2).parse_args()
    if told.seed is not None:
        return replay(simulate, told)
    totals = Totals()
    for part in parts(run, told, size=CHUNK):
        totals.add(part)
    print(
        f"{totals.seeds:,} seeds of {told.rows} rows from {told.start}, {totals.cpu:,.0f} s of CPU"
    )
    print(f"outcomes: {dict(totals.outcomes.most_common())}")
    print(f"requests: {sum(totals.faults.values()):,}, with these faults: {dict(totals.faults)}")
    return ended(totals.violations)


if __name__ == "__main__":
    sys.exit(main())
