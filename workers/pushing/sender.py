"""The sender: a thread of the clock that pushes the change feed while PUSH_URL is set.

It runs in the clock and not as a job, because a shop that does not answer would keep a worker from
folding, and because pushes need no Redis. Where several clocks run, one of them sends at a time.
"""

import threading
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.background_thread import BackgroundThread
from receiver.changes.feed_waiters import FeedWaiters
from workers.pushing.batches import MOST_CHANGES, Batch, claim_batch, record_answer
from workers.pushing.shop_client import ShopAnswer, ShopClient

CHANGES_TYPE = "orders.changed"
# How long to wait for a change before the shop's place is read again; a person may have moved it.
IDLE_SECONDS = 10.0
# How long a pause or another clock's lease is waited for before it is read again.
PAUSE_SECONDS = 5.0
# After a batch that was not full, so that changes of the same moment come together.
GATHER_SECONDS = 0.05
# After an error, such as a PostgreSQL that is away.
RETRY_SECONDS = 2.0
# A shop that does not answer does not keep the clock from stopping: the batch is sent again.
STOP_SECONDS = 3.0


class FeedSender:
    """Pushes the feed to one address, from start() to close().

    test_accounts: those whose orders are left out.
    """

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        sessions: sessionmaker[Session],
        redis: Redis,
        test_accounts: Collection[str] = (),
    ) -> None:
        self._sessions = sessions
        self._test_accounts = test_accounts
        self._client = ShopClient(url, secrets)
        self._waiters = FeedWaiters(sessions, redis)
        self._stopping = threading.Event()
        # What the shop answered, until that is recorded.
        self._answered: tuple[Batch, ShopAnswer] | None = None
        self._thread = BackgroundThread("feed_push", self._work, retry_seconds=RETRY_SECONDS)

    def start(self) -> None:
        """Push in a thread from now on."""
        self._thread.wake()

    def close(self) -> None:
        """End the thread, once the shop has answered or after STOP_SECONDS."""
        self._stopping.set()
        self._waiters.close()
        if self._thread.close(STOP_SECONDS):
            self._client.close()

    def _work(self) -> float:
        return 0 if self._stopping.is_set() else self.push_next()

    def push_next(self) -> float:
        """Send the next batch, if one is due, or wait for a change; return seconds to pause.

        Raises: SQLAlchemyError. An answer that could not be recorded is recorded at the next call.
        """
        self._record()
        with self._sessions.begin() as session:
            batch = claim_batch(session, _read_clock(session), self._test_accounts)
        if not isinstance(batch, Batch):
            if batch.after is not None:
                self._waiters.wait(batch.after, IDLE_SECONDS)
            return min(batch.wait.total_seconds(), PAUSE_SECONDS)
        now = datetime.now(UTC)
        answer = self._client.post(batch.id, CHANGES_TYPE, batch.at, batch.data, now)
        self._answered = batch, answer
        self._record()
        return 0 if len(batch.data["changes"]) == MOST_CHANGES else GATHER_SECONDS

    def _record(self) -> None:
        if self._answered is None:
            return
        with self._sessions.begin() as session:
            record_answer(session, *self._answered, _read_clock(session))
        self._answered = None


def _read_clock(session: Session) -> datetime:
    """Return the time by PostgreSQL's clock: a lease must end at one moment for all processes."""
    return session.scalars(select(func.now())).one()
