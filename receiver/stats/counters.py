"""The Prometheus metrics that each web process counts by itself; /metrics shows them."""

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from receiver.stats.labelled_registry import LabelledRegistry
from receiver.stats.metric_files import lock_files

DIRECTORY = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
if DIRECTORY:
    # Somebody may have tidied up below /tmp: a new web process could not start without it.
    Path(DIRECTORY).mkdir(parents=True, exist_ok=True)

ACCEPTED = Counter(
    "ordertrail_messages_accepted", "Messages stored in the inbox.", ["account", "topic"]
)
REPEATED = Counter(
    "ordertrail_messages_repeated",
    "Messages whose body had been stored before.",
    ["account", "topic"],
)
DISCARDED = Counter(
    "ordertrail_messages_discarded",
    "Messages that report nothing, answered and not stored.",
    ["account", "topic"],
)
REFUSED = Counter("ordertrail_messages_refused", "Requests refused.", ["account", "reason"])
WAITING = Gauge(
    "ordertrail_changes_waiting", "Readers waiting for changes.", multiprocess_mode="livesum"
)
FEED_AGE = Histogram(
    "ordertrail_change_age_seconds",
    "Age of the oldest change of a page when it was read.",
    buckets=(0.1, 0.5, 1, 5, 30, 300, 3600, 86_400),
)


# Why a request is refused: its credential, or its body.
REFUSAL_REASONS = (
    *("missing", "malformed", "wrong", "outside_window", "body_too_large", "body_cut_off"),
)


def begin_at_zero(topics: Mapping[str, Sequence[str]]) -> None:
    """Show every counter from the start, so that the first of its kind is seen as one.

    topics: of each account, by its slug.
    """
    for account, of_account in topics.items():
        for topic in of_account:
            ACCEPTED.labels(account, topic)
            REPEATED.labels(account, topic)
            DISCARDED.labels(account, topic)
        for reason in REFUSAL_REASONS:
            REFUSED.labels(account, reason)


def render_counts(test_accounts: Collection[str]) -> bytes:
    """Return what all web processes of this host have counted, as Prometheus text."""
    if not DIRECTORY:
        return generate_latest(LabelledRegistry(REGISTRY, test_accounts))
    # Under gunicorn each worker counts in files of its own.
    registry, directory = CollectorRegistry(), Path(DIRECTORY)
    if not directory.is_dir():
        return generate_latest(registry)
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    with lock_files(directory):
        return generate_latest(LabelledRegistry(registry, test_accounts))


def increment(counter: Counter, *labels: str) -> None:
    """Count one. It never raises: where the metrics directory is gone, or no file can be opened,
    an answer matters more than its count.
    """
    with suppress(Exception):
        counter.labels(*labels).inc()
