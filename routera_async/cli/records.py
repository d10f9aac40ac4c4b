"""`routera tickets|contacts|companies|deals`: one set of commands, for each kind of object."""

import inspect
import re
import sys
from collections import deque
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import App, Parameter, validators

from routera_async._listing import LARGEST_PAGE, Listing
from routera_async._shapes import field_names
from routera_async.cli.calls import connected
from routera_async.cli.failures import REFUSED, UNKNOWN, Failed, failed, warn
from routera_async.cli.fields import fields_of
from routera_async.cli.kinds import KINDS, Kind
from routera_async.cli.output import Format, Rows, rows, show
from routera_async.cli.settings import UNTOLD, Connection
from routera_async.errors import (
    BadRequestError,
    ConfigurationError,
    NotFoundError,
    ValidationError,
    one_line,
)
from routera_async.resources import Objects

Properties = Annotated[
    tuple[str, ...],
    Parameter(name="--properties", help="Fields to print beside the default ones: A,B."),
]
Sets = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        help="Give FIELD a text, FIELD=VALUE, or FIELD:TYPE=VALUE; TYPE is text, number, checkbox, "
        "date, datetime (these two also as date:FORMAT, strptime's) or json. Repeatable.",
    ),
]
Json = Annotated[
    Path | None,
    Parameter(
        name="--json",
        help="File with one JSON object of fields, or - for standard input; --set goes over it.",
        allow_leading_hyphen=True,
    ),
]
Archived = Annotated[bool, Parameter(name="--archived", help="List archived ones too.")]
Limit = Annotated[
    int | None,
    Parameter(
        name="--limit", help="List no more than this many.", validator=validators.Number(gte=1)
    ),
]
Id = Annotated[str, Parameter(help="Its id, as the API gives it.")]
Ids = Annotated[list[str], Parameter(help="Their ids, one or more.")]

_SELDOM = ("created_at", "updated_at", "archived_by")
"""What a table of many leaves out, beside `archived` when only active ones are listed."""

_BREAK = re.compile(r"(?<!\n)\n(?!\n)")
"""A line's end within a paragraph."""


