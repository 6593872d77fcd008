"""ShipmentAPI: one webhook in the life of an order, everything later only by polling.

Source: the courier's document 004. Its public pages show neither a body nor the words of the later
states, so bodies are read through a field map of JMESPath expressions that a shop can correct
(COURIER_<ACCOUNT>_FIELDS) without a change to this file.
"""

from datetime import timedelta

from receiver import statuses
from receiver.couriers.contract import STUCK_AFTER
from receiver.couriers.field_map.compiled_map import Preset
from receiver.couriers.field_map.preset import make_driver
from receiver.couriers.schedule import Backoff, Schedule

# The zone of times without one: ShipmentAPI is the API of a Latvian company.
ZONE = "Europe/Riga"

WORDS = {
    "accepted": statuses.INFO_RECEIVED,
    "confirmed": statuses.INFO_RECEIVED,
    "placed": statuses.INFO_RECEIVED,
    "processed": statuses.INFO_RECEIVED,
    "collected": statuses.PICKED_UP,
    "picked_up": statuses.PICKED_UP,
    "in_transit": statuses.IN_TRANSIT,
    "shipped": statuses.IN_TRANSIT,
    "out_for_delivery": statuses.OUT_FOR_DELIVERY,
    "exception": statuses.EXCEPTION,
    "problem": statuses.EXCEPTION,
    "delayed": statuses.EXCEPTION,
    "lost": statuses.LOST,
    "canceled": statuses.CANCELLED,
    "cancelled": statuses.CANCELLED,
    "rejected": statuses.CANCELLED,
    "failed": statuses.CANCELLED,
    "returned": statuses.RETURNED,
    "delivered": statuses.DELIVERED,
}

FIELDS = {
    "courier_order_id": "order_reference",
    "reference": "client_reference || reference",
    "courier_status": "status",
    "occurred_at": "status_changed_at || updated_at",
    "reason": "reason || cancellation_reason",
    "courier_name": "carrier",
    "tracking_number": "tracking_number",
    "tracking_url": "tracking_url",
    "label_url": "label_url || label",
    "pickup_at": "pickup_time || pickup_at",
}

# Document 004: an order is accepted within 20 minutes, and should not be polled at once.
SCHEDULE = Schedule(
    calls_once=True,
    not_before=timedelta(minutes=1),
    until_accepted=Backoff(timedelta(minutes=1), timedelta(minutes=30), steady=20),
    until_complete=Backoff(timedelta(minutes=5), timedelta(hours=1), steady=12),
    pickup_every=timedelta(minutes=5),
    default=Backoff(timedelta(minutes=30), timedelta(hours=4)),
)

driver = make_driver(
    "shipmentapi",
    Preset(FIELDS, WORDS, ZONE),
    schedule=SCHEDULE,
    # It reports that an order is accepted; of its later life only what a field map is set up for.
    stuck_after={name: STUCK_AFTER[name] for name in (statuses.PENDING, statuses.INFO_RECEIVED)},
    sample_order=("ORDERTRAIL-SAMPLE-S", "accepted"),
)
