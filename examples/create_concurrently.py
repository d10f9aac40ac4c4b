"""Create a thousand tickets at once with asyncio.gather, over one client.

Takes the token from ROUTERA_TOKEN and the address from ROUTERA_BASE_URL; `routera sandbox` gives
both.
"""

import asyncio
from collections import Counter

from routera_async import NewTicket, RouteraClient, RouteraError


async def create(routera: RouteraClient, number: int) -> str:
    """Create one ticket, and say what is proven of it."""
    new = NewTicket(
        ticket_name=f"Request {number}",
        pipeline="default",
        ticket_stage="new",
        external_id=f"gather-{number}",
    )
    try:
        await routera.tickets.create(new)
    except RouteraError as error:
        return error.outcome
    return "created"


async def main() -> None:
    """Create them all; the client sends at most `max_connections` of them at a time."""
    async with RouteraClient.from_env() as routera:
        outcomes = await asyncio.gather(*(create(routera, number) for number in range(1_000)))
    print(dict(Counter(outcomes)))


if __name__ == "__main__":
    asyncio.run(main())
