"""Between the wire and the models: the seed's own examples, and whatever is not like them."""

import contextlib
import dataclasses
import datetime as dt
import enum
import json
import types
import uuid

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from routera_async._codec import decode, encode, page_from, to_fields, to_flat
from routera_async._shapes import from_flat
from routera_async.errors import ResponseError, ValidationError
from routera_async.models import SYSTEM_FIELDS, NewTicket, Page, Ticket
from tests.conftest import FLAT

SEED_REQUEST = """
{
  "fields": {
    "external_id": "ext-001",
    "ticket_name": "Support request",
    "pipeline": "default",
    "ticket_stage": "new"
  }
}
"""

SEED_SAMPLE = b"""
{
  "id": "<string>",
  "external_id": "<string>",
  "ticket_name": "<string>",
  "pipeline": "<string>",
  "ticket_owner": "jane@example.com",
  "created_at": "2023-11-07T05:31:56Z",
  "updated_at": "2023-11-07T05:31:56Z",
  "archived": true,
  "archived_by": "<string>"
}
"""

SEED_EXAMPLE = b"""
{
  "id": "550e8400-e29b-41d4-a716-446655440000",
  "external_id": "ext-001",
  "created_at": "2026-05-01T10:00:00.000Z",
  "updated_at": "2026-05-28T12:00:00.000Z",
  "archived": false,
  "ticket_name": "Support request",
  "pipeline": "default",
  "ticket_stage": "new",
  "ticket_owner": "jane@example.com"
}
"""

LEAST = {
    "id": "1",
    "created_at": "2026-05-01T10:00:00.000Z",
    "updated_at": "2026-05-01T10:00:00.000Z",
}
"""What every answer has."""

REQUIRED = {"ticket_name": "Lamp", "pipeline": "default", "ticket_stage": "new"}

texts = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**40), 10**40)
    # JSON has one zero
    | st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
names = texts.filter(lambda name: name not in set(attrs.fields_dict(Ticket)) | SYSTEM_FIELDS)
customs = st.dictionaries(names, json_values, max_size=5)
times = st.datetimes(
    min_value=dt.datetime(1, 1, 3),  # noqa: DTZ001 (the strategy adds the zone)
    max_value=dt.datetime(9999, 12, 29),  # noqa: DTZ001
    timezones=st.timezones(),
)


class Level(enum.Enum):
    """An account's own value."""

    HIGH = "high"
    NAN = float("nan")


@dataclasses.dataclass
class Reading:
    """Something of an account's own."""

    value: float = float("nan")


@attrs.frozen(kw_only=True)
class Incident(Ticket):
    """A ticket with a custom field of its own."""

    priority: str | None = None


def ticket(**fields):
    """Return the Ticket that a complete answer with these fields is."""
    return from_flat({**LEAST, **fields}, Ticket)


def sent(custom):
    """Return what stands inside `fields` on the wire for these custom fields."""
    return json.loads(encode(to_fields(NewTicket(**REQUIRED, custom=custom), NewTicket)))["fields"]


def test_the_seeds_request():
    """The seed's request is what its NewTicket is encoded as."""
    new = NewTicket(
        external_id="ext-001", ticket_name="Support request", pipeline="default", ticket_stage="new"
    )
    assert json.loads(encode(to_fields(new, NewTicket))) == json.loads(SEED_REQUEST)


def test_the_seeds_request_as_a_mapping():
    """The seed's fields, given as a mapping, are sent in their own order."""
    fields = json.loads(SEED_REQUEST)["fields"]
    assert (
        encode(to_fields(fields, NewTicket))
        == json.dumps({"fields": fields}, separators=(",", ":")).encode()
    )


def test_the_seeds_example():
    """The seed's second response is read whole, and shown again as it was."""
    read = from_flat(decode(SEED_EXAMPLE), Ticket)
    assert read == Ticket(
        id="550e8400-e29b-41d4-a716-446655440000",
        external_id="ext-001",
        created_at=dt.datetime(2026, 5, 1, 10, tzinfo=dt.UTC),
        updated_at=dt.datetime(2026, 5, 28, 12, tzinfo=dt.UTC),
        archived=False,
        ticket_name="Support request",
        pipeline="default",
        ticket_stage="new",
        ticket_owner="jane@example.com",
    )
    assert to_flat(read) == json.loads(SEED_EXAMPLE)


