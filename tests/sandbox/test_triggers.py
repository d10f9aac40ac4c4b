"""Which objects a trigger matches, as the sandbox assumes it."""

import pytest

from routera_async.sandbox.triggers import EVERYTHING, matches, read

JANE = {"first_name": "Jane", "last_name": "", "email": None, "csat": 4}


def condition(field, operator, value=None):
    """Return a condition as a trigger holds it."""
    return {"field": field, "operator": operator, "value": value}


IS_JANE, IS_JOE = (condition("first_name", "equals", name) for name in ("Jane", "Joe"))


@pytest.mark.parametrize(
    ("groups", "wanted"),
    [
        ([], True),
        (EVERYTHING["groups"], True),
        ([[IS_JANE]], True),
        ([[IS_JOE]], False),
        ([[IS_JANE, IS_JOE]], False),
        ([[IS_JOE], [IS_JANE]], True),
        ([[IS_JOE], []], True),
    ],
)
def test_any_group_and_all_its_conditions(groups, wanted):
    """A trigger matches when a group does, a group when all its conditions hold, or nothing."""
    listed = [group if isinstance(group, dict) else {"conditions": group} for group in groups]
    assert matches({"groups": listed}, JANE) is wanted


@pytest.mark.parametrize(
    ("operator", "holds", "fails"),
    [
        ("equals", [("csat", 4), ("email", None)], [("csat", "4"), ("nothing", 1)]),
        ("not equals", [("csat", 5), ("nothing", 1)], [("csat", 4)]),
        ("contains", [("first_name", "an"), ("first_name", "")], [("csat", 4), ("email", "")]),
        ("is empty", [("last_name", None), ("email", None), ("nothing", None)], [("csat", None)]),
        ("is not empty", [("csat", None)], [("last_name", None), ("email", None)]),
    ],
)
def test_each_operator_compares_as_it_is_called(operator, holds, fails):
    """A field that an object lacks is null; nothing is converted; blank and null are empty."""
    for cases, wanted in ((holds, True), (fails, False)):
        for field, value in cases:
            trigger = {"groups": [{"conditions": [condition(field, operator, value)]}]}
            assert matches(trigger, JANE) is wanted, (field, operator, value)


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        ({}, 'a trigger is {"groups": '),
        ({"groups": 1}, 'a trigger is {"groups": '),
        ({"groups": [[]]}, 'a trigger is {"groups": '),
        ({"groups": [{"conditions": [{"field": "a"}]}]}, 'a trigger is {"groups": '),
        ({"groups": [{"conditions": [{"name": "a"}]}]}, 'a trigger is {"groups": '),
        (
            {"groups": [{"conditions": [condition("a", "like", 1)]}]},
            "a condition's operator is one of equals, not equals, contains, is empty, is not empty",
        ),
    ],
)
def test_what_is_no_trigger_is_refused(trigger, message):
    """ValueError says in one line what a trigger is, before any object meets it."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  its message is compared below
        read(trigger)
    assert str(caught.value).startswith(message)
