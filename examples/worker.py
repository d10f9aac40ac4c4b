"""Take jobs from a queue, and make a ticket of each: a plain asyncio worker over one client.

    producer | python examples/worker.py

Here the queue is standard input, a pipe with a job a line such as {"key": "job-1", "ticket_name":
"Lamp"} (of a file: cat jobs.jsonl | python examples/worker.py), and the line that is printed
acknowledges the job; yours is SQS, RabbitMQ or Redis. A job that is not acknowledged is delivered
again, which is safe, for its key is the ticket's external_id. On SIGTERM no more jobs are taken,
and those under way may end.

Takes the token from ROUTERA_TOKEN and the address from ROUTERA_BASE_URL; `routera sandbox` gives
both.
"""

import asyncio
import json
import os
import signal
import stat
import sys
from contextlib import suppress

from routera_async import (
    ConfigurationError,
    ForbiddenError,
    NewTicket,
    NotFoundError,
    RouteraClient,
    RouteraError,
    UnauthorizedError,
    ValidationError,
)

OURS = (ConfigurationError, UnauthorizedError, ForbiddenError, NotFoundError)
"""Faults of a token or a setting of ours: no other job would fare better, so the worker ends."""

WORKERS = 50
"""Jobs under way at the most: no more is taken from the queue than that."""

PAUSE = 1.0
"""Seconds before a job is tried again that Routera has not taken."""

GRACE = 20.0
"""Seconds that jobs under way have when the worker is stopped."""

LONGEST = 1 << 20
"""Bytes of a job at the most."""


def parsed(line: bytes) -> NewTicket | None:
    """Return the ticket that a job asks for, or None when it is no job."""
    try:
        job = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match job:
        case {"key": str(key), "ticket_name": str(name)}:
            return NewTicket(
                ticket_name=name, pipeline="default", ticket_stage="new", external_id=key
            )
    return None


async def done(routera: RouteraClient, new: NewTicket) -> str:
    """Make a ticket, however long it takes, and return what became of it."""
    while True:
        try:
            await routera.tickets.create(new)
        except OURS:
            raise
        except ValidationError as error:
            return f"rejected: {error}"
        except RouteraError as error:
            if error.outcome == "rejected":
                return f"rejected: {error}"
            if error.outcome in {"created", "duplicate"}:
                return error.outcome  # delivered again, or an answer was lost
            # And again, which is safe with a key, when it is welcome.
            asked = getattr(error, "retry_after", None) or 0
            await asyncio.sleep(max(PAUSE, asked))
        else:
            return "created"


async def work(routera: RouteraClient, jobs: asyncio.Queue[bytes]) -> None:
    """Do one job after the other, and acknowledge each: what is no job, too."""
    while True:
        line = await jobs.get()
        if (new := parsed(line)) is None:
            told = {"key": None, "outcome": f"rejected: no key and ticket_name: {line[:80]!r}"}
        else:
            told = {"key": new.external_id, "outcome": await done(routera, new)}
        print(json.dumps(told), flush=True)
        jobs.task_done()


async def take(jobs: asyncio.Queue[bytes]) -> None:
    """Take jobs as fast as they are done, until the queue ends."""
    lines = asyncio.StreamReader(limit=LONGEST)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    while not lines.at_eof():
        try:
            line = await lines.readline()
        except ValueError:
            line = b"(a line of more than a job's bytes)"  # and its end is another
        if line:
            await jobs.put(line)


def stop(taking: asyncio.Task[None]) -> None:
    """Take no more jobs."""
    print("stopping: jobs under way may end", file=sys.stderr, flush=True)
    taking.cancel()


async def main() -> None:
    """Work until the queue ends or SIGTERM comes."""
    jobs = asyncio.Queue[bytes](maxsize=1)
    async with (
        RouteraClient.from_env(timeout=5.0, deadline=20.0, max_connections=WORKERS) as routera,
        asyncio.TaskGroup() as group,  # a worker that fails ends them all, and the process
    ):
        workers = [group.create_task(work(routera, jobs)) for _ in range(WORKERS)]
        taking = group.create_task(take(jobs))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop, taking)
        await asyncio.wait([taking])
        with suppress(TimeoutError):
            await asyncio.wait_for(jobs.join(), GRACE)
        for worker in workers:
            worker.cancel()


if __name__ == "__main__":
    if stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode):  # which asyncio does not watch
        sys.exit("standard input is a file, and must be a pipe: cat FILE | python worker.py")
    asyncio.run(main())
