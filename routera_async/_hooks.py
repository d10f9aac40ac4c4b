"""What a client takes as a hook: known without the events, which only a client with one loads."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .events import Event


class Hook(Protocol):
    """What is told of each event."""

    def __call__(self, event: "Event", /) -> None:
        """Take note of one event, quickly."""
