"""Accounts, the schedule of polls, counters and their history, heartbeats, sessions, and alerts."""

from datetime import date, datetime, timedelta

from sqlalchemy import BigInteger, Double, ForeignKey, Identity, text
from sqlalchemy.orm import Mapped, mapped_column

from receiver.db.models.inbox import Base, index


class AccountState(Base):
    """An account's counters, and whether its courier may be polled now.

    Nobody polls before paused_until. Afterwards one worker at a time polls one order (and moves
    paused_until forward meanwhile), until an answer clears it.

    failures: requests in a row that the courier failed (5xx, no answer, unusable answer).
    missed: states that only a poll reported, because their webhook never came.
    longest_gap: no longer used; to be dropped once no older process runs.
    folded_at: when its messages were last folded.
    tended_at: when a worker last took care of the account's polling.
    recovered_at: when a silence, or an outage of ours, last made its open orders due.
    discarded, last_discarded_at: webhooks that reported nothing and were not stored.
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
    discarded: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    last_discarded_at: Mapped[datetime | None]


class Refusal(Base):
    """Refused requests of one day, by account, reason, and the likely cause (a word of CAUSES in
    receiver/accounts/credential_diagnosis.py). account is empty where no such account exists.
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
    """How often and when one of an account's secrets was used, by a fingerprint of the secret."""

    __tablename__ = "secret_uses"

    account: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]


class Poll(Base):
    """When an order's courier is polled next, and the results so far.

    An order is due at some time, or finished (its courier has nothing more to report), or stopped
    (we gave up).

    placed_at: when the order was placed with the courier, as far as we know.
    leased_until: a worker polls it now; until then no other worker does.
    quiet: polls in a row that reported nothing new.
    unchanged_for: how long that has been so, without the time in which we could not poll.
    failures: polls in a row without an answer about this order.
    unknown_since: since when the courier says that it does not know the order.
    answer_id: the last answer that was stored; None once a webhook arrived after it.
    """

    __tablename__ = "polls"

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
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
        index("polls_due_idx", ["account", "due_at"], where="due_at IS NOT NULL"),
        index("polls_placed_idx", ["account", "placed_at"]),
        index("polls_stopped_idx", ["account", "stopped_at"], where="stopped_at IS NOT NULL"),
        index("polls_unknown_idx", ["account", "unknown_since"], where="unknown_since IS NOT NULL"),
        # Empty unless something went wrong: open orders that would never be polled again.
        index(
            "polls_lost_idx",
            ["account"],
            where="due_at IS NULL AND finished_at IS NULL AND stopped_at IS NULL",
        ),
    )


class Tally(Base):
    """What arrived for one account within the five minutes that begin at `at`.

    hooks, answers: messages folded for the first time, from webhooks and from polls.
    missed: states that only a poll reported, because their webhook never came.
    events: events reported for the first time.
    waited, longest_wait: seconds from received to folded, of those messages.
    lagged: webhooks that reported a new event with its time.
    lag, longest_lag: seconds from the newest event of such a webhook to its arrival.
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
    """A counter for /metrics. account is empty where it belongs to none."""

    __tablename__ = "counts"

    name: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float] = mapped_column(Double)


class UnmappedWord(Base):
    """A courier's word that we map to no status, and the latest order that it was reported for."""

    __tablename__ = "unmapped_words"

    account: Mapped[str] = mapped_column(primary_key=True)
    word: Mapped[str] = mapped_column(primary_key=True)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    times: Mapped[int] = mapped_column(BigInteger)
    order_id: Mapped[int] = mapped_column(BigInteger)


class LeftOutField(Base):
    """A field that decoding left out of messages, and of how many; see couriers.snapshot.LeftOut.

    field is its path without the numbers of entries.
    """

    __tablename__ = "left_out_fields"

    account: Mapped[str] = mapped_column(primary_key=True)
    field: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]


class Heartbeat(Base):
    """When a recurring task was last done, by whichever process."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]


class EndedSession(Base):
    """A session of the console that was signed out before its time was over."""

    __tablename__ = "ended_sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    ended_at: Mapped[datetime]


class Notice(Base):
    """An alert from its opening to its closing. account is empty where it belongs to none.

    held_since: since when its condition holds, without a break longer than its grace time.
    gone_since: since when its condition does not hold; the alert closes once that has lasted.
    pushed_at: when it was last pushed, with which severity, count and causes; pushes: how often.
    acknowledged_until: it is not pushed before, unless it is more severe than it was then.
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
    held_since: Mapped[datetime | None]
    pushed_at: Mapped[datetime | None]
    pushed_severity: Mapped[str | None]
    pushed_count: Mapped[int | None] = mapped_column(BigInteger)
    pushed_causes: Mapped[list[str] | None]
    pushes: Mapped[int] = mapped_column(server_default=text("0"))
    acknowledged_until: Mapped[datetime | None]
    acknowledged_note: Mapped[str | None]
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[str | None]
    acknowledged_severity: Mapped[str | None]

    __table_args__ = (
        index("notices_open_key", ["condition", "account"], unique=True, where="closed_at IS NULL"),
        index("notices_opened_idx", ["opened_at"]),
    )


class Push(Base):
    """A notification about a notice's opening or closing, to one of ALERT_URLS (by a fingerprint of
    the URL). It is sent, given up, or due at next_at.
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
        index("pushes_due_idx", ["next_at"], where="sent_at IS NULL AND given_up_at IS NULL"),
    )
