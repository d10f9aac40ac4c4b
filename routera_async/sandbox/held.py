"""An async context manager, held open by an event loop in a thread of its own."""

import asyncio
import threading
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager


class Held:
    """Enters `manager` in a new thread, and leaves it there.

    So what it serves is there for code that has no event loop, has another one for every test, or
    blocks the one that it has.
    """

    def __init__(self, manager: AbstractAsyncContextManager[object]) -> None:
        self._manager = manager
        self._entered = Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()
        self._thread = threading.Thread(target=self._run, name="routera-sandbox", daemon=True)

    def open(self) -> None:
        """Return once the manager is entered; raises what its entering raises."""
        self._thread.start()
        self._entered.result()

    def close(self) -> None:
        """Return once the manager is left and the thread has ended."""
        loop, left = self._entered.result()
        loop.call_soon_threadsafe(left.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._hold())
        except BaseException as error:
            if self._entered.done():
                raise
            self._entered.set_exception(error)

    async def _hold(self) -> None:
        left = asyncio.Event()
        async with self._manager:
            self._entered.set_result((asyncio.get_running_loop(), left))
            await left.wait()
