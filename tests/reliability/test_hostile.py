"""Whatever a server answers, a call ends in what is proven, and in nothing else."""

import pickle

import pytest

from routera_async import RouteraError, Ticket
from tests.reliability.hostile import CALLS, FLAT, TABLE, TOKEN, Server, client_of, whole
import orjson


async def ended(call, client):
    try:
        return await call.make(client)
    except Exception as error:
        return error


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("kind", CALLS)
async def test_x(name, kind, caplog):
    """X."""
    hostile, call = TABLE[name], CALLS[kind]
    async with Server() as server:
        server.answer = lambda: hostile.steps(call.shape)
        server.early = hostile.early
        async with client_of(server, hostile) as client:
            result = await ended(call, client)
            print(name, "|", kind, "|", type(result).__name__, str(result)[:150], len(server.requests))
            expected = tuple(call.returns if k is Ticket else k for k in hostile.ends)
            assert type(result) in expected
