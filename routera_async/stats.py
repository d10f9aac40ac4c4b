"""What a client tells of itself when it is asked: `client.stats()`."""

import math

import attrs


@attrs.frozen(kw_only=True)
class Stats:
    """What a client does now, and has done since it was made.

    It is over all its copies, and over all the event loops that it has run on; `loops` says on how
    many it is open now. What is now: `under_way` calls have begun and not ended, `in_flight` of
    them have a place and an attempt under way, `waiting` wait for a place in the queue, and
    `waiting_to_retry` for a token of their retry budget; the others pause before they are sent
    again, or wait at the gate of an import. Rows of imports are calls here, too. `budget_left` is
    how many tokens the asked client's own budget has for calls that are no rows, on the loop that
    has the fewest.

    Since the client was made: `requests` were begun, and `failed` of them raised, refused and
    cancelled ones among them; `retries` are the attempts that were not their call's first.
    `connections_opened` and `connections_reused` tell on which kind of connection an attempt was
    sent, the token route's too; both are None with a session of the caller's own.

    `wait_p50` and `wait_p95` are in seconds: what half, and 95 of 100, of the latest 1,000
    attempts on each open loop waited for a place at the most. One that found a place waited 0; one
    whose caller or deadline ended it in the queue counts with what it had waited until then.
    """

    loops: int
    under_way: int
    in_flight: int
    waiting: int
    waiting_to_retry: int
    budget_left: float
    requests: int
    failed: int
    retries: int
    connections_opened: int | None
    connections_reused: int | None
    wait_p50: float
    wait_p95: float


def quantile(waits: list[float], part: float) -> float:
    """Return what such a part of some waits, in order, is no longer than; 0 when there is none."""
    return waits[math.ceil(part * len(waits)) - 1] if waits else 0.0
