"""A sandbox in a thread of its own."""

import asyncio
import sys
import threading

import aiohttp
import pytest

from routera_async.sandbox import Sandbox, SandboxError
from routera_async.sandbox.held import Held

NEW = {"fields": {"ticket_name": "Lamp", "pipeline": "default", "ticket_stage": "new"}}


async def create(sandbox, times=1):
    """Create tickets, one after another, and return how they were answered."""
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    async with aiohttp.ClientSession(sandbox.url, headers=headers) as session:
        statuses = []
        for _ in range(times):
            async with session.post("/tickets", json=NEW) as answer:
                statuses.append(answer.status)
        return statuses


def served():
    """Return the threads that serve a sandbox."""
    return [thread for thread in threading.enumerate() if thread.name == "routera-sandbox"]


def test_with_serves_from_a_thread():
    """Code that is not async has a sandbox too, and can ask it; nothing is left of it after."""
    with Sandbox() as sandbox:
        sandbox.faults.script("error_before_commit")
        assert asyncio.run(create(sandbox, times=2)) == [500, 201]
        (record,) = sandbox.store.records()
        assert sandbox.store.get(record["id"]) == record
        assert [request.status for request in sandbox.requests] == [500, 201]
        assert len(served()) == 1
    assert served() == []
    with pytest.raises(aiohttp.ClientConnectorError):
        asyncio.run(create(sandbox))


def test_what_goes_wrong_in_entering_is_raised():
    """A port that is in use is told where `with` stands, and no thread is left."""
    with Sandbox() as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        with pytest.raises(SandboxError, match="choose another port"), Sandbox(port=port):
            pass
        with pytest.raises(SandboxError, match="already running"), sandbox:
            pass
        assert asyncio.run(create(sandbox)) == [201]


def test_what_goes_wrong_later_is_the_threads():
    """What leaving raises is not lost: it is the thread's own exception."""

    class Broken:
        async def __aenter__(self):
            pass

        async def __aexit__(self, *_):
            raise ValueError("left badly")

    told = []
    held = Held(Broken())
    held.open()
    before, threading.excepthook = threading.excepthook, told.append
    try:
        held.close()
    finally:
        threading.excepthook = before
    assert [str(each.exc_value) for each in told] == ["left badly"]


@pytest.fixture
def restless():
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_any_thread_may_ask_and_script(restless):
    """While requests are answered, others read, script and clear."""
    done, wrong = threading.Event(), []

    def meddle():
        try:
            while not done.is_set():
                sandbox.faults.script("error_before_commit", None, "error_after_commit")
                assert len(list(sandbox.requests)) <= sandbox.request_count
                assert len(list(sandbox.store.records())) <= sandbox.store.count()
                sandbox.faults.clear()
        except Exception as error:  # noqa: BLE001 (it is told below)
            wrong.append(error)

    with Sandbox() as sandbox:
        threads = [threading.Thread(target=meddle) for _ in range(2)]
        for thread in threads:
            thread.start()
        statuses = asyncio.run(create(sandbox, times=200))
        done.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        failed = sandbox.faults.met.total()
        assert statuses.count(201) == 200 - failed
        assert sandbox.store.count() == 200 - sandbox.faults.met["error_before_commit"]
