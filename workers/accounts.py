"""An account's row: what is counted of it, and whether its courier may be asked just now.

The row is in PostgreSQL and not in Redis, so that a pause outlives a Redis that was emptied.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from receiver.models import Message
from receiver.schedule import Rhythm

# A courier that fails so often in a row is left alone for a while: 30 s, doubling to 10 min.
FAILURES = 5
BREAKER = Rhythm(timedelta(seconds=30), timedelta(minutes=10))
# How long the one who tries again has the word, before another may.
PROBE = timedelta(seconds=20)
# Where a 429 names no time, and where the courier refuses our credentials.
BUSY = timedelta(seconds=60)
REFUSED = timedelta(hours=1)

# greatest passes over NULL.
COUNT = text("""
    INSERT INTO accounts AS known (account, hooks, last_hook_at, answers, last_answer_at, missed)
    VALUES (:account, :hooks, :last_hook_at, :answers, :last_answer_at, :missed)
    ON CONFLICT (account) DO UPDATE
    SET hooks = known.hooks + excluded.hooks,
        longest_gap = greatest(known.longest_gap, :first_hook_at - known.last_hook_at),
        last_hook_at = greatest(known.last_hook_at, excluded.last_hook_at),
        answers = known.answers + excluded.answers,
        last_answer_at = greatest(known.last_answer_at, excluded.last_answer_at),
        missed = known.missed + excluded.missed
""")


def count(session: Session, batch: Sequence[Message], missed: Mapping[str, int]) -> None:
    """Count a batch of messages; one of the last statements before the commit."""
    times: dict[str, dict[str, list[datetime]]] = {}
    for message in batch:
        of_account = times.setdefault(message.account, {"webhook": [], "poll": []})
        of_account[message.kind].append(message.received_at)
    # Sorted, so that two workers take the accounts' rows in the same order.
    for account, at in sorted(times.items()):
        session.execute(
            COUNT,
            {
                "account": account,
                "hooks": len(at["webhook"]),
                "first_hook_at": min(at["webhook"], default=None),
                "last_hook_at": max(at["webhook"], default=None),
                "answers": len(at["poll"]),
                "last_answer_at": max(at["poll"], default=None),
                "missed": missed.get(account, 0),
            },
        )
