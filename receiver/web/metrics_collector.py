"""What stands in PostgreSQL, as metrics: read when Prometheus asks, whichever web process it asks.

So what any worker on any host counted is in it, and what nobody counts (how many orders are stuck)
is looked up. One look serves all who ask within a few seconds, and a scrape waits for it no longer
than PATIENCE: where PostgreSQL is away these numbers are absent and ordertrail_database_up is 0.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as Overdue
from datetime import UTC, datetime
from importlib.metadata import version
from platform import python_version

import structlog
from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector
from redis import Redis
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, sessionmaker

from receiver.alerts import Alert, find_alerts, inbox_alerts, order_alerts
from receiver.alerts.context import AlertContext, SystemState
from receiver.alerts.platform_alerts import read_system_state
from receiver.changes import feed
from receiver.db.models import PARKED, QUARANTINED, Poll
from receiver.logs import exception_fields
from receiver.queue.liveness import SWEEP
from receiver.settings import Settings
from receiver.stats import totals
from receiver.stats.totals import Histogram, TotalKey

log = structlog.get_logger(__name__)

# A look is good for so long, and a scrape waits so long for one. Seconds.
FRESH = 5.0
PATIENCE = 4.0
STATEMENT_MS = 3_000

Families = list[Metric]


class MetricsCollector(Collector):
    """The collector. Only one look is under way at a time."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session], redis: Redis) -> None:
        self._settings, self._sessions, self._redis = settings, sessions, redis
        self._lock = threading.Lock()
        self._look: Future[Families] | None = None
        self._looked_at = 0.0

    def describe(self) -> Iterable[Metric]:
        """Nothing: who asks for names alone is not to wait for a database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        build = InfoMetricFamily("ordertrail_build", "Which Ordertrail this is.")
        build.add_metric([], {"version": version("ordertrail"), "python": python_version()})
        yield build
        try:
            families = self._under_way().result(timeout=PATIENCE)
        except Exception as failure:  # noqa: BLE001 (a scrape tells what it can)
            if not isinstance(failure, Overdue):
                log.warning("nothing was measured", **exception_fields(failure))
            families = []
        up = "Whether PostgreSQL answered; where it is 0 what stands in it is absent."
        yield GaugeMetricFamily("ordertrail_database_up", up, float(bool(families)))
        yield from families

    def _under_way(self) -> "Future[Families]":
        with self._lock:
            look = self._look
            if look is None or (look.done() and time.monotonic() - self._looked_at > FRESH):
                look = self._look = Future()
                threading.Thread(target=self._run, args=(look,), daemon=True).start()
            return look

    def close(self) -> None:
        """Let the look that is under way come to its end."""
        if self._look is not None:
            wait([self._look])

    def _run(self, look: "Future[Families]") -> None:
        try:
            with self._sessions() as session:
                session.execute(text(f"SET LOCAL statement_timeout = {STATEMENT_MS}"))
                now = datetime.now(UTC)
                families = list(collect_metrics(session, self._settings, self._redis, now))
            self._looked_at = time.monotonic()
            look.set_result(families)
        except Exception as failure:  # noqa: BLE001 (whoever waits is told)
            self._looked_at = time.monotonic()
            look.set_exception(failure)


def collect_metrics(
    session: Session, settings: Settings, redis: Redis, now: datetime
) -> Iterator[Metric]:
    """Everything that PostgreSQL and Redis tell, as metrics."""
    around = read_system_state(session, settings, redis)
    scene = AlertContext.open(session, settings, now, around)
    yield from _machine(scene, around)
    yield from _counted(dict(totals.read_totals(session)), settings)
    yield from _inbox(scene)
    yield from _accounts(scene)
    yield from _orders(scene)
    yield from _alerts(list(find_alerts(session, settings, now, around)))


def _gauge(name: str, told_of: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"ordertrail_{name}", told_of, labels=labels)


def _counter(name: str, told_of: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"ordertrail_{name}", told_of, labels=labels)


def _single(name: str, told_of: str, value: float | None) -> GaugeMetricFamily:
    """A number of the whole service; without a sample where it is not known."""
    family = _gauge(name, told_of)
    if value is not None:
        family.add_metric([], value)
    return family


def _machine(scene: AlertContext, around: SystemState) -> Iterator[Metric]:
    yield _single("redis_up", "Whether Redis answered.", float(around.redis))
    yield _single("workers", "Worker processes that RQ knows of.", around.workers)
    free, size = around.disk_free, around.disk_size
    yield _single("disk_free_bytes", "Room left on the disk with our data that is fullest.", free)
    yield _single("disk_size_bytes", "That disk's size.", size)
    stored = scene.session.scalar(text("SELECT pg_database_size(current_database())"))
    yield _single("database_size_bytes", "Size of the database.", stored)
    swept = scene.beats.get(SWEEP)
    folded = [state.folded_at for state in scene.states.values() if state.folded_at is not None]
    yield _single(
        "last_sweep_timestamp_seconds", "When a worker swept, to within 10 s.", _unix(swept)
    )
    folded_at = _unix(max(folded, default=None))
    yield _single("last_fold_timestamp_seconds", "When a batch was last folded.", folded_at)
    yield _single("changes_latest", "Number of the newest change.", feed.latest(scene.session))


def _unix(at: datetime | None) -> float | None:
    return at.timestamp() if at is not None else None


def _counted(found: Mapping[TotalKey, float], settings: Settings) -> Iterator[Metric]:
    processed = _counter(
        "messages_processed", "Messages that a worker was done with.", "account", "outcome"
    )
    events = _counter("events", "Events told for the first time.", "account")
    polls = _counter(
        "polls", "Requests to couriers' APIs, by how they came out.", "account", "result"
    )
    mended = _counter(
        "mended", "Rings, next polls and leases that were lost and found.", "account", "what"
    )
    by_name: Mapping[str, tuple[CounterMetricFamily, bool]] = {
        totals.PROCESSED: (processed, True),
        totals.EVENTS: (events, False),
        totals.POLLS: (polls, True),
        totals.MENDED: (mended, True),
    }
    for (name, account, label), value in sorted(found.items()):
        if name in by_name:
            family, labelled = by_name[name]
            family.add_metric([account, label] if labelled else [account], value)
    yield from (processed, events, polls, mended)
    batches = found.get((totals.BATCHES, "", ""), 0.0)
    yield CounterMetricFamily("ordertrail_drain_batches", "Batches folded.", batches)
    yield _histogram(
        found, totals.SIZE, "drain_batch_messages", "Messages in a batch.", {"": ()}, ()
    )
    own = {slug: (slug, account.driver) for slug, account in settings.accounts.items()}
    labels = ("account", "courier")
    waited = "From a message's arrival until it was folded."
    yield _histogram(found, totals.WAIT, "message_wait_seconds", waited, own, labels)
    lag = "From what a hook tells as news until the hook arrived, by the courier's clock."
    yield _histogram(found, totals.LAG, "event_lag_seconds", lag, own, labels)


def _histogram(
    found: Mapping[TotalKey, float],
    spread: Histogram,
    name: str,
    told_of: str,
    own: Mapping[str, tuple[str, ...]],
    labels: tuple[str, ...],
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"ordertrail_{name}", told_of, labels=labels)
    for account, values in own.items():
        total, buckets = 0.0, []
        for bound in (*(f"{bound:g}" for bound in spread.bounds), totals.INFINITE):
            total += found.get((spread.name, account, bound), 0.0)
            buckets.append((bound, total))
        family.add_metric(list(values), buckets, found.get((spread.sum, account, ""), 0.0))
    return family


def _inbox(scene: AlertContext) -> Iterator[Metric]:
    waiting = "Messages that wait for a worker; up to 100,000 new and as many sent back."
    yield _single("messages_pending", waiting, inbox_alerts.count_pending(scene))
    oldest = inbox_alerts.oldest(scene, sent_back=False)
    age = max(0.0, (scene.now - oldest[0]).total_seconds()) if oldest else 0.0
    says = "For how long the oldest new message waits, whatever became of others; 0: none waits."
    yield _single("oldest_pending_seconds", says, age)
    stuck = {
        QUARANTINED: _gauge(
            "messages_quarantined", "Messages that cannot be read; up to 10,000.", "account"
        ),
        PARKED: _gauge(
            "messages_parked", "Messages that wait for a registration; up to 10,000.", "account"
        ),
    }
    heaps = {(it.account, it.outcome): it for it in scene.rows(inbox_alerts.stuck(scene, *stuck))}
    for outcome, family in stuck.items():
        for slug in scene.settings.accounts:
            heap = heaps.get((slug, outcome))
            family.add_metric([slug], heap.number if heap else 0)
    yield from stuck.values()
    ages = {
        outcome: _gauge(f"oldest_{outcome}_seconds", f"Age of the oldest {outcome} one.", "account")
        for outcome in stuck
    }
    for outcome, family in ages.items():
        for slug in scene.settings.accounts:
            heap = heaps.get((slug, outcome))
            age = max(0.0, (scene.now - heap.received_at).total_seconds()) if heap else 0.0
            family.add_metric([slug], age)
    yield from ages.values()


def _accounts(scene: AlertContext) -> Iterator[Metric]:
    hooks = _counter("hooks_folded", "Hooks folded.", "account")
    missed = _counter("missed_hooks", "States that had to be asked for.", "account")
    heard = _gauge("last_hook_timestamp_seconds", "When a hook last came.", "account")
    paused = _gauge("poll_paused", "1 while the courier is not asked, by why.", "account", "reason")
    due = _gauge("polls_due", "Orders to ask about now; up to 10,000.", "account")
    lag = _gauge("poll_lag_seconds", "For how long the most overdue order waits.", "account")
    for slug, state in sorted(scene.states.items()):
        hooks.add_metric([slug], state.hooks)
        missed.add_metric([slug], state.missed)
        if state.last_hook_at is not None:
            heard.add_metric([slug], state.last_hook_at.timestamp())
    for account, _, row in scene.accounts():
        for reason in ("busy", "failing", "refused") if account.access else ():
            is_so = row is not None and row.paused_at is not None and row.pause_reason == reason
            paused.add_metric([account.slug, reason], float(is_so))
        if account.access:
            own = (Poll.account == account.slug, Poll.due_at <= scene.now)
            due.add_metric([account.slug], scene.count(select(Poll.order_id).where(*own)))
            first = scene.session.scalar(select(func.min(Poll.due_at)).where(*own))
            late = (scene.now - first).total_seconds() if first is not None else 0.0
            lag.add_metric([account.slug], late)
    yield from (hooks, missed, heard, paused, due, lag)


def _orders(scene: AlertContext) -> Iterator[Metric]:
    still_open = _gauge("orders_open", "Orders that are not at their end.", "account", "status")
    for (account, status), number in sorted(order_alerts.open_by_status(scene).items()):
        still_open.add_metric([account, status], number)
    stuck = _gauge("orders_stuck", "Orders that stand still; up to 10,000.", "account")
    slipped = _gauge("orders_eta_slipped", "Orders past their ETA; up to 10,000.", "account")
    conflicts = _gauge("orders_in_conflict", "Orders with an open conflict.", "account")
    given_up = _gauge("orders_given_up", "Orders that were given up; up to 10,000.", "account")
    words = _gauge("unmapped_words", "Words of late that no status stands for.", "account")
    heaps = (
        (stuck, order_alerts.stuck(scene)),
        (slipped, order_alerts.slipped(scene)),
        (conflicts, order_alerts.in_conflict(scene)),
    )
    for family, heap in heaps:
        numbers = Counter[str]()
        for found in scene.rows(heap):
            numbers[found.account] += found.number
        for slug in scene.settings.accounts:
            family.add_metric([slug], numbers[slug])
    unmapped = inbox_alerts.unmapped(scene)
    for slug in scene.settings.accounts:
        stopped = (Poll.account == slug, Poll.stopped_at.is_not(None))
        given_up.add_metric([slug], scene.count(select(Poll.order_id).where(*stopped)))
        words.add_metric([slug], len(unmapped.get(slug, ())))
    yield from (still_open, stuck, slipped, conflicts, given_up, words)


def _alerts(found: list[Alert]) -> Iterator[Metric]:
    """Each condition as a series of its own, and what a rule's annotation shows of it beside: an
    example changes, and would make another alert of it.
    """
    holds = _gauge("alert", "1 while a condition holds.", "condition", "account", "severity")
    examples = _gauge("alert_example", "An example of it.", "condition", "account", "example")
    for alert in found:
        account = alert.account or ""
        holds.add_metric([alert.condition, account, alert.severity], 1)
        if alert.example is not None:
            examples.add_metric([alert.condition, account, alert.example], 1)
    yield from (holds, examples)
