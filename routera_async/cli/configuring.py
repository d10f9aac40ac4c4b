"""`routera config`: which settings are in force, and where each comes from."""

from typing import Any

from cyclopts import App

from routera_async.cli.output import Format, rows
from routera_async.cli.settings import (
    CREDENTIALS,
    DEFAULTS,
    NAMES,
    SECRETS,
    UNTOLD,
    Connection,
    Settings,
    config_path,
)

_MASKED = "********"

config = App(name="config")


@config.command(name="show")
def show_settings(*, format: Format = None, connection: Connection = UNTOLD) -> int:  # noqa: A002
    """Print every setting in force and where it comes from, secrets masked; send nothing."""
    settings = connection.settings()
    printed = rows(format, ("setting", "value", "source"))
    for name in NAMES:
        printed.add(_row(settings, name))
    printed.end()
    return 0


@config.command(name="path")
def show_path() -> int:
    """Print where the settings' file is, or would be."""
    print(config_path())  # noqa: T201 (this is the command line)
    return 0


def _row(settings: Settings, name: str) -> dict[str, Any]:
    if name not in settings.values:
        default = DEFAULTS.get(name)
        return {
            "setting": name,
            "value": default,
            "source": "not set" if default is None else "default",
        }
    found = settings.values[name]
    idle = name in sum(CREDENTIALS, ()) and name not in settings.credentials
    return {
        "setting": name,
        "value": _MASKED if name in SECRETS else _shown(name, found.value),
        "source": f"{found.source} (not used)" if idle else found.source,
    }


def _shown(name: str, value: Any) -> Any:
    if name == "proxy":
        scheme, _, rest = value.partition("://")
        _, at, host = rest.rpartition("@")
        return f"{scheme}://{_MASKED}@{host}" if at else value
    return value if isinstance(value, float | int) else str(value)
