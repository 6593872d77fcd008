"""The statuses of an order: their names, groups and ranks.

Readers of the API must expect further statuses and treat one that they do not know by its group.
"""

from dataclasses import dataclass

PENDING = "pending"
INFO_RECEIVED = "info_received"
AWAITING_PICKUP = "awaiting_pickup"
PICKUP_FAILED = "pickup_failed"
PICKED_UP = "picked_up"
IN_TRANSIT = "in_transit"
OUT_FOR_DELIVERY = "out_for_delivery"
EXCEPTION = "exception"
DELIVERY_FAILED = "delivery_failed"
RETURNING = "returning"
LOST = "lost"
CANCELLED = "cancelled"
RETURNED = "returned"
DELIVERED = "delivered"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Status:
    """A status.

    rank: breaks ties between events of the same second; it never outweighs time.
    terminal: the courier is not polled any more; its webhooks still count.
    attention: a person should act.
    """

    name: str
    group: str
    rank: int
    terminal: bool = False
    attention: bool = False


VOCABULARY: dict[str, Status] = {
    status.name: status
    for status in (
        Status(PENDING, "pre_transit", 0),
        Status(INFO_RECEIVED, "pre_transit", 10),
        Status(AWAITING_PICKUP, "pre_transit", 20),
        Status(PICKUP_FAILED, "exception", 25, attention=True),
        Status(PICKED_UP, "in_transit", 30),
        Status(IN_TRANSIT, "in_transit", 40),
        Status(OUT_FOR_DELIVERY, "in_transit", 50),
        Status(EXCEPTION, "exception", 55, attention=True),
        Status(DELIVERY_FAILED, "exception", 60, attention=True),
        Status(RETURNING, "returned", 65, attention=True),
        Status(LOST, "exception", 70, attention=True),
        Status(CANCELLED, "cancelled", 80, terminal=True),
        Status(RETURNED, "returned", 90, terminal=True),
        Status(DELIVERED, "delivered", 95, terminal=True),
        # The fold never applies it, so its rank only has to be below all others.
        Status(UNKNOWN, "unknown", -1, attention=True),
    )
}

OPEN_STATUSES: list[str] = [status.name for status in VOCABULARY.values() if not status.terminal]
TERMINAL_STATUSES: list[str] = [status.name for status in VOCABULARY.values() if status.terminal]

GROUPS: tuple[str, ...] = tuple(dict.fromkeys(status.group for status in VOCABULARY.values()))


def find_status(name: str) -> Status:
    """Return the status of this name; one of the group `unknown` where we have no such status.

    A newer release may have stored it before the service went back to this one.
    """
    return VOCABULARY.get(name) or Status(name, UNKNOWN, -1, attention=True)
