"""Take jobs from a queue, and make a ticket of each: a plain asyncio worker over one client.

    producer | python examples/worker.py

Here the queue is standard input, a job a line such as {"key": "job-1", "ticket_name": "Lamp"}, and
the line that is printed acknowledges the job; yours is SQS, RabbitMQ or Redis. A job that is not
acknowledged is delivered again, which is safe, for its key is the ticket's external_id. On SIGTERM
no more jobs are taken, and those under way may end.

Takes the token from ROUTERA_TOKEN and the address from ROUTERA_BASE_URL; `routera sandbox` gives
both.
"""

import asyncio
import json
import signal
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


async def done(routera: RouteraClient, job: dict[str, str]) -> str:
    """Make a ticket of a job, however long it takes, and return what became of it."""
    new = NewTicket(
        ticket_name=job["ticket_name"],
        pipeline="default",
        ticket_stage="new",
        external_id=job["key"],
    )
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
            await asyncio.sleep(PAUSE)  # and again, which is safe with a key
        else:
            return "created"


async def work(routera: RouteraClient, jobs: asyncio.Queue[dict[str, str]]) -> None:
    """Do one job after the other, and acknowledge each."""
    while True:
        job = await jobs.get()
        told = {"key": job["key"], "outcome": await done(routera, job)}
        print(json.dumps(told), flush=True)
        jobs.task_done()


async def take(jobs: asyncio.Queue[dict[str, str]]) -> None:
    """Take jobs as fast as they are done, until the queue ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    async for line in lines:
        await jobs.put(json.loads(line))


def stop(taking: asyncio.Task[None]) -> None:
    """Take no more jobs."""
    print("stopping: jobs under way may end", file=sys.stderr, flush=True)
    taking.cancel()


async def main() -> None:
    """Work until the queue ends or SIGTERM comes."""
    jobs = asyncio.Queue[dict[str, str]](maxsize=1)
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
    asyncio.run(main())
