"""Failures to Sentry, spans to OpenTelemetry: each where the environment asks for it.

Off by default, and then neither library is imported. What leaves the house is made here and of
nothing but this: what failed and where in the code, routes, jobs, accounts, message ids, SQL
without its values. No body, address, header or variable, nor an error's text: it may hold rows.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import TYPE_CHECKING

from receiver.logs import exception_fields
from receiver.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer
    from sqlalchemy import Engine

    from receiver.web.request_spans import Spans

Value = str | int | None
Report = Callable[[BaseException, dict[str, str]], None]
OpenSpan = Callable[[str, dict[str, str | int]], AbstractContextManager[object]]

# Of failures in one place that come one after the other, one in so many seconds is told: where
# PostgreSQL is away every request fails, and telling of it is not to cost more than that.
QUIET_SECONDS = 5.0


class Telemetry:
    """What one process tells, and to whom: to nobody until it is started."""

    def __init__(self) -> None:
        self.report: Report | None = None
        self.tracer: Tracer | None = None
        self.open_span: OpenSpan | None = None
        self._told_at: dict[tuple[str, str], float] = {}

    def is_news(self, error: str, where: str) -> bool:
        now = time.monotonic()
        if now - self._told_at.get((error, where), -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        self._told_at[error, where] = now
        return True


_telemetry = Telemetry()


def start(settings: Settings, process: str, engine: "Engine") -> None:
    """Tell of this process (web, worker, clock) from now on; not before a fork."""
    release = f"ordertrail@{version('ordertrail')}"
    if settings.sentry_dsn:
        from receiver.telemetry import failures  # noqa: PLC0415 (only for those who have it)

        _telemetry.report = failures.start(settings.sentry_dsn, process, release)
    if settings.otel_exporter_otlp_endpoint:
        from receiver.telemetry import spans  # noqa: PLC0415 (as above)

        _telemetry.tracer = spans.start(settings.otel_exporter_otlp_endpoint, process)
        _telemetry.open_span = spans.opener(_telemetry.tracer)
        spans.watch(engine, _telemetry.tracer)


def request_spans(settings: Settings) -> "Spans | None":
    """What makes a span of each request; None where nobody asked for it."""
    if _telemetry.tracer is None:
        return None
    from receiver.web.request_spans import Spans  # noqa: PLC0415 (as above)

    return Spans(_telemetry.tracer, settings.accounts)


def failed(failure: BaseException, **about: Value) -> None:
    """Report a failure that the log tells of; about: names and ids, which may be known outside."""
    if _telemetry.report is None:
        return
    what = exception_fields(failure)
    if _telemetry.is_news(what["error"], what["where"]):
        tags = {name: str(value) for name, value in about.items() if value is not None}
        _telemetry.report(failure, {**tags, **what})


def span(name: str, **about: str | int) -> AbstractContextManager[object]:
    """A span around a piece of work; its statements to PostgreSQL are spans within it."""
    if _telemetry.open_span is None:
        return nullcontext()
    return _telemetry.open_span(name, about)
