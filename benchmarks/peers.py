# ruff: noqa: PLC0415  a process imports the peer that it measures, and no other
"""Who is measured: this SDK, and what one would write or take instead.

Each peer is opened on a URL and gives a function that makes one POST of the seed's ticket and
returns the parsed answer. They are imported only when they are opened, so that a process holds one
of them alone. `more` and `less` say what a peer does beyond ours and what it leaves out.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import attrs

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJhY2NvdW50IjoiYmVuY2gifQ.c2lnbmF0dXJl"  # noqa: S105 (no secret)
"""What every peer sends: three parts, as long as a small JWT."""

BEARER = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json"}

IN_FLIGHT = 64
"""How many calls each peer has under way."""

JSON = {"Content-Type": "application/json"}
_CREATED = 201

Send = Callable[[], Awaitable[Any]]
"""Makes one POST and returns what its answer says."""


def fields() -> dict[str, Any]:
    """Return the seed's ticket."""
    return {
        "external_id": "ext-001",
        "ticket_name": "Support request",
        "pipeline": "default",
        "ticket_stage": "new",
    }


@attrs.frozen
class Peer:
    """One way to create a ticket.

    `packages` must be installed; with `threads`, `open` gives a function that blocks, to be called
    in as many threads as are in flight. `loop` names the package whose event loop it runs on.
    """

    name: str
    packages: tuple[str, ...]
    open: Callable[[str], AbstractAsyncContextManager[Callable[[], Any]]]
    more: str = ""
    less: str = ""
    threads: bool = False
    loop: str = "asyncio"

    def missing(self) -> str | None:
        """Return the first of its packages that is not installed."""
        needed = (*self.packages, *(() if self.loop == "asyncio" else (self.loop,)))
        return next((name for name in needed if not _installed(name)), None)


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


@asynccontextmanager
async def routera(url: str, **settings: Any) -> AsyncGenerator[Send]:
    """`tickets.create` with the settings that a client has by itself, but for those given."""
    from routera_async import NewTicket, RouteraClient

    async with RouteraClient(TOKEN, base_url=url, **settings) as client:
        create = client.tickets.create

        def send() -> Awaitable[Any]:
            return create(NewTicket(**fields()))

        yield send


def routera_idle(url: str) -> AbstractAsyncContextManager[Send]:
    """Return the same with OpenTelemetry turned on, and no SDK set up."""
    from routera_async.otel import OtelHook

    return routera(url, hooks=[OtelHook()])


@asynccontextmanager
async def aiohttp_orjson(url: str) -> AsyncGenerator[Send]:
    """`session.post` with orjson on both sides: the least that can be written with aiohttp."""
    import aiohttp
    import orjson

    async with aiohttp.ClientSession(headers=BEARER) as session:

        async def send() -> Any:
            body = orjson.dumps({"fields": fields()})
            async with session.post(f"{url}/tickets", data=body, headers=JSON) as answer:
                if answer.status != _CREATED:
                    raise RuntimeError(answer.status)
                return orjson.loads(await answer.read())

        yield send


def keep_buffers_at_hand() -> None:
    """Do what a `RouteraClient` does as it opens: glibc maps no memory for each answer then."""
    bytes(2**19)


def aiohttp_at_hand(url: str) -> AbstractAsyncContextManager[Send]:
    """Return `aiohttp_orjson`, as whoever knows this writes it."""
    keep_buffers_at_hand()
    return aiohttp_orjson(url)


@asynccontextmanager
async def aiohttp_json(url: str) -> AsyncGenerator[Send]:
    """`session.post(json=...)` and `answer.json()`: what aiohttp's own first page shows."""
    import aiohttp

    async with aiohttp.ClientSession(headers=BEARER) as session:

        async def send() -> Any:
            async with session.post(f"{url}/tickets", json={"fields": fields()}) as answer:
                answer.raise_for_status()
                return await answer.json()

        yield send


@asynccontextmanager
async def tenacity_aiohttp(url: str) -> AsyncGenerator[Send]:
    """Decorate `aiohttp_orjson` with tenacity, as its documentation shows."""
    import aiohttp
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    async with aiohttp_orjson(url) as send:
        yield retry(
            stop=stop_after_attempt(5),
            wait=wait_random_exponential(multiplier=0.2, max=20),
            retry=retry_if_exception_type((aiohttp.ClientError, asyncio.TimeoutError)),
            reraise=True,
        )(send)


@asynccontextmanager
async def httpx_alone(url: str) -> AsyncGenerator[Send]:
    """`httpx.AsyncClient.post(json=...)`."""
    import httpx

    async with httpx.AsyncClient(headers=BEARER) as client:

        async def send() -> Any:
            answer = await client.post(f"{url}/tickets", json={"fields": fields()})
            return answer.raise_for_status().json()

        yield send


def _openai(transport: str) -> Callable[[str], AbstractAsyncContextManager[Send]]:
    @asynccontextmanager
    async def opened(url: str) -> AsyncGenerator[Send]:
        import openai

        class Ticket(openai.BaseModel):
            id: str
            external_id: str | None = None
            ticket_name: str | None = None
            pipeline: str | None = None
            ticket_stage: str | None = None
            ticket_owner: str | None = None
            created_at: str
            updated_at: str
            archived: bool | str

        http = openai.DefaultAioHttpClient() if transport == "aiohttp" else None
        async with openai.AsyncOpenAI(api_key=TOKEN, base_url=url, http_client=http) as client:

            async def send() -> Any:
                return await client.post("/tickets", body={"fields": fields()}, cast_to=Ticket)

            yield send

    return opened


