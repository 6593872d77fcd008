"""Who may use the console: sessions, bearer tokens, and protection against forged forms.

A session is a signed cookie; the server stores only which sessions were signed out. The key is
derived from the API token that the user signed in with. So there is no further secret, a session is
valid in every web process, and a token that is removed from API_TOKENS ends its sessions. The token
itself is not in the cookie.

Browsers send the cookie with requests that other sites cause, too. So every change also needs POST,
an Origin or Sec-Fetch-Site of our own, and the token that is in our forms. Scripts may open pages
with a bearer token, which no browser sends by itself.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from flask import Response, g, redirect, request, url_for
from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import delete, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import BadRequest, Forbidden, UnsupportedMediaType
from werkzeug.wrappers import Response as AnyResponse

from receiver import audit
from receiver.access.tokens import Token
from receiver.audit import Actor, act_as
from receiver.db.models import EndedSession
from receiver.errors import MissingBearerToken
from receiver.web.auth import admit, find_bearer_token
from receiver.web.context import app_context
from receiver.web.request_body import read_body

HOME = "/ops"
SIGN_IN = f"{HOME}/signin"

COOKIE = "ordertrail_visit"
FORM_TOKEN = "form_token"  # noqa: S105 (the name of a field)
KEY_PURPOSE = b"ordertrail console"
# A working day; then the user signs in again.
SESSION_DURATION = timedelta(hours=12)
# Between web processes on different machines.
MAX_CLOCK_DIFFERENCE = timedelta(minutes=5)
# A page does not wait longer to learn whether its session was ended.
LOOKUP_MS = 500

MAX_FORM_BYTES = 16_384
MAX_FIELDS = 30

# Beside those of every answer (receiver/app.py).
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    # With no-referrer a browser would send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class User:
    """Who sent the current request.

    name: what somebody signed in with; the token's name without one.
    token_name: the name of the API token of the session or the request.
    form_token: the session's id, in every form that is shown to it. Empty for a client with a
    bearer token, which is no browser, so no other site can act through it.
    """

    name: str
    token_name: str
    since: datetime | None = None
    form_token: str = field(default="", repr=False)


def check_request() -> AnyResponse | None:
    """Let the current request pass, or redirect it to the sign-in page.

    Raises: MissingBearerToken without a session where a redirect does not help; Forbidden where a
        form was not sent by a page of this session.
    """
    if request.endpoint == "console.static":
        return None
    g.user = _find_user()
    is_change = request.method not in {"GET", "HEAD", "OPTIONS"}
    if is_change and not _is_same_origin():
        raise Forbidden("the form was not sent from this site, so nothing was changed")
    if request.path == SIGN_IN:
        return None
    if g.user is None:
        if is_change or "Authorization" in request.headers:
            raise MissingBearerToken("you are not signed in, or your session has expired")
        target = request.full_path.rstrip("?")
        return redirect(url_for("console.signin.show_sign_in_page", to=target), 303)
    act_as(Actor(g.user.name, g.user.token_name, g.request_id))
    if is_change and g.user.form_token:
        offered = read_form().get(FORM_TOKEN, "").encode()
        if not hmac.compare_digest(g.user.form_token.encode(), offered):
            raise Forbidden("the form belongs to another session, so nothing was changed")
    return None


def _find_user() -> User | None:
    settings = app_context().settings
    if "Authorization" in request.headers:
        token = find_bearer_token(request, settings.tokens)
        if token is None:
            return None
        admit(token, is_open_to_readers=False)
        return User(token.name, token.name)
    cookie = request.cookies.get(COOKIE, "")
    user = read_session_cookie(cookie, settings.api_tokens, datetime.now(UTC))
    return None if user is None or _was_signed_out(user) else user


def _was_signed_out(user: User) -> bool:
    """Whether the session has been ended; false where PostgreSQL does not say.

    The console is needed most while PostgreSQL is away, and shows no orders then.
    """
    with suppress(SQLAlchemyError), app_context().sessions() as session:
        session.execute(text(f"SET LOCAL statement_timeout = {LOOKUP_MS}"))
        return session.get(EndedSession, user.form_token) is not None
    return False


def end_session(user: User, now: datetime) -> None:
    """Make the session's cookie worthless, in every browser that has it.

    Rows that are older than any session are dropped here: signing out is rare.
    """
    with app_context().sessions.begin() as session:
        audit.record_action(session, audit.SIGN_OUT)
        expired = now - SESSION_DURATION - MAX_CLOCK_DIFFERENCE
        session.execute(delete(EndedSession).where(EndedSession.ended_at < expired))
        ended = insert(EndedSession).values(id=user.form_token, ended_at=now)
        session.execute(ended.on_conflict_do_nothing())


def _is_same_origin() -> bool:
    """Whether the request comes from a page of ours; true if the client does not say.

    Sec-Fetch-Site is more reliable, because a proxy may change Host, but browsers do not send it
    over plain HTTP.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def read_form() -> dict[str, str]:
    """Read the fields of the form in the request; the last one of several with one name.

    Raises: BadRequest, UnsupportedMediaType, BodyTooLarge, BodyCutOff.
    """
    if "form" not in g:
        # A request without a body has no type either.
        if request.mimetype not in {"", "application/x-www-form-urlencoded"}:
            raise UnsupportedMediaType("a form must be sent as application/x-www-form-urlencoded")
        raw = read_body(request, MAX_FORM_BYTES)
        try:
            g.form = dict(parse_qsl(raw.decode(), True, errors="strict", max_num_fields=MAX_FIELDS))
        except ValueError:
            raise BadRequest("the form cannot be read") from None
    return dict(g.form)


def add_headers(answer: Response) -> Response:
    """Keep an answer out of caches and frames, and from loading anything from elsewhere."""
    answer.headers.update(HEADERS)
    if request.endpoint == "console.static" and answer.status_code < HTTPStatus.BAD_REQUEST:
        # The URL contains a digest of the content.
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return answer


def create_session_cookie(api_token: Token, name: str, now: datetime) -> str:
    """Return the cookie of a new session. name: may be empty."""
    content = {"id": secrets.token_hex(16), "name": name, "since": int(now.timestamp())}
    return str(_serializer(api_token).dumps(content))


def read_session_cookie(cookie: str, api_tokens: Iterable[Token], now: datetime) -> User | None:
    """Return the user of a session cookie; None if it is not ours or has expired."""
    # A list: every token is tried, also after one that fits.
    found = [user for token in api_tokens if (user := _read_cookie(cookie, token, now)) is not None]
    return found[0] if found else None


def _read_cookie(cookie: str, api_token: Token, now: datetime) -> User | None:
    try:
        content = _serializer(api_token).loads(cookie)
    except BadData:
        return None
    since = datetime.fromtimestamp(content["since"], UTC)
    if not -MAX_CLOCK_DIFFERENCE <= now - since <= SESSION_DURATION:
        return None
    name = content["name"] or api_token.name
    return User(name, api_token.name, since, form_token=content["id"])


def _serializer(api_token: Token) -> URLSafeSerializer:
    key = hmac.new(api_token.value.encode(), KEY_PURPOSE, hashlib.sha256).digest()
    return URLSafeSerializer(
        key,
        salt=b"visit",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
