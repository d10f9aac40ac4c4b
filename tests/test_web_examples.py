"""The services of examples/, each as it would be run, under load and without their Routera.

    python -m benchmarks.web

does the first of these at full size, with an outage of 10 seconds, and tells how long answers take.
"""

import asyncio
import importlib
import json
import math
import os
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from contextlib import ExitStack, asynccontextmanager, suppress
from types import SimpleNamespace

import attrs
import pytest
from aiohttp import ClientConnectorError

from benchmarks import web
from benchmarks.web import (
    EXAMPLES,
    ROOT,
    SERVICES,
    Clients,
    Outage,
    arguments,
    begun,
    ended,
    main,
    served,
    show,
    staged,
    written,
)
from benchmarks.web_result import Exchange, Result, Size, as_asked, lines
from routera_async import RetryPolicy, RouteraClient, Summary
from routera_async.sandbox import Fault, Sandbox

SMALL = Size(
    orders=120,
    in_flight=40,
    burst=300,
    rows=200,
    latency=0.001,
    budget=0.5,
    patience=0.1,
    more_patience=2.0,
    undone=0.0,
    last=10,
    health=math.inf,
    normal_after=math.inf,
)
"""How fast this machine is, is not what these tests hold; but for that all is held.

With more in the outage than may be under way and wait, so that some are refused at once.
"""

BUSY = "too many are waiting already: send the same again later"
LATER = "send the same again later"
"""What a service says when it cannot do what it is asked."""

FIRST_ROWS = 8
"""Rows that an import has under way before its first answer."""

JOBS = 400
WORKERS = 50


async def until_all_are_refused(clients):
    """Let the outage last until nobody is left who has not been refused in it."""
    refused = SMALL.in_flight + SMALL.burst
    await clients.until(lambda: clients.count(503, None) >= refused)  # None: not answered at all


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_is_responsive_while_routera_hangs(tmp_path, name):
    """Every request is answered, 503 says when to come again, and what is told is true.

    The health is told throughout, an import in the same process ends as if nothing had been, and
    when Routera is back nobody is refused.
    """
    result = await show(name, SMALL, tmp_path, until_all_are_refused)
    assert result.faults() == []
    assert list(lines(name, result))
    refused = [each.told for each in result.exchanges if each.status == 503]
    assert len(refused) >= SMALL.in_flight + SMALL.burst
    assert {told["detail"] for told in refused} == {BUSY, LATER}
    at_once = [told for told in refused if told["detail"] == BUSY]
    assert {told["outcome"] for told in at_once} == {"not_sent"}
    assert {told["outcome"] for told in refused} == {"not_sent", "unknown"}


REFUSED = Exchange("a", 0.0, 0.1, 503, "1", {"outcome": "not_sent", "detail": ""})
MADE = Exchange("a", 0.2, 0.3, 201)
GOOD = Result(
    size=Size(rows=1),
    exchanges=[REFUSED, MADE],
    last=[MADE],
    outage=Outage(),
    imported={"state": "done", "total": 1, "created": 1},
    health={"answers": [1.0], "late": [0.1], "failed": 0},
    kept=Counter(["a", "row-0"]),
)

SLEEPS = {"answers": [151.0] * 4_000, "late": [50.0] * 4_000, "failed": 0}
"""What is met of a health that sleeps for 150 ms first."""

BLOCKED = {"answers": [*[1.0] * 4_000, 10_000.0], "late": [0.1] * 4_000, "failed": 0}
"""What is met of one whose loop stands still for the ten seconds of the outage."""

LATE = attrs.evolve(REFUSED, key="b", began=2.1, ended=2.2)
OF_BOTH = Counter(["a", "b", "row-0"])


