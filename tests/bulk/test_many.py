"""A whole import: what was lost is found, what stops it leaves it resumable, nothing is twice."""

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from datetime import UTC, datetime

import attrs
import pytest

from routera_async import (
    AttemptFinished,
    Bulk,
    ConfigurationError,
    DuplicateError,
    ForbiddenError,
    ImportPaused,
    ImportReconciling,
    JournalError,
    LimiterChanged,
    NotFoundError,
    NotSentError,
    Outcome,
    OutcomeUnknown,
    ResponseError,
    RetryPolicy,
    RouteraClient,
    RowInDoubt,
    UnauthorizedError,
)
from routera_async.bulk.journal import Journal
from routera_async.bulk.many import create_many
from routera_async.sandbox import Sandbox
from tests.bulk.journal_crash import BINDING, inline

AT_ONCE = RetryPolicy(wait_initial=0, max_attempts=3, resend_unkeyed=False)
NOW = Bulk(quarantine=0)
EPOCH = 1_764_000_000.0
GOOD = {"sent": True, "status": 201, "error": None}


def ticket(name, **fields):
    """Return a ticket to create."""
    return {"ticket_name": name, "pipeline": "default", "ticket_stage": "new", **fields}


async def collected(outcomes, into=None):
    """Return all outcomes by row, each of which has one."""
    found = {} if into is None else into
    async with contextlib.aclosing(outcomes):
        async for outcome in outcomes:
            assert outcome.row not in found
            found[outcome.row] = outcome
    return found


def statuses(found):
    """Return the statuses of all rows, in order."""
    return [found[row].status for row in sorted(found)]


def client_of(sandbox):
    """Return a client of a sandbox that repeats at once, at most twice."""
    return RouteraClient(sandbox.token, base_url=sandbox.url, retry=AT_ONCE)


@pytest.fixture
async def client(sandbox):
    """Return a client of the sandbox that repeats at once, at most twice."""
    async with client_of(sandbox) as opened:
        yield opened


@pytest.fixture
async def journal(tmp_path):
    """Return the journal of an import."""
    async with Journal.open(tmp_path / "journal", BINDING) as opened:
        yield opened


# On the sandbox


@pytest.mark.parametrize("start", [-1, 1, 3])
async def test_it_begins_after_rows_that_are_decided(client, sandbox, journal, start):
    """A start that would leave out a row is refused, and nothing is sent."""
    rows = [ticket("A")]
    with pytest.raises(ConfigurationError, match="start"):
        await collected(client.tickets.create_many(rows, start=start))
    for row, status in enumerate(["unknown", "created", "rejected"]):
        journal.settle(row, status)
    with pytest.raises(ConfigurationError, match="start"):
        await collected(client.tickets.create_many(rows, journal=journal, start=start))
    journal.settle(0, "duplicate", proven=True)
    found = await collected(client.tickets.create_many(rows, journal=journal, start=3))
    assert (list(found), sandbox.store.count()) == ([3], 1)


@pytest.mark.parametrize("has_journal", [True, False])
async def test_held_rows_are_settled_at_the_end(client, sandbox, journal, has_journal):
    """A 409 after a lost answer is ours when the record is, and else a duplicate; with its id.

    All of them are settled by one look at the list.
    """
    theirs = await client.tickets.create(ticket("Theirs", external_id="k2"))
    odd = {"long": 2**70 + 1, "half": 0.5, "when": datetime.now(UTC)}
    rows = [ticket(f"T{number}", external_id=f"k{number}", **odd) for number in range(4)]
    sandbox.faults.script(
        "disconnect_after_commit", None, None, "error_after_commit", None, "error_before_commit"
    )
    requests = sandbox.request_count
    found = await collected(
        client.tickets.create_many(
            rows, concurrency=1, bulk=NOW, journal=journal if has_journal else None
        )
    )
    assert statuses(found) == ["created", "created", "duplicate", "created"]
    assert found[0].id == sandbox.store.find("k0")["id"]
    assert found[2].id == theirs.id
    assert found[2].reason == f"{theirs.id} has its external_id"
    assert isinstance(found[0].error, DuplicateError)
    assert found[0].record is None
    assert list(found) == [1, 3, 0, 2]
    lists = [each for each in sandbox.requests if each.method == "GET"]
    assert len(lists) == 2  # one of them asks what time it is
    assert sandbox.request_count - requests == 7 + 2
    if has_journal:
        assert [(await journal.known(row)).status for row in range(4)] == statuses(found)
        assert (await journal.known(0)).id == found[0].id


