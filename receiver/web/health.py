"""The endpoints for monitoring: /livez, /readyz and /metrics."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, current_app, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from redis import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from receiver.access.tokens import Token
from receiver.errors import MissingBearerToken
from receiver.inbox.pending import read_progress
from receiver.inbox.storage_check import OK, UNREACHABLE
from receiver.queue import redis_check
from receiver.queue.liveness import count_live_workers
from receiver.stats.counters import render_counts
from receiver.stats.labelled_registry import LabelledRegistry
from receiver.times import rfc3339
from receiver.web.auth import admit, find_bearer_token
from receiver.web.context import app_context

# What else is shown must not keep the answer waiting.
PROGRESS_MS = 500

ops = Blueprint("ops", __name__)


@ops.get("/livez")
def show_liveness() -> dict[str, str]:
    """Answer 200 while the process runs."""
    return {"status": "ok"}


@ops.get("/readyz")
def show_readiness() -> tuple[dict[str, Any], int]:
    """Say whether webhooks can be stored: a small write of our own says so.

    Redis and workers are reported but not required, since messages are stored without them.
    waiting_seconds: how long the oldest pending message has been waiting. folded_at: when the last
    message was processed.
    """
    app = app_context()
    waiting_seconds, folded_at = None, None
    postgresql = app.inbox.storage.check()
    if postgresql != UNREACHABLE:
        with suppress(SQLAlchemyError), app.sessions() as session:
            session.execute(text(f"SET LOCAL statement_timeout = {PROGRESS_MS}"))
            waiting_seconds, folded_at = read_progress(session, datetime.now(UTC))
    workers, redis = None, redis_check.check_redis(app.redis)
    if redis == redis_check.OK:
        with suppress(RedisError, OSError):
            workers = count_live_workers(app.redis)
    ready = postgresql == OK
    answer = {
        "status": "ready" if ready else "not ready",
        "postgresql": postgresql,
        "redis": redis,
        "workers": workers,
        "waiting_seconds": waiting_seconds,
        "folded_at": rfc3339(folded_at),
    }
    return answer, 200 if ready else 503


@ops.get("/metrics")
def show_metrics() -> Response:
    """Return the metrics as Prometheus text; needs METRICS_TOKEN or an API token."""
    settings = app_context().settings
    tokens = settings.tokens
    if settings.metrics_token:
        tokens = (Token("metrics", settings.metrics_token), *tokens)
    token = find_bearer_token(request, tokens)
    if token is None:
        raise MissingBearerToken(
            "the request has no valid token: send METRICS_TOKEN or one of API_TOKENS"
        )
    admit(token, is_open_to_readers=False)
    collected = CollectorRegistry()
    collected.register(app_context().metrics_collector)
    test_accounts = settings.test_accounts
    text_format = render_counts(test_accounts)
    text_format += generate_latest(LabelledRegistry(collected, test_accounts))
    return current_app.response_class(text_format, content_type=CONTENT_TYPE_LATEST)
