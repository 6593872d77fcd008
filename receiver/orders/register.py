"""What the shop sends us to do about an order: put it on record, ask its courier now."""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.db.models import AccountState, Order
from receiver.errors import NotPolled, UnknownAccount
from receiver.orders.find import find_order, register
from receiver.orders.poll_plan import News, ask_now, plan
from receiver.settings import Settings


def put_on_record(
    session: Session, settings: Settings, new: dict[str, Any], now: datetime
) -> tuple[Order, bool]:
    """Register an order and start asking about it; with whether it is new to us.

    new: as schemas.NewOrder gives it. The caller commits at once, then rings both bells.

    Raises: UnknownAccount.
    """
    account = settings.accounts.get(new["account"])
    if account is None:
        raise UnknownAccount("no such account is switched on")
    told = {name: value for name, value in new.items() if name != "account"}
    order, created = register(session, account.slug, account.driver, now=now, **told)
    if created:
        factor = settings.poll_interval_factor
        plan(session, [News(order, hook=True)], settings.accounts, factor, now)
        session.refresh(order, ["poll"])
    return order, created


def ask_courier(
    session: Session, settings: Settings, account: str, order_id: str, now: datetime
) -> dict[str, Any]:
    """Let an order's courier be asked about it now, as schemas.Refreshed shows it.

    Raises: UnknownOrder, AmbiguousIdentifier; NotPolled.
    """
    order = find_order(session, account, order_id)
    contract = settings.accounts.get(account)
    if contract is None or contract.access is None:
        raise NotPolled(
            f"account {account!r} cannot be polled: it is off, or has no API_TOKEN or API_URL"
        )
    due_at = ask_now(session, order, contract.slug, now, settings.poll_interval_factor)
    paused_until = session.scalar(
        select(AccountState.paused_until).where(AccountState.account == contract.slug)
    )
    return {
        "account": order.account,
        "courier_order_id": order.courier_order_id,
        "next_poll_at": max(due_at, paused_until or due_at),
    }