async def test_no_reconciling(client, sandbox):
    """Without it, a held row and its repeats are unknown, at once and once each."""
    sandbox.faults.script("disconnect_after_commit")
    rows = [ticket("T", external_id="k"), ticket("T", external_id="k"), ticket("U")]
    outcomes = client.tickets.create_many(rows, concurrency=1, bulk=Bulk(reconcile=False))
    found = await collected(outcomes)
    assert list(found) == [0, 1, 2]
    assert statuses(found) == ["unknown", "unknown", "created"]
    assert found[0].held
    assert not any(each.method == "GET" for each in sandbox.requests)


async def test_a_journal_is_settled_by_itself(client, sandbox, journal):
    """A journal's rows in doubt are settled by the list, and none by the record of its twin.

    The first row is created, and its id was lost; the second is the same, and was never done.
    """
    sandbox.faults.script("bad_json", "disconnect_before_commit", "disconnect_after_commit")
    rows = [ticket("Twin"), ticket("Twin"), ticket("Lost")]
    bulk = Bulk(reconcile=False, derive_keys=False)
    found = await collected(
        client.tickets.create_many(rows, concurrency=1, journal=journal, bulk=bulk)
    )
    assert statuses(found) == ["created", "unknown", "unknown"]
    verdicts = await client.tickets.reconcile(journal, last_sent=time.time(), quarantine=0)
    assert [each.row for each in verdicts] == [1, 2]
    assert verdicts[0].status in {"unknown", "not_sent"}
    (lost,) = [each for each in sandbox.store.records() if each["ticket_name"] == "Lost"]
    assert (verdicts[1].status, verdicts[1].id) == ("created", lost["id"])
    tally = await journal.tally()
    assert (tally["created"], tally[verdicts[0].status]) == (2, 1)


@pytest.mark.parametrize(("kind", "fields"), [("contacts", "email"), ("companies", "website_url")])
async def test_keys_of_other_objects(client, sandbox, journal, kind, fields):
    """A contact is known by its email and a company by its website_url."""
    name = {"contacts": "first_name", "companies": "company_name"}[kind]
    rows = [{name: f"N{number}", fields: f"a{number}@b.example"} for number in range(3)]
    rows += [{name: "N1", fields: "a1@b.example"}, {name: "N1"}]
    sandbox.faults.script("disconnect_after_commit")
    objects = getattr(client, kind)
    found = await collected(objects.create_many(rows, concurrency=1, bulk=NOW, journal=journal))
    assert statuses(found) == ["created"] * 3 + ["duplicate", "created"]
    assert found[3].reason == f"it repeats the {fields} of row 2"
    assert isinstance(found[0].error, DuplicateError)
    assert found[0].id == next(iter(sandbox.store.records(kind)))["id"]
    again = await collected(objects.create_many(rows, bulk=NOW, journal=journal))
    assert [each.external_id for each in again.values()][:4] == [None] * 4
    assert statuses(again) == statuses(found)
    assert sandbox.store.count(kind) == 4


@pytest.mark.parametrize("there", [True, False])
async def test_rows_whose_answers_were_lost(client, sandbox, journal, there):
    """What no attempt could prove is proven by the list: with a key or without one."""
    fault = "disconnect_after_commit" if there else "disconnect_before_commit"
    once = client.with_options(retry=RetryPolicy(max_attempts=1))
    rows = [ticket("T0"), ticket("T1", external_id="k1"), ticket("T2"), ticket("T2")]
    sandbox.faults.script(fault, None, fault, fault)
    found = await collected(
        once.tickets.create_many(
            rows,
            concurrency=1,
            bulk=Bulk(quarantine=0, derive_keys=False),
            journal=journal,
        )
    )
    if there:
        assert statuses(found) == ["created"] * 4
        assert len({found[row].id for row in range(4)}) == 4
        keys = [sandbox.store.get(found[row].id)["external_id"] for row in range(4)]
        assert keys == [None, "k1", None, None]
    else:
        assert statuses(found) == ["not_sent", "created", "not_sent", "not_sent"]
    again = await collected(
        client.tickets.create_many(
            rows, bulk=Bulk(quarantine=0, derive_keys=False), journal=journal
        )
    )
    assert statuses(again) == ["created"] * 4
    assert sandbox.store.count() == 4


