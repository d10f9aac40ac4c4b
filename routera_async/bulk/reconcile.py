"""What became of rows whose answers were lost: told from the list of what really exists.

    held      a 409 after a lost attempt of our own, on the user's key: the record is ours, or it
              was there before. Ours has what we sent, and was created since we began.
    keyed     a create whose key the server checks. The record that has the key is ours when the
              key is, and else as for a held row.
    unkeyed   a create without a key. It is there when the list holds exactly as many records with
              these fields, created in that time and claimed by no other row, as there are such
              rows; it is not when the list holds none, nor any that may be one changed.

Absence proves something only when no request can still be running: so all but held rows wait out a
quarantine first, and what is absent is looked for a second time. What stays undecided is told with
its candidates, never guessed. Times are the server's, by its `Date` header.
"""

import json
from collections import defaultdict
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from routera_async.errors import OutcomeName

SLACK = timedelta(seconds=2)
"""What a clock of whole seconds, as in `Date`, may be off."""

_ABSENT = "its answer was lost, and the list does not hold it"

_MOST = 20
"""Candidates that are told of one row."""

_MOST_LIKE = 50_000
"""Records that are kept as candidates; with more, no unkeyed row is decided."""

Flat = Mapping[str, Any]
"""A record as a list shows it, but for `created_at`, which is an aware datetime."""


@attrs.frozen(kw_only=True)
class Doubt:
    """One undecided row: what was sent, and from when to when, by the server's clock.

    `key_name` is the field that the server keeps unique, None without one; `ours` says that nobody
    else can have its value. `naming` are the fields without which nothing can be the same record.
    A row that is `sure` is there, and only its id was lost: it is not told, but counted.
    """

    row: int
    fields: Mapping[str, Any]
    first_sent: datetime
    last_sent: datetime
    key_name: str | None = None
    ours: bool = False
    held: bool = False
    sure: bool = False
    naming: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str, str]:
        """The field that the server keeps unique, and its value."""
        assert self.key_name is not None
        return self.key_name, str(self.fields[self.key_name])

    @property
    def name(self) -> tuple[Any, ...]:
        """What a record must share to be the same one, perhaps changed."""
        return _name(self.fields, self.naming)


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
    groups = [_Group(body, rows) for body, rows in _by_body(doubts).items()]
    if not all(doubt.held for doubt in doubts):
        await wait()
    names = frozenset(name for doubt in doubts for name in (*doubt.fields, *doubt.naming))
    found = _Found(keyed, groups, quarantine)
    await found.look(records(names))
    if found.misses():
        await found.look(records(names))
    taken = await claimed(found.ids())
    return [*_of_keyed(keyed, found, began, taken), *_of_unkeyed(groups, found, taken)]


class _Group:
    """Unkeyed rows that nothing tells apart."""

    def __init__(self, body: str, rows: list[Doubt]) -> None:
        self.body = body
        self.rows = rows
        self.fields = rows[0].fields
        self.since = min(doubt.first_sent for doubt in rows) - SLACK
        self.until = max(doubt.last_sent for doubt in rows) + SLACK
        self.sure = sum(doubt.sure for doubt in rows)


class _Found:
    """The records of the list that may be one of ours; few, however long the list."""

    def __init__(self, keyed: list[Doubt], groups: list[_Group], quarantine: timedelta) -> None:
        self.by_key: dict[tuple[str, str], Flat] = {}
        self.nearly: dict[tuple[str, str], set[str]] = defaultdict(set)  # but for their case
        self.same: dict[str, set[str]] = defaultdict(set)
        self.near: dict[str, set[str]] = defaultdict(set)
        self.too_many = False
        self._groups = groups
        self._quarantine = quarantine
        self._keys = {doubt.key for doubt in keyed}
        self._names = {name for name, _ in self._keys}
        self._folded = {_folded(*key) for key in self._keys}
        self._namings = {group.rows[0].naming for group in groups}
        self._by_name: dict[tuple[Any, ...], list[_Group]] = defaultdict(list)
        for group in groups:
            self._by_name[group.rows[0].name].append(group)
        self._kept = 0

    async def look(self, records: AsyncIterable[Flat]) -> None:
        """Read the list, and keep what may be one of ours."""
        async for flat in records:
            for name in self._names:
                self._see_key(name, flat)
            for naming in self._namings:
                for group in self._by_name.get(_name(flat, naming), ()):
                    self._see(group, flat)

    def ids(self) -> set[str]:
        """Return the ids of what may belong to a row."""
        like = {id_ for group in (self.same, self.near) for each in group.values() for id_ in each}
        return like | {flat["id"] for flat in self.by_key.values()}

    def misses(self) -> bool:
        """Say whether a row was not found."""
        return not self._keys <= self.by_key.keys() or any(
            len(self.same[group.body]) < len(group.rows) for group in self._groups
        )

    def _see_key(self, name: str, flat: Flat) -> None:
        value = flat.get(name)
        key = (name, str(value))
        if value is None:
            return
        if key in self._keys:
            self.by_key[key] = flat
        elif (folded := _folded(*key)) in self._folded:
            self.nearly[folded].add(flat["id"])

    def _see(self, group: _Group, flat: Flat) -> None:
        created_at = flat["created_at"]
        if flat.get("external_id") or created_at < group.since:
            return
        if created_at > group.until + self._quarantine:
            return
        kind = self.same if _holds(flat, group.fields) else self.near
        ids = kind[group.body]
        if self._kept < _MOST_LIKE or flat["id"] in ids:
            self._kept += flat["id"] not in ids
            ids.add(flat["id"])
        else:
            self.too_many = True


