"""What a client takes as a hook: known without the events, which only a client with one loads."""

import logging
from collections.abc import Iterable
from inspect import iscoroutinefunction
from typing import Protocol

import routera_async  # noqa: TC001 (where `get_type_hints` finds what is not loaded here)

from .errors import ConfigurationError

_log = logging.getLogger("routera_async")

_NO_HOOKS = "hooks must be a list of callables that take one event"


class Hook(Protocol):
    """What is told of each event."""

    def __call__(self, event: "routera_async.Event", /) -> None:
        """Take note of one event, quickly."""


class Guarded:
    """A hook that breaks nothing: what it raises is logged, once.

    `kinds` are the events that it is told of in the course of a call, or none for all of them: what
    nobody is told of is not made.
    """

    def __init__(self, hook: Hook, kinds: "tuple[type[routera_async.Event], ...]" = ()) -> None:
        self.hook = hook
        self._kinds = kinds
        self._is_faulty = False

    def hears_of(self, kind: "type[routera_async.Event]") -> bool:
        """Return whether it is told of such events."""
        return not self._kinds or kind in self._kinds

    def __call__(self, event: "routera_async.Event", /) -> None:
        """Tell the hook of an event."""
        try:
            self.hook(event)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 (a CancelledError too: a hook awaits nothing)
            self.raised()

    def raised(self) -> None:
        """Log what the hook has just raised, unless it has raised before."""
        if not self._is_faulty:
            self._is_faulty = True
            _log.exception("a hook raised; what it watches goes on, and this is not said again")


def guarded(hook: Hook, *kinds: "type[routera_async.Event]") -> Guarded:
    """Return a hook that breaks nothing: itself, when it is one already.

    Raises `ConfigurationError` for what cannot be called, and for what is async: nobody would await
    it.
    """
    if isinstance(hook, Guarded):
        return hook
    if not callable(hook):
        raise ConfigurationError(_NO_HOOKS)
    if iscoroutinefunction(hook) or iscoroutinefunction(type(hook).__call__):
        raise ConfigurationError(f"a hook must be a plain function: {hook!r} is async")
    return Guarded(hook, kinds)


def all_guarded(hooks: Iterable[Hook]) -> tuple[Guarded, ...]:
    """Return hooks that break nothing. Raises `ConfigurationError` for what are none."""
    if not isinstance(hooks, Iterable):
        raise ConfigurationError(_NO_HOOKS)
    return tuple(map(guarded, hooks))
