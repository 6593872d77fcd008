"""What a driver decodes a message to: snapshots of orders with their events, and tours."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from receiver import statuses

# An event further ahead of our clock than this was stamped by a wrong clock.
CLOCK_TOLERANCE = timedelta(minutes=5)
# Reasons are only displayed; longer ones are cut.
MAX_REASON_LENGTH = 1_000

# Flags of an event: what had to be assumed about its time.
TIME_INFERRED = "time_inferred"
CLOCK_SKEW = "clock_skew"
ZONE_ASSUMED = "zone_assumed"
MINUTE_ONLY = "minute_only"
STATE_DISAGREES = "state_disagrees"


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as the courier reported it, in aware UTC, and what was assumed to read it."""

    at: datetime
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MessageContext:
    """The circumstances of a message that its driver needs to decode it.

    received_at  when a webhook arrived; for a poll answer, when we sent the request
    kind         `webhook` or `poll`
    field_map    the account's COURIER_<ACCOUNT>_FIELDS, empty where it has none
    """

    received_at: datetime
    kind: str = "webhook"
    field_map: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Proof:
    """A picture that proves an event: its URL (never fetched) and the name of who signed.

    kind is `signature` or `photo`.
    """

    kind: str
    url: str
    name: str


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to an order, as the courier reports it. Made by make_event().

    status          our status
    courier_status  the courier's word
    occurred_at     the time at which the event counts
    reported_at     the time that the courier gave, None where it gave none (column `told_at`)
    step            the word's position in the driver's `words`, -1 for an unmapped word: it sorts
                    two words of one status that have the same second
    reason          the courier's own reason, unchanged
    parcel          the parcel's tracking number where the courier reports parcels one by one
    flags           what was assumed about the time
    proofs          signatures and photos
    """

    status: str
    courier_status: str
    occurred_at: datetime
    reported_at: datetime | None = None
    step: int = 0
    reason: str | None = None
    parcel: str = ""
    flags: frozenset[str] = frozenset()
    proofs: frozenset[Proof] = frozenset()
    # The identity of the event: a repeated report of the same fact has the same key. Computed once
    # because a fold reads it several times per event.
    key: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.reported_at is not None:
            stamp = self.reported_at.isoformat()
        else:
            stamp = f"observed {self.occurred_at.isoformat()}"
        object.__setattr__(self, "key", f"{self.courier_status}|{stamp}|{self.parcel}")


@dataclass(frozen=True, slots=True)
class Eta:
    """When an order is expected to arrive. source is `order`, `poll` or `tour_plan`."""

    from_: datetime
    to: datetime
    source: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one message says about one order.

    recency      the courier's time of the whole snapshot: of two snapshots that give the same
                 detail, the more recent one counts
    reference    the shop's own number for the order
    identifiers  further names that the courier gave the order, by kind
    details      tracking_url, label_url, pickup_at (RFC 3339), as JSON values
    parcels      per tracking number: tracking_url, courier_name, status, is_new

    None and empty values mean that the message does not say, and never erase a known value.
    """

    courier_order_id: str
    recency: datetime
    events: tuple[Event, ...]
    reference: str | None = None
    identifiers: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    eta: Eta | None = None
    parcels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stop:
    """An order's place in a tour; order_key is whichever of the order's names the plan uses."""

    order_key: str
    eta: datetime | None
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tour:
    """One tour of a tour plan: its driver, its start and its stops."""

    tour_id: str
    courier_name: str | None
    pick_up_at: datetime | None
    window_from: datetime | None
    window_to: datetime | None
    stops: tuple[Stop, ...]


@dataclass(frozen=True, slots=True)
class Decoded:
    """The contents of a decoded message."""

    orders: tuple[Snapshot, ...] = ()
    tours: tuple[Tour, ...] = ()


def recency_of(newest: datetime | None, context: MessageContext) -> datetime:
    """Return the recency of a snapshot by the newest of its own times, None where it has none.

    A poll's snapshot is as recent as our request.
    """
    if newest is None or context.kind == "poll":
        return context.received_at
    return min(newest, context.received_at)


def make_event(  # noqa: PLR0913 (an event has this many sides)
    word: str,
    status: str | None,
    context: MessageContext,
    moment: Moment | None,
    *,
    step: int = 0,
    reason: str | None = None,
    parcel: str = "",
    flags: frozenset[str] = frozenset(),
    proofs: frozenset[Proof] = frozenset(),
) -> Event:
    """Make the event that a courier's word reports.

    status   our status for the word; None gives an event of status `unknown`, never a guess
    moment   the courier's time for it; None makes it an observation at received_at. A time more
             than CLOCK_TOLERANCE ahead of received_at counts at received_at, flagged.
    """
    if moment is None:
        occurred_at, reported_at = context.received_at, None
        flags |= {TIME_INFERRED}
    else:
        occurred_at = reported_at = moment.at
        flags |= moment.flags
        if reported_at > context.received_at + CLOCK_TOLERANCE:
            occurred_at = context.received_at
            flags |= {CLOCK_SKEW}
    return Event(
        status=status or statuses.UNKNOWN,
        courier_status=word,
        occurred_at=occurred_at,
        reported_at=reported_at,
        step=step if status else -1,
        reason=reason[:MAX_REASON_LENGTH] if reason else None,
        parcel=parcel,
        flags=flags,
        proofs=proofs,
    )
