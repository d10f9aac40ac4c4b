"""The oracle of imports that crash: what must hold of every life, by what the store really holds.

I1   at most one record of a row with a key, whether it is its own or was made for it
I2   created: there is a record, it is of this row, and the id that was told is its id
I3   rejected, not sent: no request of this life or an earlier one has made a record of it
I4   duplicate: the same, and somebody has its key; a row that repeats another's may have made its
     record in an earlier life, in which the other one was not sent
I5   unknown: only when it was written down that it is sent, or when the row that it repeats is;
     and once faults have ended, only a row without a key, which has a twin or was sent twice, or
     one that is not reconciled, as was asked for
I6   one outcome a row in every life, and each row's in one that was not stopped; the journal then
     counts the same
I7   no request without an intent that was committed by the same life (seen by `ImportServer`)
I8   the same body in every life (seen by `Server`)
I14  of the rows with one key, only one is sent, unless the earlier one has come to nothing, or
     an earlier life may have sent the later one
I15  what a life resumes is what was told before; and what was created or a duplicate stays so

I10 and I11 as in `check`. A row without a key may have one more record for each 5xx after which
the policy allows a repeat.
"""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from routera_async import BadRequestError
from routera_async.bulk.engine import Outcome

from .import_life import Life
from .world import Row

if TYPE_CHECKING:
    from .imports import ImportRun

Found = Iterator[tuple[str, str]]

_NOTHING = {"rejected", "not_sent"}


def check(run: "ImportRun") -> None:
    """Note every violation of a run in its world."""
    for row in run.world.rows:
        for invariant, detail in (*_records(run, row), *_over_lives(run, row)):
            run.world.wrong(row, invariant, detail)
    for life in run.lives:
        for invariant, detail in _whole(run, life):
            run.world.wrong(None, invariant, f"life {life.number}: {detail}")
        for outcome in life.told:
            for invariant, detail in _proven(run, life, outcome):
                told = f"life {life.number}: {detail} ({outcome})"
                run.world.wrong(run.world.rows[outcome.row], invariant, told)
    for outcome in run.lives[-1].told:
        for invariant, detail in _at_last(run, outcome):
            run.world.wrong(run.world.rows[outcome.row], invariant, f"{detail} ({outcome})")
    if run.net.wires:
        run.world.wrong(None, "I10 left", f"{len(run.net.wires)} connections are open")


def _twins(run: "ImportRun", row: Row) -> list[Row]:
    """Return the rows that a record with this row's marker may be of."""
    return [each for each in run.world.rows if each.marker == row.marker]


def _allowed(run: "ImportRun", row: Row) -> int:
    """Return how many records there may be of a row's marker."""
    twins = len(_twins(run, row))
    if row.keyed or not run.plan.client.retry.resend_unkeyed:
        return twins
    return twins + run.server.transient.get(row.marker, 0)


def _records(run: "ImportRun", row: Row) -> Found:
    made = run.server.made.get(row.marker, {})
    if len(made) > _allowed(run, row):
        yield "I1 once", f"{len(made)} records"


def _proven(run: "ImportRun", life: Life, outcome: Outcome[Any]) -> Found:
    """Hold an outcome against the records that this life and those before it have made."""
    row = run.world.rows[outcome.row]
    by_all = run.server.made.get(row.marker, {})
    made = [id_ for id_, by in by_all.items() if by <= life.number]
    match outcome.status:
        case "created":
            yield from _created(run, life, outcome, made)
        case "rejected" | "not_sent":
            if len(made) > _allowed(run, row) - 1:
                yield "I3 none", f"there is {made}"
        case "duplicate":
            if made and not _repeats(run, row):
                yield "I4 theirs", f"it is ours: {made}"
            if run.server.store.find(row.key or "") is None:
                yield "I4 held", f"nobody holds {row.key}"
        case "unknown":
            yield from _doubted(run, life, row)


