"""What a server that loses answers leaves behind: this SDK, and the loop that one writes first.

    python -m benchmarks.lost_answers [ROWS]

Each way creates ROWS tickets (10,000) in a sandbox of its own, of whose writes 3 % are answered
500 before the commit, 3 % answered 500 after it, and 3 % committed and then disconnected. The
store then tells what is true. Nobody else writes there, so every conflict told is a false one;
"unknown" is what raised after its last attempt, and a conflict that is told to be perhaps our own.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

import aiohttp
import attrs
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

from routera_async import RetryPolicy, RouteraClient
from routera_async.sandbox import FaultName, Sandbox

ROWS = 10_000
SEED = 7
WORKERS = 32
ODDS: dict[FaultName, float] = {
    "error_before_commit": 0.03,
    "error_after_commit": 0.03,
    "disconnect_after_commit": 0.03,
}

Way = Callable[[Sandbox, list[dict[str, str]]], Awaitable[Counter[str]]]
"""Creates the rows, and counts what it says of them."""


def rows(count: int, *, keyed: bool) -> list[dict[str, str]]:
    """Return the tickets to create, each with a name of its own."""
    given = {"pipeline": "default", "ticket_stage": "new"}
    return [
        {**given, "ticket_name": f"{n}"} | ({"external_id": f"key-{n}"} if keyed else {})
        for n in range(count)
    ]


def routera(*, mint: bool = False, resend_unkeyed: bool = True) -> Way:
    """Return the way of this SDK: `create_many`."""

    async def way(sandbox: Sandbox, tickets: list[dict[str, str]]) -> Counter[str]:
        told = Counter[str]()
        policy = RetryPolicy(wait_initial=0, resend_unkeyed=resend_unkeyed)
        async with RouteraClient(
            sandbox.token, base_url=sandbox.url, retry=policy, mint_external_ids=mint
        ) as client:
            async for outcome in client.tickets.create_many(tickets):
                told[outcome.status] += 1
        return told

    return way


async def plain(sandbox: Sandbox, tickets: list[dict[str, str]]) -> Counter[str]:
    """Post with aiohttp, and let tenacity try four times."""
    told = Counter[str]()
    queue = iter(tickets)
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    async with aiohttp.ClientSession(sandbox.url, headers=headers) as session:

        async def work() -> None:
            for fields in queue:
                told[await _post_again_and_again(session, fields)] += 1

        await asyncio.gather(*(work() for _ in range(WORKERS)))
    return told


async def _post_again_and_again(session: aiohttp.ClientSession, fields: dict[str, str]) -> str:
    attempts = AsyncRetrying(
        stop=stop_after_attempt(4), retry=retry_if_exception(_transient), reraise=True
    )
    try:
        await attempts(_post, session, fields)
    except aiohttp.ClientResponseError as error:
        return "duplicate" if error.status == 409 else "unknown"  # noqa: PLR2004
    except (aiohttp.ClientError, TimeoutError):
        return "unknown"
    return "created"


async def _post(session: aiohttp.ClientSession, fields: dict[str, str]) -> None:
    async with session.post("/tickets", json={"fields": fields}) as answer:
        answer.raise_for_status()


def _transient(error: BaseException) -> bool:
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status == 500  # noqa: PLR2004
    return isinstance(error, aiohttp.ClientError | TimeoutError)


@attrs.frozen
class Entry:
    """One line of the table."""

    name: str
    way: Way
    keyed: bool


ENTRIES = [
    Entry("`session.post` + tenacity, no key", plain, keyed=False),
    Entry("`session.post` + tenacity, external_id", plain, keyed=True),
    Entry("routera_async, no key", routera(), keyed=False),
    Entry("routera_async, no key, `resend_unkeyed=False`", routera(resend_unkeyed=False), False),
    Entry("routera_async, minted", routera(mint=True), keyed=False),
    Entry("routera_async, external_id", routera(), keyed=True),
]


async def line(entry: Entry, count: int) -> str:
    """Run one way; return its line."""
    async with Sandbox(keep_requests=0) as sandbox:
        sandbox.faults.draw(ODDS, seed=SEED)
        told = await entry.way(sandbox, rows(count, keyed=entry.keyed))
        names = {flat["ticket_name"] for flat in sandbox.store.records()}
        extra, lost = sandbox.store.count() - len(names), count - len(names)
        figures = (extra, lost, told["duplicate"], told["unknown"], sandbox.request_count)
    return f"| {entry.name} | " + " | ".join(f"{figure:,}" for figure in figures) + " |"


async def main(count: int) -> None:
    """Print the table."""
    print(f"{count:,} rows, seed {SEED}:", end="\n\n")
    print("| | extra tickets | lost | false conflicts | unknown | requests |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for entry in ENTRIES:
        print(await line(entry, count), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS))
