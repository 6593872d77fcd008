"""The contract of a driver: what a courier's file hands over.

A driver is one file about one courier. It turns a message's JSON into snapshots of orders and
tours, and knows nothing of HTTP, tables or other couriers. What drivers read bodies with stands in
`reading.py`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from receiver import statuses
from receiver.couriers.schedule import Schedule

# How long an order may stand at a status before a person should know; a driver has its own where
# its courier is quicker or slower.
STAYS: Mapping[str, timedelta] = {
    statuses.PENDING: timedelta(days=1),
    statuses.INFO_RECEIVED: timedelta(days=3),
    statuses.AWAITING_PICKUP: timedelta(days=2),
    statuses.PICKUP_FAILED: timedelta(days=1),
    statuses.PICKED_UP: timedelta(days=2),
    statuses.IN_TRANSIT: timedelta(days=4),
    statuses.OUT_FOR_DELIVERY: timedelta(hours=18),
    statuses.EXCEPTION: timedelta(days=2),
    statuses.DELIVERY_FAILED: timedelta(days=2),
    statuses.RETURNING: timedelta(days=7),
    statuses.LOST: timedelta(days=7),
    statuses.UNKNOWN: timedelta(days=1),
}

# An event stamped further ahead than this is a wrong clock, not news from the future.
CLOCK_TOLERANCE = timedelta(minutes=5)
# A reason is only shown: enough for any honest one.
MOST_REASON = 1_000

TIME_INFERRED = "time_inferred"
CLOCK_SKEW = "clock_skew"
ZONE_ASSUMED = "zone_assumed"
MINUTE_ONLY = "minute_only"
STATE_DISAGREES = "state_disagrees"


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as a courier told it: aware UTC, and what had to be assumed to read it."""

    at: datetime
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Heard:
    """The circumstances of a message: when it came, how, and with which field map to read it.

    kind is `webhook` or `poll`; a poll's received_at is when we asked.
    """

    received_at: datetime
    kind: str = "webhook"
    field_map: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Proof:
    """A picture that shows what happened: where it is, never fetched, and whose name it bears.

    kind is `signature` or `photo`.
    """

    kind: str
    url: str
    name: str


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to an order, as its courier tells it.

    told_at is the courier's own stamp, None where it gave none; occurred_at is the time it counts
    at. step is the word's place in the driver's map: it puts two words of one status that were
    stamped in the same second into the order in which the courier uses them. parcel is the
    parcel's tracking number where the courier tells per parcel, else empty.
    """

    status: str
    courier_status: str
    occurred_at: datetime
    told_at: datetime | None = None
    step: int = 0
    reason: str | None = None
    parcel: str = ""
    flags: frozenset[str] = frozenset()
    proofs: frozenset[Proof] = frozenset()
    # What makes this event itself: the same fact told again has the same key. Made once, since a
    # fold asks for it five times.
    key: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        told = self.told_at
        stamp = told.isoformat() if told else f"observed {self.occurred_at.isoformat()}"
        object.__setattr__(self, "key", f"{self.courier_status}|{stamp}|{self.parcel}")


@dataclass(frozen=True, slots=True)
class Eta:
    """When an order is to arrive. source is `order`, `poll` or `tour_plan`."""

    from_: datetime
    to: datetime
    source: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one message tells of one order.

    recency orders snapshots by the courier's clock: of two that give the same detail, the more
    recent counts. details: tracking_url, label_url, pickup_at as JSON values; parcels: the same
    per tracking number (tracking_url, courier_name, status, is_new). None and empty values say
    nothing and never erase what is known.
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
    """An order's place in a tour; order_key is whichever of its identifiers the courier used."""

    order_key: str
    eta: datetime | None
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tour:
    """One tour of a plan: who drives, from when, past which orders."""

    tour_id: str
    courier_name: str | None
    pick_up_at: datetime | None
    window_from: datetime | None
    window_to: datetime | None
    stops: tuple[Stop, ...]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A message, read."""

    orders: tuple[Snapshot, ...] = ()
    tours: tuple[Tour, ...] = ()


Decode = Callable[[dict[str, Any], Heard], Decoded]


@dataclass(frozen=True, slots=True)
class Access:
    """Where and as whom an account's API is asked: from configuration, never from a message.

    url has no slash at its end; order_path is where one order stands under it, with `{id}`.
    """

    url: str
    user: str | None
    token: str = field(repr=False)
    order_path: str = "/orders/{id}"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list of orders: each order's own JSON, word for word, and how many pages."""

    orders: tuple[bytes, ...]
    pages: int


