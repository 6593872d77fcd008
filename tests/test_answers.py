"""Every answer to a webhook is counted, and many that fail or are late are an alert."""

import errno
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from structlog.testing import capture_logs

from receiver.stats.answers import AnswerRecorder, read_answers
from receiver.web.gunicorn_worker import LoopErrorLog
from tests.applications import context_of
from tests.bodies import raw, tiramizoo_order
from tests.service import GUNICORN, running_web, wait_until
from tests.test_metrics import of, samples

TIRAMIZOO = "/webhooks/tiramizoo/orders/tiramizoo-token"
METRICS = {"Authorization": "Bearer test-metrics-token"}
API = {"Authorization": "Bearer test-api-token-01"}
ACCOUNTS = {"tiramizoo": ("orders",)}


def counted(client: Any, account: str, route: str, status: str) -> float:
    answer = client.get("/metrics", headers=METRICS)
    found = samples(answer.data.decode())
    return of(found, "accept_seconds_count", account=account, route=route, status=status) or 0.0


def test_each_answer_is_counted_by_account_route_and_status(
    client: FlaskClient, new_app: Callable[..., Flask], tmp_path: Path
) -> None:
    away = new_app(DATABASE_URL=f"postgresql://postgres@/x?host={tmp_path}").test_client()
    before = {
        key: counted(client, *key)
        for key in (
            *(("tiramizoo", "orders", status) for status in ("2xx", "4xx", "5xx")),
            ("", "", "4xx"),
        )
    }
    assert client.post(TIRAMIZOO, data=raw(tiramizoo_order())).status_code == 200
    assert client.post(f"{TIRAMIZOO}-wrong", data=b"{}").status_code == 401
    assert client.get(TIRAMIZOO).status_code == 405
    assert client.post("/webhooks/nobody/orders/x", data=b"{}").status_code == 404
    for _ in range(2):
        assert away.post(TIRAMIZOO, data=raw(tiramizoo_order())).status_code == 503
    more = {key: counted(client, *key) - number for key, number in before.items()}
    assert list(more.values()) == [1, 2, 2, 1]


def record(redis: Redis, status: int, seconds: float, times: int) -> None:
    recorder = AnswerRecorder(redis, ACCOUNTS, lambda: False)
    for _ in range(times):
        recorder.record("tiramizoo", "orders", status, seconds)
    recorder.close()


def conditions(shop: FlaskClient) -> set[str]:
    alerts: Any = shop.get("/v1/alerts").json
    return {it["condition"] for it in alerts["alerts"]} & {"webhooks_failing", "webhooks_slow"}


def test_a_full_disk_that_a_webhook_finds_is_known_everywhere(
    client: FlaskClient, app: Flask, new_app: Callable[..., Flask]
) -> None:
    storage = app.extensions["ordertrail"].inbox.storage
    storage.note_failure(psycopg.errors.DiskFull())
    assert client.get(TIRAMIZOO).status_code == 405  # any answer is recorded
    elsewhere = new_app().test_client()

    def found() -> set[str]:
        alerts: Any = elsewhere.get("/v1/alerts", headers=API).json
        return {it["condition"] for it in alerts["alerts"] if it["condition"] != "no_workers"}

    assert wait_until(found) == {"database_full"}


@pytest.mark.parametrize(
    ("good", "failed", "slow", "expected"),
    [
        (100, 2, 2, set()),
        (0, 2, 0, set()),
        (50, 3, 0, {"webhooks_failing"}),
        (0, 3, 0, {"webhooks_failing"}),
        (50, 0, 3, {"webhooks_slow"}),
        (0, 3, 3, {"webhooks_failing"}),
    ],
)
def test_many_answers_that_fail_or_are_late_are_an_alert(
    shop: FlaskClient, redis: Redis, good: int, failed: int, slow: int, expected: set[str]
) -> None:
    for status, seconds, times in ((200, 0.01, good), (503, 0.01, failed), (200, 1.1, slow)):
        if times:
            record(redis, status, seconds, times)
    assert conditions(shop) == expected


