"""The core, and for each of its modules the tests that are about it, the fast ones first."""

MODULES: dict[str, tuple[str, ...]] = {
    "receiver.inbox.accept": ("tests/test_inbox.py", "tests/test_group_commit.py"),
    "receiver.changes.feed": ("tests/test_changes.py",),
    "receiver.changes.order_version": ("tests/test_changes.py", "tests/test_drain.py"),
    "receiver.orders.names": ("tests/test_order_identity.py", "tests/test_lookup.py"),
    "receiver.orders.find": (
        "tests/test_lookup.py",
        "tests/test_order_reads.py",
        "tests/test_order_identity.py",
        "tests/test_orders.py",
    ),
}
