"""Who is alive: workers and the clock by what they write to Redis, the sweep by a row.

A process is alive if it showed a sign of life within ALIVE_SECONDS.
"""

from datetime import UTC, datetime, timedelta

from redis import Redis
from rq import Worker
from sqlalchemy import text
from sqlalchemy.orm import Session

# Workers show a sign of life every few seconds, a clock twice a second.
ALIVE_SECONDS = 60

CLOCK_KEY = "ordertrail:ticking-since"

# The row of the table `heartbeats` that says when a worker last swept.
SWEEP = "swept"
# A sweep is written down at most this often.
SWEEP_PRECISION = timedelta(seconds=10)


def count_live_workers(redis: Redis) -> int:
    """Count the workers that are alive; RQ's own count includes dead ones for minutes.

    Raises: RedisError.
    """
    with redis.pipeline(transaction=False) as pipeline:
        for key in Worker.all_keys(connection=redis):
            pipeline.hget(key, "last_heartbeat")
        heartbeats = pipeline.execute()
    since = datetime.now(UTC) - timedelta(seconds=ALIVE_SECONDS)
    return sum(datetime.fromisoformat(at.decode()) > since for at in heartbeats if at is not None)


def record_clock_tick(redis: Redis, now: datetime) -> None:
    """Record that a clock is alive."""
    redis.set(CLOCK_KEY, now.isoformat(), nx=True, ex=ALIVE_SECONDS)
    redis.expire(CLOCK_KEY, ALIVE_SECONDS)


def clock_alive_since(redis: Redis) -> datetime | None:
    """Return since when a clock has been alive without a break, None if none is.

    Raises: RedisError.
    """
    since = redis.get(CLOCK_KEY)
    return datetime.fromisoformat(since.decode()) if isinstance(since, bytes) else None


def record_sweep(session: Session, now: datetime) -> None:
    """Record that a sweep was made, which takes a clock, Redis and a worker."""
    session.execute(
        text("""
            INSERT INTO heartbeats AS known (name, at) VALUES (:name, :now)
            ON CONFLICT (name) DO UPDATE SET at = excluded.at
            WHERE known.at <= excluded.at - :precision
        """),
        {"name": SWEEP, "now": now, "precision": SWEEP_PRECISION},
    )
