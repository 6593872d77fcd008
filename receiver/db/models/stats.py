"""Counters, their history, and heartbeats."""

from datetime import datetime

from sqlalchemy import BigInteger, Double, text
from sqlalchemy.orm import Mapped, mapped_column

from receiver.db.models.base import Base


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


class Heartbeat(Base):
    """When a recurring task was last done, by whichever process."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]
