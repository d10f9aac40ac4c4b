"""Whatever a record holds goes to the sandbox and back, and is what it was."""

import itertools
import json

import attrs
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from routera_async import NewContact, NewTicket, RouteraClient, ValidationError
from routera_async.sandbox import Sandbox
from tests import strategies

REQUIRED = {"ticket_name": "Lamp", "pipeline": "default", "ticket_stage": "new"}

some = settings(
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # one sandbox for all examples
)

keys = itertools.count()


def exactly(value):
    """Return what two JSON values share only when they are alike to the sign of a zero."""
    return json.dumps(value, sort_keys=True)


def told(record):
    """Return what a record says in the fields that can be written."""
    names = attrs.fields_dict(type(record)).keys() - {
        "id",
        "created_at",
        "updated_at",
        "archived",
        "archived_by",
        "custom",
    }
    return {name: getattr(record, name) for name in names}


async def come_back(objects, sandbox, new):
    """Create a record, read it in every way, archive it, and hold each against what was given."""
    new = attrs.evolve(new, external_id=f"key-{next(keys)}\x00é")
    created = await objects.create(new)
    declared = {name: getattr(new, name) for name in told(created)}
    extra = {"website_url": new.website_url} if getattr(new, "website_url", None) else {}
    custom = {**new.custom, **extra}
    assert told(created) == declared
    assert exactly(created.custom) == exactly(custom)
    assert type(created.custom) is dict
    assert await objects.get(created.id, properties=custom) == created
    got = await objects.get(created.id, properties=custom)
    assert exactly(got.custom) == exactly({name: custom[name] for name in custom})
    listed = [record async for record in objects.list(properties=custom)]
    assert listed == [created]
    assert exactly(listed[0].custom) == exactly(custom)
    stored = sandbox.store.get(created.id)
    assert exactly({name: stored[name] for name in custom}) == exactly(custom)
    archived = await objects.archive(created.id)
    assert told(archived) == declared


@some
@given(strategies.new_tickets)
@example(NewTicket(**REQUIRED, custom={name: name for name in strategies.ODD_NAMES}))
@example(NewTicket(**REQUIRED, custom={f"f{at:03}": [at, None, 2.0**at] for at in range(200)}))
@example(NewTicket(**REQUIRED, custom={f"🦄{at}": 2**70 + at for at in range(200)}))
@example(NewTicket(**REQUIRED, custom={"a": -0.0, "b": [5e-324, 1e308, 2**70, -(2**70), 1e22]}))
@example(NewTicket(**REQUIRED, custom={"big": 2**70, "beside": [0.1, 1e308, 5e-324, -0.0]}))
async def test_any_ticket_comes_back(client, sandbox, new):
    """Any ticket comes back from create, get and list as it was given."""
    await come_back(client.tickets, sandbox, new)


@some
@given(strategies.new_contacts)
@example(NewContact(email="é@🦄", custom={"keys": {"custom": {"id": None}}}))
async def test_any_contact_comes_back(client, sandbox, new):
    """Any contact comes back from create, get and list as it was given."""
    await come_back(client.contacts, sandbox, new)


@some
@given(strategies.new_companies)
async def test_any_company_comes_back(client, sandbox, new):
    """Any company comes back from create, get and list as it was given."""
    await come_back(client.companies, sandbox, new)


@some
@given(strategies.new_deals)
async def test_any_deal_comes_back(client, sandbox, new):
    """Any deal comes back from create, get and list as it was given."""
    await come_back(client.deals, sandbox, new)


@some
@given(first=strategies.customs, changes=strategies.customs)
@example(first={"a": 1, "b": 2, "custom": 3}, changes={"a": None, "custom": None})
async def test_any_change_comes_back(client, sandbox, first, changes):
    """An update sets exactly what it holds, null as null, and leaves the rest as it is."""
    ticket = await client.tickets.create(NewTicket(**REQUIRED, custom=first))
    now = {**first, **changes}
    changed = await client.tickets.update(ticket.id, changes, properties=now)
    assert exactly(changed.custom) == exactly(now)
    assert exactly((await client.tickets.get(ticket.id, properties=now)).custom) == exactly(now)
    for name in now:
        nulled = await client.tickets.update(ticket.id, {name: None})
        assert nulled.custom == {name: None}
    empty = await client.tickets.get(ticket.id, properties=now)
    assert empty.custom == dict.fromkeys(now)
    assert told(empty) == told(ticket)


