"""What changed in an order: the names for the feed, and the order's new version."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from types import SimpleNamespace

from receiver.db.order_state import AnyOrder, OrderState

# The first change of an order, and one that adds or changes events of its timeline.
CREATED = "created"
EVENTS = "events"
# Orders turned out to be this one.
MERGED = "merged"

# The attributes that an order shows, and their names in the API. The others are internal, or say
# when we last received something: a message that repeats what is known raises no version.
SHOWN = {
    name: name
    for name in (
        "courier_order_id",
        "identifiers",
        "reference",
        "status",
        "courier_status",
        "status_at",
        "reason",
        "needs_attention",
        "source",
        "tracking_url",
        "eta",
        "promised",
        "label_url",
        "pickup_at",
        "parcels",
        "milestones",
        "conflicts",
    )
} | {"shop_metadata": "metadata", "tracking_stopped_at": "tracking"}

# All that a change may say that it changed.
CHANGED_NAMES = (CREATED, EVENTS, MERGED, *SHOWN.values())

_shown_values = attrgetter(*SHOWN)


@dataclass(frozen=True, slots=True)
class OrderChange:
    """What the feed shows of one change: the order as it was after it; names: of what changed."""

    order_id: int
    version: int
    status: str
    status_at: datetime | None
    reference: str | None
    names: tuple[str, ...]

    @classmethod
    def of(cls, order: AnyOrder, names: Iterable[str]) -> "OrderChange":
        """Describe a change of an order, which is as the change has left it."""
        shown = order.status, order.status_at, order.reference
        return cls(order.id, order.version, *shown, tuple(names))


def copy_shown(order: AnyOrder) -> SimpleNamespace:
    """Copy what an order shows, for changed_names()."""
    return SimpleNamespace(**{name: getattr(order, name) for name in SHOWN})


def changed_names(before: AnyOrder | SimpleNamespace, after: AnyOrder) -> list[str]:
    """Return the API's names of what an order shows differently than before."""
    values = zip(SHOWN.values(), _shown_values(before), _shown_values(after), strict=True)
    names = [shown for shown, old, new in values if old != new]
    # Only a fold changes further parcels and details, and only a fold has loaded them.
    if isinstance(before, OrderState):
        further = ["parcels"] if before.further_parcels != after.further_parcels else []
        # Another label at the same path.
        further += ["label_url"] if _label(before) != _label(after) else []
        names = [*dict.fromkeys([*names, *further])]
    return names


def _label(order: AnyOrder) -> str | None:
    label: str | None = order.details.get("details", {}).get("label_sha256", {}).get("value")
    return label


def touch_order(order: AnyOrder, changed: Sequence[str], now: datetime) -> OrderChange | None:
    """Raise the version of an order that changed, and return the change for the feed.

    changed: the API's names; with CREATED the order is new and keeps its first version.
    """
    if not changed:
        return None
    if CREATED not in changed:
        order.version += 1
    order.updated_at = now
    return OrderChange.of(order, changed)
