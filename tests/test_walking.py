"""The tutorial and the first five minutes: every step works as it is written, one after another.

.ci/wheel walks them too, with the wheel installed as the pages say.
"""

import sys
from pathlib import Path

import pytest

from tests.walking import StumbledError, Walk, environment

ROOT = Path(__file__).parents[1]


def walk(page, folder):
    """Walk a page with the package as it is here."""
    environ = environment(Path(sys.executable).parent) | {"PYTHONPATH": str(ROOT)}
    with Walk(page, folder, environ, None) as walked:
        walked.run()
    return walked.steps


@pytest.mark.parametrize(("name", "steps"), [("start", 6), ("tutorial", 20)])
def test_each_step_works_as_written(name, steps, tmp_path):
    """From an empty folder, each command exits as the page says, and prints what it shows."""
    assert walk(ROOT / f"docs/{name}.md", tmp_path) >= steps


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("$ echo no\nyes\n", "printed"),
        ("$ echo created 5\ncreated … 6\n", "printed"),
        ("$ false\n", "exit status 1"),
        ("$ cat none.csv\n", "exit status 1"),
        ("$ false\n$ true\n", "exit status 1"),
        ("$ routera frobnicate\n", "exit status 2"),
    ],
)
def test_a_step_that_does_something_else_is_told(text, problem, tmp_path):
    """What a page does not show, or a command that fails, stops the walk."""
    page = tmp_path / "page.md"
    page.write_text(f"```console\n{text}```\n", "utf-8")
    with pytest.raises(StumbledError, match=problem):
        walk(page, tmp_path)
