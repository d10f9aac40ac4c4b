"""Import a CSV file from code: rows in, outcomes out, in memory that does not grow.

Takes the token from ROUTERA_TOKEN and the address from ROUTERA_BASE_URL; `routera sandbox
--any-field` gives both.
"""

import asyncio
import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from routera_async import NewTicket, RouteraClient

TICKETS = Path(__file__).with_name("tickets.csv")


def read() -> Iterator[dict[str, str]]:
    """Yield the rows of the file, one at a time."""
    with TICKETS.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def ticket(row: dict[str, str]) -> NewTicket:
    """Return the ticket that a row is."""
    return NewTicket(
        ticket_name=row["Subject"],
        pipeline="default",
        ticket_stage=row["Status"],
        external_id=row["Ticket ID"],
        ticket_owner=row["Assignee"] or None,
        custom={"area": row["Area"], "reopened": row["Reopened"] == "yes"},
    )


async def main() -> None:
    """Create a ticket of each row, and tell of those that did not arrive."""
    tally: Counter[str] = Counter()
    async with RouteraClient.from_env() as routera:
        async for outcome in routera.tickets.create_many(read(), parse=ticket):
            tally[outcome.status] += 1
            if outcome.error is not None:
                print(f"row {outcome.row}: {outcome.status}: {outcome.error}")
    print(dict(tally))


if __name__ == "__main__":
    asyncio.run(main())
