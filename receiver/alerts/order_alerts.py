"""Orders that do not move on as they should."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Interval, Text, func, select, text

from receiver.alerts.context import Alert, AlertContext, Rows, about, alert, each, heaps
from receiver.couriers.contract import Driver
from receiver.db.models import Order, eta_end, standing_at, standing_since, still_open
from receiver.orders.conflicts import OPEN_CONFLICT
from receiver.statuses import OPEN_STATUSES, VOCABULARY
from receiver.times import rfc3339

# An ETA may pass by so much; one that passed long ago is a stuck order's affair.
ETA_GRACE = timedelta(hours=2)
ETA_WITHIN = timedelta(days=3)
# An order that stood still for so long is forgotten: whoever asks about it has given it up.
FORGOTTEN_AFTER = timedelta(days=35)


def alerts(scene: AlertContext) -> Iterator[Alert]:
    yield from _stuck(scene)
    yield from _eta_slipped(scene)
    yield from _in_conflict(scene)


def stuck(scene: AlertContext) -> Rows:
    """By account and status, the orders that have stood there for longer than they may."""
    keys = [
        (account.slug, status, stay)
        for account, driver, _ in scene.accounts()
        for status, stay in stays(driver).items()
    ]
    accounts, names, longest = zip(*keys, strict=True) if keys else ((), (), ())
    of = each(account=(Text, accounts), status=(Text, names), stay=(Interval, longest))
    rows = select(standing_since.label("since"), Order.courier_order_id).where(
        still_open,
        standing_at == func.concat(of.c.account, " ", of.c.status),
        standing_since < scene.now - of.c.stay,
        standing_since > scene.now - FORGOTTEN_AFTER,
    )
    return heaps(of, rows, standing_since)


def slipped(scene: AlertContext) -> Rows:
    """By account, the orders on their way whose ETA has passed."""
    under_way = [name for name in OPEN_STATUSES if not VOCABULARY[name].attention]
    of = scene.slugs()
    rows = select(eta_end.label("eta"), Order.courier_order_id).where(
        still_open,
        Order.account == of.c.account,
        rfc3339(scene.now - ETA_GRACE) > eta_end,
        rfc3339(scene.now - ETA_WITHIN) < eta_end,
        Order.status.in_(under_way),
    )
    return heaps(of, rows, eta_end)


def in_conflict(scene: AlertContext) -> Rows:
    """By account, the orders with an open conflict, the newest first."""
    of = scene.slugs()
    rows = select(Order.courier_order_id, Order.updated_at).where(
        Order.conflicts != [], OPEN_CONFLICT, Order.account == of.c.account
    )
    return heaps(of, rows, Order.id.desc())


def stays(driver: Driver) -> Mapping[str, timedelta]:
    """How long an order of this courier may stand at each status."""
    return {name: stay for name, stay in driver.stays.items() if name in OPEN_STATUSES}


def _stuck(scene: AlertContext) -> Iterator[Alert]:
    by_account = defaultdict(list)
    for row in scene.rows(stuck(scene)):
        by_account[row.account].append(row)
    for account, found in sorted(by_account.items()):
        longest = ", ".join(
            f"{about(it.number)} at {it.status} for more than {_days(it.stay)}" for it in found
        )
        count = sum(it.number for it in found)
        since, example = min((it.since + it.stay, it.courier_order_id) for it in found)
        yield alert(
            "orders_stuck",
            account,
            f"{'an order does' if count == 1 else 'orders do'} not move on: {longest}",
            "`ordertrail explain <account> <order>`, then ask the courier what became of them.",
            since=since,
            count=count,
            example=example,
        )


def _days(stay: timedelta) -> str:
    hours = stay / timedelta(hours=1)
    return f"{hours:g} h" if hours < 72 else f"{hours / 24:g} days"  # noqa: PLR2004


def _eta_slipped(scene: AlertContext) -> Iterator[Alert]:
    for found in scene.rows(slipped(scene)):
        yield alert(
            "eta_slipped",
            found.account,
            f"{about(found.number, 'order is', 'orders are')} more than {ETA_GRACE} past"
            f" {'its' if found.number == 1 else 'their'} ETA",
            "Tell the customers; `ordertrail refresh <account> <order>` asks the courier.",
            since=datetime.fromisoformat(found.eta) + ETA_GRACE,
            count=found.number,
            example=found.courier_order_id,
        )


def _in_conflict(scene: AlertContext) -> Iterator[Alert]:
    for found in scene.rows(in_conflict(scene)):
        yield alert(
            "orders_in_conflict",
            found.account,
            f"the courier told of {about(found.number, 'order', 'orders')} what does not go"
            " together",
            "`ordertrail conflicts` lists them; `ordertrail conflicts close` says that one is dealt"
            " with.",
            since=found.updated_at,
            count=found.number,
            example=found.courier_order_id,
        )


# Only those that are open are counted: they are few, and their index tells them apart.
OPEN_BY_STATUS = text("""
    SELECT account, status, count(*) FROM orders WHERE status = ANY(:open) GROUP BY 1, 2
""")


def open_by_status(scene: AlertContext) -> Mapping[tuple[str, str], int]:
    """How many orders of each account stand at each status that is no end."""
    rows = scene.session.execute(OPEN_BY_STATUS, {"open": OPEN_STATUSES})
    return {(account, status): number for account, status, number in rows}