async def test_a_made_key(client, sandbox, journal):
    """A row without a key is sent with one that is made for it, and a 409 to that is our own."""
    sandbox.faults.script("disconnect_after_commit", "error_after_commit")
    found = await collected(
        client.tickets.create_many(
            [ticket("T0"), ticket("T1")], concurrency=1, bulk=NOW, journal=journal
        )
    )
    assert statuses(found) == ["created", "created"]
    assert found[1].external_id == f"{journal.import_id}:1"
    assert Counter(each["external_id"] for each in sandbox.store.records()) == Counter(
        f"{journal.import_id}:{row}" for row in range(2)
    )


async def test_a_row_that_was_there_before(tmp_path):
    """A record that is just as ours, and was created before the import began, is a duplicate."""
    before = time.time() - 100
    clock = itertools.chain([before] * 20, itertools.repeat(None))
    async with (
        Sandbox(clock=lambda: next(clock) or time.time()) as sandbox,
        client_of(sandbox) as client,
    ):
        theirs = await client.tickets.create(ticket("T", external_id="k"))
        while next(clock) is not None:
            pass
        sandbox.faults.script("disconnect_before_commit")
        async with Journal.open(tmp_path / "journal", BINDING) as journal:
            rows = [ticket("T", external_id="k")]
            found = await collected(client.tickets.create_many(rows, bulk=NOW, journal=journal))
    assert (found[0].status, found[0].id) == ("duplicate", theirs.id)


async def test_hooks_hear_of_everything(sandbox, journal):
    """Hooks of the client and of the import hear of attempts and of the limit; theirs of doubts."""
    ours, others = [], []
    sandbox.faults.script("disconnect_after_commit")
    async with RouteraClient(
        sandbox.token, base_url=sandbox.url, retry=AT_ONCE, hooks=[others.append]
    ) as client:
        rows = [ticket(f"T{number}", external_id=f"k{number}") for number in range(60)]
        found = await collected(
            client.tickets.create_many(
                rows, concurrency=20, bulk=NOW, journal=journal, hooks=[ours.append]
            )
        )
        heard = len(ours)
        await client.tickets.create(ticket("Alone"))
    assert statuses(found) == ["created"] * 60
    assert len(ours) == heard
    for events in (ours, others):
        kinds = Counter(type(event) for event in events)
        assert kinds[LimiterChanged] > 0
        assert kinds[RowInDoubt] == kinds[ImportReconciling] == 1
    assert sum(isinstance(event, AttemptFinished) for event in ours) == 61
    (doubt,) = [event for event in ours if isinstance(event, RowInDoubt)]
    assert isinstance(found[doubt.row].error, DuplicateError)


async def test_a_deadline_that_ends_each_attempt_is_an_outage(client, sandbox):
    """A server that answers no row within the client's deadline is silent: the import pauses."""
    told = []
    sandbox.faults.script(*["hang_after_commit"] * 3)
    rows = [ticket(f"T{number}", external_id=f"k{number}") for number in range(5)]
    outcomes = client.with_options(deadline=0.1).tickets.create_many(
        rows, concurrency=1, bulk=Bulk(reconcile=False), hooks=[told.append]
    )
    found = await collected(outcomes)
    assert statuses(found)[:3] == ["unknown"] * 3
    paused = [event.reason for event in told if isinstance(event, ImportPaused)]
    ended = "TimeoutError: the deadline of 0.1 s passed"
    assert paused[:1] == [f"Routera is not answering ({ended})"]


