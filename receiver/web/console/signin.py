"""Signing in with an API token, and out."""

from datetime import UTC, datetime

import structlog
from flask import Blueprint, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from receiver.web.auth import is_one_of
from receiver.web.console import visits
from receiver.web.console.places import HOME, SIGN_IN, in_console
from receiver.web.console.session_guard import COOKIE, form
from receiver.web.context import app_context

log = structlog.get_logger(__name__)

signin = Blueprint("signin", __name__)

MOST_NAME = 100


@signin.get("/signin")
def ask() -> str | Response:
    """The form, where nobody is signed in yet."""
    if g.visitor is not None:
        return redirect(_target(request.args.get("to", "")), 303)
    return _page(wrong=False, name="", to=request.args.get("to", ""))


@signin.post("/signin")
def enter() -> Response | tuple[str, int]:
    """Begin a visit. One comparison a token, and one answer to whatever does not fit."""
    told, tokens = form(), app_context().settings.api_tokens
    name, offered = told.get("name", "").strip()[:MOST_NAME], told.get("token", "").strip()
    matching = [token for token in tokens if is_one_of(offered, (token,))]
    if not matching or not name:
        # No name: what was typed into the wrong field may be the token.
        log.warning("a sign-in to the console was refused", token_fits=bool(matching))
        return _page(wrong=True, name=name, to=told.get("to", "")), 401
    answer = redirect(_target(told.get("to", "")), 303)
    answer.set_cookie(
        COOKIE,
        visits.begin(matching[0], name, datetime.now(UTC)),
        max_age=visits.LASTS,
        path=HOME,
        httponly=True,
        # Lax and not Strict: an address in a mail or a chat is to open where somebody is signed in.
        # Nothing that is opened by an address changes anything.
        samesite="Lax",
        secure=_came_by_https(),
    )
    return answer


@signin.post("/signout")
def leave() -> Response:
    """End the visit in this browser."""
    answer = redirect(url_for("console.signin.ask"), 303)
    answer.delete_cookie(COOKIE, path=HOME, httponly=True, samesite="Lax")
    return answer


def _page(wrong: bool, name: str, to: str) -> str:
    return render_template("console/signin.html", wrong=wrong, name=name, to=to)


def _target(to: str) -> str:
    """Where somebody wanted to go, if that is a page of the console."""
    own = in_console(to.partition("?")[0]) and not to.startswith(SIGN_IN)
    return to if own and to.isascii() and to.isprintable() else HOME


def _came_by_https() -> bool:
    """As the browser sees it. The proxy's word is enough: who lies only hurts their own visit."""
    return (
        request.is_secure
        or request.headers.get("X-Forwarded-Proto") == "https"
        or request.headers.get("Origin", "").startswith("https://")
    )
