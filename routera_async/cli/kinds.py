"""The four kinds of objects, as the command line names them."""

from typing import Any, Literal, get_args

import attrs

from routera_async.client import RouteraClient
from routera_async.models import New, Record
from routera_async.resources import KINDS as OBJECTS
from routera_async.resources import Objects

Plural = Literal["tickets", "contacts", "companies", "deals"]


@attrs.frozen
class Kind:
    """A kind of object: its path and command, what the API returns of it and what it takes."""

    plural: Plural
    record: type[Record]
    new: type[New]

    @property
    def singular(self) -> str:
        """The noun for one of them."""
        return self.record.__name__.lower()

    def of(self, client: RouteraClient) -> Objects[Any, Any]:
        """Return the client's verbs for them."""
        verbs: Objects[Any, Any] = getattr(client, self.plural)
        return verbs


_BY_PATH = {path: (record, new) for record, (path, new) in OBJECTS.items()}

KINDS: dict[str, Kind] = {plural: Kind(plural, *_BY_PATH[plural]) for plural in get_args(Plural)}
