"""What is to be shown: each a ratio or a figure, measured in several runs, and perhaps a bound."""

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from .peers import AT_HAND, ON_UVLOOP, OURS, PEERS, RAW, TOKEN, TRACED
from .rounds import Figures, Job, measure, once, programs
from .workloads import (
    FILE_LOOP,
    FILE_LOOP_AT_HAND,
    IMPORT,
    LOOP,
    LOOP_AT_HAND,
    MANY,
    WORKLOADS,
)

CUSTOM = (1, 10, 100)
"""How many custom fields a row is measured with."""

LENGTH = 24
"""The length of each."""

AS_LONG = CUSTOM[-1] * (LENGTH + len('"custom_field_000":"",'))
"""The length of one that makes a row about as long on the wire as that of most fields."""

FIRST = "from routera_async import NewTicket, RouteraClient"
NEW = "NewTicket(ticket_name='A', pipeline='default', ticket_stage='new')"
"""What everybody begins with."""

KINDS = {f"{custom} custom": (custom, LENGTH) for custom in CUSTOM} | {"1 as long": (1, AS_LONG)}

Progress = Callable[[str], None]

RATIO = "times"
"""The unit of what is divided by its like."""


@attrs.frozen
class Bound:
    """The most or the least that the median may be."""

    at_most: bool
    limit: float

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"

    def holds(self, value: float) -> bool:
        """Return whether a value keeps it."""
        return value <= self.limit if self.at_most else value >= self.limit


@attrs.frozen
class Row:
    """One line of the table: a figure for each run, or why there is none."""

    show: int
    label: str
    figures: tuple[float, ...] = ()
    unit: str = RATIO
    bound: Bound | None = None
    skipped: str | None = None

    @property
    def median(self) -> float:
        """The figure in the middle."""
        return statistics.median(self.figures)

    @property
    def holds(self) -> bool | None:
        """Whether the bound is kept; None without a bound or a figure."""
        return self.bound.holds(self.median) if self.bound and self.figures else None


@attrs.frozen(kw_only=True)
class Size:
    """How much is measured."""

    runs: int = 7
    blocks: int = 10
    calls: int = 200
    gathers: int = 7
    gathered: int = 100_000
    rows: tuple[int, ...] = (10_000, 100_000)
    many: int = 3_000
    imported: int = 5_000


QUICK = Size(
    runs=1,
    blocks=1,
    calls=200,
    gathers=1,
    gathered=2_000,
    rows=(500, 2_000),
    many=200,
    imported=500,
)
"""Enough to see that everything runs; its figures say little."""


def most(limit: float) -> Bound:
    """Return the bound of what may not be more."""
    return Bound(at_most=True, limit=limit)


def least(limit: float) -> Bound:
    """Return the bound of what may not be less."""
    return Bound(at_most=False, limit=limit)


def ratio(  # noqa: PLR0917
    show: int, over: str, under: str, figures: Figures, bound: Bound | None = None, label: str = ""
) -> Row:
    """Return the row of one workload's figures divided by another's."""
    label = label or f"{over} ÷ {under}"
    for name in (over, under):
        if not figures.get(name):
            return Row(show, label, bound=bound, skipped=f"{_missing(name)} is not installed")
    pairs = zip(figures[over], figures[under], strict=True)
    return Row(show, label, tuple(a / b for a, b in pairs), bound=bound)


def _missing(name: str) -> str:
    workload = WORKLOADS.get(name)
    return (workload and workload.missing) or name


def _installed(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if WORKLOADS[job.workload].missing is None]


def calls(url: str, size: Size, progress: Progress) -> tuple[list[Row], Figures]:
    """Measure one POST, by everyone: shows 1, 2 and 7."""
    names = [peer.name for peer in (*PEERS, AT_HAND, TRACED, *ON_UVLOOP)]
    jobs = _installed([Job(name, size.calls) for name in names])
    figures = measure(url, jobs, runs=size.runs, blocks=size.blocks, progress=progress)
    bounds = {"openai (aiohttp)": 4.5, "stripe (aiohttp)": 1.8, "hubspot (threads)": 3.5}
    ours, raw = (peer.name for peer in ON_UVLOOP)
    rows = [
        ratio(1, OURS, RAW, figures, most(1.10), f"tickets.create ÷ {RAW}"),
        ratio(1, OURS, AT_HAND.name, figures, label=f"tickets.create ÷ {AT_HAND.name}"),
        ratio(1, TRACED.name, RAW, figures, most(1.10)),
        ratio(1, TRACED.name, OURS, figures),
        *(
            ratio(2, peer.name, OURS, figures, least(bounds[peer.name]))
            if peer.name in bounds
            else ratio(2, peer.name, OURS, figures)
            for peer in PEERS
            if peer.name != OURS
        ),
        ratio(7, ours, OURS, figures),
        ratio(7, raw, RAW, figures),
        ratio(7, ours, raw, figures),
    ]
    return rows, figures


