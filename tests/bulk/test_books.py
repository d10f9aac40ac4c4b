"""The books of an import: what must not be sent is not, and the journal holds what was told."""

import asyncio

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routera_async import (
    DuplicateError,
    JournalError,
    NotSentError,
    OutcomeUnknown,
    ResponseError,
    ValidationError,
)
from routera_async.bulk import books as module
from routera_async.bulk.books import ImportBooks
from routera_async.bulk.engine import Outcome, run
from routera_async.bulk.journal import Journal
from tests.bulk.journal_crash import BINDING, NOW, in_memory, inline


@attrs.frozen
class Create:
    """A create, as the books see it."""

    row: int
    own: str | None = None
    made: str | None = None
    key_name: str = "external_id"
    doubtful: bool = False

    @property
    def body(self):
        """Return what is sent."""
        return b'{"fields": {"ticket_name": "Lamp"}}'

    @property
    def external_id(self):
        """Return the external_id in it."""
        return self.made or (self.own if self.key_name == "external_id" else None)

    @property
    def key(self):
        """Return what makes it safe to repeat."""
        return self.own or self.made


@attrs.frozen
class Stored:
    """What a create answers."""

    id: str
    external_id: str | None = None


ERRORS = {
    "nameless": ResponseError,
    "unknown": OutcomeUnknown,
    "rejected": ValidationError,
    "not_sent": NotSentError,
}
"""What a write ends with, beside a 409."""


def failure(ending):
    """Return the error that a write ends with, or None."""
    if isinstance(ending, BaseException):
        return ending
    if ending in {"duplicate", "held"}:
        error = DuplicateError("taken", status=409, headers={}, body=b"")
        error.ours = ending == "held"
        return error
    return ERRORS[ending]("no good") if ending in ERRORS else None


class Import:
    """One import of rows that are (key, endings): what each write of a row ends with, in order."""

    def __init__(self, *rows, key_name="external_id") -> None:
        self.rows = [(key, list(endings)) for key, *endings in rows]
        self.key_name = key_name
        self.sent = []
        self.keys = []
        self.prepared = None

    async def run(self, journal, *, concurrency=8, **settings):
        """Import them; return the outcomes by row, and the books."""
        self.books = ImportBooks(journal, clock=lambda: NOW, **settings)
        outcomes = run(
            range(len(self.rows)),
            parse=self.parsed,
            prepare=self.create,
            write=self.write,
            concurrency=concurrency,
            books=self.books,
        )
        found = {}
        try:
            async for outcome in outcomes:
                assert outcome.row not in found
                assert outcome.given == outcome.row
                found[outcome.row] = outcome
        finally:
            self.books.close()
        return found

    def parsed(self, row):
        """Return what is known of a row before it is prepared."""
        return {"external_id": self.rows[row][0]} if self.key_name == "external_id" else {}

    def create(self, _, row):
        """Make a row ready to be sent."""
        if self.prepared is not None:
            raise self.prepared
        own = self.rows[row][0]
        made = None if own else self.books.key(row)
        return Create(row, own, made, self.key_name, self.books.is_doubtful(row))

    async def write(self, new):
        """Send a row."""
        self.sent.append(new.row)
        self.keys.append(new.key)
        endings = self.rows[new.row][1]
        ending = endings.pop(0) if endings else "created"
        await asyncio.sleep(1)
        if error := failure(ending):
            raise error
        return Stored(f"id-{new.row}", new.external_id), ()

    async def statuses(self, journal, **settings):
        """Import them; return the statuses in order."""
        found = await self.run(journal, **settings)
        return [found[row].status for row in range(len(self.rows))]


def opened(path):
    """Open a journal that needs no threads."""
    return Journal.open(path, BINDING, run=inline, clock=lambda: NOW)


@pytest.fixture
def path(tmp_path):
    """Return where a journal may be."""
    return tmp_path / "journal"


@pytest.fixture
def journalled(virtually, path):
    """Run something with a journal on a virtual clock, and return what it returns."""

    def run_(something):
        async def main():
            async with opened(path) as journal:
                return await something(journal)

        return virtually(main())

    return run_


# Repeats


