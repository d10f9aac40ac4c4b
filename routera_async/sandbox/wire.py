"""JSON in and out, without loss: every number, string and nesting level that is accepted returns.

orjson is fast and strict (it refuses NaN, bad UTF-8 and lone surrogates) but turns an integer of
more than 64 bits into a float, so a body with so many digits in a row is read by the stdlib.
"""

import json
import re
from typing import Any

import orjson

MAX_DEPTH = 100
"""How deep a body may nest. Assumed: the API does not say; orjson itself stops at 254."""

_BEYOND_64_BITS = re.compile(rb"[0-9]{19}")


def decode(body: bytes) -> Any:
    """Return the JSON value of a body; ValueError says in one line what is wrong with it."""
    value = orjson.loads(body)
    # Counting brackets is all that an ordinary body pays for the depth rule.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    if _BEYOND_64_BITS.search(body):
        return json.loads(body)
    return value


def encode(value: Any) -> bytes:
    """Return a value that `decode` returned, or an object made of such values, as JSON."""
    try:
        return orjson.dumps(value)
    except TypeError:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()


def _deeper(value: Any, limit: int) -> bool:
    """Say whether lists and objects nest more than `limit` levels; no recursion of its own."""
    level = [value]
    for _ in range(limit):
        level = [child for node in level for child in _children(node)]
    return any(isinstance(node, dict | list) for node in level)


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []
