"""What a courier answered, as a message on its way into the inbox."""

from datetime import datetime

from receiver.body import parse
from receiver.couriers import DRIVERS
from receiver.couriers.base import Heard
from receiver.errors import Undecodable, UnreadableBody
from receiver.inbox import Incoming
from receiver.models import PENDING, QUARANTINED
from receiver.settings import Account
from workers.aliases import further_names


def incoming(account: str, body: bytes, asked_at: datetime, wrong: str | None = None) -> Incoming:
    """An answer as a message; quarantined where something is wrong with it."""
    return Incoming(
        account=account,
        topic="orders",
        kind="poll",
        trust="fetched",
        body=body,
        received_at=asked_at,
        outcome=QUARANTINED if wrong else PENDING,
        reason=wrong,
    )


def what_is_wrong(
    account: Account, courier_order_id: str, body: bytes, asked_at: datetime
) -> str | None:
    """Why an answer cannot be used, in words; None where it tells of the order asked about."""
    try:
        told_of = names(account, body, asked_at)
    except (Undecodable, UnreadableBody) as wrong:
        return str(wrong).replace("\x00", "")[:2000]
    if courier_order_id in told_of:
        return None
    return f"asked about {courier_order_id!r}, the courier told of another order"


def names(account: Account, body: bytes, asked_at: datetime) -> set[str]:
    """Every name of the order that an answer tells of.

    Raises: Undecodable, UnreadableBody.
    """
    api = DRIVERS[account.driver].api
    if api is None:
        return set()
    orders = api.decode(parse(body), Heard(asked_at, "poll", account.field_map)).orders
    return {
        name
        for order in orders
        for name in (order.courier_order_id, *further_names(account, order))
    }
