"""The RQ entry points. A job carries no data: what there is to do stands in PostgreSQL."""

import functools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime

import structlog
from redis import RedisError

from receiver import telemetry
from receiver.logs import exception_fields
from receiver.queue.doorbell import ring_doorbell
from receiver.queue.job_queue import mark_job_started
from receiver.queue.liveness import record_sweep
from workers.folding.drain import drain_batch
from workers.folding.poison import Care
from workers.polling.poller import Poller
from workers.runtime import STOP, runtime
from workers.upkeep.retention import Retention
from workers.upkeep.sweep import forgotten, mended

log = structlog.get_logger(__name__)

# A job ends after this long even if there is more, so that a worker told to stop can.
DRAIN_FOR_SECONDS = 5.0


class JobFailed(Exception):
    """A job failed. What of, without its text: RQ keeps an error in Redis, and rows in it."""


# A worker that drops what is old drains nothing meanwhile.
RETAIN_FOR_SECONDS = 0.25


Job = Callable[[], None]
# What may stand in a job, as Redis has it.
NAMES: set[str] = set()


def job(work: Job) -> Job:
    """Make a function a job: the outermost edge, where a failure is recorded and raised on."""
    name = f"{work.__module__}.{work.__name__}"
    NAMES.add(name)

    @functools.wraps(work)
    def run() -> None:
        # Without Redis the mark that the job waits expires by itself.
        with suppress(RedisError, OSError):
            mark_job_started(runtime().redis, name)
        try:
            with telemetry.job_span(work.__name__):
                work()
        except Exception as failure:  # noqa: BLE001 (the edge)
            what = exception_fields(failure)
            log.error("a job failed", job=work.__name__, **what)  # noqa: TRY400 (see JobFailed)
            raise JobFailed(f"{work.__name__}: {what['error']} at {what['where']}") from None

    return run


@functools.cache
def care() -> Care:
    """How carefully this process reads: one that was just started may follow one that died."""
    return Care()


@job
def drain() -> None:
    """Empty the inbox."""
    here = runtime()
    started, folded = time.monotonic(), 0
    while size := drain_batch(here.sessions, here.settings, datetime.now(UTC), care()):
        folded += size
        here.feed_bell.ring()
        if time.monotonic() - started > DRAIN_FOR_SECONDS:
            ring_doorbell(here.redis)
            break
    if folded:
        seconds = round(time.monotonic() - started, 3)
        log.info("drained", messages=folded, seconds=seconds)


@functools.cache
def poller() -> Poller:
    """The poller of this process, made when first asked for."""
    here = runtime()
    return Poller(here.settings, here.sessions, here.redis, STOP)


@job
def poll() -> None:
    """Set the askers going that the due orders need."""
    poller().poll()


def close() -> None:
    """End what goes on beside the jobs; STOP is set."""
    if poller.cache_info().currsize:
        poller().close()


@job
def sweep() -> None:
    """Ring for messages that were kept but whose ring was lost."""
    here = runtime()
    now = datetime.now(UTC)
    with here.sessions.begin() as session:
        record_sweep(session, now)
        waiting = forgotten(session, now)
    if waiting is not None and ring_doorbell(here.redis):
        log.warning("rang for forgotten messages", **asdict(waiting))
        with here.sessions.begin() as session:
            mended(session)


@functools.cache
def retention() -> Retention:
    """What this process knows of what is to go."""
    return Retention(runtime().settings)


@job
def retain() -> None:
    """Drop what need not be kept any longer; what is too much for now waits for the next time."""
    here = runtime()
    dropped = retention().drop(here.sessions, datetime.now(UTC), RETAIN_FOR_SECONDS)
    if dropped:
        log.info("dropped what is kept no longer", **dropped)
