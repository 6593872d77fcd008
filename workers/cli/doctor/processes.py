"""Web, workers and clock: whether they are there, and whether they get anywhere."""

import http.client
import json
from datetime import UTC, datetime
from urllib.parse import urlsplit

from redis import Redis, RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from receiver.db import engine as db
from receiver.db.counting import MOST_COUNTED, count_rows
from receiver.db.models import Message
from receiver.inbox.pending import pending, progress
from receiver.queue.job_queue import get_queue
from receiver.queue.liveness import clock_alive_since, count_live_workers
from receiver.queue.redis_client import connect_redis
from receiver.settings import Settings
from receiver.text import count_noun
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding, Findings

AREA = "processes"
# Seconds that a message may wait: a burst takes some, and more is not the workers' pace any more.
WAITS_LONG, WAITS_FOREVER = 30.0, 300.0


def check(settings: Settings) -> Findings:
    yield _web(settings)
    redis = connect_redis(settings.redis_url)
    workers: int | None = None
    try:
        workers = count_live_workers(redis)
        yield _workers(workers)
        yield _clock(redis)
        yield from _failed(redis)
    except (RedisError, OSError):
        yield Finding(AREA, "workers", NOTE, "Redis is away, which alone knows them")
    finally:
        redis.close()
    engine = db.create_engine_for(settings.database_url, pool_size=1)
    try:
        with db.session_factory(engine)() as session:
            yield _backlog(session, workers)
    except SQLAlchemyError:
        yield Finding(AREA, "backlog", NOTE, "PostgreSQL cannot be used, which alone knows it")
    finally:
        engine.dispose()


def _web(settings: Settings) -> Finding:
    """The web process of this machine, which need not have one."""
    url = settings.url
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=3)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        told = json.loads(answer.read())
    except OSError:
        return Finding(AREA, "web", NOTE, f"nobody at {url}: fine where web runs elsewhere")
    except (ValueError, http.client.HTTPException):
        mend = "Choose another PORT, or stop the other program."
        return Finding(AREA, "web", WARNING, f"somebody else answers at {url}", mend)
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        mend = "See what is said of PostgreSQL."
        return Finding(AREA, "web", BROKEN, f"not ready: {json.dumps(told)}", mend)
    return Finding(AREA, "web", OK, f"ready at {url}")


def _workers(count: int) -> Finding:
    if count == 0:
        mend = "Start one: python -m workers.worker. Messages wait meanwhile, and none is lost."
        return Finding(AREA, "workers", BROKEN, "none", mend)
    return Finding(AREA, "workers", OK, f"{count}")


def _clock(redis: Redis) -> Finding:
    if clock_alive_since(redis) is not None:
        return Finding(AREA, "clock", OK, "ticks")
    mend = "Start one: python -m workers.clock. Nobody asks the couriers, and nothing is swept."
    return Finding(AREA, "clock", BROKEN, "none ticks", mend)


def _failed(redis: Redis) -> Findings:
    if count := get_queue(redis).failed_job_registry.count:
        mend = "See the workers' log: what there was to do is tried again by itself."
        yield Finding(AREA, "jobs", WARNING, f"{count} failed lately", mend)


def _backlog(session: Session, workers: int | None) -> Finding:
    """Report what waits: a worker that hangs keeps its heartbeat for a minute."""
    waiting = progress(session, datetime.now(UTC)).waiting_seconds
    count = count_rows(session, pending().with_only_columns(Message.id))
    if waiting is None or waiting < WAITS_LONG:
        return Finding(AREA, "backlog", OK, "nothing waits long")
    messages = count_noun(count, "message waits", "messages wait", MOST_COUNTED)
    seen = f"{messages}, the oldest for {waiting:.0f} s"
    mend = "Start more workers." if workers else "Start a worker."
    level = BROKEN if waiting > WAITS_FOREVER or not workers else WARNING
    return Finding(AREA, "backlog", level, seen, mend)
