"""The shapes of alerting: a condition of the catalogue, a finding of it, and the alert shown."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from receiver.alerts.context import AlertContext

WARNING, CRITICAL = "warning", "critical"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a condition found in one account (its slug), or in the whole service (account: None).

    summary, severity: where they differ from those in the catalogue.
    example: the id of one of the `count` orders or messages that it is about.
    """

    account: str | None = None
    summary: str = ""
    since: datetime | None = None
    count: int = 1
    example: str | None = None
    severity: str | None = None
    what_to_do: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that can be wrong.

    find: yields at most one finding for each account.
    what_to_do: COURIER_<ACCOUNT> in it becomes the prefix of the account's settings.
    """

    name: str
    severity: str
    find: Callable[[AlertContext], Iterator[Finding]]
    summary: str
    what_to_do: str


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that holds now, in one account or (account: None) in the whole service."""

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
        return runbook_link(self.condition)


def runbook_link(condition: str) -> str:
    """Return the address of a condition's section in the runbook."""
    return f"deploy/runbook.md#{condition.replace('_', '-')}"
