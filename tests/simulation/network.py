"""Connections in memory, and aiohttp's connector on them.

aiohttp's `ResponseHandler` (its client's parser) is the protocol at one end. `_Simulated`
overrides the private `BaseConnector._create_connection`, the one place where aiohttp opens a
connection: pinned here, for tests only (aiohttp 3.14).
"""

import asyncio
import contextlib
import errno
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import aiohttp.connector
import attrs
from aiohttp import (
    BaseConnector,
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
)
from aiohttp.client_proto import ResponseHandler

from routera_async._pool import WaryConnector

from .world import ROW, World

SLOWEST = 0.05
"""Seconds that a segment takes at the most, on its way."""


class Peer(Protocol):
    """The server's end of a connection."""

    def received(self, data: bytes) -> None:
        """Take bytes from the client."""

    def left(self) -> None:
        """Learn that the client has closed."""


@attrs.frozen
class Weather:
    """How connecting goes: the fate of a share of the connects, and for all until `outage` ends."""

    bad: float = 0.0
    fates: tuple[str, ...] = ("refused", "hang", "dns", "tls", "certificate", "slow")
    outage: tuple[float, float] = (0.0, 0.0)
    split: float = 0.1
    """How often a segment is cut in two."""


class _Pipe:
    """One direction of a connection: what is put in comes out later, in order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._last = 0.0
        self._queue: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    def put(self, delay: float, deliver: Callable[..., None], *args: Any) -> None:
        """Have `deliver` called after `delay` seconds, and never before what was put earlier."""
        self._at(max(self._last, self._world.loop.time() + delay), deliver, *args)

    def then(self, delay: float, deliver: Callable[..., None], *args: Any) -> None:
        """Have `deliver` called `delay` seconds after what was put last has come out."""
        self._at(max(self._last, self._world.loop.time()) + delay, deliver, *args)

    def _at(self, when: float, deliver: Callable[..., None], *args: Any) -> None:
        self._last = when
        self._queue.append((deliver, args))
        self._world.at(when, self._next)

    def _next(self) -> None:
        deliver, args = self._queue.popleft()
        deliver(*args)


class Wire(asyncio.Transport):
    """One connection: the transport that aiohttp writes to, and what the server answers by."""

    def __init__(self, net: "Network", protocol: ResponseHandler, number: int) -> None:
        super().__init__()
        self.number = number
        self.life = net.world.life
        self.peer: Peer
        self.open = True
        """Whether the client has neither closed it nor been told that it is."""
        self._net = net
        self._protocol = protocol
        self._up = _Pipe(net.world)
        self._down = _Pipe(net.world)

    # -- the client's end: what asyncio calls a transport --------------------------------------

    def write(self, data: Any) -> None:
        """Send bytes to the server, perhaps in two segments."""
        if self.open:
            for part in self._net.parts(bytes(data)):
                self._up.put(self._net.latency(), self.peer.received, part)

    def is_closing(self) -> bool:
        """Return whether it is closed, or about to be."""
        return not self.open

    def close(self) -> None:
        """Close: what was written still arrives."""
        self._close(None)

    def abort(self) -> None:
        """Close at once."""
        self._close(None)

    def get_write_buffer_size(self) -> int:
        """Return 0: the network takes all."""
        return 0

    def _close(self, error: Exception | None) -> None:
        if self.open:
            self.open = False
            self._net.world.loop.call_soon(self._lost, error)
            self._up.put(self._net.latency(), self.peer.left)

    def _lost(self, error: Exception | None) -> None:
        self._net.wires.discard(self)
        self._protocol.connection_lost(error)

    # -- the server's end ------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes to the client, perhaps in two segments."""
        for part in self._net.parts(data):
            self._down.put(self._net.latency(), self._deliver, part)

    def then(self, delay: float, done: Callable[[], None]) -> None:
        """Call `done` when what was sent so far has arrived, and `delay` seconds have passed."""
        self._down.then(delay, done)

    def finish(self) -> None:
        """Close from the server's side, in order: a FIN."""
        self._down.put(self._net.latency(), self._end)

    def reset(self) -> None:
        """Tear the connection down from the server's side: a RST."""
        self._down.put(self._net.latency(), self._torn)

    def _deliver(self, data: bytes) -> None:
        if self.open:
            self._protocol.data_received(data)

    def _end(self) -> None:
        if self.open and not self._protocol.eof_received():
            self._close(None)

    def _torn(self) -> None:
        self._close(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))


