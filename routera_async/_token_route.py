"""The one request that is sent without a token: the one for a token."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ._evidence import AnswerBody, WitnessedBody
from ._how import HEADERS
from ._pool import Pools
from ._urls import BaseURL

_FORM = "application/x-www-form-urlencoded"


class TokenRoute:
    """Posts to the token route; holds no session, so that one left open is seen to be.

    `timeout` is in seconds; `limit` is in bytes of the answer.
    """

    def __init__(
        self,
        pools: Pools,
        base: BaseURL,
        how: dict[str, Any],
        hop: dict[str, str],
        *,
        timeout: float,
        limit: int,
    ) -> None:
        self._pools = pools
        self._base = base
        self._how = how
        self._headers = HEADERS | hop
        self._timeout = timeout
        self._limit = limit

    async def post(self, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Post a form; the answer is a record's size at the most."""
        pool = self._pools.here()
        asked = WitnessedBody(urlencode(form).encode(), _FORM)
        async with (
            asyncio.timeout(self._timeout),
            pool.http.post(
                self._base.join(("oauth2", "token")),
                data=asked,
                headers={**headers, **self._headers},
                **self._how,
            ) as response,
        ):
            asked.check(response)
            body = AnswerBody(response, self._limit)
            await body.read()
        return response.status, body.whole()