@pytest.mark.parametrize("kind", [401, 403, 404])
async def test_a_fault_of_the_account(wires, token, tmp_path, kind):
    """A fault of the account stops the import; what was withheld is told, and all is resumable."""
    script = [wires.CLOSE, wires.answer(409, b"{}"), wires.answer(kind, b"{}")]
    wire = await wires.serve(*script)
    rows = [ticket(f"T{number}", external_id=f"k{number}") for number in range(9)]
    found = {}
    async with Journal.open(tmp_path / "journal", BINDING) as journal:
        async with RouteraClient(token, base_url=wire.url, retry=AT_ONCE) as client:
            outcomes = client.tickets.create_many(rows, concurrency=1, bulk=NOW, journal=journal)
            with pytest.raises((UnauthorizedError, ForbiddenError, NotFoundError)):
                await collected(outcomes, found)
        assert {row: each.status for row, each in found.items()} == {0: "unknown", 1: "not_sent"}
        assert len(wire.requests) == 3
        assert [(await journal.known(row)).status for row in (0, 1)] == ["held", "not_sent"]
        assert await journal.known(2) is None


@pytest.mark.parametrize("has_journal", [True, False])
async def test_who_waits_for_a_key_is_not_sent_after_a_fault(client, sandbox, journal, has_journal):
    """Rows that wait for an earlier one's key when a fault stops the import are sent by the next.

    None of them is lost, and none is unknown, for nothing of them has left.
    """
    sandbox.faults.script("refused_token")
    rows = [ticket(f"T{number}", external_id="k") for number in range(4)]
    kept, found = journal if has_journal else None, {}
    with pytest.raises(UnauthorizedError):
        await collected(client.tickets.create_many(rows, bulk=NOW, journal=kept), found)
    assert statuses(found) == ["not_sent"] * 4
    assert {found[row].reason for row in (1, 2, 3)} == {
        "the import was stopped before this row was sent"
    }
    assert sandbox.request_count == 1
    if has_journal:
        assert [(await journal.known(row)).status for row in range(4)] == ["not_sent"] * 4
    again = await collected(client.tickets.create_many(rows, bulk=NOW, journal=kept))
    assert statuses(again) == ["created"] + ["duplicate"] * 3


async def test_a_stop(client, sandbox, journal):
    """Once stopped nothing more is read, what is under way ends, and the rest goes on later."""
    stop, read = asyncio.Event(), []

    def rows():
        for number in range(200):
            read.append(number)
            if number == 30:
                stop.set()
            yield ticket(f"T{number}", external_id=f"k{number}")

    outcomes = client.tickets.create_many(
        rows(), concurrency=8, bulk=NOW, journal=journal, stop=stop
    )
    found = await collected(outcomes)
    assert sorted(found) == read
    assert len(read) <= 31 + 8
    assert {each.status for each in found.values()} <= {"created", "not_sent"}
    first = [row for row in found if found[row].status == "created"]
    assert sandbox.store.count() == len(first)
    again = await collected(client.tickets.create_many(rows(), bulk=NOW, journal=journal))
    assert statuses(again) == ["created"] * 200
    assert {row for row in again if again[row].resumed} == set(first)
    assert sandbox.store.count() == 200


async def test_a_stop_before_the_start(client, sandbox):
    """An import that is stopped before it begins reads nothing."""
    stop = asyncio.Event()
    stop.set()
    rows = iter([ticket("T")])
    assert await collected(client.tickets.create_many(rows, stop=stop)) == {}
    assert next(rows)
    assert sandbox.request_count == 0


async def test_who_stops_taking(client, sandbox, journal):
    """An import that is closed early leaves no task, and goes on later as if it had been killed."""
    rows = [ticket(f"T{number}", external_id=f"k{number}") for number in range(40)]
    others = asyncio.all_tasks()
    outcomes = client.tickets.create_many(
        rows, concurrency=8, bulk=NOW, journal=journal, stop=asyncio.Event()
    )
    async for outcome in outcomes:
        if outcome.row > 10:
            break
    await outcomes.aclose()
    left = {task for task in asyncio.all_tasks() - others if "Sandbox" not in repr(task)}
    assert not [task for task in left if "bulk" in repr(task)]
    found = await collected(client.tickets.create_many(rows, bulk=NOW, journal=journal))
    assert statuses(found) == ["created"] * 40
    assert sandbox.store.count() == 40