def test_the_seeds_generated_sample():
    """The seed's first response, with `archived: true` and no stage, is shown again as it was."""
    read = from_flat(decode(SEED_SAMPLE), Ticket)
    assert read.archived is True
    assert read.archived_by == "<string>"
    assert read.ticket_stage is None
    assert read.created_at == dt.datetime(2023, 11, 7, 5, 31, 56, tzinfo=dt.UTC)
    assert to_flat(read) == json.loads(SEED_SAMPLE) | {
        "created_at": "2023-11-07T05:31:56.000Z",
        "updated_at": "2023-11-07T05:31:56.000Z",
    }


def test_undeclared_keys_stand_in_custom():
    """Every key that the model does not declare is kept, as it is, in `custom`."""
    read = ticket(priority="high", tags=["a", None], custom={"x": 1}, nothing=None)
    assert read.custom == {
        "priority": "high",
        "tags": ["a", None],
        "custom": {"x": 1},
        "nothing": None,
    }
    assert to_flat(read).keys() - LEAST.keys() == {"archived", *read.custom}


def test_a_subclass_reads_its_own_fields():
    """A field that a subclass declares is its attribute, and no longer in `custom`."""
    read = from_flat({**LEAST, "priority": "high", "team": "b"}, Incident)
    assert (read.priority, read.custom) == ("high", {"team": "b"})


@pytest.mark.parametrize("name", ["external_id", "archived_by", "ticket_name", "ticket_owner"])
def test_a_null_is_none(name):
    """A text that is null, or not there, is None."""
    assert getattr(ticket(**{name: None}), name) is None
    assert getattr(ticket(), name) is None


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-05-01T10:00:00.000Z", dt.datetime(2026, 5, 1, 10, tzinfo=dt.UTC)),
        ("2026-05-01T10:00:00Z", dt.datetime(2026, 5, 1, 10, tzinfo=dt.UTC)),
        ("2026-05-01T10:00:00.25Z", dt.datetime(2026, 5, 1, 10, 0, 0, 250_000, dt.UTC)),
        ("2026-05-01T10:00:00.123456789Z", dt.datetime(2026, 5, 1, 10, 0, 0, 123_456, dt.UTC)),
        ("2026-05-01T12:00:00+02:00", dt.datetime(2026, 5, 1, 10, tzinfo=dt.UTC)),
        ("2026-05-01T10:00:00", dt.datetime(2026, 5, 1, 10, tzinfo=dt.UTC)),
    ],
)
def test_times_are_aware(text, when):
    """A time is an aware datetime, with and without a fraction; without an offset it is UTC."""
    read = ticket(created_at=text, archived=text)
    assert read.created_at == read.archived == when
    assert read.created_at.utcoffset() is not None


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"id": 5}, "expected text @ $.id"),
        ({"id": None}, "expected text @ $.id"),
        ({"external_id": 5}, "expected text @ $.external_id"),
        ({"ticket_name": ["Lamp"]}, "expected text @ $.ticket_name"),
        ({"created_at": None}, "expected an ISO 8601 time @ $.created_at"),
        ({"created_at": 1777629600}, "expected an ISO 8601 time @ $.created_at"),
        ({"created_at": "2026-05-01"}, "expected an ISO 8601 time @ $.created_at"),
        ({"updated_at": "2026-05-01T25:00:00Z"}, "expected an ISO 8601 time @ $.updated_at"),
        ({"archived": 0}, "expected an ISO 8601 time @ $.archived"),
        ({"archived": ""}, "expected an ISO 8601 time @ $.archived"),
        ({"archived": "false"}, "expected an ISO 8601 time @ $.archived"),
    ],
)
def test_a_wrong_answer_names_the_place(fields, place):
    """What is not of the documented type is refused, by name, and never converted."""
    with pytest.raises(ResponseError, match="as a Ticket") as caught:
        ticket(**fields)
    assert place in str(caught.value)
    assert caught.value.outcome == "created"


@pytest.mark.parametrize("name", LEAST)
def test_a_missing_key_is_named(name):
    """An answer without what every answer has is refused, and its id is kept when it is there."""
    short = {key: value for key, value in LEAST.items() if key != name}
    with pytest.raises(ResponseError) as caught:
        from_flat(short, Ticket)
    assert f"missing @ $.{name}" in str(caught.value)
    assert caught.value.id == short.get("id")


@pytest.mark.parametrize("answer", [None, [], "text", 5, True, {"id": 5}])
def test_an_answer_that_is_no_object(answer):
    """Whatever is no flat object is refused, and has no id."""
    with pytest.raises(ResponseError) as caught:
        from_flat(answer, Ticket)
    assert caught.value.id is None


