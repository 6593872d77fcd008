"""The change feed."""

from datetime import datetime

from sqlalchemy import BigInteger, Identity
from sqlalchemy.orm import Mapped, mapped_column

from receiver.db.models.base import Base


class Change(Base):
    """One change of an order. seq is assigned at the commit, so that readers miss no change."""

    __tablename__ = "changes"

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    order_id: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str]
    changed: Mapped[list[str]]
    changed_at: Mapped[datetime]
