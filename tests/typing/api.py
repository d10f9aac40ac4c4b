"""What the public types promise: checked by mypy, never run."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, assert_type

import aiohttp
import attrs

from routera_async import (
    APIStatusError,
    Attempt,
    AttemptFinished,
    AttemptStarted,
    Auth,
    Binding,
    Bulk,
    Company,
    Contact,
    Deal,
    DispatchResult,
    DuplicateError,
    Event,
    Hook,
    ImportPaused,
    ImportProgress,
    ImportReconciling,
    ImportResumed,
    ImportSettings,
    Journal,
    LimiterChanged,
    Listing,
    NewCompany,
    NewContact,
    NewDeal,
    NewTicket,
    Objects,
    Outcome,
    Page,
    RequestFinished,
    RequestStarted,
    Response,
    ResponseError,
    RetryPolicy,
    RetryScheduled,
    Router,
    RouteraClient,
    RouteraError,
    RouterSettings,
    RouterTeam,
    RouterUser,
    RowInDoubt,
    StaticToken,
    Stats,
    Summary,
    Ticket,
    TokenProvider,
    TokenRefreshed,
    TokenRefreshFailed,
    TracingHook,
    Verdict,
    import_file,
    log_hook,
)
from routera_async.otel import OtelHook

NEW = NewTicket(ticket_name="a", pipeline="b", ticket_stage="c", custom={"priority": None})


@attrs.frozen(kw_only=True)
class MyTicket(Ticket):
    """A ticket with fields of the account's own."""

    csat: float | None = None
    priority: Literal["low", "high"] | None = None
    due: date | None = None


@attrs.frozen(kw_only=True)
class NewMyTicket(NewTicket):
    """What is written of it."""

    csat: float | None = None
    priority: Literal["low", "high"] | None = None


@attrs.frozen(kw_only=True)
class MyContact(Contact):
    """A contact with a field of the account's own."""

    vip: bool = False


@attrs.frozen(kw_only=True)
class NewMyContact(NewContact):
    """What is written of it."""

    vip: bool = False


@attrs.frozen(kw_only=True)
class MyCompany(Company):
    """A company with a field of the account's own."""

    size: int | None = None


@attrs.frozen(kw_only=True)
class MyDeal(Deal):
    """A deal with a field of the account's own."""

    amount: float | None = None


NEW_MINE = NewMyTicket(ticket_name="a", pipeline="b", ticket_stage="c", csat=4.5, priority="low")


async def fetch() -> str:
    """Be where a token comes from."""
    return "eyJ"


class OwnAuth:
    """An Auth of the caller's own."""

    async def token(self, *, refused: str | None = None) -> str:
        """Return a token."""
        return refused or "eyJ"


def count(event: Event, /) -> None:
    """Be a hook that hears of attempts and imports."""
    match event:
        case AttemptStarted():
            assert_type(event.number, int)
        case AttemptFinished():
            assert_type(event.status, int | None)
        case RetryScheduled():
            assert_type(event.delay, float)
        case LimiterChanged():
            assert_type(event.limit, int)
        case ImportPaused():
            assert_type(event.retry_in, float)
        case ImportResumed():
            assert_type(event.paused_for, float)
        case RowInDoubt():
            assert_type(event.row, int)
        case ImportReconciling():
            assert_type(event.wait, float)


def watch(event: Event, /) -> None:
    """Be a hook that hears of calls and tokens."""
    match event:
        case RequestStarted():
            assert_type(event.route, str | None)
        case RequestFinished():
            assert_type(event.outcome, str)
        case TokenRefreshed():
            assert_type(event.lasts, float | None)
        case TokenRefreshFailed():
            assert_type(event.error, str)


class OwnTracing:
    """A tracing hook of the user's own."""

    def __call__(self, event: Event, /) -> None:
        """Be a hook."""

    def listens(self) -> bool:
        """Listen to every call."""
        return True

    def headers(self, event: AttemptStarted, /) -> dict[str, str]:
        """Return headers."""
        return {"X-Call": str(event.call)}


def auths(session: aiohttp.ClientSession) -> None:
    """Make clients of every kind of auth, with every setting."""
    own: Auth = OwnAuth()
    hook: Hook = count
    tracing: TracingHook = OwnTracing()
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
        hooks=[hook, count, watch, tracing, log_hook, OtelHook()],
        session=session,
        mint_external_ids=True,
        proxy="http://proxy:3128",
        tls=ssl.create_default_context(),
    )
    assert_type(RouteraClient.from_env(timeout=5.0), RouteraClient)
    assert_type(RouteraClient("eyJ").stats(), Stats)
    assert_type(RouteraClient("eyJ").stats().wait_p95, float)


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


