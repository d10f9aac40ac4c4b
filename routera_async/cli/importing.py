"""`routera import FILE`: a help desk's export, row by row, into Routera."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Parameter
from rich.console import Console

from routera_async._codec import encode, to_fields
from routera_async._shapes import field_names, required_fields
from routera_async.bulk.engine import Outcome
from routera_async.bulk.mapping import Mapping
from routera_async.bulk.readers import Row, Source, open_source
from routera_async.bulk.report import RejectsFile
from routera_async.cli.failures import INTERRUPTED, REFUSED, UNKNOWN, USAGE
from routera_async.cli.kinds import KINDS, Kind, Plural
from routera_async.cli.progress import Watch, progress
from routera_async.cli.results import Reasons, print_notes, print_summary
from routera_async.cli.serving import running
from routera_async.cli.settings import UNTOLD, Connection, Settings
from routera_async.client import RouteraClient
from routera_async.errors import ConfigurationError, RouteraError, ValidationError, one_line
from routera_async.models import Record
from routera_async.sandbox import Sandbox

_MOST = 1_000
"""Creates under way at once: more would cost memory and win nothing."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Options:
    """What `routera import` may be told beside the file."""

    object: Annotated[
        Plural,
        Parameter(help="What a row is: tickets unless told, contacts, companies or deals."),
    ] = "tickets"
    map: Annotated[
        tuple[str, ...],
        Parameter(
            help="Fill FIELD from COLUMN: FIELD=COLUMN[:TYPE[:FORMAT]]. TYPE is text, number, "
            "checkbox, date or datetime; FORMAT is strptime's. Repeatable.",
        ),
    ] = ()
    set: Annotated[
        tuple[str, ...],
        Parameter(help="Give FIELD the same text in every row: FIELD=VALUE."),
    ] = ()
    template: Annotated[
        tuple[str, ...],
        Parameter(help="Make FIELD of several columns: FIELD='{category} {subcategory}'."),
    ] = ()
    mapping: Annotated[
        Path | None, Parameter(help="TOML file with the same under [map], [set], [template].")
    ] = None
    missing: Annotated[
        tuple[str, ...],
        Parameter(help="A text that means empty, as '?' does in some exports."),
    ] = ()
    concurrency: Annotated[
        int, Parameter(help="Creates under way at once, at the most; 32 unless told.")
    ] = 32
    limit: Annotated[int | None, Parameter(help="Read no more than this many rows.")] = None
    dry_run: Annotated[bool, Parameter(help="Check every row and send nothing.")] = False
    sandbox: Annotated[bool, Parameter(help="Import into a private sandbox instead.")] = False
    sandbox_db: Annotated[
        Path | None, Parameter(help="File that keeps the sandbox's records; implies --sandbox.")
    ] = None
    json: Annotated[bool, Parameter(help="Print the summary as one JSON object.")] = False

    def check(self) -> None:
        """Raise `ConfigurationError` for options that cannot be, alone or together."""
        if not 1 <= self.concurrency <= _MOST:
            raise ConfigurationError(f"--concurrency must be 1 to {_MOST:,}")
        if self.limit is not None and self.limit < 0:
            raise ConfigurationError("--limit must be 0 or more")

    def client(self, settings: Settings, **more: Any) -> RouteraClient:
        """Return a client of the real API; raises `ConfigurationError` when there is no token."""
        try:
            return settings.client(max_connections=self.connections, **more)
        except ConfigurationError as error:
            problem = f"{error} (to try it out without an account: --sandbox)"
        raise ConfigurationError(problem)

    @property
    def kind(self) -> Kind:
        """The kind of object that each row is."""
        return KINDS[self.object]

    @property
    def connections(self) -> int:
        """Connections that this concurrency needs."""
        return max(100, self.concurrency)

    @property
    def in_sandbox(self) -> bool:
        """Whether the import goes to a private sandbox."""
        return self.sandbox or self.sandbox_db is not None


