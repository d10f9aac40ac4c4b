"""Reconciling: what the list proves of rows whose answers were lost, and what it does not."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routera_async.bulk import reconcile as module
from routera_async.bulk.reconcile import Doubt, Verdict, reconcile

BEGAN = datetime(2026, 5, 1, 10, tzinfo=UTC)
QUARANTINE = timedelta(seconds=60)
NAMING = frozenset({"ticket_name"})


def at(seconds):
    """Return a time, in seconds since the import began."""
    return BEGAN + timedelta(seconds=seconds)


def doubt(row=0, name="Lamp", *, first=10, last=20, **how):
    """Return an undecided row; its `fields` are added to its name."""
    fields = {"ticket_name": name, **how.pop("fields", {})}
    if "key" in how:
        fields["external_id"] = how.pop("key")
        how["key_name"] = "external_id"
    times = {"first_sent": at(first), "last_sent": at(last)}
    return Doubt(row=row, fields=fields, naming=NAMING, **times, **how)


def record(id_, name="Lamp", *, when=15, **fields):
    """Return a record as the list shows it."""
    return {"id": id_, "created_at": at(when), "ticket_name": name, **fields}


class World:
    """Lists that are read one after the other, the last for ever, and rows that own records."""

    def __init__(self, *lists, owned=()) -> None:
        self.lists = list(lists)
        self.owned = set(owned)
        self.did = []

    async def records(self, names):
        """List what there is."""
        self.did.append(sorted(names))
        for each in self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]:
            yield each

    async def claimed(self, ids):
        """Return which belong to other rows."""
        return self.owned & set(ids)

    async def wait(self):
        """Wait the quarantine out."""
        self.did.append("wait")

    async def verdicts(self, *doubts):
        """Reconcile, and return what is proven."""
        return await reconcile(
            doubts,
            began=BEGAN,
            records=self.records,
            claimed=self.claimed,
            wait=self.wait,
            quarantine=QUARANTINE,
        )

    def says(self, *doubts):
        """Reconcile; return the status and the id of each row, in order."""
        verdicts = sorted(asyncio.run(self.verdicts(*doubts)), key=lambda verdict: verdict.row)
        assert [verdict.row for verdict in verdicts] == sorted(
            each.row for each in doubts if not each.sure
        )
        return [(verdict.status, verdict.id) for verdict in verdicts]


def whole(*doubts, lists, owned=()):
    """Return the verdicts themselves."""
    return asyncio.run(World(*lists, owned=owned).verdicts(*doubts))


OURS, THEIRS = "1" * 8, "2" * 8

ABSENT = [("not_sent", None)]
UNKNOWN = [("unknown", None)]
CREATED = [("created", OURS)]
DUPLICATE = [("duplicate", OURS)]

HELD = doubt(key="k", held=True)
KEYED = doubt(key="k")
DERIVED = doubt(key="k", ours=True)
UNKEYED = doubt()

TABLE = [
    # a row, the records of the list, what that proves
    ("held, like", HELD, [record(OURS, external_id="k")], CREATED),
    ("held, other fields", HELD, [record(OURS, "Chair", external_id="k")], DUPLICATE),
    ("held, from before", HELD, [record(OURS, external_id="k", when=-3)], DUPLICATE),
    ("held, as it began", HELD, [record(OURS, external_id="k", when=-2)], CREATED),
    ("held, gone", HELD, [record(OURS)], UNKNOWN),
    ("held, key in capitals", HELD, [record(OURS, external_id="K")], UNKNOWN),
    ("keyed, like", KEYED, [record(OURS, external_id="k")], CREATED),
    ("keyed, other fields", KEYED, [record(OURS, "Chair", external_id="k")], DUPLICATE),
    ("keyed, absent", KEYED, [record(OURS, external_id="other")], ABSENT),
    ("keyed, key in capitals", KEYED, [record(OURS, external_id=" K/")], UNKNOWN),
    ("derived, like", DERIVED, [record(OURS, external_id="k")], CREATED),
    ("derived, changed since", DERIVED, [record(OURS, "Chair", external_id="k")], CREATED),
    ("derived, absent", DERIVED, [record(OURS)], ABSENT),
    ("unkeyed, one like it", UNKEYED, [record(OURS)], CREATED),
    ("unkeyed, none", UNKEYED, [record(OURS, "Chair")], ABSENT),
    ("unkeyed, two like it", UNKEYED, [record(OURS), record(THEIRS)], UNKNOWN),
    ("unkeyed, one of a key", UNKEYED, [record(OURS, external_id="other")], ABSENT),
    ("unkeyed, from before", UNKEYED, [record(OURS, when=7.9)], ABSENT),
    ("unkeyed, just before", UNKEYED, [record(OURS, when=8)], CREATED),
    ("unkeyed, late", UNKEYED, [record(OURS, when=82)], CREATED),
    ("unkeyed, too late", UNKEYED, [record(OURS, when=82.1)], ABSENT),
    ("unkeyed, changed since", doubt(fields={"p": 1}), [record(OURS, p=2)], UNKNOWN),
    ("unkeyed, a field of theirs", UNKEYED, [record(OURS, more=1)], CREATED),
    ("a field is null", doubt(fields={"p": None}), [record(OURS)], CREATED),
    ("true is not 1", doubt(fields={"p": True}), [record(OURS, p=1)], UNKNOWN),
    ("1 is 1.0", doubt(fields={"p": 1}), [record(OURS, p=1.0)], CREATED),
    ("long numbers", doubt(fields={"p": 2**70 + 1}), [record(OURS, p=2**70 + 1)], CREATED),
    ("long, but for one", doubt(fields={"p": 2**70 + 1}), [record(OURS, p=2**70)], UNKNOWN),
    (
        "one moment",
        doubt(fields={"p": "2026-05-01T10:00:00Z"}),
        [record(OURS, p="2026-05-01T12:00:00.000+02:00")],
        CREATED,
    ),
    (
        "another moment",
        doubt(fields={"p": "2026-05-01T10:00:00Z"}),
        [record(OURS, p="2026-05-01T10:00:01Z")],
        UNKNOWN,
    ),
    ("a key that is a number", doubt(key=5), [record(OURS, external_id="5")], DUPLICATE),
    ("a key that is a list", doubt(key=["k"]), [record(OURS, external_id=["k"])], CREATED),
]


@pytest.mark.parametrize(
    ("row", "records", "proven"), [case[1:] for case in TABLE], ids=[case[0] for case in TABLE]
)
def test_what_the_list_proves(row, records, proven):
    """One row and one list: what is proven, and nothing more."""
    assert World(records).says(row) == proven


@pytest.mark.parametrize("row", [HELD, KEYED, DERIVED, UNKEYED])
def test_what_belongs_to_another_row(row):
    """A record that another row is known to have created is no other row's."""
    key = {"external_id": "k"} if row.key_name else {}
    proven = World([record(OURS, **key)], owned=[OURS]).says(row)
    assert proven == (DUPLICATE if row.key_name else ABSENT)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("there", [0, 1, 2, 3])
