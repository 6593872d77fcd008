"""One incident, from its beginning until all has been said that has to be said about it."""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from receiver.alerts import CATALOGUE
from tests.faults.verdict import seconds_to_recovery
from tests.incidents.stage import Stage, sleep_until
from tests.incidents.watch import Watch
from workers.alerting.notices import GRACE

Undo = Callable[[], None]
# What is further wrong, in words; `measured` is shown beside it.
Claims = Callable[[Stage, Watch, "Outcome"], None]

NOTICED_WITHIN = 60.0
# The clock looks every 15 seconds, and the machine may be busy.
PUSH_SLACK = 45.0
# `for: 1m`, a scrape and an evaluation every 15 seconds.
PROMETHEUS_WITHIN = 120.0
# So many processes that want to run, for each core, slow everything down; these say so then.
BUSY_LOAD = 4.0
OF_A_BUSY_MACHINE = frozenset({"conditions_not_computed", "webhooks_slow", "redis_away"})
RECOVERED_WITHIN = 120.0


def condition_of(key: str) -> str:
    """The condition of an alert's key."""
    return key.partition("/")[0]


def is_busy() -> bool:
    """Whether the machine has far more to do than it can."""
    return os.getloadavg()[0] > BUSY_LOAD * (os.cpu_count() or 1)


def nothing() -> None:
    """It ends by itself, or lasts."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that breaks, and what has to be said about it.

    did: what is done, for the table.
    prepare: what is there before; begin: lets it happen, and returns what ends it.
    condition: what it has to be called, as alert_key names it; None where nothing may be said.
    words: a regular expression that the alert's text has to contain: the cause by its name.
    pushed: whether a person has to be told; None: where there is a condition.
    may_show: conditions that may be shown besides for a while, and are not pushed.
    before: conditions that what was there before brings with it.
    holds: seconds that it lasts at least. readyz: what /readyz has to answer.
    then: further claims, made while it lasts.
    ends: whether its alert is over soon after it. closes: whether that is pushed.
    around: what else runs meanwhile, with the settings that the service needs for it.
    beside: the name of a stage that it shares with others; none: a stage of its own.
    rate: how many webhooks are posted a second.
    loses: how many bodies may be lost, where that is no defect: None for any.
    """

    name: str
    did: str
    begin: Callable[[Stage], Undo]
    condition: str | None = None
    words: str = ""
    severity: str = ""
    pushed: bool | None = None
    may_show: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset()
    noticed_within: float = NOTICED_WITHIN
    holds: float = 0.0
    readyz: int = 200
    prepare: Callable[[Stage], None] | None = None
    then: Claims | None = None
    ends: bool = True
    closes: bool = False
    beside: str = ""
    around: Callable[[], AbstractContextManager[Mapping[str, str]]] | None = None
    disk_megabytes: int | None = None
    rate: float = 5.0
    loses: int | None = 0
    prometheus: bool = True

    @property
    def grace(self) -> float:
        """Seconds that it lasts before it is pushed."""
        severity = self.severity or CATALOGUE[condition_of(self.condition or "")].severity
        return GRACE[severity].total_seconds()

    @property
    def must_push(self) -> bool:
        return self.condition is not None if self.pushed is None else self.pushed


@dataclass
class Outcome:
    """What came of an incident. Seconds since it began; None: never.

    complaints: what is wrong, in words. else_: what else was shown, pushed or fired.
    """

    incident: Incident
    shown: float | None = None
    checked: float | None = None
    readyz: float | None = None
    pushed: float | None = None
    fired: float | None = None
    named: bool = False
    else_: list[str] = field(default_factory=list)
    lost: int = 0
    measured: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def claim(self, holds: bool, complaint: str) -> None:
        """Complain where it does not hold."""
        if not holds:
            self.complaints.append(complaint)


def play(incidents: Sequence[Incident], stage: Stage) -> list[Outcome]:
    """Let the incidents of one stage happen at once, and see what is said of them."""
    for incident in incidents:
        if incident.prepare is not None:
            incident.prepare(stage)
    stage.poster.start()
    sleep_until(lambda: len(stage.ledger.lines) > 0, 30)
    watch = Watch(stage)
    watch.start()
    try:
        outcomes = _watch(incidents, watch, stage)
    finally:
        watch.stop()
    stage.poster.finish()
    lost = stage.lost()
    for outcome in outcomes:
        outcome.lost = lost
        may_lose = outcome.incident.loses
        outcome.claim(may_lose is None or lost <= may_lose, f"{lost} bodies answered 200 are lost")
    return outcomes


def _watch(incidents: Sequence[Incident], watch: Watch, stage: Stage) -> list[Outcome]:
    undone: list[Undo] = []
    outcomes, began = [], {}
    try:
        for incident in incidents:
            began[incident.name] = time.monotonic()
            undone.append(incident.begin(stage))
            outcomes.append(Outcome(incident))
        _wait_until_said(incidents, began, watch, stage)
        said_at = time.monotonic()
        for outcome in outcomes:
            if outcome.incident.then is not None:
                outcome.incident.then(stage, watch, outcome)
        for outcome in outcomes:
            _judge(outcome, began[outcome.incident.name], said_at, watch, stage)
        _judge_others(outcomes, watch, stage)
    finally:
        for undo in reversed(undone):
            undo()
    for outcome in outcomes:
        _see_the_end(outcome, watch, stage)
    return outcomes


