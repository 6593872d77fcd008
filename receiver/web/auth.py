"""Bearer tokens: who may use the API."""

import hmac

from flask import Request, request

from receiver.errors import MissingBearerToken
from receiver.web.attempt_limit import client_address
from receiver.web.context import app_context


def require_api_token() -> None:
    """Check the current request's bearer token.

    Raises: MissingBearerToken, TooManyAttempts.
    """
    if not has_bearer_token(request, app_context().settings.api_tokens):
        raise MissingBearerToken(
            "the request has no valid token: send Authorization: Bearer <token>"
        )


def has_bearer_token(incoming: Request, tokens: tuple[str, ...]) -> bool:
    """Whether the request has one of the tokens, in a time that does not depend on its token.

    Raises: TooManyAttempts.
    """
    scheme, _, offered = incoming.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and is_right_token(incoming, offered.strip(), tokens)


def is_right_token(incoming: Request, offered: str, tokens: tuple[str, ...]) -> bool:
    """Whether it is one of the tokens; if not, that counts against the request's address.

    Raises: TooManyAttempts.
    """
    limit, address = app_context().attempt_limit, client_address(incoming)
    limit.check(address, offered)
    right = is_one_of(offered, tokens)
    limit.record(address, offered, right=right)
    return right


def is_one_of(offered: str, tokens: tuple[str, ...]) -> bool:
    """Whether it is one of the tokens, in a time that does not depend on it."""
    given = offered.encode(errors="replace")
    # A list: every token is compared, also after one that fits.
    matches = [hmac.compare_digest(token.encode(), given) for token in tokens]
    return any(matches)
