"""Every example of the docs runs, and every public name stands in the reference.

A ```python block is a program of its own, or continues the one before it on its page when
`<!-- continued -->` stands above it. Below `<!-- file NAME -->` it is a file of its page's project,
whose tests are run. Below `<!-- of examples/NAME.py -->` it is a part of that example, which other
tests run. Each `$ routera` line of a ```console block must exit 0, or with the status
that `<!-- exit 1 -->` above the block says. They meet a sandbox that holds one
record of each kind, whose ids are `$TICKET`, `$CONTACT`, `$COMPANY`, `$DEAL` and `$ROUTER`.
"""

import ast
import asyncio
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import routera_async.otel
import routera_async.sandbox
from routera_async import RouteraClient
from routera_async.cli import run
from tests.cli.elsewhere import ROUTER, elsewhere

ROOT = Path(__file__).parents[1]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
WALKED = {DOCS / "start.md", DOCS / "tutorial.md"}
"""Pages whose steps need one another: test_walking walks them."""

BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n+)?^```(?P<kind>python|console)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SHELL = set("|<>&;")
PATIENCE = 30


def blocks(kind):
    """Yield each block of a kind: its page, the line it begins on, its mark and its text."""
    for page in PAGES:
        content = page.read_text("utf-8")
        for match in BLOCK.finditer(content):
            if match["kind"] == kind and page not in WALKED:
                line = content[: match.start("text")].count("\n")
                yield page, line, match["mark"] or "", match["text"]


def programs():
    """Yield each program of the docs, with the blocks that continue it."""
    found = []
    for page, line, mark, text in blocks("python"):
        if mark == "continued":
            found[-1][2] += text
        elif not mark.startswith(("file ", "of ")):
            found.append([page, line, text])
    for page, line, text in found:
        yield pytest.param(page, line, text, id=f"{page.stem}-{line}")


def projects():
    """Yield each project of the docs: its files' texts by their names."""
    found = {}
    for page, line, mark, text in blocks("python"):
        if mark.startswith("file "):
            files = found.setdefault(page.stem, {})
            files[mark.removeprefix("file ")] = "\n" * line + text
    for name, files in found.items():
        yield pytest.param(files, id=name)


def parts():
    """Yield each part of an example that the docs show: the example's path, and the text."""
    for page, line, mark, text in blocks("python"):
        if mark.startswith("of "):
            yield pytest.param(ROOT / mark.removeprefix("of "), text, id=f"{page.stem}-{line}")


def commands():
    """Yield each `$ routera` line of the docs, its continuation lines joined to it."""
    for page, line, mark, text in blocks("console"):
        status = int(mark.removeprefix("exit ")) if mark.startswith("exit ") else 0
        for written in text.replace("\\\n", " ").splitlines():
            if written.startswith("$ routera "):
                yield pytest.param(written[2:], status, id=f"{page.stem}-{line}")


async def fill(environ):
    """Put one record of each kind into a sandbox, and return their ids."""
    async with RouteraClient.from_env(environ) as client:
        ticket = {"ticket_name": "Lamp", "pipeline": "default", "ticket_stage": "new"}
        deal = {"deal_name": "Lamps", "pipeline": "default", "deal_stage": "open"}
        made = {
            "TICKET": await client.tickets.create(ticket | {"external_id": "ext-001"}),
            "CONTACT": await client.contacts.create({"email": "joe@example.com"}),
            "COMPANY": await client.companies.create({"company_name": "Example"}),
            "DEAL": await client.deals.create(deal),
        }
    return {name: record.id for name, record in made.items()} | {"ROUTER": ROUTER.id}


@pytest.fixture
def stage(monkeypatch, tmp_path, request):
    """Run a sandbox with one record of each kind, beside a copy of the examples.

    It echoes what is written, unless the test's parameter says otherwise.
    """
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with elsewhere(echo=getattr(request, "param", True)) as running:
        environ = running.environ
        for name, value in (environ | asyncio.run(fill(environ))).items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.mark.parametrize("stage", [True, False], indirect=True, ids=["echo", "defaults"])
@pytest.mark.parametrize(("page", "line", "text"), list(programs()))
def test_every_program_runs(stage, page, line, text):
    """A program of the docs runs as it stands, without a warning.

    It does so also where the answer to a create holds the default fields alone.
    """
    source = "\n" * line + text  # so that a traceback names the line of the page
    exec(compile(source, str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("files", list(projects()))
def test_every_project_passes(tmp_path, files):
    """The tests that a page shows pass, without a warning; each of its test files has some."""
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    plugins = [f"-p{name}" for name in ("routera_async.pytest_plugin", "pytest_asyncio.plugin")]
    settings = ["-oasyncio_mode=auto", "-oasyncio_default_fixture_loop_scope=function", "-Werror"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "--strict-markers", *plugins, *settings],
        cwd=tmp_path,
        env=os.environ
        | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{EXAMPLES}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in files:
        assert f"{name}::" in done.stdout or not name.startswith("test_")


@pytest.mark.parametrize(("path", "text"), list(parts()))
def test_a_part_of_an_example_is_what_the_example_says(path, text):
    """What a page shows of an example is its own code, however the lines are broken."""
    known = {ast.dump(node) for node in ast.walk(ast.parse(path.read_text("utf-8")))}
    assert {ast.dump(node) for node in ast.parse(text).body} <= known


@pytest.mark.parametrize(("command", "status"), list(commands()))
def test_every_command_runs(stage, command, status, monkeypatch, capfd):
    """A command of the docs ends with the status that the docs say, 0 unless they do."""
    words = shlex.split(os.path.expandvars(command))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    if words[1] == "sandbox":
        assert served(words[1:]) == status
    elif SHELL & set(re.sub(r"'[^']*'|\"[^\"]*\"", "", command)):
        assert in_shell(command) == status
    else:
        assert run(words[1:]) == status, capfd.readouterr().err


def in_shell(command):
    """Run a command with its pipes and files."""
    program = f'set -o pipefail; routera() {{ {sys.executable} -m routera_async "$@"; }}; {command}'
    return subprocess.run(["bash", "-c", program], check=False, timeout=PATIENCE).returncode


def served(words):
    """Run a sandbox until it has told where it is, and interrupt it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "routera_async", *words], stdout=subprocess.PIPE
    )
    assert b"Routera sandbox at http" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    return process.returncode


MODULES = [routera_async, routera_async.otel, routera_async.sandbox]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_public_name_is_in_the_reference(module):
    """docs/reference.md has a directive for each name of `__all__`, and for no other."""
    reference = (DOCS / "reference.md").read_text("utf-8")
    named = re.findall(rf"^::: {module.__name__}\.(\w+)$", reference, re.MULTILINE)
    assert sorted(named) == sorted(set(module.__all__) - {"__version__"})


def test_every_public_module_is_in_the_reference():
    """Whatever the reference names belongs to a module that the test above holds to it."""
    reference = (DOCS / "reference.md").read_text("utf-8")
    modules = set(re.findall(r"^::: ([\w.]+)\.\w+$", reference, re.MULTILINE))
    assert modules == {module.__name__ for module in MODULES}


def test_every_page_is_linked():
    """Each page of the docs can be reached from the README, and no link of a page leads nowhere."""
    readme = (ROOT / "README.md").read_text("utf-8")
    paths = [page.relative_to(ROOT).as_posix() for page in PAGES[1:]]
    assert [path for path in paths if path not in readme] == []
    for page in [*PAGES, CONTRIBUTING]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_who_contributes_is_sent_to_what_is_there():
    """Each file, each test and each program that CONTRIBUTING.md names exists."""
    text = CONTRIBUTING.read_text("utf-8")
    files = re.findall(r"(?<![\w./])(?:tests|routera_async|docs|\.ci)/[\w./]*\w", text)
    assert [name for name in files if not (ROOT / name).exists()] == []
    tests = re.findall(r"(tests/\w+\.py)::(\w+)", text)
    assert [name for file, name in tests if name not in (ROOT / file).read_text("utf-8")] == []
    programs = re.findall(r"python -m (tests[\w.]*)", text)
    assert [name for name in programs if find_spec(name) is None] == []
    assert min(len(files), len(tests), len(programs)) > 0
