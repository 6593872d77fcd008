"""The tables. Times are timestamptz; an aware UTC datetime goes in and comes out.

messages  every body we answered 200 for, word for word: the truth
orders    what we know now: derived, can be rebuilt
events    an order's timeline: derived
changes   what changed in which order, numbered without gaps, for those who follow along
polls     per order: when its courier is asked next, and how asking has gone so far
accounts  per account: what was counted, and whether its courier may be asked just now
tours     tour plans as last heard, and the stop at which each order stands in one
tallies   per account and five minutes: what came in, how long it waited, how late it was
counts    what the workers count, for /metrics: one number a name, account and label
unmapped_words  couriers' words that no status stands for
heartbeats  when what has to go on was last done
notices   alerts from opening to closing, and what was pushed of each to whom
"""

from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    ForeignKey,
    Identity,
    Index,
    Interval,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    TextClause,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

PENDING = "pending"
APPLIED = "applied"
PARKED = "parked"
QUARANTINED = "quarantined"
DISCARDED = "discarded"
OUTCOMES = (PENDING, APPLIED, PARKED, QUARANTINED, DISCARDED)

# The terminal statuses (statuses.py), as an index has to name them.
ENDED = "('cancelled', 'returned', 'delivered')"


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it off the class)
        datetime: TIMESTAMP(timezone=True),
        timedelta: Interval,
        str: Text,
        bytes: LargeBinary,
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(Text),
    }


class Message(Base):
    """One webhook body or poll answer. reason says in words why its outcome is what it is.

    retried_at: when it was last sent back to the workers; such a one waits behind the new ones.
    tries, tried_by: how many processes may have died of reading it, and the last of them; 0 for all
    but a few (workers/folding/poison.py).
    names: of a parked one, the other names by which the shop may register its order.
    """

    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    account: Mapped[str]
    topic: Mapped[str]
    kind: Mapped[str]
    trust: Mapped[str]
    body: Mapped[bytes | None]
    body_sha256: Mapped[bytes]
    received_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    repetitions: Mapped[int] = mapped_column(server_default=text("0"))
    outcome: Mapped[str] = mapped_column(server_default=PENDING)
    reason: Mapped[str | None]
    processed_at: Mapped[datetime | None]
    courier_order_id: Mapped[str | None]
    retried_at: Mapped[datetime | None]
    tries: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    tried_by: Mapped[str | None]
    names: Mapped[list[str] | None]

    __table_args__ = (
        # The topic is part of it: an order's body sent to the tours URL by mistake must not make
        # its later, rightly addressed copy a repetition. Poll answers are compared with the one
        # before alone: a state that comes back is news.
        Index(
            "messages_hook_key",
            "account",
            "topic",
            "body_sha256",
            unique=True,
            postgresql_where=text("kind = 'webhook'"),
        ),
        Index(
            "messages_pending_idx",
            "id",
            postgresql_where=text("outcome = 'pending' AND retried_at IS NULL"),
        ),
        Index(
            "messages_sent_back_idx",
            "id",
            postgresql_where=text("outcome = 'pending' AND retried_at IS NOT NULL"),
        ),
        Index(
            "messages_suspected_idx",
            "id",
            postgresql_where=text("outcome = 'pending' AND tries > 0"),
        ),
        Index("messages_listed_idx", "account", "outcome", "id"),
        Index(
            "messages_account_courier_order_id_idx",
            "account",
            "courier_order_id",
            "id",
            postgresql_where=text("courier_order_id IS NOT NULL"),
        ),
        Index(
            "messages_parked_names_idx",
            "names",
            postgresql_using="gin",
            postgresql_where=text("outcome = 'parked'"),
        ),
        # What retention will drop one day, the oldest first (workers/upkeep/retention.py).
        Index(
            "messages_body_kept_idx",
            "processed_at",
            postgresql_where=text("body IS NOT NULL AND outcome IN ('applied', 'discarded')"),
        ),
    )


_OPEN = f"status NOT IN {ENDED}"
_STANDING = "((account || ' ') || status)"
_STANDS_SINCE = "GREATEST(COALESCE(status_at, created_at), pickup_at)"
# When we knew of an order's end, at the earliest: its courier's clock may stand at 1970.
ENDED_SINCE = "GREATEST(status_at, created_at)"
_ETA_TO = "(eta ->> 'to')"


