"""What ops look at: does it live, is it ready, what are its numbers, what does it log."""

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer
from sqlalchemy import make_url
from sqlalchemy.orm import Session, sessionmaker

from receiver.inbox import storage_check
from receiver.inbox.storage_check import StorageCheck
from receiver.queue.job_queue import get_queue
from tests.bodies import cottoncast_status, payload, raw, tiramizoo_order
from tests.service import Web, wait_until

Sessions = sessionmaker[Session]

TIRAMIZOO = "/webhooks/tiramizoo/orders/tiramizoo-token"
READY = {
    "status": "ready",
    "postgresql": "ok",
    "redis": "ok",
    "workers": 0,
    "waiting_seconds": None,
    "folded_at": None,
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def number(client: FlaskClient | Web, name: str, **labels: str) -> float:
    """One of the numbers at /metrics; 0 where it is not there yet."""
    shown = client.get("/metrics", headers=bearer("test-metrics-token"))
    assert shown.status_code == 200
    return sum(
        sample.value
        for family in text_string_to_metric_families(shown.data.decode())
        for sample in family.samples
        if (sample.name, sample.labels) == (name, labels)
    )


# Alive and ready


def test_livez_says_that_the_process_runs(client: FlaskClient) -> None:
    answer = client.get("/livez")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_readyz_tells_of_every_part(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (200, READY)


def test_readyz_counts_the_workers(client: FlaskClient, redis: Redis) -> None:
    worker = SimpleWorker([get_queue(redis)], connection=redis, serializer=JSONSerializer)
    worker.register_birth()  # type: ignore[no-untyped-call] # RQ's
    assert client.get("/readyz").json == {**READY, "workers": 1}
    worker.register_death()  # type: ignore[no-untyped-call]
    assert client.get("/readyz").json == READY


def test_readyz_does_not_count_a_worker_that_died_or_hangs(
    client: FlaskClient, redis: Redis
) -> None:
    """RQ keeps it on its list until a living one looks, and its key for minutes."""
    for name, ago in (("lives", 5), ("died", 90), ("gone", None)):
        worker = SimpleWorker(
            [get_queue(redis)], name=name, connection=redis, serializer=JSONSerializer
        )
        worker.register_birth()  # type: ignore[no-untyped-call] # RQ's
        if ago is None:
            redis.delete(worker.key)
        else:
            shown = datetime.now(UTC) - timedelta(seconds=ago)
            redis.hset(worker.key, "last_heartbeat", f"{shown:%Y-%m-%dT%H:%M:%S.%fZ}")
    assert client.get("/readyz").json == {**READY, "workers": 1}


def test_readyz_tells_whether_the_workers_get_anywhere(
    client: FlaskClient, drain: Callable[[], int]
) -> None:
    # Nothing here has a heartbeat: the inbox itself tells.
    assert client.post(TIRAMIZOO, data=raw(tiramizoo_order())).status_code == 200
    waits = client.get("/readyz").json
    assert waits is not None
    assert 0 <= waits["waiting_seconds"] < client.get("/readyz").json["waiting_seconds"]  # type: ignore[index]
    assert (waits["status"], waits["folded_at"]) == ("ready", None)
    before = datetime.now(UTC)
    drain()
    folded = client.get("/readyz").json
    assert folded is not None
    assert folded["waiting_seconds"] is None
    assert before <= datetime.fromisoformat(folded["folded_at"]) <= datetime.now(UTC)


def test_readyz_reports_a_redis_that_is_gone_and_does_not_need_it(
    sessions: Sessions, new_app: Callable[..., Flask], tmp_path: Path
) -> None:
    client = new_app(REDIS_URL=f"unix://{tmp_path}/gone").test_client()
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json == {**READY, "redis": "unreachable", "workers": None}


def test_readyz_does_not_wait_long_for_a_redis_that_hangs(
    sessions: Sessions, new_app: Callable[..., Flask]
) -> None:
    # A probe gives us a second or a few: past that, ready is as good as not ready.
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = new_app(REDIS_URL=f"redis://127.0.0.1:{mute.getsockname()[1]}/0").test_client()
        start = monotonic()
        answer = client.get("/readyz")
        seconds = monotonic() - start
    assert answer.json == {**READY, "redis": "unreachable", "workers": None}
    assert seconds < 10


def test_without_postgresql_it_lives_and_is_not_ready(
    redis: Redis, new_app: Callable[..., Flask], tmp_path: Path
) -> None:
    client = new_app(DATABASE_URL=f"postgresql://postgres@/x?host={tmp_path}").test_client()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json == {**READY, "status": "not ready", "postgresql": "unreachable"}
    assert client.get("/livez").status_code == 200
    alerts = client.get("/v1/alerts", headers=bearer("test-api-token-01")).json
    found = {it["condition"] for it in (alerts or {})["alerts"]} - {"disk_low"}
    assert found == {"database_away", "no_workers"}
    condition = {"condition": "database_away", "account": "", "severity": "critical"}
    assert number(client, "ordertrail_alert", **condition) == 1
    page = client.get("/ops", headers=bearer("test-api-token-01"))
    assert page.status_code == 200
    assert "PostgreSQL cannot be used" in page.text


def test_a_postgresql_that_takes_no_writes_is_not_ready(
    redis: Redis, new_app: Callable[..., Flask], new_database: Callable[[str], str]
) -> None:
    # As a replica, or a primary whose disk is full.
    database_url = new_database("read_only")
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    client = new_app(DATABASE_URL=database_url).test_client()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json == {**READY, "status": "not ready", "postgresql": "read-only"}
    alerts = client.get("/v1/alerts", headers=bearer("test-api-token-01")).json
    assert "database_read_only" in [it["condition"] for it in (alerts or {})["alerts"]]
    assert number(client, "ordertrail_database_up") == 1
    assert number(client, "ordertrail_database_writable") == 0
    refused = client.post(TIRAMIZOO, data=raw(tiramizoo_order()))
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0


def test_a_postgresql_that_takes_no_more_connections_is_named(
    redis: Redis, new_app: Callable[..., Flask], new_database: Callable[[str], str]
) -> None:
    url = make_url(new_database("few"))
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS few")
        admin.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 0")
        client = new_app(
            DATABASE_URL=url.set(username="few").render_as_string(hide_password=False)
        ).test_client()
        answer = client.get("/readyz")
        alerts = client.get("/v1/alerts", headers=bearer("test-api-token-01")).json
        admin.execute("DROP ROLE few")
    assert (answer.status_code, (answer.json or {})["postgresql"]) == (503, "out of connections")
    assert "database_connections" in [it["condition"] for it in (alerts or {})["alerts"]]


def test_missing_tables_are_named(
    redis: Redis, new_app: Callable[..., Flask], new_database: Callable[[str], str]
) -> None:
    url = new_database("untabled")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE messages RENAME TO others")
    client = new_app(DATABASE_URL=url).test_client()
    answer = client.get("/readyz")
    assert (answer.json or {})["postgresql"] == "tables missing or outdated"
    alerts = client.get("/v1/alerts", headers=bearer("test-api-token-01")).json
    assert "tables_outdated" in [it["condition"] for it in (alerts or {})["alerts"]]


class StuckWriter:
    """A PostgreSQL that answers no write until it is released."""

    def __init__(self) -> None:
        self.released = Event()

    def fetch_all(self, *_: Any, **__: Any) -> list[Any]:
        self.released.wait(60)
        return []


class SlowWriter:
    """A PostgreSQL whose writes take so long, one after another."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)

    def fetch_all(self, *_: Any, **__: Any) -> list[Any]:
        sleep(self.seconds.pop(0) if self.seconds else 0)
        return []


def test_only_three_slow_writes_in_a_row_are_a_slow_postgresql(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage_check, "ACCEPT_SECONDS", 0.2)
    monkeypatch.setattr(storage_check, "FRESH_SECONDS", 0.1)
    assert StorageCheck(SlowWriter(0.3, 0.3)).settle() == "ok"
    slow = StorageCheck(SlowWriter(*[0.3] * 20))
    assert slow.settle() == "too slow"
    # Stored after its courier was answered 503.
    slow.note_success(0.3)
    assert slow.check(1) == "too slow"
    slow._writer = SlowWriter()
    assert wait_until(lambda: slow.check(1) == "ok")


def test_a_write_that_never_ends_is_a_slow_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_check, "ACCEPT_SECONDS", 0.2)
    writer = StuckWriter()
    stuck = StorageCheck(writer)
    assert stuck.check(0.1) == "ok"
    assert wait_until(lambda: stuck.check(0.1) == "too slow", 30)
    # A command waits until that is known.
    assert StorageCheck(writer).settle() == "too slow"
    writer.released.set()


def test_a_webhook_that_finds_the_disk_full_counts_until_one_is_stored() -> None:
    check = StorageCheck(SlowWriter())
    assert check.check() == "ok"
    check.note_failure(psycopg.errors.DiskFull())
    assert check.check() == "disk full"
    check.note_success(0.1)
    assert check.check() == "ok"


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_need_no_token(path: str, web: Web) -> None:
    assert web.get(path).status_code == 200
    assert web.get(path, bearer("wrong")).status_code == 200


# Numbers


@pytest.mark.parametrize("token", ["test-metrics-token", "test-api-token-01"])
def test_metrics_are_shown_to_a_metrics_or_an_api_token(token: str, client: FlaskClient) -> None:
    answer = client.get("/metrics", headers=bearer(token))
    assert answer.status_code == 200
    assert answer.mimetype == "text/plain"
    assert "ordertrail_messages_accepted" in answer.text


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer test-metrics-toke",
        "Bearer test-metrics-token test-api-token-01",
        "Basic test-metrics-token",
        "test-metrics-token",
        "Bearer tiramizoo-token",
        "Bearer cottoncast-key",
    ],
)
def test_metrics_are_shown_to_nobody_else(authorization: str | None, client: FlaskClient) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "ordertrail_messages" not in answer.text


def test_metrics_are_not_shown_to_a_token_in_the_address(client: FlaskClient) -> None:
    assert client.get("/metrics?token=test-metrics-token").status_code == 401


def test_without_a_metrics_token_only_api_tokens_open_metrics(
    new_app: Callable[..., Flask],
) -> None:
    client = new_app(METRICS_TOKEN="").test_client()
    for authorization in ("Bearer ", "Bearer None", "Bearer test-metrics-token"):
        answer = client.get("/metrics", headers={"Authorization": authorization})
        assert answer.status_code == 401
    assert client.get("/metrics", headers=bearer("test-api-token-01")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/orders"),
        ("GET", "/v1/orders/tiramizoo/a"),
        ("GET", "/v1/orders/tiramizoo/a/events"),
        ("POST", "/v1/orders"),
        ("GET", "/v1/statuses"),
        ("GET", "/v1/tours/tiramizoo/a"),
        ("GET", "/v1/openapi.json"),
        ("GET", "/v1/no-such-thing"),
        ("GET", "/v1"),
        ("GET", "/v1/"),
    ],
)
def test_the_metrics_token_opens_nothing_under_v1(
    method: str, path: str, client: FlaskClient
) -> None:
    answer = client.open(path, method=method, json={}, headers=bearer("test-metrics-token"))
    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"


def test_the_metrics_token_is_no_couriers_token(client: FlaskClient) -> None:
    path = "/webhooks/tiramizoo/orders/test-metrics-token"
    assert client.post(path, data=raw(tiramizoo_order())).status_code == 401


def test_messages_are_counted(web: Web, sessions: Sessions) -> None:
    names = ("ordertrail_messages_accepted_total", "ordertrail_messages_repeated_total")

    def counted() -> list[float]:
        of_account = [number(web, name, account="tiramizoo", topic="orders") for name in names]
        return [
            *of_account,
            number(web, "ordertrail_messages_refused_total", account="tiramizoo", reason="wrong"),
        ]

    before = counted()
    for _ in range(3):
        web.post(TIRAMIZOO, raw(tiramizoo_order()))
    web.post("/webhooks/tiramizoo/orders/wrong", b"{}")
    # An account that is none of ours is not counted: anybody could fill the memory with names.
    web.post("/webhooks/nobody/orders/wrong", b"{}")
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 2, 1]
    shown = web.get("/metrics", bearer("test-metrics-token")).data
    assert b"nobody" not in shown
    assert b"token" not in shown


@pytest.mark.system
def test_a_web_process_reports_what_it_needs(web: Web) -> None:
    """Other tests empty Redis: it reports again after ten seconds."""
    memory = "ordertrail_process_resident_memory_bytes"
    assert wait_until(lambda: number(web, memory, process="web") > 10_000_000)


# Logs


def test_logs_are_json_lines_without_tokens_bodies_or_personal_data(
    web: Web, sessions: Sessions
) -> None:
    start = web.log.stat().st_size
    order = raw(payload("tiramizoo/order_web_hook.json"))
    for body in (order, order[:-9], raw(cottoncast_status())):
        web.post(TIRAMIZOO, body)
        web.post("/webhooks/tiramizoo/orders/guessed-token", body)
        web.post("/webhooks/cottoncast/orders", body, {"Cottoncast-Authentication": "guessed-key"})
    web.post("/webhooks/tiramizoo%00/orders/tiramizoo-token", order)
    web.get("/v1/orders?reference=ZVW8GV", bearer("guessed-token"))
    web.get("/v1/orders/tiramizoo/ZVW8GV", bearer("test-api-token-01"))
    wait_until(lambda: web.log.read_bytes().endswith(b"\n"))
    for line in web.log.read_text().splitlines():
        told = json.loads(line)
        assert told["process"] == "web"
        assert {"event", "level", "timestamp"} <= told.keys()
    told_now = web.log.read_bytes()[start:].decode()
    secrets = ("tiramizoo-token", "guessed", "test-api-token-01", "Cottoncast-Authentication")
    bodies = ("Icealay", "+491234567890", "Im Dol", "ZVW8GV", "3SCEBU", "external id")
    assert [word for word in (*secrets, *bodies) if word in told_now] == []
