"""What arrived: the newest requests, kept for a test to look at."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import overload

import attrs
from multidict import CIMultiDict, CIMultiDictProxy

MAX_BODY_BYTES = 64 * 1024 * 1024
"""How many bytes of bodies are kept in all, so that an import of large rows is bounded too."""

HIDDEN = "(hidden)"
"""Stands in the place of the Authorization header's value."""


@attrs.frozen
class ReceivedRequest:
    """A request as it arrived, and the status that it was answered with."""

    method: str
    path: str
    """Percent-decoded, without the query."""
    query: str
    """As sent, without the question mark."""
    headers: CIMultiDictProxy[str] = attrs.field(repr=False)
    """Read without regard to case; the value of Authorization is hidden."""
    body: bytes = attrs.field(repr=False)
    """Decompressed; empty when the request was refused (413) before it was read."""
    status: int | None
    """Of the answer; None when a fault left the request without one."""


def visible(headers: CIMultiDictProxy[str]) -> CIMultiDictProxy[str]:
    """Return a copy of the headers in which no credential can be read."""
    copy = CIMultiDict(headers)
    if "Authorization" in copy:
        copy["Authorization"] = HIDDEN
    return CIMultiDictProxy(copy)


class RequestLog(Sequence[ReceivedRequest]):
    """The newest requests, oldest first: at most `keep` of them, and 64 MiB of bodies.

    Any thread may read it while more arrive; who goes through it sees those that were there.
    """

    def __init__(self, keep: int, *, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self.keep = keep
        self._max_body_bytes = max_body_bytes
        self._body_bytes = 0
        self._kept: deque[ReceivedRequest] = deque()
        self._lock = threading.Lock()

    def add(self, request: ReceivedRequest) -> None:
        """Keep a request, and let the oldest go that are now too many."""
        with self._lock:
            self._kept.append(request)
            self._body_bytes += len(request.body)
            while len(self._kept) > self.keep or self._body_bytes > self._max_body_bytes:
                self._body_bytes -= len(self._kept.popleft().body)

    def clear(self) -> None:
        """Forget every request: what a test does before the act that it looks at."""
        with self._lock:
            self._kept.clear()
            self._body_bytes = 0

    @overload
    def __getitem__(self, index: int) -> ReceivedRequest: ...
    @overload
    def __getitem__(self, index: slice) -> list[ReceivedRequest]: ...
    def __getitem__(self, index: int | slice) -> ReceivedRequest | list[ReceivedRequest]:
        return self._all()[index] if isinstance(index, slice) else self._kept[index]

    def __iter__(self) -> Iterator[ReceivedRequest]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"<RequestLog of {len(self)} requests>"

    def _all(self) -> list[ReceivedRequest]:
        with self._lock:
            return list(self._kept)
