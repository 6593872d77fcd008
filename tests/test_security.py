"""What strangers may try: every door's headers, uniform refusals, no secret told, no code run."""

import ast
import http.client
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.engine import create_engine_for
from receiver.db.engine import session_factory as open_sessions
from receiver.db.models import Message
from receiver.queue.job_queue import get_queue
from tests import everything
from tests.bodies import after, cottoncast_signature, payload, raw, tiramizoo_order
from tests.conftest import API_TOKEN
from tests.service import CLOCK, ROOT, WORKER, Web, head, running, running_web, wait_until
from tests.test_doorbell import NAMES, everything_in

Sessions = sessionmaker[Session]

SOURCES = [path for top in ("receiver", "workers") for path in (ROOT / top).rglob("*.py")]

# Headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/webhooks/tiramizoo/orders/tiramizoo-token", 200),
        ("POST", "/webhooks/tiramizoo/orders/wrong", 401),
        ("POST", "/webhooks/nobody/orders", 404),
        ("GET", "/webhooks/tiramizoo/orders", 405),
        ("GET", "/livez", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 401),
        ("GET", "/v1/orders", 401),
        ("GET", "/v1/docs", 401),
        ("GET", "/ops", 303),
        ("GET", "/no/such/path", 404),
    ],
)
def test_no_answer_can_be_framed_or_taken_for_a_page(
    client: FlaskClient, method: str, path: str, status: int
) -> None:
    answer = client.open(path, method=method, data=b"{}" if method == "POST" else None)
    assert answer.status_code == status
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] in {"no-referrer", "same-origin"}
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_every_answer_of_the_api_is_json_that_nobody_keeps(
    shop: FlaskClient, sessions: Sessions, drain: Callable[[], int]
) -> None:
    everything.put_in(shop, sessions, drain)
    for path in ("orders", "messages", "changes", "couriers", "refusals", "alerts", "conflicts"):
        answer = shop.get(f"/v1/{path}")
        assert answer.mimetype == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "no-store" in answer.headers["Cache-Control"]


# Uniform refusals


def test_without_a_token_the_api_does_not_say_what_there_is(client: FlaskClient) -> None:
    def told(path: str, token: str | None) -> tuple[int, bytes, str | None]:
        headers = {"Authorization": token} if token is not None else {}
        headers["X-Request-ID"] = "the-same"
        answer = client.get(path, headers=headers)
        return answer.status_code, answer.data, answer.headers.get("WWW-Authenticate")

    paths = ("/v1/orders", "/v1/orders/tiramizoo/u-1", "/v1/nothing", "/v1/messages/1")
    tokens = (None, "", "Bearer", "Bearer wrong", f"Basic {API_TOKEN}", f"Bearer {API_TOKEN}x")
    assert len({told(path, token) for path in paths for token in tokens}) == 1


def test_an_account_that_is_off_is_as_unknown_as_one_that_never_was(client: FlaskClient) -> None:
    answers = [
        client.post(f"/webhooks/{account}/orders/x", data=b"{}")
        for account in ("tiramizoo-munich", "never-was", "TIRAMIZOO", "../tiramizoo")
    ]
    assert len({(it.status_code, it.data) for it in answers[:3]}) == 1
    assert {it.status_code for it in answers} == {404}


def test_a_wrong_secret_is_wrong_in_one_way(client: FlaskClient) -> None:
    """Whether it is short, long, nearly right, or another account's."""
    tokens = ("x", "x" * 300, "tiramizoo-toke", "tiramizoo-token2", "parking-token", "%F0%9F%94%91")
    told = [client.post(f"/webhooks/tiramizoo/orders/{token}", data=b"{}") for token in tokens]
    assert len({(it.status_code, it.data) for it in told}) == 1


# Jobs


PICKLED = """import pathlib; pathlib.Path({marker!r}).write_text("run")"""


