"""The catalogue of conditions: every condition's name, severity, meaning and remedy.

A new condition is a function in a module of this package and an entry here; it needs a section in
deploy/runbook.md (tests/test_runbook.py compares them). Names are stable: monitors know them.
"""

from receiver.alerts import (
    inbox_alerts,
    order_alerts,
    platform_alerts,
    polling_alerts,
    webhook_alerts,
)
from receiver.alerts.condition import CRITICAL, WARNING, Condition

# Critical: orders go wrong or webhooks are lost until somebody acts.
_CONDITIONS = (
    # The platform
    Condition(
        "redis_away",
        CRITICAL,
        platform_alerts.find_redis_away,
        "Redis cannot be reached: messages are stored but not processed",
        "Check that Redis runs and that REDIS_URL is right. Waiting messages are processed then.",
    ),
    Condition(
        "no_workers",
        CRITICAL,
        platform_alerts.find_no_workers,
        "No worker is running: messages are stored but not processed",
        "Start `worker` of the Procfile. Waiting messages are processed then.",
    ),
    Condition(
        "no_clock",
        CRITICAL,
        platform_alerts.find_no_clock,
        "Workers run, but no clock does: couriers are not polled, and messages whose wake-up was"
        " lost wait",
        "Start `clock` of the Procfile.",
    ),
    Condition(
        "disk_low",
        WARNING,
        platform_alerts.find_disk_low,
        "The disk with our data is nearly full",
        "Free some space, or lower INBOX_RETENTION_DAYS. A full disk makes every webhook fail with"
        " 503.",
    ),
    # The inbox
    Condition(
        "no_progress",
        CRITICAL,
        inbox_alerts.find_no_progress,
        "Workers run, but nothing is processed",
        "See the workers' log for what they do, and restart them.",
    ),
    Condition(
        "backlog",
        WARNING,
        inbox_alerts.find_backlog,
        "Messages arrive faster than they are processed",
        "Start more workers; /ops shows whose messages they are.",
    ),
    Condition(
        "messages_quarantined",
        WARNING,
        inbox_alerts.find_messages_quarantined,
        "Messages could not be read",
        "`ordertrail messages show <id>` says why. After a fix `ordertrail retry` them, or"
        " `ordertrail discard` them.",
    ),
    Condition(
        "messages_parked",
        WARNING,
        inbox_alerts.find_messages_parked,
        "Messages wait for the shop to register their orders",
        "Register the orders (POST /v1/orders) or discard the messages, and find out why the shop"
        " did not register them.",
    ),
    Condition(
        "word_unmapped",
        WARNING,
        inbox_alerts.find_word_unmapped,
        "The courier uses a word that is mapped to no status",
        "Ask the courier what it means, map it (deploy/runbook.md), and run `ordertrail rebuild`.",
    ),
    # Webhooks
    Condition(
        "courier_silent",
        CRITICAL,
        webhook_alerts.find_courier_silent,
        "The courier has sent no webhook at hours at which it always does",
        "Check that webhooks can reach us (deploy/runbook.md), and ask the courier where it sends"
        " them.",
    ),
    Condition(
        "credentials_refused",
        CRITICAL,
        webhook_alerts.find_credentials_refused,
        "Webhooks come with a wrong signature or token and are refused",
        "Compare the courier's settings with COURIER_<ACCOUNT>_SECRETS.",
    ),
    Condition(
        "old_secret_used",
        WARNING,
        webhook_alerts.find_old_secret_used,
        "A secret that is to be retired is still in use",
        "Give the courier the first secret; a day after the last use of the old one remove it.",
    ),
    Condition(
        "hooks_flooding",
        WARNING,
        webhook_alerts.find_hooks_flooding,
        "Far more webhooks come than ever before",
        "Are they repetitions? Tell the courier; read deploy/runbook.md before you refuse any.",
    ),
    # Polling
    Condition(
        "poll_refused",
        CRITICAL,
        polling_alerts.find_poll_refused,
        "The courier's API refuses our credentials, so its orders are not polled",
        "Check COURIER_<ACCOUNT>_API_TOKEN (and _API_USER), and restart the workers.",
    ),
    Condition(
        "poll_failing",
        WARNING,
        polling_alerts.find_poll_failing,
        "The courier's API fails",
        "See the workers' log for its answers. Polling goes on by itself once it works.",
    ),
    Condition(
        "polls_late",
        WARNING,
        polling_alerts.find_polls_late,
        "Polls are overdue",
        "After an outage this passes by itself, at the courier's pace. Otherwise see the workers'"
        " log.",
    ),
    Condition(
        "orders_unknown",
        WARNING,
        polling_alerts.find_orders_unknown,
        "The courier's API does not know orders of ours",
        "If they are many, check COURIER_<ACCOUNT>_API_URL; otherwise check the orders' ids.",
    ),
    Condition(
        "orders_given_up",
        WARNING,
        polling_alerts.find_orders_given_up,
        "Orders were given up: they are no longer polled",
        "Their status stays as it was. Ask the courier; `ordertrail refresh` resumes polling.",
    ),
    # Orders
    Condition(
        "orders_stuck",
        WARNING,
        order_alerts.find_orders_stuck,
        "Orders have a status for longer than their courier needs",
        "See `ordertrail explain <account> <order>`, then ask the courier about them.",
    ),
    Condition(
        "eta_slipped",
        WARNING,
        order_alerts.find_eta_slipped,
        "Orders are past their ETA",
        "Tell the customers; `ordertrail refresh <account> <order>` polls the courier.",
    ),
    Condition(
        "orders_in_conflict",
        WARNING,
        order_alerts.find_orders_in_conflict,
        "The courier reported contradictory facts",
        "`ordertrail conflicts` lists them; close each with `ordertrail conflicts close` once it is"
        " dealt with.",
    ),
)

CATALOGUE = {condition.name: condition for condition in _CONDITIONS}