async def changes(routera: RouteraClient) -> None:
    """Change, find and archive."""
    changed = await routera.tickets.update("1", {"ticket_stage": "closed", "priority": None})
    assert_type(changed, Ticket)
    assert_type(await routera.tickets.update("1", {}, properties=["priority"]), Ticket)
    assert_type(await routera.tickets.archive("1"), Ticket)
    assert_type(await routera.tickets.find("ext-001", properties=["priority"]), Ticket | None)
    assert_type(routera.tickets.list(), Listing[Ticket])


async def every_kind(routera: RouteraClient) -> None:
    """Use each kind of object."""
    assert_type(routera.contacts, Objects[Contact, NewContact])
    assert_type(routera.companies, Objects[Company, NewCompany])
    assert_type(routera.deals, Objects[Deal, NewDeal])
    contact = await routera.contacts.create(NewContact(email="a@b.example"))
    assert_type(contact, Contact)
    assert_type(contact.email, str | None)
    company = await routera.companies.update("1", {"industry": "x"})
    assert_type(company, Company)
    assert_type(company.company_owner, str | None)
    deal = await routera.deals.archive("1")
    assert_type(deal, Deal)
    assert_type(deal.deal_stage, str | None)
    async for each in routera.companies.list():
        assert_type(each, Company)
    async for outcome in routera.deals.create_many([{"deal_name": "a"}]):
        assert_type(outcome.record, Deal | None)


async def typed(routera: RouteraClient) -> None:
    """Use subclasses with fields of the account's own."""
    read = routera.objects(MyTicket)
    assert_type(read, Objects[MyTicket, NewTicket])
    ticket = await read.create(NEW)
    assert_type(ticket, MyTicket)
    assert_type(ticket.csat, float | None)
    assert_type(ticket.priority, Literal["low", "high"] | None)
    assert_type(ticket.due, date | None)
    assert_type(ticket.ticket_name, str | None)
    both = routera.objects(MyTicket, NewMyTicket)
    assert_type(both, Objects[MyTicket, NewMyTicket])
    assert_type(await both.create(NEW_MINE), MyTicket)
    assert_type(await both.create({"ticket_name": "a"}), MyTicket)
    assert_type(await both.get("1"), MyTicket)
    assert_type(await both.update("1", {"csat": 5}), MyTicket)
    assert_type(await both.archive("1"), MyTicket)
    assert_type(await both.find("1"), MyTicket | None)
    async for each in both.list():
        assert_type(each, MyTicket)
    async for page in both.list().pages():
        assert_type(page.records, tuple[MyTicket, ...])
    async for outcome in both.create_many([NEW_MINE]):
        assert_type(outcome.record, MyTicket | None)
    assert_type(routera.objects(MyContact), Objects[MyContact, NewContact])
    assert_type(routera.objects(MyContact, NewMyContact), Objects[MyContact, NewMyContact])
    assert_type(routera.objects(MyCompany), Objects[MyCompany, NewCompany])
    assert_type(routera.objects(MyCompany, NewCompany), Objects[MyCompany, NewCompany])
    assert_type(routera.objects(MyDeal), Objects[MyDeal, NewDeal])
    assert_type(routera.objects(MyDeal, NewDeal), Objects[MyDeal, NewDeal])
    assert_type(routera.objects(Ticket), Objects[Ticket, NewTicket])


async def routers(routera: RouteraClient) -> None:
    """Read routers and run one."""
    router = await routera.routers.get("1")
    assert_type(router, Router)
    assert_type(routera.routers.list(archived=True, page_size=10), Listing[Router])
    async for each in routera.routers.list():
        assert_type(each, Router)
    assert_type(router.settings, RouterSettings | None)
    if router.settings is not None:
        assert_type(router.settings.overwrite, bool | None)
        assert_type(router.settings.trigger, Mapping[str, Any] | None)
    assert_type(router.users, tuple[RouterUser, ...])
    assert_type(router.teams, tuple[RouterTeam, ...])
    result = await routera.dispatch(router_id="1", object_id="2")
    assert_type(result, DispatchResult)
    assert_type(result.assigned, bool)
    assert_type(result.user, str | None)
    assert_type(result.owner_assigned_at, datetime | None)
    assert_type(result.hubspot_sync_failed, bool)


