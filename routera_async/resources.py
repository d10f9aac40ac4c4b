"""The API's nouns and its verbs: which path, which model, and nothing else."""

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import attrs

from ._codec import (
    decode,
    dispatched,
    encode,
    encode_json,
    page_from,
    to_changes,
    to_fields,
)
from ._listing import LARGEST_PAGE, Listing
from ._session import PAGE_LIMIT, Answer, Session
from ._shapes import check_model, field_names, from_flat
from ._urls import query_of, segments_of
from .bulk.engine import Outcome, Written, run
from .errors import (
    Attempt,
    ConfigurationError,
    DuplicateError,
    NotFoundError,
    ResponseError,
    RouteraError,
    ValidationError,
)
from .models import (
    Company,
    Contact,
    Deal,
    DispatchResult,
    New,
    NewCompany,
    NewContact,
    NewDeal,
    NewTicket,
    Page,
    Record,
    Router,
    Stored,
    Ticket,
)
from .retries import Repeat

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Stored)
N = TypeVar("N", bound=New)
X = TypeVar("X")

_CONCURRENCY = 32
"""How many creates `create_many` has under way, unless told."""

_METHODS = {
    "GET": Repeat.SAFE,
    "PUT": Repeat.SAFE,
    "PATCH": Repeat.SAFE,
    "DELETE": Repeat.SAFE,
    "POST": Repeat.RISKY,
}
"""What `request` sends, and what a repeat of it means unless told."""


class Objects(Generic[R, N]):
    """One kind of object, at one path: tickets, for one.

    Every method raises the `RouteraError` that says what is proven; see `errors`. `properties`
    names fields to be returned beside the default ones.
    """

    def __init__(
        self, session: Session, path: str, record: type[R], new: type[N], *, mint: bool = False
    ) -> None:
        self._session = session
        self._path = path
        self._record = record
        self._new = new
        self._mint = mint
        self._typed = _declared_by_user(record)

    async def create(self, new: N | Mapping[str, Any], *, properties: Iterable[str] = ()) -> R:
        """Create a record and return it as the server holds it.

        A plain mapping is taken as the fields themselves. Raises `ValidationError` before anything
        is sent when a required field is missing or a system field is written, and `DuplicateError`
        when an active record holds its external_id, email or website_url already.

        The answer may lack what `properties` asks for, and what was written beyond the default
        fields, for the API does not document that a create shows it: `get` does.
        """
        record, _ = await self._create(new, properties)
        return record

    async def get(self, id: str, *, properties: Iterable[str] = ()) -> R:  # noqa: A002 (the API's)
        """Return a record by its id; raises `NotFoundError` when there is none."""
        return await self._exchange("GET", id, properties)

    async def update(
        self,
        id: str,  # noqa: A002 (the API's)
        changes: Mapping[str, Any],
        *,
        properties: Iterable[str] = (),
    ) -> R:
        """Change some fields of a record, and return it.

        `changes` holds these fields alone; a None is sent as null. Raises `ValidationError` before
        anything is sent when a system field is written, `NotFoundError` when there is no such
        active record, and `DuplicateError` when another active record holds the new key. An error
        whose `outcome` is "unknown" may have changed it: setting the same values again is safe.
        """
        return await self._exchange("PATCH", id, properties, encode(to_changes(changes)))

    async def archive(self, id: str) -> R:  # noqa: A002 (the API's)
        """Archive a record, and return it; raises `NotFoundError` when it is none or archived.

        When an attempt was lost and the next finds no active record, the lost one is taken to have
        archived it, and the archived record is returned. The API answers with the default fields:
        those that a subclass declares are read with a request of their own.
        """
        try:
            answer = await self._send("DELETE", id, ())
        except NotFoundError as error:
            if error.outcome != "unknown":
                raise
            return await self._archived(id, error)
        record = _read(answer, self._if_whole)
        if record is not None:
            return record
        unread = ResponseError("it was archived, and its own fields could not be read")
        unread.id, unread.status, unread.attempts = id, answer.status, answer.attempts
        return await self._archived(id, unread)

    def list(
        self,
        *,
        properties: Iterable[str] = (),
        archived: bool = False,
        page_size: int = LARGEST_PAGE,
    ) -> Listing[R]:
        """Return all records, to be iterated over; archived ones too when `archived`.

        `page_size` is in records, 1 to 100; raises `ConfigurationError` for another. With 1, what
        is archived meanwhile is not noticed: see `Listing`.
        """
        query = self._query(properties)
        return _listing(
            self._session, self._path, self._record, query, archived=archived, size=page_size
        )

    async def find(self, external_id: str, *, properties: Iterable[str] = ()) -> R | None:
        """Return the active record with this external_id, or None.

        The API has no look-up, so this reads the list, a hundred records a request, until it is
        found: on average half of all the account has. Keep ids, where there are many. Raises
        `ValidationError` for what is no key: None, or a blank text.
        """
        if not _says_something(external_id):
            raise ValidationError(f"external_id must be a text, not blank, not {external_id!r}")
        async for record in self.list(properties=properties):
            if record.external_id == external_id:
                return record
        return None

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
        _within("concurrency", wanted, most, " (max_connections)")
        return run(records, parse=parse or _as_given, write=self._create, concurrency=wanted)

    async def _create(
        self, new: N | Mapping[str, Any], properties: Iterable[str] = ()
    ) -> Written[R]:
        fields = to_fields(new, self._new)
        keyed = any(fields.get(name) for name in self._new.unique)
        minted = self._mint and not keyed
        if minted:
            fields["external_id"] = self._session.mint()
        try:
            answer = await self._session.request(
                "POST",
                (self._path,),
                query=self._query(properties),
                body=encode(fields),
                repeat=Repeat.SAFE if keyed or minted else Repeat.UNKEYED,
            )
            return _read(answer, lambda flat: from_flat(flat, self._record)), answer.attempts
        except RouteraError as error:
            error.external_id = fields.get("external_id")
            if minted and isinstance(error, DuplicateError):
                error.ours = True  # nobody else can hold a key that was minted here
                error.outcome = "created"
            raise

    async def _exchange(
        self, method: str, record_id: str, properties: Iterable[str], body: bytes | None = None
    ) -> R:
        answer = await self._send(method, record_id, properties, body)
        return _read(answer, lambda flat: from_flat(flat, self._record))

    async def _send(
        self, method: str, record_id: str, properties: Iterable[str], body: bytes | None = None
    ) -> Answer:
        return await self._session.request(
            method,
            (self._path, record_id),
            query=self._query(properties),
            body=body,
            repeat=Repeat.SAFE,
        )

    async def _archived(self, record_id: str, otherwise: RouteraError) -> R:
        """Return an archived record; raises `otherwise` when it is not, or cannot be read."""
        try:
            record = await self.get(record_id)
        except RouteraError:
            raise otherwise from None
        if record.archived is False:
            raise otherwise
        return record

    def _if_whole(self, flat: Any) -> R | None:
        """Return the record that an answer is, or None when it lacks a subclass's own fields."""
        if isinstance(flat, dict) and not flat.keys() >= set(self._typed):
            return None
        return from_flat(flat, self._record)

    def _query(self, properties: Iterable[str]) -> dict[str, str]:
        return _query([*self._typed, *_names(properties)])