class Evil:
    """Runs code where somebody unpickles it."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (PICKLED.format(marker=self.marker),)


def test_a_job_that_a_stranger_put_into_redis_is_not_run(
    environ: Mapping[str, str], sessions: Sessions, redis: Redis, tmp_path: Path
) -> None:
    """Neither one that is pickled, nor one that names a function which is none of our jobs."""
    marker = tmp_path / "marker"
    ours = get_queue(redis)
    named = ours.enqueue("os.mkdir", str(marker))
    called = ours.enqueue("workers.jobs.sweep", result_ttl=0)
    redis.hset(called.key, "success_callback_name", "os.getcwd")
    pickled = ours.enqueue("workers.jobs.sweep")
    redis.hset(pickled.key, "data", pickle.dumps(Evil(str(marker))))
    with running(WORKER, environ, tmp_path / "worker.log"):
        wait_until(lambda: not ours.get_job_ids())
        wait_until(lambda: not ours.started_job_registry.get_job_ids())
    assert not marker.exists()
    assert named.id in ours.failed_job_registry.get_job_ids()
    log = (tmp_path / "worker.log").read_text()
    assert "UnknownJob" in log
    assert "Traceback" not in log
    assert str(marker) not in log


def test_nothing_of_ours_pickles_or_runs_text() -> None:
    forbidden = {"pickle", "marshal", "shelve", "dill", "yaml"}
    for path in SOURCES:
        tree = ast.parse(path.read_bytes())
        names = {
            name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
        }
        assert names.isdisjoint(forbidden), path
        called = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert called.isdisjoint({"eval", "exec", "compile", "__import__"}), path


def test_secrets_are_compared_in_constant_time_wherever_they_are() -> None:
    """No comparison by == of anything that is called a token, a secret or a signature."""
    secret = re.compile(r"(token|secret|signature|password|digest|offered)s?$", re.IGNORECASE)

    def name(node: ast.expr) -> str:
        return ast.unparse(node)

    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {name(node)}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Compare)
        and any(isinstance(it, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for it in node.ops)
        and any(secret.search(name(it)) for it in (node.left, *node.comparators))
        # What stands in the source is no secret.
        and not any(isinstance(it, ast.Constant) for it in (node.left, *node.comparators))
    ]
    assert found == []


# Secrets and people, in logs, Redis and answers

SECRETS = {
    "API_TOKENS": "SEKRET-api-token",
    "METRICS_TOKEN": "SEKRET-metrics-token",
    "COURIER_TIRAMIZOO_SECRETS": "SEKRET-tiramizoo,SEKRET-tiramizoo-old",
    "COURIER_TIRAMIZOO_RETIRED_SECRETS": "SEKRET-tiramizoo-retired",
    "COURIER_TIRAMIZOO_API_TOKEN": "SEKRET-courier-api",
    "COURIER_TIRAMIZOO_API_URL": "http://127.0.0.1:9",
    "POLL_INTERVAL_FACTOR": "0.0005",
    "COURIER_COTTONCAST_SECRETS": "SEKRET-cottoncast",
}
HOOK = "/webhooks/tiramizoo/orders/SEKRET-tiramizoo"


def assert_tells_nothing(told: bytes, where: str) -> None:
    people = (it.encode() for it in NAMES)
    found = [it for it in (b"SEKRET", *people) if it in told]
    assert not found, f"{found} in {where}: {told[:500]!r}"


def attack(web: Web) -> list[bytes]:
    """Much that fails, each with a secret or a person in it; all that is answered."""
    order = raw(payload("tiramizoo/order_web_hook.json"))
    whole = json.loads(order)
    cottoncast = "/webhooks/cottoncast/orders"
    told = [
        web.post(HOOK, order),
        web.post(HOOK, order[:-9]),
        web.post(HOOK, b"\xff" + order),
        web.post(HOOK, raw(whole | {"state": [5]})),
        web.post(HOOK, raw(whole | {"created_at": "Alice Icealay"})),
        web.post(HOOK, raw({"pickup": whole["pickup"]})),
        web.post(HOOK, b"SEKRET" * 200_000),
        web.post("/webhooks/tiramizoo/orders/SEKRET-wrong", order),
        web.post("/webhooks/tiramizoo/orders/SEKRET-tiramizoo-retired", order),
        web.post("/webhooks/tiramizoo/SEKRET-topic/SEKRET-wrong", order),
        web.post("/webhooks/SEKRET-account/orders/SEKRET-wrong", order),
        web.post(cottoncast, order, cottoncast_signature(order, "SEKRET-wrong")),
        web.post(cottoncast, order, {"Cottoncast-Authentication": "SEKRET"}),
        web.get(HOOK),
        web.get("/metrics", {"Authorization": "Bearer SEKRET-wrong"}),
        web.get("/v1/orders?reference=x&nobody=SEKRET", {"Authorization": "Bearer SEKRET-wrong"}),
        web.get("/ops", {"Cookie": "ordertrail_visit=SEKRET"}),
        web.post("/v1/orders", b'{"account": "SEKRET"', {"Authorization": "Bearer SEKRET-no"}),
    ]
    for bare in (
        head(HOOK, "Content-Length: 1000") + order[:50],
        head(f"{HOOK} SEKRET", "Content-Length: 0"),
        b"SEKRET / SEKRET\r\n\r\n",
        head(HOOK, "Transfer-Encoding: chunked") + b"SEKRET\r\n",
    ):
        # Some of these are not even answered. To those that are no HTTP gunicorn itself says what
        # it could not read, in a page: its sender's own line, which is nobody else's secret.
        with suppress(OSError, http.client.HTTPException):
            web.send(bare, half_close=True)
    return [repr(sorted(it.headers.items())).encode() + it.data for it in told]


@pytest.mark.system
def test_no_secret_and_nobody_is_told_of_in_logs_redis_or_answers(
    environ: Mapping[str, str], new_database: Callable[[str], str], redis: Redis, tmp_path: Path
) -> None:
    database = new_database("security")
    own = {**environ, **SECRETS, "DATABASE_URL": database.replace("postgres@", "postgres:SEKRET@")}
    engine = create_engine_for(database)
    sessions = open_sessions(engine)
    answers: list[bytes] = []

    def waits() -> int:
        with sessions() as session:
            waiting = select(func.count()).where(Message.outcome == "pending")
            return session.scalar(waiting) or 0

    with ExitStack() as stack:
        stack.callback(engine.dispose)
        web = stack.enter_context(running_web(own, tmp_path / "web.log"))
        for name, arguments in (("worker", WORKER), ("clock", CLOCK)):
            stack.enter_context(running(arguments, own, tmp_path / f"{name}.log"))
        answers += attack(web)
        wait_until(lambda: not waits())
        # What PostgreSQL refuses, it would tell with the row.
        for broken, mended in (
            ("ALTER TABLE events ADD CHECK (courier_status = 'none') NOT VALID", None),
            ("ALTER TABLE messages RENAME TO gone", "ALTER TABLE gone RENAME TO messages"),
        ):
            _do(engine, broken)
            body = tiramizoo_order(f"u-{len(answers)}", {"created": after(0)})
            people = json.loads(raw(payload("tiramizoo/order_web_hook.json")))
            body |= {"pickup": people["pickup"], "delivery": people["delivery"]}
            told = web.post(HOOK, raw(body))
            answers.append(told.data)
            if mended:
                assert told.status_code == 503
                _do(engine, mended)
            else:
                wait_until(lambda: not waits())
        # The worker asks a courier that is not there.
        wait_until(lambda: "courier_request_failed" in (tmp_path / "worker.log").read_text())
        for answer in answers:
            assert_tells_nothing(answer, "an answer")
        assert_tells_nothing(everything_in(redis), "Redis")
    for log in sorted(tmp_path.glob("*.log")):
        lines = log.read_bytes()
        assert lines or log.name == "clock.log"
        assert_tells_nothing(lines, log.name)
    assert b"quarantined" in (tmp_path / "worker.log").read_bytes()


def _do(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


WRONG = {
    "COURIER_TIRAMIZOO_SECRETS": "SEKRET with spaces",
    "DATABASE_URL": "mysql://root:SEKRET@nowhere/x",
    "REDIS_URL": "http://:SEKRET@nowhere:x",
    "COURIER_COTTONCAST_API_URL": "https://me:SEKRET@nowhere",
    "PORT": "SEKRET",
    "API_TOKENS": "SEKRET",
}


def test_a_start_that_is_refused_tells_no_secret(environ: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workers.clock"],
        cwd=ROOT,
        env={**environ, **WRONG},
        capture_output=True,
        check=False,
        timeout=60,
        text=True,
    )
    assert done.returncode != 0
    assert "Ordertrail cannot start" in done.stderr
    assert [name for name in WRONG if name not in done.stderr] == []
    assert "SEKRET" not in done.stdout + done.stderr


def test_an_error_of_ours_tells_nothing(new_app: Callable[..., Flask]) -> None:
    app = new_app()

    @app.get("/breaks/<what>")
    def breaks(what: str) -> str:
        raise RuntimeError(what)

    answer = app.test_client().get("/breaks/SEKRET?token=SEKRET")
    assert answer.status_code == 500
    assert_tells_nothing(answer.data, "the answer")
    assert "internal error" in answer.get_json()["detail"]
