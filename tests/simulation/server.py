"""The simulated Routera: a strict HTTP parser before the sandbox's own Api and Store.

The store is the oracle: what it holds after a run is what was really created. What happens around
a commit is drawn, for each request, from `faults.FAULTS`.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from routera_async.sandbox.app import ACCOUNT, Answer, Api, Call
from routera_async.sandbox.fields import TICKETS
from routera_async.sandbox.store import Store
from routera_async.sandbox.tokens import Credentials, Tokens

from .network import Network, Wire
from .world import EPOCH, MARKER, Row, Seen

HOST = "api.routera.io"
ELSEWHERE = "elsewhere.example"
"""Where a redirect would lead to, and where nothing of ours may arrive."""

TOKEN_ROUTE = ("POST", "/oauth2/token")

CLIENT_ID, CLIENT_SECRET = "simulated", "a-secret-that-no-other-origin-may-see"

_HEAD = re.compile(rb"([A-Z]+) (/\S*) HTTP/1\.1")
_FIELD = re.compile(rb"([!#-'*+.^-z|~0-9A-Z-]+): ([\x20-\x7e\x80-\xff]*)")


class Malformed(ValueError):  # noqa: N818 (what a request is)
    """The client wrote what is no request."""


@attrs.frozen
class Request:
    """One request as it arrived; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def token(self) -> str:
        """Return the bearer token."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")


def read(data: bytes) -> Request | None:
    """Return the request that bytes are, or None while it is not whole; raises `Malformed`."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = head.split(b"\r\n")
    line = _HEAD.fullmatch(first)
    fields = [_FIELD.fullmatch(each) for each in lines]
    if line is None or None in fields:
        raise Malformed(f"no HTTP request: {head!r}")
    headers = {each[1].decode().lower(): each[2].decode() for each in fields if each}
    length = int(headers.get("content-length", "0"))
    if len(headers) < len(lines) or "transfer-encoding" in headers or len(body) > length:
        raise Malformed(f"a header twice, a chunked or an overlong body: {data!r}")
    if len(body) < length:
        return None
    return Request(line[1].decode(), line[2].decode(), headers, body)


def written(status: int, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """Return the bytes of an answer; `length` is the one announced, if not the body's."""
    announced = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status} Simulated", f"Content-Length: {announced}", *headers]
    return "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode() + body


class Exchange:
    """One whole request at the server, and what a fault may do with it."""

    def __init__(
        self,
        server: "Server",
        peer: "ServerPeer",
        request: Request,
        seen: Seen,
        row: Row | None,
    ) -> None:
        self.server = server
        self.row = row
        self.request = request
        self.rng = server.rng
        self.patience = server.patience
        self.seen = seen
        self.life = peer.wire.life
        self._peer = peer

    def later(self, seconds: float, do: Callable[..., None], *args: Any) -> None:
        """Do something after a while, whether the client still waits or not."""
        when = self.server.world.loop.time() + seconds
        self.server.horizon = max(self.server.horizon, when)
        self.server.world.at(when, do, *args)

    def commit(self) -> Answer:
        """Do what is asked for, and return what the API answers to it."""
        answer = self.server.ask(self.request)
        self.server.did(self, answer)
        return answer

    def reply(self, status: int, body: bytes = b"{}", *headers: str) -> None:
        """Answer in full; the connection stays open."""
        self.whole(written(status, body, *headers, *self.server.always()), status)

    def whole(self, data: bytes, status: int) -> None:
        """Send these bytes, which are all of an answer, or its rest."""
        self.seen.status = status
        self.send(data)
        self._peer.wire.then(0.0, self._peer.answered)

    def send(self, data: bytes) -> None:
        """Send some bytes of an answer."""
        self._peer.wire.send(data)

    def pause(self, seconds: float) -> None:
        """Let this much pass before what is sent next."""
        self._peer.wire.then(seconds, _nothing)

    def finish(self) -> None:
        """Close the connection in order."""
        self._peer.closed = True
        self._peer.wire.finish()

    def reset(self) -> None:
        """Tear the connection down."""
        self._peer.closed = True
        self._peer.wire.reset()


Fault = Callable[[Exchange], None]


class ServerPeer:
    """The server's end of one connection."""

    def __init__(self, server: "Server", wire: Wire) -> None:
        self.wire = wire
        self.exchange: Exchange | None = None
        self.closed = False
        self._server = server
        self._data = bytearray()

    def received(self, data: bytes) -> None:
        """Take bytes; a request that is whole is begun. A closed connection answers with a RST."""
        if self.closed:
            self.wire.reset()
            return
        if self.exchange is not None:
            self._server.world.wrong(None, "I10 reused", f"{data[:80]!r} before the answer's end")
            return
        self._data += data
        try:
            request = read(bytes(self._data))
        except Malformed as error:
            self._server.world.wrong(None, "wire", str(error))
            return
        if request is not None:
            self._data.clear()
            self._server.begin(self, request)

    def left(self) -> None:
        """Close as well: what was begun still goes on."""
        self.closed = True

    def answered(self) -> None:
        """Make the connection ready for the next request, or let it go stale."""
        if self.exchange is not None:
            self.exchange.seen.answered = self._server.world.loop.time()
            self.exchange = None
        fate = self._server.idle_fate()
        if fate is not None:
            seconds, word = fate
            world = self._server.world
            world.at(world.loop.time() + seconds, self._hang_up, word)

    def _hang_up(self, word: bytes) -> None:
        """Close an idle connection, perhaps with a word that nobody asked for."""
        if self.exchange is None and not self.closed and not self._data:
            self.closed = True
            if word:
                self.wire.send(word)
            self.wire.finish()


