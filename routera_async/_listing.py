"""A list, read page by page: every record once, also while others archive."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

import attrs

from .errors import ResponseError
from .models import Page, Stored

R = TypeVar("R", bound=Stored)

LARGEST_PAGE = 100
"""Records a page at the most, API.md, "Query parameters"."""

_OVERLAP = 5
"""Records that a page shares with the one before it, so that a gap between them is seen."""

_REMEMBERED = 10_000
"""Records, the last ones read, that are known again."""

_STALE_PAGES = 1_000
"""Full pages without a new record after which a list is taken to go round in circles."""

Fetch = Callable[[int], Awaitable[tuple[Page[R], ResponseError | None]]]
"""Reads the page at an offset, and returns why it ends before a record that cannot be read."""


class Listing(Generic[R]):
    """The records of a list, read as they are asked for; may be iterated over more than once.

    A page is found by its offset alone, so a record that is archived while the list is read moves
    all behind it one place forward. Pages overlap by up to five records: when none of a page was
    seen before, the list has moved, and it is read again from further in front. So a record that is
    there from the first page to the last is listed, and no record twice, as long as the server
    keeps the order and, of the 10,000 records that were read last, not all are archived between two
    pages. A record that is created meanwhile is listed when it comes in behind.

    A record that cannot be read raises `ResponseError` once those in front of it are given.
    """

    def __init__(self, fetch: Fetch[R], page_size: int) -> None:
        self._fetch = fetch
        self._size = page_size
        self._overlap = min(_OVERLAP, max(1, page_size // 10), page_size - 1)

    async def __aiter__(self) -> AsyncIterator[R]:
        async for page in self.pages():
            for record in page.records:
                yield record

    async def pages(self) -> AsyncIterator[Page[R]]:
        """Yield the pages, from the first to the one that is not full, without their overlaps.

        What `count` counts is not documented, so only a short page tells the end.
        """
        seen, offset, stale = _Seen(), 0, 0
        while True:
            page, problem = await self._fetch(offset)
            if problem is not None:
                if fresh := seen.new_of(page.records):
                    yield attrs.evolve(page, records=fresh)
                raise problem
            if offset and self._overlap and not seen.any_of(page.records):
                offset = max(0, offset - self._size + self._overlap)
                continue
            fresh = seen.new_of(page.records)
            stale = 0 if fresh else stale + 1
            if fresh or not offset:
                yield attrs.evolve(page, records=fresh)
            if len(page.records) < self._size:
                return
            if stale > _STALE_PAGES:
                raise ResponseError(f"the list repeats itself: nothing new at offset {offset}")
            offset += self._size - self._overlap


class _Seen:
    """The ids of the records that were read last."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._order: deque[str] = deque()

    def any_of(self, records: Iterable[Stored]) -> bool:
        """Say whether one of these was read before."""
        return any(record.id in self._ids for record in records)

    def new_of(self, records: Sequence[R]) -> tuple[R, ...]:
        """Return those of these that were not read before, and remember them.

        What stands in front of one that was read before was so too, and may be forgotten.
        """
        known = [record.id in self._ids for record in records]
        start = known.index(True) if True in known else 0
        fresh = []
        for record in records[start:]:
            if record.id not in self._ids:
                fresh.append(record)
                self._remember(record.id)
        return tuple(fresh)

    def _remember(self, id_: str) -> None:
        self._ids.add(id_)
        self._order.append(id_)
        if len(self._order) > _REMEMBERED:
            self._ids.discard(self._order.popleft())
