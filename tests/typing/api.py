"""What the public types promise: checked by mypy, never run."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import datetime
from typing import Any, assert_type

import aiohttp

from routera_async import (
    APIStatusError,
    Attempt,
    AttemptFinished,
    AttemptStarted,
    Auth,
    DuplicateError,
    Event,
    Hook,
    NewTicket,
    Outcome,
    Page,
    ResponseError,
    RetryPolicy,
    RetryScheduled,
    RouteraClient,
    RouteraError,
    StaticToken,
    Ticket,
    TokenProvider,
)

NEW = NewTicket(ticket_name="a", pipeline="b", ticket_stage="c", custom={"priority": None})


async def fetch() -> str:
    """Be where a token comes from."""
    return "eyJ"


class OwnAuth:
    """An Auth of the caller's own."""

    async def token(self, *, refused: str | None = None) -> str:
        """Return a token."""
        return refused or "eyJ"


def count(event: Event, /) -> None:
    """Be a hook."""
    match event:
        case AttemptStarted():
            assert_type(event.number, int)
        case AttemptFinished():
            assert_type(event.status, int | None)
        case RetryScheduled():
            assert_type(event.delay, float)


def auths(session: aiohttp.ClientSession) -> None:
    """Make clients of every kind of auth, with every setting."""
    own: Auth = OwnAuth()
    hook: Hook = count
    RouteraClient("eyJ")
    RouteraClient(fetch)
    RouteraClient(own)
    RouteraClient(TokenProvider(fetch))
    RouteraClient(
        StaticToken("eyJ"),
        base_url="https://api.routera.io",
        retry=RetryPolicy(
            max_attempts=3,
            wait_initial=0.1,
            wait_max=5.0,
            retry_after_max=30.0,
            resend_unkeyed=False,
        ),
        timeout=10,
        deadline=60.0,
        max_connections=10,
        max_waiting=100,
        hooks=[hook, count],
        session=session,
    )
    assert_type(RouteraClient.from_env(timeout=5.0), RouteraClient)


async def tickets(fields: Mapping[str, Any]) -> None:
    """Use each verb."""
    async with RouteraClient("eyJ") as routera:
        assert_type(routera, RouteraClient)
        ticket = await routera.tickets.create(NEW, properties=["priority"])
        assert_type(ticket, Ticket)
        assert_type(await routera.tickets.create(fields), Ticket)
        assert_type(await routera.tickets.get(ticket.id), Ticket)
        listing = routera.tickets.list(properties=("priority",), archived=True, page_size=10)
        async for each in listing:
            assert_type(each, Ticket)
        async for page in listing.pages():
            assert_type(page, Page[Ticket])
            assert_type(page.records, tuple[Ticket, ...])
        assert_type(ticket.id, str)
        assert_type(ticket.external_id, str | None)
        assert_type(ticket.created_at, datetime)
        assert_type(ticket.archived, bool | datetime)
        assert_type(ticket.custom["priority"], Any)


async def many(rows: AsyncIterator[dict[str, str]]) -> None:
    """Create many, of records and of rows that are parsed."""
    routera = RouteraClient("eyJ")
    outcomes = routera.tickets.create_many([NEW, NEW], concurrency=8)
    assert_type(outcomes, AsyncGenerator[Outcome[Ticket], None])
    async for outcome in outcomes:
        assert_type(outcome.record, Ticket | None)
        assert_type(outcome.error, RouteraError | None)
        assert_type(outcome.attempts, tuple[Attempt, ...])
        assert_type(outcome.external_id, str | None)
    async for outcome in routera.tickets.create_many(
        rows,
        parse=lambda row: NewTicket(ticket_name=row["a"], pipeline="b", ticket_stage="c"),
    ):
        assert_type(outcome.row, int)


def caught(error: RouteraError) -> None:
    """Ask an error what it knows."""
    assert_type(error.attempts, tuple[Attempt, ...])
    assert_type(error.elapsed, float)
    match error:
        case DuplicateError():
            assert_type(error.ours, bool)
        case APIStatusError():
            assert_type(error.status, int)
            assert_type(error.message, str)
            assert_type(error.body, bytes)
            assert_type(error.headers, Mapping[str, str])
            assert_type(error.retry_after, float | None)
        case ResponseError():
            assert_type(error.id, str | None)


def wrong() -> None:
    """Do what the types refuse: each line is an error, or mypy says that it is not needed."""
    RouteraClient()  # type: ignore[call-arg]
    RouteraClient(b"eyJ")  # type: ignore[arg-type]
    RouteraClient("eyJ", "https://api.routera.io")  # type: ignore[call-arg]
    NewTicket(ticket_name="a", pipeline="b")  # type: ignore[call-arg]
    NewTicket("a", pipeline="b", ticket_stage="c")  # type: ignore[call-arg]
    NEW.ticket_name = "b"  # type: ignore[misc]
    RetryPolicy(attempts=3)  # type: ignore[call-arg]
    RouteraClient("eyJ", hooks=[print, len])  # type: ignore[list-item]
