"""OrderState: the columns of an order as a plain object, for code that handles many orders at once.

SQLAlchemy's objects record every attribute that is read or set: with them a drain takes half as
long again.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Any

from receiver import statuses
from receiver.db.models import Order


@dataclass(slots=True)
class OrderState:
    """One order; the attributes are those of Order, the values those of a new order.

    A column is only ever assigned, never changed in place: so a shallow copy made before shows what
    has changed since.
    """

    id: int
    account: str
    courier: str
    courier_order_id: str
    created_at: datetime
    updated_at: datetime
    reference: str | None = None
    shop_reference: str | None = None
    identifiers: dict[str, Any] = field(default_factory=dict)
    status: str = statuses.PENDING
    courier_status: str | None = None
    status_at: datetime | None = None
    reason: str | None = None
    needs_attention: bool = False
    source: dict[str, Any] | None = None
    milestones: dict[str, Any] = field(default_factory=dict)
    conflicts: list[Any] = field(default_factory=list)
    tracking_url: str | None = None
    label_url: str | None = None
    pickup_at: datetime | None = None
    eta: dict[str, Any] | None = None
    promised: dict[str, Any] | None = None
    parcels: list[Any] = field(default_factory=list)
    further_parcels: list[Any] = field(default_factory=list)
    further_parcel_count: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    shop_metadata: dict[str, Any] = field(default_factory=dict)
    registrations: list[Any] = field(default_factory=list)
    corrections: dict[str, Any] = field(default_factory=dict)
    tracking_stopped_at: datetime | None = None
    last_heard_at: datetime | None = None
    erased_at: datetime | None = None
    version: int = 1

    def __copy__(self) -> "OrderState":
        return OrderState(*_column_values(self))

    @property
    def order_key(self) -> tuple[str, str]:
        return self.account, self.courier_order_id


ORDER_COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(OrderState))
_column_values = attrgetter(*ORDER_COLUMNS)

AnyOrder = Order | OrderState
