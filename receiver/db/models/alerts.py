"""Alerts and the notifications about them."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from receiver.db.models.base import Base


class Notice(Base):
    """An alert from its opening to its closing. account is empty where it belongs to none.

    gone_since: since when its condition does not hold; the alert closes once that has lasted.
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
        Index(
            "pushes_due_idx",
            "next_at",
            postgresql_where=text("sent_at IS NULL AND given_up_at IS NULL"),
        ),
    )
