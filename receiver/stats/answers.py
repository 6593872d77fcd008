"""How webhooks are answered: counted by every web process, for Prometheus and for the alerts.

Prometheus scrapes what a process counted. The alerts need the sum over all processes and hosts,
also while PostgreSQL takes no writes, so each process adds its counts to Redis every second.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import islice

import structlog
from prometheus_client import Histogram
from redis import Redis

from receiver.background_thread import BackgroundThread

log = structlog.get_logger(__name__)

ANSWER_SECONDS = Histogram(
    "ordertrail_accept_seconds",
    "From the start of a webhook request until its answer, the flush to disk included.",
    ["account", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
STATUSES = ("2xx", "4xx", "5xx")
# How many answers in a row were 401, by account.
REFUSED_KEY = "ordertrail:refused-in-a-row"
# How often a driver failed to answer, by account; it exists for so long after the last time.
DRIVER_FAULTS_KEY = "ordertrail:driver-faults"
DRIVER_FAULTS_FOR = timedelta(hours=1)
# Exists while webhooks find PostgreSQL's disk full: clock and commands, which store none, learn it.
DISK_FULL_KEY = "ordertrail:disk-full"
# The account of requests that name none of ours.
NO_ACCOUNT = ""

# An answer that took longer is slow: couriers give up after a few seconds.
SLOW_SECONDS = 1.0
FLUSH_SECONDS = 1.0
BUCKET_SECONDS = 10
# The newest buckets that hold answers are judged, so that an alert does not resolve only because
# couriers have stopped to send. Older ones count no more.
BUCKETS_JUDGED = 6
KEPT_FOR = timedelta(minutes=15)
# Couriers send again what was refused, which finds the disk still full.
DISK_FULL_FOR = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Answers of an account: all, those with 5xx, and those that took over SLOW_SECONDS.

    refused: how many in a row were 401, up to now, however long ago they began; None where Redis
    has forgotten it.
    driver_faults: how often its driver failed to answer, up to DRIVER_FAULTS_FOR after the last.
    """

    total: int
    failed: int
    slow: int
    refused: int | None = None
    driver_faults: int = 0


class AnswerRecorder:
    """Counts the answers of one process."""

    def __init__(
        self,
        redis: Redis,
        accounts: Mapping[str, tuple[str, ...]],
        finds_disk_full: Callable[[], bool],
    ) -> None:
        """accounts: the routes of each account, so that its metrics are there from the start.

        finds_disk_full: whether the latest webhook of this process found PostgreSQL's disk full.
        """
        self._redis, self._finds_disk_full = redis, finds_disk_full
        self._counts: Counter[str] = Counter()
        self._accepted: set[str] = set()
        self._refused: Counter[str] = Counter()
        self._driver_faults: Counter[str] = Counter()
        self._thread = BackgroundThread("answer_recording", self._flush, FLUSH_SECONDS)
        self._failed = False
        self._series = {
            (account, route, status): ANSWER_SECONDS.labels(account, route, status)
            for account, routes in {**accounts, NO_ACCOUNT: ("",)}.items()
            for route in routes
            for status in STATUSES
        }

    def record(
        self, account: str, route: str, status_code: int, seconds: float, *, is_message: bool = True
    ) -> None:
        """Count an answer. It never raises: an answer matters more than its count.

        is_message: False for a handshake, which anybody may request: it ends no refusals.
        """
        status = f"{status_code // 100}xx"
        series = self._series.get((account, route, status))
        if series is None:
            account, route = NO_ACCOUNT, ""
            series = self._series.get((account, route, status))
        try:
            if series is not None:
                series.observe(seconds)
        except Exception as error:  # noqa: BLE001 (the metrics directory is gone, no file is left)
            if not self._failed:
                log.warning("answer_count_failed", error=type(error).__name__)
            self._failed = True
        is_first = not self._counts
        self._counts[f"{account} total"] += 1
        if status == "5xx":
            self._counts[f"{account} failed"] += 1
        elif status == "2xx" and is_message:
            self._accepted.add(account)
            self._refused[account] = 0
        elif status_code == HTTPStatus.UNAUTHORIZED:
            self._refused[account] += 1
        if seconds > SLOW_SECONDS:
            self._counts[f"{account} slow"] += 1
        if is_first:
            self._thread.wake()

    def record_driver_fault(self, account: str) -> None:
        """Count that an account's driver failed to judge or answer a request that was answered."""
        self._driver_faults[account] += 1
        self._thread.wake()

    def _flush(self) -> None:
        counts, self._counts = self._counts, Counter()
        accepted, self._accepted = self._accepted, set()
        refused, self._refused = self._refused, Counter()
        driver_faults, self._driver_faults = self._driver_faults, Counter()
        now, pipeline = time.time(), self._redis.pipeline(transaction=False)
        for field, number in counts.items():
            pipeline.hincrby(_key(now), field, number)
        pipeline.expire(_key(now), KEPT_FOR + timedelta(seconds=BUCKET_SECONDS))
        for account in accepted:
            pipeline.hset(REFUSED_KEY, account, 0)
        # Those since the last that was accepted here; it is not known what came last elsewhere.
        for account, number in refused.items():
            pipeline.hincrby(REFUSED_KEY, account, number)
        for account, number in driver_faults.items():
            pipeline.hincrby(DRIVER_FAULTS_KEY, account, number)
            pipeline.expire(DRIVER_FAULTS_KEY, DRIVER_FAULTS_FOR)
        if self._finds_disk_full():
            pipeline.set(DISK_FULL_KEY, 1, ex=DISK_FULL_FOR)
        pipeline.execute()

    def close(self) -> None:
        """Write the rest and end the thread."""
        self._thread.close()


def read_disk_full(redis: Redis) -> bool:
    """Return whether webhooks find PostgreSQL's disk full, on any host.

    Raises: RedisError, OSError.
    """
    return bool(redis.exists(DISK_FULL_KEY))


def read_answers(redis: Redis, now: datetime) -> dict[str, AnswerCounts]:
    """Return the answers of the newest buckets that hold some, by account.

    Raises: RedisError, OSError.
    """
    pipeline = redis.pipeline(transaction=False)
    buckets = range(0, round(KEPT_FOR.total_seconds()), BUCKET_SECONDS)
    for seconds in buckets:
        pipeline.hgetall(_key(now.timestamp() - seconds))
    pipeline.hgetall(REFUSED_KEY)
    pipeline.hgetall(DRIVER_FAULTS_KEY)
    *found, in_a_row, faulty = pipeline.execute()
    refused = {account.decode(): int(number) for account, number in in_a_row.items()}
    driver_faults = {account.decode(): int(number) for account, number in faulty.items()}
    sums: Counter[tuple[str, str]] = Counter()
    for bucket in islice(filter(None, found), BUCKETS_JUDGED):
        for field, number in bucket.items():
            account, _, kind = field.decode().rpartition(" ")
            sums[account, kind] += int(number)
    accounts = {account for account, _ in sums} | set(refused) | set(driver_faults)
    return {
        account: AnswerCounts(
            total=sums[account, "total"],
            failed=sums[account, "failed"],
            slow=sums[account, "slow"],
            refused=refused.get(account),
            driver_faults=driver_faults.get(account, 0),
        )
        for account in accounts
    }


def _key(seconds: float) -> str:
    return f"ordertrail:answers:{int(seconds) // BUCKET_SECONDS}"