def import_file(
    file: Annotated[
        Path, Parameter(help="CSV or JSONL file, plain or .gz: one record in each row.")
    ],
    /,
    *,
    options: Options = Options(),
    connection: Connection = UNTOLD,
) -> int:
    """Import a file of tickets, or of another kind of object.

    A row that is refused goes to FILE.rejects.csv (or .jsonl) with the reason, to be fixed and
    imported again with the same command.
    """
    options.check()
    settings = _settings(options, connection)
    work = Import.prepared(file, options)
    with work.rejects:
        if options.dry_run:
            work.rehearse()
        else:
            asyncio.run(_send(work, options, settings))
    return work.report()


def _settings(options: Options, connection: Connection) -> Settings | None:
    """Return the settings of an import into the API; what cannot work is told at once."""
    if options.in_sandbox and connection.given:
        option = min(connection.given).replace("_", "-")
        raise ConfigurationError(f"--sandbox and --{option} exclude each other: give one")
    if options.in_sandbox or options.dry_run:
        return None
    settings = connection.settings()
    options.client(settings)
    return settings


async def _send(work: "Import", options: Options, settings: Settings | None) -> None:
    async with _client(options, settings, work.watch) as client:
        await work.run(client)


class Import:
    """One import: what is read, how it is mapped, and what has become of it so far."""

    def __init__(self, source: Source, mapping: Mapping, options: Options) -> None:
        self.rejects = RejectsFile(source)
        self.watch = Watch(_total(source, options.limit))
        self._source = source
        self._mapping = mapping
        self._options = options
        self._console = Console(stderr=True, highlight=False)
        self._reasons = Reasons()
        self._stopping = False
        self._fault: RouteraError | None = None

    @classmethod
    def prepared(cls, file: Path, options: Options) -> "Import":
        """Read the file through once and settle the mapping.

        Raises `ConfigurationError` for whatever would make the import senseless, before any of it.
        """
        source = open_source(file)
        if fault := source.survey().fault:
            raise ConfigurationError(fault)
        mapping = Mapping.build(
            source.columns,
            known_fields=field_names(options.kind.new),
            maps=options.map,
            sets=options.set,
            templates=options.template,
            missing=options.missing,
            file=options.mapping,
        )
        _check_required(mapping, options.kind)
        work = cls(source, mapping, options)
        if unused := mapping.unused(source.columns):
            work.note(f"columns not imported: {', '.join(unused)}")
        return work

    def note(self, text: str) -> None:
        """Tell the person something, on standard error."""
        self._console.print(one_line(text), markup=False, soft_wrap=True)

    async def run(self, client: RouteraClient) -> None:
        """Create a record for each row, until the rows end, a fault stops it, or Ctrl-C does.

        The first Ctrl-C stops reading and lets what is under way finish; a second stops at once.
        """
        with progress(self.watch, self._console) as shown, self._heeding_signals():
            outcomes = self._options.kind.of(client).create_many(
                self._rows(), parse=self._parsed, concurrency=self._options.concurrency
            )
            try:
                async with aclosing(outcomes):
                    async for outcome in outcomes:
                        self._took(outcome)
                        shown.moved()
            except RouteraError as error:
                self._fault = error
            except asyncio.CancelledError:
                self._stopping = True
        self._close_the_books()

    def rehearse(self) -> None:
        """Check each row as `run` would, and send nothing: a good row ends as not sent."""
        for number, row in enumerate(self._rows()):
            try:
                encode(to_fields(self._parsed(row), self._options.kind.new))
                outcome = Outcome[Record](status="not_sent", row=number, given=row)
            except ValidationError as error:
                outcome = Outcome(status="rejected", row=number, error=error, given=row)
            self._took(outcome)
        self._close_the_books()

    def report(self) -> int:
        """Print what became of the rows, and return the exit status."""
        summary, options = self.watch.summary, self._options
        try:
            if options.json:
                print(json.dumps(summary.as_dict()), flush=True)  # noqa: T201
            else:
                print_summary(Console(highlight=False), summary, dry_run=options.dry_run)
        except OSError as error:  # a full disk, a closed pipe: what was imported stays imported
            sys.stdout = None
            self.note(f"the summary could not be written: {error.strerror}; it is")
            self.note(json.dumps(summary.as_dict()))
        print_notes(
            self.note,
            summary,
            self._reasons,
            keys=options.kind.new.unique,
            database=None if options.dry_run else options.sandbox_db,
        )
        unread = self.watch.total - summary.read
        if self._fault is not None:
            self.note(f"error: {self._fault}")
            self.note(f"stopped: {unread:,} rows were not read")
            return UNKNOWN if summary.created or summary.duplicate or summary.unknown else USAGE
        if self._stopping:
            self.note(f"interrupted: {unread:,} rows were not read; run the same command again")
            return INTERRUPTED
        if options.dry_run:
            return REFUSED if summary.rejected else 0
        return summary.exit_status

    def _rows(self) -> Iterator[Row]:
        for row in islice(self._source.rows(), self._options.limit):
            if self._stopping:
                return
            self.watch.summary.read += 1
            yield row

    def _parsed(self, row: Row) -> dict[str, Any]:
        if row.problem is not None:
            raise ValidationError(row.problem)
        return self._mapping.fields(row.values)

    def _took(self, outcome: Outcome[Record]) -> None:
        self.watch.done += 1
        self.watch.summary.add(outcome.status)
        if outcome.status in {"created", "duplicate"} or self._rehearsed(outcome):
            return
        reason = str(outcome.error)
        self._reasons.add(reason, outcome.given.line)
        self.rejects.write(outcome.given, outcome.status, reason)

    def _rehearsed(self, outcome: Outcome[Record]) -> bool:
        return self._options.dry_run and outcome.status == "not_sent"

    def _close_the_books(self) -> None:
        """Count what was cut off as unknown, and hold the tally to its law."""
        summary = self.watch.summary
        summary.unknown += summary.read - self.watch.done
        summary.seconds = self.watch.elapsed
        summary.rejects = str(self.rejects.path) if self.rejects.rows else None
        assert summary.conserves(), summary

    @contextmanager
    def _heeding_signals(self) -> Iterator[None]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop() -> None:
            if self._stopping:
                task.cancel()
            self._stopping = True

        heeded = []
        with suppress(
            NotImplementedError, RuntimeError, ValueError
        ):  # Windows; not the main thread
            for each in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(each, stop)
                heeded.append(each)
        try:
            yield
        finally:
            for each in heeded:
                loop.remove_signal_handler(each)


