"""The `routera` command: wires the parts, prints, and turns outcomes into exit statuses.

0 every row is created, or was there already · 1 some rows are rejected · 2 wrong usage or
configuration: nothing was sent · 3 some rows are unknown or not sent · 130 interrupted
"""

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

from routera_async._version import __version__
from routera_async.cli.importing import import_file
from routera_async.cli.serving import serve
from routera_async.errors import RouteraError, one_line
from routera_async.sandbox import SandboxError

__all__ = ["app", "run"]

USAGE = 2
INTERRUPTED = 130

app = App(
    name="routera",
    help="Move records into the Routera CRM, and try it all out against a sandbox.",
    version=__version__,
    help_format="plaintext",
    default_parameter=Parameter(show_default=False, negative=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command(import_file, name="import")
app.command(serve, name="sandbox")


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; an error is one line on standard error."""
    try:
        status = app(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _fail(f"{error} (see routera --help)")
    except (RouteraError, SandboxError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201 (this is the command line)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None  # nobody reads: there is nothing left to flush to
        return 1
    return status if isinstance(status, int) else 0


def _fail(message: str) -> int:
    print(f"error: {one_line(message, 1000)}", file=sys.stderr)  # noqa: T201
    return USAGE
