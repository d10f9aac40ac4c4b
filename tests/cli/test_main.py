"""The command as a whole: help, errors, and what it says when its extra is missing."""

import subprocess
import sys
from pathlib import Path

from routera_async import __main__ as command
from routera_async import __version__
from routera_async.cli import run


def test_version(capsys):
    """--version prints the package's own version."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_an_unknown_command_is_one_line(capsys):
    """A command that there is not exits 2 and names those that there are."""
    assert run(["improt"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "import" in line


def test_an_interrupt_outside_an_import_is_130(monkeypatch, capsys):
    """Ctrl-C while a file is surveyed ends quietly."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("routera_async.cli.importing.open_input", interrupted)
    assert run(["import", "any.csv", "--sandbox"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    """Without cyclopts the command is one clear line, and no traceback."""
    for name in [name for name in sys.modules if name.startswith("routera_async.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)  # it would be the tests' own
    assert command.main() == 2
    assert "pip install 'routera-async[cli]'" in capsys.readouterr().err


def test_a_part_of_the_extra_that_is_missing_is_named():
    """A command whose module cannot be imported is one clear line, and no traceback."""
    program = (
        "import sys; sys.modules['platformdirs'] = None; from routera_async.cli import run; "
        "sys.exit(run(['tickets', 'list']))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == 2
    (line,) = ended.stderr.decode().splitlines()
    assert "platformdirs" in line
    assert "pip install 'routera-async[cli]'" in line


def test_a_command_collects_its_garbage():
    """Garbage is collected seldom, but while a command runs; at its end no more is looked for."""
    program = (
        "import gc; from routera_async import __main__, cli; usual = gc.get_threshold()\n"
        "def collected(): return sum(each['collected'] for each in gc.get_stats())\n"
        "def run(_):\n"
        "    before = collected()\n"
        "    for _ in range(50_000): ring = []; ring.append(ring)\n"
        "    print(collected() - before > 30_000, gc.get_threshold() > usual)\n"
        "    print(gc.get_freeze_count())\n"
        "cli.run = run; __main__.main(); print(gc.get_freeze_count() > 10_000)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ended.stdout.decode().split() == ["True", "True", "0", "True"]


def test_a_full_disk_loses_no_summary(tmp_path):
    """When standard output cannot be written, the summary goes to standard error."""
    path = tmp_path / "one.csv"
    path.write_text("ticket_name,pipeline,ticket_stage,external_id\nA,p,new,1\n")
    program = [sys.executable, "-m", "routera_async", "import", str(path), "--sandbox"]
    for options in ([], ["--json"]):
        with Path("/dev/full").open("w") as full:
            ended = subprocess.run(
                [*program, *options], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert ended.returncode == 0
        assert "No space left" in ended.stderr
        assert '"created": 1' in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_reader_that_goes_away_is_no_traceback():
    """`routera import --help | head -1` leaves nothing on standard error."""
    program = f"{sys.executable} -m routera_async import --help | head -c 1"
    ended = subprocess.run(program, shell=True, capture_output=True, check=False)
    assert ended.stderr == b""