@pytest.mark.parametrize(
    ("first", "on_repeat", "expected", "sent"),
    [
        ("created", "first", ["created", "duplicate", "duplicate"], 1),
        ("nameless", "first", ["created", "duplicate", "duplicate"], 1),
        ("duplicate", "first", ["duplicate", "duplicate", "duplicate"], 1),
        ("unknown", "first", ["unknown", "unknown", "unknown"], 1),
        ("held", "first", ["unknown", "unknown", "unknown"], 1),
        ("rejected", "first", ["rejected", "created", "duplicate"], 2),
        ("not_sent", "first", ["not_sent", "created", "duplicate"], 2),
        ("created", "reject", ["created", "rejected", "rejected"], 1),
        ("unknown", "reject", ["unknown", "rejected", "rejected"], 1),
        ("rejected", "reject", ["rejected", "created", "rejected"], 2),
    ],
)
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("has_journal", [True, False])
def test_rows_with_one_key(
    virtually, path, first, on_repeat, expected, sent, concurrency, has_journal
):
    """The first row that has a key is sent; what becomes of it decides about those that repeat it.

    One that has created nothing leaves the key to the next. Nothing else is sent, journal or not.
    """
    import_ = Import(("k", first), ("k",), ("k",))

    async def main():
        if not has_journal:
            return await import_.statuses(None, on_repeat=on_repeat, concurrency=concurrency)
        async with opened(path) as journal:
            return await import_.statuses(journal, on_repeat=on_repeat, concurrency=concurrency)

    assert virtually(main()) == expected
    assert len(import_.sent) == len(set(import_.sent)) == sent
    doubtful = [row for row in (1, 2) if expected[row] == "unknown"]
    assert sorted(import_.books.repeats) == doubtful
    assert {each.first for each in import_.books.repeats.values()} <= {0}


def test_what_a_repeat_is_told(journalled):
    """A row that repeats another says which, by what, and has its own external_id."""
    found = journalled(Import(("a",), ("k",), ("k",)).run)
    assert found[2] == Outcome(
        status="duplicate",
        row=2,
        external_id="k",
        reason="it repeats the external_id of row 2",
    )
    by_email = Import(("a@b.example",), ("a@b.example",), key_name="email")
    found = journalled_again(journalled, by_email)
    assert found[1].reason == "it repeats the email of row 1"
    assert found[1].external_id is None


def journalled_again(journalled, import_):
    """Import without a journal."""
    return journalled(lambda _: import_.run(None))


@pytest.mark.parametrize("ending", ["created", "rejected", "unknown"])
def test_a_repeat_waits_for_the_first(journalled, ending):
    """A row waits while the one whose key it has is under way, and others go on meanwhile."""
    import_ = Import(("k", ending), ("k",), ("a",), ("b",))
    order = []

    async def main(journal):
        write = import_.write

        async def noted(new):
            order.append(f"{new.row} begins")
            try:
                return await write(new)
            finally:
                order.append(f"{new.row} ends")

        import_.write = noted
        await import_.run(journal, concurrency=4)

    journalled(main)
    assert order[:3] == ["0 begins", "2 begins", "3 begins"]
    if ending == "rejected":
        assert order.index("1 begins") > order.index("0 ends")
    else:
        assert "1 begins" not in order


@pytest.mark.parametrize("ending", ["rejected", "not_sent"])
@pytest.mark.parametrize("concurrency", [2, 3, 4])
def test_no_later_row_overtakes_one_that_waits(journalled, ending, concurrency):
    """A key that is given up goes to who has waited longest, not to a row that is just read."""
    rows = [("k", ending), ("k", ending), ("k",), ("a",), ("k",), ("k",)]
    import_ = Import(*rows)
    found = journalled(lambda journal: import_.run(journal, concurrency=concurrency))
    statuses = [found[row].status for row in range(6)]
    assert statuses == [ending, ending, "created", "created", "duplicate", "duplicate"]
    assert [row for row in import_.sent if row != 3] == [0, 1, 2]


@pytest.mark.parametrize("kind", [ZeroDivisionError, asyncio.CancelledError])
def test_a_bug_leaves_nobody_waiting(journalled, kind):
    """What is no error of ours is raised, and whoever waits for that row's key does not hang."""
    import_ = Import(("k", kind("bug")), ("k",), ("k",))
    with pytest.raises(kind):
        journalled(import_.run)


