"""What one background process is made of: built once from the environment, used by every job."""

import functools
import os
import threading
from dataclasses import dataclass

from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes.feed import create_feed_bell
from receiver.db.engine import create_engine_for, session_factory
from receiver.queue.doorbell import Doorbell
from receiver.queue.redis_client import connect_redis
from receiver.settings import Settings

# Set once the process is told to stop; not in worker.py, which runs as __main__ and would be
# imported a second time.
STOP = threading.Event()

# Far more than any statement of a job takes, and soon enough to do the rest on another connection.
STATEMENT_SECONDS = 10


@dataclass(frozen=True)
class Runtime:
    settings: Settings
    engine: Engine
    sessions: sessionmaker[Session]
    redis: Redis
    feed_bell: Doorbell


@functools.cache
def runtime() -> Runtime:
    """The runtime of this process.

    Raises: BadSettings.
    """
    settings = Settings.from_env(os.environ)
    engine = create_engine_for(settings.database_url, statement_seconds=STATEMENT_SECONDS)
    redis = connect_redis(settings.redis_url)
    return Runtime(settings, engine, session_factory(engine), redis, create_feed_bell(redis))
