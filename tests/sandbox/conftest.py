"""A sandbox with every type of custom field and a clock that stands still, and a raw client."""

import aiohttp
import attrs
import orjson
import pytest

from routera_async.sandbox import Sandbox

NOON = 1777629600.25
"""2026-05-01T10:00:00.250Z."""

CUSTOM = (
    "priority=dropdown:low,high",
    "csat=number",
    "done=checkbox",
    "due=date",
    "note=text",
    "tickets.assignee=user",
)

LEAST = {
    "contacts": {"last_name": "Doe"},
    "companies": {"company_name": "Lamps"},
    "deals": {"deal_name": "Lamps", "pipeline": "default", "deal_stage": "new"},
    "tickets": {"ticket_name": "Lamp", "pipeline": "default", "ticket_stage": "new"},
}
"""What a create of each object type needs."""


def written(plural="tickets", **changes):
    """Return a complete create's body with these fields changed; `...` takes one out."""
    fields = {name: value for name, value in (LEAST[plural] | changes).items() if value is not ...}
    return orjson.dumps({"fields": fields})


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self.now


@attrs.frozen
class Client:
    """Sends what it is told, as it is, with a valid token unless the headers say otherwise."""

    session: aiohttp.ClientSession
    url: str
    token: str

    async def send(self, method, path, data=None, headers=None):
        """Return the status, the body read as JSON, and the headers."""
        headers = {"Authorization": f"Bearer {self.token}"} | (headers or {})
        async with self.session.request(
            method, self.url + path, data=data, headers=headers
        ) as answer:
            assert answer.content_type == "application/json"
            return answer.status, orjson.loads(await answer.read()), answer.headers

    async def create(self, plural="tickets", **fields):
        """POST a record that is complete without these fields; return status and body."""
        status, body, _ = await self.send("POST", f"/{plural}", written(plural, **fields))
        return status, body

    async def update(self, path, **fields):
        """PATCH these fields; return status and body."""
        status, body, _ = await self.send("PATCH", path, orjson.dumps({"fields": fields}))
        return status, body

    async def archive(self, path):
        """DELETE a path; return status and body."""
        status, body, _ = await self.send("DELETE", path)
        return status, body

    async def get(self, path):
        """GET a path; return status and body."""
        status, body, _ = await self.send("GET", path)
        return status, body


@pytest.fixture
def clock():
    """Return a clock at NOON."""
    return Clock()


@pytest.fixture
async def sandbox(clock):
    """Run a sandbox with CUSTOM fields on the test's clock."""
    async with Sandbox(fields=CUSTOM, clock=clock) as running:
        yield running


@pytest.fixture
async def client(sandbox):
    """Return a raw client of the sandbox."""
    async with aiohttp.ClientSession() as session:
        yield Client(session, sandbox.url, sandbox.token)
