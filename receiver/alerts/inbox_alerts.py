"""Conditions of the inbox: messages that wait or cannot be read, words without a status."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, Text, func, select, true
from sqlalchemy.orm import aliased

from receiver.alerts.condition import Finding
from receiver.alerts.context import AlertContext, Rows, key_table, lateral_groups
from receiver.couriers import DRIVERS
from receiver.db.counting import MOST_COUNTED, count_rows
from receiver.db.models import PARKED, QUARANTINED, Message, Order, UnmappedWord
from receiver.inbox.pending import select_pending
from receiver.text import count_noun, duration_text

# Normally a message is folded within milliseconds.
WAITS_TOO_LONG = timedelta(seconds=60)
# Workers hang if they have not swept for so long although the clock asks them to.
UNSWEPT_TOO_LONG = timedelta(minutes=3)
# A shop that registers its orders does so earlier.
PARKED_TOO_LONG = timedelta(hours=24)
# An unmapped word that was not used for so long no longer matters.
WORD_FORGOTTEN = timedelta(days=14)
MOST_WORDS = 100
WORDS_NAMED = 3
MOST_PENDING_COUNTED = 100_000


@dataclass(frozen=True, slots=True)
class OldestMessage:
    """since: when it was received, or sent back for another try."""

    since: datetime
    id: int
    account: str


def find_no_progress(context: AlertContext) -> Iterator[Finding]:
    """Find out whether workers run but process nothing; `no_workers` is another condition."""
    if not context.workers_run or _folded_lately(context):
        return
    waiting = [
        oldest
        for sent_back in (False, True)
        if (oldest := find_oldest_pending(context, sent_back)) and _waits_too_long(context, oldest)
    ]
    if waiting:
        oldest = min(waiting, key=lambda message: message.since)
        count = max(_count_new(context), 1)
        yield Finding(
            summary=f"{_messages_waiting(count)} (the oldest is of {oldest.account}) and workers"
            " run, but nothing is processed",
            since=oldest.since,
            count=count,
            example=str(oldest.id),
        )
    elif context.system.clock_since is not None and context.sweep_is_late(UNSWEPT_TOO_LONG):
        # Nothing waits yet, but the next message would not be processed.
        yield Finding(
            summary="Workers run and the clock asks them to sweep, but none has swept for"
            f" {duration_text(UNSWEPT_TOO_LONG)}",
            since=context.last_sweep_at,
        )


def find_backlog(context: AlertContext) -> Iterator[Finding]:
    """Find new messages that wait too long; those sent back for another try wait behind them."""
    if not context.workers_run or not _folded_lately(context):
        return
    oldest = find_oldest_pending(context, sent_back=False)
    if oldest is None or not _waits_too_long(context, oldest):
        return
    count = _count_new(context)
    yield Finding(
        summary=f"{_messages_waiting(count)}, the oldest for"
        f" {duration_text(context.now - oldest.since)} (of {oldest.account}): messages arrive"
        " faster than they are processed",
        since=oldest.since,
        count=count,
        example=str(oldest.id),
    )


def find_messages_quarantined(context: AlertContext) -> Iterator[Finding]:
    newest = context.rows(select_unprocessed_messages(context, QUARANTINED, newest_first=True))
    newest_ids = {row.account: row.id for row in newest}
    for oldest in context.rows(select_unprocessed_messages(context, QUARANTINED)):
        yield Finding(
            oldest.account,
            f"{count_noun(oldest.total, 'message', limit=MOST_COUNTED)} could not be read",
            since=oldest.received_at,
            count=oldest.total,
            example=str(newest_ids.get(oldest.account, oldest.id)),
        )


def find_messages_parked(context: AlertContext) -> Iterator[Finding]:
    for oldest in context.rows(select_unprocessed_messages(context, PARKED)):
        age = context.now - oldest.received_at
        if age > PARKED_TOO_LONG:
            orders = "its order" if oldest.total == 1 else "their orders"
            yield Finding(
                oldest.account,
                f"{_messages_waiting(oldest.total)} for the shop to register {orders}, the oldest"
                f" for {duration_text(age)}",
                since=oldest.received_at,
                count=oldest.total,
                example=str(oldest.id),
            )


def find_word_unmapped(context: AlertContext) -> Iterator[Finding]:
    for account, words in sorted(read_unmapped_words(context).items()):
        named = ", ".join(f"{word.word!r:.60}" for word, _ in words[:WORDS_NAMED])
        more = f" and {len(words) - WORDS_NAMED} more" if len(words) > WORDS_NAMED else ""
        noun = "a word that is" if len(words) == 1 else "words that are"
        yield Finding(
            account,
            f"The courier uses {noun} mapped to no status: {named}{more}",
            since=words[0][0].first_at,
            count=len(words),
            example=words[-1][1],
        )


def find_oldest_pending(context: AlertContext, sent_back: bool) -> OldestMessage | None:
    """Find the message that has waited longest, of the new ones or of those sent back."""
    since = func.coalesce(Message.retried_at, Message.received_at)
    columns = (since, Message.id, Message.account)
    oldest = _pending(sent_back).with_only_columns(*columns).order_by(Message.id).limit(1)
    row = context.session.execute(oldest).first()
    return OldestMessage(row[0], row[1], row[2]) if row else None


def count_pending_messages(context: AlertContext) -> int:
    """Count the messages that wait, new ones and those sent back; up to MOST_PENDING_COUNTED of
    each.
    """
    statements = (_pending(sent_back).with_only_columns(Message.id) for sent_back in (False, True))
    return sum(count_rows(context.session, ids, MOST_PENDING_COUNTED) for ids in statements)


def select_unprocessed_messages(
    context: AlertContext, *outcomes: str, newest_first: bool = False
) -> Rows:
    """Select the quarantined or parked messages, by account and outcome."""
    keys = key_table(
        {"account": Text, "outcome": Text},
        [(slug, outcome) for slug in sorted(context.settings.accounts) for outcome in outcomes],
    )
    rows = select(Message.id, Message.received_at).where(
        Message.account == keys.c.account, Message.outcome == keys.c.outcome
    )
    # An index has the ids in this order.
    return lateral_groups(keys, rows, Message.id.desc() if newest_first else Message.id)


def read_unmapped_words(
    context: AlertContext,
) -> Mapping[str, list[tuple[UnmappedWord, str | None]]]:
    """Read the recent words that are mapped to no status by now, with one order of each, by
    account.
    """
    keys = context.account_keys()
    rows = (
        select(UnmappedWord, Order.courier_order_id)
        .outerjoin(Order, Order.id == UnmappedWord.order_id)
        .where(
            UnmappedWord.account == keys.c.account,
            UnmappedWord.last_at > context.now - WORD_FORGOTTEN,
        )
        .order_by(UnmappedWord.first_at)
        .limit(MOST_WORDS)
        .lateral("recent")
    )
    word = aliased(UnmappedWord, rows)
    found = defaultdict(list)
    statement = select(word, rows.c.courier_order_id).select_from(keys).join(rows, true())
    for unmapped, order in context.rows(statement):
        account = context.settings.accounts[unmapped.account]
        if DRIVERS[account.driver].map_word(unmapped.word, account.field_map) is None:
            found[account.slug].append((unmapped, order))
    return found


def _pending(sent_back: bool) -> Select[Message]:
    retried = Message.retried_at.is_not(None) if sent_back else Message.retried_at.is_(None)
    return select_pending().where(retried)


def _count_new(context: AlertContext) -> int:
    return count_rows(context.session, _pending(sent_back=False).with_only_columns(Message.id))


def _waits_too_long(context: AlertContext, message: OldestMessage) -> bool:
    return context.now - message.since > WAITS_TOO_LONG


def _folded_lately(context: AlertContext) -> bool:
    last = context.last_fold_at
    return last is not None and context.now - last <= WAITS_TOO_LONG


def _messages_waiting(count: int) -> str:
    return count_noun(count, "message is waiting", "messages are waiting", limit=MOST_COUNTED)
