"""A sandbox that runs in a thread of its own, so that a command may run its own loop here."""

import asyncio
import contextlib
import threading

from routera_async.sandbox import Router, Sandbox

ROUTER = Router("Inbound", "contacts", ["jane@example.com"])
UNPUBLISHED = Router("Draft", "contacts", ["joe@example.com"], is_published=False)


class Elsewhere:
    """A running sandbox, and how to ask what it holds."""

    def __init__(self, sandbox) -> None:
        self.sandbox = sandbox
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._ready = threading.Event()

    def _serve(self):
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self):
        self._stop = asyncio.Event()
        async with self.sandbox:
            self._ready.set()
            await self._stop.wait()

    def __enter__(self):
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def environ(self):
        """The variables that lead a command here."""
        return {"ROUTERA_TOKEN": self.sandbox.token, "ROUTERA_BASE_URL": self.sandbox.url}

    def ask(self, question):
        """Return what a function of the sandbox says, called in its own thread."""

        async def asked():
            return question(self.sandbox)

        return asyncio.run_coroutine_threadsafe(asked(), self._loop).result()

    def record(self, record_id):
        """Return a record as the store holds it."""
        return self.ask(lambda sandbox: sandbox.store.get(record_id))

    def seen(self):
        """Return the requests so far, as (method, path, query)."""
        requests = self.ask(lambda sandbox: list(sandbox.requests))
        return [(each.method, each.path, each.query) for each in requests]


@contextlib.contextmanager
def elsewhere(**settings):
    """Run a sandbox with a published router, an unpublished one and any field."""
    with Elsewhere(Sandbox(any_field=True, routers=[ROUTER, UNPUBLISHED], **settings)) as running:
        yield running