def test_rows_that_nothing_tells_apart(rows, there):
    """Rows that are all the same are there when as many records are, and absent when none is."""
    records = [record(str(number)) for number in range(there)]
    proven = World(records).says(*(doubt(row) for row in range(rows)))
    if there == rows:
        assert proven == [("created", str(number)) for number in range(rows)]
    else:
        assert proven == (UNKNOWN if there else ABSENT) * rows


@pytest.mark.parametrize("there", [0, 1, 2, 3])
def test_a_row_that_is_sure(there):
    """A row that was created, and whose id was lost, takes one record from those like it."""
    records = [record(str(number), when=500) for number in range(there)]
    sure = doubt(0, sure=True, first=0, last=1_000)
    expected = {1: ABSENT, 2: [("created", "1")]}
    assert World(records).says(sure, doubt(1)) == expected.get(there, UNKNOWN)


def test_a_record_is_not_two_rows():
    """A record that is like two rows is claimed by neither: it may be either's."""
    rows = [doubt(0), doubt(1, fields={"priority": "high"})]
    assert World([record(OURS, priority="high")]).says(*rows) == UNKNOWN * 2
    assert World([record(OURS)]).says(*rows) == [("created", OURS), ("unknown", None)]
    both = [record(OURS), record(THEIRS, priority="high")]
    assert World(both).says(*rows) == UNKNOWN * 2


def test_rows_with_one_key():
    """Of two rows with one key the first has the record, and the second repeats it."""
    rows = [doubt(3, key="k", held=True), doubt(1, key="k")]
    assert World([record(OURS, external_id="k")]).says(*rows) == [*CREATED, *DUPLICATE]


def test_rows_with_one_key_that_differ():
    """The record is that one's whose fields it has, whichever comes first."""
    rows = [doubt(1, "Chair", key="k"), doubt(3, key="k")]
    assert World([record(OURS, external_id="k")]).says(*rows) == [*DUPLICATE, *CREATED]


