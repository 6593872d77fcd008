"""From the inbox to the orders: what waits, what could not be read, what nobody has a word for."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Select, Text, func, select, true
from sqlalchemy.orm import aliased

from receiver.alerts import platform_alerts
from receiver.alerts.context import Alert, AlertContext, Rows, about, alert, each, heaps
from receiver.couriers import DRIVERS
from receiver.db.models import PARKED, QUARANTINED, Message, Order, UnmappedWord
from receiver.inbox import pending as progress
from receiver.queue.liveness import SWEEP
from receiver.settings import Account

# Messages are folded within milliseconds.
WAITS_FOR = timedelta(seconds=60)
# A batch takes a fraction of a second.
UNFOLDED_FOR = timedelta(seconds=60)
# Workers that are asked to sweep and do not come for so long hang.
STALLED_FOR = timedelta(minutes=3)
# A shop that registers its orders at all does it sooner.
PARKED_FOR = timedelta(hours=24)
# A word that was not heard for so long is gone.
WORD_WITHIN = timedelta(days=14)
MOST_WORDS = 100
WORDS_NAMED = 3


def alerts(scene: AlertContext) -> Iterator[Alert]:
    """Without a worker everything waits, and that is told elsewhere."""
    if platform_alerts.works(scene):
        yield from list(_waiting(scene)) or _stalled(scene)
    yield from _quarantined(scene)
    yield from _parked(scene)
    yield from _words(scene)


def pending(sent_back: bool) -> Select[Message]:
    """Messages that wait: the new ones, or those that were sent back."""
    retried = Message.retried_at.is_not(None) if sent_back else Message.retried_at.is_(None)
    return progress.pending().where(retried)


def oldest(scene: AlertContext, sent_back: bool) -> tuple[datetime, int, str] | None:
    """Since when the oldest message waits, its id and its account; a look at an index's start."""
    since = func.coalesce(Message.retried_at, Message.received_at)
    columns = (since, Message.id, Message.account)
    first = pending(sent_back).with_only_columns(*columns).order_by(Message.id).limit(1)
    row = scene.session.execute(first).first()
    return (row[0], row[1], row[2]) if row else None


def _waiting(scene: AlertContext) -> Iterator[Alert]:
    new, sent_back = oldest(scene, False), oldest(scene, True)
    waiting = [found for found in (new, sent_back) if found and scene.now - found[0] > WAITS_FOR]
    if not waiting:
        return
    since, message_id, account = min(waiting)
    count = scene.count(pending(False).with_only_columns(Message.id))
    if _unfolded(scene):
        yield alert(
            "no_progress",
            None,
            f"{about(max(count, 1), 'message waits', 'messages wait')} (the oldest of {account}),"
            " workers run, and nothing is folded",
            "See the workers' log for what they do; restart them.",
            since=since,
            count=max(count, 1),
            example=str(message_id),
        )
    # Those that were sent back wait behind the new ones, at their own pace.
    elif new and scene.now - new[0] > WAITS_FOR:
        waits = round((scene.now - new[0]).total_seconds())
        yield alert(
            "backlog",
            None,
            f"{about(count, 'message waits', 'messages wait')}, the oldest for {waits} s (of"
            f" {new[2]}): more comes in than is folded",
            "Start more workers; see /ops or the tallies for whose messages they are.",
            since=new[0],
            count=count,
            example=str(new[1]),
        )


def _unfolded(scene: AlertContext) -> bool:
    """Whether nothing was folded just now."""
    folded = [state.folded_at for state in scene.states.values() if state.folded_at is not None]
    return not folded or scene.now - max(folded) > UNFOLDED_FOR


def _stalled(scene: AlertContext) -> Iterator[Alert]:
    """Where nothing waits, by what the clock asks for: the next hook would find nobody."""
    asked = scene.around.ticking_since is not None
    if asked and platform_alerts.unswept(scene, STALLED_FOR) and _unfolded(scene):
        yield alert(
            "no_progress",
            None,
            "workers run and are asked to sweep, and none does",
            "See the workers' log for what they do; restart them.",
            since=scene.beats.get(SWEEP),
        )


