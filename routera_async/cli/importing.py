"""`routera import FILE`: a help desk's export, row by row, into Routera."""

import asyncio
import json
import os
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Parameter
from rich.console import Console

from routera_async._inputs import ImportSettings, open_input
from routera_async._shapes import field_names
from routera_async.bulk.books import OnRepeat
from routera_async.bulk.engine import Outcome
from routera_async.bulk.many import Bulk
from routera_async.bulk.mapping import Mapping
from routera_async.cli.failures import INTERRUPTED, REFUSED, UNKNOWN, USAGE
from routera_async.cli.kinds import KINDS, Kind, Plural
from routera_async.cli.loop import run_async
from routera_async.cli.progress import Progress, Watch, console, progress
from routera_async.cli.results import Reasons, print_notes, print_summary
from routera_async.cli.serving import running
from routera_async.cli.settings import UNTOLD, Connection, Settings
from routera_async.client import RouteraClient
from routera_async.errors import (
    ConfigurationError,
    ForbiddenError,
    NotFoundError,
    UnauthorizedError,
    one_line,
)
from routera_async.events import Event
from routera_async.importing import FileImport, ImportProgress
from routera_async.sandbox import Sandbox

_MOST = 1_000
"""Creates under way at once: more would cost memory and win nothing."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}

SANDBOX = "sandbox "
"""What a journal's target begins with, when it is a sandbox's file."""

_WRONG = (ConfigurationError, UnauthorizedError, ForbiddenError, NotFoundError)
"""What stops an import because it was told something wrong."""


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
    rate: Annotated[
        float | None, Parameter(help="Requests a second, at the most, for accounts with a quota.")
    ] = None
    journal: Annotated[
        Path | None, Parameter(help="Where the import is written down; FILE.journal unless told.")
    ] = None
    no_journal: Annotated[
        bool, Parameter(help="Write nothing down: an import that is killed cannot be resumed.")
    ] = False
    no_key: Annotated[
        bool,
        Parameter(
            help="Give rows without an external_id none: a lost answer then leaves them unknown."
        ),
    ] = False
    on_repeat: Annotated[
        OnRepeat,
        Parameter(help="A row whose key an earlier row has: first (a duplicate) or reject."),
    ] = "first"
    give_up_after: Annotated[
        str, Parameter(help="How long an outage is waited out: 90s, 30m, 2h or never.")
    ] = "30m"
    quarantine: Annotated[
        str, Parameter(help="How long a lost request may still run; 60s unless told.")
    ] = "60s"
    canary: Annotated[
        int | None, Parameter(help="Send this many rows first, and ask before the rest.")
    ] = None
    yes: Annotated[bool, Parameter(help="Do not ask: go on after the canary.")] = False
    max_rejects: Annotated[
        str | None,
        Parameter(help="Stop when more rows are rejected: a number, or 5%."),
    ] = None
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
        if self.no_journal and self.journal is not None:
            raise ConfigurationError("--journal and --no-journal exclude each other: give one")
        if self._vanishes and self.journal is not None:
            raise ConfigurationError(
                "--sandbox forgets its records, and --journal does not: give --sandbox-db FILE"
            )
        self.settings()

    @property
    def _vanishes(self) -> bool:
        """Whether what is imported is gone when the command ends."""
        return self.sandbox and self.sandbox_db is None

    def settings(self) -> ImportSettings:
        """Return how the file is imported; raises `ConfigurationError` for what cannot be."""
        try:
            return self._settings()
        except ConfigurationError as error:  # names a setting, where people know the option
            name, must, rest = str(error).partition(" must be ")
            option = name if name.startswith("--") else f"--{name.replace('_', '-')}"
            problem = f"{option}{must}{rest}" if must else str(error)
        raise ConfigurationError(problem)

    def _settings(self) -> ImportSettings:
        return ImportSettings(
            object=self.object,
            concurrency=self.concurrency,
            limit=self.limit,
            max_rejects=self.max_rejects,
            canary=self.canary,
            journal=self.journal or not (self.no_journal or self._vanishes),
            target=f"{SANDBOX}{self.sandbox_db.resolve()}" if self.sandbox_db else None,
            bulk=Bulk(
                give_up_after=_seconds("--give-up-after", self.give_up_after),
                rate=self.rate,
                on_repeat=self.on_repeat,
                derive_keys=not self.no_key,
                quarantine=bounded_seconds("--quarantine", self.quarantine),
            ),
        )

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
    if options.journal is not None and options.journal.resolve() == file.resolve():
        raise ConfigurationError("--journal must be another file than the input")
    settings = _settings(options, connection)
    shown = Shown.prepared(file, options, settings)
    if options.dry_run:
        shown.work.rehearse()
    else:
        run_async(_send(shown, options, settings))
    return shown.report()


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


async def _send(shown: "Shown", options: Options, settings: Settings | None) -> None:
    async with _client(options, settings) as client, shown.work.opened(client):
        await shown.run(client)


class Shown:
    """An import as a person follows it: the bar, Ctrl-C, the summary and what to do next."""

    def __init__(self, work: FileImport, options: Options, connection: Settings | None) -> None:
        self.work = work
        self._options = options
        self._connection = connection
        self._console = console()
        self._reasons = Reasons()
        bulk = options.settings().bulk
        self._watch = Watch(work.total, work.summary, give_up_after=bulk.give_up_after)
        self._shown: Progress | None = None
        work.on_outcome = self._took
        work.hooks = (self._watch, self._heard)
        work.confirm = self._confirm

    @classmethod
    def prepared(cls, file: Path, options: Options, connection: Settings | None) -> "Shown":
        """Read the file through, unless an earlier run has, and settle the mapping."""
        settings = options.settings()
        source = open_input(file, settings)
        mapping = Mapping.build(
            source.columns,
            known_fields=field_names(options.kind.new),
            maps=options.map,
            sets=options.set,
            templates=options.template,
            missing=options.missing,
            file=options.mapping,
        )
        work = FileImport.prepared(source, mapping=mapping, settings=settings)
        shown = cls(work, options, connection)
        if work.unused:
            shown.note(f"columns not imported: {', '.join(work.unused)}")
        return shown

    def note(self, text: str) -> None:
        """Tell the person something, on standard error."""
        self._console.print(one_line(text), markup=False, soft_wrap=True)

    async def run(self, client: RouteraClient) -> None:
        """Import, and heed Ctrl-C: the first lets what is under way finish, a second stops."""
        with progress(self._watch, self._console) as self._shown, self._heeding_signals():
            await self.work.run(client)

    def report(self) -> int:
        """Print what became of the rows, and return the exit status."""
        work, options = self.work, self._options
        summary = work.summary
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
        if summary.resumed:
            self.note(
                f"{summary.resumed:,} rows were done by an earlier run, as {summary.journal} tells"
            )
        if options.dry_run:
            return REFUSED if summary.rejected else 0
        return self._ended()

    def _ended(self) -> int:
        """Tell why an import has ended before its rows did, and how to go on."""
        work, summary = self.work, self.work.summary
        if work.fault is not None:
            advice = self._connection.advice(work.fault) if self._connection else ""
            self.note(f"error: {work.fault}{advice}")
            self._tell_the_rest("stopped")
            something = summary.created or summary.duplicate or summary.unknown
            return USAGE if isinstance(work.fault, _WRONG) and not something else UNKNOWN
        if work.stopped:
            self._tell_the_rest("interrupted")
            return INTERRUPTED
        if work.declined:
            self._tell_the_rest("stopped after the canary", "with --yes")
            return UNKNOWN
        return summary.exit_status

    def _tell_the_rest(self, why: str, how: str = "") -> None:
        again = f"run the same command again {how}".rstrip()
        if self.work.summary.journal is not None:
            again += ": it goes on where it was"
        unsent = self.work.unread + self.work.summary.not_sent
        rows = "1 row was" if unsent == 1 else f"{unsent:,} rows were"
        self.note(f"{why}: {rows} not sent; {again}")

    def _took(self, outcome: Outcome[Any]) -> None:
        self._watch.told(outcome)
        if not self._is_well(outcome):
            self._reasons.add(str(outcome.error or outcome.reason), outcome.given.line)
        if self._shown is not None:
            self._shown.moved()

    def _is_well(self, outcome: Outcome[Any]) -> bool:
        """Say whether nobody need be told why; what repeats another row is told by a dry run."""
        well = {"created", "not_sent"} if self._options.dry_run else {"created", "duplicate"}
        return outcome.status in well

    def _heard(self, _: Event) -> None:
        if self._shown is not None:
            self._shown.moved()

    async def _confirm(self, _: ImportProgress) -> bool:
        if self._options.yes or self._shown is None:
            return True
        with self._shown.hidden():
            self.note(self._watch.line())
            if sys.stdin is None or not sys.stdin.isatty():
                return False
            self._console.print("go on with the rest? [y/N] ", end="", markup=False)
            return (await _answer()).strip().lower() in {"y", "yes"}

    @contextmanager
    def _heeding_signals(self) -> Iterator[None]:
        loop, heeded = asyncio.get_running_loop(), []

        def stop() -> None:
            if not self.work.stopped:
                self.note("stopping: what is under way has 30 seconds; again to stop at once")
            self.work.stop()

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


def _seconds(option: str, text: str) -> float | None:
    """Read a duration such as 30m; None for "never"."""
    if text == "never":
        return None
    if not (match := _DURATION.fullmatch(text.strip().lower())):
        raise ConfigurationError(f"{option} must be a duration such as 90s, 30m or 2h: {text!r}")
    return float(match[1]) * _SECONDS[match[2]]


def bounded_seconds(option: str, text: str) -> float:
    """Read a duration such as 30m; raises `ConfigurationError` for any other text."""
    if (seconds := _seconds(option, text)) is None:
        raise ConfigurationError(f"{option} must be a duration such as 90s, 30m or 2h: {text!r}")
    return seconds


async def _answer() -> str:
    """Return the next line of the terminal; nobody waits for it any more after Ctrl-C."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    def told(line: bytes) -> None:
        if not answer.done():
            answer.set_result(line)

    def read() -> None:
        line = os.read(sys.stdin.fileno(), 1000)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(told, line)

    threading.Thread(target=read, daemon=True).start()
    return (await answer).decode(errors="replace")


@asynccontextmanager
async def _client(options: Options, settings: Settings | None) -> AsyncIterator[RouteraClient]:
    """Open a client for the real API, or for a sandbox that lives as long as it."""
    if settings is not None:
        async with options.client(settings) as client:
            yield client
        return
    async with (
        running(
            Sandbox(any_field=True, db=options.sandbox_db or ":memory:", keep_requests=0)
        ) as sandbox,
        RouteraClient(
            sandbox.token,
            base_url=sandbox.url,
            max_connections=options.connections,
        ) as client,
    ):
        yield client
