"""How every request is sent: what is asked of it, and its headers."""

import ssl
from collections.abc import Mapping
from typing import Any

from multidict import CIMultiDict

from ._pool import NO_TIMEOUT
from ._urls import BaseURL, checked_proxy
from ._version import __version__
from .auth import Secret

HEADERS = {"Accept": "application/json", "User-Agent": f"routera-async/{__version__}"}


class Headers:
    """The headers of requests with a token: made once for each, and copied for every request."""

    def __init__(self, own: Mapping[str, str]) -> None:
        self._own = own
        self._last: tuple[str | None, CIMultiDict[str]] = (None, CIMultiDict())

    def with_token(self, token: str) -> CIMultiDict[str]:
        """Return the headers of a request that is sent with a token.

        They are the request's own: who traces a session's requests may write into them.
        """
        known, headers = self._last  # together, for another thread may have another token
        if known is not token:
            headers = CIMultiDict({**self._own, "Authorization": Secret(f"Bearer {token}")})
            self._last = token, headers
        return headers.copy()


def how_of(
    base: BaseURL, proxy: str | None, tls: ssl.SSLContext | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what is asked of every request, whatever the caller's own session says.

    And the headers that a proxy reads on the request itself, when no tunnel leads through it.
    """
    how: dict[str, Any] = {
        "allow_redirects": False,
        "raise_for_status": False,
        "timeout": NO_TIMEOUT,
    }
    hop: dict[str, str] = {}
    if proxy is not None:
        how["proxy"], basic = checked_proxy(proxy)
        if basic is not None and str(base).startswith("https:"):
            how["proxy_headers"] = {"Proxy-Authorization": Secret(basic)}
        elif basic is not None:
            hop = {"Proxy-Authorization": Secret(basic)}
    if tls is not None:
        how["ssl"] = tls
    return how, hop
