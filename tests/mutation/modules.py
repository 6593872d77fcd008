"""The core, and for each of its modules the tests that are about it."""

FOLD = (
    "tests/test_fold.py",
    "tests/test_parcels.py",
    "tests/test_observations.py",
    "tests/test_minute_only.py",
    "tests/test_details.py",
    "tests/test_convergence.py",
)
NAMES = ("tests/test_order_identity.py", "tests/test_lookup.py", "tests/test_tours.py")

MODULES: dict[str, tuple[str, ...]] = {
    "receiver.inbox.accept": ("tests/test_inbox.py", "tests/test_ops.py"),
    "receiver.changes.feed": ("tests/test_changes.py",),
    "receiver.changes.order_version": (
        *("tests/test_changes.py", "tests/test_labels.py", "tests/test_corrections.py"),
        *("tests/test_order_identity.py", "tests/test_feed_writers.py"),
    ),
    "receiver.orders.names": (
        *("tests/test_names.py", "tests/test_registrations.py", "tests/test_corrections.py"),
        *("tests/test_order_identity.py", "tests/test_rebuild.py", "tests/test_tours.py"),
    ),
    "receiver.orders.matching": NAMES,
    "receiver.orders.find": (*NAMES, "tests/test_order_reads.py", "tests/test_orders.py"),
    "receiver.orders.fold.rules": FOLD,
    "receiver.orders.fold.walk": FOLD,
    "receiver.orders.fold.parcels": FOLD,
    "receiver.orders.timeline": FOLD,
    "receiver.orders.details": FOLD,
    "receiver.couriers.parsing": ("tests/couriers",),
    "receiver.couriers.snapshot": ("tests/couriers", *FOLD),
    "receiver.couriers.tiramizoo": ("tests/couriers",),
    "receiver.couriers.cottoncast": ("tests/couriers",),
    "receiver.couriers.shipmentapi": ("tests/couriers",),
    "receiver.couriers.field_map.compiled_map": ("tests/couriers",),
    "receiver.couriers.field_map.expressions": ("tests/couriers",),
    "receiver.couriers.field_map.reading": ("tests/couriers",),
    "receiver.couriers.field_map.decoding": ("tests/couriers",),
    "receiver.couriers.field_map.samples": ("tests/couriers",),
}
