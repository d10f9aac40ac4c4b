"""What became of rows whose answers were lost: told from the list of what really exists.

    held      a 409 after a lost attempt of our own, on the user's key: the record is ours, or it
              was there before. Ours has what we sent, and was created since we began.
    keyed     a create whose key the server checks. The record that has the key is ours when the
              key is, and else as for a held row.
    unkeyed   a create without a key. It is there when the list holds exactly as many records with
              these fields, created in that time and claimed by no other row, as there are such
              rows.

Absence proves something only when no request can still be running: so all but held rows wait out a
quarantine first, and what is absent is looked for a second time. What stays undecided is told with
its candidates, never guessed. Times are the server's, by its `Date` header.
"""

from collections import defaultdict
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs
import orjson

from routera_async.errors import OutcomeName

SLACK = timedelta(seconds=2)
"""What a clock of whole seconds, as in `Date`, may be off."""

_ABSENT = "its answer was lost, and the list does not hold it"

_MOST = 20
"""Candidates that are told of one row."""

Flat = Mapping[str, Any]
"""A record as a list shows it, but for `created_at`, which is an aware datetime."""


@attrs.frozen(kw_only=True)
class Doubt:
    """One undecided row: what was sent, and from when to when, by the server's clock.

    `key_name` is the field that the server keeps unique, None without one; `ours` says that nobody
    else can have its value. `naming` are the fields without which nothing can be the same record.
    """

    row: int
    fields: Mapping[str, Any]
    first_sent: datetime
    last_sent: datetime
    key_name: str | None = None
    ours: bool = False
    held: bool = False
    naming: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str, Any]:
        """The field that the server keeps unique, and its value."""
        assert self.key_name is not None
        return self.key_name, self.fields[self.key_name]

    def is_near(self, flat: Flat) -> bool:
        """Say whether a record may be what we sent, as the server keeps it."""
        return all(_same(flat.get(name), self.fields.get(name)) for name in self.naming)


@attrs.frozen(kw_only=True)
class Verdict:
    """What the list proves of a row; `candidates` are the ids that could not be told apart."""

    row: int
    status: OutcomeName
    id: str | None = None
    reason: str | None = None
    candidates: tuple[str, ...] = ()


async def reconcile(
    doubts: Iterable[Doubt],
    *,
    began: datetime,
    records: Callable[[frozenset[str]], AsyncIterable[Flat]],
    claimed: Callable[[Iterable[str]], Awaitable[set[str]]],
    wait: Callable[[], Awaitable[None]],
    quarantine: timedelta,
) -> list[Verdict]:
    """Read the list, twice when something is absent, and return what is proven of each row.

    `began` is when the import did; `records` lists all active records with these properties;
    `claimed` returns which ids belong to other rows; `wait` waits the quarantine out.
    """
    doubts = sorted(doubts, key=lambda doubt: doubt.row)
    keyed = [doubt for doubt in doubts if doubt.key_name is not None]
    unkeyed = [doubt for doubt in doubts if doubt.key_name is None]
    if not all(doubt.held for doubt in doubts):
        await wait()
    names = frozenset(name for doubt in doubts for name in doubt.fields)
    found = await _look(keyed, unkeyed, records(names), quarantine)
    if found.misses(keyed, unkeyed):
        found.add(await _look(keyed, unkeyed, records(names), quarantine))
    taken = await claimed(found.ids())
    return [*_of_keyed(keyed, found, began, taken), *_of_unkeyed(unkeyed, found, taken)]


class _Found:
    """The records of the list that may be one of ours; few, however long the list."""

    def __init__(self) -> None:
        self.by_key: dict[tuple[str, Any], Flat] = {}
        self.same: dict[bytes, dict[str, Flat]] = defaultdict(dict)
        self.near: dict[bytes, dict[str, Flat]] = defaultdict(dict)

    def add(self, other: "_Found") -> None:
        """Take in what a second look has found."""
        self.by_key |= other.by_key
        for mine, theirs in ((self.same, other.same), (self.near, other.near)):
            for key, records in theirs.items():
                mine[key] |= records

    def ids(self) -> set[str]:
        """Return the ids of what may belong to a row."""
        near = {id_ for group in (self.same, self.near) for each in group.values() for id_ in each}
        return near | {flat["id"] for flat in self.by_key.values()}

    def misses(self, keyed: list[Doubt], unkeyed: list[Doubt]) -> bool:
        """Say whether a row was not found."""
        return any(doubt.key not in self.by_key for doubt in keyed) or any(
            not self.same.get(_body(doubt.fields)) for doubt in unkeyed
        )


