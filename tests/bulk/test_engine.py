"""The engine: every row has one outcome, and neither rows nor tasks wait in memory."""

import asyncio
import contextlib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routera_async import (
    Attempt,
    AttemptFinished,
    ConfigurationError,
    DuplicateError,
    ForbiddenError,
    NewTicket,
    NotFoundError,
    NotSentError,
    Outcome,
    OutcomeUnknown,
    Overloaded,
    RateLimitedError,
    ResponseError,
    ServerError,
    UnauthorizedError,
    ValidationError,
)
from routera_async.bulk.engine import run
from routera_async.bulk.limiter import Limiter
from routera_async.errors import APIStatusError, from_response

ATTEMPTS = (
    Attempt(
        number=1, started=0.0, elapsed=0.1, sent=True, status=201, error=None, outcome="created"
    ),
)

FAULTS = {
    ValidationError: "rejected",
    NotSentError: "not_sent",
    Overloaded: "not_sent",
    OutcomeUnknown: "unknown",
    ResponseError: "created",
    400: "rejected",
    409: "duplicate",
    413: "rejected",
    429: "not_sent",
    500: "unknown",
}
"""What a write may raise for a row, and what that makes of the row."""

STOPS = {ConfigurationError: "not_sent", 401: "not_sent", 403: "not_sent", 404: "not_sent"}
"""What it may raise that every further row would meet as well."""


def fault(kind):
    """Return the error of a class or of a status."""
    error = from_response(kind, {}, b"", now=None) if isinstance(kind, int) else kind("no")
    error.attempts = ATTEMPTS
    return error


def as_is(row):
    """Return what was given."""
    return row


async def echo(new):
    """Create whatever it is."""
    return f"record of {new}", ATTEMPTS


async def exhaust(outcomes, into):
    """Append all outcomes until they end or something is raised."""
    async for outcome in outcomes:
        into.append(outcome)


async def collected(outcomes):
    """Return all outcomes, in the order of their rows."""
    return sorted([outcome async for outcome in outcomes], key=lambda outcome: outcome.row)


def others():
    """Return the tasks that run beside this one."""
    return asyncio.all_tasks() - {asyncio.current_task()}


async def two_rows():
    """Yield two rows."""
    yield "a"
    yield "b"


@pytest.mark.parametrize("rows", [["a", "b"], iter("ab"), ("a", "b"), two_rows()])
async def test_rows_of_any_kind(rows):
    """Any iterable and any async iterable is read, and its rows are numbered from 0."""
    outcomes = await collected(run(rows, parse=str.upper, write=echo, concurrency=3))
    assert outcomes == [
        Outcome(status="created", row=0, record="record of A", attempts=ATTEMPTS),
        Outcome(status="created", row=1, record="record of B", attempts=ATTEMPTS),
    ]
    assert [outcome.given for outcome in outcomes] == ["a", "b"]
    assert not others()


async def test_no_rows_no_outcomes():
    """An empty input is no fault."""
    assert await collected(run([], parse=as_is, write=echo, concurrency=3)) == []


@pytest.mark.parametrize("rows", [5, None])
async def test_rows_that_cannot_be_read(rows):
    """What cannot be iterated over is the caller's error, and is raised."""
    with pytest.raises(TypeError):
        await collected(run(rows, parse=as_is, write=echo, concurrency=3))


@pytest.mark.parametrize(
    ("new", "key"),
    [
        ({"external_id": "k1"}, "k1"),
        ({}, None),
        (
            NewTicket(external_id="k1", ticket_name="a", pipeline="b", ticket_stage="c"),
            "k1",
        ),
        ("text", None),
        ({"external_id": 123}, None),
        ({"external_id": ["x"]}, None),
        ({"external_id": date(2026, 11, 25)}, None),
    ],
)
@pytest.mark.parametrize("fails", [True, False])
async def test_an_outcome_knows_its_key(new, key, fails):
    """An outcome tells the external_id of what was to be written, however that ended."""

    async def write(_):
        if fails:
            raise fault(409)
        return await echo("x")

    (outcome,) = await collected(run([new], parse=as_is, write=write, concurrency=1))
    assert outcome.external_id == key


