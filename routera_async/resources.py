"""The API's nouns and its verbs: which path, which model, and nothing else."""

import asyncio
import builtins  # noqa: TC003 (as below)
import copy
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Mapping,
)
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

# What many records need is loaded when there are many, and `get_type_hints` finds it there.
import routera_async  # noqa: TC001

from ._answers import listing, names_of, properties_query, read, within
from ._codec import encode, to_changes, to_fields
from ._creating import Prepared
from ._hooks import Hook, all_guarded
from ._listing import LARGEST_PAGE, Listing
from ._session import Answer, Session
from ._shapes import check_model, field_names, from_flat
from .errors import (
    ConfigurationError,
    NotFoundError,
    ResponseError,
    RouteraError,
    ValidationError,
)
from .models import (
    Company,
    Contact,
    Deal,
    New,
    NewCompany,
    NewContact,
    NewDeal,
    NewTicket,
    Record,
    Stored,
    Ticket,
)
from .retries import Repeat

if TYPE_CHECKING:
    from ._verbs import ImportVerbs
    from .bulk.engine import Written
    from .bulk.limiter import Limiter

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Stored)
N = TypeVar("N", bound=New)
X = TypeVar("X")

_CONCURRENCY = 32
"""How many creates `create_many` has under way, unless told."""


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
        record, _ = await self._post(self._prepare(new), properties)
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
        record = read(answer, self._if_whole)
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
        return listing(
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
        journal: "routera_async.Journal | None" = None,
        bulk: "routera_async.Bulk | None" = None,
        hooks: Iterable[Hook] = (),
        stop: asyncio.Event | None = None,
        start: int = 0,
    ) -> "AsyncGenerator[routera_async.Outcome[R]]":
        """Create many records, and yield the outcome of each as it is known.

        `records` is any iterable or async iterable, of which no more is read than is under way;
        `concurrency` is how many that are at the most, 32 unless told, and never more than
        `max_connections`: it begins with a few, and adapts to what the server can take. `parse`
        gives what is to be created of each, when they are not that themselves. With a `journal`
        each record is written down before it is sent, and what an earlier run has found out is not
        done again. `hooks` hear of what happens, beside those of the client. Once `stop` is set no
        more records are read. Nothing is raised for a record, but only for what stops them all:
        what `bulk` gives up on, for one. `start` is the number of the first record, for an input
        that is not read again from its beginning: `ConfigurationError` is raised unless the
        journal has decided all before it, as `Journal.decided` tells.
        """
        from .bulk.many import Bulk, create_many  # noqa: PLC0415 (see above)

        if journal is not None:
            _check_journal(journal)
        bulk = Bulk() if bulk is None else bulk
        own = all_guarded(hooks)
        most = self._session.max_connections
        wanted = min(_CONCURRENCY, most) if concurrency is None else concurrency
        within("concurrency", wanted, most, " (max_connections)")
        if self._mint and journal is not None:  # a minted key would be lost with the process
            bulk = attrs.evolve(bulk, derive_keys=True)
        return create_many(
            records,
            lambda limiter: self._verbs(limiter, own),
            parse=parse or _as_given,
            concurrency=wanted,
            timeout=self._session.options.timeout,
            bulk=bulk,
            journal=journal,
            hooks=(*self._session.hooks, *own),
            stop=stop,
            start=start,
        )

    async def reconcile(
        self,
        journal: "routera_async.Journal",
        *,
        last_sent: float,
        quarantine: float = 60.0,
        hooks: Iterable[Hook] = (),
    ) -> "builtins.list[routera_async.Verdict]":
        """Settle the rows of an import's journal whose answers were lost, by the list.

        `last_sent` is when the last of them was sent at the latest, in seconds since the epoch; the
        list proves nothing before `quarantine` seconds after that. Returns what is proven of each.
        Rows that were under way when their import was killed are passed over: import them again.
        """
        from .bulk.many import reconcile_journal  # noqa: PLC0415 (see above)

        _check_journal(journal)
        return await reconcile_journal(
            journal,
            self._verbs(None, ()),
            unique=self._new.unique,
            last_sent=last_sent,
            quarantine=quarantine,
            hooks=(*self._session.hooks, *all_guarded(hooks)),
        )

    def _verbs(self, limiter: "Limiter | None", hooks: tuple[Hook, ...]) -> "ImportVerbs[R]":
        """Return what an import does, through its limiter if it has one."""
        from ._verbs import ImportVerbs  # noqa: PLC0415 (see above)

        listing, gated = copy.copy(self), copy.copy(self)
        listing._session = gated._session = self._session.in_background()  # noqa: SLF001 (our own)
        if limiter is not None:
            gated._session = self._session.gated(limiter, hooks)  # noqa: SLF001
        return ImportVerbs(
            make=self._prepare,
            send=gated._write,  # noqa: SLF001
            records=listing._every,  # noqa: SLF001
            session=listing._session,  # noqa: SLF001
            path=self._path,
            new=self._new,
        )

    async def _every(self, *, properties: Iterable[str]) -> AsyncIterator[R]:
        async for record in self.list(properties=properties):
            yield record

    def _prepare(
        self, new: N | Mapping[str, Any], key: str | None = None, *, doubtful: bool = False
    ) -> Prepared:
        """Make a create ready to be sent; `key` is for one that has none of its own."""
        fields = to_fields(new, self._new)
        own = None
        for name in self._new.unique:
            if fields.get(name):
                own = name
                break
        made = None
        if own is None:
            made = key or (self._session.mint() if self._mint else None)
            if made is not None:
                fields["external_id"] = made
        external_id = fields.get("external_id")
        return Prepared(
            body=encode(fields),
            external_id=external_id if isinstance(external_id, str) else None,
            own=None if own is None else str(fields[own]),
            made=made,
            key_name=own or (None if made is None else "external_id"),
            doubtful=doubtful,
        )

    async def _write(self, new: Prepared) -> "Written[R]":
        record, answer = await self._post(new, ())
        return record, answer.attempts

    async def _post(self, new: Prepared, properties: Iterable[str]) -> tuple[R, Answer]:
        try:
            answer = await self._session.request(
                "POST",
                (self._path,),
                query=self._query(properties),
                body=new.body,
                repeat=Repeat.UNKEYED if new.key is None else Repeat.SAFE,
            )
            return read(answer, lambda flat: from_flat(flat, self._record)), answer
        except RouteraError as error:
            new.tell(error)
            raise

    async def _exchange(
        self, method: str, record_id: str, properties: Iterable[str], body: bytes | None = None
    ) -> R:
        answer = await self._send(method, record_id, properties, body)
        return read(answer, lambda flat: from_flat(flat, self._record))

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
        if properties == () and not self._typed:
            return {}
        return properties_query([*self._typed, *names_of(properties)])


