"""Check that web, workers and clock run and that the workers make progress."""

import http.client
import json
from datetime import UTC, datetime
from urllib.parse import urlsplit

from redis import Redis, RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from receiver.cli.session import open_database
from receiver.db.counting import MOST_COUNTED, count_rows
from receiver.db.models import Message
from receiver.inbox.pending import read_progress, select_pending
from receiver.queue.job_queue import get_queue
from receiver.queue.liveness import clock_alive_since, count_live_workers
from receiver.queue.redis_client import connect_redis
from receiver.settings import Settings
from receiver.text import count_noun
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding, Findings

# Seconds that a message may wait: a burst takes some; more means that the workers are too slow.
WAIT_WARNING, WAIT_BROKEN = 30.0, 300.0


def check_processes(settings: Settings) -> Findings:
    yield _check_web(settings)
    redis = connect_redis(settings.redis_url)
    workers: int | None = None
    try:
        workers = count_live_workers(redis)
        yield _check_workers(workers)
        yield _check_clock(redis)
        yield from _check_failed_jobs(redis)
    except (RedisError, OSError):
        yield Finding("workers", NOTE, "unknown, since Redis cannot be reached")
    finally:
        redis.close()
    try:
        with open_database(settings) as sessions, sessions() as session:
            yield _check_backlog(session, workers)
    except SQLAlchemyError:
        yield Finding("backlog", NOTE, "unknown, since PostgreSQL cannot be used")


def _check_web(settings: Settings) -> Finding:
    """Check the web process of this machine, which need not have one."""
    address = urlsplit(settings.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=3)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        readiness = json.loads(response.read())
    except OSError:
        return Finding("web", NOTE, f"not running at {settings.url}; fine if it runs elsewhere")
    except (ValueError, http.client.HTTPException):
        advice = "Choose another PORT, or stop the other program."
        return Finding("web", WARNING, f"another program answers at {settings.url}", advice)
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        advice = "See the findings about PostgreSQL."
        return Finding("web", BROKEN, f"not ready: {json.dumps(readiness)}", advice)
    return Finding("web", OK, f"ready at {settings.url}")


def _check_workers(count: int) -> Finding:
    if count == 0:
        advice = "Start one: python -m workers.worker. Until then messages wait; none is lost."
        return Finding("workers", BROKEN, "no worker is running", advice)
    return Finding("workers", OK, f"{count_noun(count, 'worker')} running")


def _check_clock(redis: Redis) -> Finding:
    if clock_alive_since(redis) is not None:
        return Finding("clock", OK, "running")
    advice = "Start one: python -m workers.clock. Until then nothing is polled or swept."
    return Finding("clock", BROKEN, "no clock is running", advice)


def _check_failed_jobs(redis: Redis) -> Findings:
    if count := get_queue(redis).failed_job_registry.count:
        advice = "See the workers' log for the cause. The work itself is retried automatically."
        yield Finding("jobs", WARNING, f"{count_noun(count, 'job')} failed recently", advice)


def _check_backlog(session: Session, workers: int | None) -> Finding:
    """Check what waits, for a worker that hangs still has a heartbeat for a minute."""
    waiting = read_progress(session, datetime.now(UTC)).waiting_seconds
    if waiting is None or waiting < WAIT_WARNING:
        return Finding("backlog", OK, "no message waits long")
    count = count_rows(session, select_pending().with_only_columns(Message.id))
    messages = count_noun(count, "message waits", "messages wait", MOST_COUNTED)
    advice = "Start more workers." if workers else "Start a worker."
    level = BROKEN if waiting > WAIT_BROKEN or not workers else WARNING
    return Finding("backlog", level, f"{messages}, the oldest for {waiting:.0f} s", advice)
