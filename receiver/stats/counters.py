"""The Prometheus metrics that each web process counts by itself; /metrics shows them."""

import os

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, multiprocess

ACCEPTED = Counter(
    "ordertrail_messages_accepted", "Messages stored in the inbox.", ["account", "topic"]
)
REPEATED = Counter(
    "ordertrail_messages_repeated",
    "Messages whose body had been stored before.",
    ["account", "topic"],
)
REFUSED = Counter("ordertrail_messages_refused", "Requests refused.", ["account", "reason"])
ACCEPT_SECONDS = Histogram(
    "ordertrail_accept_seconds",
    "From the start of a webhook request until it was answered 200, the flush to disk included.",
    ["account"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
WAITING = Gauge(
    "ordertrail_changes_waiting", "Readers waiting for changes.", multiprocess_mode="livesum"
)
FEED_AGE = Histogram(
    "ordertrail_change_age_seconds",
    "Age of the oldest change of a page when it was read.",
    buckets=(0.1, 0.5, 1, 5, 30, 300, 3600, 86_400),
)


def metrics_registry() -> CollectorRegistry:
    """Return a registry of what all web processes of this host have counted."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    # Under gunicorn each worker counts in a file of its own.
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
