"""Conditions of the push: the shop does not get the change feed."""

from collections.abc import Iterator
from datetime import timedelta

from receiver.alerts.condition import WARNING, Alert, condition
from receiver.alerts.context import AlertContext
from receiver.db.pagination import MOST_COUNTED
from receiver.text import count_noun, duration_text

# A deploy of the shop, or a failure that somebody there works on, is over by then.
LATE_AFTER = timedelta(hours=1)


@condition(
    "push_failing",
    WARNING,
    "Correct what the last attempt names, at the shop or in PUSH_URL; `ordertrail push --check`"
    " sends a test. Nothing is lost: the changes follow in their order.",
)
def find_push_failing(context: AlertContext) -> Iterator[Alert]:
    """Find out whether a change waits and the shop has accepted nothing, both for too long."""
    progress = context.push_progress
    if progress is None or progress.waiting_since is None:
        return
    accepted_at = progress.accepted_at or progress.placed_at
    since = max(progress.waiting_since, progress.placed_at, accepted_at)
    if context.now - since < LATE_AFTER:
        return
    changes = count_noun(progress.waiting, "change waits", "changes wait", limit=MOST_COUNTED)
    lasted = duration_text(context.now - since)
    why = f"the last attempt: {progress.detail}" if progress.detail else "no attempt was made"
    summary = f"The shop has accepted no push for {lasted}; {changes} ({why})"
    yield Alert(None, summary, since, progress.waiting, causes=(progress.result or "none",))
