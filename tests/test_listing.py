"""Lists that are read while others archive and create: every record that stays, and none twice."""

import asyncio
import datetime as dt
import random

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routera_async import Listing, Page, ResponseError, RetryPolicy, RouteraClient, Ticket
from routera_async._listing import _Seen
from routera_async.sandbox import Fault
from routera_async.sandbox.store import Record

WHEN = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
TIME = "2026-05-01T10:00:00.000Z"
MANY = 25_000


@attrs.frozen(kw_only=True)
class Rated(Ticket):
    """A ticket with a number of the account's own."""

    csat: float | None = None


untimed = settings(derandomize=True)
"""The same examples in every run."""


def record(number):
    """Return the ticket of this number."""
    return Ticket(id=str(number), created_at=WHEN, updated_at=WHEN)


class Server:
    """A list in the order of creation, to which `between` is done before each page but the first.

    `between` is an iterator of (how many to archive, how many to create, a seed). With `archived`
    the list shows archived records as well, so that nothing moves.
    """

    def __init__(self, count, size, between=(), *, archived=False, newest_first=False) -> None:
        self.shown = list(range(count))
        self.size = size
        self.throughout = set(self.shown)
        self.requests = 0
        self._between = iter(between)
        self._archived = archived
        self._newest_first = newest_first
        self._next = count

    async def fetch(self, offset):
        """Return the page at an offset."""
        if self.requests:
            self._change(*next(self._between, (0, 0, 0)))
        self.requests += 1
        numbers = self.shown[::-1] if self._newest_first else self.shown
        page = tuple(map(record, numbers[offset : offset + self.size]))
        return Page(page, limit=self.size, offset=offset), None

    def _change(self, archived, created, seed):
        chosen = set(random.Random(seed).sample(self.shown, min(archived, len(self.shown))))
        self.throughout -= chosen
        if not self._archived:
            self.shown = [number for number in self.shown if number not in chosen]
        self.shown += range(self._next, self._next + created)
        self._next += created


async def ids_of(listing):
    """Return the ids that a list gives, in order."""
    return [each.id async for each in listing]


def judge(server, ids):
    """Hold what was listed against what was there throughout."""
    assert len(ids) == len(set(ids))
    assert {str(number) for number in server.throughout} <= set(ids)


changes = st.lists(
    st.tuples(st.integers(0, 30) | st.integers(0, 300), st.integers(0, 5), st.integers(0, 2**16)),
    max_size=60,
)


@pytest.mark.parametrize("newest_first", [False, True])
@untimed
@given(count=st.integers(0, 500), size=st.integers(2, 100), between=changes)
async def test_what_stays_is_listed_once(count, size, between, newest_first):
    """A record that is there from the first page to the last is listed, and none is twice.

    Whatever is archived and created between two pages, and whether new ones come in behind or in
    front, as long as the order stays.
    """
    server = Server(count, size, between, newest_first=newest_first)
    judge(server, await ids_of(Listing(server.fetch, size)))


@untimed
@given(count=st.integers(0, 500), size=st.integers(2, 100), between=changes)
async def test_archived_ones_too(count, size, between):
    """A list that shows archived records has all of them once, also those archived meanwhile."""
    server = Server(count, size, between, archived=True)
    ids = await ids_of(Listing(server.fetch, size))
    assert len(ids) == len(set(ids))
    assert {str(number) for number in range(count)} <= set(ids)


