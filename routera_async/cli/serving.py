"""`routera sandbox`: a Routera of one's own, until Ctrl-C."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from routera_async.errors import ConfigurationError
from routera_async.sandbox import Sandbox, SandboxError, parse_field


async def serve(
    *,
    port: Annotated[int, Parameter(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    db: Annotated[
        Path | None, Parameter(help="File that keeps the records; without it they are forgotten.")
    ] = None,
    field: Annotated[
        tuple[str, ...],
        Parameter(
            help="A custom field: NAME=text|number|checkbox|date|user, or NAME=dropdown:A,B. "
            "Repeatable.",
        ),
    ] = (),
    any_field: Annotated[
        bool, Parameter(help="Accept every custom field, with any value.")
    ] = False,
) -> int:
    """Run a sandbox that speaks the Routera API, until Ctrl-C."""
    try:
        fields = [parse_field(text) for text in field]
        sandbox = Sandbox(port=port, db=db or ":memory:", fields=fields, any_field=any_field)
    except ValueError as error:
        raise ConfigurationError(f"--field: {error}") from None
    async with running(sandbox):
        _welcome(sandbox)
        await _interrupted()
        print(f"stopped after {sandbox.request_count} requests")  # noqa: T201
    return 0


@asynccontextmanager
async def running(sandbox: Sandbox) -> AsyncIterator[Sandbox]:
    """Run a sandbox; a port or file that it cannot use is a `ConfigurationError`."""
    try:
        async with sandbox:
            yield sandbox
    except SandboxError as error:
        raise ConfigurationError(str(error)) from None


def _welcome(sandbox: Sandbox) -> None:
    print(  # noqa: T201
        f"Routera sandbox at {sandbox.url}, until Ctrl-C\n\n"
        f"  export ROUTERA_BASE_URL={sandbox.url}\n"
        f"  export ROUTERA_TOKEN={sandbox.token}\n\n"
        f'  curl -H "Authorization: Bearer $ROUTERA_TOKEN" "$ROUTERA_BASE_URL/tickets"\n',
        flush=True,
    )


async def _interrupted() -> None:
    """Wait for Ctrl-C or a polite kill."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    await stop.wait()
