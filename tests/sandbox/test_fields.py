"""Field declarations, the values that each type takes, and the rules of an object type."""

import pytest

from routera_async.sandbox import Field, parse_field
from routera_async.sandbox.errors import Refused
from routera_async.sandbox.fields import CONTACTS, TICKETS, ObjectType


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("priority=dropdown:low,high", Field("priority", "dropdown", ("low", "high"))),
        ("a b = dropdown : x y , z ", Field("a b", "dropdown", ("x y", "z"))),
        ("t=dropdown:12:30,13:00", Field("t", "dropdown", ("12:30", "13:00"))),
        ("csat=number", Field("csat", "number")),
        ("done=checkbox", Field("done", "checkbox")),
        ("due=date", Field("due", "date")),
        ("note=text", Field("note", "text")),
        ("assignee=user", Field("assignee", "user")),
        ("tickets.csat=number", Field("csat", "number", object_type="tickets")),
    ],
)
def test_parse_field_reads_what_the_command_line_takes(text, field):
    """NAME=TYPE declares a field; a dropdown lists its options after a colon."""
    assert parse_field(text) == field


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("priority", "'priority': write NAME=TYPE, such as csat=number"),
        ("", "'': write NAME=TYPE, such as csat=number"),
        (" =number", "a field needs a name: NAME=TYPE, such as csat=number"),
        ("id=text", "id is a system field: declare another name"),
        (
            "n=int",
            "n: unknown type 'int'; use one of checkbox, date, dropdown, number, text, user",
        ),
        ("p=dropdown", "p: name the options: p=dropdown:low,high"),
        ("p=dropdown:", "p: name the options: p=dropdown:low,high"),
        ("p=dropdown:low,,high", "p: name the options: p=dropdown:low,high"),
        ("n=number:1,2", "n: only a dropdown has options; write number alone"),
        (
            "ticket.n=number",
            "ticket is no object type; use one of contacts, companies, deals, tickets",
        ),
        ("tickets.=number", "a field needs a name: NAME=TYPE, such as csat=number"),
    ],
)
def test_parse_field_says_in_one_line_what_to_do(text, message):
    """A declaration that makes no sense raises ValueError with one clear line."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared below
        parse_field(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("declared", "good", "bad"),
    [
        ("f=text", ["", "a", "two\nlines", "😀"], [1, True, ["a"], {}]),
        ("f=number", [0, -1, 1.5, 10**30], [True, "1", [1]]),
        ("f=checkbox", [True, False], [0, 1, "true"]),
        ("f=dropdown:low,high", ["low", "high"], ["", "LOW", "low,high", 1, ["low"]]),
        (
            "f=date",
            ["2026-05-01", "2026-05-01T10:00:00Z", "2026-05-01 10:00", "2026-05-01T10:00+02:00"],
            ["", "2026-02-30", "20260501", "2026-W18-5", "2026-05-01T25:00", "1/5/2026", 20260501],
        ),
        (
            "f=user",
            ["jane@example.com", "j+x@localhost"],
            ["", "jane", "@x", "a@", "a b@c", "a@b\n", "a\x85@b", "a\x1f@b", "\x00@b", 7],
        ),
    ],
)
def test_each_type_takes_its_own_values(declared, good, bad):
    """A type accepts exactly the JSON values that API.md's name for it promises."""
    field = parse_field(declared)
    assert [value for value in good if not field.accepts(value)] == []
    assert [value for value in bad if field.accepts(value)] == []


def test_null_is_taken_for_every_field_that_is_not_required():
    """Null clears a field, whatever its type."""
    kind = TICKETS.with_custom([parse_field("csat=number")], any_field=False)
    kind.check({"csat": None, "ticket_owner": None, "external_id": None})


def test_a_name_is_declared_once():
    """A custom field cannot take the name of a standard field or of an earlier one."""
    for twice in ([Field("pipeline")], [Field("a"), Field("a", "number", object_type="tickets")]):
        with pytest.raises(ValueError, match="already a field of tickets: rename it, or name the"):
            TICKETS.with_custom(twice, any_field=False)


def test_a_field_of_one_object_type_is_no_others():
    """A declaration that names its object type leaves the rest alone, their own fields too."""
    declared = [parse_field("tickets.email=text"), parse_field("deals.csat=number"), Field("note")]
    tickets = TICKETS.with_custom(declared, any_field=False)
    assert [tickets.knows(name) for name in ("email", "csat", "note")] == [True, False, True]
    contacts = CONTACTS.with_custom(declared, any_field=False)
    assert contacts.fields["email"] == CONTACTS.fields["email"]


def test_no_account_configures_an_email():
    """The type of a contact's own e-mail is not among those that API.md lets accounts choose."""
    with pytest.raises(ValueError, match="unknown type 'email'; use one of checkbox, date"):
        TICKETS.with_custom([Field("n", "email")], any_field=False)


def test_declaring_leaves_the_type_itself_alone():
    """One sandbox's custom fields are not the next one's."""
    TICKETS.with_custom([Field("note")], any_field=True)
    assert not TICKETS.knows("note")


@pytest.mark.parametrize(
    ("values", "refused"),
    [({}, True), ({"a": None}, True), ({"a": "", "b": " "}, True), ({"b": "x"}, False)],
)
def test_a_type_may_need_one_of_several_fields(values, refused):
    """A contact or a company is complete when any of the fields that it names is not blank."""
    kind = ObjectType("things", "thing", {}, (), needs_one=("a", "b"))
    if refused:
        with pytest.raises(Refused, match="At least one of a, b is required"):
            kind.check_required(values)
    else:
        kind.check_required(values)
