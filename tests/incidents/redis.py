"""Incidents of Redis: nothing is lost, and folding goes on without it."""

import time
from collections.abc import Callable
from typing import Any

from redis import Redis

from tests.faults import table as faults
from tests.faults.verdict import waiting
from tests.incidents.incident import Incident, Outcome, Undo, nothing
from tests.incidents.stage import Stage, sleep_until
from tests.incidents.watch import Watch

FOLDED_WITHIN = 15.0


def connect(stage: Stage) -> Redis:
    return Redis.from_url(stage.valkey.url())


def refuse_writes(stage: Stage) -> Undo:
    """As a server whose memory others fill."""
    with connect(stage) as redis:
        redis.config_set("maxmemory", "1mb")

    def undo() -> None:
        with connect(stage) as redis:
            redis.config_set("maxmemory", "0")

    return undo


def become_replica(stage: Stage) -> Undo:
    """As after a failover that we do not know of; its primary does not answer."""
    with connect(stage) as redis:
        redis.replicaof("127.0.0.1", "1")

    def undo() -> None:
        with connect(stage) as redis:
            redis.replicaof("NO", "ONE")

    return undo


def change_password(stage: Stage) -> Undo:
    with connect(stage) as redis:
        redis.config_set("requirepass", "another")
    faults.cut("valkey")(stage)

    def undo() -> None:
        with Redis.from_url(stage.valkey.url(), password="another") as redis:
            redis.config_set("requirepass", "")

    return undo


def folds(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    """What is posted now is folded within seconds."""
    began = time.monotonic()
    body = stage.poster.probe()
    if body is None:
        outcome.claim(False, "a webhook is refused")
        return
    path = f"/v1/orders/cottoncast/{body.order_id}"
    is_folded = sleep_until(lambda: stage.get(path)[0] == 200, 60)
    seconds = time.monotonic() - began
    outcome.claim(is_folded and seconds < FOLDED_WITHIN, f"folded after {seconds:.0f} s")
    outcome.measured.append(f"folded after {seconds:.1f} s, {waiting(stage)} wait")


# Of the messages that arrived within so many seconds.
FOLDED = """
    SELECT count(*), count(*) FILTER (WHERE processed_at IS NULL),
           extract(epoch FROM percentile_disc(0.5) WITHIN GROUP (ORDER BY age)),
           extract(epoch FROM max(age))
    FROM (SELECT processed_at, coalesce(processed_at, now()) - received_at AS age FROM messages
          WHERE received_at > now() - %s * interval '1 second') AS arrived
"""


def folds_all(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    """Every message that arrived all the while was folded within seconds."""
    count, pending, median, worst = stage.sql(FOLDED, [outcome.incident.holds])[0]
    outcome.claim(worst < FOLDED_WITHIN, f"a message was folded after {worst:.0f} s")
    outcome.measured.append(
        f"of {count} messages half were folded within {median:.1f} s, the last after {worst:.1f} s;"
        f" {pending} wait"
    )


def blip(seconds: float, wiped: bool) -> Callable[[Stage], Undo]:
    """Redis is away for a moment, and comes back with or without its data."""

    def begin(stage: Stage) -> Undo:
        undo = faults.down("valkey", then="wiped" if wiped else "")(stage)
        time.sleep(seconds)
        undo()
        return nothing

    return begin


def doctor_warns(stage: Stage) -> Undo:
    with connect(stage) as redis:
        redis.config_set("appendonly", "no")
        redis.config_set("maxmemory", "1gb")
        redis.config_set("maxmemory-policy", "allkeys-lru")
    return nothing


def doctor_names_both(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    _, printed = stage.command("doctor")
    for words in ("no append-only file", "allkeys-lru"):
        outcome.claim(words in printed, f"doctor does not say {words!r}")
    outcome.measured.append("doctor names both")


def freeze(stage: Stage) -> Undo:
    return faults.freeze("valkey")(stage)


def die(stage: Stage) -> Undo:
    return faults.down("valkey")(stage)


SINCE_REDIS: dict[str, Any] = {"then": folds}

INCIDENTS = (
    Incident(
        "Redis out of memory", "maxmemory is reached, with noeviction", refuse_writes,
        "redis_refuses", "no memory left", holds=180, rate=40, then=folds_all,
    ),
    Incident(
        "Redis a replica", "Redis has become a replica", become_replica,
        "redis_refuses", "replica", **SINCE_REDIS,
    ),
    Incident(
        "Redis password", "Redis' password is changed", change_password,
        "redis_refuses", "password", **SINCE_REDIS,
    ),
    Incident(
        "Redis frozen", "SIGSTOP to Redis", freeze, "redis_away", "cannot be reached",
        **SINCE_REDIS,
    ),
    Incident(
        "Redis away", "Redis is killed and stays away", die, "redis_away",
        "cannot be reached", **SINCE_REDIS,
    ),
    Incident(
        "Redis flushed", "FLUSHALL", faults.flush_valkey,
        holds=75, beside="Redis blips", **SINCE_REDIS,
    ),
    Incident(
        "Redis blip", "Redis is killed, and is back after 3 s",
        blip(3, wiped=False), holds=75, beside="Redis blip", may_show=frozenset({"redis_away"}),
        **SINCE_REDIS,
    ),
    Incident(
        "Redis restarted empty", "Redis is killed, and is back without its data after 3 s",
        blip(3, wiped=True), holds=75, beside="Redis blips",
        may_show=frozenset({"redis_away", "no_workers", "no_clock"}), **SINCE_REDIS,
    ),
    Incident(
        "Redis evicts", "no append-only file, and allkeys-lru", doctor_warns, holds=5,
        then=doctor_names_both, beside="commands",
    ),
)  # fmt: skip
