"""Read CSV and JSONL files, plain or gzipped, as numbered rows.

A file that cannot be read at all raises `ConfigurationError` when it is opened. One bad row does
not: it comes out as a `Row` whose `problem` says what is wrong, and the rest go on. Memory does
not grow with the file, nor with its longest line.
"""

from pathlib import Path
from stat import S_ISDIR, S_ISREG

from routera_async.bulk.csv_rows import CsvSource
from routera_async.bulk.jsonl_rows import JsonlSource
from routera_async.bulk.rows import READING, Row, Source, Survey, open_binary, reason
from routera_async.errors import ConfigurationError

__all__ = ["CsvSource", "JsonlSource", "Row", "Source", "Survey", "open_source"]

_SOURCES: dict[str, type[CsvSource | JsonlSource]] = {
    ".csv": CsvSource,
    ".jsonl": JsonlSource,
    ".ndjson": JsonlSource,
}

_SIGNATURES = {
    b"\xff\xfe": "is UTF-16: save it as UTF-8",
    b"\xfe\xff": "is UTF-16: save it as UTF-8",
    b"\x1f\x8b": "is compressed with gzip: end its name in .gz",
    b"PK\x03\x04": "is a zip archive or an Excel workbook: save it as CSV",
}
"""What files are mistaken for CSV and JSONL, by their first bytes, and what to do."""


def open_source(path: str | Path) -> Source:
    """Open a .csv, .jsonl or .ndjson file, each also with .gz, for reading.

    Raises ConfigurationError, in one line that says what to do, when the file cannot be an input.
    """
    path = Path(path)
    kind = _SOURCES.get(Path(path.name.lower().removesuffix(".gz")).suffix)
    if kind is None:
        names = ", ".join(_SOURCES)
        raise ConfigurationError(f"{path}: a file's name must end in {names}, or one of them + .gz")
    _check_file(path)
    return kind(path)


def _check_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
        if S_ISDIR(mode):
            raise ConfigurationError(f"{path}: is a folder: name one file in it")
        if not S_ISREG(mode):
            raise ConfigurationError(
                f"{path}: is not a regular file, and it is read twice: save it"
            )
        with open_binary(path) as stream:
            start = stream.read(4)
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file") from None
    except (*READING, ValueError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {reason(error)}") from None
    if not start:
        raise ConfigurationError(f"{path}: is empty")
    for signature, advice in _SIGNATURES.items():
        if start.startswith(signature):
            raise ConfigurationError(f"{path}: {advice}")
