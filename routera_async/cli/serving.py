"""`routera sandbox`: a Routera of one's own, until Ctrl-C."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Parameter, validators

from routera_async.errors import ConfigurationError
from routera_async.sandbox import Router, Sandbox, SandboxError, parse_field

T = TypeVar("T")

_LONG = 30 * 86_400.0
"""Seconds that a token lasts: who tries things out comes back to them on another day."""

_LONGEST = 10**9


async def serve(
    *,
    port: Annotated[int, Parameter(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    db: Annotated[
        Path | None, Parameter(help="File that keeps the records; without it they are forgotten.")
    ] = None,
    field: Annotated[
        tuple[str, ...],
        Parameter(
            help="A custom field: NAME=text|number|checkbox|date|user, or NAME=dropdown:A,B; "
            "tickets.NAME for one kind of object alone. Repeatable.",
        ),
    ] = (),
    router: Annotated[
        tuple[str, ...],
        Parameter(
            help="A router: NAME=OBJECTS:EMAIL,EMAIL, such as Inbound=contacts:jane@example.com. "
            "Repeatable.",
        ),
    ] = (),
    any_field: Annotated[
        bool, Parameter(help="Accept every custom field, with any value.")
    ] = False,
    token_ttl: Annotated[
        float,
        Parameter(
            help="Seconds that a token lasts; 30 days unless told.",
            validator=validators.Number(gt=0, lte=_LONGEST),
        ),
    ] = _LONG,
) -> int:
    """Run a sandbox that speaks the Routera API, until Ctrl-C.

    It prints the variables that lead to it: a token, and an API client to which tokens are granted.
    """
    fields, routers = _each("--field", parse_field, field), _each("--router", _router, router)
    try:
        sandbox = Sandbox(
            port=port,
            db=db or ":memory:",
            fields=fields,
            routers=routers,
            any_field=any_field,
            token_ttl=token_ttl,
        )
    except (SandboxError, ValueError) as error:  # each is fine, and not all together
        raise ConfigurationError(str(error)) from None
    async with running(sandbox):
        stopped = _interrupted()
        _welcome(sandbox)
        await stopped.wait()
        print(f"stopped after {sandbox.request_count} requests")  # noqa: T201
    return 0


def _each(option: str, read: Callable[[str], T], texts: Iterable[str]) -> list[T]:
    try:
        return [read(text) for text in texts]
    except ValueError as error:
        raise ConfigurationError(f"{option}: {error}") from None


def _router(text: str) -> Router:
    name, equals, rest = text.partition("=")
    objects, colon, users = rest.partition(":")
    if not (name and equals and colon):
        raise ValueError(f"{text!r} is no NAME=OBJECTS:EMAIL,EMAIL")
    return Router(name, objects, users.split(","))


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
        "or, for tokens that are granted, in the place of that one\n\n"
        f"  export ROUTERA_CLIENT_ID={sandbox.client_id}\n"
        f"  export ROUTERA_CLIENT_SECRET={sandbox.client_secret}\n\n"
        f'  curl -H "Authorization: Bearer $ROUTERA_TOKEN" "$ROUTERA_BASE_URL/tickets"\n',
        flush=True,
    )


def _interrupted() -> asyncio.Event:
    """Return what is set by Ctrl-C or a polite kill."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    return stop