@attrs.frozen
class Commands:
    """The commands for one kind of object; {objects} and {object} stand for its names in help."""

    kind: Kind

    def app(self) -> App:
        """Return them as one app."""
        names = {"objects": self.kind.plural, "object": self.kind.singular}
        app = App(name=self.kind.plural)
        for order, verb in enumerate(("list", "get", "create", "update", "archive", "find")):
            command = getattr(self, verb)
            told = (inspect.getdoc(command) or "").format(**names)
            told = _BREAK.sub(" ", told)  # a terminal has a width of its own
            app.command(command, name=verb, help=told, sort_key=order)
        return app

    async def list(
        self,
        *,
        properties: Properties = (),
        archived: Archived = False,
        limit: Limit = None,
        format: Format = None,  # noqa: A002 (the option's name)
        connection: Connection = UNTOLD,
    ) -> int:
        """List {objects}: all that are active, unless told.

        They are printed as they are read, a page at a time. A table leaves out the times, and a
        column that is empty in all of the first hundred.
        """
        asked = names_in(properties)
        seldom = _SELDOM if archived else (*_SELDOM, "archived")
        printed = rows(format, [*field_names(self.kind.record)], seldom=seldom, asked=asked)
        async with connected(connection) as client:
            await print_all(
                self.kind.of(client).list(
                    properties=asked,
                    archived=archived,
                    page_size=min(limit or LARGEST_PAGE, LARGEST_PAGE),
                ),
                printed,
                limit,
            )
        return 0

    async def get(
        self,
        id: Id,  # noqa: A002 (the API's)
        /,
        *,
        properties: Properties = (),
        format: Format = None,  # noqa: A002 (the option's name)
        connection: Connection = UNTOLD,
    ) -> int:
        """Print one {object} whole, archived or not."""
        async with connected(connection) as client:
            asked = names_in(properties)
            show(format, await self.kind.of(client).get(id, properties=asked), asked=asked)
        return 0

    async def create(
        self,
        *,
        set: Sets = (),  # noqa: A002 (the option's name)
        json: Json = None,
        properties: Properties = (),
        format: Format = None,  # noqa: A002 (the option's name)
        connection: Connection = UNTOLD,
    ) -> int:
        """Create one {object}, and print it as the server holds it.

        With an external_id it is safe to run again: what is there already is refused.
        """
        fields, asked = fields_of(set, file=json), names_in(properties)
        async with connected(connection, writes=True) as client:
            created = await self.kind.of(client).create(fields, properties=asked)
        show(format, created, asked=asked)
        return 0

    async def update(
        self,
        id: Id,  # noqa: A002 (the API's)
        /,
        *,
        set: Sets = (),  # noqa: A002 (the option's name)
        clear: Annotated[
            tuple[str, ...], Parameter(help="Empty FIELD: it is sent as null. Repeatable.")
        ] = (),
        json: Json = None,
        properties: Properties = (),
        format: Format = None,  # noqa: A002 (the option's name)
        connection: Connection = UNTOLD,
    ) -> int:
        """Change some fields of one {object}, and print it; the rest stays as it is."""
        changes, asked = fields_of(set, clear, json), names_in(properties)
        if not changes:
            raise ConfigurationError("nothing to change: give --set, --clear or --json")
        async with connected(connection, writes=True) as client:
            updated = await self.kind.of(client).update(id, changes, properties=asked)
        show(format, updated, asked=asked)
        return 0

    async def archive(
        self,
        ids: Ids,
        /,
        *,
        format: Format = None,  # noqa: A002 (the option's name)
        connection: Connection = UNTOLD,
    ) -> int:
        """Archive {objects}, one after another, and print each.

        One that is refused is told and passed over; any other failure stops before the next.
        """
        printed, waiting = rows(format, [*field_names(self.kind.record)]), deque(ids)
        statuses: set[int] = set()
        async with connected(connection, writes=True) as client:
            try:
                while waiting:
                    statuses.add(await _archived(self.kind.of(client), waiting[0], printed))
                    waiting.popleft()
            finally:
                printed.end()
                if len(waiting) > 1:
                    warn(f"{len(waiting) - 1:,} more were not tried")
        if UNKNOWN in statuses:
            return UNKNOWN
        return statuses.pop() if len(statuses) == 1 else REFUSED

    async def find(
        self,
        external_id: Annotated[str, Parameter(help="The key of your own that it has.")],
        /,
        *,
        properties: Properties = (),
        format: Format = None,  # noqa: A002 (the option's name)
        connection: Connection = UNTOLD,
    ) -> int:
        """Print the active {object} with this external_id.

        The API has no look-up: this reads the list, a hundred a request, until it is found.
        """
        asked = names_in(properties)
        async with connected(connection) as client:
            found = await self.kind.of(client).find(external_id, properties=asked)
        if found is None:
            raise Failed(f"no active {self.kind.singular} has this external_id", REFUSED)
        show(format, found, asked=asked)
        return 0


async def print_all(listing: Listing[Any], printed: Rows, limit: int | None) -> None:
    """Print a list as it is read, up to a limit."""
    left, nothing = sys.maxsize if limit is None else limit, True
    async for page in listing.pages():
        for record in page.records[:left]:
            printed.add(record)
            nothing = False
        sys.stdout.flush()
        left -= len(page.records)
        if left <= 0:
            break
    printed.end()
    if nothing and sys.stdout.isatty():
        warn("none")


def names_in(properties: tuple[str, ...]) -> list[str]:
    """Return the names in `A,B`, each once."""
    names = (name.strip() for text in properties for name in text.split(","))
    return list(dict.fromkeys(filter(None, names)))


async def _archived(objects: Objects[Any, Any], record_id: str, printed: Rows) -> int:
    try:
        printed.add(await objects.archive(record_id))
    except (NotFoundError, BadRequestError, ValidationError) as error:
        problem = failed(error, writes=True)
        warn(f"error: {one_line(record_id, 80)}: {problem}")
        return problem.status
    return 0


tickets, contacts, companies, deals = (Commands(kind).app() for kind in KINDS.values())