class OneSlot:
    """One place, for as many rows as may begin."""

    over = False

    def __init__(self, most=100) -> None:
        self.left = most
        self.lock = asyncio.Lock()

    def take_now(self):
        """Give the place to nobody at once."""
        return False

    async def take(self):
        """Give the place to one row at a time, to so many."""
        await self.lock.acquire()
        if not self.left:
            self.lock.release()
            raise NotSentError("no more")
        self.left -= 1

    def give_back(self):
        """Take the place back."""
        self.lock.release()

    def rows_ended(self):
        """Do nothing."""

    stop = rows_ended


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        (0, ["not_sent"] * 4),
        (1, ["created", "duplicate", "not_sent", "not_sent"]),
        (2, ["created", "duplicate", "created", "duplicate"]),
    ],
)
def test_a_repeat_holds_no_slot(virtually, slots, expected):
    """A row that waits for a key takes no place that the first one needs; without one, both know.

    And a row that was refused a place gives up no key but its own.
    """
    import_ = Import(("k",), ("k",), ("a",), ("a",))

    async def main():
        books = import_.books = ImportBooks(None)
        rows = run(
            range(4),
            parse=import_.parsed,
            prepare=import_.create,
            write=import_.write,
            concurrency=4,
            slots=OneSlot(slots),
            books=books,
        )
        found = {outcome.row: outcome.status async for outcome in rows}
        books.close()
        return [found[row] for row in sorted(found)]

    assert virtually(main()) == expected
    assert len(import_.sent) == slots


def test_a_key_is_its_fields(journalled):
    """A value of one field does not repeat the same value of another."""
    import_ = Import(("k",), ("k",))

    async def main(_):
        create = import_.create

        def by_row(parsed, row):
            return attrs.evolve(create(parsed, row), key_name=["external_id", "email"][row])

        import_.create = by_row
        return await import_.statuses(None)

    assert journalled(main) == ["created", "created"]


# Keys that are made


def test_a_key_is_made_of_the_import_and_the_row(virtually, path):
    """A row without a key has one that is the same in each run, and in no other import."""

    async def main():
        keys = []
        for where in (path, path, path.with_name("other")):
            import_ = Import((None, "not_sent"), ("own", "not_sent"), (None, "not_sent"))
            async with opened(where) as journal:
                await import_.run(journal, concurrency=1)
                keys.append(import_.keys)
                assert keys[-1] == [f"{journal.import_id}:0", "own", f"{journal.import_id}:2"]
        assert keys[0] == keys[1] != keys[2]

    virtually(main())


def test_no_key_is_made(virtually, path):
    """Without a journal, or when told so, a row without a key is sent without one."""

    async def main():
        async with opened(path) as journal:
            for where, how in ((None, {}), (None, {"derive": False}), (journal, {"derive": False})):
                import_ = Import((None,), ("own",))
                assert await import_.statuses(where, **how) == ["created", "created"]
                if where is None:
                    assert import_.keys == [None, "own"]
        assert import_.keys == [None, "own"]

    virtually(main())


# The journal


def test_the_journal_holds_what_was_told(virtually, path):
    """What is told of a row stands in the journal; a 409 that may be ours is held there."""
    import_ = Import(
        ("a",),
        ("b", "duplicate"),
        ("c", "rejected"),
        ("d", "unknown"),
        ("e", "held"),
        ("f", "not_sent"),
        ("a",),
        ("d",),
        (None, "unknown"),
    )

    async def main():
        async with opened(path) as journal:
            found = await import_.run(journal, concurrency=1)
        async with opened(path) as journal:
            return found, {row: await journal.known(row) for row in found}

    found, known = virtually(main())
    for row, entry in known.items():
        status = "unknown" if entry.status == "held" else entry.status
        assert (status, entry.id, entry.reason) == (
            found[row].status,
            found[row].id,
            found[row].reason,
        )
    assert known[4].status == "held"
    assert [known[row].key for row in (0, 4, 6, 8)] == ["a", "e", None, None]
    bodies = {row for row, entry in known.items() if entry.body is not None}
    assert bodies == {3, 4, 8}  # row 7 repeats row 3, and was never sent
    assert known[3].body == '{"fields": {"ticket_name": "Lamp"}}'
    assert set(import_.books.undecided) == bodies


def test_what_is_resumed(virtually, path):
    """What was decided is not sent again; what was not sent is, and so is what is in doubt."""
    endings = ["created", "duplicate", "rejected", "unknown", "held", "not_sent"]
    first = Import(*((f"k{row}", ending) for row, ending in enumerate(endings)))
    second = Import(*((f"k{row}", "duplicate") for row in range(len(endings))))

    async def main():
        async with opened(path) as journal:
            before = await first.run(journal)
        async with opened(path) as journal:
            return before, await second.run(journal)

    before, after = virtually(main())
    assert second.sent == [3, 4, 5]
    for row in (0, 1, 2):
        assert after[row] == attrs.evolve(before[row], record=None, error=None, resumed=True)
    assert not any(after[row].resumed for row in (3, 4, 5))


