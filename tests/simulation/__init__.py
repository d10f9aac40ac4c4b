"""The deterministic simulation: the real client over simulated connections on a virtual clock.

    loop.py       the event loop: virtual time, seeded interleaving, deadlocks found
    world.py      what one run shares: its random streams, its rows, its trace
    network.py    connections: latency, splits, resets, refusals, and aiohttp's connector on them
    server.py     the simulated Routera: a strict HTTP parser before the sandbox's own Api and Store
    faults.py     what may go wrong around a commit
    scenario.py   one seed is one run: what is drawn, and how the callers behave
    check.py      the oracle: what must hold after any run
    bugs.py       seeded bugs of the client, each of which the oracle must find
    __main__.py   `python -m tests.simulation --seeds 2000`, `--seed 17 --trace`

The client is not modified, and aiohttp's parser, writer and connection pool are the real ones.
"""
