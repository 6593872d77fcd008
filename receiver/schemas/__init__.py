"""What the API takes and gives, a noun a file; the OpenAPI description is made from these."""

from receiver.schemas.account import (
    AccountList,
    AccountStanding,
    Alert,
    AlertList,
    Refusal,
    RefusalList,
    SecretStanding,
)
from receiver.schemas.change import Change, ChangeFilters, ChangePage
from receiver.schemas.conflict import (
    Conflict,
    ConflictFilters,
    ConflictNote,
    ConflictPage,
    OrderConflict,
)
from receiver.schemas.explanation import (
    ExplainedDetail,
    ExplainedEvent,
    ExplainedMessage,
    ExplainedOrder,
    Explanation,
)
from receiver.schemas.fields import OUTCOMES, STATUSES
from receiver.schemas.message import Message, MessageFilters, MessagePage, Retried, Retry
from receiver.schemas.order import NO_POLLING, Eta, Order, Parcel, Polling, Source
from receiver.schemas.orders import (
    MOST_LOOKED_UP,
    Lookup,
    LookupAnswer,
    LookupResult,
    NewOrder,
    OrderFilters,
    OrderName,
    OrderPage,
    Refreshed,
)
from receiver.schemas.problem import Problem
from receiver.schemas.status import StatusRow, Vocabulary
from receiver.schemas.timeline import Event, EventSource, Timeline
from receiver.schemas.tour import Tour, TourStop

__all__ = [
    "MOST_LOOKED_UP",
    "NO_POLLING",
    "OUTCOMES",
    "STATUSES",
    "AccountList",
    "AccountStanding",
    "Alert",
    "AlertList",
    "Change",
    "ChangeFilters",
    "ChangePage",
    "Conflict",
    "ConflictFilters",
    "ConflictNote",
    "ConflictPage",
    "Eta",
    "Event",
    "EventSource",
    "ExplainedDetail",
    "ExplainedEvent",
    "ExplainedMessage",
    "ExplainedOrder",
    "Explanation",
    "Lookup",
    "LookupAnswer",
    "LookupResult",
    "Message",
    "MessageFilters",
    "MessagePage",
    "NewOrder",
    "Order",
    "OrderConflict",
    "OrderFilters",
    "OrderName",
    "OrderPage",
    "Parcel",
    "Polling",
    "Problem",
    "Refreshed",
    "Refusal",
    "RefusalList",
    "Retried",
    "Retry",
    "SecretStanding",
    "Source",
    "StatusRow",
    "Timeline",
    "Tour",
    "TourStop",
    "Vocabulary",
]
