"""What many rows cost: a file of any length, imported by the real importer over loopback.

    python -m benchmarks.million --rows 1000000 [--sandbox]

The rows are those of ../shared/data/jira_storypoints over and over, with keys made unique. The
importer is a process of its own, and so is the server, which does nothing but answer 201 with an
id: what is measured is the importer. With --sandbox it is the sandbox, over a file. It prints the
peak memory against a run of 10,000 rows, rows a second, the journal's bytes a row, and how long it
takes to resume what is finished.
"""

import argparse
import asyncio
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, cycle, islice
from pathlib import Path

import attrs

DATA = Path(__file__).parents[2] / "shared" / "data" / "jira_storypoints"
FEW = 10_000
DAY = 86_400.0

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJhY2NvdW50IjoiYmVuY2htYXJrIn0.c2lnbmF0dXJl"  # noqa: S105

OPTIONS = [
    *("--map", "ticket_name=title", "--map", "external_id=issuekey"),
    *("--map", "description=description", "--map", "storypoint=storypoint:number"),
    *("--set", "pipeline=default", "--set", "ticket_stage=new", "--json"),
]

PROGRAM = """
import resource, sys
from routera_async.cli import run
status = run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
sys.exit(status)
"""
"""Runs the command line; its last line on stderr tells its CPU seconds, and its peak in KiB."""

ANSWER = (
    b'{"id":"%s","external_id":"e","created_at":"2026-05-01T10:00:00.000Z",'
    b'"updated_at":"2026-05-01T10:00:00.000Z","archived":false,"ticket_name":"n",'
    b'"pipeline":"default","ticket_stage":"new","ticket_owner":null}'
)


class Created(asyncio.Protocol):
    """Answers each request with 201 and another id."""

    numbers = count(1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to listen."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._unread = b""

    def data_received(self, data: bytes) -> None:
        """Answer every request that has arrived whole."""
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head = self._unread[:end].lower()
            at = head.index(b"content-length:") + 15
            whole = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
            if len(self._unread) < whole:
                return
            self._unread = self._unread[whole:]
            body = ANSWER % str(uuid.UUID(int=next(self.numbers) << 64)).encode()
            self._transport.write(
                b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )


async def serve(database: str) -> None:
    """Answer for ever, and print where, and by which token; a sandbox when there is a database."""
    if database:
        from routera_async.sandbox import Sandbox  # noqa: PLC0415 (who forks an importer is small)

        async with Sandbox(any_field=True, db=database, keep_requests=0, token_ttl=DAY) as sandbox:
            print(sandbox.url, sandbox.token, flush=True)
            await asyncio.Event().wait()
    server = await asyncio.get_running_loop().create_server(Created, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]} {TOKEN}", flush=True)
    await server.serve_forever()


@contextmanager
def server(database: str) -> Iterator[dict[str, str]]:
    """Run the server in a process of its own; give the environment that leads to it."""
    command = [sys.executable, "-m", "benchmarks.million", "--serve", database]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        url, token = process.stdout.readline().split()
        try:
            yield {"ROUTERA_BASE_URL": url, "ROUTERA_TOKEN": token}
        finally:
            process.terminate()


def write(path: Path, rows: int) -> None:
    """Write so many rows: the real ones, again and again, each with a key of its own."""
    real = []
    for source in sorted(DATA.glob("*.csv")):
        with source.open(encoding="utf-8", newline="") as file:
            real += [row for row in csv.DictReader(file) if row["title"].strip()]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(real[0]))
        writer.writeheader()
        for number, row in enumerate(islice(cycle(real), rows)):
            writer.writerow(row | {"issuekey": f"{row['issuekey']}-{number}"})


@attrs.frozen
class Run:
    """One run of the importer: seconds on the wall and of its CPU, and MiB at the peak."""

    summary: dict[str, int]
    seconds: float
    cpu: float
    peak: float


def imported(path: Path, where: dict[str, str]) -> Run:
    """Import a file in a process of its own."""
    began = time.perf_counter()
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", PROGRAM, "import", str(path), *OPTIONS],
        capture_output=True,
        check=False,
        env=os.environ | where,
    )
    seconds = time.perf_counter() - began
    if ended.returncode:
        sys.exit(ended.stderr.decode())
    cpu, peak = ended.stderr.split()[-2:]
    return Run(json.loads(ended.stdout), seconds, float(cpu), int(peak) / 1024)


def main(rows: int, folder: Path, *, sandbox: bool) -> None:
    """Print the figures."""
    few, many = folder / "few.csv", folder / "many.csv"
    write(few, FEW)
    write(many, rows)
    with server(str(folder / "sandbox.db") if sandbox else "") as where:
        large, resumed = imported(many, where), imported(many, where)
    with server(str(folder / "other.db") if sandbox else "") as where:
        small = imported(few, where)
    assert large.summary["created"] == resumed.summary["created"] == rows
    assert resumed.summary["requests"] == 0
    size = many.with_name("many.csv.journal").stat().st_size
    for name, value in {
        "rows": f"{rows:,} ({many.stat().st_size / 2**20:,.0f} MiB)",
        "seconds": f"{large.seconds:,.1f} ({large.cpu:,.1f} of CPU)",
        "rows a second": f"{rows / large.seconds:,.0f}",
        "requests": f"{large.summary['requests']:,}",
        "peak memory": f"{large.peak:.1f} MiB",
        f"peak memory of {FEW:,} rows": f"{small.peak:.1f} MiB",
        "peak memory of resuming": f"{resumed.peak:.1f} MiB",
        "journal": f"{size / rows:.1f} bytes a row",
        "resumed in": f"{resumed.seconds:,.1f} s ({resumed.seconds / large.seconds:.1%})",
        "resumed in, of CPU": f"{resumed.cpu:,.1f} s ({resumed.cpu / large.cpu:.1%})",
    }.items():
        print(f"{name:28} {value}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sandbox", action="store_true", help="into the sandbox, over a file")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        asyncio.run(serve(arguments.serve))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(arguments.rows, Path(folder), sandbox=arguments.sandbox)