@pytest.mark.parametrize(
    "changes",
    [
        {"exchanges": [REFUSED, attrs.evolve(MADE, status=None)]},
        {"exchanges": [REFUSED, attrs.evolve(MADE, status=500)]},
        {"exchanges": [attrs.evolve(REFUSED, retry_after=None), MADE]},
        {"exchanges": [REFUSED, attrs.evolve(MADE, status=200)]},
        {"last": [REFUSED]},
        {"kept": Counter(["a"])},
        {"kept": Counter(["a", "a", "row-0"])},
        {"imported": {"state": "done", "total": 1, "created": 0}},
        {"health": {"answers": [], "late": [], "failed": 0}},
        {"health": {"answers": [1.0], "late": [0.1], "failed": 1}},
        {"health": SLEEPS},
        {"health": BLOCKED},
        {"exchanges": [REFUSED, MADE, LATE, attrs.evolve(MADE, key="b")], "kept": OF_BOTH},
    ],
    ids="-".join,
)
def test_what_does_not_hold_is_told(changes):
    """Nothing is found wrong with what is right, and each thing that is wrong is found."""
    assert GOOD.faults() == []
    assert attrs.evolve(GOOD, **changes).faults()


def test_what_the_machine_is_late_is_no_fault():
    """The health is held to the limit and to what who asks was late; the limits are the size's."""
    slow = SLEEPS | {"late": [60.0] * 4_000}
    assert attrs.evolve(GOOD, health=slow).faults() == []
    patient = attrs.evolve(GOOD.size, health=11_000.0, normal_after=2.2)
    assert attrs.evolve(GOOD, health=BLOCKED, size=patient).faults() == []
    both = {"exchanges": [REFUSED, MADE, LATE, attrs.evolve(MADE, key="b")], "kept": OF_BOTH}
    assert attrs.evolve(GOOD, **both, size=patient).faults() == []
    assert as_asked([70.0, 1.0]) == [70.0, 50.0, 30.0, 1.0]


@pytest.mark.parametrize("name", SERVICES)
async def test_the_health_is_told_while_requests_wait(tmp_path, name):
    """Who asks five times while an order waits for Routera is answered before that order is.

    An order that this machine had no time for is followed by another.
    """
    async with staged(name, SMALL, tmp_path) as (_, outage, service, http):
        clients = Clients(http, service.url, SMALL)
        waited = []
        with outage.lasting():
            for n in range(10):
                order = asyncio.create_task(clients.send(f"order-{n}"))
                await outage.holds(n + 1)
                for _ in range(5):
                    async with http.get(f"{service.url}/health") as answer:
                        assert answer.status == 200
                waited.append(not order.done())
                if waited[-1]:
                    break
                await order
        await order
    assert any(waited)


SMALLEST = "--only aiohttp --orders 9 --in-flight 3 --burst 3 --rows 9 --latency 0.001 --last 3"


@pytest.mark.parametrize(("limit", "status"), [("inf", 0), ("-inf", 1)])
def test_the_exit_status_says_whether_all_holds(capsys, limit, status):
    """`python -m benchmarks.web` ends with 1 when something that it prints does not hold."""
    limits = [f"--health={limit}", "--normal-after=inf", "--outage=0.1"]
    assert main([*SMALLEST.split(), *limits]) == status
    assert ("DOES NOT HOLD: health, p99" in capsys.readouterr().out) == bool(status)


