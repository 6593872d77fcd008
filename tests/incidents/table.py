"""All incidents, and the table of what came of them."""

from collections.abc import Iterable, Sequence

from tests.incidents import messages, polling, postgresql, processes, redis
from tests.incidents.incident import Incident, Outcome
from tests.incidents.research import RESEARCH, places_of

INCIDENTS: tuple[Incident, ...] = (
    *postgresql.INCIDENTS,
    *redis.INCIDENTS,
    *processes.INCIDENTS,
    *messages.INCIDENTS,
    *polling.INCIDENTS,
)

# What the research describes and only tests play.
ONLY_TESTED = [one for one in RESEARCH if len(one.tests) == len(one.played_by)]

HEAD = (
    "| incident | row | what was done | /v1/alerts | check | /readyz | push | Prometheus"
    " | named the cause | what else | lost | further | verdict |\n" + "|---" * 13 + "|"
)


def render_list() -> str:
    """Every incident, and what plays each of those that the research describes."""
    names = [f"{incident.name}: {incident.did}" for incident in INCIDENTS]
    rows = [f"{one.place}, {one.what} -> {', '.join(one.played_by)}" for one in RESEARCH]
    return "\n".join([*names, "", "What the research describes, and what plays it:", *rows])


def render(outcomes: Iterable[Outcome]) -> str:
    """The table, as Markdown. Times are seconds since the incident began."""
    rows = [HEAD, *map(render_row, outcomes)]
    rows += [
        f"| {one.what} | {one.place} | played by {', '.join(one.tests)} |{' |' * 10}"
        for one in ONLY_TESTED
    ]
    return "\n".join(rows)


def render_row(outcome: Outcome) -> str:
    """One row of it."""
    incident = outcome.incident
    silent = incident.condition is None
    named = "nothing to say" if silent else "yes" if outcome.named else "NO"
    readyz = "" if outcome.readyz is None else f"{incident.readyz} at {outcome.readyz:.0f} s"
    cells = (
        incident.name,
        places_of(incident.name),
        incident.did,
        "none" if silent else _said(outcome.shown, incident.condition or ""),
        "none" if silent else _seconds(outcome.checked),
        readyz,
        _seconds(outcome.pushed) if incident.must_push else "none",
        "none" if silent or not incident.prometheus else _seconds(outcome.fired),
        named,
        ", ".join(outcome.else_) or "nothing",
        outcome.lost,
        "; ".join(outcome.measured),
        "right" if not outcome.complaints else f"WRONG: {'; '.join(outcome.complaints)}",
    )
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |".replace("\n", " ")


def _said(seconds: float | None, condition: str) -> str:
    return f"NO {condition}" if seconds is None else f"{condition} after {seconds:.0f} s"


def _seconds(seconds: float | None) -> str:
    return "NO" if seconds is None else f"{seconds:.0f} s"


def by_stage(incidents: Sequence[Incident]) -> list[list[Incident]]:
    """The incidents that are played together, those that last longest first."""
    stages: dict[str, list[Incident]] = {}
    for incident in incidents:
        stages.setdefault(incident.beside or incident.name, []).append(incident)
    return sorted(stages.values(), key=lambda stage: -max(map(_lasts, stage)))


def _lasts(incident: Incident) -> float:
    """About how many seconds it takes."""
    grace = incident.grace if incident.must_push and incident.condition else 0.0
    return max(incident.holds, grace) + (300 if incident.closes or incident.then else 0)