@pytest.mark.parametrize(
    "how",
    [
        {"give_up_after": 0},
        {"rate": -1},
        {"rate": True},
        {"quarantine": -1},
        {"quarantine": "soon"},
        {"on_repeat": "last"},
        {"unreachable_after": 0},
    ],
)
def test_settings_that_cannot_be(how):
    """A setting that means nothing is refused, by its name."""
    with pytest.raises(ConfigurationError, match=next(iter(how))):
        Bulk(**how)


# By verbs of our own, on a virtual clock


class Server:
    """Keeps what it is sent, and fails by script."""

    naming = frozenset({"ticket_name"})

    def __init__(self, *script) -> None:
        self.script = list(script)
        self.records = []
        self.writes = []
        self.lists = 0
        self.list_fault = None
        self.behind = 0.0
        self.seconds = 1.0
        self.out = range(0)

    def __call__(self, limiter):
        """Be the verbs of an import."""
        self.limiter = limiter
        return self

    def now(self):
        """Return the time by our clock."""
        return EPOCH + asyncio.get_running_loop().time()

    def prepare(self, new, key, *, doubtful):
        """Make a row ready to be sent."""
        return Create(new, new.get("external_id"), key, doubtful)

    async def write(self, new):
        """Create a record, unless the script says otherwise."""
        while not await self._answers():
            pass
        self.writes.append(new.fields["ticket_name"])
        ending = self.script.pop(0) if self.script else None
        if ending in {None, "nameless", "lost"}:
            self.records.append(self._record(new))
        if ending == "nameless":
            raise ResponseError("its answer was cut")
        if ending in {"lost", "unknown"}:
            raise OutcomeUnknown("no answer")
        if ending == "held":
            error = DuplicateError("taken", status=409, headers={}, body=b"")
            error.ours = True
            raise error
        if ending is not None:
            raise ending
        return Stored(self.records[-1]["id"]), ()

    async def _answers(self):
        """Make an attempt; say whether it was answered."""
        await self.limiter.enter()
        self.limiter.began()
        await asyncio.sleep(self.seconds)
        is_out = int(asyncio.get_running_loop().time()) in self.out
        met = {"sent": False, "status": None, "error": "refused"} if is_out else GOOD
        self.limiter.ended(AttemptFinished("POST", "/tickets", 1, elapsed=self.seconds, **met))
        return not is_out

    def _record(self, new):
        key = {"external_id": new.key} if new.key else {}
        when = datetime.fromtimestamp(self.now() + self.behind, UTC)
        return {"id": f"id-{len(self.records)}", "created_at": when, **new.fields, **key}

    async def flat(self, _):
        """List what there is."""
        self.lists += 1
        if self.list_fault is not None:
            raise self.list_fault
        for each in self.records:
            yield each

    async def server_time(self):
        """Return the server's time."""
        return datetime.fromtimestamp(self.now() + self.behind, UTC)

    def import_(self, rows, **settings):
        """Begin an import."""
        settings.setdefault("bulk", Bulk())
        return create_many(
            rows,
            self,
            parse=lambda row: row,
            concurrency=settings.pop("concurrency", 1),
            timeout=30.0,
            clock=self.now,
            **settings,
        )


@attrs.frozen
class Create:
    """A create that is ready to be sent."""

    fields: dict
    own: str | None
    made: str | None
    doubtful: bool

    @property
    def body(self):
        """Return what is sent."""
        key = "" if self.key is None else f', "external_id": "{self.key}"'
        name = self.fields["ticket_name"]
        return f'{{"fields": {{"ticket_name": "{name}"{key}}}}}'.encode()

    @property
    def key(self):
        """Return what makes it safe to repeat."""
        return self.own or self.made

    external_id = key

    @property
    def key_name(self):
        """Return the field that holds it."""
        return None if self.key is None else "external_id"


@attrs.frozen
class Stored:
    """What a create answers."""

    id: str


@pytest.fixture
def imported(virtually, tmp_path):
    """Run something with a server, a journal and the journal's file on a virtual clock."""

    def run(something, *script, **how):
        async def main():
            server = Server(*script)
            for name, value in how.items():
                setattr(server, name, value)
            async with Journal.open(
                tmp_path / "journal", BINDING, run=inline, clock=server.now
            ) as journal:
                return await something(server, journal)

        return virtually(main())

    return run


