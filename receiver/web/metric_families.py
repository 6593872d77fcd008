"""The metrics that are read from PostgreSQL and Redis, in parts that are measured one by one."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client import Metric, core
from sqlalchemy import Text, select, text

from receiver.alerts import AlertContext, Evaluation, inbox_alerts, order_alerts
from receiver.alerts.context import Rows, key_table, lateral_groups
from receiver.changes import feed
from receiver.db.models import APPLIED, PARKED, QUARANTINED, Poll
from receiver.inbox.storage_check import OK
from receiver.stats import totals
from receiver.stats.process_usage import ProcessUsage

# Counters are shown from 0 on, so that the first of its kind is seen as one.
JOBS = ("drain", "poll", "sweep", "retain", "count")
OUTCOMES = (APPLIED, QUARANTINED, PARKED)

# Values by the tuple of their labels' values, or by their only label's; None: not known.
Samples = Mapping[Any, float | None]


def gauge(name: str, help_text: str, samples: Samples, *labels: str) -> Metric:
    """Return a gauge of ours with its samples."""
    return _filled(core.GaugeMetricFamily(f"ordertrail_{name}", help_text, labels=labels), samples)


def _counter(name: str, help_text: str, samples: Samples, *labels: str) -> Metric:
    family = core.CounterMetricFamily(f"ordertrail_{name}", help_text, labels=labels)
    return _filled(family, samples)


def _filled(family: core.GaugeMetricFamily | core.CounterMetricFamily, samples: Samples) -> Metric:
    for labels, value in samples.items():
        if value is not None:
            family.add_metric([labels] if isinstance(labels, str) else labels, value)
    return family


def _timestamp(at: datetime | None) -> float | None:
    return at.timestamp() if at is not None else None


def _age(context: AlertContext, since: datetime | None) -> float:
    return max(0.0, (context.now - since).total_seconds()) if since else 0.0


def _counts(context: AlertContext, statement: Rows) -> dict[str, int]:
    """Return the totals of `lateral_groups` by account; also of the accounts that have no rows."""
    counts = dict.fromkeys(context.watched, 0)
    for row in context.rows(statement):
        counts[row.account] += row.total
    return counts


def _platform_metrics(context: AlertContext) -> Iterator[Metric]:
    session = context.session
    database_size = session.scalar(text("SELECT pg_database_size(current_database())"))
    swept_at, folded_at = _timestamp(context.last_sweep_at), _timestamp(context.last_fold_at)
    sweep_text = "When a worker last ran its periodic checks (sweep), to within 10 s."
    for name, help_text, value in (
        ("database_size_bytes", "Size of the database.", database_size),
        ("last_sweep_timestamp_seconds", sweep_text, swept_at),
        ("last_fold_timestamp_seconds", "When a batch of messages was last processed.", folded_at),
        ("changes_latest", "Number of the newest change.", feed.latest_change(session)),
    ):
        yield gauge(name, help_text, {(): value})


def _totals_metrics(context: AlertContext) -> Iterator[Metric]:
    found = totals.read_totals(context.session)
    accounts = context.watched
    polled = [slug for slug, account in accounts.items() if account.access]
    expected = {
        totals.PROCESSED: [(slug, outcome) for slug in accounts for outcome in OUTCOMES],
        totals.EVENTS: [(slug, "") for slug in accounts],
        totals.POLLS: [(slug, result) for slug in polled for result in totals.POLL_RESULTS],
        totals.MENDED: [
            ("", totals.RINGS),
            *((slug, what) for slug in polled for what in (totals.NEXT_POLLS, totals.LEASES)),
        ],
    }
    for total, name, help_text, *labels in (
        (totals.PROCESSED, "messages_processed", "Messages processed.", "account", "outcome"),
        (totals.EVENTS, "events", "New events.", "account"),
        (totals.POLLS, "polls", "Requests to couriers' APIs, by result.", "account", "result"),
        (totals.MENDED, "mended", "What was lost and recovered.", "account", "what"),
    ):
        samples = {key[: len(labels)]: 0.0 for key in expected[total]} | {
            (account, label)[: len(labels)]: value
            for (key, account, label), value in sorted(found.items())
            if key == total
        }
        yield _counter(name, help_text, samples, *labels)
    batches = {(): found.get((totals.BATCHES, "", ""), 0)}
    jobs = {job: found.get((totals.JOB_FAILURES, "", job), 0) for job in JOBS}
    yield _counter("job_failures", "Runs of a job that failed.", jobs, "job")
    failures = {(): found.get((totals.PUSH_FAILURES, "", ""), 0)}
    yield _counter("alert_push_failures", "Pushes to ALERT_URLS that failed.", failures)
    yield _counter("drain_batches", "Batches of messages processed.", batches)
    labelled = {slug: [slug, account.driver] for slug, account in accounts.items()}
    size = "Messages in a batch."
    wait = "Seconds from a message's arrival until it was processed."
    lag = "Seconds from an event, by the courier's clock, until its webhook arrived."
    yield _histogram("drain_batch_messages", size, totals.SIZE, found, {"": []})
    yield _histogram("message_wait_seconds", wait, totals.WAIT, found, labelled)
    yield _histogram("event_lag_seconds", lag, totals.LAG, found, labelled)


def _histogram(
    name: str,
    help_text: str,
    histogram: totals.Histogram,
    found: Mapping[totals.TotalKey, float],
    labelled: Mapping[str, list[str]],
) -> Metric:
    labels = () if "" in labelled else ("account", "courier")
    family = core.HistogramMetricFamily(f"ordertrail_{name}", help_text, labels=labels)
    for account, values in labelled.items():
        total, buckets = 0.0, []
        for bound in (*(f"{bound:g}" for bound in histogram.bounds), totals.INFINITE):
            total += found.get((histogram.name, account, bound), 0.0)
            buckets.append((bound, total))
        family.add_metric(values, buckets, found.get((histogram.sum, account, ""), 0.0))
    return family


def _inbox_metrics(context: AlertContext) -> Iterator[Metric]:
    backlog = context.backlog
    left = backlog.left.total_seconds() if backlog.left is not None else None
    for name, help_text, value in (
        ("messages_pending", "Messages waiting for a worker.", backlog.depth),
        (
            "messages_pending_exact",
            "1: messages_pending is exact; 0: at least so many wait.",
            float(backlog.is_exact),
        ),
        ("backlog_seconds_left", "Until no message waits, at the present pace.", left),
    ):
        yield gauge(name, help_text, {(): value})
    oldest = inbox_alerts.find_oldest_pending(context, sent_back=False)
    age_text = "How long the oldest new message has been waiting; 0: none is waiting."
    age = _age(context, oldest.since if oldest else None)
    yield gauge("oldest_pending_seconds", age_text, {(): age})
    for outcome, reason in (
        (QUARANTINED, "cannot be read"),
        (PARKED, "wait for their orders to be registered"),
    ):
        statement = inbox_alerts.select_unprocessed_messages(context, outcome)
        counted = f"Messages that {reason}; up to 10,000."
        yield gauge(f"messages_{outcome}", counted, _counts(context, statement), "account")
        ages = dict.fromkeys(context.watched, 0.0)
        ages |= {row.account: _age(context, row.received_at) for row in context.rows(statement)}
        age_text = f"Age of the oldest {outcome} message."
        yield gauge(f"oldest_{outcome}_seconds", age_text, ages, "account")


def _account_metrics(context: AlertContext) -> Iterator[Metric]:
    states = sorted(context.account_states.items())
    folded = {slug: state.hooks for slug, state in states}
    yield _counter("hooks_folded", "Webhooks processed.", folded, "account")
    missed = {slug: state.missed for slug, state in states}
    yield _counter("missed_hooks", "States that only a poll found.", missed, "account")
    last = {slug: _timestamp(state.last_hook_at) for slug, state in states}
    yield gauge("last_hook_timestamp_seconds", "When the last webhook arrived.", last, "account")
    polled = {account.slug: state for account, _, state in context.accounts() if account.access}
    paused = {
        (slug, reason): float(bool(state and state.paused_at and state.pause_reason == reason))
        for slug, state in polled.items()
        for reason in ("busy", "failing", "refused")
    }
    paused_text = "1 while the courier is not polled, by reason."
    yield gauge("poll_paused", paused_text, paused, "account", "reason")
    keys = key_table([(slug,) for slug in polled], account=Text)
    rows = select(Poll.due_at).where(Poll.account == keys.c.account, Poll.due_at <= context.now)
    due = context.rows(lateral_groups(keys, rows, Poll.due_at))
    none_due = dict.fromkeys(polled, 0)
    counts = none_due | {row.account: row.total for row in due}
    yield gauge("polls_due", "Orders to poll now; up to 10,000.", counts, "account")
    lag = none_due | {row.account: _age(context, row.due_at) for row in due}
    yield gauge("poll_lag_seconds", "How overdue the most overdue poll is.", lag, "account")


def _open_order_metrics(context: AlertContext) -> Iterator[Metric]:
    by_status = order_alerts.count_open_orders(context)
    open_text = "Orders that have not ended; up to 5,000 in each status."
    yield gauge("orders_open", open_text, by_status, "account", "status")


def _order_metrics(context: AlertContext) -> Iterator[Metric]:
    keys = context.account_keys()
    stopped = select(Poll.stopped_at).where(
        Poll.account == keys.c.account, Poll.stopped_at.is_not(None)
    )
    for name, meaning, statement in (
        ("stuck", "that kept one status for too long", order_alerts.select_stuck_orders(context)),
        ("eta_slipped", "past their ETA", order_alerts.select_late_orders(context)),
        ("in_conflict", "with an open conflict", order_alerts.select_orders_in_conflict(context)),
        ("given_up", "that were given up", lateral_groups(keys, stopped, Poll.stopped_at)),
    ):
        most = "1,000 in each status" if name == "stuck" else "10,000"
        help_text = f"Orders {meaning}; up to {most}."
        yield gauge(f"orders_{name}", help_text, _counts(context, statement), "account")
    unmapped = inbox_alerts.read_unmapped_words(context)
    words = {slug: len(unmapped.get(slug, ())) for slug in context.watched}
    yield gauge("unmapped_words", "Recent words that are mapped to no status.", words, "account")


def _retention_metrics(context: AlertContext) -> Iterator[Metric]:
    lags = {kind: lag.total_seconds() for kind, lag in context.retention_lags.items()}
    lag_text = "How long the oldest row that is to be removed is past its term; 0: none is."
    yield gauge("retention_lag_seconds", lag_text, lags, "kind")


def _push_metrics(context: AlertContext) -> Iterator[Metric]:
    found = totals.read_totals(context.session)
    results = {
        result: found.get((totals.FEED_PUSHES, "", result), 0) for result in totals.PUSH_RESULTS
    }
    yield _counter("push_attempts", "Requests to PUSH_URL, by result.", results, "result")
    progress = context.push_progress
    for name, help_text, value in (
        (
            "push_lag_seconds",
            "Age of the oldest change that the shop has not accepted; 0: there is none.",
            progress.lag.total_seconds() if progress else 0.0,
        ),
        (
            "push_lag_changes",
            "Changes that the shop has not accepted; up to 10,000.",
            progress.waiting if progress else 0,
        ),
    ):
        yield gauge(name, help_text, {(): value})


def describe_evaluation(evaluation: Evaluation) -> Iterator[Metric]:
    """Yield what is known also where PostgreSQL cannot be read."""
    writable = "Whether webhooks can be stored: PostgreSQL answers, takes writes, and in time."
    yield gauge("database_writable", writable, {(): float(evaluation.system.database == OK)})
    system = evaluation.system
    for name, help_text, value in (
        ("redis_up", "Whether Redis answers and takes writes.", float(system.redis_reachable)),
        ("workers", "Worker processes that are alive.", system.workers),
        ("disk_free_bytes", "Free space of the fullest disk with our data.", system.disk_free),
        ("disk_size_bytes", "That disk's size.", system.disk_size),
    ):
        yield gauge(name, help_text, {(): value})
    holding = {
        (alert.condition, alert.account or "", alert.severity): 1 for alert in evaluation.alerts
    }
    labels = ("condition", "account", "severity")
    yield gauge("alert", "1 while a condition holds.", holding, *labels)


def describe_processes(usage: Mapping[str, ProcessUsage]) -> Iterator[Metric]:
    """Yield what the processes need, by their kind."""
    for name, help_text, field in (
        ("processes", "Processes that are alive.", "count"),
        ("process_resident_memory_bytes", "Memory of the largest process.", "memory"),
        ("process_open_fds", "Open files of the process nearest to its limit.", "open_files"),
        ("process_max_fds", "The limit of open files of that process.", "most_files"),
    ):
        values = {kind: float(getattr(one, field)) for kind, one in sorted(usage.items())}
        yield gauge(name, help_text, values, "process")
    cpu = {kind: one.cpu_seconds for kind, one in sorted(usage.items())}
    yield _counter("process_cpu_seconds", "CPU time of all processes.", cpu, "process")


PARTS: Mapping[str, Callable[[AlertContext], Iterator[Metric]]] = {
    "platform": _platform_metrics,
    "totals": _totals_metrics,
    "inbox": _inbox_metrics,
    "accounts": _account_metrics,
    "open_orders": _open_order_metrics,
    "orders": _order_metrics,
    "retention": _retention_metrics,
    "push": _push_metrics,
}
