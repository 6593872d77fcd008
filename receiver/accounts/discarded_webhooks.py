"""Webhooks that report nothing and are not stored, counted by account.

A discarded webhook costs no write: each process counts, and writes its counts every few seconds.
It shows that the courier reaches us, so it counts as heard. It says nothing of any order, so a
silence about orders is measured without it (learned_silence.py): a courier that sends positions or
products and no states any more is silent.
"""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy.orm import Session, sessionmaker

from receiver.background_thread import BackgroundThread
from receiver.db.bulk import insert_rows
from receiver.db.models import AccountState

FLUSH_SECONDS = 3.0
ADD = """(account) DO UPDATE
    SET discarded = known.discarded + excluded.discarded,
        last_discarded_at = greatest(known.last_discarded_at, excluded.last_discarded_at)
"""


class DiscardRecorder:
    """Count what one web process discarded, and write that to PostgreSQL."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._discarded: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._thread = BackgroundThread(
            "discard_recording", self.flush, FLUSH_SECONDS, retry_seconds=FLUSH_SECONDS
        )

    def record_discarded(self, account: str) -> None:
        """Count a webhook of an account that was not stored."""
        with self._lock:
            self._discarded[account] += 1
        self._thread.wake()

    def flush(self) -> None:
        """Write the counts, with the time of now.

        Raises: SQLAlchemyError; then the counts are kept for the next time.
        """
        with self._lock:
            discarded, self._discarded = self._discarded, Counter()
        now = self.clock()
        # Sorted, so that processes that write at the same time cannot deadlock.
        rows = [
            {"account": account, "discarded": count, "last_discarded_at": now}
            for account, count in sorted(discarded.items())
        ]
        try:
            with self._sessions.begin() as session:
                insert_rows(session, AccountState, rows, ADD)
        except BaseException:
            with self._lock:
                self._discarded += discarded
            raise

    def close(self) -> None:
        """Write the rest and end the thread."""
        self._thread.close()
