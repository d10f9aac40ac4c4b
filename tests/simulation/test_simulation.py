"""The simulation finds nothing wrong, and it finds the bugs that are planted."""

import asyncio

import pytest

from tests.simulation.__main__ import run
from tests.simulation.bugs import BUGS, caught
from tests.simulation.loop import Deadlock, SimLoop
from tests.simulation.scenario import simulate
from tests.simulation.seeds import digests


@pytest.mark.parametrize("start", range(0, 2000, 250))
def test_no_invariant_is_violated(start):
    """In 2,000 seeds of 20 rows every outcome agrees with what the store really holds."""
    totals = run(range(start, start + 250))
    assert totals.violations == []
    assert {"created", "rejected", "duplicate", "not_sent", "unknown"} <= set(totals.outcomes)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a planted bug may forget to await
def test_a_planted_bug_is_caught(bug):
    """Each bug of the bank is found within 100 seeds, or by the test that it names."""
    assert caught(bug)


@pytest.mark.parametrize("seed", [17, 404])
def test_a_seed_is_one_run(seed):
    """A seed gives the same trace in any process, whatever its hash seed."""
    assert digests(simulate, seed) == {simulate(seed).digest}


def test_a_deadlock_is_an_error():
    """A task that waits for what nobody will do is told at once."""

    async def for_ever():
        await asyncio.get_running_loop().create_future()

    loop = SimLoop()
    with pytest.raises(Deadlock):
        loop.run(for_ever())


def test_no_socket_and_no_thread():
    """What would not be drawn from the seed is refused."""

    async def thread():
        await asyncio.to_thread(print)

    async def socket():
        await asyncio.open_connection("127.0.0.1", 1)

    for scenario in (thread, socket):
        with pytest.raises(RuntimeError, match="forbidden"):
            SimLoop().run(scenario())
