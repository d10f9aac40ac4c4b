"""The oracle: what must hold after any run, by what the store really holds.

I1   at most one record of a keyed row
I2   created: there is exactly one, and it is the one that was read back (for a row without a
     key, one more for each repeat that the policy allows after a 5xx)
I3   rejected, not sent: there is none, ever
I4   duplicate: none of ours unless `.ours`; and then somebody's record holds the key
I5   unknown: only when an attempt is unknown, and one that may have left; or for what
     `create_many` does not send, since an earlier row has its key
I6   every call ends in one outcome, or as cancelled; in time, if it has a deadline
I7   the hook hears of every call once that it began and once that it ended, and how; of every
     attempt in between, and of each that reached the server that it was sent
I8   no more attempts than the policy allows, but for the probes of an import; none after an answer
     that decides; and none of a row without a key after a lost answer
I9   nothing of ours arrives at another origin (seen by `server._Trap`)
I10  nothing is left: no task, no connection, no complaint
I11  no more under way than the pool is wide (seen by `server.Server`)
I12  with time and a token, every call is tried, but for rows of a `create_many` that a fault stops,
     or that gives up on a server that has not answered once
I13  one fetch of a token at a time, and only for one that was refused or is near its end
I14  no call sends a token again that it was refused, and nobody an old one after a new one
I15  a closing waits for what is under way, which has all that it needs until then
     (I13 to I15 are seen by `scenario.Run`)
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from routera_async import DuplicateError, NotSentError

from .loop import NO_TIME
from .scenario import Run
from .world import MARKER, Result, Row

_AGAIN = {408, 429, 500, 502, 503, 504, 401}
"""Answers after which a call may be sent again, key or not."""

_TRANSIENT = {500, 502, 503, 504}

_SAID_ABOVE = {("duplicate", "created"), ("duplicate", "unknown"), ("rejected", "not_sent")}
"""What a hook is told of a call, and what those above make of it who know its key or its import."""


def check(run: Run) -> None:
    """Note every violation of a run in its world."""
    found = defaultdict(list)
    for record in run.server.store.records():
        found[record.get(MARKER)].append(record)
    for row in run.world.rows:
        for invariant, detail in _of_row(run, row, found[f"r{row.number}"]):
            run.world.wrong(row, invariant, detail)
    for complaint in run.loop.complaints:
        run.world.wrong(None, "I10 left", complaint)
    if run.net.wires:
        run.world.wrong(None, "I10 left", f"{len(run.net.wires)} connections are open")


def _of_row(run: Run, row: Row, records: list[Any]) -> Iterator[tuple[str, str]]:
    if row.keyed and len(records) > 1:
        yield "I1 once", f"{len(records)} records"
    yield from _ends(run, row)
    yield from _heard(row)
    yield from _sends(run, row)
    for result in row.results:
        yield from _proven(run, row, result, records)


def _proven(run: Run, row: Row, result: Result, records: list[Any]) -> Iterator[tuple[str, str]]:
    """Hold an outcome against the store."""
    match result.status:
        case "created":
            yield from _created(run, row, result, records)
        case "rejected" | "not_sent":
            if records:
                yield "I3 none", f"{result.status}, and there are {len(records)}: {result.error!r}"
            yield from _tried(run, row, result)
        case "duplicate":
            yield from _duplicate(run, row, result, records)
        case "unknown" if not (run.plan.behaviour == "many" and _repeats(run, row)):
            yield from _unknown(result)
        case "broken":
            yield "I6 typed", f"{result.error!r}"


def _repeats(run: Run, row: Row) -> bool:
    """Say whether an earlier row has this row's key: `create_many` does not send both."""
    earlier = run.world.rows[: row.number]
    return row.key is not None and any(each.key == row.key for each in earlier)


def _tried(run: Run, row: Row, result: Result) -> Iterator[tuple[str, str]]:
    """Nobody gives up in the queue before the deadline, unless there was no token."""
    if type(result.error) is not NotSentError or result.attempts or run.stopped:
        return
    began, ended = row.began or 0.0, row.ended or 0.0
    took = ended - began
    if any(began <= end + NO_TIME and start <= ended for start, end in run.troubles):
        return
    if run.plan.deadline is None or took < run.plan.deadline - NO_TIME:
        yield "I12 tried", f"never tried: {result.error!r}"


def _created(run: Run, row: Row, result: Result, records: list[Any]) -> Iterator[tuple[str, str]]:
    repeats = sum(event.status in _TRANSIENT for event in row.finished)
    most = 1 if row.keyed or not run.plan.retry.resend_unkeyed else 1 + repeats
    if not 1 <= len(records) <= most:
        yield "I2 one", f"created, and there are {len(records)} records: {result.error!r}"
    if result.record is not None and result.record.id not in {each["id"] for each in records}:
        yield "I2 ours", f"{result.record.id} is none of {records}"