@pytest.mark.parametrize("derive", [True, False])
def test_an_open_intent(virtually, path, derive):
    """A row that was under way when a run ended is sent again with a key, and unknown without."""

    async def main():
        async with opened(path) as journal:
            await journal.intend(0, None)
            await journal.intend(1, "own")
        import_ = Import((None,), ("own",))
        async with opened(path) as journal:
            found = await import_.run(journal, derive=derive)
        return import_, found

    import_, found = virtually(main())
    if derive:
        assert [found[row].status for row in (0, 1)] == ["created", "created"]
        return
    assert import_.sent == [1]
    assert (found[0].status, found[0].error) == ("unknown", None)
    assert "without a key it is not sent again" in found[0].reason
    assert import_.books.undecided[0].first_sent == NOW


@pytest.mark.parametrize("ending", ["rejected", "not_sent"])
@pytest.mark.parametrize("where", ["write", "prepare"])
def test_what_may_be_there_stays_unknown(virtually, path, ending, where):
    """A row that an earlier run may have created is not told to be absent, whatever this one meets.

    Neither here nor in the journal.
    """

    async def main():
        async with opened(path) as journal:
            await journal.intend(0, "own")
        import_ = Import(("own", ending))
        import_.prepared = failure(ending) if where == "prepare" else None
        async with opened(path) as journal:
            found = await import_.run(journal)
        async with opened(path) as journal:
            return found[0].status, (await journal.known(0)).status

    assert virtually(main()) == ("unknown", "unknown")


def test_a_repeat_is_never_in_doubt(virtually, path):
    """A row that was unknown because it repeats one that was is no row that was sent."""

    async def main():
        async with opened(path) as journal:
            assert await Import(("k", "unknown"), ("k",)).statuses(journal) == ["unknown"] * 2
        again = Import(("k",), ("k",))
        async with opened(path) as journal:
            assert await again.statuses(journal) == ["created", "duplicate"]
        assert again.sent == [0]
        third = Import(("k",), ("k",))
        async with opened(path) as journal:
            assert await third.statuses(journal) == ["created", "duplicate"]
        assert third.sent == []

    virtually(main())


def test_a_repeat_that_was_sent_itself(virtually, path):
    """A row that an earlier run may have created is sent for itself, though it repeats another.

    The first was not sent then; now the server has the key, from one or the other.
    """

    async def main():
        async with opened(path) as journal:
            await journal.intend(1, "k")
        again = Import(("k", "duplicate"), ("k", "held"))
        async with opened(path) as journal:
            assert await again.statuses(journal) == ["duplicate", "unknown"]
        assert sorted(again.sent) == [0, 1]
        assert set(again.books.undecided) == {1}

    virtually(main())


def test_a_key_of_an_earlier_run(virtually, path):
    """A row repeats one that an earlier run has created, but none that it saw rejected."""

    async def main():
        async with opened(path) as journal:
            first = Import(("a", "created"), ("b", "rejected"))
            await first.run(journal)
        async with opened(path) as journal:
            again = Import(("a",), ("b",), ("a",), ("b",))
            statuses = await again.statuses(journal)
        assert statuses == ["created", "rejected", "duplicate", "created"]
        assert again.sent == [3]

    virtually(main())


def test_a_key_belongs_to_whom_an_earlier_run_has_created(virtually, path):
    """Not to an earlier row that is under way again, and comes to nothing: the third repeats it."""

    async def main():
        async with opened(path) as journal:
            first = Import(("a", "not_sent"), ("a", "created"))
            assert await first.statuses(journal) == ["not_sent", "created"]
        async with opened(path) as journal:
            again = Import(("a", "not_sent"), ("a",), ("a",))
            found = await again.run(journal)
        assert [found[row].status for row in range(3)] == ["not_sent", "created", "duplicate"]
        assert found[2].reason == "it repeats the external_id of row 2"
        assert again.sent == [0]

    virtually(main())


def test_an_email_is_no_external_id(virtually, path):
    """A key that is no external_id is not told as one when it comes back from the journal."""

    async def main():
        found = []
        for _ in range(2):
            import_ = Import(("a@b.example",), ("a@b.example",), key_name="email")
            async with opened(path) as journal:
                found.append(await import_.run(journal))
        return import_, found

    import_, found = virtually(main())
    assert import_.sent == []
    assert [each[0].external_id for each in found] == [None, None]
    assert [each[1].status for each in found] == ["duplicate", "duplicate"]


