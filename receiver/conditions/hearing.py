"""Hearing from the couriers: who fell silent, and who comes with a credential that is wrong."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import func, select

from receiver import statuses
from receiver.conditions import silence
from receiver.conditions.scene import Alert, Scene, alert
from receiver.couriers.base import Driver
from receiver.models import AccountState, Order, Tally
from receiver.settings import Account
from receiver.statuses import OPEN_STATUSES

# Of an order that nothing was heard of for so long nobody expects a hook.
FRESH = timedelta(days=7)
MOST_ORDERS = 1_000


def alerts(scene: Scene) -> Iterator[Alert]:
    for account, driver, state in scene.accounts():
        yield from _silent(scene, account, driver, state)


def _silent(
    scene: Scene, account: Account, driver: Driver, state: AccountState | None
) -> Iterator[Alert]:
    calls_once = driver.api is not None and driver.api.schedule.calls_once
    # Of a courier that calls once, only those it has not called about may make it call.
    waiting = [statuses.PENDING] if calls_once else OPEN_STATUSES
    count, oldest, example = _open_orders(scene, account.slug, waiting)
    begun = _begun(scene, account.slug)
    last = state.last_hook_at if state else None
    since = last or oldest
    if since is None:
        return
    before = (
        silence.past(scene.session, account.slug, driver.zone, since, scene.now, begun)
        if begun is not None
        else silence.Past((), 0.0)
    )
    missed = _missed(scene, account.slug, since)
    found = silence.why_silent(before, count, scene.now - since, missed)
    if found is None:
        return
    silent = "has never called" if last is None else f"is silent since {since:%d %b %H:%M} UTC"
    yield alert(
        "courier_silent",
        account.slug,
        f"the courier {silent}, with {count} open orders: {found['why']}",
        "See whether hooks reach us (deploy/runbook.md); ask the courier where it sends them.",
        since=since,
        count=count,
        example=example,
    )


def _open_orders(
    scene: Scene, account: str, waiting: list[str]
) -> tuple[int, datetime | None, str | None]:
    """How many orders may make the courier call, when the oldest came, and the newest of them."""
    count, oldest, newest = 0, None, 0
    for status in waiting:
        fresh = (
            select(Order.id, Order.created_at)
            .where(
                Order.status == status,
                Order.account == account,
                Order.updated_at > scene.now - FRESH,
            )
            .limit(MOST_ORDERS)
            .subquery()
        )
        row = scene.session.execute(
            select(func.count(), func.min(fresh.c.created_at), func.max(fresh.c.id))
        ).one()
        count += row[0]
        oldest = min((at for at in (oldest, row[1]) if at is not None), default=None)
        newest = max(newest, row[2] or 0)
    return count, oldest, scene.order(newest or None)


def _begun(scene: Scene, account: str) -> datetime | None:
    return scene.session.scalar(
        select(func.min(Tally.at)).where(Tally.account == account, Tally.hooks > 0)
    )


def _missed(scene: Scene, account: str, since: datetime) -> int:
    total = select(func.coalesce(func.sum(Tally.missed), 0))
    return scene.session.scalar(total.where(Tally.account == account, Tally.at > since)) or 0
