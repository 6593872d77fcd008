"""Records what a batch adds to the statistics: account rows, five-minute history, totals, words."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from receiver import statuses
from receiver.couriers.snapshot import LeftOut
from receiver.db.bulk import insert_rows
from receiver.db.models import PARKED, QUARANTINED, LeftOutField, Message, Tally, UnmappedWord
from receiver.stats import totals
from receiver.stats.history import start_of_step
from workers.folding.refold import EventRow, FoldedBatch

# The columns of `tallies`, a row for an account's five minutes.
COLUMNS = (
    *("hooks", "answers", "missed", "quarantined", "parked", "events", "waited", "longest_wait"),
    *("lagged", "lag", "longest_lag"),
)
MAXIMA = {"longest_wait", "longest_lag"}
ADD_STEP = "(account, at) DO UPDATE SET " + ", ".join(
    f"{name} = greatest(known.{name}, excluded.{name})"
    if name in MAXIMA
    else f"{name} = known.{name} + excluded.{name}"
    for name in COLUMNS
)
# What a batch adds to one row.
HistoryStep = dict[str, float]

ADD_FIELD = """(account, field) DO UPDATE
    SET count = known.count + excluded.count,
        last_at = greatest(known.last_at, excluded.last_at)
"""
# The number of an entry in the path of a field.
ENTRY_NUMBER = re.compile(r"\.[0-9]+(?![^.])")

ADD_WORD = """(account, word) DO UPDATE
    SET first_at = least(known.first_at, excluded.first_at),
        last_at = greatest(known.last_at, excluded.last_at),
        times = known.times + excluded.times, order_id = excluded.order_id
"""

# greatest() ignores NULL.
COUNT_MESSAGES = text("""
    INSERT INTO accounts AS known (account, hooks, last_hook_at, answers, last_answer_at, missed,
                                   folded_at)
    VALUES (:account, :hooks, :last_hook_at, :answers, :last_answer_at, :missed, :now)
    ON CONFLICT (account) DO UPDATE
    SET hooks = known.hooks + excluded.hooks,
        last_hook_at = greatest(known.last_hook_at, excluded.last_hook_at),
        answers = known.answers + excluded.answers,
        last_answer_at = greatest(known.last_answer_at, excluded.last_answer_at),
        missed = known.missed + excluded.missed,
        folded_at = greatest(known.folded_at, excluded.folded_at)
""")


def record_statistics(
    session: Session, batch: Sequence[Message], folded: FoldedBatch, now: datetime
) -> None:
    """Add a batch to the statistics, among the last statements before the commit."""
    if not batch:
        return
    # The rows of accounts first: whoever has locked them may write the rest without a deadlock.
    _count_messages(session, batch, folded.missed, now)
    events_of: dict[int, list[EventRow]] = defaultdict(list)
    for event in folded.new_events:
        events_of[event["message_id"]].append(event)
    steps: dict[tuple[str, datetime], HistoryStep] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
    counted: Counter[totals.TotalKey] = Counter()
    for message in batch:
        step = steps[message.account, start_of_step(message.received_at)]
        outcome = folded.outcomes[message.id].outcome
        counted[totals.PROCESSED, message.account, outcome] += 1
        # A message that was sent back was counted when it came.
        if message.retried_at is None:
            wait = max(0.0, (now - message.received_at).total_seconds())
            step["hooks"] += message.kind == "webhook"
            step["answers"] += message.kind == "poll"
            step["quarantined"] += outcome == QUARANTINED
            step["parked"] += outcome == PARKED
            step["waited"] += wait
            step["longest_wait"] = max(step["longest_wait"], wait)
            totals.WAIT.observe(counted, message.account, wait)
        if events := events_of.get(message.id):
            _add_events(step, counted, message, events)
    for account, states in folded.missed.items():
        if states:
            steps[max(key for key in steps if key[0] == account)]["missed"] += states
    counted[totals.BATCHES, "", ""] += 1
    totals.SIZE.observe(counted, "", len(batch))
    rows = [{"account": account, "at": at, **steps[account, at]} for account, at in sorted(steps)]
    insert_rows(session, Tally, rows, ADD_STEP)
    totals.add_totals(session, counted)
    _record_unmapped_words(session, batch, folded.new_events)
    if folded.left_out:
        _count_left_out(session, batch, folded.left_out)


def _count_messages(
    session: Session, batch: Sequence[Message], missed: Mapping[str, int], now: datetime
) -> None:
    received: dict[str, dict[str, list[datetime]]] = {}
    for message in batch:
        of_account = received.setdefault(message.account, {"webhook": [], "poll": []})
        of_account[message.kind].append(message.received_at)
    # Sorted, so that two workers lock the accounts' rows in the same sequence.
    for account, times in sorted(received.items()):
        session.execute(
            COUNT_MESSAGES,
            {
                "account": account,
                "hooks": len(times["webhook"]),
                "last_hook_at": max(times["webhook"], default=None),
                "answers": len(times["poll"]),
                "last_answer_at": max(times["poll"], default=None),
                "missed": missed.get(account, 0),
                "now": now,
            },
        )


def _add_events(
    step: HistoryStep,
    counted: Counter[totals.TotalKey],
    message: Message,
    events: Sequence[EventRow],
) -> None:
    step["events"] += len(events)
    counted[totals.EVENTS, message.account, ""] += len(events)
    # A webhook repeats older states beside its news: the newest time shows how late it is.
    reported = [event["told_at"] for event in events if event["told_at"] is not None]
    if message.kind == "webhook" and reported:
        lag = max(0.0, (message.received_at - max(reported)).total_seconds())
        step["lagged"] += 1
        step["lag"] += lag
        step["longest_lag"] = max(step["longest_lag"], lag)
        totals.LAG.observe(counted, message.account, lag)


def _record_unmapped_words(
    session: Session, batch: Sequence[Message], new_events: Iterable[EventRow]
) -> None:
    account_of = {message.id: message.account for message in batch}
    words: dict[tuple[str, str], list[EventRow]] = defaultdict(list)
    for event in new_events:
        if event["status"] == statuses.UNKNOWN and event["message_id"] in account_of:
            words[account_of[event["message_id"]], event["courier_status"]].append(event)
    rows = [
        {
            "account": account,
            "word": word,
            "first_at": min(event["received_at"] for event in events),
            "last_at": max(event["received_at"] for event in events),
            "times": len(events),
            "order_id": events[-1]["order_id"],
        }
        for (account, word), events in sorted(words.items())
    ]
    insert_rows(session, UnmappedWord, rows, ADD_WORD)


def _count_left_out(
    session: Session, batch: Sequence[Message], left_out: Mapping[int, Sequence[LeftOut]]
) -> None:
    """Count the messages of each account of which a field was left out."""
    received: dict[tuple[str, str], list[datetime]] = defaultdict(list)
    for message in batch:
        for path in {ENTRY_NUMBER.sub("", item.field) for item in left_out.get(message.id, ())}:
            received[message.account, path].append(message.received_at)
    rows = [
        {
            "account": account,
            "field": path,
            "count": len(times),
            "first_at": min(times),
            "last_at": max(times),
        }
        for (account, path), times in sorted(received.items())
    ]
    insert_rows(session, LeftOutField, rows, ADD_FIELD)