async def raw(routera: RouteraClient) -> None:
    """Send what the client knows nothing of, otherwise than usual."""
    response = await routera.request("POST", "/a", params={"b": "c"}, json=[1], repeatable=True)
    assert_type(response, Response)
    assert_type(response.status, int)
    assert_type(response.headers, Mapping[str, str])
    assert_type(response.body, bytes)
    assert_type(response.json(), Any)
    assert_type(response.attempts, tuple[Attempt, ...])
    twin = routera.with_options(
        timeout=1, deadline=None, retry=RetryPolicy(resend_dispatch=True), headers={"X-A": "b"}
    )
    assert_type(twin, RouteraClient)
    assert_type(routera.with_options(deadline=5.0), RouteraClient)


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


async def journalled(rows: AsyncIterator[NewTicket], stop: asyncio.Event) -> None:
    """Import by a journal, with every setting, and settle afterwards what was lost."""
    routera = RouteraClient("eyJ")
    bulk = Bulk(
        give_up_after=None,
        unreachable_after=5,
        rate=50,
        on_repeat="reject",
        derive_keys=False,
        reconcile=False,
        quarantine=0,
    )
    binding = Binding(digest="ab", target=routera.base_url, mapping="tickets")
    async with Journal.open("rows.journal", binding) as journal:
        assert_type(journal, Journal)
        async for outcome in routera.tickets.create_many(
            rows, journal=journal, bulk=bulk, hooks=[count], stop=stop
        ):
            assert_type(outcome, Outcome[Ticket])
            assert_type(outcome.id, str | None)
            assert_type(outcome.reason, str | None)
            assert_type(outcome.resumed, bool)
            assert_type(outcome.held, bool)
        verdicts = await routera.tickets.reconcile(journal, last_sent=0.0, hooks=[count])
        assert_type(verdicts, list[Verdict])
        assert_type(verdicts[0].candidates, tuple[str, ...])


async def imported(routera: RouteraClient, path: Path) -> None:
    """Import a file."""

    def told(progress: ImportProgress) -> None:
        assert_type(progress.done, int)
        assert_type(progress.summary, Summary)

    settings = ImportSettings(object="contacts", bulk=Bulk(), journal=path, canary=5)
    summary = await import_file(routera, path, settings=settings, on_progress=told)
    assert_type(summary, Summary)
    assert_type(await import_file(routera, "rows.csv"), Summary)


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
    Bulk(on_repeat="last")  # type: ignore[arg-type]
    Bulk(60.0)  # type: ignore[call-arg]
    ImportSettings(object="tasks")  # type: ignore[arg-type]


async def wrong_records(routera: RouteraClient) -> None:
    """Do with records what their types refuse."""
    NewMyTicket(ticket_name="a", pipeline="b", ticket_stage="c", csat="5")  # type: ignore[arg-type]
    NewMyTicket(
        ticket_name="a",
        pipeline="b",
        ticket_stage="c",
        priority="urgent",  # type: ignore[arg-type]
    )
    NewContact(e_mail="a@b.example")  # type: ignore[call-arg]
    NewDeal(deal_name="a")  # type: ignore[call-arg]
    typed = routera.objects(MyTicket, NewMyTicket)
    await typed.create(NEW)  # type: ignore[arg-type]
    await routera.contacts.create(NEW)  # type: ignore[arg-type]
    ticket = await typed.get("1")
    ticket.csat = 5.0  # type: ignore[misc]
    ticket.nothing  # type: ignore[attr-defined]  # noqa: B018 (it is asked for)
    (await routera.tickets.get("1")).csat  # type: ignore[attr-defined]  # noqa: B018
    text: str = ticket.csat  # type: ignore[assignment]
    await routera.tickets.get(text, ["priority"])  # type: ignore[call-arg]
    await routera.tickets.update("1", NEW)  # type: ignore[arg-type]
    await routera.tickets.update("1")  # type: ignore[call-arg]
    routera.objects(MyTicket, NewContact)  # type: ignore[type-var]
    routera.objects(Router)  # type: ignore[type-var]
    routera.objects(str)  # type: ignore[type-var]
    await routera.dispatch("1", "2")  # type: ignore[call-arg]
    await routera.routers.archive("1")  # type: ignore[attr-defined]
    await routera.request("GET", "/a", params={"limit": None})  # type: ignore[dict-item]
    routera.with_options(retry=None)  # type: ignore[arg-type]
