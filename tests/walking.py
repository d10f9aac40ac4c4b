"""Walk pages of the docs from an empty folder, step by step, as they are written.

    python tests/walking.py dist/routera_async-1.0-py3-none-any.whl docs/start.md docs/tutorial.md

makes the environments that the pages make, and installs the wheel where they install the package.

A block with a title is a file to write. Each `$` line of a console block is typed, and must exit 0,
or with what `<!-- exit 1 -->` above the block says of its last; the lines below it are what it
prints, on either stream, and `…` stands for anything. What a page has `timeout` kill after some
seconds is killed once its journal holds a few rows. `<!-- second window -->` keeps running, and
an `export` line takes its value from what that window printed.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

PATIENCE = 90
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n+)?"
    r'^```(?P<kind>\w+)(?: title="(?P<title>[^"\n]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
INSTALLING = re.compile(r"python3 -m venv|source |python -m pip ")


KILLED = re.compile(r"timeout -s KILL \d+ (.*)", re.DOTALL)
ENOUGH = 1 << 16
"""Bytes of a journal's log after which an import may be killed."""


class StumbledError(Exception):
    """A step does not do what its page says."""


class Walk:
    """One page, in one folder, with one environment; as a context manager it ends what runs."""

    def __init__(self, page: Path, folder: Path, environ: dict[str, str], wheel: str | None):
        self.page = page
        self.folder = folder
        self.environ = environ
        self.wheel = wheel
        self.steps = 0
        self._window: subprocess.Popen[str] | None = None
        self._exports: dict[str, str] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._window is not None:
            self._window.send_signal(signal.SIGINT)
            self._window.communicate(timeout=PATIENCE)

    def run(self):
        """Take every step of the page."""
        for block in BLOCK.finditer(self.page.read_text("utf-8")):
            if block["title"]:
                (self.folder / block["title"]).write_text(block["text"], "utf-8")
            elif block["kind"] == "console":
                self._typed(block["text"], block["mark"] or "")

    def _typed(self, text, mark):
        *others, last = re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]
        status = int(mark.removeprefix("exit ")) if mark.startswith("exit ") else 0
        for command in others:
            self._step(*command.split("\n", 1))
        if mark == "second window":
            self._open(*last.split("\n", 1))
        else:
            self._step(*last.split("\n", 1), status=status)

    def _step(self, command, expected, status=0):
        self.steps += 1
        if INSTALLING.match(command) and self.wheel is None:
            return
        if command.startswith("export "):
            self._export(command)
        elif command.startswith("source "):
            self._enter(command.removeprefix("source "))
        else:
            package = shlex.quote(f"{self.wheel}[cli]")
            self._run(command.replace("'routera-async[cli]'", package), expected, status)

    def _run(self, command, expected, status):
        killed = KILLED.fullmatch(command)
        with subprocess.Popen(
            ["bash", "-c", f"exec 2>&1; exec {killed[1]}" if killed else f"exec 2>&1; {command}"],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            if killed:
                self._kill(process)
            printed, _ = process.communicate(timeout=PATIENCE)
        ended = process.returncode if process.returncode >= 0 else 128 - process.returncode
        if ended != status:  # as bash tells it
            raise StumbledError(f"{command}: exit status {ended}\n{printed}")
        if expected.strip() and not is_as(expected, printed):
            raise StumbledError(f"{command}: printed\n{printed}\ninstead of\n{expected}")

    def _kill(self, process):
        """Kill an import once it has written down a few rows, however long that takes here."""
        while sum(log.stat().st_size for log in self.folder.glob("*.journal-wal")) < ENOUGH:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
                return
        process.kill()

    def _export(self, command):
        name, value = command.removeprefix("export ").split("=", 1)
        printed = self._exports[name]
        if not is_as(value, printed):
            raise StumbledError(f"{command}: the second window has printed {printed}")
        self.environ[name] = printed

    def _enter(self, activate):
        folder = (self.folder / activate).parent
        if not (folder / "activate").is_file():
            raise StumbledError(f"{activate} is not there")
        self.environ["PATH"] = f"{folder}{os.pathsep}{self.environ['PATH']}"

    def _open(self, command, expected):
        """Run a command in a window of its own, and read what it prints at first."""
        self.steps += 1
        self._window = subprocess.Popen(
            shlex.split(command),
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            text=True,
            executable=which(command.split()[0], self.environ["PATH"]),
        )
        impatience = threading.Timer(PATIENCE, self._window.kill)
        impatience.start()
        printed = ""
        for line in self._window.stdout:
            printed += line
            if line.lstrip().startswith("curl"):
                break
        impatience.cancel()
        if not is_as(expected, printed):
            raise StumbledError(f"{command}: printed\n{printed}\ninstead of\n{expected}")
        self._exports = dict(re.findall(r"export (\w+)=(\S+)", printed))


def which(name, path):
    """Return the program that a shell would take."""
    for folder in path.split(os.pathsep):
        if os.access(Path(folder) / name, os.X_OK):
            return str(Path(folder) / name)
    raise StumbledError(f"{name}: not found")


def is_as(expected, printed):
    """Whether an output is as a page shows it; how many blanks stand in a row does not count."""
    expected, printed = (
        "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
        for text in (expected, printed)
    )
    pieces = re.split(r" ?… ?", expected)
    return re.fullmatch(".*".join(map(re.escape, pieces)), printed, re.DOTALL) is not None


def environment(path):
    """Return an environment that knows nothing of Routera, and has `path` in front."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROUTERA_")}
    return kept | {"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}


def main(wheel, *pages):
    """Walk the pages with a wheel, each in a folder and an environment of its own."""
    for page in map(Path, pages):
        with tempfile.TemporaryDirectory() as folder:
            clean = environment(Path(sys.executable).parent)
            clean.pop("PYTHONPATH", None)
            with Walk(page, Path(folder), clean, str(Path(wheel).resolve())) as walk:
                walk.run()
            print(f"walked {page}: {walk.steps} steps")


if __name__ == "__main__":
    main(*sys.argv[1:])
