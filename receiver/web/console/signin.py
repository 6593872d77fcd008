"""Sign in to the console with an API token, and out."""

from datetime import UTC, datetime

import structlog
from flask import Blueprint, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from receiver.web.attempt_limit import client_address
from receiver.web.auth import is_one_of
from receiver.web.console import session_guard
from receiver.web.console.session_guard import COOKIE, HOME, SESSION_DURATION, SIGN_IN
from receiver.web.context import app_context

log = structlog.get_logger(__name__)

signin = Blueprint("signin", __name__)

MAX_NAME_CHARACTERS = 100


@signin.get("/signin")
def show_sign_in_page() -> str | Response:
    """Show the form, or go on if the user is signed in already."""
    target = request.args.get("to", "")
    if g.user is not None:
        return redirect(_safe_target(target), 303)
    return render_template("console/signin.html", wrong=False, name="", to=target)


@signin.post("/signin")
def sign_in() -> Response | tuple[str, int]:
    """Start a session. All tokens are compared, and all mistakes get the same answer.

    Raises: TooManyAttempts.
    """
    form, tokens = session_guard.read_form(), app_context().settings.api_tokens
    name = form.get("name", "").strip()[:MAX_NAME_CHARACTERS]
    offered, target = form.get("token", "").strip(), form.get("to", "")
    limit, address = app_context().sign_in_limit, client_address(request)
    limit.check(address, offered)
    matching = [token for token in tokens if is_one_of(offered, (token,))]
    limit.record(address, offered, right=bool(matching))
    if not matching or not name:
        # The name is not logged: it may be a token that was typed into the wrong field.
        log.warning("console_sign_in_refused", token_fits=bool(matching))
        return render_template("console/signin.html", wrong=True, name=name, to=target), 401
    answer = redirect(_safe_target(target), 303)
    answer.set_cookie(
        COOKIE,
        session_guard.create_session_cookie(matching[0], name, datetime.now(UTC)),
        max_age=SESSION_DURATION,
        path=HOME,
        httponly=True,
        # Not Strict: a link in a mail or a chat shall open for a user who is signed in. Opening a
        # link changes nothing.
        samesite="Lax",
        secure=_is_https(),
    )
    return answer


@signin.post("/signout")
def sign_out() -> Response:
    """End the session, also for a copy of its cookie."""
    if g.user.form_token:
        session_guard.end_session(g.user, datetime.now(UTC))
    answer = redirect(url_for("console.signin.show_sign_in_page"), 303)
    answer.delete_cookie(COOKIE, path=HOME, httponly=True, samesite="Lax")
    return answer


def _safe_target(target: str) -> str:
    """Return where the user wanted to go if that is a page of the console, else its home page."""
    is_page = f"{target}/".startswith((f"{HOME}/", f"{HOME}?")) and not target.startswith(SIGN_IN)
    return target if is_page and target.isascii() and target.isprintable() else HOME


def _is_https() -> bool:
    """Whether the browser uses HTTPS. The headers are trusted: a client only harms itself."""
    return (
        request.is_secure
        or request.headers.get("X-Forwarded-Proto") == "https"
        or request.headers.get("Origin", "").startswith("https://")
    )
