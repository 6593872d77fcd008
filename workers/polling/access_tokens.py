"""Access tokens of couriers whose API wants OAuth: fetched, kept in memory, renewed.

Nothing of the server's answer is stored, logged or quoted: it holds the token.
"""

import asyncio
import hmac
import json
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from typing import Any

from receiver import errors
from receiver.couriers.polling import (
    Access,
    OAuth,
    Request,
    basic_credentials,
    form_request,
    json_request,
)

MAX_ANSWER_BYTES = 65_536
MAX_TOKEN_LENGTH = 16_384
TOKEN = re.compile(r"[!-~]+")
# A token is renewed so long before it expires, but not before nine tenths of its life.
RENEWED_SECONDS_BEFORE = 60.0

ANSWERED = {200, 201}
# RFC 6749, section 5.2. Only these words are quoted of an answer.
REFUSED_WORDS = {
    *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client"),
    *("unsupported_grant_type", "invalid_scope", "access_denied"),
}
REFUSED = {400, 401, 403}


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What the server answered: a status and a body, None where it is too large to be a token's."""

    status: int
    body: bytes | None


# Sends the request for a token. Raises the errors of a courier's API for a server that cannot be
# reached, has an error of its own or limits our rate.
SendTokenRequest = Callable[[Request, datetime], Coroutine[Any, Any, TokenAnswer]]


class AccessTokens:
    """The access token of one account, on one event loop.

    Requests that need a token at the same moment wait for one fetch. describe: makes the text of an
    error out of what the server did.
    """

    def __init__(
        self, access: Access, oauth: OAuth, send: SendTokenRequest, describe: Callable[[str], str]
    ) -> None:
        self._request = token_request(access, oauth)
        self._token_name = oauth.token_name
        self._send = send
        self._describe = describe
        self._token: str | None = None
        self._renewed_at = 0.0
        self._fetching: asyncio.Task[str] | None = None

    async def current(self, now: datetime) -> str:
        """Return the access token, fetched if there is none or it is about to expire.

        now: what a Retry-After that names a date is counted from.

        Raises: CourierRefused where the server refuses our credentials; CourierUnavailable and
            CourierBusy where it gives no token.
        """
        if self._token is not None and asyncio.get_running_loop().time() < self._renewed_at:
            return self._token
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(now))
            self._fetching.add_done_callback(self._forget_fetch)
        # One of several that wait may be cancelled without the others.
        return await asyncio.shield(self._fetching)

    def discard(self, token: str) -> None:
        """Forget a token that the courier's API has refused, unless a newer one is known."""
        if hmac.compare_digest((self._token or "").encode(), token.encode()):
            self._token = None

    def _forget_fetch(self, _task: asyncio.Task[str]) -> None:
        self._fetching = None

    async def _fetch(self, now: datetime) -> str:
        answer = await self._send(self._request, now)
        content, status = _parse(answer.body), answer.status
        if status in REFUSED:
            word = content.get("error")
            is_known = isinstance(word, str) and word in REFUSED_WORDS
            why = f"{status} {word}" if is_known else f"{status}"
            what = f"refuses our credentials ({why}): check API_USER and API_TOKEN"
            raise errors.CourierRefused(self._describe(what))
        if status not in ANSWERED:
            what = f"answered with the unexpected status {status}"
            raise errors.CourierUnavailable(self._describe(what))
        token = content.get(self._token_name)
        if not isinstance(token, str) or not is_sendable(token):
            what = f"answered {status} without a usable {self._token_name}"
            raise errors.CourierUnavailable(self._describe(what))
        self._renewed_at = asyncio.get_running_loop().time() + _lifetime(content.get("expires_in"))
        self._token = token
        return token


def is_sendable(token: str) -> bool:
    """Return whether a header can hold a token."""
    return len(token) <= MAX_TOKEN_LENGTH and TOKEN.fullmatch(token) is not None


def token_request(access: Access, oauth: OAuth) -> Request:
    """Return the request for an access token (RFC 6749, sections 2.3.1, 4.3.2 and 4.4.2)."""
    url = oauth.token_url or f"{access.url}{oauth.token_path}"
    user, secret = access.user or "", access.token
    fields = {"grant_type": oauth.grant, "scope": oauth.scope, **oauth.extra}
    headers = {}
    if oauth.grant == "password" and oauth.credential_names is None:
        fields |= {"username": user, "password": secret}
    elif oauth.client_auth == "basic":
        headers["Authorization"] = basic_credentials(user, secret)
    else:
        names = oauth.credential_names or ("client_id", "client_secret")
        fields |= dict(zip(names, (user, secret), strict=True))
    fields = {name: value for name, value in fields.items() if value}
    request = json_request(url, fields) if oauth.encoding == "json" else form_request(url, fields)
    return replace(request, headers={**request.headers, **headers})


def _parse(body: bytes | None) -> dict[str, Any]:
    try:
        content = json.loads(body or b"")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _lifetime(expires_in: Any) -> float:
    """Return after how many seconds a token is renewed.

    One whose life is not given, or makes no sense, is used until the courier's API refuses it.
    """
    try:
        seconds = float(expires_in)
    except (TypeError, ValueError, OverflowError):
        return inf
    if not seconds > 0:
        return inf
    return seconds - min(RENEWED_SECONDS_BEFORE, seconds / 10)
