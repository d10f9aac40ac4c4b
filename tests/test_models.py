"""The models are plain values."""

import datetime as dt

import attrs
import pytest

from routera_async.models import SYSTEM_FIELDS, NewTicket, Record, Ticket

WHEN = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)


def test_a_ticket_is_a_value():
    """Two tickets with the same content are equal, hash alike and cannot be changed."""
    one, two = (
        Ticket(id="1", created_at=WHEN, updated_at=WHEN, custom={"tags": []}) for _ in range(2)
    )
    assert one == two
    assert one is not two
    assert hash(one) == hash(two)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.id = "2"


def test_custom_is_each_records_own():
    """Two records without custom fields do not share one mapping."""
    one, two = (NewTicket(ticket_name="a", pipeline="b", ticket_stage="c") for _ in range(2))
    assert one.custom == {}
    assert one.custom is not two.custom


@pytest.mark.parametrize("name", ["ticket_name", "pipeline", "ticket_stage"])
def test_what_the_api_requires_is_required(name):
    """A NewTicket without what the API requires cannot be made."""
    fields = {"ticket_name": "a", "pipeline": "b", "ticket_stage": "c"}
    del fields[name]
    with pytest.raises(TypeError, match=name):
        NewTicket(**fields)


def test_system_fields_are_what_only_a_record_has():
    """What a record has and nobody can write is exactly the system fields."""
    read_only = set(attrs.fields_dict(Ticket)) - set(attrs.fields_dict(NewTicket))
    assert read_only == SYSTEM_FIELDS
    assert read_only <= set(attrs.fields_dict(Record))
