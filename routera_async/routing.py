"""Routers, and the dispatch that runs one on an object (API.md, "Routers" and "Dispatch")."""

from ._answers import listing, read
from ._codec import dispatched, encode_json
from ._listing import LARGEST_PAGE, Listing
from ._session import Session
from ._shapes import from_flat
from .models import DispatchResult, Router
from .retries import Repeat


class Routers:
    """The account's routers, which can only be read."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, id: str) -> Router:  # noqa: A002 (the API's)
        """Return a router by its id, a UUID; raises `NotFoundError` when there is none."""
        answer = await self._session.request("GET", ("routers", id), repeat=Repeat.SAFE)
        return read(answer, lambda flat: from_flat(flat, Router))

    def list(self, *, archived: bool = False, page_size: int = LARGEST_PAGE) -> Listing[Router]:
        """Return all routers, to be iterated over; archived ones too when `archived`.

        `page_size` is in routers, 1 to 100; raises `ConfigurationError` for another.
        """
        return listing(self._session, "routers", Router, {}, archived=archived, size=page_size)


async def dispatch(session: Session, router_id: str, object_id: str) -> DispatchResult:
    """Run a router on an object."""
    answer = await session.request(
        "POST",
        ("dispatch", "router"),
        body=encode_json({"router_id": router_id, "object_id": object_id}),
        repeat=Repeat.SAFE if session.options.retry.resend_dispatch else Repeat.RISKY,
    )
    return read(answer, dispatched)