@pytest.mark.parametrize(("kind", "status"), FAULTS.items())
async def test_a_fault_of_a_row_is_its_outcome(kind, status):
    """No fault of a row is raised: it is that row's outcome, and the others go on."""
    error = fault(kind)

    async def write(new):
        if new == 1:
            raise error
        return await echo(new)

    outcomes = await collected(run(range(3), parse=as_is, write=write, concurrency=1))
    assert [outcome.status for outcome in outcomes] == ["created", status, "created"]
    assert outcomes[1] == Outcome(
        status=status, row=1, error=error, reason=str(error), attempts=ATTEMPTS
    )


async def test_a_duplicate_that_may_be_ours_is_unknown():
    """A 409 after a lost answer of our own does not say whose the record is."""
    error = fault(409)
    error.ours = True

    async def write(_):
        raise error

    (outcome,) = await collected(run([1], parse=as_is, write=write, concurrency=1))
    assert (outcome.status, outcome.error) == ("unknown", error)


async def test_a_row_that_cannot_be_parsed_is_rejected():
    """A row that `parse` refuses is rejected, and nothing is written for it."""
    written = []

    def parse(row):
        if row == 1:
            raise ValidationError("line 2: no name")
        return row

    async def write(new):
        written.append(new)
        return await echo(new)

    outcomes = await collected(run(range(3), parse=parse, write=write, concurrency=2))
    assert [outcome.status for outcome in outcomes] == ["created", "rejected", "created"]
    assert str(outcomes[1].error) == "line 2: no name"
    assert sorted(written) == [0, 2]


@pytest.mark.parametrize(("kind", "status"), STOPS.items())
def test_a_fault_of_the_account_stops_all(virtually, kind, status):
    """A fault that every row would meet is raised, once what was under way has been reported."""
    error, outcomes = fault(kind), []

    async def write(new):
        await asyncio.sleep(1 if new == 2 else 10)
        if new == 2:
            raise error
        return await echo(new)

    async def main():
        with pytest.raises(type(error)) as caught:
            await exhaust(run(range(100), parse=as_is, write=write, concurrency=4), outcomes)
        assert caught.value is error
        assert not others()

    virtually(main())
    assert {outcome.row: outcome.status for outcome in outcomes} == {
        0: "created",
        1: "created",
        2: status,
        3: "created",
    }


@pytest.mark.parametrize("kind", STOPS)
@pytest.mark.parametrize("pauses", [False, True])
def test_who_waits_for_a_place_is_not_sent_after_such_a_fault(virtually, kind, pauses):
    """Rows that wait for their turn then end as not sent, at once, in a pause as well."""
    written, outcomes = [], []

    async def write(new):
        written.append(new)
        await asyncio.sleep(0.5)
        if new == 0 and pauses:
            slots.ended(AttemptFinished("POST", "/tickets", 1, True, 429, None, 0.0, 60.0))
            raise fault(429)
        await asyncio.sleep(0.5)
        raise fault(kind)

    async def main():
        nonlocal slots
        slots = Limiter(6, start=2)
        rows = run(range(9), parse=as_is, write=write, concurrency=6, slots=slots)
        with pytest.raises((APIStatusError, ConfigurationError)):
            await exhaust(rows, outcomes)
        slots.close()
        return asyncio.get_running_loop().time()

    slots = None
    assert virtually(main()) == 1
    assert written == [0, 1]
    assert sorted(outcome.row for outcome in outcomes) == list(range(6 + pauses))
    assert {outcome.status for outcome in outcomes} == {"not_sent"}


