"""The facts that conditions are computed from, each read when it is first needed.

A condition reads all accounts in one statement (`key_table` has a row for each account,
`lateral_groups` reads each by an index), so that more accounts cost no more round trips.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from redis import Redis, RedisError
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute, Session

from receiver.alerts.backlog import Backlog, BacklogMeter
from receiver.changes.feed_push import PushProgress, read_push_progress
from receiver.couriers import DRIVERS
from receiver.couriers.contract import Driver
from receiver.db.models import AccountState, Heartbeat
from receiver.db.pagination import MOST_COUNTED
from receiver.inbox.storage_check import OK
from receiver.queue import redis_check
from receiver.queue.job_failures import read_job_failures
from receiver.queue.liveness import SWEEP, clock_alive_since, count_live_workers
from receiver.retention.expired import measure_lag
from receiver.settings import Account, Settings
from receiver.stats.answers import AnswerCounts, read_answers, read_disk_full

# A job that failed so often in a row is no slip.
LEAST_FAILURES = 3

# A statement for rows of any columns.
Rows = sa.Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class SystemState:
    """The state of what is not in PostgreSQL: Redis, workers, clock and disks. None: not known.

    redis_reachable: whether Redis answers and takes writes; redis: OK, or what is wrong with it, as
    receiver.queue.redis_check names it.
    database: receiver.inbox.storage_check.OK, or what keeps webhooks from being stored.
    database_detail: PostgreSQL's own words about it.
    job_failures: how often in a row each job has failed.
    answers: how webhooks were answered lately, by account. webhooks_find_disk_full: also those of
    other processes and hosts.

    clock_since: since when the clock has been ticking without a break; None: it is not ticking.
    disk_free, disk_size: bytes of the fullest of the disks with our data.
    """

    redis_reachable: bool
    workers: int | None
    clock_since: datetime | None
    disk_free: int | None = None
    disk_size: int | None = None
    redis: str = redis_check.OK
    database: str = OK
    database_detail: str = ""
    answers: Mapping[str, AnswerCounts] = field(default_factory=dict)
    webhooks_find_disk_full: bool = False
    job_failures: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, settings: Settings, redis: Redis, now: datetime) -> Self:
        """Return the present state, but for PostgreSQL and the disk that it alone can name."""
        size, free = _fullest_disk([settings.data_dir])
        # Where writes are refused, workers and clock cannot show that they are alive.
        fault = redis_check.check_redis(redis)
        if fault != redis_check.OK:
            return cls(False, None, None, free, size, redis=fault)
        try:
            workers, clock_since = count_live_workers(redis), clock_alive_since(redis)
            answers, failures = read_answers(redis, now), read_job_failures(redis)
            is_full = read_disk_full(redis)
        except (RedisError, OSError) as error:
            fault = redis_check.name_redis_fault(error)
            return cls(False, None, None, free, size, redis=fault)
        return cls(
            True,
            workers,
            clock_since,
            free,
            size,
            answers=answers,
            webhooks_find_disk_full=is_full,
            job_failures=failures,
        )

    def with_disk(self, directory: Path | None) -> Self:
        """Return the state with a further disk, where that is fuller."""
        size, free = _fullest_disk([directory] if directory else [])
        if free is None or (self.disk_free is not None and self.disk_free <= free):
            return self
        return replace(self, disk_free=free, disk_size=size)


@dataclass(frozen=True)
class AlertContext:
    """What a condition may look at.

    meter: the process's, which knows more than a new one.
    with_test: also test accounts, as the metrics have them; they raise no alert.
    """

    session: Session
    settings: Settings
    now: datetime
    system: SystemState
    meter: BacklogMeter = field(default_factory=BacklogMeter)
    with_test: bool = False

    @cached_property
    def watched(self) -> Mapping[str, Account]:
        """The accounts that this is about, by slug."""
        left_out = self.settings.left_out_accounts(self.with_test)
        accounts = self.settings.accounts.items()
        return {slug: account for slug, account in sorted(accounts) if slug not in left_out}

    @cached_property
    def account_states(self) -> Mapping[str, AccountState]:
        """The accounts' rows, by slug."""
        return {state.account: state for state in self.session.scalars(sa.select(AccountState))}

    @cached_property
    def backlog(self) -> Backlog:
        return self.meter.measure(self.session)

    @cached_property
    def last_sweep_at(self) -> datetime | None:
        return self.session.scalar(sa.select(Heartbeat.at).where(Heartbeat.name == SWEEP))

    @cached_property
    def retention_lags(self) -> Mapping[str, timedelta]:
        """By kind of row, how long the oldest that is to be removed is past its term."""
        return measure_lag(self.session, self.settings, self.now)

    @cached_property
    def push_progress(self) -> PushProgress | None:
        """How far the change feed was pushed to the shop; None where none is pushed."""
        if self.settings.push_url is None:
            return None
        return read_push_progress(self.session, self.now)

    @property
    def last_fold_at(self) -> datetime | None:
        """When a batch of messages was last folded."""
        states = self.account_states.values()
        return max((state.folded_at for state in states if state.folded_at), default=None)

    @property
    def workers_run(self) -> bool:
        """Whether messages can be folded: workers run, as far as Redis can tell."""
        return self.system.redis_reachable and self.system.workers != 0

    @property
    def can_fold(self) -> bool:
        """Whether workers could do their work; what keeps them from it is an alert by itself."""
        return self.workers_run and self.system.database == OK

    @property
    def failing_jobs(self) -> Mapping[str, int]:
        """The jobs that fail at every run, and how often in a row each has failed."""
        failures = self.system.job_failures
        return {name: count for name, count in failures.items() if count >= LEAST_FAILURES}

    def sweep_is_late(self, limit: timedelta) -> bool:
        """Tell whether no sweep was made within limit, or no clock ticks that would ask for one.

        Time before the clock started does not count: the first sweep takes a moment.
        """
        clock_since = self.system.clock_since
        if clock_since is None:
            return True
        return self.now - max(clock_since, self.last_sweep_at or clock_since) > limit

    def accounts(self) -> Iterator[tuple[Account, Driver, AccountState | None]]:
        """Yield each account with its driver, and its row where there is one yet."""
        for slug, account in self.watched.items():
            yield account, DRIVERS[account.driver], self.account_states.get(slug)

    def account_keys(self) -> sa.TableValuedAlias:
        """Return a table with a row for each account."""
        return key_table([(slug,) for slug in self.watched], account=sa.Text)

    def rows(self, statement: Rows) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        return self.session.execute(statement).all()


