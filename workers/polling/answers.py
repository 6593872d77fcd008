"""What a courier answered, as a message on its way into the inbox."""

from datetime import datetime

from receiver.couriers import DRIVERS
from receiver.couriers.snapshot import Decoded, MessageContext
from receiver.db.models import PENDING, QUARANTINED
from receiver.errors import Undecodable, UnreadableBody
from receiver.inbox.accept import Incoming
from receiver.inbox.json_body import parse_body
from receiver.settings import Account
from workers.folding.order_identity import further_names
from workers.polling.leases import Claim


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


def what_is_wrong(account: Account, claim: Claim, body: bytes, asked_at: datetime) -> str | None:
    """Why an answer cannot be used, in words; None where it tells of the order asked about.

    Until the courier's own id is known, any name by which the order was asked for will do.
    """
    try:
        snapshots = _read(account, body, asked_at).orders
    except (Undecodable, UnreadableBody) as wrong:
        return str(wrong).replace("\x00", "")[:2000]
    for snapshot in snapshots:
        names = {snapshot.courier_order_id}
        if not claim.is_courier_id:
            names |= further_names(account, snapshot)
        if claim.courier_order_id in names:
            return None
    return f"asked about {claim.courier_order_id!r}, the courier told of another order"


def ids(account: Account, body: bytes, asked_at: datetime) -> set[str]:
    """Every name that the courier itself gave to the order that a body tells of.

    Raises: Undecodable, UnreadableBody.
    """
    snapshots = _read(account, body, asked_at).orders
    return {name for it in snapshots for name in (it.courier_order_id, *it.identifiers.values())}


def tell_the_same(account: Account, before: bytes, incoming: Incoming) -> bool:
    """Whether an answer tells what the one before told, whatever else changes in it each time."""
    try:
        now = _read(account, incoming.body, incoming.received_at)
        return now == _read(account, before, incoming.received_at)
    except (Undecodable, UnreadableBody):
        return False


def _read(account: Account, body: bytes, asked_at: datetime) -> Decoded:
    api = DRIVERS[account.driver].api
    assert api is not None  # noqa: S101 (nobody asks without one)
    return api.decode(parse_body(body), MessageContext(asked_at, "poll", account.field_map))
