"""One create, ready to be sent."""

import attrs

from .errors import DuplicateError, RouteraError


@attrs.frozen(kw_only=True)
class Prepared:
    """One create, ready to be sent: its body is the same, whatever happens to it.

    `own` is the input's own value that the server keeps unique, or None; `made` one that was made
    for it, which nobody else can have; `key_name` the field that holds either. `doubtful` says
    that an earlier run may have sent it.
    """

    body: bytes = attrs.field(repr=False)
    external_id: str | None
    own: str | None
    made: str | None
    key_name: str | None
    doubtful: bool

    @property
    def key(self) -> str | None:
        """What makes it safe to send again."""
        return self.own or self.made

    def tell(self, error: RouteraError) -> None:
        """Write on an error what it proves of this create."""
        error.external_id = self.external_id
        if isinstance(error, DuplicateError):
            error.ours |= self.doubtful
            if self.made is not None:
                error.ours, error.outcome = True, "created"  # nobody else can hold that key
        elif self.doubtful and error.outcome in {"rejected", "not_sent"}:
            error.outcome = "unknown"
