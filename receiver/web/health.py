"""For ops: is it alive, is it ready, what are its numbers."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, current_app, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from redis import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from receiver.errors import MissingBearerToken
from receiver.inbox.pending import Progress, read_progress
from receiver.queue.liveness import count_live_workers
from receiver.stats.counters import metrics_registry
from receiver.times import rfc3339
from receiver.web.auth import has_bearer_token
from receiver.web.context import app_context

ops = Blueprint("ops", __name__)


@ops.get("/livez")
def livez() -> dict[str, str]:
    """The process runs."""
    return {"status": "ok"}


@ops.get("/readyz")
def readyz() -> tuple[dict[str, Any], int]:
    """Whether messages can be taken in: PostgreSQL is writable.

    Redis and the workers are reported and not required, since without them we still keep. workers
    are those that RQ believes to live; what they get done is told by waiting_seconds, how long the
    oldest message waits to be folded, and folded_at.
    """
    app = app_context()
    done = Progress(None, None)
    try:
        with app.sessions() as session:
            read_only = session.scalar(text("SHOW transaction_read_only")) == "on"
            done = read_progress(session, datetime.now(UTC))
        postgresql = "read-only" if read_only else "ok"
    except SQLAlchemyError:
        postgresql = "unreachable"
    workers: int | None = None
    try:
        workers = count_live_workers(app.redis)
        redis = "ok"
    except (RedisError, OSError):
        redis = "unreachable"
    ready = postgresql == "ok"
    answer = {
        "status": "ready" if ready else "not ready",
        "postgresql": postgresql,
        "redis": redis,
        "workers": workers,
        "waiting_seconds": done.waiting_seconds,
        "folded_at": rfc3339(done.folded_at),
    }
    return answer, 200 if ready else 503


@ops.get("/metrics")
def metrics() -> Response:
    """Prometheus text, for whoever holds METRICS_TOKEN or an API token."""
    settings = app_context().settings
    tokens = settings.api_tokens + ((settings.metrics_token,) if settings.metrics_token else ())
    if not has_bearer_token(request, tokens):
        raise MissingBearerToken("a bearer token is needed: METRICS_TOKEN or one of API_TOKENS")
    stored = CollectorRegistry()
    stored.register(app_context().metrics_collector)
    counted = generate_latest(metrics_registry()) + generate_latest(stored)
    return current_app.response_class(counted, content_type=CONTENT_TYPE_LATEST)
