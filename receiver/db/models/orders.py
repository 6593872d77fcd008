"""Orders, their further names, events and changes, and tours."""

from datetime import datetime
from typing import Any, LiteralString

import sqlalchemy as sa
from sqlalchemy import BigInteger, ForeignKey, Identity, SmallInteger, Text, literal_column, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column, relationship

from receiver.db.models.accounts import Poll
from receiver.db.models.inbox import Base, index
from receiver.statuses import TERMINAL_STATUSES

# The terminal statuses, as an index has to list them.
TERMINAL_SQL = "({})".format(", ".join(f"'{name}'" for name in TERMINAL_STATUSES))
_OPEN = f"status NOT IN {TERMINAL_SQL}"
_ACCOUNT_AND_STATUS = "((account || ' ') || status)"
_IN_STATUS_SINCE = "GREATEST(COALESCE(status_at, created_at), pickup_at)"
# Since when we know that an order has ended: its courier's clock may be wrong by years.
ENDED_SINCE_SQL = "GREATEST(status_at, created_at)"
# Ended, without an open conflict, and without personal data; and since when nothing was heard of
# the order and nothing changed. (An erasure is no change: it comes by itself some time after the
# end.)
CLOSED_SQL = f"erased_at IS NOT NULL AND NOT needs_attention AND status IN {TERMINAL_SQL}"
CLOSED_SINCE_SQL = "GREATEST(status_at, created_at, last_heard_at, NULLIF(updated_at, erased_at))"
_ETA_TO = "(eta ->> 'to')"


def spelling(name: LiteralString) -> LiteralString:
    """Return in SQL what a name has in common with its other spellings.

    Capitals, dashes and surrounding blanks do not matter.
    """
    return f"lower(replace(btrim({name}), '-', ''))"


# What the id of a sample order begins with (receiver/orders/names.py), as spelling() has it.
SAMPLE_SPELLING: LiteralString = "ordertrailsample"
# Sample orders, and those whose tracking the shop has stopped.
UNWATCHED_SQL: LiteralString = (
    "tracking_stopped_at IS NOT NULL OR"
    f" starts_with({spelling('courier_order_id')}, '{SAMPLE_SPELLING}')"
)


