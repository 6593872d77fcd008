"""The settings of the whole installation, as the environment names them."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from receiver.access.tokens import Token, find_repetitions
from receiver.settings.checks import (
    check_apprise_addresses,
    check_base_address,
    check_installed,
    check_long_token,
    check_push_address,
    check_scheme,
    check_sentry_dsn,
    check_webhook_secrets,
)
from receiver.settings.field_types import (
    NOT_SET,
    CommaList,
    TokenList,
    choice,
    positive,
    required_text,
    text,
)


class _GeneralSchema(Schema):
    @validates_schema(skip_on_field_errors=False)
    def check_that_tokens_differ(self, general: dict[str, Any], **_options: Any) -> None:
        api_tokens: tuple[Token, ...] = general.get("API_TOKENS", ())
        known = list(find_repetitions(api_tokens))
        of_both = find_repetitions(api_tokens + general.get("READ_TOKENS", ()))
        added = [fault for fault in of_both if fault not in known]
        faults = {"API_TOKENS": known, "READ_TOKENS": added}
        if any(faults.values()):
            raise ValidationError({name: found for name, found in faults.items() if found})


# An empty value counts as not set, so that a line `NAME=` in an env file restores the default.
GENERAL = _GeneralSchema.from_dict(
    {
        "DATABASE_URL": required_text(check_scheme("postgresql", "postgres", "postgresql+psycopg")),
        "REDIS_URL": required_text(check_scheme("redis", "rediss", "unix", "redis+sentinel")),
        "API_TOKENS": TokenList("api", required=True, error_messages=NOT_SET),
        "READ_TOKENS": TokenList("read", load_default=()),
        "HOST": text("127.0.0.1"),
        "PORT": positive(8000, most=65535),
        "DATA_DIR": text(".data"),
        "METRICS_TOKEN": text(None, check_long_token),
        "MAX_BODY_BYTES": positive(1_048_576),
        "POLL_INTERVAL_FACTOR": fields.Float(
            load_default=1.0, validate=validate.Range(min=0, min_inclusive=False, max=1000)
        ),
        "INBOX_RETENTION_DAYS": positive(90),
        "PERSONAL_DATA_RETENTION_DAYS": positive(90),
        # Couriers repeat a webhook for three weeks; one about a removed order makes a new one.
        "ORDER_RETENTION_DAYS": fields.Integer(load_default=None, validate=validate.Range(30)),
        "ARCHIVE_DIR": text(),
        "ALERT_URLS": CommaList(load_default=(), validate=check_apprise_addresses),
        "HEARTBEAT_URL": text(None, check_scheme("http", "https")),
        "PUSH_URL": text(None, check_push_address),
        "PUSH_SECRET": CommaList(load_default=(), validate=check_webhook_secrets),
        "PUBLIC_URL": text(None, check_base_address),
        "RUNBOOK_URL": text(None, check_scheme("http", "https")),
        "REQUEST_LOG": choice("on", "off"),
        "PROGRESS_PATH": text(None),
        "SENTRY_DSN": text(None, check_sentry_dsn, check_installed("sentry-sdk", "sentry")),
        "OTEL_EXPORTER_OTLP_ENDPOINT": text(
            None,
            check_base_address,
            check_installed("opentelemetry-instrumentation-flask", "opentelemetry"),
        ),
    }
)()