def test_a_page():
    """A page holds its records, and where in the whole it was asked to lie."""
    answer = {"data": [LEAST, {**LEAST, "id": "2"}], "pagination": {"count": 99}}
    page, problem = page_from(answer, Ticket, limit=2, offset=4)
    assert problem is None
    assert page == Page((ticket(), ticket(id="2")), limit=2, offset=4)


@pytest.mark.parametrize("answer", [None, [], {}, {"data": None}, {"data": {}}])
def test_a_page_that_is_none(answer):
    """What has no list of objects under `data` is refused."""
    with pytest.raises(ResponseError):
        page_from(answer, Ticket, limit=2, offset=0)


def test_a_page_ends_before_what_cannot_be_read():
    """What is in front of a record that cannot be read is a page, beside the error."""
    answer = {"data": [LEAST, 5, {**LEAST, "id": "2"}]}
    page, problem = page_from(answer, Ticket, limit=3, offset=0)
    assert page == Page((ticket(),), limit=3, offset=0)
    assert str(problem).endswith("expected an object @ $.data[1]")


def test_none_is_left_out_unless_custom():
    """An attribute that is None is left out, and a None in `custom` is sent as null."""
    assert sent({"priority": None}) == REQUIRED | {"priority": None}


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("with_none", [True, False])
def test_what_is_required(name, with_none):
    """A create without a required field names it, whether it is missing or None."""
    fields = {**REQUIRED, name: None}
    if not with_none:
        del fields[name]
    with pytest.raises(ValidationError, match=f"^{name} is required$"):
        to_fields(fields, NewTicket)


def test_a_new_ticket_with_none_for_what_is_required():
    """A NewTicket does not get past its types with a None either."""
    with pytest.raises(ValidationError, match="pipeline is required"):
        to_fields(NewTicket(**REQUIRED | {"pipeline": None}), NewTicket)


@pytest.mark.parametrize("name", sorted(SYSTEM_FIELDS))
def test_system_fields_are_not_written(name):
    """A system field is refused by name, in a mapping and in `custom`."""
    for new in ({**REQUIRED, name: "x"}, NewTicket(**REQUIRED, custom={name: "x"})):
        with pytest.raises(ValidationError, match=f"^{name} is set by the server"):
            to_fields(new, NewTicket)


def test_an_attribute_is_not_custom():
    """A declared field in `custom` is refused: it would stand against the attribute."""
    with pytest.raises(ValidationError, match="external_id is an attribute"):
        to_fields(NewTicket(**REQUIRED, custom={"external_id": "x"}), NewTicket)


@pytest.mark.parametrize("new", [None, 5, "text", [("ticket_name", "x")], ticket()])
def test_what_is_no_new_ticket(new):
    """Only a NewTicket or a mapping can be created."""
    with pytest.raises(ValidationError, match="expected NewTicket or a mapping"):
        to_fields(new, NewTicket)


def test_the_given_mapping_is_not_changed():
    """The fields are a copy; what the caller gave stays as it was."""
    given_fields = types.MappingProxyType(REQUIRED)
    assert to_fields(given_fields, NewTicket) == REQUIRED
    assert to_fields(REQUIRED, NewTicket) is not REQUIRED


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (dt.datetime(2026, 5, 1, 10, tzinfo=dt.UTC), "2026-05-01T10:00:00Z"),
        (
            dt.datetime(2026, 5, 1, 10, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            "2026-05-01T10:00:00+02:00",
        ),
        (dt.date(2026, 5, 1), "2026-05-01"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Level.HIGH, "high"),
        ((1, "a"), [1, "a"]),
        ([2**70, dt.datetime(2026, 5, 1, 10, tzinfo=dt.UTC)], [2**70, "2026-05-01T10:00:00Z"]),
        (-(2**63) - 1, -(2**63) - 1),
        (2**64, 2**64),
    ],
)
def test_what_can_be_written(value, written):
    """Times, dates, enums and integers of any size are written as JSON says them."""
    assert sent({"x": value})["x"] == written


def cycle():
    """Return a mapping that holds itself."""
    knot = {}
    knot["knot"] = knot
    return knot


