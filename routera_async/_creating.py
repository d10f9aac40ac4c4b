"""One create, ready to be sent, and what an import does with many of them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from ._codec import to_flat
from ._session import PAGE_LIMIT, Session
from ._shapes import required_fields
from .errors import DuplicateError, RouteraError
from .models import New, Record
from .retries import Repeat

if TYPE_CHECKING:
    from .bulk.engine import Written

R = TypeVar("R", bound=Record)


@attrs.define(kw_only=True)  # to freeze it costs as much again
class Prepared:
    """One create, ready to be sent: its body is the same, whatever happens to it.

    `own` is the input's own value that the server keeps unique, or None; `made` one that was made
    for it, which nobody else can have; `key_name` the field that holds either. `doubtful` says
    that an earlier run may have sent it.
    """

    body: bytes = attrs.field(repr=False)
    external_id: str | None
    own: str | None
    made: str | None
    key_name: str | None
    doubtful: bool

    @property
    def key(self) -> str | None:
        """What makes it safe to send again."""
        return self.own or self.made

    def tell(self, error: RouteraError) -> None:
        """Write on an error what it proves of this create."""
        error.external_id = self.external_id
        if isinstance(error, DuplicateError):
            error.ours |= self.doubtful
            if self.made is not None:
                error.ours, error.outcome = True, "created"  # nobody else can hold that key
        elif self.doubtful and error.outcome in {"rejected", "not_sent"}:
            error.outcome = "unknown"


@attrs.frozen(kw_only=True)
class ImportVerbs(Generic[R]):
    """What an import does with one kind of object.

    `make` prepares and `send` sends, through the import's limiter; `records` lists those with
    some properties, by `session` at `path`; `new` is what is written of the kind.
    """

    make: Callable[..., Prepared]
    send: Callable[[Prepared], Awaitable["Written[R]"]]
    records: Callable[..., AsyncIterator[R]]
    session: Session
    path: str
    new: type[New]

    @property
    def naming(self) -> frozenset[str]:
        """The fields without which nothing can be the same record."""
        return frozenset(required_fields(self.new) or self.new.needs_one)

    def prepare(self, new: Any, key: str | None, *, doubtful: bool) -> Prepared:
        """Return what `write` takes; `key` is for a record that has none of its own."""
        return self.make(new, key, doubtful=doubtful)

    def write(self, prepared: Prepared) -> Awaitable["Written[R]"]:
        """Create a record."""
        return self.send(prepared)

    async def flat(self, names: frozenset[str]) -> AsyncIterator[Mapping[str, Any]]:
        """List all active records with these properties, flat but for `created_at`."""
        async for record in self.records(properties=sorted(names)):
            yield {**to_flat(record), "created_at": record.created_at}

    async def server_time(self) -> datetime | None:
        """Return what time it is by the server's clock, or None when it does not tell."""
        answer = await self.session.request(
            "GET", (self.path,), query={"limit": "10"}, repeat=Repeat.SAFE, limit=PAGE_LIMIT
        )
        try:
            return parsedate_to_datetime(answer.headers.get("date", "")).replace(tzinfo=UTC)
        except ValueError:
            return None