def _wait_until_said(
    incidents: Sequence[Incident], began: Mapping[str, float], watch: Watch, stage: Stage
) -> None:
    """Until all is said, or should have been."""

    def is_said(incident: Incident) -> bool:
        since = began[incident.name]
        if time.monotonic() - since < incident.holds:
            return False
        name = incident.condition
        if name is None:
            return True
        is_pushed = not incident.must_push or bool(watch.pushes(name, since))
        fires = stage.prometheus is None or not incident.prometheus or watch.fired_at(name)
        return name in watch.alerts and name in watch.checked and is_pushed and bool(fires)

    longest = max(map(_patience, incidents))
    sleep_until(lambda: all(map(is_said, incidents)), longest)


def _patience(incident: Incident) -> float:
    if incident.condition is None:
        return incident.holds
    pushed = incident.grace + PUSH_SLACK if incident.must_push else 0.0
    fires = PROMETHEUS_WITHIN if incident.prometheus else 0.0
    return max(incident.holds, incident.noticed_within + max(pushed, fires)) + 5


def _judge(outcome: Outcome, began: float, said_at: float, watch: Watch, stage: Stage) -> None:
    """said_at: when all was said, before further claims were made."""
    incident, name = outcome.incident, outcome.incident.condition
    if incident.readyz in watch.readyz:
        outcome.readyz = max(0.0, watch.readyz[incident.readyz] - began)
    outcome.claim(outcome.readyz is not None, f"/readyz never answered {incident.readyz}")
    if name is None:
        outcome.named = True
        return
    seen = watch.alerts.get(name)
    pushes = watch.pushes(name, began)
    outcome.shown = seen.first - began if seen else None
    outcome.checked = watch.checked[name] - began if name in watch.checked else None
    outcome.pushed = pushes[0].at - began if pushes else None
    fired_at = watch.fired_at(name)
    outcome.fired = fired_at - began if fired_at is not None else None
    outcome.claim(seen is not None, f"no alert {name}")
    if seen is None:
        return
    late = seen.first - began > incident.noticed_within
    outcome.claim(not late, f"noticed after {seen.first - began:.0f} s")
    texts = list(seen.texts.values())
    found = [text for text in texts if re.search(incident.words, text)]
    outcome.named = bool(found)
    outcome.claim(outcome.named, f"said {texts}, not /{incident.words}/")
    if incident.severity:
        is_right = incident.severity in seen.severities
        outcome.claim(is_right, f"it is {'/'.join(seen.severities)}, not {incident.severity}")
    outcome.claim(outcome.checked is not None, "`ordertrail check` does not say it")
    if incident.must_push:
        outcome.claim(bool(pushes), f"not pushed within {_patience(incident):.0f} s")
        told = [push for push in pushes if re.search(incident.words, push.text)]
        outcome.claim(not pushes or bool(told), f"the push says {[it.text for it in pushes]}")
    else:
        early = [push for push in pushes if push.at < said_at]
        outcome.claim(not early, "pushed, which it should not be")
    if stage.prometheus is not None and incident.prometheus:
        outcome.claim(outcome.fired is not None, "no Prometheus rule fires")


def _judge_others(outcomes: Sequence[Outcome], watch: Watch, stage: Stage) -> None:
    """What was said beside what the incidents are called."""
    expected = {outcome.incident.condition for outcome in outcomes}
    ignored = frozenset[str]().union(*(outcome.incident.before for outcome in outcomes))
    if any(outcome.incident.disk_megabytes for outcome in outcomes):
        ignored |= {"disk_low"}
    may_show = frozenset[str]().union(*(outcome.incident.may_show for outcome in outcomes))
    if is_busy():
        may_show |= OF_A_BUSY_MACHINE

    def others(keys: Iterable[str]) -> set[str]:
        return {key for key in keys if key not in expected and condition_of(key) not in ignored}

    shown, fired = others(watch.alerts), others(watch.firing)
    pushed = others(push.key for push in stage.listener.pushes)
    wrong = {key for key in shown | fired if condition_of(key) not in may_show} | pushed
    for outcome in outcomes:
        outcome.else_ = [f"{key} shown" for key in sorted(shown - pushed - fired)]
        outcome.else_ += [f"{key} pushed" for key in sorted(pushed)]
        outcome.else_ += [f"{key} fired" for key in sorted(fired - pushed)]
        for key in sorted(wrong):
            texts = list(watch.alerts[key].texts.values()) if key in watch.alerts else []
            outcome.complaints.append(f"also said {key}: {texts}")


def _see_the_end(outcome: Outcome, watch: Watch, stage: Stage) -> None:
    incident, name = outcome.incident, outcome.incident.condition
    try:
        seconds = seconds_to_recovery(stage, stage.poster, RECOVERED_WITHIN)
        outcome.measured.append(f"well again {seconds:.0f} s after the end")
    except AssertionError as failure:
        outcome.complaints.append(str(failure))
    if name is None or not incident.ends:
        return
    is_over = sleep_until(lambda: not watch.is_open(name) or name not in stage.alerts(), 90)
    outcome.claim(is_over, f"{name} is open 90 s after the end")
    if incident.closes:
        closed = sleep_until(
            lambda: any(push.key == name and push.state == "ok" for push in stage.listener.pushes),
            400,
        )
        outcome.claim(closed, "the end is not pushed")
