"""Finding what a person names, and telling a slip of the pen from what is not there."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from receiver.cli import main
from receiver.db.models import Order
from receiver.errors import UnknownAccount, UnknownOrder
from receiver.orders.find import find_order
from receiver.settings import Settings


def refuse_unknown(settings: Settings, account: str | None) -> None:
    """Raises: UnknownAccount where there is none of this name; None is any account."""
    if account is not None and account not in settings.accounts:
        known = ", ".join(sorted(settings.accounts)) or "none: see COURIER_<ACCOUNT>_SECRETS"
        raise UnknownAccount(f"no account {account!r} is switched on; there are: {known}")


def the_order(session: Session, account: str, order_id: str) -> Order:
    """Find the order that a person means.

    Raises: UnknownOrder, AmbiguousIdentifier, UnknownAccount; each says what may help.
    """
    try:
        return find_order(session, account, order_id)
    except UnknownOrder as unknown:
        _explain_unknown_order(session, account, order_id, unknown)
        raise


@contextmanager
def unknown_orders_explained(
    sessions: sessionmaker[Session], account: str, order_id: str
) -> Iterator[None]:
    """Add what may help to an UnknownOrder that is raised inside."""
    try:
        yield
    except UnknownOrder as unknown:
        with sessions() as session:
            _explain_unknown_order(session, account, order_id, unknown)
        raise


def _explain_unknown_order(
    session: Session, account: str, order_id: str, unknown: UnknownOrder
) -> None:
    """Raises: UnknownAccount; UnknownOrder with the command that finds it by reference."""
    refuse_unknown(main.settings(), account)
    if session.scalar(select(Order.id).where(Order.reference == order_id).limit(1)):
        command = f"ordertrail orders --reference {shlex.quote(order_id)}"
        raise UnknownOrder(
            f"{unknown}; it is the shop's reference of an order, though: {command}"
        ) from None
