"""Bearer tokens: who may use the API."""

import hmac
from collections.abc import Iterable

from flask import Request, g, request

from receiver.access.tokens import Token
from receiver.audit import Actor, act_as
from receiver.errors import MissingBearerToken, ReadOnlyToken
from receiver.web.attempt_limit import client_address
from receiver.web.context import app_context

# Requests that change nothing, whatever they are sent to.
READING_METHODS = {"GET", "HEAD", "OPTIONS"}


def require_token(*, is_open_to_readers: bool) -> None:
    """Check the current request's bearer token, and act as that token from here on.

    is_open_to_readers: whether a read token is enough.

    Raises: MissingBearerToken, TooManyAttempts; ReadOnlyToken.
    """
    token = find_bearer_token(request, app_context().settings.tokens)
    if token is None:
        raise MissingBearerToken(
            "the request has no valid token: send Authorization: Bearer <token>"
        )
    admit(token, is_open_to_readers=is_open_to_readers)


def require_token_at_unknown_path() -> None:
    """Check the current request's bearer token where no route matches the request.

    Raises: MissingBearerToken, TooManyAttempts; ReadOnlyToken.
    """
    require_token(is_open_to_readers=request.method in READING_METHODS)


def admit(token: Token, *, is_open_to_readers: bool) -> None:
    """Let a token do what the current request asks for.

    Raises: ReadOnlyToken.
    """
    if not (token.may_write or is_open_to_readers):
        raise ReadOnlyToken("a read token may not do this: it needs one of API_TOKENS")
    act_as(Actor(token.name, token.name, g.request_id))


def find_bearer_token(incoming: Request, tokens: Iterable[Token]) -> Token | None:
    """Return which of the tokens the request has, in a time that does not depend on its token.

    Raises: TooManyAttempts.
    """
    scheme, _, offered = incoming.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    return check_attempt(incoming, offered.strip(), tokens)


def check_attempt(incoming: Request, offered: str, tokens: Iterable[Token]) -> Token | None:
    """Return which of the tokens it is; if none, that counts against the request's address.

    Raises: TooManyAttempts.
    """
    limit, address = app_context().attempt_limit, client_address(incoming)
    limit.check(address, offered)
    token = match_token(offered, tokens)
    limit.record(address, offered, right=token is not None)
    return token


def match_token(offered: str, tokens: Iterable[Token]) -> Token | None:
    """Return which of the tokens it is, in a time that does not depend on it."""
    given = offered.encode(errors="replace")
    # A list: every token is compared, also after one that fits.
    matches = [token for token in tokens if hmac.compare_digest(token.value.encode(), given)]
    return matches[0] if matches else None
