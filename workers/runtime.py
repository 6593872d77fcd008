"""The settings and connections of one background process, built once from the environment."""

import functools
import os
import signal
import sys
import threading
from dataclasses import dataclass

from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from receiver import logs, telemetry
from receiver.changes.feed import announce_changes
from receiver.db.engine import create_engine_for, session_factory
from receiver.log_writer import WRITER
from receiver.queue.doorbell import Doorbell
from receiver.queue.redis_client import connect_redis
from receiver.settings import BadSettings, Settings
from receiver.stats.process_usage import UsageReporter
from workers.progress import PathInUse, ProgressReporter

# Set when the process is to stop. It is not in worker.py, which runs as __main__ and would be
# imported a second time.
STOP = threading.Event()

# Far longer than any statement of a job takes.
STATEMENT_SECONDS = 10


@dataclass(frozen=True)
class Runtime:
    settings: Settings
    engine: Engine
    sessions: sessionmaker[Session]
    redis: Redis
    feed_bell: Doorbell


@functools.cache
def get_runtime() -> Runtime:
    """Return the runtime of this process.

    Raises: BadSettings.
    """
    settings = Settings.from_env(os.environ)
    engine = create_engine_for(settings.database_url, statement_seconds=STATEMENT_SECONDS)
    redis = connect_redis(settings.redis_url)
    feed_bell = Doorbell(redis, announce_changes, "change_feed")
    return Runtime(settings, engine, session_factory(engine), redis, feed_bell)


def start_process(name: str) -> tuple[Runtime, ProgressReporter]:
    """Set up logs, signals and telemetry of a process, `worker` or `clock`.

    Return its runtime, and what its main loop reports its progress to. It ends the process with a
    message if the settings are wrong.
    """
    logs.configure(name)
    WRITER.start()
    # A terminal that closes, or `kill -HUP` for all: only web reloads by it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: STOP.set())
    try:
        runtime = get_runtime()
        settings = runtime.settings
        progress = ProgressReporter(settings.progress_path, os.environ.get("NOTIFY_SOCKET"))
    except (BadSettings, PathInUse) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"the progress of the process cannot be reported: {error}")
    telemetry.start(name, runtime.engine, settings.sentry_dsn, settings.otel_exporter_otlp_endpoint)
    UsageReporter(runtime.redis, name).start()
    return runtime, progress
