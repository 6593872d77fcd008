"""The facts that conditions are computed from, each read when it is first needed.

A condition reads all accounts in one statement (`key_table` has a row for each account,
`lateral_groups` reads each by an index), so that more accounts cost no more round trips.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Self

from redis import Redis
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    TableValuedAlias,
    Text,
    cast,
    column,
    func,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.types import TypeEngine

from receiver.alerts.system_state import SystemState, read_system_state
from receiver.couriers import DRIVERS
from receiver.couriers.contract import Driver
from receiver.db.counting import MOST_COUNTED
from receiver.db.models import AccountState, Heartbeat
from receiver.queue.liveness import SWEEP
from receiver.settings import Account, Settings

# A statement for rows of any columns.
Rows = Select[*tuple[Any, ...]]


@dataclass(frozen=True)
class AlertContext:
    """What a condition may look at."""

    session: Session
    settings: Settings
    now: datetime
    system: SystemState

    @classmethod
    def read(cls, session: Session, settings: Settings, redis: Redis, now: datetime) -> Self:
        """Return a context with the present state of Redis, workers, clock and disks."""
        return cls(session, settings, now, read_system_state(session, settings, redis))

    @cached_property
    def account_states(self) -> Mapping[str, AccountState]:
        """The accounts' rows, by slug."""
        return {state.account: state for state in self.session.scalars(select(AccountState))}

    @cached_property
    def last_sweep_at(self) -> datetime | None:
        return self.session.scalar(select(Heartbeat.at).where(Heartbeat.name == SWEEP))

    @property
    def last_fold_at(self) -> datetime | None:
        """When a batch of messages was last folded."""
        states = self.account_states.values()
        return max((state.folded_at for state in states if state.folded_at), default=None)

    @property
    def workers_run(self) -> bool:
        """Whether messages can be folded: workers run, as far as Redis can tell."""
        return self.system.redis_reachable and self.system.workers != 0

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
        for slug, account in sorted(self.settings.accounts.items()):
            yield account, DRIVERS[account.driver], self.account_states.get(slug)

    def account_keys(self) -> TableValuedAlias:
        """Return a table with a row for each account."""
        return key_table({"account": Text}, [(slug,) for slug in sorted(self.settings.accounts)])

    def rows(self, statement: Rows) -> Sequence[Row[*tuple[Any, ...]]]:
        return self.session.execute(statement).all()


def key_table(
    columns: Mapping[str, type[TypeEngine[Any]] | TypeEngine[Any]], rows: Sequence[Sequence[Any]]
) -> TableValuedAlias:
    """Return a table of the given rows, for `lateral_groups`."""
    arrays = [
        cast([row[place] for row in rows], ARRAY(kind))
        for place, kind in enumerate(columns.values())
    ]
    named = [column(name, kind) for name, kind in columns.items()]
    return func.unnest(*arrays).table_valued(*named).render_derived("keys")


def lateral_groups(
    keys: TableValuedAlias, rows: Rows, order: ColumnElement[Any] | InstrumentedAttribute[Any]
) -> Rows:
    """Select, for each key that has rows: the key, the first of its rows, and their `total`.

    LATERAL reads each key's rows by themselves, in an index's order, and counts them up to
    MOST_COUNTED.
    """
    first = rows.order_by(order).limit(1).lateral("first")
    limited = rows.correlate(keys).limit(MOST_COUNTED).subquery("limited")
    counted = select(func.count().label("total")).select_from(limited).lateral("counted")
    return (
        select(*keys.c, *first.c, counted.c.total)
        .select_from(keys)
        .join(first, true())
        .join(counted, true())
    )