class Unwritable:
    """A journal that fails after so many intents, or from the first question on."""

    import_id = "1d" * 16
    last = 49

    def __init__(self, after) -> None:
        self.left = after

    async def known(self, _):
        """Know nothing."""
        if self.left < 0:
            raise JournalError("it cannot be read")

    async def intend(self, *_):
        """Fail after a while."""
        self.left -= 1
        if self.left < 0:
            raise JournalError("the disk is full")

    def settle(self, *_, **__):
        """Be closed."""
        raise JournalError("it is closed")


@pytest.mark.parametrize("after", [-1, 0, 1, 3])
def test_a_journal_that_fails(virtually, after):
    """When the journal fails nothing more is sent, each row that was read is told, and it raises.

    A row of which the journal cannot be asked may have been created before: that is unknown.
    """
    import_ = Import(*((f"k{row % 5}",) for row in range(50)))
    found = []

    async def main():
        import_.books = ImportBooks(Unwritable(after))
        rows = iter(range(50))
        outcomes = run(
            rows,
            parse=import_.parsed,
            prepare=import_.create,
            write=import_.write,
            concurrency=4,
            books=import_.books,
        )
        with pytest.raises(JournalError):
            await collect(outcomes, found)
        import_.books.close()
        return next(rows)

    read = virtually(main())
    assert sorted(outcome.row for outcome in found) == list(range(read))
    assert len(import_.sent) == max(0, after)
    if after < 0:
        assert [outcome.status for outcome in found] == ["unknown"]
    else:
        assert "not_sent" in {outcome.status for outcome in found}


async def collect(outcomes, found):
    """Append all outcomes until they end or something is raised."""
    async for outcome in outcomes:
        found.append(outcome)


def test_what_is_kept_of_doubts_is_bounded(virtually, monkeypatch, path):
    """Of rows in doubt and their repeats so many are kept, and the others stay unknown."""
    monkeypatch.setattr(module, "MOST_IN_DOUBT", 3)
    import_ = Import(
        *((f"k{row}", "unknown") for row in range(6)),
        *((f"k{row}",) for row in range(6)),
        *((None, "nameless") for row in range(5)),
    )

    async def main():
        async with opened(path) as journal:
            return await import_.statuses(journal, concurrency=1, derive=False)

    assert virtually(main()) == ["unknown"] * 12 + ["created"] * 5
    assert len(import_.books.undecided) == len(import_.books.repeats) == 3
    assert len(import_.books.nameless) == 3
    assert import_.books.forgot_nameless


def test_rows_without_a_name(virtually, path):
    """A row that was created without a key, and whose id was lost, is remembered from run to run.

    It may be what the list shows in the place of another that is just like it.
    """

    async def main():
        for _ in range(2):
            import_ = Import((None, "nameless"), ("k", "nameless"), (None, "created"))
            async with opened(path) as journal:
                assert await import_.statuses(journal, derive=False) == ["created"] * 3
            assert set(import_.books.nameless) == {0}
            assert not import_.books.forgot_nameless

    virtually(main())


# Whatever happens

ENDINGS = ["created", "nameless", "duplicate", "held", "unknown", "rejected", "not_sent"]


@settings(max_examples=100)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([None, "a", "b", "c"]),
            st.lists(st.sampled_from(ENDINGS), min_size=3, max_size=3),
        ),
        max_size=9,
    ),
    concurrency=st.integers(1, 9),
    on_repeat=st.sampled_from(["first", "reject"]),
    derive=st.booleans(),
)
def test_three_runs(virtually, rows, concurrency, on_repeat, derive):
    """Run after run each row has one outcome, and what is decided stays so and is not sent again.

    The journal says what was told.
    """

    async def main(path):
        decided = {}
        for turn in range(3):
            import_ = Import(*((key, endings[turn]) for key, endings in rows))
            async with opened(path) as journal:
                found = await import_.run(
                    journal, concurrency=concurrency, on_repeat=on_repeat, derive=derive
                )
            async with opened(path) as journal:
                known = {row: await journal.known(row) for row in found}
            assert sorted(found) == list(range(len(rows)))
            for row, outcome in found.items():
                status = "unknown" if known[row].status == "held" else known[row].status
                assert outcome.status == status
                assert outcome.status == decided.get(row, outcome.status)
            assert not decided.keys() & set(import_.sent)
            decided |= {
                row: outcome.status
                for row, outcome in found.items()
                if outcome.status in {"created", "duplicate", "rejected"}
            }

    with in_memory() as folder:
        virtually(main(folder / "journal"))
