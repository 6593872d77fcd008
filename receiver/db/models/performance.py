"""What couriers' performance is read from: see receiver/orders/performance."""

from datetime import date

from sqlalchemy import BigInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from receiver.db.models.inbox import Base, index


class OrderPerformance(Base):
    """What an ended order counts for: its day, and the counters to which it adds one each.

    counters: empty where the order has not ended, after all, or is to be forgotten.
    counted: whether the sums of its day hold exactly that. Until then they hold replaced_counters
    of replaced_day: what the order counted for when it was last added; null where it never was.

    It has no foreign key to the order, which may be removed before it.
    """

    __tablename__ = "order_performance"

    order_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    account: Mapped[str]
    sample: Mapped[bool]
    day: Mapped[date | None]
    counters: Mapped[list[str]]
    counted: Mapped[bool] = mapped_column(server_default=text("false"))
    replaced_day: Mapped[date | None]
    replaced_counters: Mapped[list[str] | None]

    __table_args__ = (index("order_performance_new_idx", ["order_id"], where="NOT counted"),)


class DailyPerformance(Base):
    """The sum of a counter over the orders of an account that ended on a UTC day.

    sample: of sample orders. It outlives the orders that retention removes.
    """

    __tablename__ = "daily_performance"

    account: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    sample: Mapped[bool] = mapped_column(primary_key=True)
    counter: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