class Network:
    """Every connection of a run, its delays and its weather drawn from the seed."""

    def __init__(self, world: World, weather: Weather) -> None:
        self.world = world
        self.wires: set[Wire] = set()
        self.hosts: dict[str, Callable[[Wire], Peer]] = {}
        self.opened = 0
        self._weather = weather
        self._rng = world.stream("network")

    def latency(self) -> float:
        """Draw how long a segment is on its way: mostly far less than the slowest."""
        return SLOWEST * self._rng.random() ** 3

    def parts(self, data: bytes) -> Iterator[bytes]:
        """Return the segments that bytes travel in."""
        if len(data) > 1 and self._rng.random() < self._weather.split:
            at = self._rng.randrange(1, len(data))
            return iter((data[:at], data[at:]))
        return iter((data,))

    async def connect(self, key: Any, factory: Callable[[], ResponseHandler]) -> ResponseHandler:
        """Open a connection, or fail as aiohttp's own connector does."""
        if asyncio.get_running_loop() is not self.world.loop:
            raise ClientConnectorError(key, OSError(errno.ENETDOWN, "this process has crashed"))
        fate = self._fate()
        row = ROW.get()
        if row is not None:
            row.connects.append(fate)
        if fate != "ok":
            self.world.note(row, f"connect {fate}")
            await self._suffer(fate, key)
        await asyncio.sleep(self.latency())
        return self._open(key, factory)

    def cut(self) -> None:
        """Tear down every connection: the client's process has crashed."""
        for wire in sorted(self.wires, key=lambda wire: wire.number):
            wire.abort()

    def clear_up(self) -> None:
        """Have every connect succeed from now on."""
        self._weather = Weather()

    def _open(self, key: Any, factory: Callable[[], ResponseHandler]) -> ResponseHandler:
        self.opened += 1
        protocol = factory()
        wire = Wire(self, protocol, self.opened)
        wire.peer = self.hosts[key.host](wire)
        self.wires.add(wire)
        protocol.connection_made(wire)
        return protocol

    def _fate(self) -> str:
        begins, ends = self._weather.outage
        if begins <= self.world.loop.time() < ends:
            return self._rng.choice(("refused", "hang"))
        return self._rng.choice(self._weather.fates) if self._drawn() else "ok"

    def _drawn(self) -> bool:
        return self._rng.random() < self._weather.bad

    async def _suffer(self, fate: str, key: Any) -> None:
        """Raise what a failed connect raises, or wait."""
        await asyncio.sleep(self.latency() if fate != "slow" else self._rng.uniform(0.1, 5.0))
        refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        match fate:
            case "refused":
                raise ClientConnectorError(key, refused)
            case "dns":
                raise ClientConnectorDNSError(key, OSError(None, "no such host"))
            case "tls":
                raise ClientConnectorSSLError(key, ssl.SSLError(1, "handshake failure"))
            case "certificate":
                raise ClientConnectorCertificateError(key, ssl.CertificateError("self-signed"))
            case "hang":
                await self.world.loop.create_future()


class _Simulated(BaseConnector):
    """Opens its connections on a simulated network."""

    net: Network

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:  # noqa: ASYNC109, ARG002 (aiohttp's signature)
        return await self.net.connect(req.connection_key, self._factory)


class _Plain(_Simulated):
    """aiohttp's own pool, as in a session of the caller's."""


class _Wary(_Simulated, WaryConnector):
    """The pool that the client opens by itself."""


def connector(net: Network, *, wary: bool, limit: int, keep_alive: float) -> BaseConnector:
    """Return a pool of simulated connections: the client's own kind when `wary`."""
    made = (_Wary if wary else _Plain)(limit=limit, keepalive_timeout=keep_alive)
    made.net = net
    return made


@contextlib.contextmanager
def virtual_keep_alive(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have aiohttp's pool age its idle connections by the loop's clock."""
    real = aiohttp.connector.monotonic
    aiohttp.connector.monotonic = loop.time
    try:
        yield
    finally:
        aiohttp.connector.monotonic = real
