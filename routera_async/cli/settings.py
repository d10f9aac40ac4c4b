"""What every command is told of the account: by options, then the environment, then a file.

A setting has one name in three spellings: `--base-url`, `ROUTERA_BASE_URL`, and `base_url` in the
file. A secret has no option, for what is typed is kept in the shell's history and seen in `ps`; a
proxy's may hold one, which belongs in the environment or the file.
"""

import os
import stat
import sys
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Group, Parameter
from platformdirs import user_config_path

from routera_async._options import seconds
from routera_async._urls import checked_base_url, checked_proxy
from routera_async.auth import ClientCredentials, Secret, StaticToken
from routera_async.client import BASE_URL, RouteraClient
from routera_async.errors import (
    ConfigurationError,
    ForbiddenError,
    RouteraError,
    UnauthorizedError,
)

CONFIG_VARIABLE = "ROUTERA_CONFIG"

DEFAULTS = {"base_url": BASE_URL, "timeout": 30.0}

SECRETS = frozenset({"token", "client_secret"})
"""Settings that are never shown. A proxy's is, without its user and password."""

CREDENTIALS = (("token",), ("token_file",), ("client_id", "client_secret"))
"""What can prove who we are; of several that stand in one place the first is taken."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@Parameter(name="*", group=Group("Connection", sort_key=1))
@attrs.frozen(kw_only=True)
class Connection:
    """The options that every command that talks to the API takes."""

    base_url: Annotated[
        str | None, Parameter(help=f"Where the API is; {BASE_URL} unless told.")
    ] = None
    token_file: Annotated[
        Path | None, Parameter(help="File that holds a JWT of the account and nothing else.")
    ] = None
    timeout: Annotated[
        float | None, Parameter(help="Seconds for one attempt of a request; 30 unless told.")
    ] = None
    deadline: Annotated[
        float | None,
        Parameter(help="Seconds for a whole request, repeats and pauses too; no end unless told."),
    ] = None
    proxy: Annotated[
        str | None,
        Parameter(help="URL of an HTTP proxy; one with a password belongs in ROUTERA_PROXY."),
    ] = attrs.field(default=None, repr=False)

    @property
    def given(self) -> dict[str, Any]:
        """The options that were given, by the names of the settings."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}

    def settings(self, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Return the settings in force; raises `ConfigurationError` that names the wrong one."""
        return Settings.load(self.given, environ)


UNTOLD = Connection()
"""No option given."""


@attrs.frozen
class Value:
    """A setting's value, where it was written, and how early that place is asked (0 is first)."""

    value: Any = attrs.field(repr=False)
    source: str
    rank: int


@attrs.frozen
class Settings:
    """The settings in force, by name; what nobody has set is missing."""

    values: Mapping[str, Value]

    @classmethod
    def load(cls, options: Mapping[str, Any], environ: Mapping[str, str]) -> "Settings":
        """Look for each setting in the options, the environment and the file, in this order."""
        path = config_path(environ)
        written = _read(path, asked=bool(environ.get(CONFIG_VARIABLE)))
        values: dict[str, Value] = {}
        for name, check in _CHECKS.items():
            option, variable = f"--{name.replace('_', '-')}", f"ROUTERA_{name.upper()}"
            places = (
                (option, option, options.get(name)),
                (variable, variable, environ.get(variable, "").strip() or None),
                (str(path), f"{path}: {name}", written.get(name)),
            )
            for rank, (source, origin, value) in enumerate(places):
                if value is not None:
                    values[name] = Value(check(origin, value), source, rank)
                    break
        if any(name in written for name in SECRETS) or "@" in str(written.get("proxy")):
            _warn_of_readers(path)
        return cls(values)

    def get(self, name: str) -> Any:
        """Return a setting's value, its default, or None."""
        return self.values[name].value if name in self.values else DEFAULTS.get(name)

    @property
    def credentials(self) -> tuple[str, ...]:
        """The settings that prove who we are: those that stand where is looked first; or none."""
        whole = [kind for kind in CREDENTIALS if self.values.keys() >= set(kind)]
        return min(whole, key=self._rank, default=())

    def client(self, **more: Any) -> RouteraClient:
        """Return a client with these settings; `more` are the constructor's own."""
        auth: StaticToken | ClientCredentials
        match self.credentials:
            case ("token",):
                auth = StaticToken(self.get("token"))
            case ("token_file",):
                auth = StaticToken(_token_in(self.get("token_file")))
            case ("client_id", _):
                auth = ClientCredentials(self.get("client_id"), self.get("client_secret"))
            case _:
                raise ConfigurationError(self._nobody())
        return RouteraClient(
            auth,
            base_url=self.get("base_url"),
            timeout=self.get("timeout"),
            deadline=self.get("deadline"),
            proxy=self.get("proxy"),
            **more,
        )

    def advice(self, error: RouteraError) -> str:
        """Return what to look at when the server refuses who we are, and nothing otherwise."""
        if isinstance(error, UnauthorizedError):
            url = self.get("base_url")
            return f"; check {self._who}: it is wrong, has expired, or is not for {url}"
        if isinstance(error, ForbiddenError):
            return f"; the account is that of {self._who}"
        return ""

    @property
    def _who(self) -> str:
        """What proves who we are and where it was set, without any of it."""
        sources = dict.fromkeys(self.values[name].source for name in self.credentials)
        what = "the API client" if "client_id" in self.credentials else "the token"
        if "token_file" in self.credentials:
            what = f"{what} in {self.get('token_file')}"
        return f"{what} that is set by {' and '.join(sources)}"

    def _rank(self, names: tuple[str, ...]) -> int:
        return min(self.values[name].rank for name in names)

    def _nobody(self) -> str:
        for one, other in (("client_id", "client_secret"), ("client_secret", "client_id")):
            if one in self.values:
                return f"{one} is set by {self.values[one].source}, and no {other} is"
        return (
            "no token: set ROUTERA_TOKEN to a JWT of your account, or ROUTERA_CLIENT_ID and "
            "ROUTERA_CLIENT_SECRET, or write them into the file that routera config path names"
        )


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the settings' file: ROUTERA_CONFIG, or the one in the platform's own folder."""
    named = environ.get(CONFIG_VARIABLE)
    return Path(named) if named else user_config_path("routera", appauthor=False) / "config.toml"


def _read(path: Path, *, asked: bool) -> dict[str, Any]:
    """Return what the file holds; one that nobody asked for need not be there."""
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        if not asked:
            return {}
        raise ConfigurationError(f"{CONFIG_VARIABLE}: {path}: no such file") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start + 1}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from None
    for name in content:
        if name not in _CHECKS:
            close = get_close_matches(name, _CHECKS, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ConfigurationError(
                f"{path}: has no setting {name!r}{hint}; there are {', '.join(_CHECKS)}"
            )
    return content


def _warn_of_readers(path: Path) -> None:
    """Say once that others may read a secret; Windows has no such bits."""
    mode = path.stat().st_mode
    if os.name == "posix" and stat.S_ISREG(mode) and mode & _OTHERS:
        print(  # noqa: T201 (this is the command line)
            f"warning: {path} holds a secret and others can read it: chmod 600 {path}",
            file=sys.stderr,
        )


def _token_in(path: Path) -> Secret:
    try:
        token = Secret(path.read_text("ascii").strip())
    except OSError as error:
        problem = f"{path}: cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = f"{path}: holds no token"
    else:
        _warn_of_readers(path)
        return token
    raise ConfigurationError(problem)


def _text(origin: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{origin} must be a text")
    return value.strip()


def _token(origin: str, value: Any) -> Secret:
    token = Secret(_text(origin, value))
    try:
        StaticToken(token)
    except ConfigurationError as error:
        problem = f"{origin}: {error}"
    else:
        return token
    raise ConfigurationError(problem)


def _secret(origin: str, value: Any) -> Secret:
    return Secret(_text(origin, value))


def _path(origin: str, value: Any) -> Path:
    return value if isinstance(value, Path) else Path(_text(origin, value)).expanduser()


def _url(origin: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{origin} must be a text")
    try:
        return checked_base_url(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{origin}: {error}") from None


def _proxy(origin: str, value: Any) -> Secret:
    try:
        checked_proxy(value)
    except ConfigurationError as error:
        problem = f"{origin}: {error}"
    else:
        return Secret(value)
    raise ConfigurationError(problem)


def _seconds(origin: str, value: Any) -> float:
    if isinstance(value, str):
        with suppress(ValueError):  # `seconds` says what it must be
            value = float(value)
    return seconds(origin, value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "base_url": _url,
    "token": _token,
    "token_file": _path,
    "client_id": _text,
    "client_secret": _secret,
    "timeout": _seconds,
    "deadline": _seconds,
    "proxy": _proxy,
}
"""Every setting, and what makes a value of what was written."""

NAMES = tuple(_CHECKS)
"""The settings, in the order in which they are shown."""
