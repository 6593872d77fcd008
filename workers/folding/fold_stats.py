"""Tally: what a batch adds to the five minutes in which its messages came, and to the counts."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from receiver import statuses
from receiver.db.models import PARKED, QUARANTINED, Message
from receiver.stats import totals
from receiver.stats.history import start_of_step
from receiver.stats.totals import BATCHES, EVENTS, LAG, PROCESSED, SIZE, WAIT, TotalKey

FreshEvent = Mapping[str, Any]


@dataclass(slots=True)
class Row:
    """What a batch adds to one row of tallies."""

    hooks: int = 0
    answers: int = 0
    missed: int = 0
    quarantined: int = 0
    parked: int = 0
    events: int = 0
    waited: float = 0.0
    longest_wait: float = 0.0
    lagged: int = 0
    lag: float = 0.0
    longest_lag: float = 0.0


NAMES = [field.name for field in fields(Row)]
LONGEST = {"longest_wait", "longest_lag"}

_arrays = ", ".join(f"CAST(:{name} AS {Row.__annotations__[name].__name__}[])" for name in NAMES)
_added = ", ".join(
    f"{name} = greatest(known.{name}, excluded.{name})"
    if name in LONGEST
    else f"{name} = known.{name} + excluded.{name}"
    for name in NAMES
)
# The text is made of the names above and of nothing that came from outside.
TALLY = text(f"""
    INSERT INTO tallies AS known (account, at, {", ".join(NAMES)})
    SELECT * FROM unnest(CAST(:account AS text[]), CAST(:at AS timestamptz[]), {_arrays})
         AS told (account, at, {", ".join(NAMES)})
    ORDER BY account, at
    ON CONFLICT (account, at) DO UPDATE SET {_added}
""")  # noqa: S608

# Sorted for the same reason.
WORDS = text("""
    INSERT INTO unmapped_words AS known (account, word, first_at, last_at, times, order_id)
    SELECT * FROM unnest(CAST(:account AS text[]), CAST(:word AS text[]),
                         CAST(:first_at AS timestamptz[]),
                         CAST(:last_at AS timestamptz[]), CAST(:times AS bigint[]),
                         CAST(:order_id AS bigint[]))
         AS told (account, word, first_at, last_at, times, order_id)
    ORDER BY account, word
    ON CONFLICT (account, word) DO UPDATE
    SET first_at = least(known.first_at, excluded.first_at),
        last_at = greatest(known.last_at, excluded.last_at),
        times = known.times + excluded.times, order_id = excluded.order_id
""")


def tally(
    session: Session,
    batch: Sequence[Message],
    outcomes: Mapping[int, str],
    fresh: Sequence[FreshEvent],
    missed: Mapping[str, int],
    now: datetime,
) -> None:
    """Write a batch into tallies, counts and unmapped_words.

    It comes after workers.polling.circuit_breaker.count().

    outcomes: what became of each message. fresh: the rows of events told for the first time.
    """
    if not batch:
        return
    told_by: dict[int, list[FreshEvent]] = defaultdict(list)
    for event in fresh:
        told_by[event["message_id"]].append(event)
    rows: dict[tuple[str, datetime], Row] = defaultdict(Row)
    counted: Counter[TotalKey] = Counter()
    for message in batch:
        row = rows[message.account, start_of_step(message.received_at)]
        outcome = outcomes[message.id]
        counted[PROCESSED, message.account, outcome] += 1
        # One that was sent back was tallied when it came.
        if message.retried_at is None:
            _arrived(row, counted, message, outcome, now)
        _told(row, counted, message, told_by.get(message.id, ()))
    for account, states in missed.items():
        if states:
            rows[max(key for key in rows if key[0] == account)].missed += states
    counted[BATCHES, "", ""] += 1
    SIZE.observe(counted, "", len(batch))
    session.execute(
        TALLY,
        {
            "account": [account for account, _ in rows],
            "at": [at for _, at in rows],
            **{name: [getattr(row, name) for row in rows.values()] for name in NAMES},
        },
    )
    totals.add_totals(session, counted)
    _keep_words(session, batch, fresh)


def _arrived(
    row: Row, counted: "Counter[TotalKey]", message: Message, outcome: str, now: datetime
) -> None:
    wait = max(0.0, (now - message.received_at).total_seconds())
    row.hooks += message.kind == "webhook"
    row.answers += message.kind == "poll"
    row.quarantined += outcome == QUARANTINED
    row.parked += outcome == PARKED
    row.waited += wait
    row.longest_wait = max(row.longest_wait, wait)
    WAIT.observe(counted, message.account, wait)


def _told(
    row: Row, counted: "Counter[TotalKey]", message: Message, fresh: Sequence[FreshEvent]
) -> None:
    if not fresh:
        return
    row.events += len(fresh)
    counted[EVENTS, message.account, ""] += len(fresh)
    # A hook tells older states along with its news: the newest of them says how late it is.
    stamps = [event["told_at"] for event in fresh if event["told_at"] is not None]
    if message.kind == "webhook" and stamps:
        lag = max(0.0, (message.received_at - max(stamps)).total_seconds())
        row.lagged += 1
        row.lag += lag
        row.longest_lag = max(row.longest_lag, lag)
        LAG.observe(counted, message.account, lag)


def _keep_words(session: Session, batch: Sequence[Message], fresh: Iterable[FreshEvent]) -> None:
    account_of = {message.id: message.account for message in batch}
    words: dict[tuple[str, str], list[FreshEvent]] = defaultdict(list)
    for event in fresh:
        if event["status"] == statuses.UNKNOWN and event["message_id"] in account_of:
            words[account_of[event["message_id"]], event["courier_status"]].append(event)
    if words:
        session.execute(
            WORDS,
            {
                "account": [account for account, _ in words],
                "word": [word for _, word in words],
                "first_at": [min(map(_arrival, events)) for events in words.values()],
                "last_at": [max(map(_arrival, events)) for events in words.values()],
                "times": [len(events) for events in words.values()],
                "order_id": [events[-1]["order_id"] for events in words.values()],
            },
        )


def _arrival(event: FreshEvent) -> datetime:
    at: datetime = event["received_at"]
    return at
