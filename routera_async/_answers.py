"""What calls ask for, and how their answers are read: shared by every resource."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ._codec import decode, page_from
from ._listing import LARGEST_PAGE, Listing
from ._session import PAGE_LIMIT, Answer, Session
from .errors import ConfigurationError, ResponseError
from .models import Page, Stored
from .retries import Repeat

S = TypeVar("S", bound=Stored)
X = TypeVar("X")


def read(answer: Answer, reader: Callable[[Any], X]) -> X:
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


def listing(
    session: Session, path: str, kind: type[S], query: dict[str, str], *, archived: bool, size: int
) -> Listing[S]:
    """Return a list of one kind of object; raises `ConfigurationError` for a bad size."""
    within("page_size", size, LARGEST_PAGE)
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
        page, problem = read(answer, lambda flat: page_from(flat, kind, limit=size, offset=offset))
        return page, problem and _about(problem, answer)

    return Listing(fetch, size)


def names_of(properties: Iterable[str]) -> Iterable[str]:
    """Return names of properties; raises `ConfigurationError` for what is no list of them."""
    if isinstance(properties, str):
        raise ConfigurationError(f"properties must be a list of names: [{properties!r}]")
    if isinstance(properties, Iterable):
        names = list(properties)
        if all(isinstance(name, str) for name in names):
            return names
    raise ConfigurationError("properties must be a list of names, such as ['priority']")


def properties_query(names: Iterable[str]) -> dict[str, str]:
    """Return the query that asks for these properties."""
    joined = ",".join(dict.fromkeys(names))
    return {"properties": joined} if joined else {}


def within(name: str, value: Any, most: int, why: str = "") -> None:
    """Raise `ConfigurationError` for a number that is not 1 to `most`."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 1 <= value <= most:
        raise ConfigurationError(f"{name} must be 1 to {most}{why}, not {value!r}")
