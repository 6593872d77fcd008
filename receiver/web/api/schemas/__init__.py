"""What the API takes and gives, a noun a file; the OpenAPI description is made from these."""

from receiver.web.api.schemas.account import (
    AccountList,
    AccountStanding,
    Alert,
    AlertList,
    Refusal,
    RefusalList,
    SecretStanding,
)
from receiver.web.api.schemas.change import Change, ChangeFilters, ChangePage
from receiver.web.api.schemas.conflict import (
    Conflict,
    ConflictFilters,
    ConflictNote,
    ConflictPage,
    OrderConflict,
)
from receiver.web.api.schemas.explanation import (
    ExplainedDetail,
    ExplainedEvent,
    ExplainedMessage,
    ExplainedOrder,
    Explanation,
)
from receiver.web.api.schemas.fields import OUTCOMES, STATUSES
from receiver.web.api.schemas.message import (
    Message,
    MessageFilters,
    MessagePage,
    Retried,
    Retry,
)
from receiver.web.api.schemas.order import NO_POLLING, Eta, Order, Parcel, Polling, Source
from receiver.web.api.schemas.orders import (
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
from receiver.web.api.schemas.problem import Problem
from receiver.web.api.schemas.status import StatusRow, Vocabulary
from receiver.web.api.schemas.timeline import Event, EventSource, Timeline
from receiver.web.api.schemas.tour import Tour, TourStop

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
