"""An aiohttp.web service that holds one client for its whole life, responsive without Routera.

    python examples/aiohttp_app.py

Takes the token from ROUTERA_TOKEN and the address from ROUTERA_BASE_URL; `routera sandbox
--any-field` gives both. Listens on PORT; imports are kept in the folder that IMPORTS names.
"""

import logging
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from background import Imports

from routera_async import (
    BadRequestError,
    ConfigurationError,
    DuplicateError,
    NotSentError,
    Overloaded,
    RateLimitedError,
    RouteraClient,
    RouteraError,
    ValidationError,
)

log = logging.getLogger(__name__)

BUDGET = 2.0
"""Seconds that a request may wait for Routera; its caller may grant it less."""

GRACE = 10.0
"""Seconds that requests under way have when the service is stopped, uploads above all."""

ROUTERA = web.AppKey("ROUTERA", RouteraClient)
IMPORTS = web.AppKey("IMPORTS", Imports)


async def routera(app: web.Application) -> AsyncIterator[None]:
    """Open the client, and close it when the last request is answered.

    It has no deadline: each request brings its own, and an import has none.
    """
    folder = Path(os.environ.get("IMPORTS", "imports"))
    async with (
        RouteraClient.from_env(timeout=5.0, max_waiting=200) as app[ROUTERA],
        Imports(app[ROUTERA], folder) as app[IMPORTS],
    ):
        yield


def client(request: web.Request) -> RouteraClient:
    """Return the service's client, with the request's own deadline."""
    try:
        asked = float(request.headers.get("Request-Timeout", BUDGET))
        return request.app[ROUTERA].with_options(deadline=min(asked, BUDGET))
    except (ValueError, ConfigurationError) as error:
        raise web.HTTPUnprocessableEntity(text="Request-Timeout: give seconds") from error


async def fields(request: web.Request) -> dict[str, Any]:
    """Return the fields that a request sends; the client checks them."""
    try:
        return {"pipeline": "default", "ticket_stage": "new", **await request.json()}
    except (TypeError, ValueError, LookupError) as error:  # a charset that nobody knows
        raise web.HTTPUnprocessableEntity(text="the body must be a JSON object") from error


def detail(error: RouteraError) -> str:
    """Say what a caller may know of an error, whose words may name a host."""
    match error:
        case Overloaded():
            return "too many are waiting already: send the same again later"
        case ValidationError():
            return str(error)  # of what the caller sent, and nothing else
        case BadRequestError(outcome="rejected"):
            return "Routera refuses such a ticket"
    return "send the same again later"


@web.middleware
async def refuse(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer 503 when there is no room, or no proof.

    To send the same again is safe: its key is the ticket's external_id.
    """
    try:
        return await handler(request)
    except RouteraError as error:
        log.warning("%s: %s", type(error).__name__, error)
        told = {"outcome": error.outcome, "detail": detail(error)}
        not_now = isinstance(error, Overloaded | NotSentError | RateLimitedError)
        if not_now or error.outcome == "unknown":
            seconds = math.ceil(getattr(error, "retry_after", None) or 1)
            return web.json_response(told, status=503, headers={"Retry-After": str(seconds)})
        if isinstance(error, BadRequestError | ValidationError):
            return web.json_response(told, status=422)
        raise  # a token or a setting of ours: 500, and a line in the log


async def put_ticket(request: web.Request) -> web.Response:
    """Create a ticket: 201, or 200 when an earlier request has."""
    key = request.match_info["key"]
    new = {**await fields(request), "external_id": key}
    try:
        created = await client(request).tickets.create(new)
    except DuplicateError:
        return web.json_response({"key": key})
    return web.json_response({"key": key, "id": created.id}, status=201)


async def add_import(request: web.Request) -> web.Response:
    """Import a CSV file in the background, whose columns are named like a ticket's fields."""
    name = await request.app[IMPORTS].add(request.content.iter_any())
    return web.json_response({"import": name}, status=202)


async def get_import(request: web.Request) -> web.Response:
    """Tell how an import stands."""
    told = request.app[IMPORTS].told(request.match_info["name"])
    return web.json_response(told, status=200 if told else 404)


async def health(_: web.Request) -> web.Response:
    """Answer as long as this process does: that Routera is away is no reason to restart it."""
    return web.json_response({"status": "ok"})


def make_app() -> web.Application:
    """Return the service."""
    app = web.Application(middlewares=[refuse])
    app.cleanup_ctx.append(routera)
    app.add_routes(
        [
            web.put("/tickets/{key}", put_ticket),
            web.post("/imports", add_import),
            web.get("/imports/{name}", get_import),
            web.get("/health", health),
        ]
    )
    return app


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8080"))
    web.run_app(make_app(), host="127.0.0.1", port=port, shutdown_timeout=GRACE)
