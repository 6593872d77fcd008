"""The catalogue of conditions, and the alert that is shown where one of them holds.

A new condition is a function with the decorator `condition` in a module of this package; it needs a
section in deploy/runbook.md (tests/test_runbook.py compares them). Names are stable: monitors know
them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from receiver.alerts.context import AlertContext

# Critical: orders go wrong or webhooks are lost until somebody acts.
WARNING, CRITICAL = "warning", "critical"


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that holds now, in one account (its slug), or in the whole service (None).

    causes: names of what it is about, such as words: one that was not there before is worth a push.
    example: the id of one of the `count` orders or messages that it is about.
    severity, what_to_do: `evaluate_conditions` sets the condition's where its function set none. It
    also sets `condition`, the name, and `runbook`, the address of its section.
    """

    account: str | None
    summary: str
    since: datetime | None = None
    count: int = 1
    example: str | None = None
    causes: tuple[str, ...] = ()
    severity: str = ""
    what_to_do: str = ""
    condition: str = ""
    runbook: str = ""


FindAlerts = Callable[[AlertContext], Iterator[Alert]]


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that can be wrong.

    find: yields at most one alert for each account.
    what_to_do: COURIER_<ACCOUNT> in it becomes the prefix of the account's settings.
    needs_database: whether `find` reads PostgreSQL; the others are known without it.
    """

    name: str
    severity: str
    what_to_do: str
    find: FindAlerts
    needs_database: bool = True


CATALOGUE: dict[str, Condition] = {}


def condition(
    name: str, severity: str, what_to_do: str, needs_database: bool = True
) -> Callable[[FindAlerts], FindAlerts]:
    """Return a decorator that puts a function into the catalogue, as `Condition.find`."""

    def register(find: FindAlerts) -> FindAlerts:
        CATALOGUE[name] = Condition(name, severity, what_to_do, find, needs_database)
        return find

    return register


def runbook_link(condition_name: str, base: str = "deploy/runbook.md") -> str:
    """Return the address of a condition's section in the runbook."""
    return f"{base}#{condition_name.replace('_', '-')}"