def test_a_key_of_another_field():
    """A key is looked for in its own field, and only there."""
    row = doubt(fields={"email": "a@b.example"}, key_name="email")
    theirs = record(THEIRS, external_id="a@b.example")
    assert World([theirs, record(OURS, email="a@b.example")]).says(row) == CREATED
    assert World([theirs]).says(row) == ABSENT
    assert World([record(THEIRS, email="A@b.example")]).says(row) == UNKNOWN


def test_what_is_absent_is_looked_for_twice():
    """A second look finds what the first has missed, and is spared when that missed nothing."""
    there = [record(OURS, external_id="k"), record(THEIRS)]
    for row in (KEYED, UNKEYED, HELD):
        world = World([], there)
        (proven,) = world.says(row)
        assert proven == ("created", OURS if row.key_name else THEIRS)
        assert len(world.did) == 2 + (not row.held)
        assert len(World(there).did) == 0
        world = World(there)
        world.says(row)
        assert len(world.did) == 1 + (not row.held)
    world = World([record("1")], [record("1"), record("2")])
    assert world.says(doubt(0), doubt(1)) == [("created", "1"), ("created", "2")]
    world = World([record("1")], [record("2")])
    assert world.says(doubt(0), doubt(1)) == [("created", "1"), ("created", "2")]


def test_what_is_waited_for():
    """All but held rows wait before the list is read: what is lost may still be under way."""
    for rows, waits in (((HELD,), False), ((HELD, KEYED), True), ((UNKEYED,), True)):
        world = World([])
        world.says(*(attrs.evolve(each, row=row) for row, each in enumerate(rows)))
        assert ("wait" in world.did) == waits
        assert world.did.index("wait") == 0 if waits else True


def test_what_is_asked_for():
    """The list is asked for every field that a row was sent with, and for those that name it."""
    world = World([])
    naming = frozenset({"ticket_name", "website_url"})
    world.says(
        attrs.evolve(doubt(0, fields={"a": 1}), naming=naming), doubt(1, key="k", fields={"b": 2})
    )
    assert world.did[1] == ["a", "b", "external_id", "ticket_name", "website_url"]


def test_a_record_with_a_name_that_was_not_sent():
    """A record with another of the fields that name one is none of ours: not even nearly."""
    row = attrs.evolve(doubt(), naming=frozenset({"ticket_name", "email"}))
    assert World([record(OURS, email="a@b.example")]).says(row) == ABSENT
    assert World([record(OURS, email=None)]).says(row) == CREATED


def test_leftovers_tell_their_candidates():
    """A row that cannot be decided tells which records it may be: 20 of them at the most."""
    (verdict,) = whole(UNKEYED, lists=[[record("b"), record("a")]])
    reason = "2 records may be it: a, b"
    assert verdict == Verdict(row=0, status="unknown", reason=reason, candidates=("a", "b"))
    many = [record(f"{number:03}") for number in range(500)]
    for verdict in whole(doubt(0), doubt(1), lists=[many]):
        assert verdict.candidates == tuple(f"{number:03}" for number in range(20))
        assert verdict.reason.startswith("500 records may be one of 2 such rows: 000, 001")
    (verdict,) = whole(doubt(fields={"p": 1}), lists=[[record("a", p=2)]])
    assert verdict.candidates == ("a",)
    (verdict,) = whole(KEYED, lists=[[record("a", external_id="K")]])
    assert verdict.candidates == ("a",)
    (verdict,) = whole(HELD, lists=[[]])
    assert "external_id" in verdict.reason
    (verdict,) = whole(HELD, lists=[[record("a", "Chair", external_id="k")]])
    assert verdict.reason == "a has its external_id"


def test_too_many_candidates(monkeypatch):
    """When more may be ours than are kept, no unkeyed row is decided; others are."""
    monkeypatch.setattr(module, "_MOST_LIKE", 3)
    rows = [doubt(0), doubt(1, "Chair"), doubt(2, key="k")]
    there = [record(str(number), p=number) for number in range(5)]
    there += [record("c", "Chair"), record("k", external_id="k")]
    assert World(there).says(*rows) == [*UNKNOWN, *UNKNOWN, ("created", "k")]


def test_the_list_may_be_long(virtually):
    """Many rows are looked for in a long list in one go: not each row in each record."""
    looked = itertools.count()

    class Counted(dict):
        def get(self, *args):
            next(looked)
            return super().get(*args)

    async def main():
        there = [Counted(record(str(number), f"T{number}")) for number in range(2_000)]
        rows = [doubt(row, f"T{row * 2}") for row in range(1_000)]
        verdicts = await World(there).verdicts(*rows)
        assert {verdict.status for verdict in verdicts} == {"created"}
        assert next(looked) < 20_000

    virtually(main())


