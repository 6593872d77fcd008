"""What conditions are read from, and what they yield.

A look is one statement for all accounts (`each` has a row for each of them, `heaps` looks at
each by an index), so that one more account costs no further way to PostgreSQL.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

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

from receiver.alerts.catalogue import CATALOGUE, anchor
from receiver.couriers import DRIVERS
from receiver.couriers.contract import Driver
from receiver.db.models import AccountState, Heartbeat
from receiver.settings import Account, Settings

# Counted no further: past it the number says the same.
MOST_COUNTED = 10_000

Order = ColumnElement[Any] | InstrumentedAttribute[Any]
# A query for rows of any columns.
Rows = Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that holds; example is one of the orders or messages that it is about.

    account: None where it is about the service and not about one account.
    """

    condition: str
    severity: str
    account: str | None
    since: datetime | None
    count: int
    example: str | None
    summary: str
    what_to_do: str

    @property
    def runbook(self) -> str:
        return anchor(self.condition)


@dataclass(frozen=True, slots=True)
class SystemState:
    """What is not in PostgreSQL. None: not known.

    ticking_since: since when the clock ticks without a break; None: it does not.
    disk_free, disk_size: of the fullest disk of those that hold our data, in bytes.
    """

    redis: bool
    workers: int | None
    ticking_since: datetime | None
    disk_free: int | None = None
    disk_size: int | None = None


@dataclass(frozen=True, slots=True)
class AlertContext:
    """All there is to judge by.

    states: the accounts' rows, by slug. beats: the heartbeats, by name.
    """

    session: Session
    settings: Settings
    now: datetime
    around: SystemState
    states: Mapping[str, AccountState]
    beats: Mapping[str, datetime]

    @classmethod
    def open(
        cls, session: Session, settings: Settings, now: datetime, around: SystemState
    ) -> "AlertContext":
        """A scene, with what every condition needs read already."""
        states = {state.account: state for state in session.scalars(select(AccountState))}
        beats = {beat.name: beat.at for beat in session.scalars(select(Heartbeat))}
        return cls(session, settings, now, around, states, beats)

    def accounts(self) -> Iterator[tuple[Account, Driver, AccountState | None]]:
        """Each account, its courier, and its row where anything was heard of it."""
        for slug, account in sorted(self.settings.accounts.items()):
            yield account, DRIVERS[account.driver], self.states.get(slug)

    def slugs(self) -> TableValuedAlias:
        """A row for each account."""
        return each(account=(Text, sorted(self.settings.accounts)))

    def rows(self, statement: Rows) -> Sequence[Row[*tuple[Any, ...]]]:
        return self.session.execute(statement).all()

    def count(self, rows: Select[int]) -> int:
        """How many rows there are, MOST_COUNTED at most."""
        limited = rows.limit(MOST_COUNTED).subquery()
        return self.session.scalar(select(func.count()).select_from(limited)) or 0


def each(
    **columns: tuple[type[TypeEngine[Any]] | TypeEngine[Any], Sequence[Any]],
) -> TableValuedAlias:
    """A row for each of some keys, such as the accounts, for `heaps`."""
    arrays = [cast(list(values), ARRAY(kind)) for kind, values in columns.values()]
    named = [column(name, kind) for name, (kind, _) in columns.items()]
    return func.unnest(*arrays).table_valued(*named).render_derived("keys")


def heaps(keys: TableValuedAlias, rows: Rows, order: Order) -> Rows:
    """Of each key that has rows: the key, the first of its rows, and their `number`.

    LATERAL: each key's rows are looked up by themselves, as an index has them, and counted no
    further than MOST_COUNTED.
    """
    first = rows.order_by(order).limit(1).lateral("first")
    limited = rows.correlate(keys).limit(MOST_COUNTED).subquery("limited")
    counted = select(func.count().label("number")).select_from(limited).lateral("counted")
    return (
        select(*keys.c, *first.c, counted.c.number)
        .select_from(keys)
        .join(first, true())
        .join(counted, true())
    )


def alert(  # noqa: PLR0913 (an alert has this many sides)
    condition: str,
    account: str | None,
    summary: str,
    what_to_do: str,
    *,
    since: datetime | None = None,
    count: int = 1,
    example: str | None = None,
    severity: str | None = None,
) -> Alert:
    """An alert of a condition in the catalogue."""
    severity = severity or CATALOGUE[condition]
    return Alert(condition, severity, account, since, count, example, summary, what_to_do)


def about(count: int, one: str = "", more: str = "") -> str:
    """A number as a person is told it, and what there is so many of."""
    number = f"{MOST_COUNTED:,} or more" if count >= MOST_COUNTED else f"{count:,}"
    return f"{number} {one if count == 1 else more}".rstrip()


def setting(account: Account, name: str) -> str:
    """The name of an account's setting in the environment."""
    return account.env_name(name)
