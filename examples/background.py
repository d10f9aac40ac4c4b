"""Imports in the background of a service: begun by a request, watched by others, ended with it.

Used by fastapi_app.py, starlette_app.py and aiohttp_app.py. Each import is a folder of its own,
with the CSV file, its journal and, where rows are rejected, their file. What a restart cuts off
goes on where it was: nothing is lost, and nothing is created twice. The folder that holds them all
is one process's; of what a second one finds there it waits for what the first has under way.
"""

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import attrs

from routera_async import (
    ConfigurationError,
    ImportProgress,
    RouteraClient,
    RouteraError,
    Summary,
    import_file,
)

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds before an import is tried again that another process has under way."""

IN_USE = "is in use by another import"
"""What the error says then."""


class UnfitError(Exception):
    """The file itself is at fault, so that to try again is no use; it says what may be wrong."""


def unfit(error: RouteraError, path: Path) -> str | None:
    """Say what may be wrong with a file, or None where it is not at fault.

    An import that has a journal has taken the file and its columns.
    """
    journal = path.with_name(f"{path.name}.journal")
    if not isinstance(error, ConfigurationError) or journal.exists():
        return None
    if not os.access(path, os.R_OK):
        return None
    if str(error).startswith(f"{path}: "):
        return "is it a CSV file, in UTF-8, with the names of its columns on the first line?"
    return "are its columns named like a ticket's fields?"


@dataclass
class Import:
    """One import, and how far it was when it last said so."""

    task: asyncio.Task[Summary]
    progress: ImportProgress | None = None
    is_elsewhere: bool = False

    def moved(self, progress: ImportProgress) -> None:
        """Take note of how far it is."""
        self.progress = progress

    def state(self) -> str:
        """Say in a word or a line how it stands."""
        if self.is_elsewhere:
            return "running elsewhere"
        if not self.task.done():
            return "running" if self.progress else "waiting"
        if self.task.cancelled():
            return "stopped"
        match self.task.exception():
            case None:
                return "done"
            case UnfitError() as error:
                return f"failed: {error}"
        return "failed"  # why is for the log: it may name a host or a setting of ours


class Imports:
    """The imports of a service, one at a time.

    So at most 32 of the client's connections are an import's, and requests always have the others.
    """

    def __init__(self, routera: RouteraClient, folder: Path) -> None:
        self._routera = routera
        self._folder = folder
        self._imports: dict[str, Import] = {}
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Go on with what was cut off; of what was done already nothing is sent again."""
        for path in sorted(self._folder.glob("*/tickets.csv")):
            self._begin(path)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop at once: the journals know where to go on."""
        tasks = [each.task for each in self._imports.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def add(self, chunks: AsyncIterable[bytes]) -> str:
        """Save a CSV file as it arrives, begin to import it, and return the import's name."""
        name = uuid4().hex
        path = self._folder / name / "tickets.csv"
        path.parent.mkdir(parents=True)
        arriving = path.with_suffix(".part")
        try:
            with arriving.open("wb") as file:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
            arriving.rename(path)
        except BaseException:  # its sender has gone, or the service ends
            shutil.rmtree(path.parent)
            raise
        self._begin(path)
        return name

    def told(self, name: str) -> dict[str, Any] | None:
        """Say how an import stands, or None when there is none of this name.

        Where its files are is nobody else's business.
        """
        if (found := self._imports.get(name)) is None:
            return None
        told = {"state": found.state()}
        if found.progress is None:
            return told
        summary = found.task.result() if told["state"] == "done" else found.progress.summary
        tally = attrs.asdict(summary, filter=attrs.filters.exclude("journal", "rejects"))
        return told | {"total": found.progress.total} | tally

    def _begin(self, path: Path) -> None:
        task = asyncio.create_task(self._run(path))
        self._imports[path.parent.name] = Import(task)

    async def _run(self, path: Path) -> Summary:
        note = path.with_suffix(".failed")
        if note.exists():
            raise UnfitError(note.read_text())
        try:
            return await self._imported(path)
        except RouteraError as error:
            log.exception("an import has failed: %s", path)
            if (why := unfit(error, path)) is None:
                raise  # the next start tries again
            note.write_text(why)
            raise UnfitError(why) from error

    async def _imported(self, path: Path) -> Summary:
        own = self._imports[path.parent.name]
        while True:
            async with self._turn:
                own.is_elsewhere = False
                try:
                    return await import_file(self._routera, path, on_progress=own.moved)
                except ConfigurationError as error:
                    if IN_USE not in str(error):
                        raise
            own.is_elsewhere = True
            await asyncio.sleep(PAUSE)