async def _look(
    keyed: list[Doubt], unkeyed: list[Doubt], records: AsyncIterable[Flat], quarantine: timedelta
) -> _Found:
    found, keys = _Found(), {doubt.key for doubt in keyed}
    names = {name for name, _ in keys}
    groups = _groups(unkeyed)
    async for flat in records:
        for name in names:
            if (name, flat.get(name)) in keys:
                found.by_key[name, flat[name]] = flat
        for body, group in groups.items():
            since = min(doubt.first_sent for doubt in group) - SLACK
            until = max(doubt.last_sent for doubt in group) + quarantine + SLACK
            if not since <= flat["created_at"] <= until or flat.get("external_id"):
                continue
            if _holds(flat, group[0].fields):
                found.same[body][flat["id"]] = flat
            elif group[0].is_near(flat):
                found.near[body][flat["id"]] = flat
    return found


def _groups(unkeyed: list[Doubt]) -> dict[bytes, list[Doubt]]:
    """Put the rows together that nothing tells apart."""
    groups: dict[bytes, list[Doubt]] = defaultdict(list)
    for doubt in unkeyed:
        groups[_body(doubt.fields)].append(doubt)
    return groups


def _of_keyed(
    doubts: list[Doubt], found: _Found, began: datetime, taken: set[str]
) -> Iterable[Verdict]:
    taken = set(taken)
    for doubt in doubts:
        flat = found.by_key.get(doubt.key)
        verdict = _of_absent(doubt) if flat is None else _of_present(doubt, flat, began, taken)
        if flat is not None:
            taken.add(flat["id"])  # of rows with one key the first has it, the others repeat it
        yield verdict


def _of_absent(doubt: Doubt) -> Verdict:
    if doubt.held:
        reason = f"another record had its {doubt.key_name}, and has it no more"
        return Verdict(row=doubt.row, status="unknown", reason=reason)
    return Verdict(row=doubt.row, status="not_sent", reason=_ABSENT)


def _of_present(doubt: Doubt, flat: Flat, began: datetime, taken: set[str]) -> Verdict:
    is_like = _holds(flat, doubt.fields) and flat["created_at"] >= began - SLACK
    if flat["id"] not in taken and (doubt.ours or is_like):
        return Verdict(row=doubt.row, status="created", id=flat["id"])
    reason = f"{flat['id']} has its {doubt.key_name}"
    return Verdict(row=doubt.row, status="duplicate", id=flat["id"], reason=reason)


def _of_unkeyed(doubts: list[Doubt], found: _Found, taken: set[str]) -> Iterable[Verdict]:
    for body, group in _groups(doubts).items():
        same = sorted(found.same.get(body, {}).keys() - taken)
        near = sorted(found.near.get(body, {}).keys() - taken)
        yield from _of_group(group, same, near)


def _of_group(group: list[Doubt], same: list[str], near: list[str]) -> Iterable[Verdict]:
    """Tell what became of rows that are all the same, by the records that are like them."""
    if len(same) == len(group):
        for doubt, id_ in zip(group, same, strict=True):
            yield Verdict(row=doubt.row, status="created", id=id_)
    elif not same and not near:
        for doubt in group:
            yield Verdict(row=doubt.row, status="not_sent", reason=_ABSENT)
    else:
        candidates = tuple((same or near)[:_MOST])
        what = "are like" if same else "may be"
        rows = "it" if len(group) == 1 else f"{len(group)} such rows"
        reason = f"{len(same or near)} records {what} {rows}: {', '.join(candidates)}"
        for doubt in group:
            yield Verdict(row=doubt.row, status="unknown", reason=reason, candidates=candidates)


def _holds(flat: Flat, fields: Mapping[str, Any]) -> bool:
    return all(_same(flat.get(name), value) for name, value in fields.items())


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _body(fields: Mapping[str, Any]) -> bytes:
    return orjson.dumps(dict(fields), option=orjson.OPT_SORT_KEYS, default=str)
