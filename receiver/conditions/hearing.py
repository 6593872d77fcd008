"""Hearing from the couriers: who is silent, who is refused, who says far more than ever."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import func, select

from receiver import statuses
from receiver.conditions import silence
from receiver.conditions.catalogue import CRITICAL, WARNING
from receiver.conditions.scene import Alert, Scene, alert, setting
from receiver.couriers.base import Driver
from receiver.diagnosis import LIKELY, NOT_EXAMINED
from receiver.models import PENDING, AccountState, Message, Order, Refusal, Tally
from receiver.refusals import old_secret_used_at
from receiver.settings import Account
from receiver.statuses import OPEN_STATUSES
from receiver.tallies import EPOCH, KEPT_FOR, bucket

# Of an order that nothing was heard of for so long nobody expects a hook.
FRESH = timedelta(days=7)
MOST_ORDERS = 1_000
# So many refused credentials, the latest within this time: not a slip of the hand.
REFUSED, REFUSED_WITHIN = 3, timedelta(minutes=15)
CREDENTIAL = ("missing", "malformed", "wrong")
# A secret that nobody used for so long can be removed.
OLD_WITHIN = timedelta(days=1)
# A flood: so many times the busiest of the account's steps so far, and so many hooks at least.
FLOOD_STEP = timedelta(minutes=10)
FLOOD_TIMES, FLOOD_HOOKS = 3, 1_000
FLOOD_LEARNT = timedelta(days=7)


def alerts(scene: Scene) -> Iterator[Alert]:
    for account, driver, state in scene.accounts():
        refused = list(_refused(scene, account, state))
        yield from refused
        # Whose every hook is refused is not silent.
        if not any(found.severity == CRITICAL for found in refused):
            yield from _silent(scene, account, driver, state)
        yield from _old_secret(scene, account)
        yield from _flooding(scene, account.slug)


def _silent(
    scene: Scene, account: Account, driver: Driver, state: AccountState | None
) -> Iterator[Alert]:
    calls_once = driver.api is not None and driver.api.schedule.calls_once
    # Of a courier that calls once, only those it has not called about may make it call.
    waiting = [statuses.PENDING] if calls_once else OPEN_STATUSES
    count, oldest, example = _open_orders(scene, account.slug, waiting)
    begun = _begun(scene, account.slug)
    # What is kept and not folded yet was said all the same.
    heard = (state.last_hook_at if state else None, _kept_at(scene, account.slug))
    last = max((at for at in heard if at is not None), default=None)
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


def _kept_at(scene: Scene, account: str) -> datetime | None:
    """When the newest message came that waits for a worker."""
    waiting = (Message.account == account, Message.outcome == PENDING)
    newest = select(Message.received_at).where(*waiting).order_by(Message.id.desc()).limit(1)
    return scene.session.scalar(newest)


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


def _refused(scene: Scene, account: Account, state: AccountState | None) -> Iterator[Alert]:
    rows = scene.session.scalars(
        select(Refusal).where(
            Refusal.account == account.slug,
            Refusal.reason.in_(CREDENTIAL),
            Refusal.day >= (scene.now - timedelta(days=1)).date(),
        )
    ).all()
    count = sum(row.count for row in rows)
    if count < REFUSED or scene.now - max(row.last_at for row in rows) > REFUSED_WITHIN:
        return
    since = min(row.first_at for row in rows)
    # What was looked at says more than what was only counted.
    told = max(rows, key=lambda row: (row.likely != NOT_EXAMINED, row.count))
    likely, what_to_do = LIKELY[told.likely.partition(":")[0]]
    heard = state is not None and state.last_hook_at is not None and state.last_hook_at >= since
    yield alert(
        "credentials_refused",
        account.slug,
        f"{count:,} requests came with a credential that is {told.reason}, most likely {likely}"
        + ("" if heard else "; no right one came since"),
        what_to_do,
        since=since,
        count=count,
        severity=WARNING if heard else None,
    )


def _old_secret(scene: Scene, account: Account) -> Iterator[Alert]:
    at = old_secret_used_at(scene.session, account)
    if at is None or scene.now - at > OLD_WITHIN:
        return
    yield alert(
        "old_secret_used",
        account.slug,
        f"a secret that is not the first of {setting(account, 'SECRETS')} is in use",
        "Give the courier the first one; a day after the last use remove the old one.",
        since=at,
    )


def _flooding(scene: Scene, account: str) -> Iterator[Alert]:
    """Hooks are tallied once they are folded; until then a flood is a backlog."""
    lately = bucket(scene.now, FLOOD_STEP) - FLOOD_STEP
    hooks = func.coalesce(func.sum(Tally.hooks), 0)
    own = Tally.account == account
    now = scene.session.scalar(select(hooks).where(own, Tally.at >= lately)) or 0
    if now < FLOOD_HOOKS:
        return
    step = func.date_bin(FLOOD_STEP, Tally.at, EPOCH)
    before = (own, Tally.at < lately, Tally.at >= scene.now - KEPT_FOR)
    steps = select(hooks.label("hooks"), func.min(Tally.at).label("at")).where(*before)
    past = steps.group_by(step).subquery()
    busiest, begun = scene.session.execute(
        select(func.max(past.c.hooks), func.min(past.c.at))
    ).one()
    if begun is None or scene.now - begun < FLOOD_LEARNT or now < FLOOD_TIMES * busiest:
        return
    yield alert(
        "hooks_flooding",
        account,
        f"{now:,} hooks came within {(scene.now - lately).total_seconds() / 60:.0f} minutes; never"
        f" before were it more than {busiest:,} in ten",
        "Are they repetitions? Tell the courier; see deploy/runbook.md before anything is refused.",
        since=lately,
        count=now,
    )
