"""What a person should know of now: the conditions, computed in one place, and GET /v1/alerts.

One alert for each condition and account, however many orders it is about: a hundred orders that are
given up are one piece of news.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from receiver import schemas
from receiver.models import QUARANTINED, AccountState, Message, Order, Poll
from receiver.parts import parts
from receiver.routes import Routes
from receiver.settings import Account

alerts = Routes("alerts", __name__, description="What a person should know of")

WARNING, CRITICAL = "warning", "critical"
# A courier may be away for so long before it is news.
FAILING_FOR = timedelta(minutes=10)
# An order may be unknown to its courier for so long after it was placed.
UNKNOWN_FOR = timedelta(hours=2)
# Orders that were given up longer ago than this are history.
GIVEN_UP_WITHIN = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that holds; example is one of the orders or messages that it is about."""

    condition: str
    severity: str
    account: str
    since: datetime | None
    count: int
    example: str | None
    summary: str
    what_to_do: str


@alerts.get("/alerts")
@alerts.response(200, schemas.AlertList)
def list_alerts() -> dict[str, Any]:
    """The conditions that hold now and that a person should know of."""
    app = parts()
    with app.sessions() as session:
        return {"alerts": list(conditions(session, app.settings.accounts, datetime.now(UTC)))}


def conditions(session: Session, accounts: Mapping[str, Account], now: datetime) -> Iterator[Alert]:
    """All conditions that hold, account by account."""
    states = {state.account: state for state in session.scalars(select(AccountState))}
    for slug, account in sorted(accounts.items()):
        if slug in states:
            yield from _pause(states[slug], account, now)
        yield from _unknown(session, account, now)
        yield from _given_up(session, slug, now)
        yield from _quarantined(session, slug)


def _pause(state: AccountState, account: Account, now: datetime) -> Iterator[Alert]:
    name = account.slug.upper().replace("-", "_")
    if state.paused_at is None:
        return
    if state.pause_reason == "refused":
        yield Alert(
            "poll_refused",
            CRITICAL,
            account.slug,
            state.paused_at,
            1,
            None,
            "the courier does not accept our credentials, so nobody asks it",
            f"Check COURIER_{name}_API_TOKEN (and _API_USER), and restart the workers.",
        )
    elif state.pause_reason == "failing" and now - state.paused_at >= FAILING_FOR:
        yield Alert(
            "poll_failing",
            WARNING,
            account.slug,
            state.paused_at,
            state.failures,
            None,
            f"the courier's API failed {state.failures} requests in a row",
            "See the workers' log for what it answers; it is tried again by itself.",
        )


def _unknown(session: Session, account: Account, now: datetime) -> Iterator[Alert]:
    """Orders that the courier says it does not know: one may be new, many mean a wrong address."""
    of_account = (Poll.account == account.slug, Poll.unknown_since < now - UNKNOWN_FOR)
    count, since, order_id = session.execute(
        select(func.count(), func.min(Poll.unknown_since), func.max(Poll.order_id)).where(
            *of_account
        )
    ).one()
    if count:
        name = account.slug.upper().replace("-", "_")
        yield Alert(
            "orders_unknown",
            WARNING,
            account.slug,
            since,
            count,
            session.scalar(select(Order.courier_order_id).where(Order.id == order_id)),
            f"the courier says that it does not know {count} orders",
            f"Check COURIER_{name}_API_URL if they are many, else the orders' ids.",
        )


def _given_up(session: Session, account: str, now: datetime) -> Iterator[Alert]:
    recent = (Poll.account == account, Poll.stopped_at > now - GIVEN_UP_WITHIN)
    count, since = session.execute(
        select(func.count(), func.min(Poll.stopped_at)).where(*recent)
    ).one()
    if not count:
        return
    latest = select(Order.courier_order_id, Poll.stop_reason).join(Poll, Poll.order_id == Order.id)
    order_id, reason = session.execute(
        latest.where(*recent).order_by(Poll.stopped_at.desc()).limit(1)
    ).one()
    yield Alert(
        "orders_given_up",
        WARNING,
        account,
        since,
        count,
        order_id,
        f"nobody asks about {count} orders any more ({reason})",
        "Their status stays as it was. Ask the courier; `ordertrail refresh` starts anew.",
    )


def _quarantined(session: Session, account: str) -> Iterator[Alert]:
    own = (Message.account == account, Message.outcome == QUARANTINED)
    count, since, latest = session.execute(
        select(func.count(), func.min(Message.received_at), func.max(Message.id)).where(*own)
    ).one()
    if count:
        yield Alert(
            "messages_quarantined",
            WARNING,
            account,
            since,
            count,
            str(latest),
            f"{count} messages could not be read",
            "`ordertrail messages show <id>` says why; after a fix `ordertrail retry` them.",
        )
