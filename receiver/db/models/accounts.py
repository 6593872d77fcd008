"""Accounts: their state, refused requests, and the use of their secrets."""

from datetime import date, datetime, timedelta

from sqlalchemy import BigInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from receiver.db.models.base import Base


class AccountState(Base):
    """An account's counters, and whether its courier may be polled now.

    Nobody polls before paused_until. Afterwards one worker at a time polls one order (and moves
    paused_until forward meanwhile), until an answer clears it.

    failures: requests in a row that the courier failed (5xx, no answer, unusable answer).
    missed: states that only a poll reported, because their webhook never came.
    longest_gap: the longest time between two webhooks so far.
    folded_at: when its messages were last folded.
    tended_at: when a worker last took care of the account's polling.
    recovered_at: when a silence, or an outage of ours, last made its open orders due.
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
