"""Every command and option tells what it is, and stands in docs/cli.md."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from routera_async.cli import app, run

DOCS = (Path(__file__).parents[2] / "docs/cli.md").read_text("utf-8")
SECTIONS = re.split(r"^(?=## )", DOCS, flags=re.MULTILINE)
OWN = {"--help", "-h", "--version"}


def commands(parent=app, path=()):
    """Yield each command that can be run: its path, and its app."""
    for name in parent:
        if name not in OWN:
            if any(each not in OWN for each in parent[name]):
                yield from commands(parent[name], (*path, name))
            else:
                yield (*path, name), parent[name]


def options(command):
    """Yield each option and argument of a command: its name, and its help."""
    for argument in command.assemble_argument_collection():
        if argument.parameter.help is None and argument.children:
            continue  # a group of options: each of them has its own help
        yield argument.names[0], argument.parameter.help


def section(path):
    """Return the section of docs/cli.md that names a command in the line below its heading."""
    name = f"`routera {' '.join(path)}`"
    for part in SECTIONS:
        if name in part.split("\n")[2]:
            return part
    raise AssertionError(f"no section of docs/cli.md begins with {name}")


COMMANDS = pytest.mark.parametrize(
    ("path", "command"), [pytest.param(*each, id="-".join(each[0])) for each in commands()]
)


def test_the_walk_meets_every_command():
    """The walk below is one of all commands: four kinds with six verbs, and the rest."""
    names = {" ".join(path) for path, _ in commands()}
    assert len(names) == 4 * 6 + 9
    assert {
        "tickets list",
        "deals find",
        "routers get",
        "dispatch",
        "import",
        "config path",
    } <= names


@COMMANDS
def test_every_command_and_option_has_help(path, command, capsys):
    """Its help says what it does, and each of its options has a line of its own."""
    assert run([*path, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: routera {' '.join(path)}" in out
    assert command.help
    assert command.help.split()[0] in out
    assert "{" not in command.help
    for name, text in options(command):
        assert text, name
        assert name in out


@COMMANDS
def test_the_help_tells_all_that_the_docstring_does(path, command, capsys):
    """Every paragraph of what a command's docstring says stands in its help."""
    run([*path, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    names = {"objects": path[0], "object": path[0].removesuffix("s").replace("ie", "y")}
    for paragraph in inspect.getdoc(command.default_command).format(**names).split("\n\n"):
        assert " ".join(paragraph.split()) in told


def test_a_list_of_commands_has_a_line_for_each(capsys):
    """In the list of commands only the first paragraph stands."""
    run(["--help"])
    out = capsys.readouterr().out
    assert "Run a router on an object." in out
    assert "Exit status" not in out


@COMMANDS
def test_every_command_and_option_is_documented(path, command):
    """It has a section of docs/cli.md, and there, or among what all take, stands every option."""
    told = section(path) + next(each for each in SECTIONS if each.startswith("## Settings"))
    for name, _ in options(command):
        assert f"`{name}" in told, name


def test_every_group_has_help(capsys):
    """So has each group of commands, and the command itself."""
    for name in ("tickets", "contacts", "companies", "deals", "routers", "config"):
        assert run([name, "--help"]) == 0
        out = capsys.readouterr().out
        assert f"Usage: routera {name} COMMAND" in out
        assert "The same" not in out
    assert run([]) == 0
    assert "Usage: routera COMMAND" in capsys.readouterr().out


def test_help_imports_no_command():
    """`routera --help` loads nothing that only a command needs, nor what a failure does."""
    program = (
        "import sys; from routera_async.cli import run; run(['--help']); "
        "print([name for name in sys.modules if name.startswith('routera_async.')])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ended.stdout.decode().splitlines()[-1] == (
        "['routera_async._version', 'routera_async.cli']"
    )