@some
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "ticket_name": strategies.filled,
            "pipeline": strategies.filled,
            "ticket_stage": strategies.filled,
            "ticket_owner": st.none() | strategies.emails,
            "external_id": st.none() | strategies.filled,
        },
    )
)
async def test_any_declared_field_is_changed(client, sandbox, changes):
    """A declared field is changed as well, and what may be null is nulled."""
    ticket = await client.tickets.create(
        NewTicket(**REQUIRED, external_id="before", ticket_owner="a@b")
    )
    changed = await client.tickets.update(ticket.id, changes)
    assert told(changed) == told(ticket) | changes
    assert await client.tickets.get(ticket.id) == changed
    await client.tickets.archive(ticket.id)


@some
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=10), strategies.values)
@example("a,b", 1)
@example(" a ", 1)
async def test_any_name_at_all(client, sandbox, name, value):
    """A name that cannot be asked for, for a comma or a blank, comes back from what writes it."""
    assume(name.strip() and name not in strategies.DECLARED | strategies.SYSTEM_FIELDS)
    created = await client.tickets.create({**REQUIRED, name: value})
    assert exactly(created.custom) == exactly({name: value})
    again = await client.tickets.update(created.id, {name: [value]})
    assert exactly(again.custom) == exactly({name: [value]})


@pytest.mark.parametrize("name", sorted(set(attrs.fields_dict(NewTicket)) - {"custom"}))
async def test_a_declared_name_in_custom(client, sandbox, name):
    """What is an attribute is not written through `custom`; a mapping may name it."""
    with pytest.raises(ValidationError, match=f"{name} is an attribute of NewTicket"):
        await client.tickets.create(NewTicket(**REQUIRED, custom={name: "a@b"}))
    assert sandbox.request_count == 0
    ticket = await client.tickets.create({**REQUIRED, name: "a@b"})
    assert (getattr(ticket, name), ticket.custom) == ("a@b", {})


@pytest.mark.parametrize("name", sorted(strategies.SYSTEM_FIELDS))
async def test_a_system_field(client, sandbox, name):
    """What only the server sets is refused, in `custom`, in a mapping and in changes."""
    with pytest.raises(ValidationError, match=name):
        await client.tickets.create(NewTicket(**REQUIRED, custom={name: None}))
    with pytest.raises(ValidationError, match=name):
        await client.tickets.create({**REQUIRED, name: "x"})
    with pytest.raises(ValidationError, match=name):
        await client.tickets.update("1", {name: None})
    assert sandbox.request_count == 0


async def test_a_field_that_other_kinds_declare(client):
    """A name that is an attribute of another kind is a custom field like any other."""
    names = strategies.DECLARED - set(attrs.fields_dict(NewTicket)) - strategies.SYSTEM_FIELDS
    custom = dict.fromkeys(sorted(names), "x@y")
    ticket = await client.tickets.create(NewTicket(**REQUIRED, custom=custom))
    assert ticket.custom == custom
    assert await client.tickets.get(ticket.id, properties=custom) == ticket


async def test_what_the_documented_types_hold():
    """Fields of the six types that an account can configure come back as they were."""
    fields = ["t=text", "n=number", "c=checkbox", "d=dropdown:é,🦄", "w=date", "u=user"]
    custom = {"t": "é\n", "n": 5e-324, "c": False, "d": "🦄", "w": "2026-05-01", "u": "é@b"}
    async with (
        Sandbox(fields=fields) as strict,
        RouteraClient(strict.token, base_url=strict.url) as client,
    ):
        ticket = await client.tickets.create(NewTicket(**REQUIRED, custom=custom))
        assert ticket.custom == custom
        assert await client.tickets.get(ticket.id, properties=custom) == ticket
        changed = await client.tickets.update(ticket.id, dict.fromkeys(custom))
        assert changed.custom == dict.fromkeys(custom)
