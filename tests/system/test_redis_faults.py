"""Whatever happens to Redis: it is named, and messages are folded all the same, by the clock."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import PENDING, Message
from receiver.queue.redis_client import connect_redis
from tests.bodies import raw, tiramizoo_order
from tests.conftest import API_TOKEN
from tests.servers import started
from tests.service import CLOCK, WORKER, running, valkey_made, wait_until

Sessions = sessionmaker[Session]
TIRAMIZOO = "/webhooks/tiramizoo/orders/tiramizoo-token"
# Of the contract.
FOLDED_WITHIN = 15


@contextmanager
def command(redis: Redis, do: str, undo: str) -> Iterator[None]:
    redis.execute_command(*do.split())  # type: ignore[no-untyped-call] # redis-py's
    yield
    redis.execute_command(*undo.split())  # type: ignore[no-untyped-call]


@contextmanager
def full(redis: Redis, _: Any) -> Iterator[None]:
    with command(redis, "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"):
        yield


@contextmanager
def replica(redis: Redis, _: Any) -> Iterator[None]:
    with command(redis, "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"):
        yield


@contextmanager
def password(redis: Redis, _: Any) -> Iterator[None]:
    # Those that are connected stay so: they have to come back.
    redis.config_set("requirepass", "changed")
    redis.client_kill_filter(_type="normal", skipme=True)
    yield
    redis.config_set("requirepass", "")


@contextmanager
def frozen(_: Redis, process: "subprocess.Popen[bytes]") -> Iterator[None]:
    os.kill(process.pid, signal.SIGSTOP)
    yield
    os.kill(process.pid, signal.SIGCONT)


@contextmanager
def gone(redis: Redis, process: "subprocess.Popen[bytes]") -> Iterator[None]:
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    yield


FAULTS: dict[str, tuple[Callable[..., Any], str]] = {
    "full": (full, "out of memory"),
    "replica": (replica, "read-only"),
    "password": (password, "wrong password"),
    "frozen": (frozen, "unreachable"),
    "gone": (gone, "unreachable"),
}


def pending(sessions: Sessions) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).where(Message.outcome == PENDING)) or 0


def conditions(client: FlaskClient) -> set[str]:
    answer: Any = client.get("/v1/alerts", headers={"Authorization": f"Bearer {API_TOKEN}"}).json
    return {it["condition"] for it in answer["alerts"]} - {"disk_low"}


def test_each_fault_of_redis_is_named_and_messages_are_folded(
    environ: Mapping[str, str], sessions: Sessions, new_app: Callable[..., Flask], tmp_path: Path
) -> None:
    with valkey_made() as valkey, started(valkey) as process:
        own = {**environ, "REDIS_URL": valkey.url()}
        client = new_app(REDIS_URL=valkey.url()).test_client()
        redis = connect_redis(valkey.url())
        redis.ping()
        with (
            running(WORKER, own, tmp_path / "worker.log"),
            running(CLOCK, own, tmp_path / "clock.log"),
        ):
            wait_until(lambda: client.get("/readyz").json["workers"] == 1)  # type: ignore[index]
            for number, (name, (fault, word)) in enumerate(FAULTS.items()):
                with fault(redis, process):
                    body = raw(tiramizoo_order(f"order {number}"))
                    assert client.post(TIRAMIZOO, data=body).status_code == 200
                    wait_until(lambda: not pending(sessions), FOLDED_WITHIN)
                    answer: Any = client.get("/readyz")
                    assert (answer.status_code, answer.json["redis"]) == (200, word), name
                    expected = "redis_away" if word == "unreachable" else "redis_refuses"
                    assert conditions(client) == {expected}, name
                if name != "gone":
                    wait_until(lambda: client.get("/readyz").json["redis"] == "ok")  # type: ignore[index]
        redis.close()
