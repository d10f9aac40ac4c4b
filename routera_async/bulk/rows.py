"""What a file's reader gives: numbered rows, good or bad, and what a first pass has found."""

import gzip
import hashlib
import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal, cast

import attrs

from routera_async.errors import ConfigurationError

CELL_MAX = 131_072
"""The most UTF-8 bytes of one cell: 128 KiB."""

READING = (OSError, EOFError, zlib.error)
"""What a disk or a damaged gzip raises while it is read."""


@attrs.frozen
class Row:
    """One row of a file, good or bad.

    `number` counts rows from 0; `line` is the physical line, from 1, that it starts on after
    decompression. A bad row has a `problem`; then `values` holds what could be read, `extra` the
    cells that no column names, and `raw` the line itself when it could not be split into as many
    cells as there are columns. Bytes that are not UTF-8 are in them as lone surrogates
    (`surrogateescape`).
    """

    number: int
    line: int
    values: dict[str, Any]
    problem: str | None = None
    extra: tuple[str, ...] = ()
    raw: str | None = None


@attrs.frozen
class Survey:
    """What reading a file through has found: how many rows it has, and its column names.

    `fault` says where and why reading stopped early, and is None when it did not.
    """

    rows: int
    columns: tuple[str, ...]
    fault: str | None = None

    def as_text(self) -> str:
        """Return it as `of_text` reads it."""
        return json.dumps([self.rows, self.columns])

    @classmethod
    def of_text(cls, text: str) -> "Survey | None":
        """Return the faultless survey that a text tells of, or None when it tells of none."""
        try:
            match json.loads(text):
                case [int(rows), [*columns]] if rows >= 0:
                    return cls(rows, tuple(map(str, columns)))
        except (ValueError, RecursionError):
            pass
        return None


class Source(ABC):
    """An open input file: its columns, how many rows it has, and the rows themselves."""

    format: ClassVar[Literal["csv", "jsonl"]]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = _stamp(path)
        self._survey: Survey | None = None
        self._digest: str | None = None

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The column names: a CSV's header, or every key that a JSONL file has."""

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Yield each row in order, reading the file afresh.

        Raises ConfigurationError, after the rows before it, where a file turns out to be damaged.
        """

    @abstractmethod
    def _read_through(self) -> Survey: ...

    def survey(self) -> Survey:
        """Read the whole file once, the first time that this is asked."""
        if self._survey is None:
            self._survey = self._read_through()
        return self._survey

    def digest(self) -> str:
        """Return the SHA-256 of the file's bytes in hex, read the first time that this is asked.

        Raises ConfigurationError when it cannot be read, or is not what was opened any more: then
        it would not tell of what was surveyed.
        """
        if self._digest is None:
            try:
                with self.path.open("rb") as stream:
                    self._digest = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise ConfigurationError(f"{self.path}: cannot be read: {reason(error)}") from None
        if _stamp(self.path) != self._stamp:
            raise ConfigurationError(
                f"{self.path}: has changed since it was opened: begin again once it is whole"
            )
        return self._digest

    def recall(self, survey: Survey) -> None:
        """Take what an earlier reading of the same bytes has found, instead of reading again."""
        self._survey = survey

    def _stopped(self, line: int, error: BaseException) -> ConfigurationError:
        return ConfigurationError(
            f"{self.path}: reading stopped after line {line:,}: {reason(error)}"
        )


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what tells whether a file is still the same, or None for one that cannot be read."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading, through gzip when its name ends in .gz."""
    if path.name.lower().endswith(".gz"):
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


def reason(error: BaseException) -> str:
    """Say why reading failed, for the end of a sentence."""
    if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile):
        return f"its gzip data is damaged ({error})"
    return getattr(error, "strerror", None) or str(error)
