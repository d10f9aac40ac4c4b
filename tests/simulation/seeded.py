"""A pytest plugin that plants the bug that SEEDED_BUG names, for the whole of a run."""

import os

from .bugs import BUGS, VARIABLE

(_planted,) = (bug.plant() for bug in BUGS if bug.name == os.environ[VARIABLE])
_planted.__enter__()
