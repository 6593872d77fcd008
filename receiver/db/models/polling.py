"""The schedule of polls."""

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from receiver.db.models.base import Base


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
        # Empty unless something went wrong: open orders that would never be polled again.
        Index(
            "polls_lost_idx",
            "account",
            postgresql_where=text("due_at IS NULL AND finished_at IS NULL AND stopped_at IS NULL"),
        ),
    )
