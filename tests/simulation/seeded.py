"""A pytest plugin that plants the bug that SEEDED_BUG names, for the whole of a run."""

import os

from . import bugs, import_bugs

(_planted,) = (
    bug.plant() for bug in (*bugs.BUGS, *import_bugs.BUGS) if bug.name == os.environ[bugs.VARIABLE]
)
_planted.__enter__()
