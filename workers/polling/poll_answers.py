"""A courier's answers to polls: decoded once, to check them, and turned into messages."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from receiver.couriers import DRIVERS
from receiver.couriers.snapshot import Decoded, MessageContext
from receiver.db.models import PENDING, QUARANTINED
from receiver.errors import Undecodable, UnreadableBody
from receiver.inbox.accept import IncomingMessage
from receiver.inbox.json_body import parse_body
from receiver.settings import Account
from workers.folding.order_identity import further_names
from workers.polling.leases import Lease


@dataclass(frozen=True, slots=True)
class PollAnswer:
    """A courier's answer about one order.

    message: quarantined, with the reason, if the answer cannot be used.
    decoded: None if it cannot be decoded.
    """

    lease: Lease
    message: IncomingMessage
    decoded: Decoded | None


def read_answer(
    account: Account, lease: Lease, body: bytes, document: dict[str, Any], asked_at: datetime
) -> PollAnswer:
    """Decode the answer about one order and check that it is about that order.

    body, document: the JSON object as it came, and parsed.
    """
    decoded, problem = None, None
    try:
        decoded = _decode(account, document, asked_at)
    except Undecodable as error:
        problem = str(error).replace("\x00", "")[:2000]
    else:
        if not _is_about(account, lease, decoded):
            problem = f"polled {lease.courier_order_id!r}, the courier answered about another order"
    return PollAnswer(lease, answer_message(account, body, asked_at, problem), decoded)


def read_list(
    account: Account, bodies: Collection[bytes], leases: Mapping[str, Lease], asked_at: datetime
) -> dict[str, PollAnswer]:
    """Return what a page of the courier's list says about leased orders, by their name.

    An order that cannot be decoded is left out: it is polled by itself, and quarantined then.
    """
    answers: dict[str, PollAnswer] = {}
    for body in bodies:
        try:
            decoded = _decode(account, parse_body(body), asked_at)
        except (Undecodable, UnreadableBody):
            continue
        message = answer_message(account, body, asked_at)
        for snapshot in decoded.orders:
            for name in {snapshot.courier_order_id, *snapshot.identifiers.values()} & leases.keys():
                answers[name] = PollAnswer(leases[name], message, decoded)
    return answers


def answer_message(
    account: Account, body: bytes, asked_at: datetime, problem: str | None = None
) -> IncomingMessage:
    """Return an answer as a message, quarantined if there is a problem with it."""
    return IncomingMessage(
        account=account.slug,
        topic="orders",
        kind="poll",
        trust="fetched",
        body=body,
        received_at=asked_at,
        outcome=QUARANTINED if problem else PENDING,
        reason=problem,
    )


def has_same_content(account: Account, before: bytes, answer: PollAnswer) -> bool:
    """Return whether an answer says the same as the body of an earlier one.

    Some couriers' answers hold a value that differs each time, such as the server's clock.
    """
    try:
        earlier = _decode(account, parse_body(before), answer.message.received_at)
    except (Undecodable, UnreadableBody):
        return False
    return answer.decoded == earlier


def _is_about(account: Account, lease: Lease, decoded: Decoded) -> bool:
    """Until the courier's own id is known, any name under which the order was polled will do."""
    for snapshot in decoded.orders:
        names = {snapshot.courier_order_id}
        if not lease.is_courier_id:
            names |= further_names(account, snapshot)
        if lease.courier_order_id in names:
            return True
    return False


def _decode(account: Account, document: dict[str, Any], asked_at: datetime) -> Decoded:
    api = DRIVERS[account.driver].api
    assert api is not None  # noqa: S101 (only accounts with an API are polled)
    return api.decode(document, MessageContext(asked_at, "poll", account.field_map))
