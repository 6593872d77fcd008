"""What is counted. Names in the Prometheus manner; ops.py shows them at /metrics."""

import os

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, multiprocess

ACCEPTED = Counter(
    "ordertrail_messages_accepted", "Messages kept in the inbox.", ["account", "topic"]
)
REPEATED = Counter(
    "ordertrail_messages_repeated", "Messages whose body was kept already.", ["account", "topic"]
)
REFUSED = Counter(
    "ordertrail_messages_refused", "Requests refused at the door.", ["account", "reason"]
)
ACCEPT_SECONDS = Histogram(
    "ordertrail_accept_seconds",
    "From the first look at a hook until it was answered 200, its flush to disk included.",
    ["account"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
WAITING = Gauge(
    "ordertrail_changes_waiting", "Readers that wait for changes.", multiprocess_mode="livesum"
)

FEED_AGE = Histogram(
    "ordertrail_change_age_seconds",
    "How old the oldest change of a page was when a reader took it.",
    buckets=(0.1, 0.5, 1, 5, 30, 300, 3600, 86_400),
)


def metrics_registry() -> CollectorRegistry:
    """What this host's web processes counted, together."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    # Under gunicorn each worker counts in a file of its own.
    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return together
