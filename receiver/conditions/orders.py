"""Orders that do not move on as they should."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Select, select, text

from receiver.conditions.scene import Alert, Scene, about, alert
from receiver.couriers.base import Driver, rfc3339
from receiver.models import Order, eta_end, standing_at, standing_since, still_open
from receiver.registry import OPEN_CONFLICT
from receiver.statuses import OPEN_STATUSES, VOCABULARY

# An ETA may pass by so much; one that passed long ago is a stuck order's affair.
ETA_GRACE = timedelta(hours=2)
ETA_WITHIN = timedelta(days=3)
# An order that stood still for so long is forgotten: whoever asks about it has given it up.
FORGOTTEN_AFTER = timedelta(days=35)


def alerts(scene: Scene) -> Iterator[Alert]:
    for account, driver, _ in scene.accounts():
        yield from _stuck(scene, account.slug, driver)
        yield from _eta_slipped(scene, account.slug)
        yield from _in_conflict(scene, account.slug)


def stuck(account: str, status: str, stay: timedelta, now: datetime) -> Select[int]:
    """Orders that have stood at a status for longer than `stay`."""
    return select(Order.id).where(
        still_open,
        standing_at == f"{account} {status}",
        standing_since < now - stay,
        standing_since > now - FORGOTTEN_AFTER,
    )


def slipped(account: str, now: datetime) -> Select[int]:
    """Orders on their way whose ETA has passed."""
    under_way = [name for name in OPEN_STATUSES if not VOCABULARY[name].attention]
    return select(Order.id).where(
        still_open,
        Order.account == account,
        rfc3339(now - ETA_GRACE) > eta_end,
        rfc3339(now - ETA_WITHIN) < eta_end,
        Order.status.in_(under_way),
    )


def in_conflict(account: str) -> Select[int]:
    """Orders with an open conflict."""
    return select(Order.id).where(Order.conflicts != [], OPEN_CONFLICT, Order.account == account)


def stays(driver: Driver) -> Mapping[str, timedelta]:
    """How long an order of this courier may stand at each status."""
    return {name: stay for name, stay in driver.stays.items() if name in OPEN_STATUSES}


def _stuck(scene: Scene, account: str, driver: Driver) -> Iterator[Alert]:
    found: dict[str, tuple[int, datetime, str]] = {}
    for status, stay in stays(driver).items():
        rows = stuck(account, status, stay, scene.now)
        oldest = scene.session.execute(
            rows.with_only_columns(standing_since, Order.courier_order_id)
            .order_by(standing_since)
            .limit(1)
        ).first()
        if oldest is not None:
            found[status] = (scene.count(rows), oldest[0] + stay, oldest[1])
    if not found:
        return
    longest = ", ".join(
        f"{about(count)} at {status} for more than {_days(driver.stays[status])}"
        for status, (count, _, _) in found.items()
    )
    since, example = min((since, example) for _, since, example in found.values())
    yield alert(
        "orders_stuck",
        account,
        f"orders do not move on: {longest}",
        "`ordertrail explain <account> <order>`, then ask the courier what became of them.",
        since=since,
        count=sum(count for count, _, _ in found.values()),
        example=example,
    )


def _days(stay: timedelta) -> str:
    hours = stay / timedelta(hours=1)
    return f"{hours:g} h" if hours < 72 else f"{hours / 24:g} days"  # noqa: PLR2004


def _eta_slipped(scene: Scene, account: str) -> Iterator[Alert]:
    rows = slipped(account, scene.now)
    first = scene.session.execute(
        rows.with_only_columns(eta_end, Order.courier_order_id).order_by(eta_end).limit(1)
    ).first()
    if first is None:
        return
    count = scene.count(rows)
    yield alert(
        "eta_slipped",
        account,
        f"{about(count)} orders are more than {ETA_GRACE} past their ETA",
        "Tell the customers; `ordertrail refresh <account> <order>` asks the courier.",
        since=datetime.fromisoformat(first[0]) + ETA_GRACE,
        count=count,
        example=first[1],
    )


def _in_conflict(scene: Scene, account: str) -> Iterator[Alert]:
    rows = in_conflict(account)
    latest = scene.session.execute(
        rows.with_only_columns(Order.courier_order_id, Order.updated_at)
        .order_by(Order.id.desc())
        .limit(1)
    ).first()
    if latest is None:
        return
    count = scene.count(rows)
    yield alert(
        "orders_in_conflict",
        account,
        f"the courier told of {about(count)} orders what does not go together",
        "`ordertrail conflicts` lists them; `ordertrail conflicts close` says that one is dealt"
        " with.",
        since=latest[1],
        count=count,
        example=latest[0],
    )


# Only those that are open are counted: they are few, and their index tells them apart.
OPEN_BY_STATUS = text("""
    SELECT account, status, count(*) FROM orders WHERE status = ANY(:open) GROUP BY 1, 2
""")


def open_by_status(scene: Scene) -> Mapping[tuple[str, str], int]:
    """How many orders of each account stand at each status that is no end."""
    rows = scene.session.execute(OPEN_BY_STATUS, {"open": OPEN_STATUSES})
    return {(account, status): number for account, status, number in rows}
