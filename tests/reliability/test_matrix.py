"""After any fault, what the client says is true: every cell is held against the store.

Each fault, met once or for ever, by what makes the create safe to repeat, by a fresh or a used
connection, by `create` or `create_many`. `expected` is DESIGN's table, written down once more.
"""

import asyncio
import contextlib
import itertools
import selectors
import socket

import aiohttp
import attrs
import pytest
from aiohttp.abc import AbstractResolver

from routera_async import (
    AttemptFinished,
    Bulk,
    DuplicateError,
    RetryPolicy,
    RouteraClient,
    RouteraError,
)
from routera_async.sandbox import Fault, Sandbox

ATTEMPTS = 3
SOON = 20
"""Seconds after which a test is taken to hang."""
MOMENT = 0.02
"""Seconds without an event after which nothing is on its way any more: all is in one process."""

OURS = {"ticket_name": "ours", "pipeline": "default", "ticket_stage": "new"}
THEIRS = {**OURS, "ticket_name": "theirs", "external_id": "ext-001"}
WARM = {**OURS, "ticket_name": "warm", "external_id": "warm"}

KEYS = ("own", "taken", "minted", "none, resent", "none")
"""Its own external_id, one that somebody else's record holds, a minted one, and none, with
`resend_unkeyed` and without."""

ERRORS = [
    Fault(f"error_{when}_commit", **settings)
    for when in ("before", "after")
    for settings in (
        {},
        {"status": 502, "body": "html"},
        {"status": 503, "body": "empty", "retry_after": 0},
        {"status": 504, "body": "html"},
    )
]
LOST = [
    Fault("reset_before_commit"),
    Fault("reset_after_commit"),
    Fault("disconnect_before_commit"),
    Fault("disconnect_after_commit"),
    Fault("hang_before_commit"),
    Fault("hang_after_commit"),
    Fault("late_commit", seconds=0),
    Fault("slow_answer", seconds=3600),
    Fault("two_lengths"),
]
GARBLED = [Fault("truncated_answer"), Fault("bad_json"), Fault("dripped_answer", seconds=3600)]
HARMLESS = [Fault("slow_answer", seconds=0), Fault("dripped_answer", seconds=0)]
THROTTLED = [Fault("rate_limited"), Fault("rate_limited", retry_after=0)]
REFUSED = [Fault("refused_token"), Fault("redirect", location="/tickets")]
FAULTS = [*ERRORS, *LOST, *GARBLED, *HARMLESS, *THROTTLED, *REFUSED]

TRUE = {
    "created": {1},
    "created, id lost": {1},
    "duplicate": {0},
    "duplicate, perhaps ours": {0, 1},
    "unknown": {0, 1},
    "rejected": {0},
    "not_sent": {0},
}
"""How many records with our marker there may be when the client says so."""

IN_BULK = {
    "created, id lost": "created",
    "duplicate, perhaps ours": "unknown",
    "rejected": "not_sent",  # what is refused here is the account, and never the row
}
"""What `create_many` calls it, where `create` has another name."""


@attrs.frozen
class Cell:
    """One cell of the matrix."""

    fault: Fault
    forever: bool
    key: str
    reused: bool
    bulk: bool

    def client(self, sandbox):
        """Return the client of this cell, which never waits."""
        policy = RetryPolicy(
            max_attempts=ATTEMPTS, wait_initial=0, resend_unkeyed=self.key != "none"
        )
        return RouteraClient(
            sandbox.token,
            base_url=sandbox.url,
            retry=policy,
            mint_external_ids=self.key == "minted",
        )

    def new(self):
        """Return what is to be created."""
        return {**OURS, "external_id": "ext-001"} if self.key in {"own", "taken"} else OURS

    def most(self):
        """Return how many records of ours there may be at the most."""
        if self.key == "none, resent" and self.fault in ERRORS and self.fault.commits:
            return ATTEMPTS if self.forever else 2  # as the policy's documentation says
        return 0 if self.key == "taken" else 1