def named(*names, **more):
    """Return rows of these names, without keys."""
    return [{"ticket_name": name, **more} for name in names]


UNKEYED = Bulk(derive_keys=False)


@pytest.mark.parametrize("behind", [0.0, -3_600.0, 86_400.0])
def test_the_quarantine(imported, behind):
    """What was lost is looked for no sooner than a lost request may have ended, whatever the clock.

    A held row alone needs no such wait.
    """

    async def lost(server, journal):
        found = await collected(server.import_(named("a", "b", "c"), journal=journal, bulk=UNKEYED))
        assert statuses(found) == ["created", "not_sent", "created"]
        assert server.lists == 2
        return asyncio.get_running_loop().time()

    assert 62 <= imported(lost, "lost", "unknown", behind=behind) <= 64


def test_held_rows_do_not_wait(imported):
    """A 409 says that the record is there: it is looked for at once."""

    async def held(server, _):
        rows = [{"ticket_name": "a", "external_id": "k"}]
        server.records.append(
            {"id": "theirs", "created_at": datetime.fromtimestamp(0, UTC), **rows[0]}
        )
        events = []
        found = await collected(server.import_(rows, hooks=[events.append]))
        assert (found[0].status, found[0].id) == ("duplicate", "theirs")
        assert ImportReconciling(1, 0.0) in events
        return asyncio.get_running_loop().time()

    assert imported(held, "held") < 2


def test_a_stop_ends_the_wait(imported):
    """Stopped while it waits or looks, an import tells what is in doubt as unknown, at once."""

    async def stopped(server, journal):
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.call_later(10, stop.set)
        rows = named("a", "b")
        found = await collected(server.import_(rows, journal=journal, stop=stop))
        assert statuses(found) == ["unknown", "created"]
        assert server.lists == 0
        assert loop.time() == 10
        again = await collected(server.import_(rows, journal=journal))
        assert statuses(again) == ["created", "created"]
        assert len(server.writes) == 3

    imported(stopped, "unknown")


def test_a_list_that_cannot_be_had(imported):
    """When the list cannot be read, what is in doubt stays so, and why is told."""

    async def faulty(server, journal):
        server.list_fault = NotSentError("no route")
        rows = [{"ticket_name": "a", "external_id": "k"}, {"ticket_name": "a", "external_id": "k"}]
        found = await collected(server.import_(rows, journal=journal))
        assert statuses(found) == ["unknown", "unknown"]
        assert found[0].reason == "no answer; and the list could not be read: no route"
        assert found[1].reason == "it repeats the external_id of row 1"
        server.list_fault = None

    imported(faulty, "unknown")


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("lost", ["created", "duplicate", "duplicate"]),
        ("unknown", ["not_sent", "not_sent", "not_sent"]),
        ("held", ["unknown", "unknown", "unknown"]),
    ],
)
def test_repeats_follow_their_first(imported, ending, expected):
    """What is proven of a row at the end decides about those that repeat it; the journal has it."""

    async def repeated(server, journal):
        rows = named("a", "a", "a", external_id="k")
        found = await collected(server.import_(rows, journal=journal, concurrency=3))
        assert statuses(found) == expected
        assert server.writes == ["a"]
        known = [(await journal.known(row)).status for row in range(3)]
        assert known == (["held", "unknown", "unknown"] if ending == "held" else expected)
        if ending == "unknown":
            again = await collected(server.import_(rows, journal=journal, concurrency=3))
            assert statuses(again) == ["created", "duplicate", "duplicate"]

    imported(repeated, ending)


def test_a_twin_whose_id_was_lost(imported):
    """A record that a created row may have is not claimed for its twin; from run to run."""

    async def twins(server, journal):
        rows = named("a", "a")
        for expected in (["created", "not_sent"], ["created", "not_sent"]):
            found = await collected(server.import_(rows, journal=journal, bulk=UNKEYED))
            assert statuses(found) == expected
        found = await collected(server.import_(rows, journal=journal, bulk=UNKEYED))
        assert statuses(found) == ["created", "created"]
        assert found[1].id == "id-1"

    imported(twins, "nameless", "unknown", "unknown")


