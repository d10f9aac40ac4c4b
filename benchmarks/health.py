"""Ask a service every 20 ms how it is, until standard input ends: a process of its own.

    python -m benchmarks.health URL

So nothing but the service and the machine makes an answer late. Prints one line of JSON at the end:
`answers`, the milliseconds that each took, `late`, those by which each pause was longer than meant,
which is the machine's doing alone, and `failed`, how many were no 200.
"""

import json
import select
import sys
import time
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

EVERY = 0.02
PATIENCE = 30.0
"""Seconds after which an answer has failed."""


def main(url: str) -> None:
    """Ask, and print what was met."""
    place = urlsplit(url)
    assert place.hostname is not None
    connection = HTTPConnection(place.hostname, place.port, timeout=PATIENCE)
    answers: list[float] = []
    late: list[float] = []
    failed = 0
    while True:
        began = time.perf_counter()
        try:
            connection.request("GET", place.path)
            answer = connection.getresponse()
            answer.read()
            failed += answer.status != 200  # noqa: PLR2004
        except (OSError, HTTPException):
            connection.close()
            failed += 1
        answered = time.perf_counter()
        answers.append((answered - began) * 1_000)
        if select.select([sys.stdin], [], [], EVERY)[0]:
            break
        late.append((time.perf_counter() - answered - EVERY) * 1_000)
    print(json.dumps({"answers": answers, "late": late, "failed": failed}))


if __name__ == "__main__":
    main(sys.argv[1])
