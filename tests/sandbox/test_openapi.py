"""The document at /openapi.json: what it names, and that it follows what the sandbox serves."""

import re

import aiohttp
import pytest

from routera_async.sandbox import Sandbox
from routera_async.sandbox.app import Api
from routera_async.sandbox.fields import OBJECT_TYPES, TICKETS
from routera_async.sandbox.openapi import document
from routera_async.sandbox.tokens import Credentials, Tokens


@pytest.fixture
def described():
    """Return the document of a sandbox without custom fields."""
    return document(OBJECT_TYPES)


def operations(described):
    """Yield each method, path and operation."""
    for path, item in described["paths"].items():
        for method in item.keys() - {"parameters"}:
            yield method.upper(), path, item[method]


async def served(sandbox):
    """Return the document as anybody gets it."""
    url = f"{sandbox.url}/openapi.json"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        return await answer.json()


async def test_it_is_served_without_a_token(sandbox):
    """A browser, or a generator of clients, has no token yet."""
    assert (await served(sandbox))["openapi"] == "3.1.0"


def test_it_names_every_route(described):
    """What the API routes is what the document names, method by method."""
    tokens = Tokens("s" * 32, ttl=60, clock=lambda: 0.0)
    api = Api(
        store=None,
        tokens=tokens,
        credentials=Credentials("id", "secret"),
        object_types=OBJECT_TYPES,
    )
    routed = {(method, path) for path, methods in api._paths.items() for method in methods}
    routed |= {(m, f"{path}/{{id}}") for path, methods in api._parents.items() for m in methods}
    assert {(method, path) for method, path, _ in operations(described)} == routed


STATUSES = {
    "POST /oauth2/token": "200 400 401 405 413 500",
    "GET /openapi.json": "200 400 405 413 500",
    "GET /routers": "200 400 401 405 413 500",
    "GET /routers/{id}": "200 400 401 404 405 413 500",
    "POST /dispatch/router": "200 400 401 405 413 500",
    "POST /tickets": "201 400 401 405 409 413 500",
    "GET /tickets": "200 400 401 405 413 500",
    "GET /tickets/{id}": "200 400 401 404 405 413 500",
    "PATCH /tickets/{id}": "200 400 401 404 405 409 413 500",
    "DELETE /tickets/{id}": "200 400 401 404 405 413 500",
}


def test_it_names_every_status(described):
    """Each operation has the statuses that API.md documents, and those of any HTTP server."""
    for method, path, operation in operations(described):
        key = f"{method} {re.sub('contacts|companies|deals', 'tickets', path)}"
        assert " ".join(sorted(operation["responses"])) == STATUSES[key]


def test_every_reference_leads_somewhere(described):
    """No $ref and no link names what is not there."""
    names = {operation["operationId"] for _, _, operation in operations(described)}
    assert len(names) == len(list(operations(described)))
    for reference in re.findall(r"'\$ref': '#/components/(\w+)/(\w+)'", str(described)):
        assert reference[1] in described["components"][reference[0]]
    for name in re.findall(r"'links': .*?'operationId': '(\w+)'", str(described)):
        assert name in names


@pytest.mark.parametrize("singular", ["Contact", "Company", "Deal", "Ticket"])
def test_a_record_has_its_fields(described, singular):
    """A record holds the standard fields of its type and no other."""
    (kind,) = (kind for kind in OBJECT_TYPES if kind.singular == singular.lower())
    record = described["components"]["schemas"][singular]
    system = {"id", "created_at", "updated_at", "archived", "archived_by"}
    assert set(record["properties"]) == system | set(kind.fields)
    assert set(record["required"]) == system - {"archived_by"} | {"external_id", *kind.defaults}
    assert record["additionalProperties"] is False


async def test_custom_fields_are_described():
    """Each is there with its type, in what is written and read and in `properties`."""
    async with Sandbox(fields=["tickets.priority=dropdown:low,high"]) as sandbox:
        described = await served(sandbox)
    schemas = described["components"]["schemas"]
    written = schemas["NewTicket"]["properties"]["fields"]["properties"]["priority"]
    assert written["anyOf"] == [{"enum": ["low", "high"]}, {"type": "null"}]
    assert schemas["Ticket"]["properties"]["priority"]["anyOf"][0] == {"type": "string"}
    assert "priority" not in schemas["Deal"]["properties"]
    (asked, *_) = described["paths"]["/tickets"]["get"]["parameters"]
    assert "priority" in asked["schema"]["items"]["enum"]


def test_a_create_takes_properties_when_it_echoes():
    """`properties` is a parameter of a create in the sandbox that honours it, and of no other."""
    for echo, names in ((True, ["properties"]), (False, [])):
        create = document(OBJECT_TYPES, echo=echo)["paths"]["/tickets"]["post"]
        assert [each["name"] for each in create["parameters"]] == names


def test_a_failed_sync_is_described(described):
    """An assignment may say that its sync to HubSpot failed, and nothing that is not described."""
    assigned = described["components"]["schemas"]["Assigned"]
    optional = assigned["properties"].keys() - set(assigned["required"])
    assert optional == {"hubspot_sync_failed", "hubspot_error"}
    assert assigned["additionalProperties"] is False


def test_any_field_is_described():
    """Other names are open then, in what is written and what is read, but not the system's."""
    schemas = document([TICKETS.with_custom([], any_field=True)])["components"]["schemas"]
    assert schemas["Ticket"]["additionalProperties"] is True
    written = schemas["TicketChanges"]["properties"]["fields"]
    assert written["additionalProperties"] is True
    assert "archived" in written["propertyNames"]["not"]["enum"]


def test_what_a_create_needs_is_described(described):
    """Required fields are required on create only, and null does not clear them."""
    schemas = described["components"]["schemas"]
    new, changes = (schemas[name]["properties"]["fields"] for name in ("NewDeal", "DealChanges"))
    assert new["required"] == ["deal_name", "deal_stage", "pipeline"]
    assert "required" not in changes
    assert changes["properties"]["deal_name"]["type"] == "string"
    needed = schemas["NewCompany"]["properties"]["fields"]["anyOf"]
    assert [each["required"] for each in needed] == [["company_name"], ["website_url"]]
