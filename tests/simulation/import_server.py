"""The simulated Routera of an import: it is listed, tells the time, and outlives its clients."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from email.utils import formatdate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from routera_async.sandbox.app import Answer
from tests.bulk.journal_crash import as_left, laid

from .server import Exchange, Request, Server, ServerPeer
from .world import EPOCH, MARKER, Row


class ImportServer(Server):
    """Knows which life of the client each request and each record is of.

    `made` are the ids of the records of each marker, with the life whose request made it;
    `arrived` the lives from which each row was asked for; `intended` says whether a life has
    written down that it sends a row.
    """

    intended: Callable[[int, Row], bool]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made: dict[str, dict[str, int]] = {}
        self.arrived: dict[int, set[int]] = {}
        self.transient: dict[str, int] = {}

    def clear_up(self) -> None:
        """Let nothing go wrong from now on."""
        self._often = self._stale = 0.0

    def always(self) -> tuple[str, ...]:
        """Return the server's time, in whole seconds."""
        return (f"Date: {formatdate(EPOCH + self.world.loop.time(), usegmt=True)}",)

    def did(self, exchange: Exchange, answer: Answer) -> None:
        """Note which life's request has made a record, and which repeats the policy may allow."""
        if exchange.request.method == "POST" and answer.status == 201:
            marker = json.loads(exchange.request.body)["fields"][MARKER]
            self.transient[marker] = self.transient.get(marker, 0) + 1
            self.made.setdefault(marker, {})[json.loads(answer.body)["id"]] = exchange.life

    def begin(self, peer: ServerPeer, request: Request) -> None:
        """Take a request up; check I7 of a create."""
        if request.method == "POST":
            life = peer.wire.life
            for row in self._rows_of(request):
                self.arrived.setdefault(row.number, set()).add(life)
            if not any(self.intended(life, row) for row in self._rows_of(request)):
                self.world.wrong(self._whose(request), "I7 intent", "sent, and not written down")
        super().begin(peer, request)

    def _rows_of(self, request: Request) -> list[Row]:
        """Return the rows that a request may be of: more than one when nothing tells them apart."""
        marker = json.loads(request.body)["fields"][MARKER]
        return [row for row in self.world.rows if row.marker == marker]

    def _whose(self, request: Request) -> Row | None:
        if request.method == "GET" and request.target.startswith("/tickets?"):
            return None
        return super()._whose(request)

    @staticmethod
    def on_disk(journal: Path, row: int) -> bool:
        """Say whether a journal's files, as they are now, tell that a row may have been sent."""
        with TemporaryDirectory(dir=journal.parent) as folder:
            copy = laid(Path(folder) / "copy", as_left(journal))
            with closing(sqlite3.connect(copy)) as db:
                found = db.execute("SELECT attempts FROM rows WHERE row = ?", (row,)).fetchone()
        return found is not None and found[0] > 0
