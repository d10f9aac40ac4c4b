"""`routera routers` and `routera dispatch`: who gets what."""

from typing import Annotated

from cyclopts import App, Parameter

from routera_async._listing import LARGEST_PAGE
from routera_async._shapes import field_names
from routera_async.cli.calls import connected
from routera_async.cli.failures import REFUSED, warn
from routera_async.cli.output import Format, rows, show
from routera_async.cli.records import Archived, Id, Limit, print_all
from routera_async.cli.settings import UNTOLD, Connection
from routera_async.routing import Router

_SELDOM = ("created_at", "updated_at", "archived_by", "has_integration", "settings")
"""What a table of many routers leaves out, beside `archived` when only active ones are listed."""

routers = App(name="routers")


@routers.command(name="list")
async def list_routers(
    *,
    archived: Archived = False,
    limit: Limit = None,
    format: Format = None,  # noqa: A002 (the option's name)
    connection: Connection = UNTOLD,
) -> int:
    """List the account's routers: all that are active, unless told."""
    seldom = _SELDOM if archived else (*_SELDOM, "archived")
    printed = rows(format, [*field_names(Router)], seldom=seldom)
    async with connected(connection) as client:
        listing = client.routers.list(
            archived=archived, page_size=min(limit or LARGEST_PAGE, LARGEST_PAGE)
        )
        await print_all(listing, printed, limit)
    return 0


@routers.command(name="get")
async def get_router(
    id: Id,  # noqa: A002 (the API's)
    /,
    *,
    format: Format = None,  # noqa: A002 (the option's name)
    connection: Connection = UNTOLD,
) -> int:
    """Print one router with its settings."""
    async with connected(connection) as client:
        show(format, await client.routers.get(id))
    return 0


async def dispatch(
    *,
    router: Annotated[str, Parameter(help="The router's id, a UUID.")],
    object: Annotated[  # noqa: A002 (the option's name)
        str, Parameter(help="The id of the object to assign.")
    ],
    format: Format = None,  # noqa: A002 (the option's name)
    connection: Connection = UNTOLD,
) -> int:
    """Run a router on an object.

    It prints whom the object was assigned to, or why it was not. Exit status: 0 assigned, 1 not
    assigned. It is not sent again once it may have been done, for it may assign twice.
    """
    async with connected(connection, writes=True) as client:
        result = await client.dispatch(router_id=router, object_id=object)
    show(format, result)
    if result.hubspot_sync_failed:
        warn("warning: the object is assigned, and its sync to HubSpot failed")
    return 0 if result.assigned else REFUSED
