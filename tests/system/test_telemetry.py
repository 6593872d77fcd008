"""Sentry and OpenTelemetry: errors and spans arrive without secrets; both are off by default."""

import gzip
import json
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from redis import Redis
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from receiver.settings import BadSettings, Settings
from tests.bodies import life, raw, tiramizoo_order
from tests.conftest import API_TOKEN
from tests.service import CLOCK, ROOT, WORKER, Web, running, running_web, wait_until

TOKEN = "tiramizoo-token"
CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
# What must not leave the process: from bodies, URLs, headers and rows.
SECRETS = {"Geheimstadt", "41-secret", "Forged-Signature", "made-up-by-a-stranger", "SECRETIVE"}
SECRETS |= {TOKEN, API_TOKEN, "cottoncast-key", "state-of-a-stranger", "wrong-one"}


class Collector:
    """A fake Sentry and a fake OTLP collector: it keeps what is posted, decompressed."""

    def __init__(self, port: int, came: list[tuple[str, bytes]]) -> None:
        self.port, self.came = port, came

    def of(self, path: str) -> list[bytes]:
        return [body for where, body in list(self.came) if where.startswith(path)]

    def failures(self) -> list[dict[str, Any]]:
        """The events that arrived at Sentry."""
        lines = [line for body in self.of("/api/1/envelope/") for line in body.splitlines()]
        read = [json.loads(line) for line in lines if line.startswith(b"{")]
        return [it for it in read if "exception" in it]

    def spans(self) -> list[tuple[str, Span]]:
        """Each span with the name of its service."""
        read = [ExportTraceServiceRequest.FromString(body) for body in self.of("/v1/traces")]
        return [
            (attributes(of.resource)["service.name"], span)
            for one in read
            for of in one.resource_spans
            for scope in of.scope_spans
            for span in scope.spans
        ]