async def test_a_stop_after_a_lost_answer_leaves_the_row_unknown():
    """A 401 that follows a lost answer stops the import, and its row is unknown."""
    error, outcomes = fault(401), []
    error.outcome = "unknown"

    async def write(_):
        raise error

    with pytest.raises(UnauthorizedError):
        await exhaust(run(range(9), parse=as_is, write=write, concurrency=1), outcomes)
    assert [outcome.status for outcome in outcomes] == ["unknown"]


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_source_that_raises(virtually, asynchronous):
    """What the input raises is raised, once the rows before it have been reported."""

    def rows():
        yield from range(3)
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "line 4")

    async def arows():
        for row in rows():
            yield row

    async def write(new):
        await asyncio.sleep(5 - new)
        return await echo(new)

    outcomes = []

    async def main():
        source = arows() if asynchronous else rows()
        with pytest.raises(UnicodeDecodeError, match="line 4"):
            await exhaust(run(source, parse=as_is, write=write, concurrency=8), outcomes)
        assert not others()

    virtually(main())
    assert [outcome.row for outcome in outcomes] == [2, 1, 0]


@pytest.mark.parametrize("where", ["parse", "write"])
@pytest.mark.parametrize("kind", [ZeroDivisionError, asyncio.CancelledError])
def test_what_is_no_error_of_ours_stops_all(virtually, where, kind):
    """A bug in `parse`, or a cancellation that `write` met elsewhere, is raised and never hangs."""

    def parse(row):
        if where == "parse" and row == 2:
            raise kind
        return row

    async def write(new):
        if where == "write" and new == 2:
            raise kind
        await asyncio.sleep(1)
        return await echo(new)

    outcomes = []

    async def main():
        with pytest.raises(kind):
            await exhaust(run(range(100), parse=parse, write=write, concurrency=4), outcomes)
        assert not others()

    virtually(main())
    assert [outcome.row for outcome in outcomes] == [0, 1]  # 3 was not read


def test_the_first_fault_is_the_one_raised(virtually):
    """When several stop the import, the first is raised."""

    async def write(new):
        await asyncio.sleep(3 - new)
        raise fault({0: 403, 1: 401, 2: 404}[new])

    async def main():
        with pytest.raises(NotFoundError):
            await collected(run(range(3), parse=as_is, write=write, concurrency=3))

    virtually(main())