@pytest.mark.parametrize(("rate", "least"), [(None, 0), (10.0, 4)])
def test_a_rate(imported, rate, least):
    """An import keeps to so many attempts in a second."""

    async def limited(server, _):
        server.seconds = 0.01
        rows = named(*(f"T{number}" for number in range(50)))
        bulk = Bulk(rate=rate)
        found = await collected(server.import_(rows, bulk=bulk, concurrency=50))
        assert statuses(found) == ["created"] * 50
        return asyncio.get_running_loop().time()

    assert least <= imported(limited) <= least + 2


@pytest.mark.parametrize("out", [range(60), range(30, 90)], ids=["at first", "in the middle"])
@pytest.mark.parametrize("patient", [True, False])
def test_an_outage(imported, out, patient):
    """An outage is waited out, or given up as told: then the rest goes on in another run."""
    reached = out.start > 0
    given_up = Bulk(**{"give_up_after" if reached else "unreachable_after": 40.0})
    bulk = Bulk(unreachable_after=100.0) if patient else given_up

    async def blacked_out(server, journal):
        server.out = out
        rows = iter(named(*(f"T{number}" for number in range(300))))
        found = {}
        outcomes = server.import_(rows, bulk=bulk, journal=journal, concurrency=4)
        if patient:
            assert statuses(await collected(outcomes)) == ["created"] * 300
            return
        with pytest.raises(NotSentError, match="run the same command again"):
            await collected(outcomes, found)
        assert len(server.records) == sum(each.status == "created" for each in found.values())
        assert {each.status for each in found.values()} == {"not_sent"} | (
            {"created"} if reached else set()
        )
        assert len(found) < 300
        assert next(rows)
        assert out.start + 39 <= asyncio.get_running_loop().time() <= out.start + 45
        server.out = range(0)
        rows = named(*(f"T{number}" for number in range(300)))
        found = await collected(server.import_(rows, journal=journal, concurrency=4))
        assert statuses(found) == ["created"] * 300
        assert len(server.records) == 300

    imported(blacked_out)


def test_repeats_that_are_rejected(imported):
    """A row whose key an earlier row has is rejected, when told so."""

    async def rejected(server, journal):
        rows = named("a", "a", external_id="k")
        bulk = Bulk(on_repeat="reject")
        found = await collected(server.import_(rows, bulk=bulk, journal=journal))
        assert statuses(found) == ["created", "rejected"]

    imported(rejected)


def test_a_twin_that_was_created(imported):
    """A record that the journal knows for a row's is not claimed for another just like it."""

    async def twins(server, journal):
        rows = named("a", "a", "a")
        found = await collected(server.import_(rows, journal=journal, bulk=UNKEYED))
        assert statuses(found) == ["created", "not_sent", "created"]

    imported(twins, None, "unknown")


class Full:
    """A connection that cannot commit any more."""

    def __init__(self, db) -> None:
        self._db = db

    def execute(self, statement, *values):
        """Execute anything but a commit."""
        if statement == "COMMIT":
            raise OSError(28, "No space left on device")
        return self._db.execute(statement, *values)

    def __getattr__(self, name):
        return getattr(self._db, name)


@pytest.mark.parametrize("after", [0, 1, 5, 6])
def test_a_full_disk(imported, after):
    """A journal that cannot be written stops the import and is told, after the last row as well."""

    async def full(server, journal):
        found = {}

        def rows():
            for number in range(6):
                if number == after:
                    fill()
                yield {"ticket_name": f"T{number}"}
            if after == 6:
                fill()

        def fill():
            journal._file._db = Full(journal._file._db)

        with pytest.raises(JournalError, match="No space left"):
            await collected(server.import_(rows(), journal=journal), found)
        assert len(server.writes) == after
        assert statuses(found) == ["created"] * after + ["not_sent"] * (after < 6)

    imported(full)


