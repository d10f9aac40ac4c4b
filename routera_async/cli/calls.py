"""A command's call of the API: what it is made with, and how its failure leaves it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from routera_async.cli.failures import failed, warn
from routera_async.cli.settings import Connection
from routera_async.client import RouteraClient
from routera_async.errors import RouteraError


@asynccontextmanager
async def connected(
    connection: Connection, *, writes: bool = False
) -> AsyncIterator[RouteraClient]:
    """Open a client for one command; an error of a call leaves as `Failed`.

    What a call that `writes` may have done is told, also when Ctrl-C cuts it off.
    """
    settings = connection.settings()
    async with settings.client() as client:
        try:
            yield client
        except RouteraError as error:
            raise failed(error, writes=writes, advice=settings.advice(error)) from None
        except asyncio.CancelledError:
            if writes:
                warn("what was under way may have been done")
            raise
