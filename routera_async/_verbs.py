"""What an import does with one kind of object; loaded when there is one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from ._codec import to_flat
from ._creating import Prepared
from ._session import PAGE_LIMIT, Session
from ._shapes import required_fields
from .models import New, Record
from .retries import Repeat

if TYPE_CHECKING:
    from .bulk.engine import Written

R = TypeVar("R", bound=Record)


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

    async def write(self, prepared: Prepared) -> "Written[R]":
        """Create a record."""
        return await self.send(prepared)

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
