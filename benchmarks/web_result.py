"""What was met of a service under load while Routera hung, and what of it does not hold."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from .web import Outage

REFUSED = 503
EVERY = 20.0
"""Milliseconds between an answer about the health and the next question."""


def _size(default: float, told: str) -> Any:
    return attrs.field(default=default, metadata={"help": told})


@attrs.frozen(kw_only=True)
class Size:
    """How much is done, and the limits that it is held to."""

    orders: int = _size(2_000, "how many orders are sent")
    in_flight: int = _size(200, "by so many clients, one after the other")
    burst: int = _size(200, "so many more clients come at once in the outage")
    rows: int = _size(20_000, "the rows of the file that is imported meanwhile")
    latency: float = _size(0.1, "seconds in which the sandbox answers")
    outage: float = _size(10.0, "seconds for which it hangs")
    budget: float = _size(2.0, "seconds that a request has in the outage")
    patience: float = _size(1.0, "who is refused waits so many times what Retry-After says")
    more_patience: float = _size(1.0, "and so many times as long when refused again")
    undone: float = _size(0.5, "the share of requests that is not done when it hangs")
    last: int = _size(200, "so many more come at once at the end, and none may be refused")
    health: float = _size(
        100.0,
        "milliseconds in which 99 of 100 questions for the health are to be answered, beside "
        "those by which who asks is late",
    )
    normal_after: float = _size(2.0, "seconds after the outage from which on nobody is refused")


@attrs.frozen
class Exchange:
    """One request of an order, and what was answered: `status` is None where nothing was.

    Times are the loop's, in seconds.
    """

    key: str
    began: float
    ended: float
    status: int | None
    retry_after: str | None = None
    told: Any = None


@attrs.frozen(kw_only=True)
class Result:
    """What was met: `imported` is what the service told of its import.

    `health` is what benchmarks.health has met, and `kept` what the sandbox holds at the end.
    """

    size: Size
    exchanges: list[Exchange]
    last: list[Exchange]
    outage: "Outage"
    imported: dict[str, Any]
    health: dict[str, Any]
    kept: Counter[str]

    def faults(self) -> list[str]:
        """Say what does not hold."""
        size = self.size
        told = [*_wrong_answers(self.exchanges), *_false_words(self.exchanges)]
        told += [f"not normal again: {each}" for each in self.last if each.status != 201]  # noqa: PLR2004
        expected = {each.key for each in self.exchanges} | {f"row-{n}" for n in range(size.rows)}
        if self.kept != Counter(expected):
            told.append(f"the sandbox holds {self.kept - Counter(expected)} too many")
            told.append(f"the sandbox lacks {Counter(expected) - self.kept}")
        summary = {name: self.imported.get(name) for name in ("state", "total", "created")}
        if summary != {"state": "done", "total": size.rows, "created": size.rows}:
            told.append(f"the import: {self.imported}")
        if late := self.refused_late():
            told.append(f"{late} were refused {size.normal_after:g} s after the outage")
        return told + list(self._faults_of_health())

    def _faults_of_health(self) -> Iterator[str]:
        answers, failed = self.health["answers"], self.health["failed"]
        if failed or not answers:
            yield f"{failed} questions for the health of {len(answers)} were not answered"
            return
        took, late = (percentile(as_asked(self.health[what]), 0.99) for what in ("answers", "late"))
        if took > self.size.health + late:
            yield (
                f"health, p99: {took:.1f} ms, more than {self.size.health:g} and the {late:.1f} "
                "by which who asked was late"
            )

    def refused_late(self) -> int:
        """Count those refused who came when all was to be normal again."""
        since = self.outage.ended + self.size.normal_after
        return sum(each.status == REFUSED and each.began >= since for each in self.exchanges)


def _wrong_answers(exchanges: list[Exchange]) -> Iterator[str]:
    """Tell of answers that are none, or none of the service's."""
    for each in exchanges:
        if each.status not in {200, 201, REFUSED}:
            yield f"not answered as it should be: {each}"
        elif each.status == REFUSED and not (each.retry_after or "").isdigit():
            yield f"refused without Retry-After: {each}"


def _false_words(exchanges: list[Exchange]) -> Iterator[str]:
    """Tell of orders said to be there before, with nothing before that may have put them there."""
    answers = defaultdict(list)
    for each in exchanges:
        answers[each.key].append(each)
    for each in answers.values():
        outcomes = {exchange.told["outcome"] for exchange in each if exchange.status == REFUSED}
        if each[-1].status == 200 and "unknown" not in outcomes:  # noqa: PLR2004
            yield f"told to be there, though it had not been sent: {each}"


def as_asked(taken: list[float]) -> list[float]:
    """Return what it would have taken who asks every 20 ms also while an answer is out.

    Who asks in turn asks nothing meanwhile, so a service that stands still for ten seconds would
    count as one late answer.
    """
    return [each - waited * EVERY for each in taken for waited in range(max(1, int(each / EVERY)))]


def percentile(values: list[float], share: float) -> float:
    """Return the value that so large a share is not above; nan of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def lines(name: str, result: Result) -> Iterator[str]:
    """Yield what a person is told of one service."""
    exchanges, outage = result.exchanges, result.outage
    health = result.health
    statuses = Counter(str(each.status or "unanswered") for each in exchanges)
    refused = [each for each in exchanges if each.status == REFUSED]
    whys = Counter(
        "overloaded" if "waiting already" in each.told["detail"] else each.told["outcome"]
        for each in refused
    )
    yield f"{name}: {len(exchanges):,} requests: {dict(statuses)}, refused: {dict(whys)}"
    for what in ("answers", "late"):
        asked = as_asked(health[what])
        figures = ", ".join(f"p{p:g} {percentile(asked, p / 100):.1f}" for p in (50, 99, 99.9))
        most = max(health[what], default=0.0)
        yield f"  health, {what}: {figures}, most {most:.1f} ms of {len(health[what]):,}"
    normal = result.size.normal_after
    for when, those in {
        "before the outage": [each for each in exchanges if each.ended < outage.began],
        f"{normal:g} s after it": [
            each for each in exchanges if each.began > outage.ended + normal
        ],
    }.items():
        taken = [(each.ended - each.began) * 1_000 for each in those]
        times = f"p50 {percentile(taken, 0.5):.0f}, p99 {percentile(taken, 0.99):.0f} ms"
        yield f"  {when}: {len(those):,} requests, {times}"
    longest = max(each.ended - each.began for each in exchanges)
    late = result.refused_late()
    yield f"  longest request {longest:.2f} s; refused {normal:g} s after the outage: {late}"
    last = max((each.ended for each in refused), default=outage.ended) - outage.ended
    yield f"  outage {outage.ended - outage.began:.1f} s; last refusal {last:+.2f} s after it"
    told = {name: result.imported.get(name) for name in ("total", "created", "retries", "seconds")}
    yield f"  import: {told}"
    yield from (f"  DOES NOT HOLD: {fault}" for fault in result.faults())