class Order(Base):
    """One order of one account: the fold of its events and its newest details.

    details holds each detail with its source; reference, identifiers, tracking_url, label_url,
    pickup_at, eta and parcels are copies of its values, for reading. parcels holds the first
    MOST_PARCELS (orders/details.py), further_parcels the others, so that an order with thousands of
    parcels is read as fast as any other. Objects load it and details only when they are used.
    registrations: what the shop gave, by name (receiver/orders/register.py); corrections: what it
    said afterwards of the whole order (receiver/orders/corrections/shop_values.py);
    shop_reference, shop_metadata and tracking_stopped_at are what they come to.
    erased_at: when its personal data was erased; no personal data is stored afterwards.
    """

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    account: Mapped[str]
    courier: Mapped[str]
    courier_order_id: Mapped[str]
    reference: Mapped[str | None]
    shop_reference: Mapped[str | None]
    identifiers: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    status: Mapped[str]
    courier_status: Mapped[str | None]
    status_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    needs_attention: Mapped[bool] = mapped_column(server_default=text("false"))
    source: Mapped[dict[str, Any] | None]
    milestones: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    conflicts: Mapped[list[Any]] = mapped_column(server_default="[]")
    tracking_url: Mapped[str | None]
    label_url: Mapped[str | None]
    pickup_at: Mapped[datetime | None]
    eta: Mapped[dict[str, Any] | None]
    promised: Mapped[dict[str, Any] | None]
    parcels: Mapped[list[Any]] = mapped_column(server_default="[]")
    further_parcels: Mapped[list[Any]] = mapped_column(server_default="[]", deferred=True)
    further_parcel_count: Mapped[int] = mapped_column(server_default=text("0"))
    details: Mapped[dict[str, Any]] = mapped_column(server_default="{}", deferred=True)
    shop_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", server_default="{}")
    registrations: Mapped[list[Any]] = mapped_column(server_default="[]")
    corrections: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    tracking_stopped_at: Mapped[datetime | None]
    last_heard_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    # Only loaded where a query asks for it: folding does not need it.
    poll: Mapped["Poll | None"] = relationship(lazy="raise", viewonly=True)

    __table_args__ = (
        sa.UniqueConstraint("account", "courier_order_id"),
        index("orders_reference_id_idx", ["reference", "id"]),
        # These two serve every filter but the reference (receiver/db/pagination.py). No other index
        # may begin with the same column, or PostgreSQL may prefer that one, and sort.
        index(
            "orders_listed_idx",
            ["status", "account", "needs_attention", "id"],
            postgresql_include=["updated_at"],
        ),
        index(
            "orders_updated_idx",
            [text("((updated_at AT TIME ZONE 'UTC')::date)"), "id"],
            postgresql_include=["updated_at", "account", "status", "needs_attention"],
        ),
        # The ids of the orders that were created on a day.
        index(
            "orders_created_idx",
            [text("((created_at AT TIME ZONE 'UTC')::date)"), "id"],
            postgresql_include=["created_at"],
        ),
        # Registered orders that no message was about yet (receiver/orders/matching.py).
        index(
            "orders_silent_idx",
            ["account", text(spelling("courier_order_id"))],
            where="last_heard_at IS NULL",
        ),
        index("orders_conflicts_idx", ["id"], where="conflicts <> '[]'::jsonb"),
        # The few orders that raise no alert.
        index("orders_unwatched_idx", ["id"], where=UNWATCHED_SQL),
        # Orders whose personal data is stored, terminal or not, for retention.
        index(
            "orders_ended_since_idx",
            [text(ENDED_SINCE_SQL)],
            where=f"erased_at IS NULL AND status IN {TERMINAL_SQL}",
        ),
        index(
            "orders_not_ended_idx",
            ["created_at"],
            where=f"erased_at IS NULL AND status NOT IN {TERMINAL_SQL}",
        ),
        # Orders that ORDER_RETENTION_DAYS removes, the longest closed first.
        index("orders_closed_idx", [text(CLOSED_SINCE_SQL)], where=CLOSED_SQL),
        # For alerts about orders that are stuck. On expressions, so that no list uses them.
        index(
            "orders_standing_idx", [text(_ACCOUNT_AND_STATUS), text(_IN_STATUS_SINCE)], where=_OPEN
        ),
        index("orders_eta_idx", [text(_ETA_TO), "account"], where=f"eta IS NOT NULL AND {_OPEN}"),
    )


# As the indexes have them, word for word, or PostgreSQL would not use the indexes: whether an order
# is open; its account and status; since when it has that status (a pickup in the future counts from
# the pickup); the end of its ETA.
is_open = text(_OPEN)
account_and_status = literal_column(_ACCOUNT_AND_STATUS, Text)
in_status_since = literal_column(_IN_STATUS_SINCE, TIMESTAMP(timezone=True))
eta_end = literal_column(_ETA_TO, Text)
# Whether alerts are raised about an order.
is_watched = text(f"NOT ({UNWATCHED_SQL})")


# The kinds of names. Of a name that is of two kinds the one that sorts first counts.
NAME = "name"
REFERENCE = "reference"
TOUR = "tour"


class Identifier(Base):
    """A name of an order. It is stored for good: names lead to an order in any order of arrival.

    Neither names nor events have a foreign key to the order, which would look it up for each row:
    whoever writes them has locked or just inserted it, and whoever deletes it deletes them.

    kind: NAME: the courier's id, any identifier that the courier ever gave the order, or the
        tracking number of a parcel. REFERENCE: a number of the shop's. TOUR: a tour of the order.
    """

    __tablename__ = "identifiers"

    account: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(server_default=NAME)

    __table_args__ = (
        index("identifiers_spelling_idx", ["account", text(spelling("value")), "order_id"]),
        index("identifiers_order_id_idx", ["order_id"]),
    )


class OrderLabel(Base):
    """The label of an order that came inside a message: a file with a person's address.

    Of several the one that counts (receiver/orders/labels.py); sha256 is in hex.
    """

    __tablename__ = "labels"

    order_id: Mapped[int] = mapped_column(
        ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True
    )
    sha256: Mapped[str]
    content_type: Mapped[str]
    content: Mapped[bytes]


