"""Imports that crash: the engine, its journal and its recovery, over all the faults of `faults`.

    python -m tests.simulation.imports --seeds 500          crashes at steps drawn from the seed
    python -m tests.simulation.imports --seeds 20 --every-step
    python -m tests.simulation.imports --seeds 20 --every-commit
    python -m tests.simulation.imports --seed 17 --trace

One seed is one import of twenty rows by several processes, each a `Life`: a loop, a client and a
journal of its own. A crash abandons the loop and takes the journal's files as they are on disk;
the next life resumes from that copy, against the same store, while what was under way outside goes
on: a request that nobody waits for may still be done. The last lives meet no fault any more.
What must hold is in `import_check`.
"""

import asyncio
import contextlib
import gc
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from routera_async import NewTicket
from tests.bulk.journal_crash import in_memory, laid

from .faults import FAULTS
from .import_check import check
from .import_life import Crashed, Life
from .import_plan import Crash, ImportPlan, draw_import
from .import_server import ImportServer
from .loop import Deadlock, Endless, SimLoop
from .network import Network, virtual_keep_alive
from .seeds import ended, options, parts, replay
from .world import MARKER, Row, Violation, World

_FOR_EVER = 36_000
"""Seconds that a token lasts which outlives its run."""

CLEAN = 3
"""Lives without a fault, at the most, after which every row must be settled."""


@attrs.frozen
class Report:
    """What a run came to; `steps` and `commits` are those of its first life."""

    seed: int
    digest: str
    outcomes: Counter[str]
    faults: dict[str, int]
    crashes: int
    steps: int
    commits: int
    violations: list[Violation]
    trace: list[str] = attrs.field(repr=False)
    plan: ImportPlan = attrs.field(repr=False)


class ImportRun:
    """One seed's import: its server, its rows, and its lives."""

    def __init__(
        self, seed: int, rows: int, change: Callable[[ImportPlan], ImportPlan], folder: Path
    ) -> None:
        self.loop = SimLoop(f"{seed}:0")
        self.world = World(seed, self.loop)
        self.plan = change(draw_import(self.world.stream("plan")))
        client = self.plan.client
        self.net = Network(self.world, client.weather)
        self.server = ImportServer(
            self.net,
            mix={name: FAULTS[name] for name in client.mix},
            often=client.often,
            stale=client.stale,
            patience=client.timeout,
            most=client.max_connections,
            renews=client.renews,
            grants={},
            ungranted=0.0,
            life=_FOR_EVER,
        )
        self.server.intended = self._is_intended
        self.clean = False
        self.lives: list[Life] = []
        self._folder = folder
        self._rng = self.world.stream("rows")
        self._successor: SimLoop | None = None
        self._draw_rows(rows)

    # -- what is imported --------------------------------------------------------------------------

    def _draw_rows(self, count: int) -> None:
        for number in range(count):
            self.world.rows.append(self._row(number))
        self.server.know(self.world.rows)
        for row in {row.key: row for row in self.world.rows if row.key}.values():
            if self._rng.random() < 0.1:
                self._insert(row)

    def _row(self, number: int) -> Row:
        """Draw a row: with or without a key, perhaps an earlier row's, and perhaps to reject."""
        rng, rows = self._rng, self.world.rows
        key = f"ext-{number}" if rng.random() < self.plan.own else None
        if key is not None and rows and rng.random() < 0.2:
            key = rng.choice(rows).key or key
        minted = key is None and (self.plan.bulk.derive_keys or self.plan.client.mint)
        if rows and not (key or minted or rows[-1].key) and rng.random() < 0.2:
            return attrs.evolve(rows[-1], number=number)  # nothing tells these two apart
        marker = f"r{number}"
        wrong = {"ticket_owner": "nobody"} if rng.random() < 0.05 else {}
        new: Any = NewTicket(
            ticket_name=f"Lamp {marker}",
            pipeline="default",
            ticket_stage="new",
            external_id=key,
            custom={MARKER: marker},
            **wrong,
        )
        if rng.random() < 0.03:
            new, key = {"ticket_name": "it lacks two fields"}, None
        return Row(number, key, new, minted=minted, marker=marker)

    def _insert(self, row: Row) -> None:
        """Have somebody else hold a row's key, perhaps with the very same fields."""
        if self._rng.random() < 0.3:
            name = {"ticket_name": row.new.ticket_name, MARKER: row.marker}
            self.server.insert(external_id=row.key, pipeline="default", ticket_stage="new", **name)
        else:
            self.server.insert(external_id=row.key)

    # -- the lives ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Live each life, and then those in which nothing goes wrong; and let the world end."""
        for crash in (*self.plan.crashes, None):
            self._live(crash)
        self.clean = True
        self.net.clear_up()
        self.server.clear_up()
        for _ in range(CLEAN):
            if self._live(None).ended and not self._unsent():
                break
        self.loop.run(asyncio.sleep(max(0.0, self.server.horizon - self.loop.time()) + 1.0))

    def _unsent(self) -> bool:
        return any(each.status == "not_sent" for each in self.lives[-1].told)

    def _live(self, crash: Crash | None) -> Life:
        first = not self.lives
        # A record of somebody else's is older than the import, by more than a clock may be off.
        gap = 10.0 if first else self._rng.choice((0.0, 0.1, 3.0, 2 * self.plan.bulk.quarantine))
        life = Life(self, self._laid(), crash, gap=gap)
        self.lives.append(life)
        loop = self.loop
        loop.at_step = life.at_step
        with virtual_keep_alive(loop), life.clocks(), contextlib.suppress(Crashed):
            loop.run(life.main())
        if life.dead:
            life.bury()
            return life
        for complaint in loop.complaints:
            self.world.wrong(None, "I10 left", complaint)
        self.move()
        return life

    def _laid(self) -> Path:
        """Return where the next life's journal is: as the last one has left it."""
        if not self.lives:
            return self._folder / "0" / "input.journal"
        last = self.lives[-1]
        if not last.dead:
            return last.path
        path = self._folder / f"{len(self.lives)}" / "input.journal"
        path.parent.mkdir()
        return path if last.left is None else laid(path, last.left)

    def move(self) -> None:
        """Leave a life's loop: the world goes on in the next one."""
        self.loop = SimLoop(f"{self.world.seed}:{len(self.lives)}", now=self.loop.time())
        self.world.move(self.loop)

    def _is_intended(self, life: int, row: Row) -> bool:
        """Say whether a row's intent was committed by the life that sent it."""
        lived = self.lives[life]
        if self.plan.reads_disk and not lived.dead:
            return self.server.on_disk(lived.path, row.number)
        return row.number in lived.intended