async def test_a_server_that_is_not_there(token, tmp_path):
    """An outage that lasts too long is raised, and leaves every row resumable."""
    rows = [ticket(f"T{number}") for number in range(20)]
    paused, found = [], {}
    bulk = Bulk(quarantine=0, give_up_after=0.3, unreachable_after=0.3)
    async with Journal.open(tmp_path / "journal", BINDING) as journal:
        async with RouteraClient(token, base_url="http://127.0.0.1:9", retry=AT_ONCE) as client:
            outcomes = client.tickets.create_many(
                iter(rows), concurrency=4, bulk=bulk, journal=journal, hooks=[paused.append]
            )
            with pytest.raises(NotSentError, match="run the same command again"):
                await collected(outcomes, found)
        assert {each.status for each in found.values()} == {"not_sent"}
        assert any(isinstance(event, ImportPaused) for event in paused)
        async with Sandbox() as sandbox:
            async with RouteraClient(sandbox.token, base_url=sandbox.url) as client:
                found = await collected(client.tickets.create_many(rows, bulk=NOW, journal=journal))
            assert statuses(found) == ["created"] * 20
            assert sandbox.store.count() == 20


# Conservation

ODDS = {
    "error_before_commit": 0.04,
    "error_after_commit": 0.04,
    "disconnect_before_commit": 0.03,
    "disconnect_after_commit": 0.03,
    "truncated_answer": 0.03,
    "reset_after_commit": 0.03,
}


def mixed(rng, count):
    """Return rows with keys, without, with one another's, and with keys that others have."""
    for number in range(count):
        kind = rng.random()
        row = ticket(f"T{number}")
        if kind < 0.4:
            yield row | {"external_id": f"k{number}"}
        elif kind < 0.5:
            yield row | {"external_id": f"k{rng.randrange(number + 1)}"}
        elif kind < 0.6:
            yield row | {"external_id": f"taken{rng.randrange(3)}"}
        elif kind < 0.65:
            yield row | {"id": "not to be written"}
        else:
            yield row


def agree(found, rows, sandbox):
    """Hold what was told to what really exists."""
    exists = Counter(each["ticket_name"] for each in sandbox.store.records())
    ids = {each["ticket_name"]: each["id"] for each in sandbox.store.records()}
    keys = {each["external_id"] for each in sandbox.store.records()}
    assert max(exists.values()) == 1
    for row, outcome in found.items():
        name = rows[row]["ticket_name"]
        match outcome.status:
            case "created":
                assert exists[name] == 1
                assert outcome.id in {None, ids[name]}
            case "duplicate":
                assert not exists[name]
                assert rows[row]["external_id"] in keys
            case "rejected" | "not_sent":
                assert not exists[name]


@pytest.mark.parametrize("seed", range(8))
async def test_nothing_is_lost_and_nothing_twice(tmp_path, seed):
    """Whatever goes wrong, in as many runs as it takes: what is told is so, and nothing is twice.

    With a journal an import is cut off twice before it ends; without, it is run once.
    """
    rng = random.Random(seed)
    rows = list(mixed(rng, 80))
    bulk = Bulk(quarantine=0, derive_keys=seed % 3 > 0)
    async with Sandbox(keep_requests=0) as sandbox, client_of(sandbox) as client:
        for number in range(3):
            await client.tickets.create(ticket(f"Theirs{number}", external_id=f"taken{number}"))
        sandbox.faults.draw(ODDS, seed=seed)
        if seed % 2:
            agree(await collected(client.tickets.create_many(rows, bulk=bulk)), rows, sandbox)
            return
        for cut in (20, 20, None):
            async with Journal.open(tmp_path / "journal", BINDING) as journal:
                outcomes = client.tickets.create_many(rows, bulk=bulk, journal=journal)
                found = await taken(outcomes, cut)
            agree(found, rows, sandbox)
    assert sorted(found) == list(range(80))
    assert sum(sandbox.faults.met.values()) > 5


async def taken(outcomes, most):
    """Take so many outcomes that are new, and close the rest off."""
    found = {}
    async with contextlib.aclosing(outcomes):
        async for outcome in outcomes:
            assert outcome.row not in found
            found[outcome.row] = outcome
            if sum(not each.resumed for each in found.values()) == most:
                break
    return found


def test_an_outcome_that_is_held():
    """Only a 409 that left a row unknown holds it."""
    error = DuplicateError("taken", status=409, headers={}, body=b"")
    assert Outcome(status="unknown", row=0, error=error).held
    assert not Outcome(status="duplicate", row=0, error=error).held
    assert not Outcome(status="unknown", row=0, error=OutcomeUnknown("no")).held
