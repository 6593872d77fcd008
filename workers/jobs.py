"""The RQ entry points. A job carries no data: what there is to do stands in PostgreSQL."""

import time
from datetime import UTC, datetime

import structlog

from receiver import doorbell
from workers.drain import drain_batch
from workers.runtime import runtime
from workers.sweep import forgotten

log = structlog.get_logger(__name__)

# A job ends after this long even if there is more, so that a worker told to stop can.
DRAIN_FOR_SECONDS = 5.0


def drain() -> None:
    """Empty the inbox."""
    here = runtime()
    doorbell.answered(here.redis)
    started, folded = time.monotonic(), 0
    while size := drain_batch(here.sessions, here.settings.accounts, datetime.now(UTC)):
        folded += size
        if time.monotonic() - started > DRAIN_FOR_SECONDS:
            doorbell.ring(here.redis)
            break
    if folded:
        seconds = round(time.monotonic() - started, 3)
        log.info("drained", messages=folded, seconds=seconds)


def sweep() -> None:
    """Ring for messages that were kept but whose ring was lost."""
    here = runtime()
    with here.sessions() as session:
        waiting = forgotten(session, datetime.now(UTC))
    if waiting and doorbell.ring(here.redis):
        log.warning("rang for forgotten messages")
