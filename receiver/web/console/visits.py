"""Who is signed in to the console: a cookie that we can check and keep nothing of.

It is signed with a key made from the API token that somebody signed in with. So there is no further
secret, it holds beside any number of web processes, and a token that is taken out of API_TOKENS
ends the visits that began with it. It says who came and when; the token itself is not in it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from itsdangerous import BadData, URLSafeSerializer

# A working day: then the token is asked for anew, however busy the visit was.
LASTS = timedelta(hours=12)
# Web processes on other machines may have other clocks.
CLOCKS_DIFFER = timedelta(minutes=5)

PURPOSE = b"ordertrail console"


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody who is signed in. form_token stands in every form that this visit is shown."""

    name: str
    since: datetime
    form_token: str = field(repr=False)


def begin(api_token: str, name: str, now: datetime) -> str:
    """The cookie of a new visit."""
    told = {"id": secrets.token_urlsafe(16), "name": name, "since": int(now.timestamp())}
    return str(_signer(api_token).dumps(told))


def read(cookie: str, api_tokens: Iterable[str], now: datetime) -> Visit | None:
    """The visit that a cookie of ours speaks of, while it lasts."""
    # A list: every token is tried, also after one that fits.
    found = [visit for token in api_tokens if (visit := _read(cookie, token, now)) is not None]
    return found[0] if found else None


def _read(cookie: str, api_token: str, now: datetime) -> Visit | None:
    try:
        told = _signer(api_token).loads(cookie)
    except BadData:
        return None
    since = datetime.fromtimestamp(told["since"], UTC)
    if not -CLOCKS_DIFFER <= now - since <= LASTS:
        return None
    bound = hmac.new(_key(api_token), told["id"].encode(), hashlib.sha256).hexdigest()
    return Visit(told["name"], since, bound)


def _signer(api_token: str) -> URLSafeSerializer:
    return URLSafeSerializer(
        _key(api_token),
        salt=b"visit",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )


def _key(api_token: str) -> bytes:
    return hmac.new(api_token.encode(), PURPOSE, hashlib.sha256).digest()
