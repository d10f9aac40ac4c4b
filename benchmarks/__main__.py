"""Measure, print the table, and write it down: `python -m benchmarks --help`."""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from . import report
from .rounds import Figures, serving
from .shows import QUICK, Row, Size, calls, gathered, lengths, many, starts

RESULTS = Path(__file__).parent / "results"

SHOWN = Path(__file__).parents[1] / "docs/assets/costs.svg"
"""The graph that docs/performance.md shows: that of the last whole run."""

PARTS = {"calls": calls, "many": many, "gather": gathered, "rows": lengths}
"""What is measured against the server; `starts` needs none."""


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="everything, small: under a minute")
    parser.add_argument(
        "--only", nargs="+", choices=[*PARTS, "starts"], help="measure no more than these"
    )
    parser.add_argument("--rows", nargs="+", type=int, help="the rows of show 6, fewest first")
    parser.add_argument("--million", action="store_true", help="show 6 with 1,000,000 rows as well")
    parser.add_argument("--out", type=Path, help="where to write (benchmarks/results)")
    for field in attrs.fields(Size):
        if field.type is int:
            parser.add_argument(f"--{field.name}", type=int, help=f"{field.default:,} unless told")
    return parser.parse_args(given)


def size_of(options: argparse.Namespace) -> Size:
    """Return how much is to be measured."""
    size = QUICK if options.quick else Size()
    told = {
        field.name: getattr(options, field.name)
        for field in attrs.fields(Size)
        if getattr(options, field.name, None) is not None
    }
    size = attrs.evolve(size, **told)
    return attrs.evolve(size, rows=(*size.rows, *([1_000_000] if options.million else [])))


def run(size: Size, only: Sequence[str]) -> tuple[list[Row], Figures]:
    """Measure, and return the table's rows and the µs behind them."""
    rows: list[Row] = []
    figures: Figures = {}
    with serving() as url:
        for name, part in PARTS.items():
            if name in only:
                _add(rows, figures, part(url, size, _progress))
    if "starts" in only:
        _add(rows, figures, starts(size, _progress))
    return sorted(rows, key=lambda row: row.show), figures


def _add(rows: list[Row], figures: Figures, found: tuple[list[Row], Figures]) -> None:
    rows += found[0]
    figures |= found[1]


def _progress(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def main(given: Sequence[str]) -> int:
    """Do as the command line says."""
    options = arguments(given)
    size = size_of(options)
    told = report.facts(size)
    began = time.monotonic()
    rows, figures = run(size, options.only or [*PARTS, "starts"])
    print(f"{told['python']} on {told['cores']} cores of {told['cpu']}, {told['date']}", end="\n\n")
    print(report.table(rows), report.costs(figures), report.notes(), sep="\n\n", end="\n\n")
    folder = options.out or RESULTS
    name = "quick" if options.quick else f"{told['date'][:10]}-python{told['python'].split()[1]}"
    name = "-".join([name, *(options.only or [])])
    for path in report.save(folder, told, rows, figures, name):
        print(f"written: {path}")
        if path.suffix == ".svg" and path.parent == RESULTS and not (options.quick or options.only):
            shutil.copyfile(path, SHOWN)
    print(f"{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
