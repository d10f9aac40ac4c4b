"""The event loop that commands run on: uvloop's where it is installed, else asyncio's own."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_async(command: Coroutine[Any, Any, T]) -> T:
    """Run a command on a loop of its own, and return what it does."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        return runner.run(command)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 (an optional dependency)
    except ImportError:
        return None
    if None in {sys.__stdin__, sys.__stdout__, sys.__stderr__}:
        return None  # its files would get the number of what is closed, and libuv abort
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
