"""One process of an import: its client, its journal, and its end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import aiohttp

from routera_async import RouteraClient, RouteraError
from routera_async.bulk import many
from routera_async.bulk.engine import Outcome
from routera_async.bulk.journal import Binding, Journal
from routera_async.bulk.journal_rows import OPEN
from routera_async.bulk.many import create_many as run_import
from routera_async.events import AttemptFinished, Event
from tests.bulk.journal_crash import as_left

from .import_plan import Crash, When
from .network import SLOWEST, connector
from .server import HOST
from .world import EPOCH, ROW, Row

if TYPE_CHECKING:
    from .imports import ImportRun

BINDING = Binding(digest="ab" * 32, target=f"https://{HOST}", mapping="tickets")


class Crashed(BaseException):
    """The process is no more."""


class Life:
    """One process of an import: until its end, or until it crashes.

    `told` are the outcomes that it has told, `intended` the rows whose intents it has committed,
    `left` what a crash leaves of the journal, and `raised` what stopped it.
    """

    def __init__(self, run: "ImportRun", path: Path, crash: Crash | None, *, gap: float) -> None:
        self.number = run.world.life
        self.path = path
        self.crash = crash
        self.dead = False
        self.left: tuple[bytes, bytes | None] | None = None
        self.told: list[Outcome[Any]] = []
        self.intended: set[int] = set()
        self.tally: dict[str, int] | None = None
        self.raised: RouteraError | None = None
        self.commits = 0
        self.steps = 0
        self._run = run
        self._loop = run.loop
        self._gap = gap
        self._rng = run.world.stream(f"life {self.number}")
        self._minted = run.server.mint()
        self._journal: Journal | None = None

    @property
    def ended(self) -> bool:
        """Whether it went through all rows."""
        return not self.dead and self.raised is None

    def at_step(self, step: int) -> None:
        """Crash when it is time; called after each step of the loop."""
        self.steps = step
        if self.crash == Crash("step", step):
            self.die()
        if self.dead:
            raise Crashed

    def die(self) -> None:
        """Crash: the disk and the world outside are left as they are, and go on without us."""
        if self.dead:
            return
        self.dead = True
        self.left = as_left(self.path) if self.path.exists() else None
        self._run.world.note(None, f"crash, {len(self.told)} rows told")
        self._run.net.cut()
        self._run.move()

    def bury(self) -> None:
        """Release the files of a journal whose closing was cut off, as the system does."""
        if self._journal is not None and (open_still := self._journal._left_open.detach()):
            _, _, (_, release), _ = open_still
            release()

    async def main(self) -> None:
        """Import; a restart takes a while."""
        run, plan = self._run, self._run.plan.client
        await asyncio.sleep(self._gap)
        pool = connector(run.net, wary=plan.wary, limit=0, keep_alive=plan.keep_alive)
        ids = run.world.stream(f"ids {self.number}")
        opened = Journal.open(
            self.path,
            BINDING,
            run=self._write,
            new_id=lambda: f"{ids.getrandbits(128):032x}",
            clock=self.clock,
        )
        self._journal = opened
        async with opened as journal, aiohttp.ClientSession(connector=pool) as http:
            client = self._open(http)
            await self._import(client, journal)
            await asyncio.sleep(SLOWEST)
            await client.aclose()

    def clock(self) -> float:
        """Return what time it is on this machine, in seconds since the epoch."""
        return EPOCH + self._run.plan.skew + self._loop.time()

    def clocks(self) -> contextlib.AbstractContextManager[Any]:
        """Have `create_many` tell the time as this machine does."""
        return patch.object(many, "create_many", partial(run_import, clock=self.clock))

    async def _import(self, client: RouteraClient, journal: Journal) -> None:
        run, plan = self._run, self._run.plan
        start = await self._passed(journal) if self._rng.random() < 0.5 else 0
        rows = run.world.rows[start:]
        outcomes = client.tickets.create_many(
            self._slowly(rows) if self._rng.random() < 0.3 else rows,
            concurrency=plan.concurrency,
            parse=self._parse,
            journal=journal,
            bulk=plan.bulk,
            start=start,
        )
        async with contextlib.aclosing(outcomes):
            try:
                async for outcome in outcomes:
                    self._tell(outcome)
            except RouteraError as error:
                self.raised = error
                self._note(f"stopped: {error!r}")
        if self.raised is None:
            self.tally = dict(await journal.tally())

    async def _passed(self, journal: Journal) -> int:
        """Go past the rows that are decided, as an import of a file does; return how many."""
        decided = await journal.decided(len(self._run.world.rows))
        for row in range(sum(decided.values())):
            entry = await journal.known(row)
            assert entry is not None
            assert entry.status != "held"
            status, id_, reason = entry.status, entry.id, entry.reason
            self._tell(Outcome(status=status, row=row, id=id_, reason=reason, resumed=True))
        return sum(decided.values())

    async def _slowly(self, rows: list[Row]) -> AsyncIterator[Row]:
        for row in rows:
            await asyncio.sleep(self._rng.uniform(0.0, 0.1))
            yield row

    def _parse(self, row: Row) -> Any:
        ROW.set(row)
        return row.new

    def _tell(self, outcome: Outcome[Any]) -> None:
        if not self.dead:
            self.told.append(outcome)
            again = ", as before" if outcome.resumed else ""
            why = "" if outcome.reason is None else f": {outcome.reason}"
            self._note(f"{outcome.row} is {outcome.status}{again}{why}")

    def _note(self, what: str) -> None:
        if not self.dead:
            self._run.world.note(None, what)

    def _open(self, http: aiohttp.ClientSession) -> RouteraClient:
        plan = self._run.plan.client
        client = RouteraClient(
            self._token if plan.renews else self._minted,
            base_url=f"https://{HOST}",
            retry=plan.retry,
            timeout=plan.timeout,
            deadline=None if self._run.clean else plan.deadline,
            max_connections=plan.max_connections,
            max_waiting=plan.max_waiting,
            hooks=[self._hear],
            session=http,
            mint_external_ids=plan.mint,
        )
        client._session._uniform = self._run.world.stream(f"jitter {self.number}").uniform
        return client

    async def _token(self) -> str:
        await asyncio.sleep(self._rng.uniform(0.0, 0.2))
        if self._rng.random() < 0.05 and not self._run.clean:
            raise OSError("the vault is closed")
        return self._run.server.mint()

    def _hear(self, event: Event) -> None:
        row = ROW.get()
        if isinstance(event, AttemptFinished) and row is not None and not self.dead:
            told = f"{event.number} {event.sent} {event.status} {event.error}"
            self._run.world.note(row, f"attempt {told}")

    # -- the disk ----------------------------------------------------------------------------------

    async def _write(self, function: Callable[[], Any]) -> Any:
        """Do what the journal's thread would, a while later; it is known a while after that."""
        await self._while()
        self.commits += 1
        self._die_at("before")
        result = function()
        if isinstance(function, partial) and not self.dead:
            told = function.args[0] if function.func.__name__ in {"write", "close"} else ()
            self.intended |= {record[0] for record in told if record[1] == OPEN}
        self._die_at("after")
        await self._while()
        return result

    async def _while(self) -> None:
        await asyncio.sleep(
            self._rng.choice((0.0, 1.0)) * self._rng.random() * self._run.plan.writing
        )

    def _die_at(self, when: When) -> None:
        if self.crash == Crash(when, self.commits):
            self.die()