def simulate(
    seed: int,
    *,
    rows: int = 20,
    change: Callable[[ImportPlan], ImportPlan] = lambda plan: plan,
) -> Report:
    """Run one seed and return what it came to; `change` may alter its plan first."""
    gc.disable()  # what is finalised when is part of a run: nothing, until it is over
    try:
        with in_memory() as folder:
            (folder / "0").mkdir()
            run = ImportRun(seed, rows, change, folder)
            try:
                run.run()
            except (Deadlock, Endless) as error:
                run.world.wrong(None, "I6 ends", str(error))
            check(run)
            run.server.store.close()
    finally:
        gc.enable()
    return Report(
        seed,
        run.world.digest(),
        Counter(each.status for each in run.lives[-1].told),
        run.world.faults,
        sum(life.dead for life in run.lives),
        run.lives[0].steps,
        run.lives[0].commits,
        run.world.violations,
        run.world.trace,
        run.plan,
    )


# -- many of them ----------------------------------------------------------------------------------


@attrs.define
class Totals:
    """What many runs came to; `cpu` is in seconds."""

    runs: int = 0
    crashes: int = 0
    cpu: float = 0.0
    outcomes: Counter[str] = attrs.field(factory=Counter)
    violations: list[str] = attrs.field(factory=list)

    def add(self, other: "Totals") -> None:
        """Add what other runs came to."""
        self.runs += other.runs
        self.crashes += other.crashes
        self.cpu += other.cpu
        self.outcomes += other.outcomes
        self.violations += other.violations

    def __str__(self) -> str:
        told = dict(self.outcomes.most_common())
        return f"{self.runs:,} runs, {self.crashes:,} crashes, {self.cpu:,.0f} s of CPU: {told}"


def _as_drawn(plan: ImportPlan) -> ImportPlan:
    return plan


def _crashing_at(crash: Crash, plan: ImportPlan) -> ImportPlan:
    """Have the first life end there, and the others as drawn."""
    return attrs.evolve(plan, crashes=(crash, *plan.crashes[1:]))


def _undisturbed(plan: ImportPlan) -> ImportPlan:
    return attrs.evolve(plan, crashes=())


def once(seed: int, rows: int) -> Iterator[Report]:
    """Run a seed as it is drawn."""
    yield simulate(seed, rows=rows)


def at_every_step(seed: int, rows: int) -> Iterator[Report]:
    """Run a seed as often as its first life has steps, and crash at each of them."""
    whole = simulate(seed, rows=rows, change=_undisturbed)
    yield whole
    for step in range(1, whole.steps + 1):
        yield simulate(seed, rows=rows, change=partial(_crashing_at, Crash("step", step)))


def at_every_commit(seed: int, rows: int) -> Iterator[Report]:
    """Crash before and after each time that the first life's journal uses the disk."""
    whole = simulate(seed, rows=rows, change=_undisturbed)
    yield whole
    for number in range(1, whole.commits + 1):
        for crash in (Crash("before", number), Crash("after", number)):
            yield simulate(seed, rows=rows, change=partial(_crashing_at, crash))


Way = Callable[[int, int], Iterator[Report]]


def run_seeds(seeds: range, rows: int = 20, way: Way = once) -> Totals:
    """Run some seeds, one after another."""
    totals, began = Totals(), time.process_time()
    for seed in seeds:
        for report in way(seed, rows):
            totals.runs += 1
            totals.crashes += report.crashes
            totals.outcomes += report.outcomes
            totals.violations += map(str, report.violations)
    totals.cpu = time.process_time() - began
    return totals


def main() -> int:
    """Do what the command line says; return the exit status: 1 when an invariant does not hold."""
    parser = options("python -m tests.simulation.imports", seeds=500, jobs=1)
    parser.add_argument("--every-step", action="store_true", help="crash at each step of a seed")
    parser.add_argument("--every-commit", action="store_true", help="crash around each commit")
    told = parser.parse_args()
    if told.seed is not None:
        return replay(simulate, told)
    way = at_every_step if told.every_step else at_every_commit if told.every_commit else once
    totals = Totals()
    for part in parts(run_seeds, told, way, size=50 if way is once else 1):
        totals.add(part)
    print(f"{told.seeds:,} seeds of {told.rows} rows from {told.start}: {totals}")
    return ended(totals.violations)


if __name__ == "__main__":
    sys.exit(main())
