# ruff: noqa: PLC0415  a process imports what it measures, and no more
"""What a worker process runs: a peer's calls, or rows by the many.

A workload is opened on a URL and gives a function that does so many calls, or rows with so many
custom fields of such a length, and returns the CPU seconds that its own process took for them.
"""

import asyncio
import csv
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from .peers import (
    AT_HAND,
    BEARER,
    IN_FLIGHT,
    JSON,
    ON_UVLOOP,
    PEERS,
    TOKEN,
    TRACED,
    Peer,
    fields,
    keep_buffers_at_hand,
)

Run = Callable[[int, int, int], Awaitable[float]]
"""Does so much, and returns the CPU seconds that it took: calls, custom fields, their length."""


@attrs.frozen
class Workload:
    """Something to measure; `missing` names what must be installed for it, and is not."""

    name: str
    open: Callable[[str], AbstractAsyncContextManager[Run]]
    loop: str = "asyncio"
    missing: str | None = None


def of_peer(peer: Peer) -> Workload:
    """Return the workload that makes a peer's calls."""
    return Workload(peer.name, partial(_calls, peer), peer.loop, peer.missing())


@asynccontextmanager
async def _calls(peer: Peer, url: str) -> AsyncGenerator[Run]:
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        async with peer.open(url) as send:
            yield _in_threads(send, pool) if peer.threads else _in_tasks(send)


def _in_tasks(send: Callable[[], Awaitable[Any]]) -> Run:
    """Return the loop by hand: workers that share a counter."""

    async def run(calls: int, _custom: int, _length: int) -> float:
        left = iter(range(calls))

        async def work() -> None:
            for _ in left:
                await send()

        began = time.process_time()
        await asyncio.gather(*(work() for _ in range(min(IN_FLIGHT, calls))))
        return time.process_time() - began

    return run


def _in_threads(send: Callable[[], Any], pool: ThreadPoolExecutor) -> Run:
    """Return the same in threads."""

    async def run(calls: int, _custom: int, _length: int) -> float:
        left = iter(range(calls))

        def work() -> None:
            for _ in left:
                send()

        loop = asyncio.get_running_loop()
        began = time.process_time()
        await asyncio.gather(*(loop.run_in_executor(pool, work) for _ in range(IN_FLIGHT)))
        return time.process_time() - began

    return run


def rows(count: int, custom: int, length: int) -> Iterator[dict[str, Any]]:
    """Yield tickets, each with a key and so many custom fields of such a length."""
    value = "a text with no number. "
    value = (value * (length // len(value) + 1))[:length]
    names = [f"custom_field_{number:03}" for number in range(custom)]
    for number in range(count):
        yield fields() | {"external_id": f"ext-{number:07}"} | dict.fromkeys(names, value)


@asynccontextmanager
async def create_many(url: str) -> AsyncGenerator[Run]:
    """`create_many`, 64 in flight; every outcome is looked at."""
    from routera_async import RouteraClient

    async with RouteraClient(TOKEN, base_url=f"{url}/echo") as client:

        async def run(count: int, custom: int, length: int) -> float:
            began, created = time.process_time(), 0
            given = rows(count, custom, length)
            async for outcome in client.tickets.create_many(given, concurrency=IN_FLIGHT):
                created += outcome.status == "created"
            if created != count:
                raise RuntimeError(f"{created} of {count} created")
            return time.process_time() - began

        yield run


@asynccontextmanager
async def by_hand(url: str) -> AsyncGenerator[Run]:
    """Loop in workers, as one writes it over bare aiohttp and orjson."""
    async with _posting(url) as post:

        async def run(count: int, custom: int, length: int) -> float:
            began = time.process_time()
            await post(rows(count, custom, length), count)
            return time.process_time() - began

        yield run


def by_hand_at_hand(url: str) -> AbstractAsyncContextManager[Run]:
    """Return the same without memory that glibc maps for each answer."""
    keep_buffers_at_hand()
    return by_hand(url)


@asynccontextmanager
async def file_by_hand(url: str) -> AsyncGenerator[Run]:
    """Read a CSV file in the same loop, as one writes it with `csv.DictReader`."""
    async with _posting(url) as post:

        async def run(count: int, custom: int, length: int) -> float:
            with written(count, custom, length) as path:
                began = time.process_time()
                with path.open(encoding="utf-8", newline="") as file:
                    await post(csv.DictReader(file), count)
                return time.process_time() - began

        yield run


def file_by_hand_at_hand(url: str) -> AbstractAsyncContextManager[Run]:
    """Return the same without memory that glibc maps for each answer."""
    keep_buffers_at_hand()
    return file_by_hand(url)


Post = Callable[[Iterator[dict[str, Any]], int], Awaitable[None]]
"""Creates a ticket of each row, of which there are so many."""


@asynccontextmanager
async def _posting(url: str) -> AsyncGenerator[Post]:
    import aiohttp
    import orjson

    async with aiohttp.ClientSession(headers=BEARER) as session:

        async def post(left: Iterator[dict[str, Any]], count: int) -> None:
            created = 0

            async def work() -> None:
                nonlocal created
                for row in left:
                    body = orjson.dumps({"fields": row})
                    async with session.post(
                        f"{url}/echo/tickets", data=body, headers=JSON
                    ) as answer:
                        answer.raise_for_status()
                        created += orjson.loads(await answer.read())["external_id"] is not None

            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
            if created != count:
                raise RuntimeError(f"{created} of {count} created")

        yield post


@asynccontextmanager
async def whole_import(url: str) -> AsyncGenerator[Run]:
    """Import a CSV file, to a journal that is committed; writing the file is not counted."""
    from routera_async import RouteraClient
    from routera_async.importing import ImportSettings, import_file

    async with RouteraClient(TOKEN, base_url=f"{url}/echo") as client:

        async def run(count: int, custom: int, length: int) -> float:
            with written(count, custom, length) as path:
                began = time.process_time()
                told = await import_file(
                    client, path, settings=ImportSettings(concurrency=IN_FLIGHT)
                )
                if told.created != count:
                    raise RuntimeError(f"{told.created} of {count} created")
                return time.process_time() - began

        yield run


@contextmanager
def written(count: int, custom: int, length: int) -> Generator[Path]:
    """Write rows to a CSV file, and yield where it is, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tickets.csv")
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*next(rows(1, custom, length))])
            writer.writeheader()
            writer.writerows(rows(count, custom, length))
        yield path


def _importer() -> str | None:
    try:
        from routera_async.importing import ImportSettings, import_file  # noqa: F401
    except ImportError:
        return "routera_async.importing"
    return None


MANY = "create_many"
LOOP = "a loop by hand"
LOOP_AT_HAND = f"{LOOP}, buffers at hand"
IMPORT = "import_file"
FILE_LOOP = "a loop by hand over a CSV file"
FILE_LOOP_AT_HAND = f"{FILE_LOOP}, buffers at hand"


def _all() -> Iterator[Workload]:
    yield from map(of_peer, (*PEERS, AT_HAND, TRACED, *ON_UVLOOP))
    yield Workload(MANY, create_many)
    yield Workload(LOOP, by_hand)
    yield Workload(LOOP_AT_HAND, by_hand_at_hand)
    yield Workload(FILE_LOOP, file_by_hand)
    yield Workload(FILE_LOOP_AT_HAND, file_by_hand_at_hand)
    yield Workload(IMPORT, whole_import, missing=_importer())


WORKLOADS = {workload.name: workload for workload in _all()}