def _fullest_disk(paths: Iterable[Path]) -> tuple[int | None, int | None]:
    """Return the size and the free bytes of the fullest disk of these directories."""
    disks = [shutil.disk_usage(path) for path in paths if path.is_dir()]
    fullest = min(disks, key=lambda disk: disk.free, default=None)
    return (fullest.total, fullest.free) if fullest else (None, None)


def find_postgres_directory(session: Session) -> Path | None:
    """Return PostgreSQL's data directory, if our role may read it; it may be on another machine."""
    # For an ordinary role the setting is an error, which PostgreSQL would log at every scrape.
    statement = """
        SELECT CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')
                    THEN current_setting('data_directory') END
    """
    directory = session.scalar(sa.text(statement))
    return Path(directory) if directory else None


def key_table(
    rows: Sequence[Sequence[Any]], **columns: type[sa.types.TypeEngine[Any]]
) -> sa.TableValuedAlias:
    """Return a table of the given rows, for `lateral_groups`. columns: the types by name."""
    arrays = [
        sa.cast([row[place] for row in rows], ARRAY(kind))
        for place, kind in enumerate(columns.values())
    ]
    named = [sa.column(name, kind) for name, kind in columns.items()]
    return sa.func.unnest(*arrays).table_valued(*named).render_derived("keys")


def lateral_groups(
    keys: sa.TableValuedAlias,
    rows: Rows,
    order: sa.ColumnElement[Any] | InstrumentedAttribute[Any],
    most: int = MOST_COUNTED,
) -> Rows:
    """Select, for each key that has rows: the key, the first of its rows, and their `total`.

    LATERAL reads each key's rows by themselves, in an index's order, and counts them up to `most`.
    """
    first = rows.order_by(order).limit(1).lateral("first")
    limited = rows.correlate(keys).limit(most).subquery("limited")
    counted = sa.select(sa.func.count().label("total")).select_from(limited).lateral("counted")
    joined = keys.join(first, sa.true()).join(counted, sa.true())
    return sa.select(*keys.c, *first.c, counted.c.total).select_from(joined)
