"""The console's blueprints on an application, its guard, and what its templates know."""

import hashlib
from functools import cache
from pathlib import Path

from flask import Blueprint, Flask, url_for
from jinja2 import StrictUndefined

from receiver.statuses import find_status
from receiver.web.console import pages, session_guard, template_filters
from receiver.web.console.conflicts import conflicts
from receiver.web.console.dashboard import now
from receiver.web.console.failures import failure_page
from receiver.web.console.messages import messages
from receiver.web.console.orders import orders
from receiver.web.console.places import HOME
from receiver.web.console.signin import signin
from receiver.web.problems import use_renderer

STATIC = Path(__file__).parent / "static"

console = Blueprint("console", __name__, url_prefix=HOME)
for noun in (signin, now, orders, messages, conflicts):
    console.register_blueprint(noun)


def init_app(app: Flask) -> None:
    """Put everything under /ops behind a visit, or a bearer token."""
    app.jinja_options = {
        "finalize": template_filters.finished,
        "undefined": StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
    }
    app.jinja_env.filters.update(template_filters.FILTERS)
    app.jinja_env.tests["web_address"] = template_filters.is_web_address
    app.jinja_env.globals.update(asset=asset, order_url=pages.order_url, find_status=find_status)
    app.before_request(session_guard.let_in)
    app.after_request(session_guard.keep_close)
    app.context_processor(pages.shared)
    app.register_blueprint(console)
    use_renderer(app, HOME, failure_page)


def asset(name: str) -> str:
    """The address of what pages are made of; another one for another content."""
    return url_for("static", filename=name, v=_sum(name))


@cache
def _sum(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
