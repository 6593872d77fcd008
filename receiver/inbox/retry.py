"""All messages of an outcome back to the workers, a transaction at a time."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy.orm import Session, sessionmaker

from receiver.inbox import browse


def send_all_back(
    sessions: sessionmaker[Session],
    ring: Callable[[], None],
    outcome: str,
    account: str | None,
    after: int = 0,
    seconds: float = float("inf"),
) -> tuple[int, int | None]:
    """Send them back, the oldest first, for so many seconds; ring is called after each commit.

    after: the number to go on after. Returns how many were sent, and the number to go on after
    where there may be more.
    """
    until = time.monotonic() + seconds
    sent, more = 0, True
    while more and time.monotonic() < until:
        with sessions.begin() as session:
            count, after, more = browse.send_back_some(
                session, outcome, account, after, browse.CHUNK, datetime.now(UTC)
            )
        sent += count
        ring()
    return sent, after if more else None
