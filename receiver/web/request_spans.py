"""Trace requests by OpenTelemetry's own instrumentation of Flask."""

from flask import Flask, g
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.trace import Span


def init_app(app: Flask) -> None:
    """Make each request a span from now on, except those that machines send every few seconds."""
    FlaskInstrumentor.instrument_app(
        app,
        response_hook=_add_log_fields,
        excluded_urls="/livez$,/readyz$,/metrics$,/ops/static/",
        enable_commenter=False,
    )


def _add_log_fields(span: Span, _status: str, _headers: object) -> None:
    for name, value in g.get("log_fields", {}).items():
        span.set_attribute(f"ordertrail.{name}", value)
