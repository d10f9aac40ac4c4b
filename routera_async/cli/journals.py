"""`routera reconcile` and `routera report`: what an import's journal says, and what it lacks."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from routera_async.bulk.journal import Journal
from routera_async.bulk.reconcile import Verdict
from routera_async.cli.calls import connected
from routera_async.cli.failures import UNKNOWN, failed, warn
from routera_async.cli.importing import SANDBOX, bounded_seconds
from routera_async.cli.kinds import KINDS
from routera_async.cli.serving import running
from routera_async.cli.settings import UNTOLD, Connection
from routera_async.client import RouteraClient
from routera_async.errors import ConfigurationError, RouteraError, one_line
from routera_async.events import Event, ImportReconciling
from routera_async.sandbox import Sandbox

JournalFile = Annotated[Path, Parameter(help="The import's journal: FILE.journal, unless told.")]
AsJson = Annotated[bool, Parameter(help="Print one JSON object instead of the table.")]

_SHOWN = 100
"""Rows that a table shows; --json tells all."""


async def report(journal: JournalFile, /, *, json: AsJson = False) -> int:
    """Print what a journal knows of its import: when it began, where to, and what became of rows.

    Nothing is sent.
    """
    async with _opened(journal) as opened:
        told = _described(opened) | await _tally(opened)
    _print(told, as_json=json)
    return 0


async def reconcile(
    journal: JournalFile,
    /,
    *,
    quarantine: Annotated[
        str, Parameter(help="How long a lost request may still run; 60s unless told.")
    ] = "60s",
    json: AsJson = False,
    connection: Connection = UNTOLD,
) -> int:
    """Settle the rows of an import whose answers were lost, by what Routera's list holds.

    It reads the whole list once, and a second time when something is absent. Nothing is created.
    """
    seconds = bounded_seconds("--quarantine", quarantine)
    last_sent = _last_written(journal)
    async with _opened(journal) as opened, _client(opened, connection) as client:
        verdicts = (
            await KINDS[_kind(opened)]
            .of(client)
            .reconcile(opened, last_sent=last_sent, quarantine=seconds, hooks=(_tell,))
        )
        open_ones = [entry async for entry in opened.undecided() if entry.body is None]
        tally = await _tally(opened)
    _show(verdicts, tally, as_json=json)
    if open_ones:
        warn(
            f"{len(open_ones):,} more were under way when the import was cut off: run the same "
            "routera import again, which settles them"
        )
    return UNKNOWN if tally["unknown"] else 0


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[Journal]:
    async with await asyncio.to_thread(Journal.open, path, None) as journal:
        yield journal


@asynccontextmanager
async def _client(journal: Journal, connection: Connection) -> AsyncIterator[RouteraClient]:
    """Open a client of where the import went to; another place is refused."""
    target = journal.binding.target
    if not target.startswith(SANDBOX):
        async with connected(connection) as client:
            if client.base_url != target:
                raise ConfigurationError(
                    f"{journal.path} is of an import into {one_line(target, 200)}, and the base "
                    f"URL is {client.base_url}: give --base-url"
                )
            yield client
        return
    db = Path(target.removeprefix(SANDBOX))
    if not await asyncio.to_thread(db.is_file):
        raise ConfigurationError(f"{db}: no such file, and {journal.path} went there")
    async with (
        running(Sandbox(any_field=True, db=db, keep_requests=0)) as sandbox,
        RouteraClient(sandbox.token, base_url=sandbox.url) as client,
    ):
        try:
            yield client
        except RouteraError as error:
            raise failed(error, writes=False) from None


def _last_written(path: Path) -> float:
    """Return when a journal was last written: after the last answer that it knows to be lost."""
    times = [each.stat().st_mtime for each in (path, Path(f"{path}-wal")) if each.is_file()]
    return max(times, default=time.time())


def _kind(journal: Journal) -> str:
    kind: str = json.loads(journal.binding.mapping)["object"]
    return kind


def _described(journal: Journal) -> dict[str, Any]:
    started = datetime.fromtimestamp(journal.started, UTC).isoformat(timespec="seconds")
    return {
        "journal": str(journal.path),
        "import_id": journal.import_id,
        "started": started,
        "target": one_line(journal.binding.target, 200),
        "object": _kind(journal),
    }


async def _tally(journal: Journal) -> dict[str, int]:
    """Count the rows of each status; one that is held is unknown until it is reconciled."""
    tally = dict(await journal.tally())
    tally["unknown"] += tally.pop("held")
    return {name: tally[name] for name in sorted(tally, key=_ORDER.index)}


_ORDER = ["created", "duplicate", "rejected", "unknown", "not_sent"]


def _tell(event: Event) -> None:
    if isinstance(event, ImportReconciling) and event.wait >= 1:
        warn(f"the list is read in {event.wait:.0f} seconds, when no lost request can still run")


def _print(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(told), flush=True)  # noqa: T201 (this is the command line)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in told.items():
        shown = f"{value:,}" if isinstance(value, int) else value
        table.add_row(name.replace("_", " "), Text(shown))
    Console(highlight=False).print(table)


def _show(verdicts: Sequence[Verdict], tally: dict[str, int], *, as_json: bool) -> None:
    found = Counter(verdict.status for verdict in verdicts)
    if as_json:
        rows = [attrs.asdict(each) | {"row": each.row + 1} for each in verdicts]
        print(json.dumps({"settled": dict(found), "rows": rows, "tally": tally}))  # noqa: T201
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("row", "status", "id", "why"):
        table.add_column(name, no_wrap=name != "why", overflow="fold")
    for each in verdicts[:_SHOWN]:
        table.add_row(f"{each.row + 1:,}", each.status, each.id or "", Text(each.reason or ""))
    if verdicts:
        Console(highlight=False).print(table)
    if len(verdicts) > _SHOWN:
        warn(f"and {len(verdicts) - _SHOWN:,} rows more, which --json tells")
    _print({"looked for": len(verdicts), **tally}, as_json=False)
