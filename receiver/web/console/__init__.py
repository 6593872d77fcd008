"""The console at /ops: web pages for operators.

Its pages use the same functions as the API, and need no build, no network and no JavaScript.
"""

import hashlib
from pathlib import Path

from flask import Blueprint, Flask, url_for
from jinja2 import StrictUndefined

from receiver.orders.names import is_sample
from receiver.statuses import find_status
from receiver.web.console import forms, session_guard, template_filters
from receiver.web.console.alerts import alerts
from receiver.web.console.audit import audit
from receiver.web.console.conflicts import conflicts
from receiver.web.console.dashboard import dashboard
from receiver.web.console.messages import messages
from receiver.web.console.orders import orders
from receiver.web.console.performance import performance
from receiver.web.console.runbook import runbook
from receiver.web.console.session_guard import HOME
from receiver.web.console.signin import signin
from receiver.web.problems import guard_unknown_paths, use_renderer

DIGESTS = {
    path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    for path in (Path(__file__).parent / "static").iterdir()
}

console = Blueprint(
    "console", __name__, url_prefix=HOME, static_folder="static", template_folder="templates"
)
console.before_request(session_guard.check_request)
console.after_request(session_guard.add_headers)
console.context_processor(forms.shared_context)
for blueprint in (
    *(signin, dashboard, alerts, orders, messages, conflicts, performance, audit, runbook),
):
    console.register_blueprint(blueprint)


def init_app(app: Flask) -> None:
    """Add the console, which needs a session or a bearer token."""
    app.jinja_options = {
        "finalize": template_filters.render_value,
        "undefined": StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
    }
    app.jinja_env.filters.update(template_filters.FILTERS)
    app.jinja_env.tests["web_address"] = template_filters.is_web_address
    app.jinja_env.globals.update(
        asset=asset_url,
        order_url=forms.order_url,
        find_status=find_status,
        is_sample=is_sample,
        is_test_account=forms.is_test_account,
    )
    app.register_blueprint(console)
    use_renderer(app, HOME, forms.render_problem_page)
    guard_unknown_paths(app, HOME, session_guard.check_request)


def asset_url(name: str) -> str:
    """Return the URL of a static file; it changes with the file's content."""
    return url_for("console.static", filename=name, v=DIGESTS[name])
