"""The API's nouns and its verbs: which path, which model, and nothing else."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Mapping,
)
from typing import Any, Generic, TypeVar

from ._codec import decode, encode, from_flat, page_from, to_fields
from ._session import PAGE_LIMIT, Answer, Session
from .bulk.engine import Outcome, Written, run
from .errors import ConfigurationError, DuplicateError, ResponseError
from .models import New, NewTicket, Page, Record, Ticket

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Record)
N = TypeVar("N", bound=New)
X = TypeVar("X")

_LARGEST_PAGE = 100
"""Records a page at the most, API.md, "Query parameters"."""

_CONCURRENCY = 32
"""How many creates `create_many` has under way, unless told."""


class Objects(Generic[R, N]):
    """One kind of object, at one path: tickets, for one.

    Every method raises the `RouteraError` that says what is proven; see `errors`.
    """

    def __init__(
        self,
        session: Session,
        path: str,
        record: type[R],
        new: type[N],
        *,
        unique: tuple[str, ...] = ("external_id",),
        mint: bool = False,
    ) -> None:
        self._session = session
        self._path = path
        self._record = record
        self._new = new
        self._unique = unique
        self._mint = mint

    async def create(self, new: N | Mapping[str, Any], *, properties: Iterable[str] = ()) -> R:
        """Create a record and return it as the server holds it.

        A plain mapping is taken as the fields themselves. Raises `ValidationError` before anything
        is sent when a required field is missing or a system field is written, and `DuplicateError`
        when an active record holds its external_id already.
        """
        record, _ = await self._create(new, properties)
        return record

    async def get(self, id: str, *, properties: Iterable[str] = ()) -> R:  # noqa: A002 (the API's)
        """Return a record by its id; raises `NotFoundError` when there is none.

        `properties` names custom fields to be returned beside the default ones.
        """
        answer = await self._session.request(
            "GET", (self._path, id), query=_query(properties), repeatable=True
        )
        return _read(answer, lambda flat: from_flat(flat, self._record))

    def list(
        self,
        *,
        properties: Iterable[str] = (),
        archived: bool = False,
        page_size: int = _LARGEST_PAGE,
    ) -> "Listing[R]":
        """Return all records, to be iterated over; archived ones too when `archived`.

        `page_size` is in records, 1 to 100; raises `ConfigurationError` for another.
        """
        if not 1 <= page_size <= _LARGEST_PAGE:
            raise ConfigurationError(f"page_size must be 1 to {_LARGEST_PAGE}, not {page_size}")
        query = _query(properties) | ({"archived": "true"} if archived else {})
        return Listing(self._session, self._path, self._record, query, page_size)

    def create_many(
        self,
        records: Iterable[X] | AsyncIterable[X],
        *,
        concurrency: int | None = None,
        parse: Callable[[X], N | Mapping[str, Any]] | None = None,
    ) -> AsyncGenerator[Outcome[R]]:
        """Create many records, and yield the outcome of each as it is known.

        `records` is any iterable or async iterable, of which no more is read than is under way;
        `concurrency` is how many that are at the most, 32 unless told, and never more than
        `max_connections`. `parse` gives what is to be created of each, when they are not that
        themselves. Nothing is raised for a record, but only for what stops them all.
        """
        most = self._session.max_connections
        wanted = min(_CONCURRENCY, most) if concurrency is None else concurrency
        if not 1 <= wanted <= most:
            raise ConfigurationError(
                f"concurrency must be 1 to {most} (max_connections), not {concurrency}"
            )
        return run(records, parse=parse or _as_given, write=self._create, concurrency=wanted)

    async def _create(
        self, new: N | Mapping[str, Any], properties: Iterable[str] = ()
    ) -> Written[R]:
        fields = to_fields(new, self._new)
        keyed = any(fields.get(name) for name in self._unique)
        minted = self._mint and not keyed
        if minted:
            fields["external_id"] = self._session.mint()
        try:
            answer = await self._session.request(
                "POST",
                (self._path,),
                query=_query(properties),
                body=encode(fields),
                repeatable=keyed or minted,
            )
        except DuplicateError as error:
            if minted and error.ours:
                error.outcome = "created"  # nobody else can hold a key that was minted here
            raise
        return _read(answer, lambda flat: from_flat(flat, self._record)), answer.attempts


class Tickets(Objects[Ticket, NewTicket]):
    """The tickets of the account, at /tickets."""

    def __init__(self, session: Session, *, mint: bool) -> None:
        super().__init__(session, "tickets", Ticket, NewTicket, mint=mint)


class Listing(Generic[R]):
    """The records of a list, read page by page as they are asked for."""

    def __init__(
        self, session: Session, path: str, record: type[R], query: Mapping[str, str], page_size: int
    ) -> None:
        self._session = session
        self._path = path
        self._record = record
        self._query = query
        self._page_size = page_size

    async def __aiter__(self) -> AsyncIterator[R]:
        async for page in self.pages():
            for record in page.records:
                yield record

    async def pages(self) -> AsyncIterator[Page[R]]:
        """Yield the pages, from the first to the one that is not full.

        What `count` counts is not documented, so only a short page tells the end (API.md).
        """
        size, offset = self._page_size, 0
        while True:
            answer = await self._session.request(
                "GET",
                (self._path,),
                query={**self._query, "limit": str(size), "offset": str(offset)},
                repeatable=True,
                limit=PAGE_LIMIT,
            )
            page = _read(answer, lambda flat: self._page(flat, offset))  # noqa: B023 (used at once)
            yield page
            if len(page.records) < size:
                return
            offset += size

    def _page(self, answer: Any, offset: int) -> Page[R]:
        return page_from(answer, self._record, limit=self._page_size, offset=offset)


def _query(properties: Iterable[str]) -> dict[str, str]:
    names = ",".join(properties)
    return {"properties": names} if names else {}


def _read(answer: Answer, reader: Callable[[Any], X]) -> X:
    """Read an answer's body; an error about it tells of the attempts as well."""
    try:
        return reader(decode(answer.body))
    except ResponseError as error:
        error.status = answer.status
        error.body = answer.excerpt
        error.attempts = answer.attempts
        error.elapsed = answer.elapsed
        raise


def _as_given(record: Any) -> Any:
    return record