def many(url: str, size: Size, progress: Progress) -> tuple[list[Row], Figures]:
    """Measure rows by the many, shorter and longer: shows 3 and 6."""
    jobs = [Job(who, size.many) for who in (MANY, LOOP, LOOP_AT_HAND)]
    jobs += [Job(who, size.imported) for who in (IMPORT, FILE_LOOP, FILE_LOOP_AT_HAND)]
    jobs += [
        Job(who, size.many, custom, f"{who}, {kind}")
        for kind, custom in KINDS.items()
        for who in (MANY, LOOP)
    ]
    figures = measure(url, _installed(jobs), runs=size.runs, blocks=size.blocks, progress=progress)
    rows = [
        ratio(3, MANY, LOOP, figures, most(1.15)),
        ratio(3, MANY, LOOP_AT_HAND, figures),
        ratio(3, IMPORT, FILE_LOOP, figures, most(1.5), f"{IMPORT}, to a journal ÷ {FILE_LOOP}"),
        ratio(3, IMPORT, FILE_LOOP_AT_HAND, figures),
        *(ratio(6, f"{MANY}, {kind}", f"{LOOP}, {kind}", figures) for kind in KINDS),
        ratio(6, f"{MANY}, {CUSTOM[-1]} custom", f"{MANY}, 1 as long", figures, most(1.25)),
    ]
    return rows, figures


def lengths(url: str, size: Size, progress: Progress) -> tuple[list[Row], Figures]:
    """Measure the cost of a row where there are few and where there are many: show 6."""
    jobs = [Job(MANY, count, name=f"{MANY}, {count:,} rows") for count in size.rows]
    figures = measure(url, jobs, runs=size.runs, blocks=1, progress=progress)
    first = jobs[0].name
    rows = [ratio(6, job.name, first, figures, most(1.10)) for job in jobs[1:]]
    return rows, figures


def gathered(url: str, size: Size, progress: Progress) -> tuple[list[Row], Figures]:
    """Measure everything at once: show 4."""
    found: dict[str, list[dict[str, float]]] = {OURS: [], RAW: []}
    for number in range(size.gathers):
        for name, told in found.items():
            progress(
                f"run {number + 1} of {size.gathers}: {size.gathered:,} calls of {name} at once"
            )
            told.append(once(name, url, str(size.gathered)))
    figures = {f"gather, {name}": [each["cpu_us"] for each in told] for name, told in found.items()}
    return [*_gather_rows(size, found)], figures


def _gather_rows(size: Size, found: dict[str, list[dict[str, float]]]) -> Iterator[Row]:
    what = f"gather of {size.gathered:,}"
    bounds = {
        ("failures", ""): most(0),
        ("peak_mib", "MiB"): most(350),
        ("blocked_p99_ms", "ms"): most(50),
        ("blocked_p99_wall_ms", "ms"): None,
        ("instants_p99_ms", "ms"): None,
        ("blocked_max_ms", "ms"): None,
        ("submitted_s", "s"): None,
    }
    said = {
        "failures": "calls that failed",
        "peak_mib": "peak memory",
        "blocked_p99_ms": "loop blocked, p99 of ticks",
        "blocked_p99_wall_ms": "the same by the wall's clock",
        "instants_p99_ms": "loop blocked, p99 of instants",
        "blocked_max_ms": "loop blocked at the most",
        "submitted_s": "until all had begun",
    }
    for name, told in found.items():
        for (key, unit), bound in bounds.items():
            values = tuple(each[key] for each in told)
            yield Row(
                4, f"{what}, {name}: {said[key]}", values, unit, bound if name == OURS else None
            )


def starts(size: Size, progress: Progress) -> tuple[list[Row], Figures]:
    """Measure what it costs to begin: show 5."""
    ours, deps = "import routera_async", "import its dependencies"
    ticket = "a client and a ticket to create"
    command, libraries = "routera --help", 'python -c "import cyclopts, rich"'
    script = Path(sys.executable).with_name("routera")
    programs_ = {
        ours: [sys.executable, "-c", f"{ours}; routera_async.RouteraClient"],
        deps: [sys.executable, "-c", "import aiohttp, attrs, cattrs, tenacity, orjson"],
        command: [str(script), "--help"] if script.exists() else _help_as_module(),
        libraries: [sys.executable, "-c", "import cyclopts, rich"],
        ticket: [sys.executable, "-c", f"{FIRST}; RouteraClient({TOKEN!r}); {NEW}"],
        "python": [sys.executable, "-c", "pass"],
    }
    figures = programs(programs_, runs=size.runs, blocks=-(-size.blocks // 4), progress=progress)
    bare = figures.pop("python")
    for name in (ours, deps, ticket):
        figures[name] = [a - b for a, b in zip(figures[name], bare, strict=True)]
    rows = [
        ratio(5, ours, deps, figures, most(1.10)),
        ratio(5, ticket, deps, figures),
        ratio(5, command, libraries, figures, most(1.5)),
    ]
    return rows, figures


def _help_as_module() -> list[str]:
    return [sys.executable, "-m", "routera_async", "--help"]
