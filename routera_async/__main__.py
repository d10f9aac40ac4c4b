"""The command line: `routera`, or `python -m routera_async`."""

import gc
import sys

_NEEDED = {"cyclopts", "rich", "jwt"}
"""What the extra `cli` brings."""

_COLLECT_AFTER = 10_000
"""New objects after which the garbage is collected: Python's own 700 would look through what is
being loaded fifty times, and find next to nothing."""


def main() -> int:
    """Run the command line and return its exit status; the process is taken to end with it."""
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])
    try:
        from .cli import run  # noqa: PLC0415 (an optional dependency)
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        print(  # noqa: T201 (nothing else is here to print with)
            "error: the command line needs more: pip install 'routera-async[cli]'", file=sys.stderr
        )
        return 2
    status = run(sys.argv[1:])
    gc.freeze()  # the interpreter looks for no garbage in what it is about to drop as a whole
    return status


if __name__ == "__main__":
    sys.exit(main())
