"""Sign in to the console with an API token, and out."""

from contextlib import suppress
from datetime import UTC, datetime

import structlog
from flask import Blueprint, g, redirect, render_template, request, url_for
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response

from receiver import audit
from receiver.audit import Actor, act_as
from receiver.text import replace_unprintable
from receiver.web.attempt_limit import client_address
from receiver.web.auth import match_token
from receiver.web.console import session_guard
from receiver.web.console.session_guard import COOKIE, HOME, LOOKUP_MS, SESSION_DURATION, SIGN_IN
from receiver.web.context import app_context

log = structlog.get_logger(__name__)

signin = Blueprint("signin", __name__)

MAX_NAME_CHARACTERS = 100
WRONG = "The API token is wrong."
READ_ONLY = "This is a read token. The console can change things, so it needs one of API_TOKENS."


@signin.get("/signin")
def show_sign_in_page() -> str | Response:
    """Show the form, or go on if the user is signed in already."""
    target = request.args.get("to", "")
    if g.user is not None:
        return redirect(_safe_target(target), 303)
    return render_template("console/signin.html", refusal="", name="", to=target)


@signin.post("/signin")
def sign_in() -> Response | tuple[str, int]:
    """Start a session. All tokens are compared, and all mistakes get the same answer.

    Raises: TooManyAttempts.
    """
    form, settings = session_guard.read_form(), app_context().settings
    # The audit log could not store U+0000.
    name = replace_unprintable(form.get("name", "").strip())[:MAX_NAME_CHARACTERS]
    offered, target = form.get("token", "").strip(), form.get("to", "")
    limit, address = app_context().sign_in_limit, client_address(request)
    limit.check(address, offered)
    token = match_token(offered, settings.tokens)
    limit.record(address, offered, right=token is not None)
    if token is None or not token.may_write:
        # The name is not logged: it may be a token that was typed into the wrong field.
        log.warning("console_sign_in_refused", is_read_token=token is not None)
        refusal, status = (WRONG, 401) if token is None else (READ_ONLY, 403)
        page = render_template("console/signin.html", refusal=refusal, name=name, to=target)
        return page, status
    _record_sign_in(Actor(name or token.name, token.name, g.request_id))
    answer = redirect(_safe_target(target), 303)
    answer.set_cookie(
        COOKIE,
        session_guard.create_session_cookie(token, name, datetime.now(UTC)),
        max_age=SESSION_DURATION,
        path=HOME,
        httponly=True,
        # Not Strict: a link in a mail or a chat shall open for a user who is signed in. Opening a
        # link changes nothing.
        samesite="Lax",
        secure=_is_https(),
    )
    return answer


def _record_sign_in(actor: Actor) -> None:
    """Record who signed in; without PostgreSQL only in the log, for the console is needed then."""
    act_as(actor)
    is_recorded = False
    with suppress(SQLAlchemyError), app_context().sessions.begin() as session:
        session.execute(text(f"SET LOCAL statement_timeout = {LOOKUP_MS}"))
        audit.record_action(session, audit.SIGN_IN)
        is_recorded = True
    log.info("console_signed_in", token_name=actor.token_name, is_recorded=is_recorded)


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