# Worlds


@attrs.frozen
class Sent:
    """A row of ours: what it holds, whether its key is given, derived or none, what became of it.

    `after` is how long after its last attempt it was created, None when it was not; `late` says
    that the first look misses it.
    """

    name: str
    key: str
    held: bool
    after: float | None
    late: bool


@attrs.frozen
class Foreign:
    """A record of somebody else's, which may hold the key of one of our rows."""

    name: str
    row: int | None
    when: float


names = st.sampled_from(["Lamp", "Chair"])
rows_sent = st.lists(
    st.builds(
        Sent,
        name=names,
        key=st.sampled_from(["given", "derived", "none"]),
        held=st.booleans(),
        after=st.none() | st.sampled_from([-10, 0, 5, 60]),
        late=st.booleans(),
    ),
    min_size=1,
    max_size=5,
)
foreign = st.lists(
    st.builds(
        Foreign,
        name=names | st.just("Desk"),
        row=st.none() | st.integers(0, 2),
        when=st.sampled_from([-1_000, -5, 15, 500]),
    ),
    max_size=4,
)


class Drawn:
    """What there is: records of ours and of others, by row where they are a row's."""

    def __init__(self, sent, others, skew) -> None:
        self.sent = sent
        self.keys = {row: f"k{row}" for row, each in enumerate(sent) if each.key != "none"}
        self.ours, self.held, self.records = {}, {}, []
        for row, each in enumerate(sent):
            if each.after is not None:
                there = record(f"ours{row}", each.name, when=20 + each.after + skew)
                self.ours[row] = there["id"]
                self.records.append(there | self.key(row))
        for number, each in enumerate(others):
            if self.may_be(each):
                there = record(f"theirs{number}", each.name, when=each.when)
                self.records.append(there | self.key(each.row))
                self.held |= {} if each.row is None else {each.row: there["id"]}

    def key(self, row):
        """Return the key that a row's record has."""
        return {"external_id": self.keys[row]} if row in self.keys else {}

    def may_be(self, other):
        """Say whether such a record can be, and is none that the module is known to mistake."""
        row = other.row
        if row is None:
            like = {each.name for each in self.sent if each.key == "none"}
            return other.name not in like or other.when != 15
        if row not in self.keys or row in self.ours or row in self.held:
            return False
        like = other.name == self.sent[row].name and other.when > 0
        return self.sent[row].key == "given" and not like

    def doubts(self):
        """Return the rows as the import has them."""
        for row, each in enumerate(self.sent):
            there = row in self.ours or row in self.held
            key = {"key": self.keys[row]} if row in self.keys else {}
            held = each.held and each.key == "given" and there
            yield doubt(row, each.name, ours=each.key == "derived", held=held, **key)

    def at_first(self):
        """Return what the first look finds."""
        late = {self.ours[row] for row in self.ours if self.sent[row].late}
        return [each for each in self.records if each["id"] not in late]

    def allows(self, verdict):
        """Say whether a verdict is so."""
        row, is_there = verdict.row, verdict.row in self.ours
        twins = {self.ours.get(row)}
        if row not in self.keys:
            twins = {id_ for other, id_ in self.ours.items() if self.are_twins(row, other)}
        return {
            "created": is_there and verdict.id in twins,
            "duplicate": not is_there and verdict.id == self.held.get(row, 0),
            "not_sent": not is_there and row not in self.held,
            "unknown": row not in self.keys and bool(verdict.candidates),
        }[verdict.status]

    def are_twins(self, row, other):
        """Say whether nothing tells two rows apart."""
        return other not in self.keys and self.sent[row].name == self.sent[other].name


@settings(max_examples=400)
@given(sent=rows_sent, others=foreign, skew=st.sampled_from([-2, -1, 0, 1, 2]))
def test_no_verdict_is_false(sent, others, skew):
    """Whatever is ours and whatever is others', nothing is said that is not so.

    As the module promises it: but for records of others that are just like ours and were created
    in the same time. `skew` is what the server's clock is off by, in seconds.
    """
    world = Drawn(sent, others, skew)
    verdicts = whole(*world.doubts(), lists=[world.at_first(), world.records])
    assert [verdict for verdict in verdicts if not world.allows(verdict)] == []
    ids = [verdict.id for verdict in verdicts if verdict.id]
    assert len(ids) == len(set(ids))
    assert len(verdicts) == len(sent)
