"""What is drawn of one seed of an import that crashes."""

import random
from typing import Literal

import attrs

from routera_async.bulk.many import Bulk

from .scenario import Plan, draw

When = Literal["step", "before", "after"]


@attrs.frozen
class Crash:
    """When a life ends: at a step of its loop, or before or after one of its commits."""

    at: When
    number: int


@attrs.frozen(kw_only=True)
class ImportPlan:
    """What is drawn of one seed, beside the client's plan; durations are virtual seconds."""

    client: Plan
    bulk: Bulk
    concurrency: int
    own: float
    """The share of rows that have a key of their own."""
    skew: float
    """What the client's clock is ahead of the server's."""
    writing: float
    """What a commit takes at the most."""
    crashes: tuple[Crash, ...]
    reads_disk: bool
    """Whether the journal is read, at each arrival, as it is on disk."""


_ZOMBIES = ("zombie hang", "zombie reset", "zombie finish", "zombie answers", "zombie 504")

_MIXES = (
    _ZOMBIES,
    ("empty 201", "html 201", "hang before", "hang after", "reset after", *_ZOMBIES),
)
"""Faults that together leave much in doubt."""


def draw_import(rng: random.Random) -> ImportPlan:
    """Draw a plan: a client's, and how the import goes."""
    client = attrs.evolve(draw(rng), mint=rng.random() < 0.25)
    if rng.random() < 0.3:
        client = attrs.evolve(client, mix=rng.choice(_MIXES), often=rng.choice((0.3, 0.6)))
    longest = 8 * client.timeout  # of what `faults` does late
    return ImportPlan(
        client=client,
        bulk=Bulk(
            give_up_after=rng.choice((None, 5.0, 60.0, 1800.0)),
            on_repeat=rng.choice(("first", "first", "reject")),
            derive_keys=rng.random() < 0.5,
            reconcile=rng.random() < 0.9,
            quarantine=longest + 1.0,
        ),
        concurrency=rng.randint(1, client.max_connections),
        own=rng.choice((0.0, 0.5, 0.5, 1.0)),
        skew=rng.choice((0.0, 0.0, -3_000.0, 3_000.0)),
        writing=rng.choice((0.0, 0.0, 0.02, 0.5)),
        crashes=tuple(
            Crash("step", int(10 ** rng.uniform(0.5, 3.0))) for _ in range(rng.randint(1, 4))
        ),
        reads_disk=rng.random() < 0.1,
    )
