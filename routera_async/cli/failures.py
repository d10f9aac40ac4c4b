"""How a command fails: one line that says what is proven, and an exit status."""

import sys

from cyclopts import CycloptsError

from routera_async.errors import (
    ConfigurationError,
    DuplicateError,
    RouteraError,
    ValidationError,
    one_line,
)

REFUSED, USAGE, UNKNOWN, INTERRUPTED, UNREAD = 1, 2, 3, 130, 141
"""Exit statuses; 0 is done, and the last is what a shell tells of SIGPIPE."""

_PROVEN = {
    "not_sent": "not sent: ",
    "rejected": "refused: ",
    "duplicate": "refused: ",
    "unknown": "may have been done: ",
    "created": "done, but its answer cannot be shown: ",
}


class Failed(Exception):  # noqa: N818 (it is told, never handled)
    """A command has failed: its message is one line that says what is proven."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def failed(error: RouteraError, *, writes: bool, advice: str = "") -> Failed:
    """Return what a command's failure proves, what to do about it, and its exit status."""
    tries = len(error.attempts)
    more = f" ({tries} attempts in {error.elapsed:.1f} s)" if tries > 1 else ""
    outcome = error.outcome
    if isinstance(error, DuplicateError) and error.ours:
        outcome = "unknown"
    if isinstance(error, ConfigurationError | ValidationError) and outcome != "unknown":
        return Failed(f"{error}{more}", USAGE)
    status = REFUSED if outcome in {"rejected", "duplicate"} else UNKNOWN
    proven = _PROVEN[outcome] if writes or status == REFUSED or outcome == "not_sent" else ""
    return Failed(f"{proven}{error}{more}{advice}", status)


def warn(text: str) -> None:
    """Tell the person something that is no error, on standard error."""
    print(text, file=sys.stderr)  # noqa: T201 (this is the command line)


def ended_by(error: BaseException) -> int:  # noqa: PLR0911 (one for each way to end)
    """Tell how a command has failed, and return its exit status; raises what nobody foresaw."""
    match error:
        case CycloptsError():
            return _fail(f"{error} (see routera --help)")
        case Failed():
            return _fail(str(error), error.status)
        case RouteraError():
            return _fail(str(error))
        case ImportError():  # a command's module is imported when it is run
            return _fail(f"{error.__cause__ or error}: pip install 'routera-async[cli]'")
        case KeyboardInterrupt():
            warn("interrupted")
            return INTERRUPTED
        case OSError():  # files are opened where their errors are told: this is the output
            sys.stdout = None  # nobody reads, or nothing can be written: nothing is flushed
            if isinstance(error, BrokenPipeError):
                return UNREAD
            return _fail(f"the output could not be written: {error.strerror}", UNKNOWN)
    raise error


def _fail(message: str, status: int = USAGE) -> int:
    warn(f"error: {one_line(message, 1000)}")
    return status
