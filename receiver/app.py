"""Build the web application."""

import os
from typing import Any, TypeVar

from flask import Flask, g

from receiver import telemetry
from receiver.accounts.discarded_webhooks import DiscardRecorder
from receiver.accounts.refused_credentials import CredentialRecorder
from receiver.alerts import AlertReader
from receiver.changes.feed import announce_changes
from receiver.changes.feed_waiters import FeedWaiters
from receiver.db.engine import create_engine_for, session_factory
from receiver.inbox.accept import Inbox
from receiver.orders.read_batching import OrderReader
from receiver.queue.doorbell import Doorbell
from receiver.queue.redis_client import connect_redis
from receiver.settings import Settings
from receiver.stats import counters
from receiver.stats.answers import AnswerRecorder
from receiver.stats.process_usage import UsageReporter
from receiver.web import api, console, problems, webhooks
from receiver.web.attempt_limit import API_ATTEMPTS, SIGN_IN_ATTEMPTS, AttemptLimit
from receiver.web.context import AppContext
from receiver.web.encoded_slashes import keep_encoded_slashes
from receiver.web.front_page import front_page
from receiver.web.health import ops
from receiver.web.metrics_collector import MetricsCollector
from receiver.web.openapi.docs_page import docs
from receiver.web.request_id import HEADER as REQUEST_ID
from receiver.web.request_log import RequestLog, note_start, trace_requests

Function = TypeVar("Function")

# HTTP clients do not wait longer than this.
STATEMENT_SECONDS = 6

# Only the docs and the console are pages, and set headers of their own. No other answer may be
# taken for a page, framed, or fetched by another site's page. URLs contain tokens, so no link
# carries them.
POLICY = "Content-Security-Policy"
SECURITY_HEADERS = {
    POLICY: "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SynchronousFlask(Flask):
    """Flask for synchronous functions: it would examine a dozen of them in each request.

    An encoded slash in a path stays encoded until the path has been routed.
    """

    def ensure_sync(self, func: Function) -> Function:
        return func

    def wsgi_app(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer a request whose path has ids of couriers, with the headers of every answer."""
        keep_encoded_slashes(environ)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, _add_headers_of_every_answer(headers), exc_info)

        return super().wsgi_app(environ, start)


def create_app(settings: Settings | None = None) -> Flask:
    """Build the application; without settings it reads the environment.

    Raises: BadSettings.
    """
    settings = settings or Settings.from_env(os.environ)
    # Static files and templates belong to the console's blueprint.
    app = SynchronousFlask(__name__, static_folder=None, template_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined] # of Flask's default provider
    # A courier expects 200: a redirect to a URL with fewer slashes is a failed delivery.
    app.url_map.merge_slashes = False

    engine = create_engine_for(settings.database_url, statement_seconds=STATEMENT_SECONDS)
    telemetry.start("web", engine, settings.sentry_dsn, settings.otel_exporter_otlp_endpoint)
    redis = connect_redis(settings.redis_url)
    sessions, doorbell = session_factory(engine), Doorbell(redis)
    inbox = Inbox(engine, doorbell.ring)
    alert_reader = AlertReader(settings, sessions, redis, inbox.storage)
    routes = webhooks.list_routes(settings.accounts)
    counters.begin_at_zero(routes)
    app.extensions["ordertrail"] = AppContext(
        settings=settings,
        engine=engine,
        sessions=sessions,
        reader=OrderReader(engine, settings.test_accounts),
        redis=redis,
        inbox=inbox,
        credential_recorder=CredentialRecorder(sessions, settings.accounts),
        discard_recorder=DiscardRecorder(sessions),
        doorbell=doorbell,
        feed_bell=Doorbell(redis, announce_changes, "change_feed"),
        feed_waiters=FeedWaiters(sessions, redis),
        answer_recorder=AnswerRecorder(redis, routes, inbox.storage.finds_disk_full),
        alert_reader=alert_reader,
        metrics_collector=MetricsCollector(settings, sessions, redis, alert_reader),
        usage_reporter=UsageReporter(redis, "web"),
        attempt_limit=AttemptLimit(API_ATTEMPTS),
        sign_in_limit=AttemptLimit(SIGN_IN_ATTEMPTS),
    )
    if settings.otel_exporter_otlp_endpoint:
        trace_requests(app)
    app.before_request(note_start)
    problems.init_app(app)
    if settings.request_log == "on":
        RequestLog(settings.accounts).init_app(app)
    app.register_blueprint(ops)
    app.register_blueprint(front_page)
    api.init_app(app)
    app.register_blueprint(docs, url_prefix="/v1")
    console.init_app(app)
    webhooks.init_app(app)
    return app


def _add_headers_of_every_answer(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of an answer with those that it did not set itself, as pages do.

    On what is sent, and not on Flask's answer: that checks each header again.
    """
    given = {name for name, _ in headers}
    added = [(name, value) for name, value in SECURITY_HEADERS.items() if name not in given]
    return [*headers, *added, (REQUEST_ID, g.request_id)]
