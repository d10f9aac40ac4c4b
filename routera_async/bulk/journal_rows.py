"""A row of a journal: what it is once it is told something, and how it is stored. Pure."""

from typing import Any
from zlib import crc32

import orjson

OPEN, CREATED, DUPLICATE, REJECTED, UNKNOWN, NOT_SENT, HELD = range(7)
"""What `rows.status` holds. An `OPEN` row has an intent of this process and no outcome yet."""

Record = tuple[int, int, int, int | None, str | None, str | None, str | None, str | None]
"""A row of `rows` without its checksum: row, status, attempts, sent (ms), id, key, reason, body."""

_UUID, _PACKED = 36, 16
"""The length of a UUID as text and in bytes (RFC 9562)."""

PROVEN = -1
"""Stands for the attempts of an outcome that was proven otherwise, whatever they had met."""


def after(before: Record | None, told: Record) -> Record:
    """Return what is known of a row once it is told an intent or an outcome.

    The first time of sending, the key and the id stay. "Not sent" speaks of the intent under way
    alone: it takes that one back, and leaves whatever doubt or certainty earlier ones have left.
    """
    row, status, attempts, sent, id_, key, reason, body = told
    if before is None:
        kept = None if attempts == PROVEN else body
        return (row, status, max(0, attempts), sent, id_, key, reason, kept)
    _, was, earlier, first, old_id, old_key, *_ = before
    if attempts == PROVEN:
        attempts, first = (0, None) if status == NOT_SENT else (earlier, first)
        return (row, status, attempts, first, id_, old_key, reason, None)
    attempts += earlier
    if status == NOT_SENT and earlier:
        if was != OPEN:
            return before
        attempts -= 1
        if attempts:
            status = UNKNOWN
        else:
            first = None
    return (
        row,
        status,
        attempts,
        sent if first is None else first,
        id_ or old_id,
        key or old_key,
        reason,
        body,
    )


def columns_of(record: Record) -> tuple[Any, ...]:
    """Return the columns of a row."""
    row, status, attempts, sent, id_, key, reason, body = record
    columns = (row, status, attempts, sent, packed(id_), key, reason, body)
    return (*columns, checksum_of(*columns))


def checksum_of(*values: Any) -> int:
    """Return the CRC-32 of some columns as JSON, less 2³¹: SQLite keeps it in four bytes then."""
    return crc32(orjson.dumps(values, default=bytes.hex)) - 0x8000_0000


def packed(id_: str | None) -> str | bytes | None:
    """Return a UUID in 16 bytes instead of 36; any other id as it is."""
    if id_ is None or len(id_) != _UUID or id_[8::5][:4] != "----":
        return id_
    digits = id_.replace("-", "")
    try:
        packed = bytes.fromhex(digits)
    except ValueError:
        return id_
    return packed if len(packed) == _PACKED and packed.hex() == digits else id_


def unpacked(column: str | bytes | None) -> str | None:
    """Return the id that a column holds."""
    if not isinstance(column, bytes):
        return column
    text = column.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