class Order(Base):
    """One order of one account, as its events and its newest details have it.

    details holds each detail with where it came from; reference, identifiers, tracking_url,
    label_url, pickup_at, eta and parcels are its values, spread out for reading.
    erased_at: when its personal data was erased; none is kept of it from then on.
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
    parcels: Mapped[list[Any]] = mapped_column(server_default="[]")
    details: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    shop_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", server_default="{}")
    last_heard_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    # Not loaded unless a query asks for it: what folds orders has no use for it.
    poll: Mapped["Poll | None"] = relationship(lazy="raise", viewonly=True)

    __table_args__ = (
        UniqueConstraint("account", "courier_order_id"),
        Index("orders_reference_id_idx", "reference", "id"),
        # These two serve every filter but the reference (receiver/db/pagination.py). No other index
        # may begin as one of them does, or PostgreSQL may take that one and sort.
        Index(
            "orders_listed_idx",
            "status",
            "account",
            "needs_attention",
            "id",
            postgresql_include=["updated_at"],
        ),
        Index(
            "orders_updated_idx",
            text("((updated_at AT TIME ZONE 'UTC')::date)"),
            "id",
            postgresql_include=["updated_at", "account", "status", "needs_attention"],
        ),
        Index("orders_conflicts_idx", "id", postgresql_where=text("conflicts <> '[]'::jsonb")),
        # Those of which personal data is kept, at their end or not: for the retention.
        Index(
            "orders_ended_since_idx",
            text(ENDED_SINCE),
            postgresql_where=text(f"erased_at IS NULL AND status IN {ENDED}"),
        ),
        Index(
            "orders_not_ended_idx",
            "created_at",
            postgresql_where=text(f"erased_at IS NULL AND status NOT IN {ENDED}"),
        ),
        # For what does not move on. Expressions, so that no list is tempted by them.
        Index(
            "orders_standing_idx",
            text(_STANDING),
            text(_STANDS_SINCE),
            postgresql_where=text(_OPEN),
        ),
        Index(
            "orders_eta_idx",
            text(_ETA_TO),
            "account",
            postgresql_where=text(f"eta IS NOT NULL AND {_OPEN}"),
        ),
    )


# Word for word what the indexes say, or PostgreSQL would not see that they fit. Its status is no
# end; its account and status; since when it stands there (a pickup that lies ahead is waited for);
# the end of its ETA.
still_open: TextClause = text(_OPEN)
standing_at: ColumnElement[str] = literal_column(_STANDING, Text)
standing_since: ColumnElement[datetime] = literal_column(_STANDS_SINCE, TIMESTAMP(timezone=True))
eta_end: ColumnElement[str] = literal_column(_ETA_TO, Text)


class Identifier(Base):
    """A further name that the courier gave an order; an order is found by any of them."""

    __tablename__ = "identifiers"

    account: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)


class Event(Base):
    """One event of an order's timeline. key is what makes it itself (couriers.base.Event.key)."""

    __tablename__ = "events"

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
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
    applied: Mapped[bool]
    not_applied_why: Mapped[str | None]


class Change(Base):
    """One change of an order. seq is given at the commit, so that whoever reads misses none."""

    __tablename__ = "changes"

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    order_id: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str]
    changed: Mapped[list[str]]
    changed_at: Mapped[datetime]


