"""The web services of `examples/` under load, while Routera hangs.

    python -m benchmarks.web [--only fastapi] [--outage 10] [--orders 2000]

Each is served as it would be, in a process of its own. Clients send orders to it, so many in
flight; one that is refused waits as long as `Retry-After` says, and sends the same order again. A
file is imported in the same process meanwhile. In the middle the sandbox hangs: it answers nobody,
having done one half of what it is asked and not the other; and then more clients come at once. A
process of its own asks for the service's health. What was answered is held to what the sandbox
holds at the end. The exit status is 1 when something does not hold.
"""

import argparse
import asyncio
import csv
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from routera_async.sandbox import Sandbox

from .web_result import REFUSED, Exchange, Result, Size, lines

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
UVICORN = (
    *("-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0", "--no-access-log"),
    *("--timeout-graceful-shutdown", "10"),
)

SERVICES: dict[str, tuple[str, ...]] = {
    "fastapi": (*UVICORN, "fastapi_app:app"),
    "starlette": (*UVICORN, "starlette_app:app"),
    "aiohttp": (str(EXAMPLES / "aiohttp_app.py"),),
}
"""How each service is run, by its framework."""

_RUNNING = re.compile(r"unning on (http://[\w.]+:\d+)")
_UNANSWERED = 60.0
"""Seconds after which a request counts as unanswered."""

_IDLE = 1.0
"""Seconds a connection is kept idle: well below the 5 after which uvicorn closes one."""


class Outage:
    """Holds every answer of a sandbox back while it lasts; the sandbox sleeps by it."""

    def __init__(self) -> None:
        self._up = asyncio.Event()
        self._up.set()
        self._held = 0
        self._moved = asyncio.Condition()
        self.began = self.ended = 0.0

    async def sleep(self, seconds: float) -> None:
        """Wait for the end of the outage, if there is one, and so long."""
        async with self._moved:
            self._held += 1
            self._moved.notify_all()
        await self._up.wait()
        self._held -= 1
        await asyncio.sleep(seconds)

    async def holds(self, answers: int) -> None:
        """Wait until so many are held back."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._held >= answers)

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """Answer nobody."""
        loop = asyncio.get_running_loop()
        self._up.clear()
        self.began = loop.time()
        yield
        self.ended = loop.time()
        self._up.set()


class Clients:
    """Send orders to a service, and note each exchange; in a `hurry` they say how long."""

    def __init__(self, http: ClientSession, url: str, size: Size) -> None:
        self.exchanges: list[Exchange] = []
        self.hurry = False
        self._http = http
        self._url = url
        self._size = size
        self._moved = asyncio.Condition()

    def count(self, *statuses: int) -> int:
        """Return how many exchanges ended in one of these."""
        return sum(each.status in statuses for each in self.exchanges)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for something that an exchange changes."""
        async with self._moved:
            await self._moved.wait_for(reached)

    async def order(self, key: str) -> Exchange:
        """Send an order until it is not refused any more."""
        patience = self._size.patience
        while True:
            exchange = await self.send(key)
            if exchange.status != REFUSED:
                return exchange
            await asyncio.sleep(float(exchange.retry_after or 0) * patience)
            patience *= self._size.more_patience

    async def orders(self, keys: Iterator[str]) -> None:
        """Send one order after the other, as one client."""
        for key in keys:
            await self.order(key)

    async def send(self, key: str) -> Exchange:
        """Send an order once."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        status = retry_after = told = None
        try:
            async with self._http.put(
                f"{self._url}/tickets/{key}",
                json={"ticket_name": f"Order {key}"},
                headers={"Request-Timeout": f"{self._size.budget}"} if self.hurry else {},
            ) as answer:
                told = await answer.json(content_type=None)
                status, retry_after = answer.status, answer.headers.get("Retry-After")
        except (OSError, TimeoutError, ValueError) as error:  # aiohttp's errors of a connection too
            told = repr(error)
        exchange = Exchange(key, began, loop.time(), status, retry_after, told)
        self.exchanges.append(exchange)
        async with self._moved:
            self._moved.notify_all()
        return exchange


@attrs.frozen
class Service:
    """A running service: where it is, its process, and what it has printed."""

    url: str
    process: asyncio.subprocess.Process
    printed: list[str]

    async def stop(self) -> int:
        """Ask it to end, as a supervisor does, and return its exit status when it has."""
        self.process.terminate()
        return await self.process.wait()


@asynccontextmanager
async def served(name: str, sandbox: Sandbox, folder: Path) -> AsyncIterator[Service]:
    """Run a service over a sandbox; what it imports is kept in a folder."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", *SERVICES[name]),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ
        | {
            "ROUTERA_TOKEN": sandbox.token,
            "ROUTERA_BASE_URL": sandbox.url,
            "IMPORTS": str(folder),
            "PORT": "0",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        },
    )
    assert process.stdout is not None
    printed: list[str] = []
    reading = None
    try:
        async for line in process.stdout:
            printed.append(line.decode())
            if found := _RUNNING.search(printed[-1]):
                reading = asyncio.create_task(_read(process.stdout, printed))
                yield Service(found[1], process, printed)
                break
        else:
            raise RuntimeError("".join(printed))
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if reading is not None:
            await reading