def expected(cell):
    """Return what the client may say, of DESIGN's "What an attempt proves"."""
    fault, answered = cell.fault, {"duplicate" if cell.key == "taken" else "created"}
    if fault in HARMLESS or (fault in THROTTLED and not cell.forever):
        return answered
    if fault in THROTTLED:
        return {"not_sent"}
    if fault in REFUSED:
        return {"rejected"}
    if fault in GARBLED:  # the status line was read: it decides
        return answered if cell.key == "taken" else {"created, id lost"}
    resent = cell.key != "none" and (fault in ERRORS or cell.key != "none, resent")
    if cell.forever or not resent:
        return {"unknown"}
    return _after_one_doubt(cell)


def _after_one_doubt(cell):
    """Return what the second attempt may prove, when the first may have done its work."""
    if cell.key == "none, resent":
        return {"created"}
    again = "created, id lost" if cell.key == "minted" else "duplicate, perhaps ours"
    if cell.key == "taken" or cell.fault.commits:
        return {again}
    return {"created", again} if cell.fault.name == "late_commit" else {"created"}


def said(error):
    """Return what a call says, in the words of TRUE."""
    if error is None:
        return "created"
    if isinstance(error, DuplicateError) and error.ours and error.outcome == "duplicate":
        return "duplicate, perhaps ours"
    return "created, id lost" if error.outcome == "created" else error.outcome


async def created(client, new):
    """Return what `create` says, and the record."""
    try:
        record = await client.tickets.create(new)
    except RouteraError as error:
        return said(error), None
    return "created", record


async def created_in_bulk(client, new):
    """Return the same of `create_many`, whose own word must agree."""
    outcomes = []
    with contextlib.suppress(RouteraError):  # what stops an import is raised after its outcomes
        async for each in client.tickets.create_many([new], bulk=Bulk(reconcile=False)):
            outcomes.append(each)  # noqa: PERF401  a comprehension would lose them to the error
    (outcome,) = outcomes
    word = said(outcome.error)
    assert outcome.status == IN_BULK.get(word, word)
    assert outcome.attempts
    return word, outcome.record


class _Patient(selectors.DefaultSelector):
    """Jumps to the next timer once nothing is on its way: a busy machine is no time-out."""

    now = 0.0

    def select(self, timeout=None):
        events = super().select(SOON if timeout is None else min(timeout, MOMENT))
        if not events and timeout is None:
            raise RuntimeError("deadlock: nothing is scheduled")
        if not events:
            self.now += max(0.0, timeout)
        return events


class Loop(asyncio.SelectorEventLoop):
    """A loop of real sockets whose clock is its timers'."""

    def __init__(self) -> None:
        super().__init__(_Patient())

    def time(self):
        """Return the seconds that were waited for."""
        return self._selector.now


def played(coroutine):
    """Run a coroutine to its end on such a loop."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(coroutine)


async def until(condition):
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110  the sandbox has no events of its own to wait for
            await asyncio.sleep(0)


async def violations(cell):
    """Play one cell; return what is wrong with it."""
    async with Sandbox() as sandbox:
        async with cell.client(sandbox) as client:
            if cell.reused:
                await client.tickets.create(WARM)
            await _prepare(cell, sandbox)
            word, record = await (created_in_bulk if cell.bulk else created)(client, cell.new())
        if cell.fault.name == "late_commit":
            await until(lambda: not sandbox._active)
        return list(_wrong(cell, sandbox, word, record))


async def _prepare(cell, sandbox):
    """Let somebody else take the key, and the fault be met from now on."""
    assert len(sandbox._web.connections) == cell.reused
    if cell.key == "taken":
        async with RouteraClient(sandbox.token, base_url=sandbox.url) as somebody:
            await somebody.tickets.create(THEIRS)
    sandbox.requests.clear()
    if cell.forever:
        sandbox.faults.draw({cell.fault: 1})
    else:
        sandbox.faults.script(cell.fault)


def _wrong(cell, sandbox, word, record):
    ours = [flat["id"] for flat in sandbox.store.records() if flat["ticket_name"] == "ours"]
    true = TRUE[word] if cell.most() <= 1 else set(range(min(TRUE[word]), cell.most() + 1))
    if word not in expected(cell):
        yield f"{cell}: {word}, not {expected(cell)}"
    if len(ours) not in true or len(ours) > cell.most():
        yield f"{cell}: {word}, with {len(ours)} records"
    if (word == "created") != (record is not None and record.id in ours):
        yield f"{cell}: {word}, and {record}"
    answered = {request.status for request in sandbox.requests[:-1]}
    if cell.fault not in LOST and answered & {201, 409}:
        yield f"{cell}: sent again after {answered}"
    if not sandbox.faults.met:
        yield f"{cell}: not met"


async def wrong_with(cells):
    """Play cells at once; return what is wrong with any."""
    return list(itertools.chain(*await asyncio.gather(*map(violations, cells))))


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.name} {fault.seconds:g}")
def test_what_is_said_is_so(fault, forever):
    """With every key, on both connections, in both ways, the store agrees with the outcome."""
    ways = itertools.product([fault], [forever], KEYS, [False, True], [False, True])
    assert played(wrong_with(itertools.starmap(Cell, ways))) == []


# -- what fails before there is a connection ------------------------------------------------------


class NoSuchName(AbstractResolver):
    """Knows no name."""

    async def resolve(self, *_):
        """Fail as the system's does."""
        raise OSError(socket.EAI_NONAME, "Name or service not known")

    async def close(self):
        """Do nothing."""