def _by_body(doubts: Iterable[Doubt]) -> dict[str, list[Doubt]]:
    """Put the unkeyed rows together that nothing tells apart."""
    groups: dict[str, list[Doubt]] = defaultdict(list)
    for doubt in doubts:
        if doubt.key_name is None:
            groups[_body(doubt.fields)].append(doubt)
    return groups


def _of_keyed(
    doubts: list[Doubt], found: _Found, began: datetime, taken: set[str]
) -> Iterable[Verdict]:
    taken = set(taken)
    for doubt in doubts:
        flat = found.by_key.get(doubt.key)
        if flat is None:
            yield _of_absent(doubt, sorted(found.nearly[_folded(*doubt.key)]))
            continue
        yield (verdict := _of_present(doubt, flat, began, taken))
        if verdict.status == "created":  # the others with its key repeat it
            taken.add(flat["id"])


def _of_absent(doubt: Doubt, nearly: list[str]) -> Verdict:
    if nearly:
        candidates = tuple(nearly[:_MOST])
        reason = f"perhaps its {doubt.key_name} is kept otherwise: {', '.join(candidates)}"
        return Verdict(row=doubt.row, status="unknown", reason=reason, candidates=candidates)
    if doubt.held:
        reason = f"a record had its {doubt.key_name} or another value of it, and has it no more"
        return Verdict(row=doubt.row, status="unknown", reason=reason)
    return Verdict(row=doubt.row, status="not_sent", reason=_ABSENT)


def _of_present(doubt: Doubt, flat: Flat, began: datetime, taken: set[str]) -> Verdict:
    is_like = _holds(flat, doubt.fields) and flat["created_at"] >= began - SLACK
    if flat["id"] not in taken and (doubt.ours or is_like):
        return Verdict(row=doubt.row, status="created", id=flat["id"])
    reason = f"{flat['id']} has its {doubt.key_name}"
    return Verdict(row=doubt.row, status="duplicate", id=flat["id"], reason=reason)


def _of_unkeyed(groups: list[_Group], found: _Found, taken: set[str]) -> Iterable[Verdict]:
    like: dict[str, int] = defaultdict(int)
    for each in found.same.values():
        for id_ in each:
            like[id_] += 1
    for group in groups:
        same = sorted(found.same[group.body] - taken)
        near = sorted(found.near[group.body] - taken)
        is_shared = any(like[id_] > 1 for id_ in same)  # it may be a row's of another group
        doubts = [doubt for doubt in group.rows if not doubt.sure]
        if found.too_many or is_shared:
            yield from _undecided(doubts, same or near)
        elif len(same) == len(group.rows):
            for doubt, id_ in zip(group.rows, same, strict=True):
                if not doubt.sure:
                    yield Verdict(row=doubt.row, status="created", id=id_)
        elif len(same) == group.sure and not near:
            for doubt in doubts:
                yield Verdict(row=doubt.row, status="not_sent", reason=_ABSENT)
        else:
            yield from _undecided(doubts, same or near)


def _undecided(doubts: list[Doubt], ids: list[str]) -> Iterable[Verdict]:
    """Tell of rows that are all the same that they cannot be told from these records."""
    candidates = tuple(ids[:_MOST])
    rows = "it" if len(doubts) == 1 else f"one of {len(doubts)} such rows"
    reason = f"{len(ids):,} records may be {rows}: {', '.join(candidates)}"
    for doubt in doubts:
        yield Verdict(row=doubt.row, status="unknown", reason=reason, candidates=candidates)


def _name(fields: Mapping[str, Any], naming: frozenset[str]) -> tuple[Any, ...]:
    return tuple(_canonical(fields.get(name)) for name in sorted(naming))


def _canonical(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else _body(value)


def _folded(name: str, value: str) -> tuple[str, str]:
    """Return a key as a server may keep it that heeds neither case nor a slash at the end."""
    return name, value.strip().rstrip("/").casefold()


def _holds(flat: Flat, fields: Mapping[str, Any]) -> bool:
    return all(_same(flat.get(name), value) for name, value in fields.items())


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one == other or _is_one_time(one, other)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _is_one_time(one: str, other: str) -> bool:
    """Tell whether two texts are one moment, which a server may write otherwise than we did."""
    if min(len(one), len(other)) <= len("2026-05-01"):
        return False
    try:
        return datetime.fromisoformat(one) == datetime.fromisoformat(other)
    except ValueError:
        return False


def _body(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
