"""The batch of changes that is pushed next: claim it before it is sent, record how that ended.

A batch is stored before it is sent for the first time, and a lease says that a process sends it
now. So after a crash at any moment the same batch is sent again, with the same id, and one process
at a time sends. No transaction is open meanwhile.
"""

import random
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, RowMapping, func, literal_column, not_
from sqlalchemy.orm import Session

from receiver.changes import feed
from receiver.changes.feed_push import lock_feed_push
from receiver.db.models import SAMPLE_SPELLING, FeedPush, Order, spelling
from receiver.stats import totals
from workers.pushing.shop_client import ShopAnswer

log = structlog.get_logger(__name__)

MOST_CHANGES = 100
# More than a request and the two transactions around it take.
LEASE = timedelta(seconds=30)
# Pauses after failures double from the first to the last, and vary by a quarter.
FIRST_PAUSE, LAST_PAUSE = timedelta(seconds=5), timedelta(minutes=12)
JITTER = 0.25
LONGEST_PAUSE = LAST_PAUSE * (1 + JITTER)

IS_NO_SAMPLE: ColumnElement[bool] = not_(
    func.starts_with(literal_column(spelling("orders.courier_order_id")), SAMPLE_SPELLING)
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes to send now.

    id: its `webhook-id`. data: as GET /v1/changes shows a page. at: when the newest of the changes
    happened. end: the number of the last change. leased_until: the lease on it.
    """

    id: str
    data: dict[str, Any]
    at: datetime
    end: int
    leased_until: datetime


@dataclass(frozen=True, slots=True)
class NothingDue:
    """There is nothing to send now.

    wait: until there may be something. after: where there is nothing until a change has a higher
    number than this.
    """

    wait: timedelta
    after: int | None = None


def claim_batch(
    session: Session, now: datetime, test_accounts: Collection[str] = ()
) -> Batch | NothingDue:
    """Lease and return the next batch: the one that was sent before and not accepted, or a new one.

    The orders of test accounts and sample orders are left out. The caller commits before it sends.
    """
    row = lock_feed_push(session, now)
    # Only a clock that was ahead can have written a later time than these.
    if row.leased_until is not None and now < row.leased_until <= now + 2 * LEASE:
        return NothingDue(row.leased_until - now)
    if row.next_attempt_at is not None and now < row.next_attempt_at <= now + 2 * LONGEST_PAUSE:
        return NothingDue(row.next_attempt_at - now)
    # Read before the changes: all up to here are among them, if they are to be pushed at all.
    latest = feed.latest_change(session)
    rows = _read_batch(session, row, test_accounts)
    if not rows:
        row.position = max(row.position, latest)
        return NothingDue(timedelta(0), after=row.position)
    row.batch_id = row.batch_id or f"msg_{uuid.uuid4().hex}"
    row.batch_end = rows[-1]["seq"]
    row.leased_until = now + LEASE
    data = feed.render_changes(row.batch_end, rows)
    return Batch(row.batch_id, data, rows[-1]["changed_at"], row.batch_end, row.leased_until)


def _read_batch(
    session: Session, row: FeedPush, test_accounts: Collection[str]
) -> Sequence[RowMapping]:
    real = Order.account.not_in(test_accounts), IS_NO_SAMPLE
    rows = feed.read_changes(session, row.position, MOST_CHANGES, *real)
    if row.batch_end is None:
        return rows
    stored = [change for change in rows if change["seq"] <= row.batch_end]
    if not stored:
        # Its orders were removed meanwhile.
        row.position, row.batch_id, row.batch_end = row.batch_end, None, None
        return rows
    return stored


def record_answer(session: Session, batch: Batch, answer: ShopAnswer, now: datetime) -> None:
    """Record how a batch's request ended: go on behind it, or try it again after a pause.

    Nothing but the count is recorded where the lease was lost or a person moved the place in the
    feed meanwhile.
    """
    totals.add_totals(session, {(totals.FEED_PUSHES, "", answer.result): 1})
    row = lock_feed_push(session, now)
    if row.leased_until == batch.leased_until:
        row.leased_until = None
    if row.batch_id != batch.id:
        log.warning("shop_push_superseded", batch=batch.id, result=answer.result)
        return
    row.attempted_at, row.result, row.detail = now, answer.result, answer.detail
    if answer.is_accepted:
        if row.failures:
            log.info("shop_push_recovered", failures=row.failures)
        row.position, row.accepted_at = batch.end, now
        row.batch_id = row.batch_end = None
        row.failures, row.failing_since, row.next_attempt_at = 0, None, None
        return
    asked = timedelta(seconds=min(max(0.0, answer.retry_after), LONGEST_PAUSE.total_seconds()))
    pause = max(retry_pause(row.failures), asked)
    row.failures += 1
    row.failing_since = row.failing_since or now
    row.next_attempt_at = now + pause
    log.warning(
        "shop_push_failed",
        result=answer.result,
        detail=answer.detail,
        failures=row.failures,
        retry_seconds=round(pause.total_seconds()),
    )


def retry_pause(failures: int) -> timedelta:
    """Return how long to wait after a further failure. failures: those in a row before it."""
    doubled: timedelta = FIRST_PAUSE * 2 ** min(failures, 10)
    return min(doubled, LAST_PAUSE) * random.uniform(1, 1 + JITTER)  # noqa: S311 (no secret)
