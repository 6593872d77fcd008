"""The base of all tables, and the inbox."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Identity, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

PENDING = "pending"
APPLIED = "applied"
PARKED = "parked"
QUARANTINED = "quarantined"
DISCARDED = "discarded"
OUTCOMES = (PENDING, APPLIED, PARKED, QUARANTINED, DISCARDED)
# Done with, and of no single order: tour plans, messages about several orders, discarded ones.
UNOWNED_SQL = (
    "body IS NULL AND (outcome = 'discarded' OR outcome = 'applied' AND courier_order_id IS NULL)"
)


class Base(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it off the class)
        datetime: TIMESTAMP(timezone=True),
        timedelta: sa.Interval,
        str: Text,
        bytes: sa.LargeBinary,
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(Text),
    }


def index(name: str, columns: Sequence[Any], where: str | None = None, **options: Any) -> sa.Index:
    """Return an index. where: the condition of the rows that it holds, None for all."""
    condition = None if where is None else text(where)
    return sa.Index(name, *columns, postgresql_where=condition, **options)


class Message(Base):
    """One webhook body or poll answer, stored unchanged: what orders are derived from.

    reason: why it has its outcome, for people.
    retried_at: when it was last sent back to the workers; it is drained after the new messages.
    tries, tried_by: how many processes may have died of reading it, and the last one's name; 0 for
        nearly all messages (workers/folding/poison.py).
    names: of a parked message, the further names by which the shop may register its order; of an
        applied one about several orders, their ids.
    left_out: what could not be read, as couriers.snapshot.LeftOut; null where nothing was left out.
    request: what the courier said beside the body, where its topic declares that: {"method",
        "headers", "query"}, as in couriers.contract.Heard; of the answer to a poll of one order
        {"polled_order_id"}, as in couriers.snapshot.MessageContext. It is dropped with the body.
    body_sha256: of the body, and of `request` where there is one: by it repetitions are known.
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
    left_out: Mapped[list[Any] | None]
    request: Mapped[dict[str, Any] | None]

    __table_args__ = (
        # With the topic: an order's body sent to the tours URL by mistake must not turn its later
        # copy, sent to the right URL, into a repetition. Poll answers are only compared with the
        # one before, because a state that comes back is news.
        index(
            "messages_hook_key",
            ["account", "topic", "body_sha256"],
            unique=True,
            where="kind = 'webhook'",
        ),
        index("messages_pending_idx", ["id"], where="outcome = 'pending' AND retried_at IS NULL"),
        index(
            "messages_sent_back_idx", ["id"], where="outcome = 'pending' AND retried_at IS NOT NULL"
        ),
        index("messages_suspected_idx", ["id"], where="outcome = 'pending' AND tries > 0"),
        index("messages_listed_idx", ["account", "outcome", "id"]),
        index(
            "messages_account_courier_order_id_idx",
            ["account", "courier_order_id", "id"],
            where="courier_order_id IS NOT NULL",
        ),
        index(
            "messages_parked_names_idx",
            ["names"],
            postgresql_using="gin",
            where="outcome = 'parked'",
        ),
        # Messages about several orders, by the ids of these.
        index(
            "messages_shared_idx",
            ["names"],
            postgresql_using="gin",
            where="outcome = 'applied' AND names IS NOT NULL",
        ),
        # Bodies that retention will delete, the oldest first (receiver/retention/expired.py).
        index(
            "messages_body_kept_idx",
            ["processed_at"],
            where="body IS NOT NULL AND outcome IN ('applied', 'discarded')",
        ),
        # Rows that ORDER_RETENTION_DAYS removes though no order does.
        index("messages_unowned_idx", ["processed_at"], where=UNOWNED_SQL),
    )
