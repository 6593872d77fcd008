"""Write the audit log: one row for each action, in the action's own transaction.

So an action that was rolled back is not in the log, and none that was committed is missing. The
log names orders by the courier's id and holds no reference, no body and no note.
"""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from receiver.audit.actor import current_actor
from receiver.db.bulk import insert_rows
from receiver.db.models import AuditEntry

REGISTER = "register"
CHANGE = "change"
DELETE = "delete"
ERASE = "erase"
RETRY = "retry"
DISCARD = "discard"
CLOSE = "close"
REFRESH = "refresh"
ACKNOWLEDGE = "acknowledge"
SIGN_IN = "sign_in"
SIGN_OUT = "sign_out"
ACTIONS = (
    *(REGISTER, CHANGE, DELETE, ERASE, RETRY, DISCARD, CLOSE, REFRESH, ACKNOWLEDGE),
    *(SIGN_IN, SIGN_OUT),
)


def record_action(
    session: Session,
    action: str,
    *,
    account: str | None = None,
    courier_order_id: str | None = None,
    message_id: int | None = None,
) -> None:
    """Record that the current actor did something, in the caller's transaction.

    action: one of ACTIONS.
    """
    _insert(session, action, [(account, courier_order_id, message_id)])


def record_actions(session: Session, action: str, orders: Iterable[tuple[str, str]]) -> None:
    """Record one action on several orders at once.

    orders: the account and the courier's id of each.
    """
    _insert(session, action, [(*order, None) for order in orders])


def _insert(
    session: Session, action: str, subjects: Iterable[tuple[str | None, str | None, int | None]]
) -> None:
    actor = current_actor()
    rows = [
        {
            "who": actor.who,
            "token_name": actor.token_name,
            "action": action,
            "account": account,
            "courier_order_id": courier_order_id,
            "message_id": message_id,
            "request_id": actor.request_id,
        }
        for account, courier_order_id, message_id in subjects
    ]
    insert_rows(session, AuditEntry, rows)
