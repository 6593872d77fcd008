"""Any courier whose webhooks are JSON, by the settings of its account alone.

COURIER_<ACCOUNT>_DRIVER=fields with COURIER_<ACCOUNT>_FIELDS, a JSON object of JMESPath expressions
(deploy/docs/adding-a-courier.md). A map needs `courier_order_id` and
`courier_status`; it may have `statuses` and the fields that field_map/compiled_map.py lists. There
are no defaults: nothing is read that the map does not name.
"""

from datetime import timedelta

from receiver.couriers.field_map.compiled_map import Preset
from receiver.couriers.field_map.preset import make_driver
from receiver.couriers.schedule import Backoff, Schedule

# For a courier that sends webhooks and is polled only while it is silent. A field map does not say
# how quick it is.
SCHEDULE = Schedule(default=Backoff(timedelta(minutes=30), timedelta(hours=6)))

driver = make_driver(
    "fields",
    Preset(fields={}, words={}, zone="UTC"),
    schedule=SCHEDULE,
    body="any",
    per_second=2,
    sample_order=("ORDERTRAIL-SAMPLE-F", "accepted"),
)