def _duplicate(run: Run, row: Row, result: Result, records: list[Any]) -> Iterator[tuple[str, str]]:
    ours = isinstance(result.error, DuplicateError) and result.error.ours
    if records and (not ours or run.plan.behaviour == "many"):
        yield "I4 theirs", f"told as a duplicate, and it is ours: {records}"
    if row.key is not None and run.server.store.find(row.key) is None:
        yield "I4 held", f"nobody holds {row.key}"


def _unknown(result: Result) -> Iterator[tuple[str, str]]:
    attempts = result.attempts or ()
    if not any(each.outcome == "unknown" for each in attempts):
        yield "I5 doubt", f"unknown, and no attempt is: {attempts}"
    if not any(each.sent for each in attempts):
        yield "I5 left", f"unknown, and no attempt has left: {attempts}"


def _ends(run: Run, row: Row) -> Iterator[tuple[str, str]]:
    """Hold a call to one end, and to its time."""
    many = run.plan.behaviour == "many"
    cut_off = many and (run.plan.stop_after or run.plan.cancels > 1)
    if row.began is None or (cut_off and not row.results):
        return
    if len(row.results) != 1 or row.ended is None:
        yield "I6 ends", f"{len(row.results)} outcomes"
        return
    took, cancelled = row.ended - row.began, row.results[0].status == "cancelled"
    bounds = [each for each in (run.plan.deadline, row.patience) if each is not None]
    if bounds and took > min(bounds) + NO_TIME and not many:  # whose rows wait for a slot first
        yield "I6 in time", f"took {took} of {bounds}"
    if row.cancelled_at is not None and row.ended > row.cancelled_at + NO_TIME:
        yield "I6 cancelled", f"ended {row.ended - row.cancelled_at} s after it was cancelled"
    by_sibling = run.plan.behaviour == "strict group"
    if cancelled and row.cancelled_at is None and row.patience is None and not by_sibling:
        yield "I6 cancelled", "nobody did"


def _heard(row: Row) -> Iterator[tuple[str, str]]:
    if len(row.started) != len(row.finished):
        yield "I7 heard", f"{len(row.started)} attempts began, {len(row.finished)} ended"
    sent = sum(event.sent for event in row.finished)
    if len(row.seen) > sent:
        yield "I7 sent", f"{len(row.seen)} requests arrived, {sent} were told as sent"
    for result in row.results:
        if result.attempts is not None and len(result.attempts) != len(row.finished):
            yield "I7 told", f"{len(row.finished)} attempts, {len(result.attempts)} told"
    numbers = {event.call for event in (*row.calls, *row.started, *row.finished, *row.ends)}
    if not len(row.calls) == len(row.ends) == len(numbers) <= 1:
        yield "I7 paired", f"calls {row.calls} ended as {row.ends}"
    for end, result in zip(row.ends, row.results, strict=False):
        if end.attempts != len(row.finished):
            yield "I7 told", f"{len(row.finished)} attempts, told as {end.attempts}"
        told = (end.outcome, result.status)
        if len(set(told)) > 1 and told not in _SAID_ABOVE and "cancelled" not in told:
            yield "I7 outcome", f"{result.status}, told as {end.outcome}"
        if (result.status == "cancelled") != (end.error == "cancelled"):
            yield "I7 cancelled", f"{result.status}, told as {end.error}"


def _sends(run: Run, row: Row) -> Iterator[tuple[str, str]]:
    most = run.plan.retry.max_attempts + any(event.status == 401 for event in row.finished)
    if max(len(row.seen), len(row.finished)) > most and not run.paused:
        yield "I8 most", f"{len(row.finished)} attempts, {len(row.seen)} seen, at most {most}"
    for event in row.finished[:-1]:
        if event.status is not None and event.status not in _AGAIN:
            yield "I8 decided", f"sent again after {event.status}"
        lost = event.sent and event.status is None
        refused = event.status == 408 or (
            event.status in _TRANSIENT and not run.plan.retry.resend_unkeyed
        )
        if not row.keyed and (lost or refused):
            yield "I8 unkeyed", f"sent again without a key after {event}"
    last = row.finished[-1].status if row.finished else None
    for result in row.results:
        whole = result.status != "cancelled" and len(row.finished) == len(result.attempts or ())
        if last and 200 <= last < 300 and result.status != "created" and whole:
            yield "I2 status", f"{last} on the wire, told as {result.status}"