def stuck(scene: AlertContext, *outcomes: str, latest: bool = False) -> Rows:
    """By account and outcome, the messages that are stuck, the oldest first, or the latest.

    By their number, which an index has in this order.
    """
    keys = [(slug, outcome) for slug in sorted(scene.settings.accounts) for outcome in outcomes]
    accounts, names = zip(*keys, strict=True) if keys else ((), ())
    of = each(account=(Text, accounts), outcome=(Text, names))
    rows = select(Message.id, Message.received_at).where(
        Message.account == of.c.account, Message.outcome == of.c.outcome
    )
    return heaps(of, rows, Message.id.desc() if latest else Message.id)


def _quarantined(scene: AlertContext) -> Iterator[Alert]:
    oldest = scene.rows(stuck(scene, QUARANTINED))
    latest = {it.account: it.id for it in scene.rows(stuck(scene, QUARANTINED, latest=True))}
    for found in oldest:
        yield alert(
            "messages_quarantined",
            found.account,
            f"{about(found.number, 'message', 'messages')} could not be read",
            "`ordertrail messages show <id>` says why; after a fix `ordertrail retry` them, or"
            " `ordertrail discard`.",
            since=found.received_at,
            count=found.number,
            example=str(latest.get(found.account, found.id)),
        )


def _parked(scene: AlertContext) -> Iterator[Alert]:
    for found in scene.rows(stuck(scene, PARKED)):
        age = scene.now - found.received_at
        if age <= PARKED_FOR:
            continue
        one = found.number == 1
        yield alert(
            "messages_parked",
            found.account,
            f"{about(found.number, 'message waits', 'messages wait')} for the shop to register"
            f" {'its order' if one else 'their orders'}, the oldest for"
            f" {about(age.days, 'day', 'days')}",
            "Register the orders (POST /v1/orders), or discard the messages; see why the shop did"
            " not.",
            since=found.received_at,
            count=found.number,
            example=str(found.id),
        )


def unmapped(scene: AlertContext) -> Mapping[str, list[tuple[UnmappedWord, str | None]]]:
    """By account, words that came lately and that its map as it is now does not have, and an order
    of each.
    """
    of = scene.slugs()
    rows = (
        select(UnmappedWord, Order.courier_order_id)
        .outerjoin(Order, Order.id == UnmappedWord.order_id)
        .where(
            UnmappedWord.account == of.c.account,
            UnmappedWord.last_at > scene.now - WORD_WITHIN,
        )
        .order_by(UnmappedWord.first_at)
        .limit(MOST_WORDS)
    )
    lateral = rows.lateral("heard")
    word = aliased(UnmappedWord, lateral)
    heard = scene.rows(
        select(word, lateral.c.courier_order_id).select_from(of).join(lateral, true())
    )
    found = defaultdict(list)
    for told, order in heard:
        if not is_mapped(scene.settings.accounts[told.account], told.word):
            found[told.account].append((told, order))
    return found


def _words(scene: AlertContext) -> Iterator[Alert]:
    for account, words in sorted(unmapped(scene).items()):
        named = ", ".join(f"{word.word!r:.60}" for word, _ in words[:WORDS_NAMED])
        yield alert(
            "word_unmapped",
            account,
            f"the courier says what no status stands for: {named}"
            + (f" and {len(words) - WORDS_NAMED} more" if len(words) > WORDS_NAMED else ""),
            "Ask the courier what it means, map it (deploy/runbook.md), `ordertrail rebuild`.",
            since=words[0][0].first_at,
            count=len(words),
            example=words[-1][1],
        )


def is_mapped(account: Account, word: str) -> bool:
    """Whether a status stands for the word by now."""
    driver = DRIVERS[account.driver]
    if driver.check_fields is None:
        return word in driver.words
    known = {*driver.words, *account.field_map.get("statuses", {})}
    return _plain(word) in map(_plain, known)


def _plain(word: str) -> str:
    return "_".join(word.casefold().replace("-", " ").replace("_", " ").split())


def count_pending(scene: AlertContext) -> int:
    """How many messages wait, new ones and those that were sent back."""
    found = [
        scene.session.scalar(
            select(func.count()).select_from(
                pending(sent_back).with_only_columns(Message.id).limit(100_000).subquery()
            )
        )
        for sent_back in (False, True)
    ]
    return sum(number or 0 for number in found)
