"""The inbox."""

from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from receiver.db.models.base import Base

PENDING = "pending"
APPLIED = "applied"
PARKED = "parked"
QUARANTINED = "quarantined"
DISCARDED = "discarded"
OUTCOMES = (PENDING, APPLIED, PARKED, QUARANTINED, DISCARDED)


class Message(Base):
    """One webhook body or poll answer, stored unchanged.

    reason: why it has its outcome, for people.
    retried_at: when it was last sent back to the workers; it is drained after the new messages.
    tries, tried_by: how many processes may have died of reading it, and the last one's name; 0 for
        nearly all messages (workers/folding/poison.py).
    names: of a parked message, the further names by which the shop may register its order.
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
        # With the topic: an order's body sent to the tours URL by mistake must not turn its later
        # copy, sent to the right URL, into a repetition. Poll answers are only compared with the
        # one before, because a state that comes back is news.
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
        # Bodies that retention will delete, the oldest first (workers/upkeep/retention.py).
        Index(
            "messages_body_kept_idx",
            "processed_at",
            postgresql_where=text("body IS NOT NULL AND outcome IN ('applied', 'discarded')"),
        ),
    )
