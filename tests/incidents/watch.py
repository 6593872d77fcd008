"""What tells whom, and when: /v1/alerts, `ordertrail check`, /readyz, pushes and Prometheus."""

import http.client
import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.incidents.listener import PushSeen, alert_key
from tests.incidents.stage import Stage

EVERY = 2.0
CHECK_EVERY = 30.0


@dataclass
class AlertSeen:
    """An alert in GET /v1/alerts.

    first, last: by time.monotonic(). severities: all that it had. texts: what it said, once for
    those that differ only in their numbers.
    """

    first: float
    last: float
    texts: dict[str, str] = field(default_factory=dict)
    severities: set[str] = field(default_factory=set)


class Watch:
    """Asks all the while, from `start` to `stop`."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=[look, every])
            for look, every in (
                (self._look_at_alerts, EVERY),
                (self._look_at_readiness, EVERY),
                (self._look_at_prometheus, EVERY),
                (self._check, CHECK_EVERY),
            )
        ]
        self.alerts: dict[str, AlertSeen] = {}
        self.checked: dict[str, float] = {}
        self.firing: dict[str, float] = {}
        self.readyz: dict[int, float] = {}
        self.now_readyz = 0
        # Seconds for an answer of /v1/alerts; and how often there was none.
        self.alert_seconds: list[float] = []
        self.unanswered: list[str] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def pushes(self, key: str, since: float) -> list[PushSeen]:
        """The pushes that said that it is open."""
        return [
            push
            for push in list(self._stage.listener.pushes)
            if push.key == key and push.at >= since and push.state == "alerting"
        ]

    def fired_at(self, key: str) -> float | None:
        """When a Prometheus rule of this name first fired, of any account where it names none."""
        found = [at for name, at in self.firing.items() if key in {name, name.partition("/")[0]}]
        return min(found, default=None)

    def is_open(self, key: str) -> bool:
        """Whether the latest answer of /v1/alerts had it."""
        seen = self.alerts.get(key)
        return seen is not None and seen.last >= max(it.last for it in self.alerts.values())

    def _repeat(self, look: Callable[[], None], every: float) -> None:
        while not self._stopping.is_set():
            # A service that does not answer is what some incidents are about.
            with suppress(OSError, ValueError, http.client.HTTPException):
                look()
            self._stopping.wait(every)

    def _look_at_alerts(self) -> None:
        began = time.monotonic()
        try:
            alerts = self._stage.alerts()
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.unanswered.append(type(error).__name__)
            raise
        now = time.monotonic()
        self.alert_seconds.append(now - began)
        for key, alert in alerts.items():
            seen = self.alerts.setdefault(key, AlertSeen(now, now))
            seen.last = now
            text = f"{alert['summary']} {alert['what_to_do']}"
            seen.texts.setdefault(re.sub(r"\d+", "", text), text)
            seen.severities.add(alert["severity"])

    def _look_at_readiness(self) -> None:
        status, _ = self._stage.get("/readyz")
        self.now_readyz = status
        self.readyz.setdefault(status, time.monotonic())

    def _look_at_prometheus(self) -> None:
        if self._stage.prometheus is None:
            return
        connection = http.client.HTTPConnection("127.0.0.1", self._stage.prometheus, timeout=5)
        try:
            connection.request("GET", "/api/v1/alerts")
            answer: Any = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        for alert in answer["data"]["alerts"]:
            if alert["state"] == "firing":
                # A rule's section in the runbook has the name of its condition.
                section = alert["annotations"]["runbook_url"].rpartition("#")[2]
                key = alert_key(section.replace("-", "_"), alert["labels"].get("account"))
                self.firing.setdefault(key, time.monotonic())

    def _check(self) -> None:
        began = time.monotonic()
        code, printed = self._stage.command("check")
        now = time.monotonic()
        with (self._stage.logs / "check.log").open("a") as log:
            log.write(f"{now:.0f}: {code} after {now - began:.0f} s\n{printed}\n")
        for line in printed.splitlines():
            words = line.split()
            if len(words) > 1 and words[0] in {"critical", "warning"}:
                # The details stand at the end; a summary may name an account, too.
                account = re.search(r"\(account ([\w-]+)[^()]*\)$", line)
                key = alert_key(words[1], account[1] if account else None)
                self.checked.setdefault(key, now)
