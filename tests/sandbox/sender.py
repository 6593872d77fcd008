"""Send webhooks when they are due; lose, repeat, delay and retry them as configured."""

import heapq
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpcore

from tests.sandbox.orders import Order, Step
from tests.sandbox.webhooks import (
    DELIVERED,
    GIVEN_UP,
    LOST,
    PENDING,
    Attempt,
    Chances,
    Message,
    RetryPolicy,
    Summary,
    Webhook,
)

# Seconds of real time: how often an idle thread reads the courier's clock, and how long an answer
# to a webhook may take.
TICK = 0.01
PATIENCE = 10.0
TIMEOUT = dict.fromkeys(("connect", "read", "write", "pool"), PATIENCE)
FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)


@dataclass(order=True, slots=True)
class Delivery:
    """One copy of a webhook: when it is due and how often it was tried."""

    due: datetime
    sequence: int
    webhook: Webhook = field(compare=False)
    tries: int = field(default=0, compare=False)


class WebhookSender:
    """Sends a courier's webhooks by its clock, from background threads or by `send_due`.

    silent: while set, every webhook that becomes due is lost.
    """

    def __init__(
        self,
        law: RetryPolicy,
        message: Callable[[Order, int], Message],
        now: Callable[[], datetime],
        chances: Chances,
        seed: int,
        speed: float,
    ) -> None:
        self.law = law
        self.chances = chances
        self.speed = speed
        self.silent = False
        self._message = message
        self._now = now
        self._seed = seed
        self._lock = threading.Lock()
        self._due: list[Delivery] = []
        self._sequence = 0
        self._in_flight = 0
        self._webhooks: list[Webhook] = []
        self._of_order: dict[Order, list[Webhook]] = {}
        self._client: httpcore.ConnectionPool | None = None
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()

    # Sending

    def plan(self, order: Order, numbers: Iterable[int]) -> None:
        """Plan a webhook for each of these steps of the order.

        Whether it is lost or repeated is drawn here and depends only on the seed, the order and
        the step.
        """
        for number in numbers:
            chance = random.Random(f"{self._seed} {order.id} {number}")
            lost = chance.random() < self.chances.lose
            repeated = chance.random() < self.chances.repeat
            copies = 0 if lost else chance.choice([2, 3]) if repeated else 1
            webhook = Webhook(order, number, copies)
            with self._lock:
                self._webhooks.append(webhook)
                self._of_order.setdefault(order, []).append(webhook)
                # A lost one becomes due as well: it counts as lost only from then on.
                for _ in range(copies or 1):
                    delay = self.chances.shuffle * chance.random()
                    webhook.unfinished += 1
                    self._push(Delivery(webhook.step.at + delay, 0, webhook))

    def _push(self, delivery: Delivery) -> None:
        self._sequence += 1
        delivery.sequence = self._sequence
        heapq.heappush(self._due, delivery)

    def start(self, threads: int = 2) -> None:
        """Start sending webhooks as they become due, from this many threads."""
        self._stopped.clear()
        for _ in range(threads):
            thread = threading.Thread(target=self._run, name="sandbox webhooks", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Wait for requests under way and stop sending."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)
        self._threads.clear()
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            if not self._send_one():
                self._stopped.wait(TICK)

    def send_due(self) -> int:
        """Send everything that is due, retries included, and return the number of requests."""
        count = 0
        while self._send_one():
            count += 1
        return count

    def next_due(self) -> datetime | None:
        """Return when the next webhook is due, or None."""
        with self._lock:
            return self._due[0].due if self._due else None

    def unfinished(self) -> int:
        """Return the number of copies that are planned or under way."""
        with self._lock:
            return len(self._due) + self._in_flight

    def _send_one(self) -> bool:
        now = self._now()
        with self._lock:
            if not self._due or self._due[0].due > now:
                return False
            delivery = heapq.heappop(self._due)
            self._in_flight += 1
        try:
            self._deliver(delivery)
        finally:
            with self._lock:
                self._in_flight -= 1
        return True

    def _deliver(self, delivery: Delivery) -> None:
        webhook = delivery.webhook
        if self.silent or webhook.copies == 0:
            self._finish(webhook)
            return
        status = self._post(webhook)
        now = self._now()
        with self._lock:
            webhook.attempts.append(Attempt(now, status))
        if status is not None and self.law.accepts(status):
            self._finish(webhook, DELIVERED)
        elif delivery.tries >= len(self.law.waits):
            self._finish(webhook)
        else:
            wait = timedelta(seconds=self.law.waits[delivery.tries] / self.speed)
            with self._lock:
                self._push(Delivery(now + wait, 0, webhook, delivery.tries + 1))

    def _finish(self, webhook: Webhook, fate: str | None = None) -> None:
        """End one copy; the last one decides the fate, unless one was delivered before."""
        with self._lock:
            webhook.unfinished -= 1
            if fate is not None:
                webhook.fate = fate
            elif webhook.fate == PENDING and webhook.unfinished == 0:
                webhook.fate = GIVEN_UP if webhook.attempts else LOST

    def _post(self, webhook: Webhook) -> int | None:
        message = self._message(webhook.order, webhook.number)
        headers = {"Content-Type": "application/json", **message.headers}
        url = webhook.order.webhook_url or ""
        try:
            answer = self._opened().request(
                message.method,
                f"{url}?{message.query}" if message.query else url,
                headers=list(headers.items()),
                content=message.body,
                extensions={"timeout": TIMEOUT},
            )
        except FAILURES:
            return None
        return answer.status

    def _opened(self) -> httpcore.ConnectionPool:
        with self._lock:
            if self._client is None:
                self._client = httpcore.ConnectionPool(max_connections=None)
            return self._client

    # The ledger

    def webhooks(self, order: Order | None = None) -> list[Webhook]:
        """Return the webhooks of one order, or of all, in the order of planning."""
        with self._lock:
            return list(self._webhooks if order is None else self._of_order.get(order, ()))

    def delivered(self, order: Order) -> list[Step]:
        """Return the steps that an accepted webhook reported."""
        return [webhook.step for webhook in self.webhooks(order) if webhook.fate == DELIVERED]

    def missed(self, order: Order) -> list[Step]:
        """Return the steps that no webhook will report, because it was lost or given up."""
        return [
            webhook.step for webhook in self.webhooks(order) if webhook.fate in {LOST, GIVEN_UP}
        ]

    def summary(self) -> Summary:
        webhooks = self.webhooks()
        fates = [webhook.fate for webhook in webhooks]
        return Summary(
            webhooks=len(webhooks),
            delivered=fates.count(DELIVERED),
            lost=fates.count(LOST),
            given_up=fates.count(GIVEN_UP),
            pending=fates.count(PENDING),
            repeated=sum(webhook.copies > 1 for webhook in webhooks),
            sent=sum(len(webhook.attempts) for webhook in webhooks),
        )
