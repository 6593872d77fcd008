"""Failures to Sentry, by hand where the log tells of them: its integrations would tell more.

Sentry's library reads SENTRY_ENVIRONMENT and the names of proxies by itself.
"""

from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.excepthook import ExcepthookIntegration

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

    from receiver.telemetry import Report

KEPT = {"contexts", "environment", "event_id", "exception", "level", "platform", "release", "sdk"}
KEPT |= {"server_name", "tags", "timestamp"}
KEPT_OF_FRAMES = {"abs_path", "context_line", "filename", "function", "in_app", "lineno", "module"}
KEPT_OF_FRAMES |= {"post_context", "pre_context"}
# At a stop; gunicorn and supervisors wait longer.
FLUSH_SECONDS = 2.0


def start(dsn: str, process: str, release: str) -> "Report":
    """Connect to Sentry; what reports a failure with tags."""
    sentry_sdk.init(
        dsn,
        release=release,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            # It would write to stderr, which is nobody's log.
            AtexitIntegration(callback=lambda _pending, _timeout: None),
            DedupeIntegration(),
            ExcepthookIntegration(),
        ],
        in_app_include=["receiver", "workers"],
        include_local_variables=False,
        send_default_pii=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        auto_session_tracking=False,
        shutdown_timeout=FLUSH_SECONDS,
        before_send=bare,
    )
    # The other scopes are those of one thread.
    sentry_sdk.get_global_scope().set_tag("process", process)

    def report(failure: BaseException, tags: dict[str, str]) -> None:
        with sentry_sdk.new_scope() as scope:
            scope.set_tags(tags)
            scope.capture_exception(failure)

    return report


def bare(event: "Event", _hint: "Hint") -> "Event":
    """The event less everything that is not known to be harmless, whatever the library adds."""
    told: dict[str, Any] = {name: it for name, it in event.items() if name in KEPT}
    for failure in told.get("exception", {}).get("values", ()):
        # Its text, in which a row or a body may be quoted.
        failure["value"] = ""
        frames = (failure.get("stacktrace") or {}).get("frames", ())
        for frame in frames:
            for name in set(frame) - KEPT_OF_FRAMES:
                del frame[name]
    return told  # type: ignore[return-value] # a TypedDict's part