class Routers:
    """The account's routers, which can only be read."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, id: str) -> Router:  # noqa: A002 (the API's)
        """Return a router by its id, a UUID; raises `NotFoundError` when there is none."""
        answer = await self._session.request("GET", ("routers", id), repeat=Repeat.SAFE)
        return _read(answer, lambda flat: from_flat(flat, Router))

    def list(self, *, archived: bool = False, page_size: int = LARGEST_PAGE) -> Listing[Router]:
        """Return all routers, to be iterated over; archived ones too when `archived`.

        `page_size` is in routers, 1 to 100; raises `ConfigurationError` for another.
        """
        return _listing(self._session, "routers", Router, {}, archived=archived, size=page_size)


@attrs.frozen
class Response:
    """A 2xx to a request of the caller's own making.

    `headers` have lower-case names; `attempts` tells what each attempt met; `elapsed` is in
    seconds.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    attempts: tuple[Attempt, ...]
    elapsed: float

    def json(self) -> Any:
        """Return the body's JSON value; raises `ResponseError`, without the body, for another."""
        try:
            return decode(self.body)
        except ResponseError as error:
            error.status, error.attempts, error.elapsed = self.status, self.attempts, self.elapsed
            raise


_KINDS: dict[type[Record], tuple[str, type[New]]] = {
    Ticket: ("tickets", NewTicket),
    Contact: ("contacts", NewContact),
    Company: ("companies", NewCompany),
    Deal: ("deals", NewDeal),
}
"""The kinds of objects: where each is, and what is written of it."""


