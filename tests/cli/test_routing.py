"""`routera routers` and `routera dispatch`: what they print, and the two kinds of 200."""

import json

import pytest

from routera_async.sandbox import Router
from tests.cli.elsewhere import ROUTER, UNPUBLISHED


@pytest.fixture
def contact(api, routera):
    """Return the id of a contact."""
    return routera("contacts", "create", "--set", "last_name=Doe").record["id"]


def test_routers_are_listed(api, routera):
    """Every router is listed, in every format; a table shows who and whether it is published."""
    assert {each["name"] for each in routera("routers", "list").records} == {"Inbound", "Draft"}
    assert len(routera("routers", "list", "--limit", 1).records) == 1
    header, *rows = routera("routers", "list", "--format", "table").out.splitlines()
    assert header.split() == ["id", "name", "object_type", "is_published", "users"]
    (row,) = (row for row in rows if "Inbound" in row)
    assert row.split() == [ROUTER.id, "Inbound", "contacts", "true", "jane@example.com"]
    assert routera("routers", "list", "--format", "csv").out.count("\n") == 3


def test_archived_routers_only_when_asked(api, routera):
    """--archived lists what is archived too."""
    api.ask(lambda sandbox: sandbox.archive_router(UNPUBLISHED.id))
    assert len(routera("routers", "list").records) == 1
    assert len(routera("routers", "list", "--archived").records) == 2


def test_a_router_is_printed_whole(api, routera):
    """Get prints the settings too: nested as JSON, one a line in a table."""
    assert routera("routers", "get", ROUTER.id).record["settings"]["overwrite"] is False
    table = routera("routers", "get", ROUTER.id, "--format", "table").out
    assert ["settings.owner_field", "contact_owner"] in [line.split() for line in table.split("\n")]
    ended = routera("routers", "get", "not-a-uuid")
    assert (ended.status, ended.error[:20]) == (1, "error: refused: 400:")


def test_dispatch_assigns(api, routera, contact):
    """An assigned object is exit 0; whom it was assigned to is printed, and is in the store."""
    ended = routera("dispatch", "--router", ROUTER.id, "--object", contact, "--format", "json")
    assert ended.status == 0
    assert json.loads(ended.out)["user"] == "jane@example.com"
    assert api.record(contact)["contact_owner"] == "jane@example.com"


def test_dispatch_that_assigns_nobody(api, routera, contact):
    """Not assigned is exit 1 and no error: why is what the API answered."""
    ended = routera("dispatch", "--router", UNPUBLISHED.id, "--object", contact)
    assert (ended.status, ended.err) == (1, "")
    assert ended.record["message"] == "The router is unpublished"


def test_a_failed_sync_is_a_warning(api, routera, contact):
    """An assignment holds when its sync to HubSpot failed: exit 0, and a warning."""
    users = ["jane@example.com"]
    synced = Router("Synced", "contacts", users, has_integration=True, hubspot_error="down")
    api.ask(lambda sandbox: sandbox.add_router(synced))
    ended = routera("dispatch", "--router", synced.id, "--object", contact)
    assert (ended.status, ended.record["hubspot_sync_failed"]) == (0, True)
    assert ended.error.startswith("warning: ")


def test_a_lost_dispatch_may_have_been_done(api, routera, contact):
    """A dispatch whose answer is lost is not sent again: exit 3, and one line says so."""
    api.sandbox.faults.script("disconnect_after_commit")
    ended = routera("dispatch", "--router", ROUTER.id, "--object", contact)
    assert (ended.status, ended.error[:26]) == (3, "error: may have been done:")
    assert [path for method, path, _ in api.seen() if method == "POST"][1:] == ["/dispatch/router"]