KINDS: dict[type[Record], tuple[str, type[New]]] = {
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
    for kind, (path, written) in KINDS.items():
        if inspect.isclass(record) and issubclass(record, kind):
            check_model(record)
            chosen = written if new is None else new
            if not (inspect.isclass(chosen) and issubclass(chosen, written)):
                raise ConfigurationError(f"{chosen!r} is no subclass of {written.__name__}")
            return Objects(session, path, record, chosen, mint=mint)
    kinds = ", ".join(kind.__name__ for kind in KINDS)
    raise ConfigurationError(f"{record!r} is no subclass of {kinds}")


def _declared_by_user(record: type[Record]) -> tuple[str, ...]:
    """Return the names of the custom fields that a subclass of a record declares."""
    known = next((kind for kind in KINDS if issubclass(record, kind)), Record)
    return tuple(name for name in field_names(record) if name not in field_names(known))


def _check_journal(journal: Any) -> None:
    """Raise `ConfigurationError` for what is no journal: the path of one, for instance."""
    from .bulk.journal import Journal  # noqa: PLC0415 (see above)

    if not isinstance(journal, Journal):
        raise ConfigurationError(
            f"journal must be an open one, not {journal!r}: async with Journal.open(...)"
        )


def _says_something(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip())


def _as_given(record: Any) -> Any:
    return record