@pytest.mark.parametrize("size", [2, 9, 10, 20, 50, 100])
@pytest.mark.parametrize("archived", ["shared", "front", "all", "shared and behind"])
async def test_what_a_page_shares_with_the_next_is_archived(size, archived):
    """The gap is seen also when just those are archived by which it would be: the page's last."""
    server = Server(5 * size, size)
    chosen = {
        "shared": range(size - 5, size),
        "front": range(size // 2),
        "all": range(size),
        "shared and behind": range(size - 5, size + 5),
    }[archived]
    ids = []
    async for page in Listing(server.fetch, size).pages():
        ids += [each.id for each in page.records]
        if server.requests == 1:
            server.shown = [number for number in server.shown if number not in chosen]
            server.throughout -= set(chosen)
    judge(server, ids)


async def test_a_list_of_which_all_is_archived():
    """A list that is emptied while it is read ends."""
    server = Server(300, 100, [(300, 0, 0)])
    assert len(await ids_of(Listing(server.fetch, 100))) == 100


async def test_pages_of_one_share_nothing():
    """With a page of one record nothing overlaps: what moves is not noticed, as is documented."""
    server = Server(3, 1, [(1, 0, 1)])
    ids = await ids_of(Listing(server.fetch, 1))
    assert len(ids) == len(set(ids)) == 2


@pytest.mark.parametrize("size", [2, 50, 100])
async def test_a_list_that_rests_costs_what_it_must(size):
    """Without changes no page is read twice: each adds all but the few that it shares."""
    server = Server(1000, size)
    listing = Listing(server.fetch, size)
    assert await ids_of(listing) == [str(number) for number in range(1000)]
    shared = {2: 1, 50: 5, 100: 5}[size]
    assert server.requests <= 1000 / (size - shared) + 1


@pytest.mark.parametrize("size", [1, 2, 10, 100])
async def test_a_server_that_ignores_the_offset(size):
    """The same full page for ever is an error that says so, not an endless loop."""
    server = Server(size, size)

    async def first(_):
        return await server.fetch(0)

    ids = []

    async def read():
        async for each in Listing(first, size):
            ids.append(each.id)  # noqa: PERF401 (what came before the error counts)

    with pytest.raises(ResponseError, match="the list repeats itself: nothing new at offset"):
        await read()
    assert ids == [str(number) for number in range(size)]
    assert server.requests < 1100


async def test_a_server_that_goes_round_in_circles():
    """Pages of which each is full, and none overlaps the one before, end in that error as well."""
    asked = 0

    async def odd(offset):
        nonlocal asked
        asked += 1
        start = 1000 if offset else 0
        return Page(tuple(map(record, range(start, start + 100))), limit=100, offset=offset), None

    with pytest.raises(ResponseError, match="the list repeats itself"):
        await ids_of(Listing(odd, 100))
    assert asked < 2200


def test_only_the_last_are_remembered():
    """However long a list is, the ids of 10,000 records are held, the last ones read."""
    seen = _Seen()
    for start in range(0, MANY, 100):
        assert len(seen.new_of(list(map(record, range(start, start + 100))))) == 100
    assert not seen.any_of([record(MANY - 10_001)])
    assert seen.any_of([record(MANY - 10_000)])
    assert len(seen._ids) == len(seen._order) == 10_000


async def test_nearly_all_that_is_remembered_is_archived():
    """While one of the 10,000 that were read last is left, the list finds its place again."""
    server, ids, gone = Server(20_200, 100), [], False
    async for page in Listing(server.fetch, 100).pages():
        ids += [each.id for each in page.records]
        if len(ids) > 20_000 and not gone:
            read, gone = len(ids), True
            left = server.shown[read - 10_000]
            server.shown = [*server.shown[: read - 10_000], left, *server.shown[read:]]
            server.throughout = set(server.shown)
    assert gone
    judge(server, ids)


@pytest.mark.parametrize("counted", ["this page", "all", "nonsense", None])
async def test_what_count_counts_does_not_matter(wires, token, counted):
    """Only a page that is not full ends a list: `count` may be the page's, or the whole list's."""
    flat = {"created_at": TIME, "updated_at": TIME}
    pages = [(0, 4), (3, 7), (6, 8)]  # pages of 4, of which the next shares one
    script = []
    for start, end in pages:
        told = {"limit": 4, "offset": start}
        if counted is not None:
            told["count"] = {"this page": end - start, "all": 8, "nonsense": -1}[counted]
        data = [{"id": str(number), **flat} for number in range(start, end)]
        script.append(wires.answer(200, orjson.dumps({"data": data, "pagination": told})))
    wire = await wires.serve(*script)
    async with RouteraClient(token, base_url=wire.url) as client:
        ids = await ids_of(client.tickets.list(page_size=4))
    assert ids == [str(number) for number in range(8)]
    asked = [head.split(b" ")[1].partition(b"?")[2] for head in wire.requests]
    assert asked == [b"limit=4&offset=%d" % start for start, _ in pages]


@pytest.mark.parametrize("wrong", [0, 3, 99, 100, 102, 250])
async def test_what_is_in_front_of_a_record_that_cannot_be_read(client, sandbox, wrong):
    """A record that cannot be read is an error, once those in front of it are given, each once."""
    ids = fill(sandbox, 300)
    await client.tickets.update(ids[wrong], {"csat": "five"})
    listed = []

    async def read():
        async for each in client.objects(Rated).list():
            listed.append(each.id)  # noqa: PERF401 (what came before the error counts)

    with pytest.raises(ResponseError, match=r"expected number @ \$.data\[\d+\].csat") as caught:
        await read()
    assert listed == ids[:wrong]
    assert (caught.value.id, caught.value.status) == (ids[wrong], 200)
    assert len(caught.value.attempts) == 1


def fill(sandbox, count):
    """Put this many tickets into a sandbox's store, and return their ids."""
    ids = [f"t{number:06}" for number in range(count)]
    for id_ in ids:
        fields = {"ticket_name": id_, "pipeline": "p", "ticket_stage": "new"}
        sandbox.store.create("sandbox", "tickets", Record(id_, TIME, TIME, None, None, fields))
    return ids


@pytest.mark.parametrize(("count", "in_order"), [(3_000, True), (MANY, False)])
async def test_another_task_archives_every_third(client, sandbox, count, in_order):
    """25,000 tickets, of which another task archives every third: each that stays comes once."""
    ids = fill(sandbox, count)
    doomed = ids[::3]
    if not in_order:
        random.Random(4).shuffle(doomed)
    may, done = asyncio.Semaphore(0), 0

    async def archive():
        nonlocal done
        for id_ in doomed:
            await may.acquire()
            archived = await client.tickets.archive(id_)
            assert archived.archived
            done += 1

    task = asyncio.create_task(archive())
    listed, moved = [], 0
    async for page in client.tickets.list().pages():
        moved += done > 0 and done < len(doomed)
        listed += [ticket.id for ticket in page.records]
        for _ in page.records[::3]:
            may.release()  # as many as are read, so that they are archived to the end
    for _ in doomed:
        may.release()
    await task
    assert len(listed) == len(set(listed))
    assert set(ids) - set(doomed) <= set(listed)
    assert sandbox.store.count() == count - len(doomed)
    assert moved > count / 200  # it went on while the list was read


async def test_a_list_goes_on_after_a_fault(client, sandbox):
    """A page that met a fault is read again: nothing is lost and nothing is twice."""
    ids = fill(sandbox, 250)
    twin = client.with_options(retry=RetryPolicy(wait_initial=0))
    from_here = iter(["error_before_commit", "disconnect_before_commit"])
    listed = []
    async for page in twin.tickets.list().pages():
        listed += [ticket.id for ticket in page.records]
        if (fault := next(from_here, None)) is not None:
            sandbox.faults.script(Fault(fault, on="GET /tickets"))
    assert listed == ids
    assert sandbox.faults.met.total() == 2
