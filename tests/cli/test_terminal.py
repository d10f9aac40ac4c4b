"""`routera import` as a person at a terminal sees it: the bar, a pause, a question, Ctrl-C."""

import asyncio
import codecs
import os
import re
import select
import subprocess
import sys
import termios
import time
from contextlib import contextmanager

import pytest

from routera_async.sandbox import Fault, Sandbox
from tests.cli.elsewhere import Elsewhere

HEADER = "ticket_name,pipeline,ticket_stage"

AT_THE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "routera_async", *sys.argv[1:]])
"""
"""Runs the command line with its standard input as the terminal that Ctrl-C comes from."""

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PATIENCE = 60


class Gate:
    """The sandbox's latency: lets `passing` answers through, and holds the rest until opened."""

    def __init__(self, passing):
        self.left = passing
        self.opened = asyncio.Event()

    async def __call__(self, _seconds):
        """Stand in for the sandbox's sleep."""
        self.left -= 1
        if self.left < 0:
            await self.opened.wait()


class Terminal:
    """A command at a terminal of its own: what it shows, and what is typed."""

    def __init__(self, arguments, environ):
        self._master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, 120))
        self._process = subprocess.Popen(
            [sys.executable, "-c", AT_THE_TERMINAL, *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=os.environ | environ | {"TERM": "xterm-256color", "COLUMNS": "", "LINES": ""},
        )
        os.close(slave)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.shown = ""
        self._seen = 0

    def until(self, text):
        """Read until this is shown after what was waited for last; return what was shown since."""
        deadline = time.monotonic() + PATIENCE
        while (at := self._plain().find(text, self._seen)) < 0:
            assert self._read(deadline), f"{text!r} is not shown: {self._plain()[self._seen :]!r}"
        passed, self._seen = self._plain()[self._seen : at], at + len(text)
        return passed

    def type(self, keys):
        """Type some keys; the third of ASCII is Ctrl-C."""
        os.write(self._master, keys.encode())

    def ended(self):
        """Read to the end, and return the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self._process.wait(PATIENCE)

    def close(self):
        """Leave nothing behind."""
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _plain(self):
        return CONTROL.sub("", self.shown)

    def _read(self, deadline):
        """Read more; say whether there was more."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._master, 65_536) if ready else b""
        except OSError:  # the last process at the terminal has gone
            data = b""
        self.shown += self._decoder.decode(data)
        return bool(data)


@pytest.fixture
def gate():
    """Hold back what the sandbox answers after 20 rows."""
    return Gate(20)


@pytest.fixture
def api(gate):
    """Run a sandbox in another thread, behind the gate."""
    with Elsewhere(Sandbox(any_field=True, latency=1.0, sleep=gate)) as running:
        yield running


@pytest.fixture
def open_gate(api, gate):
    """Let every answer through from now on."""
    return lambda: api.ask(lambda _: gate.opened.set())


@pytest.fixture
def at_terminal(api, tmp_path):
    """Import 100 tickets at a terminal."""
    path = tmp_path / "tickets.csv"

    @contextmanager
    def at_terminal(*options, key="external_id"):
        path.write_text(HEADER + f",{key}\n" + "".join(f"T,p,new,{n}\n" for n in range(100)))
        terminal = Terminal(["import", path, *options], api.environ)
        try:
            yield terminal
        finally:
            terminal.close()

    return at_terminal


def count(api):
    """Return how many tickets there are."""
    return api.ask(lambda sandbox: sandbox.store.count())


def test_the_bar_moves_and_the_summary_follows(api, at_terminal, open_gate):
    """While the import runs a bar tells how far it is; at its end stands the summary."""
    with at_terminal() as terminal:
        terminal.until("20 of 100 · ")
        terminal.until("created 20 · duplicate 0 · rejected 0 · unknown 0 · retries 0 · in flight ")
        assert "━" in terminal.shown
        assert "20% · " in terminal.shown
        open_gate()
        terminal.until("100 of 100 · ")
        terminal.until("read")
        assert terminal.until("seconds").split()[:3] == ["100", "created", "100"]
        assert terminal.ended() == 0
        assert "Traceback" not in terminal.shown
    assert count(api) == 100


def test_a_pause_says_why_and_how_long(api, at_terminal, open_gate):
    """When answers stop a line below the bar says so, and goes away when Routera is back."""
    with at_terminal() as terminal:
        terminal.until("20 of 100 · ")
        api.ask(lambda sandbox: sandbox.faults.draw({"disconnect_before_commit": 1.0}))
        open_gate()
        terminal.until("Routera is not answering; waiting, ")
        terminal.until(" second")
        api.ask(lambda sandbox: sandbox.faults.clear())
        terminal.until("100 of 100 · ")
        terminal.until("read")
        assert "waiting" not in terminal.until("seconds")
        assert terminal.ended() == 0
    assert count(api) == 100


def test_the_first_ctrl_c_lets_what_is_under_way_finish(api, at_terminal, open_gate):
    """It says so, then how to go on; the same command does, and nothing is there twice."""
    with at_terminal() as terminal:
        terminal.until("20 of 100 · ")
        terminal.type("\x03")
        terminal.until("stopping: what is under way has 30 seconds; again to stop at once")
        open_gate()
        told = terminal.until(" rows were not sent; run the same command again: it goes on where")
        unsent = int(told.rpartition("interrupted: ")[2])
        assert terminal.ended() == 130
        assert "Traceback" not in terminal.shown
    assert 20 < count(api) == 100 - unsent < 100
    with at_terminal() as terminal:
        terminal.until(f"{100 - unsent} rows were done by an earlier run")
        assert terminal.ended() == 0
    assert count(api) == 100


def test_the_second_ctrl_c_stops_at_once(api, at_terminal, open_gate):
    """Nothing is waited for; what was under way is unknown, and the same command settles it."""
    with at_terminal() as terminal:
        terminal.until("20 of 100 · ")
        terminal.type("\x03")
        terminal.until("again to stop at once")
        terminal.type("\x03")
        terminal.until("interrupted: ")
        assert terminal.ended() == 130
        assert "Traceback" not in terminal.shown
    open_gate()
    with at_terminal() as terminal:
        terminal.until("created")
        assert terminal.ended() == 0
    assert count(api) == 100


ANSWERS = [pytest.param("y\n", 0, 100, id="yes"), pytest.param("n\n", 3, 5, id="no")]


@pytest.mark.parametrize(("answer", "status", "created"), ANSWERS)
def test_the_canary_asks(api, at_terminal, open_gate, answer, status, created):
    """After its rows the person is asked; no is resumable."""
    open_gate()
    with at_terminal("--canary", "5") as terminal:
        terminal.until("5 of 100 · ")
        terminal.until("go on with the rest? [y/N] ")
        terminal.type(answer)
        if status:
            terminal.until("stopped after the canary: 95 rows were not sent; run the same command")
        assert terminal.ended() == status
    assert count(api) == created


def test_ctrl_c_is_an_answer(api, at_terminal, open_gate):
    """Nobody has to press return first."""
    open_gate()
    with at_terminal("--canary", "5") as terminal:
        terminal.until("go on with the rest? [y/N] ")
        terminal.type("\x03")
        terminal.until("interrupted: 95 rows were not sent")
        assert terminal.ended() == 130
    assert count(api) == 5


def test_what_is_in_doubt_is_looked_for_in_sight(api, at_terminal, open_gate):
    """At the end, the quarantine is counted down; Ctrl-C need not wait for it."""
    api.ask(lambda sandbox: sandbox.faults.script(Fault("disconnect_after_commit")))
    open_gate()
    with at_terminal("--no-key", "--quarantine", "1h", key="ticket_owner") as terminal:
        terminal.until("unknown 1 · ")
        terminal.until("1 row is in doubt: the list is read in 3,")
        terminal.type("\x03")
        terminal.until("routera reconcile ")
        assert terminal.ended() == 130