def test_answers_that_failed_because_they_were_late_say_so(shop: FlaskClient, redis: Redis) -> None:
    record(redis, 503, 5.0, 3)
    alerts: Any = shop.get("/v1/alerts").json
    [alert] = [it for it in alerts["alerts"] if it["condition"] == "webhooks_failing"]
    assert "3 only after more than 1 second" in alert["summary"]
    assert "latency of PostgreSQL's disk" in alert["what_to_do"]


def test_the_latest_answers_count_also_where_no_more_came(redis: Redis) -> None:
    record(redis, 503, 5.0, 4)
    for minutes, total in ((0, 4), (10, 4), (20, 0)):
        found = read_answers(redis, datetime.now(UTC) + timedelta(minutes=minutes))
        assert sum(counts.failed for counts in found.values()) == total


def test_refusals_in_a_row_end_with_a_right_one(redis: Redis) -> None:
    record(redis, 401, 0.01, 12)
    record(redis, 401, 0.01, 1)
    for minutes in (0, 300):
        found = read_answers(redis, datetime.now(UTC) + timedelta(minutes=minutes))["tiramizoo"]
        assert found.refused == 13
    record(redis, 200, 0.01, 1)
    found = read_answers(redis, datetime.now(UTC) + timedelta(minutes=1))["tiramizoo"]
    assert (found.total, found.refused) == (14, 0)


def test_refusals_of_one_second_count_after_the_last_right_one(redis: Redis) -> None:
    recorder = AnswerRecorder(redis, ACCOUNTS, lambda: False)
    for status in (401, 401, 200, *[401] * 40):
        recorder.record("tiramizoo", "orders", status, 0.01)
    recorder.close()
    assert read_answers(redis, datetime.now(UTC))["tiramizoo"].refused == 40


def test_a_handshake_which_needs_no_secret_ends_no_refusals(
    app: Flask, shop: FlaskClient, redis: Redis
) -> None:
    path = "/webhooks/onfleet/orders"
    assert shop.post(path, data=b"{}").status_code == 401
    assert shop.get(f"{path}?check=abc").status_code == 200
    context_of(app).answer_recorder.close()
    assert read_answers(redis, datetime.now(UTC))["onfleet"].refused == 1


@pytest.mark.system
def test_webhooks_are_answered_where_they_cannot_be_counted(
    environ: Mapping[str, str], sessions: object, redis: Redis, tmp_path: Path
) -> None:
    directory = tmp_path / "metrics"
    directory.mkdir()
    own = {**environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    with running_web(own, tmp_path / "web.log") as web:
        shutil.rmtree(directory)
        assert web.post(TIRAMIZOO, raw(tiramizoo_order())).status_code == 200
        assert web.post(TIRAMIZOO, raw(tiramizoo_order())).status_code == 200
        assert web.post(f"{TIRAMIZOO}-wrong", b"{}").status_code == 401
        answer = wait_until(lambda: web.get("/metrics", METRICS))
        assert answer.status_code == 200


def test_webhooks_are_answered_where_no_more_files_can_be_opened(
    environ: Mapping[str, str], sessions: object, tmp_path: Path
) -> None:
    log = tmp_path / "web.log"
    # Half of the descriptors may be connections.
    limited = ("/bin/sh", "-c", 'ulimit -n 64 && exec "$0" "$@"', sys.executable, *GUNICORN)
    with (
        running_web(environ, log, limited) as web,
        ExitStack() as stack,
        ThreadPoolExecutor() as senders,
    ):
        for _ in range(60):
            stack.enter_context(web.connected()).sendall(b"POST /webhooks/x HTTP/1.1\r\n")
        body = raw(tiramizoo_order())
        answers = [senders.submit(web.post, TIRAMIZOO, body) for _ in range(3)]
        time.sleep(1)
        stack.close()
        assert {answer.result().status_code for answer in answers} == {200}
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert len([event for event in events if event != "request"]) < 20


def test_errors_of_the_event_loop_are_a_json_line_a_second_at_most() -> None:
    log_error = LoopErrorLog()
    with capture_logs() as logged:
        for _ in range(1000):
            log_error(None, OSError, OSError(errno.EMFILE, "Too many open files"), None)
    [line] = logged
    assert (line["event"], line["error"]) == ("event_loop_error", "OSError")
