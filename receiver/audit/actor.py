"""Who acts now: set where a request or a command comes in, read where an action is recorded."""

from contextvars import ContextVar
from typing import NamedTuple

# Where nobody said who acts.
OURSELVES = "ordertrail"


class Actor(NamedTuple):
    """Who acts, for the audit log; a tuple, because every webhook makes one.

    who: the name of an API token, the name that somebody signed in to the console with, or the
        user of the command line.
    token_name: the name of the token that the request or the session was allowed by; None for the
        command line.
    request_id: of the request (X-Request-ID); None outside of requests.
    """

    who: str = OURSELVES
    token_name: str | None = None
    request_id: str | None = None


_ACTOR: ContextVar[Actor] = ContextVar("actor", default=Actor())  # noqa: B039 (it is a tuple)


def act_as(actor: Actor) -> None:
    """Set who acts from now on in this request or command."""
    _ACTOR.set(actor)


def current_actor() -> Actor:
    """Return who acts in this request or command."""
    return _ACTOR.get()
