"""Where a request goes: below one base URL, out of which nothing can lead."""

import re
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import quote

from yarl import URL

from .errors import ConfigurationError, ValidationError, one_line

_NO_SEGMENT = re.compile(r"[/\\?#%\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]|^\.{0,2}$")
"""What would lead out of its place in a path, or be read in two ways on the way."""

_UNSENDABLE = r"[\ud800-\udfff]|^(nan|-?inf)$"
"""Half of a surrogate pair, and what is no number: no query can say them."""

_ROUTES = {
    (collection, length): f"/{collection}" + "/{id}" * (length - 1)
    for collection in ("tickets", "contacts", "companies", "deals", "routers")
    for length in (1, 2)
}
"""The API's paths to objects, by their first segment and how many they have."""

_BLANK = re.compile(r"[\x00-\x20\x7f]")


class BaseURL:
    """The URL that every path is joined to.

    Raises `ConfigurationError` for what is not an http(s) URL, or is http to a far host.
    """

    def __init__(self, text: str) -> None:
        self._base = checked_base_url(text)
        self._collections: dict[tuple[str, ...], URL] = {}

    def __str__(self) -> str:
        return self._base

    def join(self, segments: tuple[str, ...], query: Mapping[str, str] | None = None) -> URL:
        """Return the URL of a path, given as its segments; `ValidationError` when one is none."""
        url = self._collections.get(segments) if len(segments) == 1 else None
        if url is None:
            url = URL(f"{self._base}/{'/'.join(map(_segment, segments))}", encoded=True)
            if len(segments) == 1:
                self._collections[segments] = url
        return url.with_query(query) if query else url


def segments_of(path: object) -> tuple[str, ...]:
    """Return the segments of a path such as "/tickets/123".

    Raises `ValidationError` for what is none: a full URL, `//host`, `..`, `%2F`, a query.
    """
    text = path if isinstance(path, str) else ""
    segments = tuple(text.removeprefix("/").split("/"))
    if not text.startswith("/") or any(map(_NO_SEGMENT.search, segments)):
        raise ValidationError(
            f'{one_line(str(path), 80)!r} is no path: write "/tickets/123", and a query as params'
        )
    return segments


def route_of(segments: tuple[str, ...]) -> str | None:
    """Return the API's name of a path, "/tickets/{id}", or None when it has none."""
    if segments == ("dispatch", "router"):
        return "/dispatch/router"
    return _ROUTES.get((segments[0], len(segments)))


def query_of(params: object) -> dict[str, str]:
    """Return a query as the API writes it: true and false, and numbers as JSON has them.

    Raises `ValidationError` that names a parameter whose value is none of these, or no text.
    """
    if not isinstance(params, Mapping):
        raise ValidationError(f"params must be a mapping, not {type(params).__name__}")
    return {_parameter(name, name): _parameter(name, value) for name, value in params.items()}


def _parameter(name: object, value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str() | int() | float() if not re.search(_UNSENDABLE, text := str(value)):
            return text
        case _:
            raise ValidationError(
                f"params: {one_line(repr(name), 80)} must be a text, a number or True or False, "
                f"not {one_line(repr(value), 80)}"
            )


def checked_base_url(text: object) -> str:
    """Return a base URL without its last slash; raises `ConfigurationError` for any other."""
    if not isinstance(text, str):
        raise ConfigurationError(f"base_url must be text, not {type(text).__name__}")
    try:
        url = URL(text)
        host = url.host or ""
    except ValueError:
        raise ConfigurationError("base_url is not a URL") from None
    if _BLANK.search(text):
        raise ConfigurationError("base_url holds a space or a control character")
    if url.user or url.password or url.query_string or url.fragment:
        raise ConfigurationError("base_url must be a scheme, a host and perhaps a path, no more")
    if url.scheme not in {"http", "https"} or not host:
        raise ConfigurationError(
            "base_url must begin with https:// (http:// for this machine alone) and name a host, "
            f"not {text!r}"
        )
    if url.scheme == "http" and not _is_loopback(host):
        raise ConfigurationError(f"http:// would show the token to the network: https://{host}")
    return str(url).rstrip("/")


def checked_proxy(text: object) -> tuple[str, str | None]:
    """Return the URL of a proxy, and the value of its Proxy-Authorization when it names a user.

    They are told apart because a URL is shown. Raises `ConfigurationError` for any other,
    without showing it.
    """
    proxy = _proxy(text) if isinstance(text, str) else None
    if proxy is None:
        raise ConfigurationError("proxy must be http://[user:password@]host[:port]")
    return proxy


def _proxy(text: str) -> tuple[str, str | None] | None:
    try:
        url = URL(text)
        fine = url.scheme in {"http", "https"} and bool(url.host) and not _BLANK.search(text)
    except ValueError:
        return None
    if not fine:
        return None
    pair = f"{url.user or ''}:{url.password or ''}"
    basic = None if pair == ":" else f"Basic {b64encode(pair.encode()).decode()}"
    return str(url.with_user(None)), basic  # yarl drops the password with its user


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _segment(text: object) -> str:
    if not isinstance(text, str) or _NO_SEGMENT.search(text):
        raise ValidationError(f"{one_line(str(text), 80)!r} is no id")
    return quote(text, safe="")
