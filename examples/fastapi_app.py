"""A FastAPI service that holds one client for its whole life, and stays responsive without Routera.

    uvicorn --app-dir examples --timeout-graceful-shutdown 10 fastapi_app:app

Takes the token from ROUTERA_TOKEN and the address from ROUTERA_BASE_URL; `routera sandbox
--any-field` gives both. Imports are kept in the folder that IMPORTS names.
"""

import logging
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

from background import Imports
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from routera_async import (
    BadRequestError,
    DuplicateError,
    NewTicket,
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


class State(TypedDict):
    """What lives as long as the service."""

    routera: RouteraClient
    imports: Imports


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Open the client, and close it when the last request is answered.

    It has no deadline: each request brings its own, and an import has none.
    """
    folder = Path(os.environ.get("IMPORTS", "imports"))
    async with (
        RouteraClient.from_env(timeout=5.0, max_waiting=200) as routera,
        Imports(routera, folder) as imports,
    ):
        yield {"routera": routera, "imports": imports}


app = FastAPI(lifespan=lifespan)


async def client(
    request: Request, request_timeout: Annotated[float, Header(gt=0)] = BUDGET
) -> RouteraClient:
    """Return the service's client, with the request's own deadline."""
    routera: RouteraClient = request.state.routera
    return routera.with_options(deadline=min(request_timeout, BUDGET))


Routera = Annotated[RouteraClient, Depends(client)]


class TicketIn(BaseModel):
    """What a caller says of a ticket."""

    ticket_name: str = Field(min_length=1)
    pipeline: str = "default"
    ticket_stage: str = "new"


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


@app.exception_handler(RouteraError)
async def refuse(_: Request, error: RouteraError) -> JSONResponse:
    """Answer 503 when there is no room, or no proof.

    To send the same again is safe: its key is the ticket's external_id.
    """
    log.warning("%s: %s", type(error).__name__, error)
    told = {"outcome": error.outcome, "detail": detail(error)}
    not_now = isinstance(error, Overloaded | NotSentError | RateLimitedError)
    if not_now or error.outcome == "unknown":
        seconds = math.ceil(getattr(error, "retry_after", None) or 1)
        return JSONResponse(told, 503, {"Retry-After": str(seconds)})
    if isinstance(error, BadRequestError | ValidationError):
        return JSONResponse(told, 422)
    raise error  # a token or a setting of ours: 500, and a line in the log


@app.put("/tickets/{key}", status_code=201)
async def put_ticket(
    key: str, ticket: TicketIn, routera: Routera, response: Response
) -> dict[str, str]:
    """Create a ticket: 201, or 200 when an earlier request has."""
    new = NewTicket(**ticket.model_dump(), external_id=key)
    try:
        created = await routera.tickets.create(new)
    except DuplicateError:
        response.status_code = 200
        return {"key": key}
    return {"key": key, "id": created.id}


@app.post("/imports", status_code=202)
async def add_import(request: Request) -> dict[str, str]:
    """Import a CSV file in the background, whose columns are named like a ticket's fields."""
    return {"import": await request.state.imports.add(request.stream())}


@app.get("/imports/{name}")
async def get_import(name: str, request: Request) -> dict[str, Any]:
    """Tell how an import stands."""
    told: dict[str, Any] | None = request.state.imports.told(name)
    if told is None:
        raise HTTPException(404)
    return told


@app.get("/health")
async def health() -> dict[str, str]:
    """Answer as long as this process does: that Routera is away is no reason to restart it."""
    return {"status": "ok"}
