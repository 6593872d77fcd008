"""The audit log."""

from datetime import datetime

from sqlalchemy import BigInteger, Identity, text
from sqlalchemy.orm import Mapped, mapped_column

from receiver.db.models.inbox import Base, index


class AuditEntry(Base):
    """One action of a person or of a client of the API; see receiver/audit.

    at: when the row was written, by PostgreSQL's clock.
    account, courier_order_id, message_id: what it was done to; an action on many messages names
        the account only, or nothing.
    """

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    who: Mapped[str]
    token_name: Mapped[str | None]
    action: Mapped[str]
    account: Mapped[str | None]
    courier_order_id: Mapped[str | None]
    message_id: Mapped[int | None] = mapped_column(BigInteger)
    request_id: Mapped[str | None]

    __table_args__ = (
        index("audit_entries_at_idx", ["at", "id"]),
        index("audit_entries_who_idx", ["who", "at", "id"]),
        index("audit_entries_action_idx", ["action", "at", "id"]),
        index("audit_entries_order_idx", ["account", "courier_order_id", "at", "id"]),
    )