class Server:
    """The account's API over one store in memory, and the faults of this run.

    `mix` are the faults and `often` the share of requests that meet one; `stale` the share of
    connections that are closed while they are idle; `outage` when everything fails. `grants` are
    the faults of the token route and `ungranted` the share of its requests that meet one; a token
    lasts `life` seconds.
    """

    def __init__(
        self,
        net: Network,
        *,
        mix: dict[str, Fault],
        often: float,
        stale: float,
        patience: float,
        most: int,
        renews: bool,
        grants: dict[str, Fault],
        ungranted: float,
        life: int,
    ) -> None:
        self.world = net.world
        self.rng = net.world.stream("server")
        self.patience = patience
        self.renews = renews
        self.horizon = 0.0
        self.revoked: set[str] = set()
        self.store = Store(":memory:")
        self._net = net
        self._mix = mix
        self._often = often
        self._stale = stale
        self._most = most
        self._grants = grants
        self._ungranted = ungranted
        self._api, self._tokens = self._serve(life)
        self._rows: dict[str, Row] = {}
        self._bodies: dict[str, bytes] = {}
        net.hosts[HOST] = lambda wire: ServerPeer(self, wire)
        net.hosts[ELSEWHERE] = lambda wire: _Trap(self, wire)

    def know(self, rows: Iterable[Row]) -> None:
        """Learn which rows there are."""
        self._rows = {row.marker: row for row in rows}

    def mint(self) -> str:
        """Return a token that is valid now."""
        return self._tokens.mint(account_id=ACCOUNT, client_id=CLIENT_ID, ttl=self._tokens.ttl)

    def ask(self, request: Request, *, authorization: str | None = None) -> Answer:
        """Return the API's own answer: by then it is committed."""
        shown = request.headers.get("authorization", "")
        if request.token in self.revoked:
            shown = ""
        path, _, query = request.target.partition("?")
        given = shown if authorization is None else authorization
        return self._api.answer(Call(request.method, path, query, given, request.body))

    def insert(self, **fields: Any) -> None:
        """Create a record that is somebody else's."""
        fields = {"ticket_name": "theirs", "pipeline": "p", "ticket_stage": "s"} | fields
        headers = {"authorization": f"Bearer {self.mint()}"}
        body = json.dumps({"fields": fields}).encode()
        assert self.ask(Request("POST", "/tickets", headers, body)).status == 201

    def did(self, exchange: Exchange, answer: Answer) -> None:
        """Take note of what was done."""

    def always(self) -> tuple[str, ...]:
        """Return the headers of every whole answer."""
        return ()

    def idle_fate(self) -> tuple[float, bytes] | None:
        """Draw whether an idle connection is closed, after how long, and with which last word."""
        if self.rng.random() >= self._stale:
            return None
        word = b"" if self.rng.random() < 0.8 else written(408, b"{}", "Connection: close")
        return self.rng.choice((0.0, 0.02, 0.2, 2.0)) * self.rng.random(), word

    def begin(self, peer: ServerPeer, request: Request) -> None:
        """Take a request up: note whose it is, and draw what becomes of it."""
        loop = self.world.loop
        grant = (request.method, request.target) == TOKEN_ROUTE
        row = None if grant else self._whose(request)
        mix, often = (self._grants, self._ungranted) if grant else (self._mix, self._often)
        name = self.rng.choice(list(mix)) if self.rng.random() < often else "ok"
        seen = Seen(loop.time(), name, request.token)
        if row is not None:
            row.seen.append(seen)
        self.world.note(row, f"{request.method} {request.target} meets {name}")
        self.world.faults[name] = self.world.faults.get(name, 0) + 1
        peer.exchange = exchange = Exchange(self, peer, request, seen, row)
        self._count()
        do = mix[name] if name != "ok" else _plainly
        exchange.later(self.rng.uniform(0.0, 0.03), do, exchange)

    def _serve(self, life: int) -> tuple[Api, Tokens]:
        def clock() -> float:
            return EPOCH + self.world.loop.time()

        tokens = Tokens("simulated" * 4, ttl=life, clock=clock)
        api = Api(
            store=self.store,
            tokens=tokens,
            credentials=Credentials(CLIENT_ID, CLIENT_SECRET),
            object_types=[TICKETS.with_custom((), any_field=True)],
            clock=clock,
        )
        return api, tokens

    def _whose(self, request: Request) -> Row | None:
        """Return the row of a request; a request that no row explains is a violation."""
        if (request.method, request.target) != ("POST", "/tickets"):
            self.world.wrong(None, "wire", f"nobody asked for {request.method} {request.target}")
            return None
        marker = json.loads(request.body)["fields"][MARKER]
        row = self._rows[marker]
        if self._bodies.setdefault(marker, request.body) != request.body:
            self.world.wrong(row, "I8 body", "two attempts differ in what they ask for")
        return row

    def _count(self) -> None:
        """Check I11: of the requests under way, only those count that the client waits for."""
        peers = [wire.peer for wire in self._net.wires if wire.open]
        under_way = [each.exchange for each in peers if isinstance(each, ServerPeer)]
        waiting = sum(each is not None and each.row is not None for each in under_way)
        if waiting > self._most:
            self.world.wrong(None, "I11 in flight", f"{waiting} requests, at most {self._most}")


class _Trap:
    """Another origin: whatever arrives there is a violation."""

    def __init__(self, server: Server, wire: Wire) -> None:
        self._server = server
        self._wire = wire

    def received(self, data: bytes) -> None:
        what = "the token" if b"uthorization" in data else "a request"
        self._server.world.wrong(None, "I9 origin", f"{what} went to {ELSEWHERE}")
        self._wire.reset()

    def left(self) -> None:
        """Take note of nothing."""


def _plainly(exchange: Exchange) -> None:
    answer = exchange.commit()
    exchange.reply(answer.status, answer.body)


def _nothing() -> None:
    pass
