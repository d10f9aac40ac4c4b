"""A Starlette service that holds one client for its whole life, responsive without Routera.

    uvicorn --app-dir examples --timeout-graceful-shutdown 10 starlette_app:app

Takes the token from ROUTERA_TOKEN and the address from ROUTERA_BASE_URL; `routera sandbox
--any-field` gives both. Imports are kept in the folder that IMPORTS names.
"""

import logging
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from background import Imports
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

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


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
    """Open the client, and close it when the last request is answered.

    It has no deadline: each request brings its own, and an import has none.
    """
    folder = Path(os.environ.get("IMPORTS", "imports"))
    async with (
        RouteraClient.from_env(timeout=5.0, max_waiting=200) as routera,
        Imports(routera, folder) as imports,
    ):
        yield {"routera": routera, "imports": imports}


def client(request: Request) -> RouteraClient:
    """Return the service's client, with the request's own deadline."""
    routera: RouteraClient = request.state.routera
    try:
        asked = float(request.headers.get("Request-Timeout", BUDGET))
        return routera.with_options(deadline=min(asked, BUDGET))
    except (ValueError, ConfigurationError) as error:
        raise HTTPException(422, "Request-Timeout: give seconds") from error


async def fields(request: Request) -> dict[str, Any]:
    """Return the fields that a request sends; the client checks them."""
    try:
        return {"pipeline": "default", "ticket_stage": "new", **await request.json()}
    except (TypeError, ValueError) as error:
        raise HTTPException(422, "the body must be a JSON object") from error


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


async def refuse(_: Request, error: Exception) -> Response:
    """Answer 503 when there is no room, or no proof.

    To send the same again is safe: its key is the ticket's external_id.
    """
    assert isinstance(error, RouteraError)
    log.warning("%s: %s", type(error).__name__, error)
    told = {"outcome": error.outcome, "detail": detail(error)}
    not_now = isinstance(error, Overloaded | NotSentError | RateLimitedError)
    if not_now or error.outcome == "unknown":
        seconds = math.ceil(getattr(error, "retry_after", None) or 1)
        return JSONResponse(told, 503, {"Retry-After": str(seconds)})
    if isinstance(error, BadRequestError | ValidationError):
        return JSONResponse(told, 422)
    raise error  # a token or a setting of ours: 500, and a line in the log


async def put_ticket(request: Request) -> Response:
    """Create a ticket: 201, or 200 when an earlier request has."""
    key = request.path_params["key"]
    new = {**await fields(request), "external_id": key}
    try:
        created = await client(request).tickets.create(new)
    except DuplicateError:
        return JSONResponse({"key": key})
    return JSONResponse({"key": key, "id": created.id}, 201)


async def add_import(request: Request) -> Response:
    """Import a CSV file in the background, whose columns are named like a ticket's fields."""
    name = await request.state.imports.add(request.stream())
    return JSONResponse({"import": name}, 202)


async def get_import(request: Request) -> Response:
    """Tell how an import stands."""
    told = request.state.imports.told(request.path_params["name"])
    return JSONResponse(told, 200 if told else 404)


async def health(_: Request) -> Response:
    """Answer as long as this process does: that Routera is away is no reason to restart it."""
    return JSONResponse({"status": "ok"})


app = Starlette(
    lifespan=lifespan,
    exception_handlers={RouteraError: refuse},
    routes=[
        Route("/tickets/{key}", put_ticket, methods=["PUT"]),
        Route("/imports", add_import, methods=["POST"]),
        Route("/imports/{name}", get_import),
        Route("/health", health),
    ],
)
