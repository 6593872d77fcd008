"""Tours and their stops."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from receiver.db.models.base import Base


class Tour(Base):
    """A tour, as the newest plan that names it describes it."""

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
    """When each plan says that a tour reaches an order, by the order's name in the plan.

    It has no foreign key to the order, because a plan may arrive before its orders.
    """

    __tablename__ = "tour_stops"

    account: Mapped[str] = mapped_column(primary_key=True)
    order_key: Mapped[str] = mapped_column(primary_key=True)
    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    tour_id: Mapped[str]
    eta: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(index=True)
