"""What the tests of commands share: settings of their own, a sandbox, and a way to run one."""

import io
import json

import attrs
import pytest

from routera_async.cli import run
from tests.cli.elsewhere import elsewhere


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path):
    """Keep this machine's own settings out of the tests."""
    for name in (
        "TOKEN",
        "TOKEN_FILE",
        "BASE_URL",
        "CLIENT_ID",
        "CLIENT_SECRET",
        "TIMEOUT",
        "PROXY",
    ):
        monkeypatch.delenv(f"ROUTERA_{name}", raising=False)
    monkeypatch.delenv("ROUTERA_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def api(monkeypatch):
    """Run a sandbox in another thread, and lead commands to it."""
    with elsewhere() as running:
        for name, value in running.environ.items():
            monkeypatch.setenv(name, value)
        yield running


@attrs.frozen
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def records(self):
        """What it printed, when that is JSONL."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def record(self):
        """The one record that it printed."""
        (record,) = self.records
        return record

    @property
    def error(self):
        """The one line on standard error."""
        (line,) = self.err.splitlines()
        return line


@pytest.fixture
def routera(capsys, monkeypatch):
    """Run a command in this process: `routera("tickets", "list")`."""

    def ran(*arguments, stdin=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        status = run([str(each) for each in arguments])
        return Ended(status, *capsys.readouterr())

    return ran
