"""What is imported, and how: held against the mapping before anything is sent."""

from pathlib import Path
from typing import Literal

import attrs

from ._options import whole_number
from ._shapes import required_fields
from .bulk.journal import peek
from .bulk.many import Bulk
from .bulk.mapping import Mapping
from .bulk.readers import Source, Survey, open_source
from .errors import ConfigurationError
from .models import New
from .resources import KINDS

ObjectName = Literal["tickets", "contacts", "companies", "deals"]
"""What a file may hold, one in each row."""

NEW = dict(KINDS.values())
"""What is created of a row, by the name of its kind."""


@attrs.frozen(kw_only=True)
class ImportSettings:
    """How a file is imported, beside its mapping.

    `object` is what each row is. `concurrency` is how many creates are under way at the most.
    `limit` is how many rows are read. `max_rejects` stops an import with more rejected rows than
    that, for its mapping is wrong then: a number, or a share such as "5%" once 100 rows are done.
    `canary` is how many rows are done before `confirm` is asked whether to go on. `journal` is
    where the import is written down: beside the file when True, and nowhere when False; `target`
    names where to, for the journal, when the base URL does not.
    """

    object: ObjectName = "tickets"
    concurrency: int = 32
    limit: int | None = None
    max_rejects: int | str | None = None
    canary: int | None = None
    journal: bool | str | Path = True
    target: str | None = None
    bulk: Bulk = attrs.field(factory=Bulk)

    def __attrs_post_init__(self) -> None:
        if self.object not in NEW:
            raise ConfigurationError(f"object must be one of {', '.join(NEW)}, not {self.object!r}")
        for name in ("limit", "canary"):
            if (value := getattr(self, name)) is not None:
                whole_number(name, value, 0)
        too_many(self.max_rejects, 0, 0)


def open_input(path: str | Path, settings: ImportSettings) -> Source:
    """Open a file to import; what an earlier run has found in it need not be found again.

    Raises `ConfigurationError` when the file cannot be an input.
    """
    source = open_source(path)
    where = journal_path(source, settings)
    bound = None if where is None else peek(where)
    if (
        bound is not None
        and (survey := Survey.of_text(bound.survey)) is not None
        and bound.digest == source.digest()
    ):
        source.recall(survey)
    return source


def journal_path(source: Source, settings: ImportSettings) -> Path | None:
    """Return where an import is written down, or None for nowhere."""
    where = settings.journal
    if where is True:
        return source.path.with_name(f"{source.path.name}.journal")
    return None if where is False else Path(where)


def check_required(mapping: Mapping, new: type[New]) -> None:
    """Raise `ConfigurationError` when nothing fills a field that every such object needs."""
    filled = {setting.field for setting in mapping.settings}
    for name in required_fields(new):
        if name not in filled:
            raise ConfigurationError(
                f"nothing fills {name}, which every {_one(new)} needs: "
                f"add --map {name}=COLUMN, --set {name}=VALUE or --template"
            )
    if new.needs_one and not filled & set(new.needs_one):
        raise ConfigurationError(
            f"nothing fills one of {', '.join(new.needs_one)}, which every {_one(new)} needs: "
            f"add --map {new.needs_one[0]}=COLUMN"
        )


def _one(new: type[New]) -> str:
    return new.__name__.removeprefix("New").lower()


def too_many(allowed: int | str | None, rejected: int, done: int) -> bool:
    """Say whether more rows are rejected than are allowed; raises for what allows nothing."""
    if allowed is None:
        return False
    text = str(allowed).strip()
    number = text.removesuffix("%")
    if not number.isascii() or not number.isdigit():
        raise ConfigurationError(f'max_rejects must be a number or a share ("5%"), not {allowed!r}')
    if not text.endswith("%"):
        return rejected > int(number)
    return done >= 100 and rejected * 100 > int(number) * done  # noqa: PLR2004 (per cent)