def objects_of(
    session: Session, record: type[Any], new: type[Any] | None, *, mint: bool
) -> Objects[Any, Any]:
    """Return the verbs for a kind of object, or for a subclass that declares custom fields.

    Raises `ConfigurationError` for a class that is none, or has a type that JSON cannot become.
    """
    for kind, (path, written) in _KINDS.items():
        if inspect.isclass(record) and issubclass(record, kind):
            check_model(record)
            chosen = written if new is None else new
            if not (inspect.isclass(chosen) and issubclass(chosen, written)):
                raise ConfigurationError(f"{chosen!r} is no subclass of {written.__name__}")
            return Objects(session, path, record, chosen, mint=mint)
    kinds = ", ".join(kind.__name__ for kind in _KINDS)
    raise ConfigurationError(f"{record!r} is no subclass of {kinds}")


async def dispatch(session: Session, router_id: str, object_id: str) -> DispatchResult:
    """Run a router on an object."""
    answer = await session.request(
        "POST",
        ("dispatch", "router"),
        body=encode_json({"router_id": router_id, "object_id": object_id}),
        repeat=Repeat.SAFE if session.options.retry.resend_dispatch else Repeat.RISKY,
    )
    return _read(answer, dispatched)


async def request(
    session: Session,
    method: str,
    path: str,
    *,
    params: Mapping[str, str | float | bool] | None,
    json: Any,
    repeatable: bool | None,
) -> Response:
    """Send what the client knows nothing of."""
    if str(method) not in _METHODS:
        raise ValidationError(f"method must be one of {', '.join(_METHODS)}, not {method!r}")
    if method == "GET" and json is not None:
        raise ValidationError("a GET has no body: give params")
    repeat = _METHODS[method]
    if repeatable is not None:
        repeat = Repeat.SAFE if repeatable else Repeat.RISKY
    answer = await session.request(
        method,
        segments_of(path),
        query=None if params is None else query_of(params),
        body=None if json is None else encode_json(json),
        repeat=repeat,
        limit=PAGE_LIMIT,
    )
    return Response(answer.status, answer.headers, answer.body, answer.attempts, answer.elapsed)


def _listing(
    session: Session, path: str, kind: type[S], query: dict[str, str], *, archived: bool, size: int
) -> Listing[S]:
    _within("page_size", size, LARGEST_PAGE)
    if not isinstance(archived, bool):
        raise ConfigurationError(f"archived must be True or False, not {archived!r}")
    fixed = query | ({"archived": "true"} if archived else {})

    async def fetch(offset: int) -> tuple[Page[S], ResponseError | None]:
        answer = await session.request(
            "GET",
            (path,),
            query=fixed | {"limit": str(size), "offset": str(offset)},
            repeat=Repeat.SAFE,
            limit=PAGE_LIMIT,
        )
        page, problem = _read(answer, lambda flat: page_from(flat, kind, limit=size, offset=offset))
        return page, problem and _about(problem, answer)

    return Listing(fetch, size)


def _declared_by_user(record: type[Record]) -> tuple[str, ...]:
    """Return the names of the custom fields that a subclass of a record declares."""
    known = next((kind for kind in _KINDS if issubclass(record, kind)), Record)
    return tuple(name for name in field_names(record) if name not in field_names(known))


def _names(properties: Iterable[str]) -> Iterable[str]:
    if isinstance(properties, str):
        raise ConfigurationError(f"properties must be a list of names: [{properties!r}]")
    if isinstance(properties, Iterable):
        names = list(properties)
        if all(isinstance(name, str) for name in names):
            return names
    raise ConfigurationError("properties must be a list of names, such as ['priority']")


def _says_something(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip())


def _within(name: str, value: Any, most: int, why: str = "") -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 1 <= value <= most:
        raise ConfigurationError(f"{name} must be 1 to {most}{why}, not {value!r}")


def _query(names: Iterable[str]) -> dict[str, str]:
    joined = ",".join(dict.fromkeys(names))
    return {"properties": joined} if joined else {}


def _read(answer: Answer, reader: Callable[[Any], X]) -> X:
    """Read an answer's body; an error about it tells of the attempts as well."""
    try:
        return reader(decode(answer.body))
    except ResponseError as error:
        unreadable = _about(error, answer)
    raise unreadable


def _about(error: ResponseError, answer: Answer) -> ResponseError:
    error.status = answer.status
    error.body = answer.excerpt()
    error.attempts = answer.attempts
    error.elapsed = answer.elapsed
    return error.with_traceback(None)  # its frames hold the answer: a token, perhaps


def _as_given(record: Any) -> Any:
    return record
