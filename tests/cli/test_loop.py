"""Commands run on uvloop where it is installed, and never need it."""

import asyncio
import subprocess
import sys
from types import SimpleNamespace

import pytest

from routera_async.cli.loop import run_async

WITHOUT = (
    "import sys; sys.modules['uvloop'] = None; from routera_async.__main__ import main; main()"
)


class Faster(asyncio.SelectorEventLoop):
    """Stands for uvloop's."""


async def loop_in_use():
    """Return the class of the loop that this runs on."""
    return type(asyncio.get_running_loop())


def test_uvloop_is_used_where_it_is_installed(monkeypatch):
    """What can be imported is used, without being asked for, and closed when the command ends."""
    monkeypatch.setitem(sys.modules, "uvloop", SimpleNamespace(new_event_loop=Faster))
    assert run_async(loop_in_use()) is Faster


def test_without_uvloop_the_loop_is_asyncios_own(monkeypatch):
    """Nothing is missed where it is not installed."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert run_async(loop_in_use()).__module__.startswith("asyncio.")


@pytest.mark.parametrize("stream", ["__stdin__", "__stdout__", "__stderr__"])
def test_uvloop_is_not_used_where_a_standard_stream_is_closed(monkeypatch, stream):
    """One of its files would have the stream's number, which libuv answers with an abort."""
    monkeypatch.setitem(sys.modules, "uvloop", SimpleNamespace(new_event_loop=Faster))
    monkeypatch.setattr(sys, stream, None)
    assert run_async(loop_in_use()).__module__.startswith("asyncio.")


def test_the_real_one_runs_a_command():
    """The package of the extra `speed` gives a loop that commands run on."""
    pytest.importorskip("uvloop")
    assert run_async(loop_in_use()).__module__.startswith("uvloop")


@pytest.mark.parametrize("program", [["-m", "routera_async"], ["-c", WITHOUT]])
def test_an_import_is_the_same_on_either_loop(program, tmp_path):
    """Rows arrive in a sandbox with what is installed here, and without uvloop."""
    path = tmp_path / "tickets.csv"
    lines = [f"A,p,new,{number}" for number in range(100)]
    path.write_text("\n".join(["ticket_name,pipeline,ticket_stage,external_id", *lines]))
    command = [sys.executable, *program, "import", str(path), "--sandbox", "--json"]
    ended = subprocess.run(command, capture_output=True, check=True)
    assert b'"created": 100' in ended.stdout
