"""The web services of `examples/` under load, while Routera hangs.

    python -m benchmarks.web [--only fastapi] [--outage 10] [--orders 2000]

Each is served as it would be, in a process of its own. Clients send orders to it, so many in
flight; one that is refused waits as long as `Retry-After` says, and sends the same order again. A
file is imported in the same process meanwhile. In the middle the sandbox hangs: it answers nobody,
having done one half of what it is asked and not the other; and then more clients come at once. A
process of its own asks for the service's health. What was answered is held to what the sandbox
holds at the end.
"""

import argparse
import asyncio
import csv
import json
import os
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from routera_async.sandbox import Sandbox

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
UVICORN = ("-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0", "--no-access-log")

SERVICES: dict[str, tuple[str, ...]] = {
    "fastapi": (*UVICORN, "fastapi_app:app"),
    "starlette": (*UVICORN, "starlette_app:app"),
    "aiohttp": (str(EXAMPLES / "aiohttp_app.py"),),
}
"""How each service is run, by its framework."""

NORMAL_AFTER = 2.0
"""Seconds after the outage from which on nobody is refused."""

_RUNNING = re.compile(r"unning on (http://[\w.]+:\d+)")
_UNANSWERED = 60.0
"""Seconds after which a request counts as unanswered."""

_IDLE = 1.0
"""Seconds a connection is kept idle: well below the 5 after which uvicorn closes one."""

_REFUSED = 503


@attrs.frozen(kw_only=True)
class Size:
    """How much is done: `latency`, `outage` and `budget`, a request's own deadline, in seconds.

    In the outage `burst` more clients come at once. A client that is refused waits for `patience`
    times the seconds that `Retry-After` says, and `more_patience` times as long when it is refused
    again. `undone` is the share of requests that the sandbox
    does not do when it hangs. At the end `last` more come at once, who must not be refused.
    """

    orders: int = 2_000
    in_flight: int = 200
    burst: int = 200
    rows: int = 20_000
    latency: float = 0.1
    outage: float = 10.0
    budget: float = 2.0
    patience: float = 1.0
    more_patience: float = 1.0
    undone: float = 0.5
    last: int = 200


@attrs.frozen
class Exchange:
    """One request of an order, and what was answered: `status` is None where nothing was.

    Times are the loop's, in seconds.
    """

    key: str
    began: float
    ended: float
    status: int | None
    retry_after: str | None = None
    told: Any = None


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
            if exchange.status != _REFUSED:
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


@attrs.frozen(kw_only=True)
class Result:
    """What was met: `imported` is what the service told of its import, and the rest as above."""

    size: Size
    exchanges: list[Exchange]
    last: list[Exchange]
    outage: Outage
    imported: dict[str, Any]
    health: dict[str, Any]
    kept: Counter[str]

    def faults(self) -> list[str]:
        """Say what does not hold, whatever the machine."""
        size = self.size
        told = [*_wrong_answers(self.exchanges), *_false_words(self.exchanges)]
        told += [f"not normal again: {each}" for each in self.last if each.status != 201]  # noqa: PLR2004
        expected = {each.key for each in self.exchanges} | {f"row-{n}" for n in range(size.rows)}
        if self.kept != Counter(expected):
            told.append(f"the sandbox holds {self.kept - Counter(expected)} too many")
            told.append(f"the sandbox lacks {Counter(expected) - self.kept}")
        summary = {name: self.imported.get(name) for name in ("state", "total", "created")}
        if summary != {"state": "done", "total": size.rows, "created": size.rows}:
            told.append(f"the import: {self.imported}")
        if self.health["failed"] or not self.health["answers"]:
            told.append(f"{self.health['failed']} questions for the health were not answered")
        return told

    def refused_late(self) -> int:
        """Count those refused who came when all was to be normal again."""
        since = self.outage.ended + NORMAL_AFTER
        return sum(each.status == _REFUSED and each.began >= since for each in self.exchanges)


def _wrong_answers(exchanges: list[Exchange]) -> Iterator[str]:
    """Tell of answers that are none, or none of the service's."""
    for each in exchanges:
        if each.status not in {200, 201, _REFUSED}:
            yield f"not answered as it should be: {each}"
        elif each.status == _REFUSED and not (each.retry_after or "").isdigit():
            yield f"refused without Retry-After: {each}"


def _false_words(exchanges: list[Exchange]) -> Iterator[str]:
    """Tell of orders said to be there before, with nothing before that may have put them there."""
    answers = defaultdict(list)
    for each in exchanges:
        answers[each.key].append(each)
    for each in answers.values():
        outcomes = {exchange.told["outcome"] for exchange in each if exchange.status == _REFUSED}
        if each[-1].status == 200 and "unknown" not in outcomes:  # noqa: PLR2004
            yield f"told to be there, though it had not been sent: {each}"


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
        if told["state"] not in {"waiting", "running"}:
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


def percentile(values: list[float], share: float) -> float:
    """Return the value that so large a share is not above; nan of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def lines(name: str, result: Result) -> Iterator[str]:
    """Yield what a person is told of one service."""
    exchanges, outage = result.exchanges, result.outage
    health = result.health
    statuses = Counter(str(each.status or "unanswered") for each in exchanges)
    refused = [each for each in exchanges if each.status == _REFUSED]
    whys = Counter(
        "overloaded" if "waiting already" in each.told["detail"] else each.told["outcome"]
        for each in refused
    )
    yield f"{name}: {len(exchanges):,} requests: {dict(statuses)}, refused: {dict(whys)}"
    for what in ("answers", "late"):
        figures = ", ".join(
            f"p{p:g} {percentile(health[what], p / 100):.1f}" for p in (50, 99, 99.9)
        )
        most = max(health[what], default=0.0)
        yield f"  health, {what}: {figures}, most {most:.1f} ms of {len(health[what]):,}"
    for when, those in {
        "before the outage": [each for each in exchanges if each.ended < outage.began],
        "2 s after it": [each for each in exchanges if each.began > outage.ended + NORMAL_AFTER],
    }.items():
        taken = [(each.ended - each.began) * 1_000 for each in those]
        times = f"p50 {percentile(taken, 0.5):.0f}, p99 {percentile(taken, 0.99):.0f} ms"
        yield f"  {when}: {len(those):,} requests, {times}"
    longest = max(each.ended - each.began for each in exchanges)
    late = result.refused_late()
    yield f"  longest request {longest:.2f} s; refused 2 s after the outage: {late}"
    last = max((each.ended for each in refused), default=outage.ended) - outage.ended
    yield f"  outage {outage.ended - outage.began:.1f} s; last refusal {last:+.2f} s after it"
    told = {name: result.imported.get(name) for name in ("total", "created", "retries", "seconds")}
    yield f"  import: {told}"
    yield from (f"  DOES NOT HOLD: {fault}" for fault in result.faults())


def main() -> None:
    """Print a few lines for each service."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SERVICES, default=list(SERVICES))
    for field in attrs.fields(Size):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=field.type, default=field.default
        )
    given = vars(parser.parse_args())
    services = given.pop("only")
    size = Size(**given)

    async def over(_: Clients) -> None:
        await asyncio.sleep(size.outage)

    for name in services:
        with tempfile.TemporaryDirectory() as folder:
            result = asyncio.run(show(name, size, Path(folder), over))
        print(*lines(name, result), sep="\n", flush=True)


if __name__ == "__main__":
    main()
