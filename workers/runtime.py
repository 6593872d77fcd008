"""What one background process is made of: built once from the environment, used by every job."""

import functools
import os
from dataclasses import dataclass

from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from receiver.db import connect, sessions
from receiver.doorbell import connect_redis
from receiver.settings import Settings


@dataclass(frozen=True)
class Runtime:
    settings: Settings
    sessions: sessionmaker[Session]
    redis: "Redis"


@functools.cache
def runtime() -> Runtime:
    """The runtime of this process.

    Raises: BadSettings.
    """
    settings = Settings.from_env(os.environ)
    engine = connect(settings.database_url, pool_size=2)
    return Runtime(settings, sessions(engine), connect_redis(settings.redis_url))