async def _read(stream: asyncio.StreamReader, printed: list[str]) -> None:
    printed.extend([line.decode() async for line in stream])


@asynccontextmanager
async def watched(url: str) -> AsyncIterator[dict[str, Any]]:
    """Ask for the health of a service meanwhile; what was met is there at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.health", f"{url}/health"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    met: dict[str, Any] = {}
    try:
        yield met
    finally:
        out, _ = await process.communicate(b"")  # which ends its input
        met.update(json.loads(out))


def written(folder: Path, rows: int) -> Path:
    """Write a file of tickets to import."""
    path = folder / "tickets.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["external_id", "ticket_name", "pipeline", "ticket_stage"])
        writer.writerows([f"row-{n}", f"Row {n}", "default", "new"] for n in range(rows))
    return path


async def begun(http: ClientSession, url: str, path: Path) -> str:
    """Send a file to be imported, and return where the service tells of it."""
    with path.open("rb") as file:
        async with http.post(f"{url}/imports", data=file) as answer:
            assert answer.status == 202, await answer.text()  # noqa: PLR2004
            return f"{url}/imports/{(await answer.json())['import']}"


async def ended(http: ClientSession, url: str) -> dict[str, Any]:
    """Wait for the end of an import, and return what the service tells of it."""
    while True:
        async with http.get(url) as answer:
            told: dict[str, Any] = await answer.json()
        if told["state"] not in {"waiting", "running", "running elsewhere"}:
            return told
        await asyncio.sleep(0.05)


@asynccontextmanager
async def staged(
    name: str, size: Size, folder: Path
) -> AsyncIterator[tuple[Sandbox, Outage, Service, ClientSession]]:
    """Run a sandbox that can hang, a service over it, and what its clients send with."""
    outage = Outage()
    async with (
        Sandbox(latency=size.latency, sleep=outage.sleep, keep_requests=0) as sandbox,
        served(name, sandbox, folder / "imports") as service,
        ClientSession(
            connector=TCPConnector(limit=0, keepalive_timeout=_IDLE),
            timeout=ClientTimeout(total=_UNANSWERED),
        ) as http,
    ):
        yield sandbox, outage, service, http


async def show(
    name: str, size: Size, folder: Path, over: Callable[[Clients], Awaitable[None]]
) -> Result:
    """Send all the orders through a service, with an outage in the middle, which `over` ends."""
    keys = (f"order-{n}" for n in range(size.orders))
    async with staged(name, size, folder) as (sandbox, outage, service, http):
        clients = Clients(http, service.url, size)
        async with watched(service.url) as health:
            importing = await begun(http, service.url, written(folder, size.rows))
            load = [asyncio.create_task(clients.orders(keys)) for _ in range(size.in_flight)]
            await clients.until(lambda: clients.count(201) >= size.orders // 3)
            with outage.lasting():
                clients.hurry = True
                sandbox.faults.draw({"hang_before_commit": size.undone})
                burst = [
                    asyncio.create_task(clients.order(f"burst-{n}")) for n in range(size.burst)
                ]
                await over(clients)
                sandbox.faults.clear()
                clients.hurry = False
            await asyncio.gather(*load, *burst)
            imported = await ended(http, importing)
            last = await asyncio.gather(*(clients.send(f"last-{n}") for n in range(size.last)))
        return Result(
            size=size,
            exchanges=clients.exchanges,
            last=last,
            outage=outage,
            imported=imported,
            health=health,
            kept=Counter(record["external_id"] for record in sandbox.store.records()),
        )


def arguments(given: Sequence[str]) -> dict[str, Any]:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.web",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SERVICES,
        default=list(SERVICES),
        help="run no more than these (%(choices)s)",
        metavar="NAME",
    )
    for field in attrs.fields(Size):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=field.type,
            default=field.default,
            metavar="N",
            help=f"{field.metadata['help']} (%(default)s)",
        )
    return vars(parser.parse_args(given))


def main(given: Sequence[str]) -> int:
    """Print a few lines for each service, and return 1 when something does not hold."""
    options = arguments(given)
    services = options.pop("only")
    size = Size(**options)

    async def over(_: Clients) -> None:
        await asyncio.sleep(size.outage)

    status = 0
    for name in services:
        with tempfile.TemporaryDirectory() as folder:
            result = asyncio.run(show(name, size, Path(folder), over))
        print(*lines(name, result), sep="\n", flush=True)
        status |= bool(result.faults())
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
