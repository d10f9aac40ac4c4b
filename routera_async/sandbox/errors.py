"""What goes wrong in the sandbox: for the person who runs it, and for the client that calls it.

SandboxError      raised to the person: a port in use, a file that is not ours
Refused           answered to the client: a status and a message; never leaves the sandbox
Duplicate         the store's own: a unique value is taken; answered as 409
"""

from typing import Any


class SandboxError(Exception):
    """The sandbox cannot start, or was set up wrongly; the message says what to do."""


class Refused(Exception):  # noqa: N818  it is an answer, not a fault of the sandbox
    """A request is answered with an error; `allow` names the methods that a 405 would take."""

    def __init__(self, status: int, message: str, *, allow: str = "") -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.allow = allow

    @property
    def body(self) -> dict[str, Any]:
        """Return the error body that API.md gives for every route but the token route."""
        return {"message": self.message, "error": True}


class OAuthRefused(Refused):
    """The token route refuses: `error` is the OAuth 2.0 code, `message` its description."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(status, message)
        self.error = error

    @property
    def body(self) -> dict[str, Any]:
        """Return the OAuth 2.0 error body (API.md, "token errors")."""
        return {"error": self.error, "error_description": self.message}


class Duplicate(Exception):  # noqa: N818  an outcome of a write, which the API answers with 409
    """An active record of the account already holds the value of this unique column."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column
