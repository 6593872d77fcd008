"""Which accounts a list can be asked for: those that are configured, or have stored something."""

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from receiver.db.models import Message, Order
from receiver.errors import UnknownAccount
from receiver.settings import Settings


def require_known_account(session: Session, settings: Settings, account: str | None) -> None:
    """Check the account that a list is narrowed down to; None stands for all accounts.

    An account that was switched off is known as long as anything of it is stored. A misspelt one
    would be an empty list, which looks like good news.

    Raises: UnknownAccount.
    """
    if account is None or account in settings.accounts:
        return
    stored = (exists().where(table.account == account) for table in (Order, Message))
    if not session.scalar(select(or_(*stored))):
        raise UnknownAccount(
            f"account {account!r} is not configured: GET /v1/couriers lists the accounts"
        )
