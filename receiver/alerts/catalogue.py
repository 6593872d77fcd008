"""The catalogue of conditions: what each is called and how bad it is.

A name stands here, in deploy/runbook.md as a section, and in deploy/prometheus/rules.yml as a rule;
tests/test_runbook.py holds the three together.
"""

WARNING, CRITICAL = "warning", "critical"

# critical: orders are going wrong, or hooks are lost, while nobody acts.
CATALOGUE: dict[str, str] = {
    # machine.py
    "no_workers": CRITICAL,
    "no_clock": CRITICAL,
    "redis_away": CRITICAL,
    "disk_low": WARNING,
    # intake.py
    "no_progress": CRITICAL,
    "backlog": WARNING,
    "messages_quarantined": WARNING,
    "messages_parked": WARNING,
    "word_unmapped": WARNING,
    # hearing.py
    "courier_silent": CRITICAL,
    # A warning where right ones come as well: somebody tries, or half a courier is set up wrongly.
    "credentials_refused": CRITICAL,
    "old_secret_used": WARNING,
    "hooks_flooding": WARNING,
    # asking.py
    "poll_refused": CRITICAL,
    "poll_failing": WARNING,
    "polls_late": WARNING,
    "orders_unknown": WARNING,
    "orders_given_up": WARNING,
    # orders.py
    "orders_stuck": WARNING,
    "eta_slipped": WARNING,
    "orders_in_conflict": WARNING,
}


def anchor(condition: str) -> str:
    """The address of a condition's section in the runbook."""
    return f"deploy/runbook.md#{condition.replace('_', '-')}"