def deep():
    """Return a list in a list, 100,000 times, beside an integer that orjson does not take."""
    nested = []
    for _ in range(100_000):
        nested = [nested]
    return [2**70, nested]


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("-inf"),
        [1, {"b": float("inf")}],
        dt.datetime(2026, 5, 1),  # noqa: DTZ001 (that it has no zone is the point)
        {"when": [dt.datetime(2026, 5, 1)]},  # noqa: DTZ001
        "\ud800",
        {"\ud800": 1},
        {"\ud800": 2**70},
        {1: "a"},
        {"big": 2**70, "keys": {1: "a", "1": "b"}},
        Level.NAN,
        Reading(),
        [2**70, Reading()],
        b"bytes",
        {1, 2},
        object(),
        types.MappingProxyType({}),
        10**5000,
        cycle(),
        [2**70, cycle()],
        deep(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_written(value):
    """What JSON cannot say, or would say otherwise without a word, is refused by its name."""
    with pytest.raises(ValidationError, match=r"\bwrong\b"):
        encode({"right": "a", "wrong": value})


@pytest.mark.parametrize("key", [1, None, "\ud800", ("a",)])
def test_a_key_that_is_no_text(key):
    """A field's name is text."""
    with pytest.raises(ValidationError):
        encode({key: 2**70})


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "not JSON"),
        (b" ", "not JSON"),
        (b"<html>201</html>", "not JSON"),
        (b'{"id": "1"', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"\xef\xbb\xbf[12345678901234567890]", "not JSON"),
        ('{"id": "1"}'.encode("utf-16"), "not JSON"),
        (b'"\xff"', "not JSON"),
        (b'["\xff", 12345678901234567890]', "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b"[NaN, 12345678901234567890]", "not JSON"),
        (b"[-Infinity, 12345678901234567890]", "not JSON"),
        (b"[1e999, 12345678901234567890]", "not JSON"),
        (b"[1e999]", "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[" * 100_000 + b"12345678901234567890", "nested too deep"),
        (b"1 2", "not JSON"),
    ],
)
def test_a_body_that_cannot_be_read(body, what):
    """A body that is no JSON is told by its size; none breaks the reader."""
    with pytest.raises(ResponseError, match=f"{what} \\({len(body)} bytes\\)") as caught:
        decode(body)
    assert caught.value.outcome == "created"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"[]", []),
        (b"null", None),
        (b"18446744073709551616", 2**64),
        (b'{"n": -9223372036854775809}', {"n": -(2**63) - 1}),
        (b'{"n": -9223372036854775809, "f": 0.12345678901234567890}', None),
    ],
)
def test_a_body_that_can(body, value):
    """Any JSON value is read, and integers of any size exactly."""
    assert decode(body) == (value if value is not None else json.loads(body))


@pytest.mark.parametrize("name", ["converter", "cl", "omit_default", "include_init_false"])
def test_a_field_may_be_named_like_an_argument(name):
    """Whatever cattrs calls its own arguments, a field of that name is read."""
    field = {name: attrs.field(type=str, default="")}
    made = attrs.make_class("Made", field, bases=(Ticket,), frozen=True, kw_only=True)
    assert getattr(from_flat(json.loads(FLAT) | {name: "x"}, made), name) == "x"


@given(customs)
@example({"a": 2**64, "b": [2**63, -(2**63) - 1, 1e300, 5e-324], "c": {"": None}})
def test_custom_values_come_back(custom):
    """Any JSON value goes into `fields` and comes back in `custom` as it was."""
    fields = to_fields(NewTicket(**REQUIRED, custom=custom), NewTicket)
    echoed = decode(encode(fields))["fields"]
    assert from_flat({**LEAST, **echoed}, Ticket).custom == custom
    assert echoed == REQUIRED | custom


@given(
    st.builds(
        Ticket,
        id=texts,
        external_id=st.none() | texts,
        created_at=times,
        updated_at=times,
        archived=st.booleans() | times,
        archived_by=st.none() | texts,
        ticket_name=st.none() | texts,
        pipeline=st.none() | texts,
        ticket_stage=st.none() | texts,
        ticket_owner=st.none() | texts,
        custom=customs,
    )
)
def test_a_record_is_shown_and_read_again(record):
    """A record's flat form is read as the same record, its times to the millisecond."""
    flat = to_flat(record)
    again = from_flat(flat, Ticket)
    assert to_flat(again) == flat
    assert abs(again.created_at - record.created_at) < dt.timedelta(milliseconds=1)
    exact = {"created_at": again.created_at, "updated_at": again.updated_at}
    assert again == attrs.evolve(record, **exact, archived=again.archived)
    assert isinstance(again.archived, bool) == isinstance(record.archived, bool)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_read_or_refused(body):
    """No answer raises anything but ResponseError on its way to a Ticket."""
    with contextlib.suppress(ResponseError):
        assert from_flat(decode(body), Ticket).id
