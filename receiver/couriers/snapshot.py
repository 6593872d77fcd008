"""What a driver decodes a message to: snapshots of orders with their events, and tours."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from receiver import statuses
from receiver.times import rfc3339

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
# The flag of an observation that answers our own request with a word about the order itself: only
# such an observation moves an order to a lower rank.
ANSWERED = "answered"
# The flag of an observation about a shipment, which may be old news.
OF_SHIPMENT = "of_shipment"

# The status of a parcel whose word we do not map: it follows its order, whatever was known before.
FOLLOWS_ORDER = "follows_order"

LAST_OF_MINUTE = timedelta(minutes=1) - timedelta(microseconds=1)

# The parameters of a query or a form: one that is repeated has the list of its values.
Parameters = Mapping[str, str | list[str]]


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
    zone         the account's COURIER_<ACCOUNT>_ZONE, empty where the driver's own counts
    settings     the values of the settings that the driver declares (Driver.settings)
    polled_order_id  for a poll answer about one order, the courier's id by which it was polled, or
                     the name by which the shop registered it; empty where the answer itself has to
                     name the order
    method       the method of a webhook's request
    headers      the headers of a webhook that its topic declares, by their names in lower case
    query        the parameters of a webhook's URL, where its topic keeps them
    """

    received_at: datetime
    kind: str = "webhook"
    field_map: Mapping[str, Any] = field(default_factory=dict)
    zone: str = ""
    polled_order_id: str = ""
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Parameters = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A part of a body that could not be read and was left out.

    field  its path by the names of the schemas, with the number of each entry of a list:
           `packages.0.identifier`
    why    what is wrong with it, without its value
    """

    field: str
    why: str


@dataclass(frozen=True, slots=True, order=True)
class Proof:
    """A picture that proves an event: its URL (never fetched) and the name of who signed.

    kind is `signature` or `photo`.
    """

    kind: str
    url: str
    name: str


# Never changed once it is made; a frozen dataclass takes three times as long to make, and a drain
# makes a dozen for each message.
@dataclass(slots=True, unsafe_hash=True)
class Event:
    """One thing that happened to an order, as the courier reports it. Made by make_event().

    status          our status
    courier_status  the courier's word
    occurred_at     the time at which the event counts
    reported_at     the time that the courier gave, None where it gave none (column `told_at`)
    asked_at        when we last asked and the courier answered with this state, to the minute
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
    asked_at: datetime | None = None
    # The identity of the event: a repeated report of the same fact has the same key, with or
    # without a fraction of the second. Computed once because a fold reads it several times per
    # event.
    key: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.reported_at is None:
            stamp = f"observed {self.occurred_at.isoformat()}"
        elif MINUTE_ONLY in self.flags:
            stamp = self.reported_at.isoformat(timespec="minutes")
        else:
            stamp = self.reported_at.isoformat(timespec="seconds")
            if STATE_DISAGREES in self.flags:
                stamp = f"after {stamp}"
        self.key = f"{self.courier_status}|{stamp}|{self.parcel}"

    @property
    def shown_at(self) -> datetime:
        """The time to show: where the courier's time is only exact to the minute, its start."""
        if self.reported_at is not None and MINUTE_ONLY in self.flags:
            return min(self.reported_at, self.occurred_at)
        return self.occurred_at


@dataclass(frozen=True, slots=True)
class Eta:
    """When an order is expected to arrive. source is `order`, `poll` or `tour_plan`."""

    from_: datetime
    to: datetime
    source: str


@dataclass(frozen=True, slots=True)
class Label:
    """A label that came inside a message, as the file it is (see inline_label.parse_label()).

    content_type is that of the file's first bytes: `application/pdf`, `application/zpl` and so on.
    """

    content: bytes = field(repr=False)
    content_type: str

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file in hex: labels with the same one are the same."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one message says about one order.

    recency      the courier's time of the whole snapshot: of two snapshots that give the same
                 detail, the more recent one counts
    time_count   how many times of its own it has: with equal recency the one with more times counts
    reference    the shop's own number for the order
    identifiers  further names that the courier gave the order, by kind
    details      tracking_url, label_url, pickup_at (RFC 3339), promised ({"from", "to"}: the
                 courier's window for the delivery), tour_identifier, as JSON values;
                 complete_parcel_list: true where a parcel that is not in `parcels`, and that no
                 newer snapshot lists, is not waited for any more
    parcels      per tracking number: tracking_url, courier_name, status (FOLLOWS_ORDER where its
                 word is not mapped), is_new, external_id (a name of the order); listed: always
                 true with a courier that reports parcels one by one
    label        the label of the order, where the message holds it and not a URL

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
    time_count: int = 0
    label: Label | None = None


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
    """The contents of a decoded message, and what could not be read of it.

    unread: the ids of the orders that were left out; empty where not even that can be read.
    """

    orders: tuple[Snapshot, ...] = ()
    tours: tuple[Tour, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    unread: tuple[str, ...] = ()


def recency_of(newest: datetime | None, context: MessageContext) -> datetime:
    """Return the recency of a snapshot by the newest of its own times, None where it has none.

    A poll's snapshot is as recent as our request.
    """
    if newest is None or context.kind == "poll":
        return context.received_at
    return min(newest, context.received_at)


def make_eta(arrival: Moment | None, context: MessageContext) -> Eta | None:
    """Return the ETA of an order of which one time of arrival is expected, in aware UTC."""
    if arrival is None:
        return None
    return Eta(arrival.at, arrival.at, "poll" if context.kind == "poll" else "order")


def make_window(start: Moment | None, end: Moment | None) -> dict[str, str | None] | None:
    """Return the detail `promised` of a window in aware UTC; None where neither end is known."""
    if start is None and end is None:
        return None
    return {"from": rfc3339(start.at) if start else None, "to": rfc3339(end.at) if end else None}


def make_event(  # noqa: PLR0913 (an event has this many sides)
    word: str,
    status: str | None,
    context: MessageContext,
    moment: Moment | None,
    *,
    step: int = 0,
    reason: str | None = None,
    parcel: str = "",
    of_shipment: bool = False,
    flags: frozenset[str] = frozenset(),
    proofs: frozenset[Proof] = frozenset(),
) -> Event:
    """Make the event that a courier's word reports.

    status   our status for the word; None gives an event of status `unknown`, never a guess
    moment   the courier's time for it; None makes it an observation at received_at. A time more
             than CLOCK_TOLERANCE ahead of received_at counts at received_at, flagged. One that is
             only exact to the minute counts at the end of that minute, but not after received_at.
    of_shipment  whether the word is about a shipment, and not about the order itself
    """
    asked_at = None
    if moment is None:
        occurred_at, reported_at = context.received_at, None
        is_answer = context.kind == "poll" and not of_shipment
        flags |= {TIME_INFERRED, ANSWERED} if is_answer else {TIME_INFERRED}
        flags |= {OF_SHIPMENT} if of_shipment else set()
    else:
        occurred_at = reported_at = moment.at
        flags |= moment.flags
        if MINUTE_ONLY in flags:
            asked_at = context.received_at if context.kind == "poll" else None
            end_of_minute = min(reported_at + LAST_OF_MINUTE, context.received_at)
            occurred_at = max(reported_at, end_of_minute)
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
        asked_at=asked_at,
    )
