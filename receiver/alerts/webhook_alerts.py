"""Hearing from the couriers: who is silent, who is refused, who says far more than ever."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from sqlalchemy import Text, func, select, true

from receiver import statuses
from receiver.accounts.credential_diagnosis import LIKELY, NOT_EXAMINED
from receiver.accounts.refused_credentials import find_old_secret_use, read_secret_uses
from receiver.alerts import learned_silence
from receiver.alerts.catalogue import CRITICAL, WARNING
from receiver.alerts.context import Alert, AlertContext, Rows, about, alert, each, setting
from receiver.alerts.learned_silence import Hush
from receiver.couriers.contract import Driver
from receiver.db.models import PENDING, Message, Order, Refusal, Tally
from receiver.stats.history import EPOCH, KEPT_FOR, start_of_step
from receiver.statuses import OPEN_STATUSES

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


def alerts(scene: AlertContext) -> Iterator[Alert]:
    refused = list(_refused(scene))
    yield from refused
    # Whose every hook is refused is not silent.
    yield from _silent(scene, {it.account for it in refused if it.severity == CRITICAL})
    yield from _old_secret(scene)
    yield from _flooding(scene)


def _silent(scene: AlertContext, but: Collection[str | None]) -> Iterator[Alert]:
    waiting = {it.account: it for it in scene.rows(_open_orders(scene)) if it.account not in but}
    # Without an open order no hook is to be expected.
    hushes = {}
    heard: dict[str, datetime | None] = {}
    for account, driver, state in scene.accounts():
        slug = account.slug
        if slug not in waiting:
            continue
        found = waiting[slug]
        # What is kept and not folded yet was said all the same.
        calls = (state.last_hook_at if state else None, found.kept_at)
        heard[slug] = max((at for at in calls if at is not None), default=None)
        hushes[slug] = Hush(driver.zone, heard[slug] or found.oldest, found.begun)
    pasts = learned_silence.look_back(scene.session, hushes, scene.now)
    for slug, before in pasts.items():
        count, since = int(waiting[slug].number), hushes[slug].since
        why = learned_silence.why_silent(before, count, scene.now - since)
        if why is None:
            continue
        last = heard[slug]
        silent = "has never called" if last is None else f"is silent since {since:%d %b %H:%M} UTC"
        yield alert(
            "courier_silent",
            slug,
            f"the courier {silent}, with {about(count, 'open order', 'open orders')}: {why}",
            "See whether hooks reach us (deploy/runbook.md); ask the courier where it sends them.",
            since=since,
            count=count,
            example=waiting[slug].newest,
        )


def _open_orders(scene: AlertContext) -> Rows:
    """Of each account that has any: how many orders may make its courier call, since when, and the
    newest of them; beside them when it began to call, and when the newest message came that waits
    for a worker.
    """
    keys = [
        (account.slug, status)
        for account, driver, _ in scene.accounts()
        for status in _may_call(driver)
    ]
    accounts, names = zip(*keys, strict=True) if keys else ((), ())
    at = each(account=(Text, accounts), status=(Text, names))
    fresh = (
        select(Order.id, Order.created_at)
        .where(
            Order.status == at.c.status,
            Order.account == at.c.account,
            Order.updated_at > scene.now - FRESH,
        )
        .limit(MOST_ORDERS)
        .lateral("fresh")
    )
    own = (
        select(
            at.c.account,
            func.count().label("number"),
            func.min(fresh.c.created_at).label("oldest"),
            func.max(fresh.c.id).label("newest_id"),
        )
        .select_from(at)
        .join(fresh, true())
        .group_by(at.c.account)
        .subquery("own")
    )
    kept = (
        select(Message.received_at)
        .where(Message.account == own.c.account, Message.outcome == PENDING)
        .order_by(Message.id.desc())
        .limit(1)
    )
    begun = select(func.min(Tally.at)).where(Tally.account == own.c.account, Tally.hooks > 0)
    newest = select(Order.courier_order_id).where(Order.id == own.c.newest_id)
    return select(
        *(own.c.account, own.c.number, own.c.oldest),
        newest.scalar_subquery().label("newest"),
        kept.scalar_subquery().label("kept_at"),
        begun.scalar_subquery().label("begun"),
    )


def _may_call(driver: Driver) -> Collection[str]:
    """Where an order stands of which a hook may come.

    Of a courier that calls once, only those it has not called about may make it call.
    """
    calls_once = driver.api is not None and driver.api.schedule.calls_once
    return [statuses.PENDING] if calls_once else OPEN_STATUSES


def _refused(scene: AlertContext) -> Iterator[Alert]:
    of_account = defaultdict(list)
    lately = select(Refusal).where(
        Refusal.account.in_(scene.settings.accounts),
        Refusal.reason.in_(CREDENTIAL),
        Refusal.day >= (scene.now - timedelta(days=1)).date(),
    )
    for row in scene.session.scalars(lately):
        of_account[row.account].append(row)
    for slug, rows in sorted(of_account.items()):
        count = sum(row.count for row in rows)
        if count < REFUSED or scene.now - max(row.last_at for row in rows) > REFUSED_WITHIN:
            continue
        since = min(row.first_at for row in rows)
        # What was looked at says more than what was only counted.
        told = max(rows, key=lambda row: (row.likely != NOT_EXAMINED, row.count))
        likely, what_to_do = LIKELY[told.likely.partition(":")[0]]
        state = scene.states.get(slug)
        heard = state is not None and state.last_hook_at is not None and state.last_hook_at >= since
        yield alert(
            "credentials_refused",
            slug,
            f"{count:,} requests came with a credential that is {told.reason}, most likely {likely}"
            + ("" if heard else "; no right one came since"),
            what_to_do,
            since=since,
            count=count,
            severity=WARNING if heard else None,
        )


def _old_secret(scene: AlertContext) -> Iterator[Alert]:
    uses = read_secret_uses(scene.session)
    for account, _, _ in scene.accounts():
        at = find_old_secret_use(uses, account)
        if at is None or scene.now - at > OLD_WITHIN:
            continue
        yield alert(
            "old_secret_used",
            account.slug,
            f"a secret that is not the first of {setting(account, 'SECRETS')} is in use",
            "Give the courier the first one; a day after the last use remove the old one.",
            since=at,
        )


def _flooding(scene: AlertContext) -> Iterator[Alert]:
    """Hooks are tallied once they are folded; until then a flood is a backlog."""
    lately = start_of_step(scene.now, FLOOD_STEP) - FLOOD_STEP
    hooks = func.sum(Tally.hooks)
    much = (
        select(Tally.account, hooks)
        .where(Tally.account.in_(scene.settings.accounts), Tally.at >= lately)
        .group_by(Tally.account)
        .having(hooks >= FLOOD_HOOKS)
    )
    now = {row[0]: row[1] for row in scene.rows(much)}
    if not now:
        return
    step = func.date_bin(FLOOD_STEP, Tally.at, EPOCH)
    before = (Tally.account.in_(now), Tally.at < lately, Tally.at >= scene.now - KEPT_FOR)
    steps = select(Tally.account, hooks.label("hooks"), func.min(Tally.at).label("at"))
    past = steps.where(*before).group_by(Tally.account, step).subquery()
    busiest = select(past.c.account, func.max(past.c.hooks), func.min(past.c.at))
    for account, most, begun in scene.session.execute(busiest.group_by(past.c.account)):
        if scene.now - begun < FLOOD_LEARNT or now[account] < FLOOD_TIMES * most:
            continue
        yield alert(
            "hooks_flooding",
            account,
            f"{now[account]:,} hooks came within {(scene.now - lately).total_seconds() / 60:.0f}"
            f" minutes; never before were it more than {most:,} in ten",
            "Are they repetitions? Tell the courier; see deploy/runbook.md before anything is"
            " refused.",
            since=lately,
            count=now[account],
        )
