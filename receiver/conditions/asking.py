"""Asking the couriers: who cannot be asked, and about which orders nobody asks."""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import func, select

from receiver.conditions import machine
from receiver.conditions.scene import Alert, Scene, about, alert, setting
from receiver.models import AccountState, Order, Poll
from receiver.settings import Account

# A courier may be away for so long before it is news.
FAILING_FOR = timedelta(minutes=10)
# An order may be unknown to its courier for so long after it was placed.
UNKNOWN_FOR = timedelta(hours=2)
# Orders that were given up longer ago than this are history.
GIVEN_UP_WITHIN = timedelta(days=7)
# After an outage everything is due at once and asked about at the courier's pace.
LATE_AFTER = timedelta(hours=2)


def alerts(scene: Scene) -> Iterator[Alert]:
    for account, _, state in scene.accounts():
        if state is not None and state.paused_at is not None:
            yield from _pause(scene, state, account)
        elif account.access is not None and machine.works(scene) and not machine.unswept(scene):
            yield from _late(scene, account)
        yield from _unknown(scene, account)
        yield from _given_up(scene, account.slug)


def _pause(scene: Scene, state: AccountState, account: Account) -> Iterator[Alert]:
    if state.pause_reason == "refused":
        yield alert(
            "poll_refused",
            account.slug,
            "the courier does not accept our credentials, so nobody asks it",
            f"Check {setting(account, 'API_TOKEN')} (and _API_USER), and restart the workers.",
            since=state.paused_at,
        )
    elif (
        state.pause_reason == "failing"
        and state.paused_at is not None
        and scene.now - state.paused_at >= FAILING_FOR
    ):
        yield alert(
            "poll_failing",
            account.slug,
            f"the courier's API failed {state.failures} requests in a row",
            "See the workers' log for what it answers; it is tried again by itself.",
            since=state.paused_at,
            count=state.failures,
        )


def _late(scene: Scene, account: Account) -> Iterator[Alert]:
    """Orders that should have been asked about long ago, though nothing hinders it."""
    late = (Poll.account == account.slug, Poll.due_at < scene.now - LATE_AFTER)
    first = scene.session.execute(
        select(Poll.due_at, Poll.order_id).where(*late).order_by(Poll.due_at).limit(1)
    ).first()
    if first is None:
        return
    count = scene.count(select(Poll.order_id).where(*late))
    yield alert(
        "polls_late",
        account.slug,
        f"{about(count)} orders should have been asked about more than {LATE_AFTER} ago",
        "After an outage this passes by itself, at the courier's pace; else see the workers' log.",
        since=first[0],
        count=count,
        example=scene.order(first[1]),
    )


def _unknown(scene: Scene, account: Account) -> Iterator[Alert]:
    """Orders that the courier says it does not know: one may be new, many mean a wrong address."""
    unknown = (Poll.account == account.slug, Poll.unknown_since < scene.now - UNKNOWN_FOR)
    count, since, order_id = scene.session.execute(
        select(func.count(), func.min(Poll.unknown_since), func.max(Poll.order_id)).where(*unknown)
    ).one()
    if count:
        yield alert(
            "orders_unknown",
            account.slug,
            f"the courier says that it does not know {count} orders",
            f"Check {setting(account, 'API_URL')} if they are many, else the orders' ids.",
            since=since,
            count=count,
            example=scene.order(order_id),
        )


def _given_up(scene: Scene, account: str) -> Iterator[Alert]:
    recent = (Poll.account == account, Poll.stopped_at > scene.now - GIVEN_UP_WITHIN)
    count, since = scene.session.execute(
        select(func.count(), func.min(Poll.stopped_at)).where(*recent)
    ).one()
    if not count:
        return
    latest = select(Order.courier_order_id, Poll.stop_reason).join(Poll, Poll.order_id == Order.id)
    order_id, reason = scene.session.execute(
        latest.where(*recent).order_by(Poll.stopped_at.desc()).limit(1)
    ).one()
    yield alert(
        "orders_given_up",
        account,
        f"nobody asks about {count} orders any more ({reason})",
        "Their status stays as it was. Ask the courier; `ordertrail refresh` starts anew.",
        since=since,
        count=count,
        example=order_id,
    )