@pytest.mark.parametrize("concurrency", [1, 3, 32])
def test_no_more_are_under_way_than_told(virtually, concurrency):
    """`concurrency` rows are under way at once, no more and no fewer."""
    under_way, most = 0, 0

    async def write(new):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1)
        under_way -= 1
        return await echo(new)

    async def main():
        outcomes = run(range(100), parse=as_is, write=write, concurrency=concurrency)
        assert len(await collected(outcomes)) == 100
        return asyncio.get_running_loop().time()

    assert virtually(main()) == -(-100 // concurrency)
    assert most == concurrency


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_rows_are_read_as_outcomes_are_taken(concurrency):
    """However slowly outcomes are taken, what was read and not taken is bounded."""
    read, tasks = 0, set()

    def rows():
        nonlocal read
        for row in range(10_000):
            read += 1
            yield row

    outcomes = run(rows(), parse=as_is, write=echo, concurrency=concurrency)
    assert read == 0
    async with contextlib.aclosing(outcomes):
        for taken in range(1, 51):
            await anext(outcomes)
            for _ in range(20):
                await asyncio.sleep(0)
            assert taken <= read <= taken + 2 * concurrency
            tasks |= others()
    assert len(tasks) == concurrency


def test_outcomes_come_as_they_are_known(virtually):
    """An outcome waits for no row before it."""

    async def write(new):
        await asyncio.sleep(10 - new)
        return await echo(new)

    async def main():
        outcomes = run(range(3), parse=as_is, write=write, concurrency=3)
        return [outcome.row async for outcome in outcomes]

    assert virtually(main()) == [2, 1, 0]


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_who_stops_taking_leaves_nothing_running(concurrency):
    """When the consumer stops early, what is under way is cancelled and no task is left."""
    cancelled = 0

    async def write(new):
        nonlocal cancelled
        if new < 3:
            return await echo(new)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise

    outcomes = run(range(100), parse=as_is, write=write, concurrency=concurrency)
    async with contextlib.aclosing(outcomes):
        async for outcome in outcomes:
            if outcome.row == 2:
                break
        await asyncio.sleep(0)
        assert len(others()) == concurrency
    assert not others()
    assert cancelled > 0


async def test_who_is_cancelled_leaves_nothing_running():
    """When the consumer is cancelled, so is what is under way."""
    started = asyncio.Event()

    async def write(_):
        started.set()
        await asyncio.Event().wait()

    consumer = asyncio.create_task(
        collected(run(range(9), parse=as_is, write=write, concurrency=4))
    )
    await started.wait()
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    assert not others()


@given(
    endings=st.lists(
        st.tuples(st.sampled_from(["created", *FAULTS]), st.integers(0, 3)), max_size=40
    ),
    concurrency=st.integers(1, 9),
    asynchronous=st.booleans(),
)
def test_every_row_has_one_outcome(virtually, endings, concurrency, asynchronous):
    """Whatever each write does and however long it takes, each row has exactly one outcome."""

    async def arows():
        for row in range(len(endings)):
            await asyncio.sleep(row % 2)
            yield row

    async def write(row):
        ending, seconds = endings[row]
        await asyncio.sleep(seconds)
        if ending == "created":
            return await echo(row)
        raise fault(ending)

    async def main():
        rows = arows() if asynchronous else range(len(endings))
        return await collected(run(rows, parse=as_is, write=write, concurrency=concurrency))

    outcomes = virtually(main())
    assert [outcome.row for outcome in outcomes] == list(range(len(endings)))
    for outcome, (ending, _) in zip(outcomes, endings, strict=True):
        assert outcome.status == FAULTS.get(ending, ending)
        assert (outcome.error is None) == (outcome.record is not None)


@given(
    stop=st.sampled_from(list(STOPS)),
    at=st.integers(0, 20),
    waits=st.lists(st.integers(0, 3), min_size=21, max_size=21),
    concurrency=st.integers(1, 9),
)
def test_a_stop_loses_no_row_that_was_read(virtually, stop, at, waits, concurrency):
    """When the import stops, every row that was read still has exactly one outcome."""
    read, outcomes = [], []

    def rows():
        for row in range(21):
            read.append(row)
            yield row

    async def write(row):
        await asyncio.sleep(waits[row])
        if row == at:
            raise fault(stop)
        return await echo(row)

    async def main():
        with pytest.raises((APIStatusError, ConfigurationError)):
            await exhaust(run(rows(), parse=as_is, write=write, concurrency=concurrency), outcomes)

    virtually(main())
    assert sorted(outcome.row for outcome in outcomes) == read
    assert {outcome.row for outcome in outcomes if outcome.status != "created"} == {at}


class SlowBooks:
    """Books that take a while to say that they know nothing of the first row, and no more then."""

    def __init__(self) -> None:
        self.may_know = True
        self.opened = []

    async def known(self, *_):
        """Know nothing, after a while."""
        self.may_know = False
        await asyncio.sleep(1)

    def awaits(self, *_):
        """Have no row wait."""

    def opens(self, number, *_):
        """Note the order."""
        self.opened.append(number)

    def intends(self, *_):
        """Have nothing to write down."""

    def closes(self, _, outcome):
        """Leave it at that."""
        return outcome


def test_no_row_overtakes_one_that_is_asked_for(virtually):
    """Rows are opened in their order, so that of two with one key the first is sent."""
    books = SlowBooks()

    async def write(_):
        return object(), ATTEMPTS

    async def main():
        outcomes = run(range(6), parse=str, write=write, concurrency=3, books=books)
        return [outcome.row async for outcome in outcomes]

    assert sorted(virtually(main())) == [0, 1, 2, 3, 4, 5]
    assert books.opened == [0, 1, 2, 3, 4, 5]


def test_all_faults_are_tried():
    """Every error that a call can end with is among the faults tried here."""
    tried = {type(fault(kind)) for kind in [*FAULTS, *STOPS]}
    assert {DuplicateError, ForbiddenError, RateLimitedError, ServerError} <= tried
    assert {"created", "rejected", "duplicate", "not_sent", "unknown"} == set(FAULTS.values())
