"""The vocabulary: what a status is called, which group it belongs to, and what ranks above what.

An open set for readers: a status never seen before is to be treated by its group.
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
    """One row of the vocabulary.

    rank breaks ties between events of the same second; it never outweighs time.
    terminal means that we stop asking the courier, not that we stop listening.
    attention means that a person should look.
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
        # Never applied by the fold, so its rank only has to be below every other.
        Status(UNKNOWN, "unknown", -1, attention=True),
    )
}

# Those that are no end.
OPEN_STATUSES: list[str] = [status.name for status in VOCABULARY.values() if not status.terminal]

GROUPS: tuple[str, ...] = tuple(dict.fromkeys(status.group for status in VOCABULARY.values()))


def of_group(group: str) -> list[str]:
    """The names of a group's statuses, by rank."""
    return [status.name for status in VOCABULARY.values() if status.group == group]