class Event(Base):
    """One event of an order's timeline. key identifies it (couriers.snapshot.Event.key).

    reason_source: orders.timeline.ReasonSource, null without a reason.
    """

    __tablename__ = "events"

    order_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    occurred_at: Mapped[datetime]
    told_at: Mapped[datetime | None]
    received_at: Mapped[datetime]
    status: Mapped[str]
    courier_status: Mapped[str]
    step: Mapped[int] = mapped_column(SmallInteger)
    reason: Mapped[str | None]
    parcel: Mapped[str]
    flags: Mapped[list[str]]
    proofs: Mapped[list[Any]] = mapped_column(server_default="[]")
    message_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str]
    trust: Mapped[str]
    asked_at: Mapped[datetime | None]
    reason_source: Mapped[list[Any] | None]
    applied: Mapped[bool]
    not_applied_why: Mapped[str | None]


class Change(Base):
    """One change of an order. seq is assigned at the commit, so that readers miss no change.

    reference, status_at: of the order after the change; the reference is empty where it had none,
        and null where an older release wrote the change.
    """

    __tablename__ = "changes"

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    order_id: Mapped[int] = mapped_column(BigInteger, index=True)
    version: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str]
    changed: Mapped[list[str]]
    changed_at: Mapped[datetime]
    reference: Mapped[str | None]
    status_at: Mapped[datetime | None]


class Cursor(Base):
    """Up to which number of the change feed a task has come, whichever process does it."""

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)


class FeedPush(Base):
    """How far the change feed was pushed to the shop, and the batch that is being pushed.

    There is one row, whose name is SHOP of receiver/changes/feed_push.py.

    position: the number of the last change that the shop accepted; placed_at: when the pushes
    began, or a person last moved the position.
    batch_id, batch_end: the batch that comes next, as soon as it was sent once: its webhook-id, and
    the number of its last change. A batch that is sent again is the same one.
    leased_until: a process sends the batch now; until then no other process does.
    result, detail: of the last attempt; see receiver.stats.totals.PUSH_RESULTS.
    failures: attempts in a row that the shop did not accept, since failing_since.
    """

    __tablename__ = "feed_pushes"

    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    placed_at: Mapped[datetime]
    batch_id: Mapped[str | None]
    batch_end: Mapped[int | None] = mapped_column(BigInteger)
    leased_until: Mapped[datetime | None]
    attempted_at: Mapped[datetime | None]
    accepted_at: Mapped[datetime | None]
    result: Mapped[str | None]
    detail: Mapped[str | None]
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    failing_since: Mapped[datetime | None]
    next_attempt_at: Mapped[datetime | None]


class Tour(Base):
    """A tour, as the newest plan that names it describes it."""

    __tablename__ = "tours"

    account: Mapped[str] = mapped_column(primary_key=True)
    tour_id: Mapped[str] = mapped_column(primary_key=True)
    courier_name: Mapped[str | None]
    pick_up_at: Mapped[datetime | None]
    window_from: Mapped[datetime | None]
    window_to: Mapped[datetime | None]
    stops: Mapped[list[Any]]
    received_at: Mapped[datetime] = mapped_column(index=True)
    message_id: Mapped[int] = mapped_column(BigInteger)


class TourStop(Base):
    """When each plan says that a tour reaches an order, by the order's name in the plan.

    order_key: that name; further rows have the ids of its packages. tour_id and eta: of the tour
    that reaches it last. further_tours: the plan's other tours that name it, each as {"tour_id",
    "eta"}.

    It has no foreign key to the order, because a plan may arrive before its orders.
    """

    __tablename__ = "tour_stops"

    account: Mapped[str] = mapped_column(primary_key=True)
    order_key: Mapped[str] = mapped_column(primary_key=True)
    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    tour_id: Mapped[str]
    eta: Mapped[datetime]
    further_tours: Mapped[list[Any]] = mapped_column(server_default="[]")
    received_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (index("tour_stops_spelling_idx", ["account", text(spelling("order_key"))]),)
