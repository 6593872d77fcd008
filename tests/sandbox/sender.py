"""Sends web hooks: what is due is sent, lost, repeated, delayed, or retried by a courier's law."""

import heapq
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpcore

from tests.sandbox.hooks import (
    GIVEN_UP,
    LOST,
    PENDING,
    TOLD,
    Attempt,
    Chances,
    Hook,
    HookLaw,
    Message,
    Summary,
)
from tests.sandbox.orders import Order, Step

# Seconds of real time. How often a thread without work looks at the courier's clock again; and
# how long an answer to a hook may take.
TICK = 0.01
PATIENCE = 10.0
TIMEOUT = dict.fromkeys(("connect", "read", "write", "pool"), PATIENCE)
FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)


@dataclass(order=True, slots=True)
class Delivery:
    """One copy of a hook, on its way: when it is due, and how often it was tried."""

    due: datetime
    sequence: int
    hook: Hook = field(compare=False)
    tries: int = field(default=0, compare=False)


class HookSender:
    """Sends a courier's hooks by its clock, from threads of its own or when told to.

    silent: while it is set, whatever comes due is lost.
    """

    def __init__(
        self,
        law: HookLaw,
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
        self._hooks: list[Hook] = []
        self._of_order: dict[Order, list[Hook]] = {}
        self._client: httpcore.ConnectionPool | None = None
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()

    # Sending

    def plan(self, order: Order, numbers: Iterable[int]) -> None:
        """Have the steps of these numbers told when they are reached.

        What befalls them is drawn here, for each by itself, so that it depends on nothing but the
        seed, the order and the step.
        """
        for number in numbers:
            chance = random.Random(f"{self._seed} {order.id} {number}")
            lost = chance.random() < self.chances.lose
            repeated = chance.random() < self.chances.repeat
            copies = 0 if lost else chance.choice([2, 3]) if repeated else 1
            hook = Hook(order, number, copies)
            with self._lock:
                self._hooks.append(hook)
                self._of_order.setdefault(order, []).append(hook)
                # A lost one comes due as well: until then, nobody knows that it is lost.
                for _ in range(copies or 1):
                    delay = self.chances.shuffle * chance.random()
                    hook.unfinished += 1
                    self._push(Delivery(hook.step.at + delay, 0, hook))

    def _push(self, delivery: Delivery) -> None:
        self._sequence += 1
        delivery.sequence = self._sequence
        heapq.heappush(self._due, delivery)

    def start(self, threads: int = 2) -> None:
        """Send what comes due, from now on, from so many threads."""
        self._stopped.clear()
        for _ in range(threads):
            thread = threading.Thread(target=self._run, name="sandbox hooks", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Let what is under way end, and send nothing more."""
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
        """Send here and now what is due, retries that come due meanwhile included; how many."""
        count = 0
        while self._send_one():
            count += 1
        return count

    def next_due(self) -> datetime | None:
        """When the next hook is due; None where there is none."""
        with self._lock:
            return self._due[0].due if self._due else None

    def unfinished(self) -> int:
        """How many copies of hooks are still to come or under way."""
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
        hook = delivery.hook
        if self.silent or hook.copies == 0:
            self._finish(hook)
            return
        status = self._post(hook)
        now = self._now()
        with self._lock:
            hook.attempts.append(Attempt(now, status))
        if status is not None and self.law.accepts(status):
            self._finish(hook, TOLD)
        elif delivery.tries >= len(self.law.waits):
            self._finish(hook)
        else:
            wait = timedelta(seconds=self.law.waits[delivery.tries] / self.speed)
            with self._lock:
                self._push(Delivery(now + wait, 0, hook, delivery.tries + 1))

    def _finish(self, hook: Hook, fate: str | None = None) -> None:
        """End one copy; the last one settles the hook's fate, unless an earlier one was told."""
        with self._lock:
            hook.unfinished -= 1
            if fate is not None:
                hook.fate = fate
            elif hook.fate == PENDING and hook.unfinished == 0:
                hook.fate = GIVEN_UP if hook.attempts else LOST

    def _post(self, hook: Hook) -> int | None:
        message = self._message(hook.order, hook.number)
        headers = {"Content-Type": "application/json", **message.headers}
        try:
            answer = self._opened().request(
                "POST",
                hook.order.hook_url or "",
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

    def hooks(self, order: Order | None = None) -> list[Hook]:
        """The hooks of one order, or of all, in the order in which they were planned."""
        with self._lock:
            return list(self._hooks if order is None else self._of_order.get(order, ()))

    def told(self, order: Order) -> list[Step]:
        """The steps that at least one accepted hook told of."""
        return [hook.step for hook in self.hooks(order) if hook.fate == TOLD]

    def missed(self, order: Order) -> list[Step]:
        """The steps that no hook will ever tell of, because it was lost or given up."""
        return [hook.step for hook in self.hooks(order) if hook.fate in {LOST, GIVEN_UP}]

    def summary(self) -> Summary:
        hooks = self.hooks()
        fates = [hook.fate for hook in hooks]
        return Summary(
            hooks=len(hooks),
            told=fates.count(TOLD),
            lost=fates.count(LOST),
            given_up=fates.count(GIVEN_UP),
            pending=fates.count(PENDING),
            repeated=sum(hook.copies > 1 for hook in hooks),
            sent=sum(len(hook.attempts) for hook in hooks),
        )