def _check_required(mapping: Mapping, kind: Kind) -> None:
    filled = {setting.field for setting in mapping.settings}
    how = "add --map {0}=COLUMN, --set {0}=VALUE or --template"
    for name in required_fields(kind.new):
        if name not in filled:
            raise ConfigurationError(
                f"nothing fills {name}, which every {kind.singular} needs: {how.format(name)}"
            )
    if kind.new.needs_one and filled.isdisjoint(kind.new.needs_one):
        names = ", ".join(kind.new.needs_one)
        raise ConfigurationError(
            f"nothing fills any of {names}, and every {kind.singular} needs one of them: "
            + how.format(kind.new.needs_one[0])
        )


def _total(source: Source, limit: int | None) -> int:
    rows = source.survey().rows
    return rows if limit is None else min(rows, limit)


@asynccontextmanager
async def _client(
    options: Options, settings: Settings | None, watch: Watch
) -> AsyncIterator[RouteraClient]:
    """Open a client for the real API, or for a sandbox that lives as long as it."""
    if settings is not None:
        async with options.client(settings, hooks=[watch]) as client:
            yield client
        return
    async with (
        running(
            Sandbox(any_field=True, db=options.sandbox_db or ":memory:", keep_requests=0)
        ) as sandbox,
        RouteraClient(
            sandbox.token,
            base_url=sandbox.url,
            hooks=[watch],
            max_connections=options.connections,
        ) as client,
    ):
        yield client