@contextlib.asynccontextmanager
async def refused():
    """Give the address of a port on which nobody listens."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unheard.getsockname()[1]}", None


@contextlib.asynccontextmanager
async def mute():
    """Give the address of a listener that accepts no one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", None


@contextlib.asynccontextmanager
async def mute_tls():
    """Give the https address of one, which never answers a TLS hello."""
    async with mute() as (url, session):
        yield url.replace("http:", "https:"), session


@contextlib.asynccontextmanager
async def plain():
    """Give the https address of a port that speaks plain HTTP."""
    async with Sandbox() as sandbox:
        yield sandbox.url.replace("http:", "https:"), None
        assert sandbox.store.count() == 0


@contextlib.asynccontextmanager
async def nameless():
    """Give an address whose name does not exist, and a session that need not ask the network."""
    connector = aiohttp.TCPConnector(resolver=NoSuchName())
    async with aiohttp.ClientSession(connector=connector) as session:
        yield "https://routera.invalid", session


async def sent_nowhere(nowhere, key, *, bulk):
    """Create at such an address; return the outcome, and of each attempt whether it was sent."""
    told = []
    policy = RetryPolicy(max_attempts=ATTEMPTS, wait_initial=0, resend_unkeyed=key != "none")
    async with (
        nowhere() as (url, session),
        RouteraClient(
            "a.b.c",
            base_url=url,
            retry=policy,
            session=session,
            mint_external_ids=key == "minted",
            hooks=[told.append],
        ) as client,
    ):
        new = {**OURS, "external_id": "ext-001"} if key == "own" else OURS
        word, _ = await (created_in_bulk if bulk else created)(client, new)
    return word, [event.sent for event in told if isinstance(event, AttemptFinished)]


@pytest.mark.parametrize("bulk", [False, True], ids=["create", "create_many"])
@pytest.mark.parametrize("key", [key for key in KEYS if key != "taken"])
@pytest.mark.parametrize("nowhere", [refused, mute_tls, plain, nameless])
def test_without_a_connection_nothing_was_sent(nowhere, key, bulk):
    """Every attempt is made, none was sent, and the outcome says so: also without a key."""
    outcome = played(sent_nowhere(nowhere, key, bulk=bulk))
    assert outcome == ("not_sent", [False] * ATTEMPTS)


@pytest.mark.parametrize(
    ("key", "attempts"), [("own", ATTEMPTS), ("minted", ATTEMPTS), ("none", 1)]
)
def test_a_listener_that_never_accepts_may_have_taken_it(key, attempts):
    """Without TLS the kernel takes the request in: nothing proves that nobody reads it."""
    assert played(sent_nowhere(mute, key, bulk=False)) == ("unknown", [True] * attempts)
