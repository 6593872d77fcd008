"""Spans to an OpenTelemetry collector, over HTTP: requests, jobs, statements to PostgreSQL.

Written by hand and not by OpenTelemetry's instrumentations, which put addresses, and with them
couriers' tokens, into every span. Its library reads the other OTEL_* names by itself: headers,
sampler, resource, limits.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, get_current_span
from sqlalchemy import Engine, event

if TYPE_CHECKING:
    from receiver.telemetry import OpenSpan

# The longest SQL that a span holds, in characters.
MOST_SQL = 2000
# What a stop waits for a collector; the library would wait for half a minute.
FLUSH_MILLISECONDS = 2000


class Processor(BatchSpanProcessor):
    """Keeps nobody from stopping, also where the collector is away or mute."""

    def shutdown(self) -> None:
        self._batch_processor.shutdown(FLUSH_MILLISECONDS)


def start(endpoint: str, process: str) -> Tracer:
    """Connect to the collector; the tracer of this process."""
    own = {"service.name": f"ordertrail-{process}", "service.version": version("ordertrail")}
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
    provider = TracerProvider(resource=Resource(own).merge(OTELResourceDetector().detect()))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(Processor(exporter))
    return provider.get_tracer("ordertrail", version("ordertrail"))


def fail(span: Span, failure: BaseException) -> None:
    """Mark a span as failed, without the failure's text."""
    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", type(failure).__name__)


def opener(tracer: Tracer) -> "OpenSpan":
    """What opens a span around a piece of work."""

    @contextmanager
    def opened(name: str, about: dict[str, str | int]) -> Iterator[None]:
        attributes = {f"ordertrail.{key}": value for key, value in about.items()}
        with tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as failure:
                fail(span, failure)
                raise

    def open_span(name: str, about: dict[str, str | int]) -> AbstractContextManager[object]:
        return opened(name, about)

    return open_span


def watch(engine: Engine, tracer: Tracer) -> None:
    """Make a span of each statement that is part of a request or a job."""

    def begin(
        _connection: Any, _cursor: Any, sql: str, _values: Any, context: Any, _: bool
    ) -> None:
        if context is not None and get_current_span().is_recording():
            text = " ".join(sql.split())
            context.ordertrail_span = tracer.start_span(
                text.partition(" ")[0].upper(),
                kind=SpanKind.CLIENT,
                attributes={"db.system.name": "postgresql", "db.query.text": text[:MOST_SQL]},
            )

    def end(_connection: Any, _cursor: Any, _sql: str, _values: Any, context: Any, _: bool) -> None:
        if span := getattr(context, "ordertrail_span", None):
            span.end()

    def end_failed(told: Any) -> None:
        if span := getattr(told.execution_context, "ordertrail_span", None):
            fail(span, told.original_exception)
            span.end()

    event.listen(engine, "before_cursor_execute", begin)
    event.listen(engine, "after_cursor_execute", end)
    event.listen(engine, "handle_error", end_failed)