def attributes(of: Any) -> dict[str, Any]:
    return {it.key: it.value.string_value or it.value.int_value for it in of.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    came: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            match self.headers.get("Content-Encoding"):
                case "gzip":
                    body = gzip.decompress(body)
                case "deflate":
                    body = zlib.decompress(body)
            came.append((self.path, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Collector(server.server_port, came)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@contextmanager
def refused(sessions: sessionmaker[Session], table: str) -> Iterator[None]:
    """Let PostgreSQL refuse all rows of a table, with an error that quotes the whole row."""
    with sessions.begin() as session:
        session.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT no CHECK (false) NOT VALID"))
    try:
        yield
    finally:
        with sessions.begin() as session:
            session.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT no"))


def webhook_body(number: str) -> bytes:
    address = {"address_line": "Geheimstadt 1", "name": "Geheimstadt"}
    return raw(tiramizoo_order(number, life("created"), external_id="41-secret", delivery=address))


def drive(web: Web, sessions: sessionmaker[Session]) -> None:
    """Send requests that succeed and that fail, with a secret in each."""
    address = f"/webhooks/tiramizoo/orders/{TOKEN}"
    forged = {"Cottoncast-Authentication": "Forged-Signature"}
    shop = {
        "Authorization": f"Bearer {API_TOKEN}",
        "traceparent": f"00-{CALLER}-00f067aa0ba902b7-01",
        "tracestate": "of=state-of-a-stranger",
    }
    assert web.post(address, webhook_body("6d1f0b1e")).status_code == 200
    assert web.post("/webhooks/cottoncast/orders", webhook_body("1"), forged).status_code == 401
    assert web.post(f"{address}-wrong-one", webhook_body("2")).status_code == 401
    assert web.get("/made-up-by-a-stranger?x=41-secret").status_code == 404
    assert web.post("/webhooks/made-up-by-a-stranger/orders", b"{}").status_code == 404
    assert web.open("/v1/orders", method="SECRETIVE").status_code == 401
    assert web.get("/v1/orders?reference=41-secret", shop).status_code == 200
    assert web.get("/v1/changes", shop).status_code == 200
    with refused(sessions, "messages"):
        assert web.post(address, webhook_body("7")).status_code == 503


@pytest.fixture
def reported(
    environ: dict[str, str],
    sessions: sessionmaker[Session],
    redis: Redis,
    collector: Collector,
    tmp_path: Path,
) -> Collector:
    """What arrives from real processes whose requests and jobs partly fail."""
    reporting = {
        **environ,
        "SENTRY_DSN": f"http://key@127.0.0.1:{collector.port}/1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with ExitStack() as stack:
        drive(stack.enter_context(running_web(reporting, tmp_path / "web.log")), sessions)
        stack.enter_context(running(CLOCK, reporting, tmp_path / "clock.log"))
        with refused(sessions, "orders"):
            stack.enter_context(running(WORKER, reporting, tmp_path / "worker.log"))
            wait_until(lambda: {of["tags"]["process"] for of in collector.failures()} > {"web"})
        wait_until(lambda: any(span.name == "drain" for _, span in collector.spans()))
    return collector


def test_errors_and_spans_arrive_without_a_secret(reported: Collector) -> None:
    failures = {of["tags"]["process"]: of for of in reported.failures()}
    assert failures["web"]["tags"]["error"] == "CheckViolation"
    assert failures["worker"]["tags"]["error"] == "IntegrityError"
    for failure in failures.values():
        assert {it["value"] for it in failure["exception"]["values"]} == {""}
        assert failure["exception"]["values"][-1]["stacktrace"]["frames"][-1]["lineno"] > 0

    spans = [span for _, span in reported.spans()]
    assert {service for service, _ in reported.spans()} >= {"ordertrail-web", "ordertrail-worker"}
    route = "POST /webhooks/<account>/<topic>/<token>"
    webhooks = [attributes(span) for span in spans if span.name == route]
    assert [span["http.status_code"] for span in webhooks] == [200, 401, 503]
    assert webhooks[0]["ordertrail.message_id"] == 1
    [changes] = [of for of in spans if of.trace_id.hex() == CALLER and of.name == "GET /v1/changes"]
    assert any(of.parent_span_id == changes.span_id and "SELECT" in of.name for of in spans)
    [drain] = [span for span in spans if span.name == "drain"][:1]
    assert any(
        of.parent_span_id == drain.span_id and "db.statement" in attributes(of) for of in spans
    )

    everything = b"\n".join(body for _, body in reported.came).decode(errors="replace")
    assert [secret for secret in SECRETS if secret in everything] == []
    assert "Failing row" not in everything


def test_off_by_default_neither_library_is_loaded(environ: dict[str, str]) -> None:
    code = (
        "import sys, receiver.app, workers.worker, workers.clock; receiver.app.create_app();"
        "print([it for it in sys.modules if it.startswith(tuple(sys.argv[1:]))])"
    )
    # The Redis client loads what is installed of OpenTelemetry's metrics.
    ours = ("sentry_sdk", "opentelemetry.exporter", "opentelemetry.sdk.trace")
    done = subprocess.run(
        [sys.executable, "-c", code, *ours],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "value", "extra"),
    [
        ("SENTRY_DSN", "https://key@sentry.example/1", "sentry"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318", "opentelemetry"),
    ],
)
def test_a_missing_library_is_reported_with_its_extra(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, value: str, extra: str
) -> None:
    Settings.from_env({**environ, name: value})
    with monkeypatch.context() as bare:
        # Nothing is installed any more.
        bare.setattr(sys, "path", [])
        with pytest.raises(BadSettings) as refusal:
            Settings.from_env({**environ, name: value})
    [fault] = refusal.value.faults
    assert fault.startswith(f"{name}: ")
    assert fault.endswith(f"pip install 'ordertrail[{extra}]'")


@pytest.mark.parametrize(
    "dsn", ["https://sentry.example/1", "https://key@sentry.example/", "key@sentry.example/1"]
)
def test_an_invalid_dsn_is_reported_without_its_text(environ: dict[str, str], dsn: str) -> None:
    with pytest.raises(BadSettings) as refusal:
        Settings.from_env({**environ, "SENTRY_DSN": dsn})
    assert "sentry.example" not in str(refusal.value)
