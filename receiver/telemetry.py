"""Report errors to Sentry and traces to an OpenTelemetry collector, by their own integrations.

Both are off by default, and then neither library is imported. Only what is listed here leaves the
process, and that is no body, URL, header, local variable or text of an exception (a row's values).
"""

import atexit
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer
    from sqlalchemy import Engine

EVENT_FIELDS = {"environment", "event_id", "exception", "level", "platform", "release", "timestamp"}
SPAN_FIELDS = ("parent", "resource", "kind", "start_time", "end_time")
REQUEST_NAME = ("http.method", "http.route")
ATTRIBUTES = {*REQUEST_NAME, "http.status_code", "db.statement", "ordertrail.message_id"}
EXPORT_SECONDS = 2  # how long an export may take, also at the end of a process

_tracers: list["Tracer"] = []


def start(process: str, engine: "Engine", sentry_dsn: str | None, otlp_url: str | None) -> None:
    """Report what this process (web, worker, clock) does from now on. Call it after a fork."""
    if sentry_dsn:
        _start_sentry(process, sentry_dsn)
    if otlp_url:
        _start_tracing(process, otlp_url, engine)


def job_span(name: str) -> AbstractContextManager[object]:
    """Open a span around a job, so that its statements are one trace."""
    return _tracers[0].start_as_current_span(name) if _tracers else nullcontext()


def _start_sentry(process: str, dsn: str) -> None:
    import sentry_sdk
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration
    from sentry_sdk.utils import event_from_exception

    def scrub(event: Any, hint: dict[str, Any]) -> Any:
        # Whatever is logged as an error is an event; its exception is the one being handled.
        if (error := sys.exc_info()[1]) is not None and "exception" not in event:
            event |= event_from_exception(error, sentry_sdk.get_client().options)[0]
        line = getattr(hint.get("log_record"), "msg", None)
        line = line if isinstance(line, dict) else {"event": event.get("logger", "uncaught")}
        scrubbed = {name: event[name] for name in EVENT_FIELDS & set(event)}
        for exception in scrubbed.get("exception", {}).get("values", ()):
            exception["value"] = ""
        tags = {name: str(value) for name, value in line.items() if isinstance(value, str | int)}
        return scrubbed | {"message": line["event"], "tags": {**tags, "process": process}}

    sentry_sdk.init(
        dsn,
        release=f"ordertrail@{version('ordertrail')}",
        default_integrations=False,
        integrations=[LoggingIntegration(level=None), ExcepthookIntegration()],
        include_local_variables=False,
        before_send=scrub,
    )
    atexit.register(sentry_sdk.flush, EXPORT_SECONDS)


def _start_tracing(process: str, url: str, engine: "Engine") -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    def scrub(span: ReadableSpan) -> ReadableSpan:
        kept = {key: value for key, value in (span.attributes or {}).items() if key in ATTRIBUTES}
        ids = span.get_span_context() or trace.INVALID_SPAN_CONTEXT
        return ReadableSpan(
            # A request by its route, and without the state that its caller sent along.
            name=" ".join(str(kept[key]) for key in REQUEST_NAME if key in kept) or span.name,
            context=trace.SpanContext(ids.trace_id, ids.span_id, False, ids.trace_flags),
            attributes=kept,
            status=trace.Status(span.status.status_code),
            **{name: getattr(span, name) for name in SPAN_FIELDS},
        )

    class Exporter(OTLPSpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> Any:
            return super().export([scrub(span) for span in spans])

    name = Resource({"service.name": f"ordertrail-{process}"})  # unless OTEL_SERVICE_NAME is set
    provider = TracerProvider(resource=name.merge(OTELResourceDetector().detect()))
    exporter = Exporter(f"{url.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    SQLAlchemyInstrumentor().instrument(engine=engine, skip_dep_check=True)  # declares < 2.1
    _tracers.append(provider.get_tracer("ordertrail"))
