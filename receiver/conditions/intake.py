"""From the inbox to the orders: what waits, what could not be read, what nobody has a word for."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select

from receiver import progress
from receiver.conditions import machine
from receiver.conditions.scene import Alert, Scene, about, alert
from receiver.couriers import DRIVERS
from receiver.models import PARKED, QUARANTINED, Message, Order, UnmappedWord
from receiver.settings import Account

# Messages are folded within milliseconds.
WAITS_FOR = timedelta(seconds=60)
# A batch takes a fraction of a second.
UNFOLDED_FOR = timedelta(seconds=60)
# A shop that registers its orders at all does it sooner.
PARKED_FOR = timedelta(hours=24)
# A word that was not heard for so long is gone.
WORD_WITHIN = timedelta(days=14)
MOST_WORDS = 100
WORDS_NAMED = 3


def alerts(scene: Scene) -> Iterator[Alert]:
    """Without a worker everything waits, and that is told elsewhere."""
    if machine.works(scene):
        yield from _waiting(scene)
    for account, _, _ in scene.accounts():
        yield from _quarantined(scene, account.slug)
        yield from _parked(scene, account.slug)
        yield from _words(scene, account)


def pending(sent_back: bool) -> Select[Message]:
    """Messages that wait: the new ones, or those that were sent back."""
    retried = Message.retried_at.is_not(None) if sent_back else Message.retried_at.is_(None)
    return progress.pending().where(retried)


def oldest(scene: Scene, sent_back: bool) -> tuple[datetime, int, str] | None:
    """Since when the oldest message waits, its id and its account; a look at an index's start."""
    since = func.coalesce(Message.retried_at, Message.received_at)
    columns = (since, Message.id, Message.account)
    first = pending(sent_back).with_only_columns(*columns).order_by(Message.id).limit(1)
    row = scene.session.execute(first).first()
    return (row[0], row[1], row[2]) if row else None


def _waiting(scene: Scene) -> Iterator[Alert]:
    new, sent_back = oldest(scene, False), oldest(scene, True)
    waiting = [found for found in (new, sent_back) if found and scene.now - found[0] > WAITS_FOR]
    if not waiting:
        return
    since, message_id, account = min(waiting)
    count = scene.count(pending(False).with_only_columns(Message.id))
    folded = [state.folded_at for state in scene.states.values() if state.folded_at is not None]
    if not folded or scene.now - max(folded) > UNFOLDED_FOR:
        yield alert(
            "no_progress",
            None,
            f"messages wait ({about(max(count, 1))}, the oldest of {account}), workers run, and"
            " nothing is folded",
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
            f"{about(count)} messages wait, the oldest for {waits} s (of {new[2]}): more comes in"
            " than is folded",
            "Start more workers; see /ops or the tallies for whose messages they are.",
            since=new[0],
            count=count,
            example=str(new[1]),
        )


def _of(account: str, outcome: str) -> tuple[Select[int], Select[int, datetime]]:
    own = (Message.account == account, Message.outcome == outcome)
    rows = select(Message.id).where(*own)
    return rows, select(Message.id, Message.received_at).where(*own)


def stuck_since(scene: Scene, account: str, outcome: str) -> datetime | None:
    """When the oldest of the account's messages with this outcome came, None where there is none.

    The oldest by its number, which an index has in this order.
    """
    _, dated = _of(account, outcome)
    first = scene.session.execute(dated.order_by(Message.id).limit(1)).first()
    return first[1] if first else None


def _quarantined(scene: Scene, account: str) -> Iterator[Alert]:
    rows, dated = _of(account, QUARANTINED)
    first = scene.session.execute(dated.order_by(Message.id).limit(1)).first()
    if first is None:
        return
    latest = scene.session.scalar(rows.order_by(Message.id.desc()).limit(1))
    count = scene.count(rows)
    yield alert(
        "messages_quarantined",
        account,
        f"{about(count)} messages could not be read",
        "`ordertrail messages show <id>` says why; after a fix `ordertrail retry` them, or"
        " `ordertrail discard`.",
        since=first[1],
        count=count,
        example=str(latest),
    )


def _parked(scene: Scene, account: str) -> Iterator[Alert]:
    rows, dated = _of(account, PARKED)
    first = scene.session.execute(dated.order_by(Message.id).limit(1)).first()
    if first is None or scene.now - first[1] <= PARKED_FOR:
        return
    count = scene.count(rows)
    yield alert(
        "messages_parked",
        account,
        f"{about(count)} messages wait for the shop to register their orders, the oldest for"
        f" {(scene.now - first[1]).days} days",
        "Register the orders (POST /v1/orders), or discard the messages; see why the shop did not.",
        since=first[1],
        count=count,
        example=str(first[0]),
    )


def unmapped(scene: Scene, account: Account) -> list[tuple[UnmappedWord, str | None]]:
    """Words that came lately and that the map as it is now does not have, and an order of each."""
    heard = scene.session.execute(
        select(UnmappedWord, Order.courier_order_id)
        .outerjoin(Order, Order.id == UnmappedWord.order_id)
        .where(UnmappedWord.account == account.slug, UnmappedWord.last_at > scene.now - WORD_WITHIN)
        .order_by(UnmappedWord.first_at)
        .limit(MOST_WORDS)
    ).all()
    return [(word, order) for word, order in heard if not is_mapped(account, word.word)]


def _words(scene: Scene, account: Account) -> Iterator[Alert]:
    words = unmapped(scene, account)
    if not words:
        return
    named = ", ".join(f"{word.word!r:.60}" for word, _ in words[:WORDS_NAMED])
    yield alert(
        "word_unmapped",
        account.slug,
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


def counted(scene: Scene, account: str, outcome: str) -> int:
    """How many messages of an account have this outcome."""
    return scene.count(_of(account, outcome)[0])


def count_pending(scene: Scene) -> int:
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
