"""The fold: an order's state from the set of its events. Pure: no clock, no tables, no I/O.

The result depends only on the set of events, so the order of arrival, repetitions and batches
cannot matter. Events are walked in the order of the courier's clock. Each one is applied, or not
applied because of a rule; the status is that of the last applied event.
"""

from receiver.orders.fold.parcels import fold_order
from receiver.orders.fold.rules import (
    KNOWN_TO_THE_SECOND,
    KNOWN_WITH_TIME,
    REPEATED_OBSERVATION,
    Verdict,
)
from receiver.orders.fold.walk import Conflict, FoldResult, fold_events, sort_position

__all__ = [
    "KNOWN_TO_THE_SECOND",
    "KNOWN_WITH_TIME",
    "REPEATED_OBSERVATION",
    "Conflict",
    "FoldResult",
    "Verdict",
    "fold_events",
    "fold_order",
    "sort_position",
]
