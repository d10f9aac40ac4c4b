"""The API: which route a call is for. From a call to an answer in one step, without awaiting.

Nothing here knows of sockets: `server.py` reads the call and writes the answer.
"""

import logging
import time
from collections.abc import Callable, Iterable

from .calls import Answer, Call, Handler, Member
from .dispatch import Account, Dispatch
from .errors import Refused
from .fields import ObjectType
from .objects import Objects
from .openapi import document
from .routers import Routers
from .store import Store
from .tokens import Credentials, Tokens
from .wire import encode

ACCOUNT = "sandbox"
"""The account that the credentials, and a token unless told otherwise, belong to."""

_log = logging.getLogger("routera_async.sandbox")


class Api:
    """Every route of API.md that is served, over one store."""

    def __init__(
        self,
        *,
        store: Store,
        tokens: Tokens,
        credentials: Credentials,
        object_types: Iterable[ObjectType],
        accounts: Iterable[Account] = (),
        echo: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        kinds = tuple(object_types)
        self.routers = Routers(store, clock)
        self._tokens = tokens
        self._credentials = credentials
        self._document = encode(document(kinds, echo=echo))
        dispatch = Dispatch(
            store=store, routers=self.routers, object_types=kinds, accounts=accounts, clock=clock
        )
        self._paths: dict[str, dict[str, Handler]] = {
            "/oauth2/token": {"POST": self._token},
            "/openapi.json": {"GET": self._describe},
            "/routers": {"GET": self._known(self.routers.list)},
            "/dispatch/router": {"POST": self._known(dispatch.run)},
        }
        self._parents = {"/routers": {"GET": self._known(self.routers.get)}}
        for kind in kinds:
            self._serve(kind.plural, Objects(kind, store, clock, echo=echo))

    def answer(self, call: Call) -> Answer:
        """Return the answer to a call: by then everything that it says is committed."""
        try:
            handler, record_id = self._route(call)
            return handler(call, record_id)
        except Refused as refused:
            return Answer.of(refused)
        except Exception:  # noqa: BLE001  whatever it is, the client gets the documented 500
            _log.exception("%s %s failed in the sandbox itself", call.method, call.path)
            return Answer.of(Refused(500, "Internal server error"))

    def _serve(self, plural: str, objects: Objects) -> None:
        """Add an object type's routes."""
        self._paths[f"/{plural}"] = {
            "POST": self._known(objects.create),
            "GET": self._known(objects.list),
        }
        self._parents[f"/{plural}"] = {
            "GET": self._known(objects.get),
            "PATCH": self._known(objects.update),
            "DELETE": self._known(objects.archive),
        }

    def _known(self, handler: Member) -> Handler:
        """Return the handler for callers with an account context only: 401 for the rest."""

        def handle(call: Call, record_id: str) -> Answer:
            return handler(self._tokens.caller(call.authorization), call, record_id)

        return handle

    def _route(self, call: Call) -> tuple[Handler, str]:
        methods, record_id = self._paths.get(call.path), ""
        if methods is None:
            parent, _, record_id = call.path.rpartition("/")
            methods = self._parents.get(parent)
        if methods is None:
            raise Refused(404, f"Unknown route: {call.path}")
        if call.method not in methods:
            allow = ", ".join(methods)
            message = f"{call.method} is not allowed on {call.path}; use {allow}"
            raise Refused(405, message, allow=allow)
        return methods[call.method], record_id

    def _token(self, call: Call, _: str) -> Answer:
        self._credentials.check(call.body, call.authorization)
        client_id, ttl = self._credentials.client_id, self._tokens.ttl
        token = self._tokens.mint(account_id=ACCOUNT, client_id=client_id, ttl=ttl)
        body = {"access_token": token, "expires_in": int(ttl), "token_type": "Bearer"}
        return Answer.json(200, body)

    def _describe(self, _: Call, __: str) -> Answer:
        return Answer(200, self._document)
