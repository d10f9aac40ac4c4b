"""The `routera` command: wires the parts, prints, and turns outcomes into exit statuses.

0 done · 1 refused by the server, or some rows rejected · 2 wrong usage or configuration: nothing
was sent · 3 not sent, or not known to be done · 130 interrupted. A command's own module is imported
when it is run, so that help is quick.
"""

import inspect
import sys
from collections.abc import Sequence

from cyclopts import App, Parameter

from routera_async._version import __version__

__all__ = ["app", "run"]

app = App(
    name="routera",
    help="The Routera CRM: look, change, import, and try it all out against a sandbox.",
    version=__version__,
    help_format="plaintext",
    default_parameter=Parameter(show_default=False, negative=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
# The whole help of a command is told here, for its module is not imported to print a list of them.
_DISPATCH = (
    "Run a router on an object.\n\n"
    "It prints whom the object was assigned to, or why it was not. Exit status: 0 assigned, 1 not "
    "assigned. It is not sent again once it may have been done, for it may assign twice."
)
_IMPORT = (
    "Import a file of tickets, or of another kind of object.\n\n"
    "A row that is refused goes to FILE.rejects.csv (or .jsonl) with the reason, to be fixed and "
    "imported again with the same command."
)
_RECONCILE = (
    "Settle the rows of an import whose answers were lost, by what Routera's list holds.\n\n"
    "It reads the whole list once, and a second time when something is absent. Nothing is created."
)
_REPORT = (
    "Print what a journal knows of its import: when it began, where to, and what became of rows."
    "\n\nNothing is sent."
)
_SANDBOX = (
    "Run a sandbox that speaks the Routera API, until Ctrl-C.\n\n"
    "It prints the variables that lead to it: a token, and an API client to which tokens are "
    "granted."
)
for order, (place, name, text) in enumerate(
    [
        *(
            (f"records:{each}", each, f"List, get, create, update, archive and find {each}.")
            for each in ("tickets", "contacts", "companies", "deals")
        ),
        ("routing:routers", "routers", "List routers, and get one."),
        ("routing:dispatch", "dispatch", _DISPATCH),
        ("importing:import_file", "import", _IMPORT),
        ("journals:reconcile", "reconcile", _RECONCILE),
        ("journals:report", "report", _REPORT),
        ("configuring:config", "config", "Show the settings in force, and where they come from."),
        ("serving:serve", "sandbox", _SANDBOX),
    ]
):
    app.command(f"{__name__}.{place}", name=name, help=text, sort_key=order)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; an error is one line on standard error."""
    try:
        command, bound, _ = app.parse_args(list(arguments), exit_on_error=False, print_error=False)
        status = command(*bound.args, **bound.kwargs)
        if inspect.iscoroutine(status):
            from routera_async.cli.loop import run_async  # noqa: PLC0415 (help needs none)

            status = run_async(status)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (what is not ours is raised)
        from routera_async.cli.failures import ended_by  # noqa: PLC0415 (most commands do not fail)

        return ended_by(error)
    return status if isinstance(status, int) else 0
