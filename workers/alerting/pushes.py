"""Send a push to one of ALERT_URLS, by Apprise.

An alert has the same title and the same key in all of its pushes, so that PagerDuty, Opsgenie and
Grafana OnCall resolve what they opened.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from receiver.alerts import CRITICAL, WARNING, Alert, runbook_link
from receiver.settings import Settings
from receiver.times import rfc3339

log = structlog.get_logger(__name__)

OPENED, CLOSED = "opened", "closed"
# Followed by a number: an alert may get worse, and is repeated, any number of times.
WORSE, STILL = "worse", "still"


@dataclass(frozen=True, slots=True)
class PushText:
    """What a push says. kind: OPENED, CLOSED, WORSE or STILL. key: the same for all of an alert."""

    kind: str
    key: str
    title: str
    body: str
    severity: str


def write_push(settings: Settings, kind: str, notice: Any, held: str = "") -> PushText:
    """Return the text of a push.

    notice: an alert's row, or an Alert. held: how long it was open.
    """
    name = settings.installation
    account = f" of {notice.account}" if notice.account else ""
    title = f"Ordertrail {name}: {notice.condition}{account}"
    key = f"ordertrail/{name}/{notice.condition}/{notice.account or ''}"
    links = f"Console: {settings.console_url}"
    if kind == CLOSED:
        lasted = f": it was open for {held}" if held else ""
        return PushText(kind, key, title, f"CLOSED{lasted}.\n{links}", notice.severity)
    facts = [
        f"such as {notice.example}" if notice.example else "",
        f"since {rfc3339(notice.since.replace(microsecond=0))}" if notice.since else "",
    ]
    details = ", ".join(filter(None, facts))
    runbook = runbook_link(notice.condition, settings.runbook_base)
    word = {OPENED: "OPENED", WORSE: "WORSE", STILL: "STILL OPEN"}[kind]
    body = (
        f"{word} ({notice.severity}): {notice.summary}"
        + (f" ({details})" if details else "")
        + f".\n{notice.what_to_do}\nRunbook: {runbook}\n{links}"
    )
    return PushText(kind, key, title, body, notice.severity)


class Target:
    """One of ALERT_URLS. It is kept, since a service that resolves by its own id remembers it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._apprise: Any = None

    def send(self, push: PushText) -> bool:
        """Send a push; return whether it was accepted."""
        # It takes half a second to import, and most installations push nothing.
        from apprise import Apprise, NotifyFormat, NotifyType  # noqa: PLC0415

        kind = NotifyType.FAILURE if push.severity == CRITICAL else NotifyType.WARNING
        if push.kind == CLOSED:
            kind = NotifyType.SUCCESS
        try:
            if self._apprise is None:
                self._apprise = Apprise([self._url])
            for service in self._apprise:
                _set_key(service, push)
            return bool(
                self._apprise.notify(
                    title=push.title,
                    body=push.body,
                    notify_type=kind,
                    body_format=NotifyFormat.TEXT,
                )
            )
        except Exception as error:  # noqa: BLE001 (any of a hundred services; it is tried again)
            log.warning("apprise_failed", error=type(error).__name__)
            return False


def send_test_push(settings: Settings, url: str) -> bool:
    """Send a test alert and its end to one of ALERT_URLS; return whether both were accepted."""
    alert = Alert(
        None,
        "This is a test of ALERT_URLS",
        since=datetime.now(UTC),
        severity=WARNING,
        what_to_do="Nothing is wrong.",
        condition="test",
    )
    target = Target(url)
    return all(target.send(write_push(settings, kind, alert)) for kind in (OPENED, CLOSED))


def _set_key(service: Any, push: PushText) -> None:
    """Give a service the alert's key, where it has a place for one.

    PagerDuty opens and resolves by its `dedup_key`, Opsgenie closes by its `alias`. The formatted
    webhook of Grafana OnCall, reached by json://, reads `alert_uid` and `state`.
    """
    name = type(service).__name__
    if name == "NotifyPagerDuty":
        service.dedup, service.action = push.key, "map"
    elif name == "NotifyOpsgenie":
        service.alias = push.key
    elif name == "NotifyJSON":
        state = "ok" if push.kind == CLOSED else "alerting"
        service.payload_extras |= {"alert_uid": push.key, "state": state}