@asynccontextmanager
async def stripe_aiohttp(url: str) -> AsyncGenerator[Send]:
    """`raw_request_async` of a v2 path, whose bodies are JSON, and `deserialize`."""
    import stripe

    http = stripe.AIOHTTPClient()
    client = stripe.StripeClient(TOKEN, base_addresses={"api": url}, http_client=http)

    async def send() -> Any:
        answer = await client.raw_request_async("post", "/v2/tickets", fields=fields())
        return client.deserialize(answer, api_mode="V2")

    yield send
    await http.close_async()


@asynccontextmanager
async def hubspot_threads(url: str) -> AsyncGenerator[Callable[[], Any]]:
    """`crm.tickets.basic_api.create`, which blocks."""
    import hubspot
    from hubspot.crm.tickets import SimplePublicObjectInputForCreate

    client = hubspot.Client.create(access_token=TOKEN, host=url, connection_pool_maxsize=IN_FLIGHT)
    api = client.crm.tickets.basic_api

    def send() -> Any:
        new = SimplePublicObjectInputForCreate(properties=fields(), associations=[])
        return api.create(simple_public_object_input_for_create=new)

    yield send


@asynccontextmanager
async def slack(url: str) -> AsyncGenerator[Send]:
    """`api_call` with a session of its own: without one, slack_sdk connects anew for each call."""
    import aiohttp
    from slack_sdk.web.async_client import AsyncWebClient

    async with aiohttp.ClientSession() as session:
        client = AsyncWebClient(token=TOKEN, base_url=f"{url}/api/", session=session)

        async def send() -> Any:
            answer = await client.api_call("tickets.create", json={"fields": fields()})
            return answer.data

        yield send


@asynccontextmanager
async def salesforce(url: str) -> AsyncGenerator[Send]:
    """`sobject.create`; an httpx transport leads it here, for it takes no other host than its own.

    Leading it here is one `copy_with` a call.
    """
    import httpx
    from aiosalesforce import Salesforce
    from aiosalesforce.auth import Auth

    here = httpx.URL(url)

    class ToLoopback(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            request.url = request.url.copy_with(scheme="http", host=here.host, port=here.port)
            return await super().handle_async_request(request)

    class OneToken(Auth):
        async def _acquire_new_access_token(self, client: Salesforce) -> str:  # noqa: ARG002
            return TOKEN

    async with httpx.AsyncClient(transport=ToLoopback()) as http:
        client = Salesforce(http, base_url="https://bench.my.salesforce.com", auth=OneToken())

        async def send() -> Any:
            return await client.sobject.create("Ticket", {"fields": fields()})

        yield send


_BARE = "no outcome from evidence, no retry, no token refresh, no bound on the answer, no model"
_SDK = "no proof of whether a call without an answer was sent"

OURS = "routera_async"
RAW = "aiohttp + orjson"

PEERS = (
    Peer(OURS, ("aiohttp",), routera),
    Peer(RAW, ("aiohttp", "orjson"), aiohttp_orjson, less=_BARE),
    Peer("aiohttp + json", ("aiohttp",), aiohttp_json, less=_BARE),
    Peer(
        "tenacity around aiohttp",
        ("tenacity", "aiohttp", "orjson"),
        tenacity_aiohttp,
        more="retries a lost answer too, which may create twice",
        less="no outcome from evidence, no token refresh, no bound on the answer, no model",
    ),
    Peer("httpx", ("httpx",), httpx_alone, more="cookies, redirects, a `Response`", less=_BARE),
    Peer(
        "openai (httpx)",
        ("openai",),
        _openai("httpx"),
        more="its own X-Stainless headers, a pydantic model, logging",
        less=f"{_SDK}; times stay text",
    ),
    Peer(
        "openai (aiohttp)",
        ("openai", "aiohttp"),
        _openai("aiohttp"),
        more="its own X-Stainless headers, a pydantic model, logging; httpx's objects",
        less=f"{_SDK}; times stay text",
    ),
    Peer(
        "stripe (aiohttp)",
        ("stripe", "aiohttp"),
        stripe_aiohttp,
        more="an idempotency key and the client's own telemetry in headers, `StripeObject`",
        less=f"{_SDK}; no pool bound of its own, no types of values; times stay text",
    ),
    Peer(
        "hubspot (threads)",
        ("hubspot-api-client",),
        hubspot_threads,
        more="a model that checks what is set, times read by dateutil",
        less=f"{_SDK}; no retry of a POST; it blocks, so 64 threads make the calls",
        threads=True,
    ),
    Peer(
        "slack_sdk (aiohttp)",
        ("slack_sdk", "aiohttp"),
        slack,
        more="retries a connection that failed",
        less=f"{_SDK}; no model: a dict",
    ),
    Peer(
        "aiosalesforce (httpx)",
        ("aiosalesforce", "httpx"),
        salesforce,
        more="events, a task group for each; retries, a bound on those in flight",
        less=f"{_SDK}; returns the id alone",
    ),
)
"""Whose calls are compared."""

AT_HAND = Peer(f"{RAW}, buffers at hand", ("aiohttp", "orjson"), aiohttp_at_hand, less=_BARE)
"""The same without memory that glibc maps for each answer."""

TRACED = Peer(f"{OURS} (otel, no SDK)", ("aiohttp", "opentelemetry-api"), routera_idle)
"""What tracing costs whoever has not set it up."""

ON_UVLOOP = (
    Peer(f"{OURS} (uvloop)", ("aiohttp",), routera, loop="uvloop"),
    Peer(f"{RAW} (uvloop)", ("aiohttp", "orjson"), aiohttp_orjson, loop="uvloop"),
)
"""The same on the loop that the `speed` extra brings."""
