"""When each order is asked about next: what hearing of an order does to its row in `polls`.

Only orders of accounts whose courier can be asked have such a row. The asking itself is
workers/polling/poller.py; nothing there or here writes an order.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from receiver.couriers import DRIVERS
from receiver.couriers.schedule import Schedule, Standing, next_look
from receiver.db.models import Order
from receiver.settings import Account
from receiver.statuses import VOCABULARY

# However often an order is to be confirmed or refreshed, its courier is asked no more often.
LEAST_BETWEEN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class News:
    """An order that was just heard of; hook: by a hook, and not only by our own asking."""

    order: Order
    hook: bool


def schedule_of(account: Account) -> Schedule | None:
    """When the account's courier is asked; None where it cannot be."""
    api = DRIVERS[account.driver].api
    return api.schedule if api is not None and account.access is not None else None


def standing(order: Order, heard_at: datetime | None, quiet: int = 0) -> Standing:
    """What decides when an order is looked at next.

    heard_at: when it was last heard of, where that is later than its last message.
    """
    heard = [at for at in (heard_at, order.last_heard_at) if at is not None]
    return Standing(
        order_id=order.id,
        status=order.status,
        status_at=order.status_at,
        placed_at=placed_at(order),
        heard_at=max(heard, default=None),
        complete=order.label_url is not None and bool(order.parcels),
        pickup_at=order.pickup_at,
        quiet=quiet,
    )


def placed_at(order: Order) -> datetime:
    """When an order was placed with its courier, as far as we know."""
    reached = [datetime.fromisoformat(at) for at in (order.milestones or {}).values()]
    return min([order.created_at, *reached])


# answer_id: 0 leaves it as it is, NULL makes the next answer count as new, whatever it says.
PLAN = text("""
    INSERT INTO polls AS known (order_id, account, placed_at, due_at, finished_at, answer_id)
    SELECT order_id, account, placed_at, due_at, CASE WHEN due_at IS NULL THEN :now END, answer_id
    FROM unnest(CAST(:order_id AS bigint[]), CAST(:account AS text[]),
                CAST(:placed_at AS timestamptz[]), CAST(:due_at AS timestamptz[]),
                CAST(:answer_id AS bigint[]))
         AS told (order_id, account, placed_at, due_at, answer_id)
    ON CONFLICT (order_id) DO UPDATE
    SET placed_at = least(known.placed_at, excluded.placed_at),
        due_at = CASE WHEN excluded.due_at IS NOT NULL
                      THEN greatest(excluded.due_at, known.polled_at + :least_between) END,
        finished_at = excluded.finished_at,
        quiet = 0, unchanged_for = '0', failures = 0, unknown_since = NULL,
        stopped_at = NULL, stop_reason = NULL,
        answer_id = CASE WHEN excluded.answer_id IS NULL THEN NULL ELSE known.answer_id END
""")


def plan(
    session: Session,
    heard: Collection[News],
    accounts: Mapping[str, Account],
    factor: float,
    now: datetime,
) -> None:
    """Start the schedule of these orders anew: something new was heard of each.

    factor: POLL_INTERVAL_FACTOR.
    """
    rows = []
    for news in sorted(heard, key=lambda news: news.order.id):
        order = news.order
        schedule = schedule_of(accounts[order.account])
        if schedule is None:
            continue
        due_at = next_look(schedule, standing(order, None), factor)
        if news.hook and is_unconfirmed(order, accounts[order.account]):
            due_at = now
        rows.append((order.id, order.account, placed_at(order), due_at, None if news.hook else 0))
    if not rows:
        return
    names = ("order_id", "account", "placed_at", "due_at", "answer_id")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    session.execute(PLAN, {"now": now, "least_between": LEAST_BETWEEN * factor, **columns})


def is_unconfirmed(order: Order, account: Account) -> bool:
    """Whether the status stands on an unsigned hook's word, and the account wants it confirmed."""
    if account.confirm == "none" or order.source is None or order.source["trust"] != "token":
        return False
    return account.confirm == "all" or VOCABULARY[order.status].terminal


# An order of which no row is there yet was known before its account could be polled.
ASK_NOW = text("""
    INSERT INTO polls AS known (order_id, account, placed_at, due_at)
    VALUES (:order_id, :account, :placed_at, :now)
    ON CONFLICT (order_id) DO UPDATE
    SET due_at = greatest(excluded.due_at, known.polled_at + :least_between),
        quiet = 0, failures = 0, unchanged_for = '0', unknown_since = NULL,
        finished_at = NULL, stopped_at = NULL, stop_reason = NULL
    RETURNING due_at
""")


def ask_now(session: Session, order: Order, account: str, now: datetime, factor: float) -> datetime:
    """Make an order due at once, also one that is over or was given up; when it is due.

    An order that was looked at a moment ago is due a little later: nobody's impatience is to cost
    an account its courier's goodwill.
    """
    values = {
        "order_id": order.id,
        "account": account,
        "placed_at": placed_at(order),
        "now": now,
        "least_between": LEAST_BETWEEN * factor,
    }
    due_at: datetime = session.execute(ASK_NOW, values).scalar_one()
    return due_at
