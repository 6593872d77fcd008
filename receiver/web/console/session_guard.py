"""Who may see the console, and what may be done from its pages alone.

Before routing: without a visit an unknown path and a known one look alike. A visit is a cookie,
which a browser sends along whoever asks it to, so what changes anything wants three things more:
that the browser says the request comes from a page of ours, the token that stands in our forms, and
POST. Scripts may open pages with a bearer token, which no browser sends by itself.
"""

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from flask import Response, g, redirect, request, url_for
from werkzeug.exceptions import BadRequest, Forbidden, UnsupportedMediaType
from werkzeug.wrappers import Response as AnyResponse

from receiver.errors import MissingBearerToken
from receiver.web.auth import has_bearer_token
from receiver.web.console import visits
from receiver.web.console.places import SIGN_IN, STATIC, in_console
from receiver.web.context import app_context
from receiver.web.request_body import read_body

COOKIE = "ordertrail_visit"
FORM_TOKEN = "form_token"  # noqa: S105 - the name of a field

# A form of ours is small.
FORM_BYTES = 16_384
FORM_FIELDS = 30

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: with that a browser says of our own forms that they come from nowhere.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class Script:
    """Whoever shows a bearer token: no browser, so that no page can speak for it."""

    name: str = ""
    form_token: str = ""


def let_in() -> AnyResponse | None:
    """Before each request: let it pass, or show the way to the sign-in page."""
    if not in_console(request.path) or request.path.startswith(STATIC):
        return None
    g.visitor = visitor()
    changes = request.method not in {"GET", "HEAD", "OPTIONS"}
    if changes and not _from_our_page():
        raise Forbidden("this was sent by a page of another site, and nothing was done")
    if request.path == SIGN_IN:
        return None
    if g.visitor is None:
        if changes or "Authorization" in request.headers:
            raise MissingBearerToken("sign in first: the visit is over, or never began")
        return redirect(url_for("console.signin.ask", to=request.full_path.rstrip("?")), 303)
    if changes and isinstance(g.visitor, visits.Visit):
        offered = form().get(FORM_TOKEN, "").encode()
        if not hmac.compare_digest(g.visitor.form_token.encode(), offered):
            raise Forbidden("the form is of another visit: open the page anew, and send it again")
    return None


def visitor() -> visits.Visit | Script | None:
    """Who asks."""
    tokens = app_context().settings.api_tokens
    if "Authorization" in request.headers:
        return Script() if has_bearer_token(request, tokens) else None
    return visits.read(request.cookies.get(COOKIE, ""), tokens, datetime.now(UTC))


def _from_our_page() -> bool:
    """Whether a page of ours sends this, as far as told: what is no browser tells nothing.

    Sec-Fetch-Site is the better word, since proxies may change Host; browsers leave it out on plain
    http.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def form() -> dict[str, str]:
    """The fields of the form that was sent, read within bounds; the last of several of a name.

    Raises: BadRequest, UnsupportedMediaType, BodyTooLarge, BodyCutOff.
    """
    if "form" not in g:
        # What has no body says no type either.
        if request.mimetype not in {"", "application/x-www-form-urlencoded"}:
            raise UnsupportedMediaType("a form is needed: application/x-www-form-urlencoded")
        raw = read_body(request, FORM_BYTES)
        try:
            fields = parse_qsl(
                raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS
            )
        except ValueError:
            raise BadRequest("this is no form of ours") from None
        g.form = dict(fields)
    return dict(g.form)


def keep_close(answer: Response) -> Response:
    """After each request: in no cache, in no frame, and with nothing from elsewhere in it."""
    if in_console(request.path):
        answer.headers.update(HEADERS)
        if request.path.startswith(STATIC) and answer.status_code < HTTPStatus.BAD_REQUEST:
            # Its address has its content's sum in it.
            answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return answer