class Poll(Base):
    """When an order's courier is asked next, and how asking has gone so far.

    An order is due at some time, or finished (nothing more to come), or stopped (given up).
    placed_at      when the order was placed with the courier, as far as we know
    leased_until   a worker asks just now; until then no other does
    quiet          answers in a row that told nothing new
    unchanged_for  how long that has been so, counting only the time in which we could ask
    failures       looks in a row that gave no answer about this order
    unknown_since  since when the courier says that it does not know it
    answer_id      the last answer that was kept, None once anything else was heard since
    """

    __tablename__ = "polls"

    order_id: Mapped[int] = mapped_column(
        ForeignKey("orders.id"), primary_key=True, autoincrement=False
    )
    account: Mapped[str]
    placed_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]
    polled_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    quiet: Mapped[int] = mapped_column(server_default=text("0"))
    unchanged_for: Mapped[timedelta] = mapped_column(server_default=text("'00:00:00'"))
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    unknown_since: Mapped[datetime | None]
    answer_id: Mapped[int | None] = mapped_column(BigInteger)
    finished_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]
    stop_reason: Mapped[str | None]

    __table_args__ = (
        Index("polls_due_idx", "account", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("polls_placed_idx", "account", "placed_at"),
        Index(
            "polls_stopped_idx",
            "account",
            "stopped_at",
            postgresql_where=text("stopped_at IS NOT NULL"),
        ),
        Index(
            "polls_unknown_idx",
            "account",
            "unknown_since",
            postgresql_where=text("unknown_since IS NOT NULL"),
        ),
        # Empty unless something went wrong: orders that nobody will ever ask about again.
        Index(
            "polls_lost_idx",
            "account",
            postgresql_where=text("due_at IS NULL AND finished_at IS NULL AND stopped_at IS NULL"),
        ),
    )


class AccountState(Base):
    """What is counted of an account, and whether its courier may be asked just now.

    While paused_until lies ahead nobody asks. Once it has passed, one worker at a time may ask
    about one order (it moves paused_until on while it does), until an answer clears it.
    failures      requests in a row that the courier failed (5xx, no answer, nonsense)
    missed        states that a poll had to tell, because their hook never came
    longest_gap   the longest time between two hooks so far
    folded_at     when its messages were last folded
    tended_at     when a worker last looked after the account's polling
    recovered_at  when a silence, or an outage of ours, last made its open orders due
    """

    __tablename__ = "accounts"

    account: Mapped[str] = mapped_column(primary_key=True)
    hooks: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    last_hook_at: Mapped[datetime | None]
    longest_gap: Mapped[timedelta | None]
    missed: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    requests: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    requests_saved: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    answers: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    last_answer_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    paused_at: Mapped[datetime | None]
    paused_until: Mapped[datetime | None]
    pause_reason: Mapped[str | None]
    folded_at: Mapped[datetime | None]
    tended_at: Mapped[datetime | None]
    recovered_at: Mapped[datetime | None]


class Tour(Base):
    """A tour as the newest plan that names it has it."""

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
    """When a tour is to reach an order, as each plan told it, by the order's name in the plan.

    It has no key to an order, since a plan may come before the order that it names.
    """

    __tablename__ = "tour_stops"

    account: Mapped[str] = mapped_column(primary_key=True)
    order_key: Mapped[str] = mapped_column(primary_key=True)
    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    tour_id: Mapped[str]
    eta: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(index=True)


class Tally(Base):
    """What of one account came in within the five minutes that begin at `at`.

    hooks, answers   messages that were folded for the first time, by hook and by poll
    missed           states that a poll had to tell, because their hook never came
    events           events told for the first time
    waited, longest_wait   seconds from received to folded, of the hooks and answers
    lagged           hooks that told something new and dated it
    lag, longest_lag       seconds from the newest of what such a hook told to its arrival
    """

    __tablename__ = "tallies"

    account: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    hooks: Mapped[int] = mapped_column(server_default=text("0"))
    answers: Mapped[int] = mapped_column(server_default=text("0"))
    missed: Mapped[int] = mapped_column(server_default=text("0"))
    quarantined: Mapped[int] = mapped_column(server_default=text("0"))
    parked: Mapped[int] = mapped_column(server_default=text("0"))
    events: Mapped[int] = mapped_column(server_default=text("0"))
    waited: Mapped[float] = mapped_column(Double, server_default=text("0"))
    longest_wait: Mapped[float] = mapped_column(Double, server_default=text("0"))
    lagged: Mapped[int] = mapped_column(server_default=text("0"))
    lag: Mapped[float] = mapped_column(Double, server_default=text("0"))
    longest_lag: Mapped[float] = mapped_column(Double, server_default=text("0"))


class Count(Base):
    """A number that only grows. account is empty where it is of none."""

    __tablename__ = "counts"

    name: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float] = mapped_column(Double)


class Refusal(Base):
    """Requests refused at the door on one day: of which account, why, and what is likely behind it.

    account is empty where there is no such one. likely is a word of
    receiver.accounts.credential_diagnosis.CAUSES.
    """

    __tablename__ = "refusals"

    account: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)
    likely: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]


class SecretUse(Base):
    """How often one of an account's secrets came, and when. fingerprint tells nothing of it."""

    __tablename__ = "secret_uses"

    account: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]


class UnmappedWord(Base):
    """A courier's word that no status stands for, and the latest order that it was told of."""

    __tablename__ = "unmapped_words"

    account: Mapped[str] = mapped_column(primary_key=True)
    word: Mapped[str] = mapped_column(primary_key=True)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    times: Mapped[int] = mapped_column(BigInteger)
    order_id: Mapped[int] = mapped_column(BigInteger)


class Heartbeat(Base):
    """When something that has to go on was last done, whoever did it."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]


class Notice(Base):
    """An alert from its opening to its closing, as it was last seen. account: empty where of none.

    gone_since: since when its condition does not hold; it closes once that has lasted.
    """

    __tablename__ = "notices"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    condition: Mapped[str]
    account: Mapped[str]
    severity: Mapped[str]
    summary: Mapped[str]
    what_to_do: Mapped[str]
    example: Mapped[str | None]
    count: Mapped[int] = mapped_column(BigInteger)
    since: Mapped[datetime | None]
    opened_at: Mapped[datetime]
    gone_since: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "notices_open_key",
            "condition",
            "account",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index("notices_opened_idx", "opened_at"),
    )


class Push(Base):
    """A notice's opening or closing on its way to one of ALERT_URLS, by a name that tells nothing
    of it. It is sent, given up, or due at next_at.
    """

    __tablename__ = "pushes"

    notice_id: Mapped[int] = mapped_column(
        ForeignKey("notices.id", ondelete="CASCADE"), primary_key=True
    )
    kind: Mapped[str] = mapped_column(primary_key=True)
    target: Mapped[str] = mapped_column(primary_key=True)
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    given_up_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "pushes_due_idx",
            "next_at",
            postgresql_where=text("sent_at IS NULL AND given_up_at IS NULL"),
        ),
    )
