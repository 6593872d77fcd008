"""What conditions are read from, and what they yield."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from receiver.conditions.catalogue import CATALOGUE, anchor
from receiver.couriers import DRIVERS
from receiver.couriers.base import Driver
from receiver.models import AccountState, Order
from receiver.settings import Account, Settings

# Counted no further: past it the number says the same.
MOST_COUNTED = 10_000


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
class Around:
    """What is not in PostgreSQL. None: not known.

    disk_free, disk_size: of the fullest disk of those that hold our data, in bytes.
    """

    redis: bool
    workers: int | None
    disk_free: int | None = None
    disk_size: int | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """All there is to judge by. states: the accounts' rows, by slug."""

    session: Session
    settings: Settings
    now: datetime
    around: Around
    states: Mapping[str, AccountState]

    def accounts(self) -> Iterator[tuple[Account, Driver, AccountState | None]]:
        """Each account, its courier, and its row where anything was heard of it."""
        for slug, account in sorted(self.settings.accounts.items()):
            yield account, DRIVERS[account.driver], self.states.get(slug)

    def order(self, order_id: int | None) -> str | None:
        """The courier's id of an order."""
        of_id = select(Order.courier_order_id).where(Order.id == order_id)
        return None if order_id is None else self.session.scalar(of_id)

    def count(self, rows: Select[int]) -> int:
        """How many rows there are, MOST_COUNTED at most."""
        limited = rows.limit(MOST_COUNTED).subquery()
        return self.session.scalar(select(func.count()).select_from(limited)) or 0


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


def about(count: int) -> str:
    """A number as a person is told it."""
    return f"{MOST_COUNTED:,} or more" if count >= MOST_COUNTED else f"{count:,}"


def setting(account: Account, name: str) -> str:
    """The name of an account's setting in the environment."""
    return f"COURIER_{account.slug.upper().replace('-', '_')}_{name}"