def _created(run: "ImportRun", life: Life, outcome: Outcome[Any], made: list[str]) -> Found:
    row, record = run.world.rows[outcome.row], outcome.record
    twins = {each.number for each in _twins(run, row)}
    created = sum(each.status == "created" and each.row in twins for each in life.told)
    if len(made) < created:
        yield "I2 one", f"{created} rows created, {len(made)} records"
    if outcome.id is not None and outcome.id not in made:
        yield "I2 ours", f"its id is none of {made}"
    if record is not None and record.id not in made:
        yield "I2 ours", "the record is another row's"


def _doubted(run: "ImportRun", life: Life, row: Row) -> Found:
    lives = run.lives[: life.number + 1]
    if not any(row.number in each.intended for each in lives) and not _repeats(run, row):
        yield "I5 doubt", "it was never to be sent"


def _repeats(run: "ImportRun", row: Row) -> list[Row]:
    """Return the earlier rows that have this row's key."""
    return [each for each in run.world.rows[: row.number] if each.key and each.key == row.key]


def _at_last(run: "ImportRun", outcome: Outcome[Any]) -> Found:
    """Hold the outcomes of the last life, in which nothing went wrong, to being settled."""
    row = run.world.rows[outcome.row]
    if outcome.status == "not_sent":
        yield "I5 settled", "nothing hinders it any more"
    derived = row.minted and not isinstance(outcome.error, BadRequestError)  # which leaves doubt
    alone = _allowed(run, row) == 1
    if outcome.status == "unknown" and (
        derived or (run.plan.bulk.reconcile and (row.keyed or alone))
    ):
        yield "I5 settled", "a repeat or the list tells what became of it"


def _whole(run: "ImportRun", life: Life) -> Found:
    """Hold a life to one outcome a row, and to a journal that says the same."""
    counts = Counter(outcome.row for outcome in life.told)
    if twice := [row for row, count in counts.items() if count > 1]:
        yield "I6 once", f"rows {twice} have several outcomes"
    if not life.ended:
        return
    if missing := {row.number for row in run.world.rows} - set(counts):
        yield "I6 all", f"rows {sorted(missing)} have none"
    told = Counter(outcome.status for outcome in life.told)
    written = Counter(life.tally)
    written["unknown"] += written.pop("held", 0)
    if told != +written:
        yield "I6 journal", f"told {dict(told)}, and written down is {dict(+written)}"


def _over_lives(run: "ImportRun", row: Row) -> Found:
    """Hold what the lives tell of a row against each other."""
    earlier: Outcome[Any] | None = None
    for life in run.lives:
        told = next((each for each in life.told if each.row == row.number), None)
        yield from _alone(run, life, row)
        if told is None:
            continue
        if earlier is not None:
            yield from _same(row, earlier, told)
        earlier = told


def _same(row: Row, earlier: Outcome[Any], told: Outcome[Any]) -> Found:
    before, now = (earlier.status, earlier.id), (told.status, told.id)
    if told.resumed and before != now:
        yield "I15 resumed", f"told {before} before, and resumed as {now}"
    if earlier.status in {"created", "duplicate"} and told.status not in {
        earlier.status,
        "unknown",
    }:
        yield "I15 stays", f"told {before} before, and now {now}"
    if row.keyed and earlier.id and told.id and earlier.id != told.id:
        yield "I15 id", f"told {before} before, and now {now}"


def _alone(run: "ImportRun", life: Life, row: Row) -> Found:
    """Check I14: of this row and those whose key it repeats."""
    doubtful = any(row.number in each.intended for each in run.lives[: life.number])
    if doubtful or life.number not in run.server.arrived.get(row.number, ()):
        return
    told = {outcome.row: outcome for outcome in life.told}
    for first in _repeats(run, row):
        outcome = told.get(first.number)
        if outcome is None or outcome.status in _NOTHING:
            continue
        own = told.get(row.number)
        sent = life.number in run.server.arrived.get(first.number, ()) and not (
            own is not None and own.status in _NOTHING
        )
        if sent or outcome.resumed:  # else it waited as well, and had its turn after this one
            yield "I14 repeat", f"sent, although row {first.number} is {outcome.status}"
