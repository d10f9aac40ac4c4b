"""Create one ticket, and see that a second with the same external_id is refused.

Takes the token from ROUTERA_TOKEN and the address from ROUTERA_BASE_URL; `routera sandbox` gives
both.
"""

import asyncio

from routera_async import DuplicateError, NewTicket, RouteraClient


async def main() -> None:
    """Create the ticket, then try to create it again."""
    new = NewTicket(
        ticket_name="Support request",
        pipeline="default",
        ticket_stage="new",
        external_id="ext-001",
    )
    async with RouteraClient.from_env() as routera:
        ticket = await routera.tickets.create(new)
        print(f"created {ticket.id} at {ticket.created_at:%H:%M:%S}")
        try:
            await routera.tickets.create(new)
        except DuplicateError as error:
            print(f"refused: {error.message}")


if __name__ == "__main__":
    asyncio.run(main())
