"""A server that costs as little as can be, in a process of its own: `python -m benchmarks.server`.

It reads just enough of HTTP/1.1 to serve keep-alive POSTs that name their length, each with one
status line, three headers and a body. `/echo/…` answers with the fields that it was sent, so that
an answer is as long as its request, and every other path with the record of the seed, in the shape
that the API at this path gives to its answers. It prints its port, and ends with its input.
"""

import asyncio
import sys
from collections.abc import Callable  # noqa: TC003 (as everywhere here)
from itertools import count
from typing import Any

import orjson

TIME = "2026-05-01T10:00:00.000Z"

STORED = {
    "id": "550e8400-e29b-41d4-a716-446655440000",
    "created_at": TIME,
    "updated_at": TIME,
    "archived": False,
}

RECORD = STORED | {
    "external_id": "ext-001",
    "ticket_name": "Support request",
    "pipeline": "default",
    "ticket_stage": "new",
    "ticket_owner": "jane@example.com",
}
"""The seed's response example."""

_SLACK = b"/api/tickets.create"  # whose client takes no 201

SHAPES: dict[bytes, dict[str, Any]] = {
    b"/tickets": RECORD,
    b"/v2/tickets": {**RECORD, "object": "v2.ticket"},
    _SLACK: {**RECORD, "ok": True},
    b"/crm/v3/objects/tickets": {
        "id": RECORD["id"],
        "createdAt": TIME,
        "updatedAt": TIME,
        "archived": False,
        "properties": {key: RECORD[key] for key in RECORD.keys() - STORED.keys()},
    },
    b"/services/data/v60.0/sobjects/Ticket": {**RECORD, "success": True, "errors": []},
}
"""What is answered at each path: the values are the same."""


def answer(body: bytes, status: bytes = b"201 Created") -> bytes:
    """Return an answer as it goes over the wire."""
    return b"HTTP/1.1 %s\r\nServer: bench\r\nContent-Type: application/json\r\nContent-Length: " % (
        status
    ) + b"%d\r\n\r\n%s" % (len(body), body)


ANSWERS = {path: answer(orjson.dumps(value)) for path, value in SHAPES.items()}
ANSWERS[_SLACK] = answer(orjson.dumps(SHAPES[_SLACK]), b"200 OK")
NO_ANSWER = answer(b'{"error":"no such path"}', b"404 Not Found")

_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


class Connection(asyncio.Protocol):
    """One client's connection: requests in, answers out, in order."""

    numbers = count(1)

    def __init__(self) -> None:
        self._read = b""

    def connection_made(self, transport: Any) -> None:
        """Keep what answers are written to; uvloop's is no `asyncio.Transport`."""
        self._write: Callable[[bytes], None] = transport.write

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        read = self._read + data if self._read else data
        while (end := read.find(_END)) >= 0:
            head = read[:end]
            at = head.lower().find(_LENGTH)
            length = int(head[at + len(_LENGTH) :].split(b"\r", 1)[0]) if at >= 0 else 0
            start = end + len(_END)
            if len(read) < start + length:
                break
            path = head.split(b" ", 2)[1]
            self._write(ANSWERS.get(path) or self._other(path, read[start : start + length]))
            read = read[start + length :]
        self._read = read

    def _other(self, path: bytes, body: bytes) -> bytes:
        if not path.startswith(b"/echo/"):
            return NO_ANSWER
        fields = orjson.loads(body)["fields"]
        record = STORED | {"id": f"{next(self.numbers):08}-e29b-41d4-a716-446655440000"}
        return answer(orjson.dumps(record | fields))


async def serve() -> None:
    """Serve until the input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Run on the fastest loop there is."""
    try:
        import uvloop  # noqa: PLC0415 (it need not be installed)
    except ModuleNotFoundError:
        asyncio.run(serve())
    else:
        uvloop.run(serve())


if __name__ == "__main__":
    main()