def test_the_help_of_the_benchmark_reads_as_it_is_written(capsys):
    """Its prose has its own lines, and each option is told."""
    with pytest.raises(SystemExit) as ended:
        arguments(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"\n{web.__doc__.splitlines()[2]}\n" in told
    for field in attrs.fields(Size):
        assert f"  --{field.name.replace('_', '-')} N" in told
    assert "seconds for which it hangs (10.0)" in " ".join(told.split())


def example(name, monkeypatch):
    """Return an example as the module that it is."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module(name)


@asynccontextmanager
async def importing(sandbox, folder, monkeypatch):
    """Run the imports of a service over a sandbox, and a function that waits for one to end."""
    background = example("background", monkeypatch)
    monkeypatch.setattr(background, "PAUSE", 0)
    async with (
        RouteraClient(sandbox.token, base_url=sandbox.url) as client,
        background.Imports(client, folder) as imports,
    ):

        async def until(name, state="ended"):
            under_way = {"waiting", "running", "running elsewhere"} - {state}
            while (told := imports.told(name))["state"] in under_way:  # noqa: ASYNC110 (no event)
                await asyncio.sleep(0)
            return told

        yield imports, until


async def chunks(*given, error=None):
    """Yield what an upload sends, and then break off."""
    for each in given:
        yield each
    if error is not None:
        raise error


async def test_an_import_that_another_process_has_is_waited_for(tmp_path, monkeypatch):
    """It is no failure: it is told as running elsewhere, and as done when it is."""
    outage = Outage()
    with ExitStack() as hanging:
        async with (
            Sandbox(latency=0.001, sleep=outage.sleep) as sandbox,
            importing(sandbox, tmp_path / "imports", monkeypatch) as (one, until_one),
        ):
            hanging.enter_context(outage.lasting())
            name = await one.add(chunks(written(tmp_path, 20).read_bytes()))
            await outage.holds(FIRST_ROWS)
            async with importing(sandbox, tmp_path / "imports", monkeypatch) as (_, until_two):
                assert await until_two(name, "running elsewhere") == {"state": "running elsewhere"}
                hanging.close()
                for told in (await until_one(name), await until_two(name)):
                    assert (told["total"], told["created"]) == (20, 20)
            assert told["resumed"] == sandbox.store.count() == 20


NOT_CSV = "failed: is it a CSV file, in UTF-8, with the names of its columns on the first line?"
NOT_OURS = "failed: are its columns named like a ticket's fields?"


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (b"", NOT_CSV),
        (b"PK\x03\x04", NOT_CSV),
        (b"a,\n1,2\n", NOT_CSV),
        (b"a,b\n1,2\n", NOT_OURS),
        (b"ticket_name\nLamp\n", NOT_OURS),
    ],
    ids=["empty", "zip", "no name", "other names", "too few"],
)
async def test_a_file_at_fault_is_tried_once(tmp_path, monkeypatch, caplog, content, state):
    """What may be wrong with it is told, also after a restart; the log tells of it once."""
    async with Sandbox() as sandbox:
        async with importing(sandbox, tmp_path, monkeypatch) as (imports, until):
            name = await imports.add(chunks(content))
            assert await until(name) == {"state": state}
        async with importing(sandbox, tmp_path, monkeypatch) as (imports, until):
            assert await until(name) == {"state": state}
    assert caplog.text.count("an import has failed") == 1


async def test_a_fault_of_ours_is_tried_again(tmp_path, monkeypatch):
    """The file is not blamed for a token that is refused, nor for being taken away."""
    async with Sandbox() as sandbox:
        async with importing(sandbox, tmp_path, monkeypatch) as (imports, until):
            sandbox.faults.draw({"refused_token": 1.0})
            name = await imports.add(chunks(written(tmp_path, 9).read_bytes()))
            told = await until(name)
            assert (told["state"], told["created"]) == ("failed", 0)
            gone = await imports.add(chunks(b""))
            (tmp_path / gone / "tickets.csv").unlink()
            assert await until(gone) == {"state": "failed"}
        sandbox.faults.clear()
        async with importing(sandbox, tmp_path, monkeypatch) as (imports, until):
            assert (await until(name))["created"] == 9


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    """Neither half a file stays nor its folder."""
    async with Sandbox() as sandbox, importing(sandbox, tmp_path, monkeypatch) as (imports, _):
        for error in (OSError("gone"), asyncio.CancelledError()):
            with pytest.raises(type(error)):
                await imports.add(chunks(b"a,b\n", error=error))
        assert list(tmp_path.iterdir()) == []


async def test_where_files_are_is_not_told(tmp_path, monkeypatch):
    """Of an import's summary the caller has all but the server's paths."""
    async with Sandbox() as sandbox, importing(sandbox, tmp_path, monkeypatch) as (imports, until):
        table = written(tmp_path, 3).read_bytes() + b"row-3,,default,new\n"
        told = await until(await imports.add(chunks(table)))
    assert (told["created"], told["rejected"]) == (3, 1)
    assert str(tmp_path) not in json.dumps(told)
    assert told.keys() == {"state", "total", *attrs.asdict(Summary())} - {"journal", "rejects"}


async def closed(http, url):
    """Ask until nobody listens any more."""
    with suppress(ClientConnectorError):
        while True:
            async with http.get(f"{url}/health", headers={"Connection": "close"}) as answer:
                await answer.read()


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_that_is_stopped_leaves_nothing_half_done(tmp_path, name):
    """What is under way is answered, and a cut-off import goes on when the service is back."""
    size = attrs.evolve(SMALL, rows=1_500, budget=2.0)
    async with staged(name, size, tmp_path) as (sandbox, outage, service, http):
        clients = Clients(http, service.url, size)
        with outage.lasting():
            importing = await begun(http, service.url, written(tmp_path, size.rows))
            await outage.holds(FIRST_ROWS)
            sent = [asyncio.create_task(clients.send(f"order-{n}")) for n in range(20)]
            await outage.holds(FIRST_ROWS + len(sent))
            stopping = asyncio.create_task(service.stop())
            await closed(http, service.url)
        answered = {each.status for each in await asyncio.gather(*sent)}
        assert answered <= {201, 503}  # refused where this took longer than a request has
        await stopping
        assert not any("Traceback" in line for line in service.printed)
        async with served(name, sandbox, tmp_path / "imports") as again:
            told = await ended(http, importing.replace(service.url, again.url))
        kept = Counter(record["external_id"] for record in sandbox.store.records())
    assert (told["state"], told["created"]) == ("done", size.rows)
    assert 0 < told["resumed"] < size.rows
    assert len(kept) == size.rows + len(sent)
    assert set(kept.values()) == {1}


HURRIED = """
from aiohttp_app import make_app, web
web.run_app(make_app(), host="127.0.0.1", port=0, shutdown_timeout=0.1)  # 0 is without end
"""

AT_ONCE = {
    **{name: (*SERVICES[name], "--timeout-graceful-shutdown", "0") for name in SERVICES},
    "aiohttp": ("-c", HURRIED),
}
"""How each is run with next to no patience for requests under way."""


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_that_is_stopped_waits_for_no_upload(tmp_path, monkeypatch, name):
    """Its grace bounds what has no budget: it ends, and nothing is left of what had arrived."""
    monkeypatch.setitem(SERVICES, name, AT_ONCE[name])
    monkeypatch.chdir(EXAMPLES)
    never = asyncio.Event()
    folder = tmp_path / "imports"

    async def endless():
        yield b"ticket_name\n"
        await never.wait()

    async with staged(name, SMALL, tmp_path) as (_, _, service, http):
        sending = asyncio.create_task(http.post(f"{service.url}/imports", data=endless()))
        while not [*folder.glob("*/tickets.part")]:  # noqa: ASYNC110 (another process makes it)
            await asyncio.sleep(0)
        await service.stop()
        sending.cancel()
        await asyncio.wait([sending])
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_says_whose_fault_it_is(tmp_path, name):
    """The caller's are 422, ours are 500, and Routera's wish to slow down is handed on."""
    async with staged(name, SMALL, tmp_path) as (sandbox, _, service, http):

        async def put(given, **headers):
            async with http.put(f"{service.url}/tickets/a", json=given, headers=headers) as answer:
                return answer.status, answer.headers.get("Retry-After")

        async def told(name):
            async with http.get(f"{service.url}/imports/{name}") as answer:
                return answer.status

        assert await put({"ticket_name": "Lamp"}) == (201, None)
        assert await put({"ticket_name": "Lamp"}) == (200, None)
        assert await put({}) == (422, None)
        assert await put(["Lamp"]) == (422, None)
        assert await put({"ticket_name": "Lamp"}, **{"Request-Timeout": "soon"}) == (422, None)
        assert await put({"ticket_name": "Lamp"}, **{"Request-Timeout": "-1"}) == (422, None)
        bogus = {"Content-Type": "application/json; charset=bogus"}
        status, _ = await put({"ticket_name": "Lamp"}, **bogus)
        assert status == (422 if name == "aiohttp" else 200)  # the others read JSON as UTF-8
        sandbox.faults.script(Fault("rate_limited", retry_after=30))
        assert await put({"ticket_name": "Lamp"}) == (503, "30")
        sandbox.faults.script(*["refused_token"] * 2)
        assert await put({"ticket_name": "Lamp"}) == (500, None)
        assert await told("none") == 404
        (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
        importing = await begun(http, service.url, tmp_path / "bad.csv")
        assert (await ended(http, importing))["state"].startswith("failed: are its columns")
    assert any("ConfigurationError: nothing fills" in line for line in service.printed)


@pytest.mark.parametrize("name", SERVICES)
async def test_what_an_error_says_is_for_the_log(tmp_path, name):
    """A caller is told nothing of Routera's own words, and the log has them."""
    async with staged(name, SMALL, tmp_path) as (sandbox, _, service, http):

        async def put(**given):
            lamp = {"ticket_name": "Lamp", **given}
            async with http.put(f"{service.url}/tickets/a", json=lamp) as answer:
                return answer.status, (await answer.json()).get("detail")

        if name != "fastapi":  # which passes over fields that it does not know
            assert await put(colour="red") == (422, "Routera refuses such a ticket")
        sandbox.faults.script(Fault("rate_limited", retry_after=30))
        assert await put() == (503, LATER)
    printed = "".join(service.printed)
    assert "RateLimitedError: 429: " in printed
    assert name == "fastapi" or "BadRequestError: 400: " in printed


@asynccontextmanager
async def working(sandbox, stdin=PIPE):
    """Run the worker over a sandbox."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(EXAMPLES / "worker.py")),
        stdin=stdin,
        stdout=PIPE,
        stderr=PIPE,
        env=os.environ
        | {
            "ROUTERA_TOKEN": sandbox.token,
            "ROUTERA_BASE_URL": sandbox.url,
            "PYTHONPATH": str(ROOT),
        },
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def deliver(process, keys):
    """Give a worker its jobs."""
    jobs = [json.dumps({"key": key, "ticket_name": f"Job {key}"}) for key in keys]
    process.stdin.write("".join(f"{job}\n" for job in jobs).encode())


def acknowledged(printed):
    """Return what became of each job, by its key."""
    lines = [json.loads(line) for line in printed.splitlines()]
    assert len({line["key"] for line in lines}) == len(lines)
    return {line["key"]: line["outcome"] for line in lines}


def kept_by(sandbox):
    """Return the keys of what a sandbox holds."""
    return sorted(record["external_id"] for record in sandbox.store.records())


async def test_the_worker_does_every_job_once():
    """Through an outage and faults each job is done and acknowledged; a bad one is put aside."""
    outage = Outage()
    async with Sandbox(latency=0.001, sleep=outage.sleep) as sandbox, working(sandbox) as process:
        sandbox.faults.draw({"reset_after_commit": 0.05, "error_before_commit": 0.05}, seed=1)
        keys = [f"job-{n:03}" for n in range(JOBS)]
        with outage.lasting():
            deliver(process, [*keys, " "])
            await outage.holds(WORKERS)
        printed, errors = await process.communicate(b"")  # which ends the queue
        kept = kept_by(sandbox)
    told = acknowledged(printed)
    assert (process.returncode, errors) == (0, b"")
    assert told.pop(" ").startswith("rejected: ")
    assert kept == sorted(told) == keys
    assert set(told.values()) == {"created", "duplicate"}


POISON = [
    b"{",
    b"\xff",
    b"5",
    b"[" * 100_000,
    b"9" * 5_000,
    b'{"key": "b"}',
    b'{"key": null, "ticket_name": "Lamp"}',
    b'{"key": "", "ticket_name": "Lamp"}',
    b'{"key": "b", "ticket_name": 5}',
    b'{"key": "b", "ticket_name": "\\ud800"}',
    b'{"key": "b", "ticket_name": ""}',
    b'{"key": "b", "ticket_name": "%s"}' % (b"a" * 2_000_000),
]


async def test_a_job_that_is_none_is_acknowledged_as_rejected():
    """It ends no worker: those around it are done."""
    async with Sandbox(latency=0.001) as sandbox, working(sandbox) as process:
        for number, line in enumerate(POISON):
            deliver(process, [f"job-{number:03}"])
            process.stdin.write(line + b"\n")
        deliver(process, ["last"])
        printed, errors = await process.communicate(b"")  # which ends the queue
        kept = kept_by(sandbox)
    assert (process.returncode, errors) == (0, b"")
    told = [json.loads(line) for line in printed.splitlines()]
    done = sorted(each["key"] for each in told if each["outcome"] == "created")
    assert done == kept == [*(f"job-{number:03}" for number in range(len(POISON))), "last"]
    rejected = [each for each in told if each["outcome"].startswith("rejected: ")]
    assert len(told) - len(done) == len(rejected) >= len(POISON)
    assert {each["key"] for each in rejected} == {None, "", "b"}


async def test_a_long_job_is_done():
    """A job is longer than a stream's lines are by themselves."""
    async with Sandbox(latency=0.001) as sandbox, working(sandbox) as process:
        job = {"key": "long", "ticket_name": "Lamp", "notes": "a" * 500_000}
        printed, errors = await process.communicate(json.dumps(job).encode())
    assert (process.returncode, errors) == (0, b"")
    assert acknowledged(printed) == {"long": "created"}


async def test_a_worker_says_that_it_reads_no_file(tmp_path):
    """It is told in one line what to do instead: no asyncio program can watch a file."""
    (tmp_path / "jobs.jsonl").write_text("")
    with (tmp_path / "jobs.jsonl").open() as jobs:
        async with Sandbox() as sandbox, working(sandbox, stdin=jobs) as process:
            _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.startswith(b"standard input is a file, and must be a pipe")
    assert errors.count(b"\n") == 1


async def test_the_worker_comes_again_when_it_is_welcome(monkeypatch):
    """It waits as long as Retry-After says, and where nothing is said for its own pause."""
    worker = example("worker", monkeypatch)
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(worker, "asyncio", SimpleNamespace(sleep=sleep))
    job = worker.parsed(b'{"key": "a", "ticket_name": "Lamp"}')
    async with (
        Sandbox(latency=0.001) as sandbox,
        RouteraClient(
            sandbox.token, base_url=sandbox.url, deadline=5.0, retry=RetryPolicy(max_attempts=1)
        ) as client,
    ):
        faults = Fault("rate_limited", retry_after=30), Fault("error_before_commit")
        sandbox.faults.script(*faults)
        assert await worker.done(client, job) == "created"
        assert sandbox.request_count == len(faults) + 1
    assert slept == [30, worker.PAUSE]


async def test_a_worker_that_is_stopped_ends_what_it_has_taken():
    """After SIGTERM no job is taken; those under way are done and acknowledged, and no other is."""
    outage = Outage()
    async with Sandbox(latency=0.001, sleep=outage.sleep) as sandbox, working(sandbox) as process:
        with outage.lasting():
            deliver(process, [f"job-{n:03}" for n in range(JOBS)])
            await outage.holds(WORKERS)
            process.terminate()
            await process.stderr.readline()
        printed = await process.stdout.read()
        assert await process.wait() == 0
        kept = kept_by(sandbox)
    assert sorted(acknowledged(printed)) == kept
    assert WORKERS <= len(kept) < JOBS


async def test_a_worker_whose_token_is_refused_ends():
    """What no job can cure ends the worker: nothing is acknowledged, and it says why."""
    async with Sandbox(latency=0.001) as sandbox, working(sandbox) as process:
        sandbox.faults.draw({"refused_token": 1.0})
        deliver(process, ["job-1"])
        printed, errors = await process.communicate(b"")  # which ends the queue
    assert (process.returncode, printed) == (1, b"")
    assert b"UnauthorizedError" in errors
