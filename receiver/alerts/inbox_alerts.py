"""Conditions of the inbox: messages that wait or cannot be read, words without a status."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, func, select, true

from receiver.alerts.backlog import Backlog, describe_depth
from receiver.alerts.condition import CRITICAL, WARNING, Alert, condition
from receiver.alerts.context import AlertContext, Rows, lateral_groups
from receiver.couriers import DRIVERS
from receiver.db.models import PARKED, QUARANTINED, Message, Order, UnmappedWord
from receiver.db.pagination import MOST_COUNTED
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

# A row with the account of the message that has waited longest, its id, and since when it waits.
OldestMessage = Row[str, int, datetime]


@condition("no_progress", CRITICAL, "Restart the workers; their log says what they did.")
def find_no_progress(context: AlertContext) -> Iterator[Alert]:
    """Find out whether workers run but process nothing.

    Missing workers and jobs that fail at every run are other conditions.
    """
    is_failing = not context.failing_jobs.keys().isdisjoint({"drain", "sweep"})
    if is_failing or not context.can_fold or _folded_lately(context):
        return
    pending = (find_oldest_pending(context, sent_back) for sent_back in (False, True))
    too_old = context.now - WAITS_TOO_LONG
    waiting = [message for message in pending if message and message.since < too_old]
    if waiting:
        oldest = min(waiting, key=lambda message: message.since)
        summary = (
            f"{_backlog_waiting(context.backlog)} (the oldest in account {oldest.account}), and"
            " workers are running, but nothing is processed"
        )
        yield Alert(None, summary, oldest.since, context.backlog.depth, str(oldest.id))
    elif context.system.clock_since is not None and context.sweep_is_late(UNSWEPT_TOO_LONG):
        # Nothing waits yet, but the next message would not be processed.
        unswept = duration_text(UNSWEPT_TOO_LONG)
        summary = f"Workers and clock are running, but no worker has run its checks for {unswept}"
        yield Alert(None, summary, context.last_sweep_at)


@condition("backlog", WARNING, "Start more workers. /ops shows which accounts the messages are of.")
def find_backlog(context: AlertContext) -> Iterator[Alert]:
    """Find new messages that wait too long; those sent back for another try wait behind them."""
    if not context.can_fold or not _folded_lately(context):
        return
    oldest = find_oldest_pending(context, sent_back=False)
    if oldest is not None and oldest.since < context.now - WAITS_TOO_LONG:
        backlog = context.backlog
        age = duration_text(context.now - oldest.since)
        pace = "messages arrived faster than they are processed"
        if backlog.processed_per_second is not None:
            pace = f"{backlog.processed_per_second:,.0f} a second are processed"
        left = (
            f"; at this pace none is left in {duration_text(backlog.left)}" if backlog.left else ""
        )
        summary = (
            f"{_backlog_waiting(backlog)}, the oldest for {age} (account {oldest.account}):"
            f" {pace}{left}"
        )
        yield Alert(None, summary, oldest.since, backlog.depth, str(oldest.id))


@condition(
    "messages_quarantined",
    WARNING,
    "`ordertrail messages show <id>` gives the reason. Correct the cause, then run `ordertrail"
    " retry`; or discard what is not needed with `ordertrail discard`.",
)
def find_messages_quarantined(context: AlertContext) -> Iterator[Alert]:
    rows = context.rows(select_unprocessed_messages(context, QUARANTINED, newest_first=True))
    newest = {row.account: row for row in rows}
    for row in context.rows(select_unprocessed_messages(context, QUARANTINED)):
        summary = f"{count_noun(row.total, 'message', limit=MOST_COUNTED)} could not be read"
        last = newest.get(row.account, row)
        causes = (last.reason,) if last.reason else ()
        yield Alert(row.account, summary, row.received_at, row.total, str(last.id), causes)


@condition(
    "messages_parked",
    WARNING,
    "Register the orders (POST /v1/orders) or discard the messages, and find out why the shop did"
    " not register them.",
)
def find_messages_parked(context: AlertContext) -> Iterator[Alert]:
    for row in context.rows(select_unprocessed_messages(context, PARKED)):
        age = context.now - row.received_at
        if age > PARKED_TOO_LONG:
            orders = "its order" if row.total == 1 else "their orders"
            summary = (
                f"{_messages_waiting(row.total)} for the shop to register {orders}, the oldest for"
                f" {duration_text(age)}"
            )
            yield Alert(row.account, summary, row.received_at, row.total, str(row.id))


@condition(
    "word_unmapped",
    WARNING,
    "Ask the courier what the word means, map it to a status (see the runbook), and run"
    " `ordertrail rebuild`.",
)
def find_word_unmapped(context: AlertContext) -> Iterator[Alert]:
    for account, words in sorted(read_unmapped_words(context).items()):
        named = ", ".join(f"{row.word!r:.60}" for row in words[:WORDS_NAMED])
        more = f" and {len(words) - WORDS_NAMED} more" if len(words) > WORDS_NAMED else ""
        noun = "a word that is" if len(words) == 1 else "words that are"
        summary = f"The courier uses {noun} mapped to no status: {named}{more}"
        example, causes = words[-1].courier_order_id, tuple(row.word for row in words)
        yield Alert(account, summary, words[0].first_at, len(words), example, causes)


def find_oldest_pending(context: AlertContext, sent_back: bool) -> OldestMessage | None:
    """Find the message that has waited longest, of the new ones or of those sent back."""
    since = func.coalesce(Message.retried_at, Message.received_at).label("since")
    columns = (Message.account, Message.id, since)
    oldest = _pending(sent_back).with_only_columns(*columns).order_by(Message.id).limit(1)
    return context.session.execute(oldest).first()


def select_unprocessed_messages(
    context: AlertContext, outcome: str, newest_first: bool = False
) -> Rows:
    """Select the quarantined or parked messages, by account."""
    keys = context.account_keys()
    rows = select(Message.id, Message.received_at, Message.reason).where(
        Message.account == keys.c.account, Message.outcome == outcome
    )
    # An index has the ids in this order.
    return lateral_groups(keys, rows, Message.id.desc() if newest_first else Message.id)


def read_unmapped_words(context: AlertContext) -> Mapping[str, Sequence[Row[Any]]]:
    """Read the recent words that are mapped to no status by now, by account, the oldest first.

    Each has its `word`, `first_at`, and the `courier_order_id` of one order.
    """
    keys = context.account_keys()
    word = UnmappedWord
    recent = (
        select(word.word, word.first_at, Order.courier_order_id)
        .outerjoin(Order, Order.id == word.order_id)
        .where(word.account == keys.c.account, word.last_at > context.now - WORD_FORGOTTEN)
        .order_by(word.first_at)
        .limit(MOST_WORDS)
        .lateral("recent")
    )
    found = defaultdict(list)
    for row in context.rows(select(keys, recent).select_from(keys.join(recent, true()))):
        account = context.settings.accounts[row.account]
        if DRIVERS[account.driver].map_word(row.word, account.field_map) is None:
            found[account.slug].append(row)
    return found


def _pending(sent_back: bool) -> Select[Message]:
    retried = Message.retried_at.is_not(None) if sent_back else Message.retried_at.is_(None)
    return select_pending().where(retried)


def _folded_lately(context: AlertContext) -> bool:
    last = context.last_fold_at
    return last is not None and context.now - last <= WAITS_TOO_LONG


def _backlog_waiting(backlog: Backlog) -> str:
    verb = "message is waiting" if backlog.depth == 1 else "messages are waiting"
    return f"{describe_depth(backlog)} {verb}"


def _messages_waiting(count: int) -> str:
    return count_noun(count, "message is waiting", "messages are waiting", limit=MOST_COUNTED)
