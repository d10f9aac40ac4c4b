"""SQLite's write-ahead log, read through before SQLite sees it, which drops what follows a fault.

Format: https://sqlite.org/fileformat2.html#walformat
"""

import struct
from functools import partial
from pathlib import Path

_HEADER = struct.Struct(">I4xI4x8s8s")  # magic, page size, salts, checksum
_LITTLE_ENDIAN = 0x377F0682
_SUMS = struct.Struct(">II")


def is_broken(log: Path) -> bool:
    """Tell whether a write-ahead log goes on after the end that SQLite would find in it.

    Each transaction was on disk before the next one began, so only the last may be torn: past the
    end there is one commit at the most.
    """
    with log.open("rb") as stream:
        header = stream.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return False
        magic, page_size, salts, sums = _HEADER.unpack(header)
        words = struct.Struct("<II" if magic == _LITTLE_ENDIAN else ">II")
        if (found := _summed(words, header[:24], bytes(8))) != sums:
            return bool(stream.read(1))
        torn = ended = False
        for frame in iter(partial(stream.read, 24 + page_size), b""):
            ours = frame[8:16] == salts
            if not torn:
                whole = ours and len(frame) == 24 + page_size
                found = _summed(words, frame[:8] + frame[24:], found) if whole else b""
                torn = found != frame[16:24]
            if torn and ours:
                if ended:
                    return True
                ended = frame[4:8] != bytes(4)  # a commit
    return False


def _summed(words: struct.Struct, data: bytes, sums: bytes) -> bytes:
    """Go on with the checksum of a write-ahead log, which each frame has of all before it."""
    one, two = _SUMS.unpack(sums)
    for first, second in words.iter_unpack(data):
        one = (one + first + two) & 0xFFFF_FFFF
        two = (two + second + one) & 0xFFFF_FFFF
    return _SUMS.pack(one, two)