@dataclass(frozen=True)
class Api:
    """How a courier is asked about its orders: what to send, and how to read what comes back.

    Nothing here sends anything (workers/polling/courier_api.py does, alike for all couriers).
    show and show_by_reference raise UnknownToCourier for a name that would lead to another address.

    url         its production address; None where each shop has its own
    headers     what says who asks
    show        the address that tells of one order, by the courier's id (or another of its names)
    decode      how to read the answer
    schedule    when to ask
    per_second  how many requests the courier bears from one account
    needs_user  whether it asks for a user's name beside the token
    show_by_reference  the same as show, by the shop's own number
    list_page   the address of a page (the first is 1) of the orders created since a time
    read_page   how to read that page
    wait_told   the seconds to wait that the text of a refusal for haste names, None where none
    """

    headers: Callable[[Access], Mapping[str, str]]
    show: Callable[[Access, str], str]
    decode: Decode
    schedule: Schedule
    per_second: float
    url: str | None = None
    needs_user: bool = False
    show_by_reference: Callable[[Access, str], str] | None = None
    list_page: Callable[[Access, datetime, int], str] | None = None
    read_page: Callable[[bytes], Page] | None = None
    wait_told: Callable[[str], float | None] | None = None


@dataclass(frozen=True, slots=True)
class Keys:
    """Under which keys a courier's bodies name an order, wherever in a body these stand.

    order: by the courier's id, or another name that it gave the order; reference: by the shop's own
    number.
    """

    order: frozenset[str]
    reference: frozenset[str]


SAMPLE_AT = datetime(2026, 4, 16, 8, 10, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Moved:
    """What a sample tells: that an order has reached a state, in the courier's own word."""

    order_id: str
    word: str
    reference: str
    at: datetime


@dataclass(frozen=True)
class Driver:
    """One courier.

    words      their words to our statuses, in the order in which an order passes through them
    topics     what the courier calls us about, and how to read each
    keys       under which keys bodies name an order, of hooks and of answers: by these a body that
               cannot be read is found when the order's personal data is erased
    map_keys   the further ones that an account's field map looks at, where there is such a map
    signature_header   header with the hex HMAC-SHA256 of the raw body, where the courier signs;
               where it does not, the account's token stands in the URL
    names_order   where the courier documents a 404 for an order that the shop does not know: reads
               the order's id, and the name to answer with, out of a body
    api        how it is asked, where it can be
    zone       where its people work: nights and Sundays are theirs
    stays      how long an order may stand at a status before a person should know; one that is not
               in it may stand for good
    sample     an order hook as the courier sends it, for trying an installation
    sample_of  an order of the courier's that cannot exist, and the state that it is in
    """

    name: str
    words: Mapping[str, str]
    topics: Mapping[str, Decode]
    keys: Keys
    sample: Callable[["Moved"], Mapping[str, Any]]
    sample_of: tuple[str, str]
    signature_header: str | None = None
    names_order: Callable[[dict[str, Any]], tuple[str, str] | None] | None = None
    check_fields: Callable[[Mapping[str, Any]], list[str]] | None = None
    map_keys: Callable[[Mapping[str, Any]], Keys] | None = None
    api: Api | None = None
    zone: str = "Europe/Berlin"
    stays: Mapping[str, timedelta] = field(default_factory=lambda: STAYS)

    @property
    def signed(self) -> bool:
        return self.signature_header is not None

    @property
    def sample_order_id(self) -> str:
        return self.sample_of[0]

    @cached_property
    def steps(self) -> dict[str, int]:
        return {word: step for step, word in enumerate(self.words)}

    def keys_with(self, field_map: Mapping[str, Any]) -> Keys:
        """The keys under which bodies of an account with this field map name an order."""
        if self.map_keys is None:
            return self.keys
        mapped = self.map_keys(field_map)
        return Keys(self.keys.order | mapped.order, self.keys.reference | mapped.reference)

    def sample_body(self, moved: "Moved | None" = None) -> bytes:
        """The sample's bytes; always the same ones where it is not said what moved."""
        told = moved or Moved(*self.sample_of, f"SAMPLE-{self.name[0].upper()}", SAMPLE_AT)
        return json.dumps(self.sample(told), separators=(",", ":")).encode()


def tell(  # noqa: PLR0913 (an event has this many sides)
    word: str,
    status: str | None,
    heard: Heard,
    when: Moment | None,
    *,
    step: int = 0,
    reason: str | None = None,
    parcel: str = "",
    flags: frozenset[str] = frozenset(),
    proofs: frozenset[Proof] = frozenset(),
) -> Event:
    """Make the event that `word` tells of.

    A word without a status becomes an event of status `unknown`, never a guess. Without a time it
    is an observation at received_at; a time ahead of ours by more than CLOCK_TOLERANCE counts at
    received_at too.
    """
    if when is None:
        occurred_at, told_at, flags = heard.received_at, None, flags | {TIME_INFERRED}
    else:
        occurred_at, told_at, flags = when.at, when.at, flags | when.flags
        if told_at > heard.received_at + CLOCK_TOLERANCE:
            occurred_at, flags = heard.received_at, flags | {CLOCK_SKEW}
    return Event(
        status=status or statuses.UNKNOWN,
        courier_status=word,
        occurred_at=occurred_at,
        told_at=told_at,
        step=step if status else -1,
        reason=reason[:MOST_REASON] if reason else None,
        parcel=parcel,
        flags=flags,
        proofs=proofs,
    )
