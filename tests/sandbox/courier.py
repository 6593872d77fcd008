"""Base class of the sandbox couriers: orders, clock, faults, ledger, HTTP server and webhooks.

Each courier's own file adds what its document says: authentication, routes, the JSON of an order
at each step, which steps a webhook reports, and when a failed webhook is sent again.
"""

import math
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import ClassVar, Self

from tests.sandbox import control
from tests.sandbox.faults import Faults, Honest
from tests.sandbox.ledger import Ledger, RecordedRequest
from tests.sandbox.orders import Life, Order, steps_of, utc_now
from tests.sandbox.sender import WebhookSender
from tests.sandbox.server import Server
from tests.sandbox.webhooks import Chances, Message, RetryPolicy
from tests.sandbox.wire import Answer, Request


class Courier(ABC):
    """One courier: its orders, and the real HTTP server in front of them.

    now      its clock: a Clock that a test moves, or any function
    token    what a client of its API must send
    secret   ends the webhook's URL, or signs the body
    account  the Ordertrail account of this courier, as in COURIER_<ACCOUNT>_...
    seed     of everything random; the same seed gives the same run
    speed    divides the times between a webhook's retries
    """

    name: ClassVar[str]
    prefix: ClassVar[str] = ""
    first_state: ClassVar[str]
    signs: ClassVar[bool] = False
    retry_policy: ClassVar[RetryPolicy]

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = utc_now,
        token: str | None = None,
        secret: str | None = None,
        account: str | None = None,
        webhook_url: str | None = None,
        seed: int = 0,
        port: int = 0,
        host: str = "127.0.0.1",
        chances: Chances | None = None,
        speed: float = 1.0,
    ) -> None:
        self.now = now
        self.token = token or f"{self.name}-api-token"
        self.secret = secret or f"{self.name}-webhook-secret"
        self.account = account or self.name.upper()
        self.webhook_url = webhook_url
        self.seed = seed
        self.port = port
        self.host = host
        self.faults = Faults()
        self.ledger = Ledger()
        self.webhooks = WebhookSender(
            self.retry_policy, self.webhook_message, now, chances or Chances(), seed, speed
        )
        self.orders: list[Order] = []
        self._by_name: dict[str, Order] = {}
        self._by_reference: dict[str, Order] = {}
        self._lock = threading.Lock()
        self._server: Server | None = None

    # Orders

    def create(
        self, life: Life, reference: str | None = None, webhook_url: str | None = None
    ) -> Order:
        """Create an order with this life; its webhooks go to webhook_url, or the courier's."""
        with self._lock:
            order = self._new(
                len(self.orders) + 1, life, reference, webhook_url or self.webhook_url
            )
            self.orders.append(order)
            for name in (order.id, *order.names.values()):
                self._by_name[name] = order
            self._by_reference[order.reference] = order
        if order.webhook_url is not None:
            self.webhooks.plan(order, self.reported_steps(order))
        return order

    def create_all(self, lives: Iterable[Life], webhook_url: str | None = None) -> list[Order]:
        """Create an order for each life."""
        return [self.create(life, webhook_url=webhook_url) for life in lives]

    def extend(self, order: Order, life: Life) -> None:
        """Add steps to an order's life and plan their webhooks."""
        with self._lock:
            before = set(self.reported_steps(order))
            order.life = (*order.life, *steps_of(life))
            added = [number for number in self.reported_steps(order) if number not in before]
        if order.webhook_url is not None:
            self.webhooks.plan(order, added)

    def find(self, name: str) -> Order | None:
        """Return the order of this name, if it is placed already."""
        return self._placed(self._by_name.get(name))

    def find_by_reference(self, reference: str) -> Order | None:
        """Return the newest order with this reference of the shop, if it is placed already."""
        return self._placed(self._by_reference.get(reference))

    def _placed(self, order: Order | None) -> Order | None:
        return order if order is not None and order.reached(self.now()) else None

    def _new(
        self, number: int, life: Life, reference: str | None, webhook_url: str | None
    ) -> Order:
        chance = random.Random(f"{self.name} {self.seed} {number}")
        order_id, names = self.name_order(number, chance)
        return Order(
            number=number,
            id=order_id,
            reference=reference or f"SHOP-{self.seed}-{number}",
            life=steps_of(life),
            webhook_url=webhook_url,
            names=names,
        )

    # What each courier defines

    @abstractmethod
    def name_order(self, number: int, chance: random.Random) -> tuple[str, dict[str, str]]:
        """Return the id and the further names of the order of this number."""

    @abstractmethod
    def authorized(self, request: Request) -> bool:
        """Return whether the request has valid credentials."""

    @abstractmethod
    def route(self, request: Request) -> Answer:
        """Return the correct answer to an authorized request."""

    @abstractmethod
    def show(self, order: Order) -> Answer:
        """Return the correct answer about one order."""

    @abstractmethod
    def error(self, status: int, message: str = "") -> Answer:
        """Return an error in the courier's own format."""

    @abstractmethod
    def webhook_message(self, order: Order, number: int) -> Message:
        """Return the webhook that reports the step of this number."""

    def reported_steps(self, order: Order) -> list[int]:
        """Return the numbers of the steps that webhooks report: all of them by default."""
        return list(range(len(order.life)))

    # Answers

    def receive(self, request: Request, at: float) -> Answer:
        """Answer a request received at this monotonic time, by a fault if one is set."""
        if request.path.startswith(control.PATH):
            return control.answer(self, request)
        fault = self.faults.take(request.path, at)
        if fault is None:
            answer = self.answer(request)
        else:
            honest = Honest(
                answer=lambda: self.answer(request),
                error=self.error,
                other_order=self.other_order,
                origin=self.origin,
            )
            answer = fault.spoil(honest)
        status = None if math.isinf(answer.delay) else answer.status
        kind = fault.kind if fault else None
        self.ledger.note(
            RecordedRequest(at, request.method, request.path, request.query, status, kind)
        )
        return answer

    def answer(self, request: Request) -> Answer:
        """Return the correct answer to a request."""
        if not self.authorized(request):
            return self.error(401)
        return self.route(request)

    def other_order(self) -> Answer:
        """Return an answer about another order than the one asked for."""
        life = [(self.first_state, self.now() - timedelta(hours=1))]
        return self.show(self._new(-1, life, None, None))

    # The server

    @property
    def origin(self) -> str:
        if self._server is None:
            raise RuntimeError(f"{self.name} is not started")
        return f"http://{self.host}:{self._server.port}"

    @property
    def url(self) -> str:
        """The value for COURIER_<ACCOUNT>_API_URL."""
        return f"{self.origin}{self.prefix}"

    def start(self) -> Self:
        """Start answering; webhooks.start() or webhooks.send_due() sends the webhooks."""
        self._server = Server(self.receive, self.port, self.host)
        self._server.start()
        return self

    def stop(self) -> None:
        self.webhooks.stop()
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # The Ordertrail it talks to

    def send_webhooks_to(self, ordertrail: str) -> str:
        """Send webhooks of later orders to this Ordertrail; return the webhook URL."""
        slug = self.account.lower().replace("_", "-")
        url = f"{ordertrail.rstrip('/')}/webhooks/{slug}/orders"
        self.webhook_url = url if self.signs else f"{url}/{self.secret}"
        return self.webhook_url

    def environ(self) -> dict[str, str]:
        """Return the settings that an Ordertrail needs for this courier."""
        names = {
            "DRIVER": self.name,
            "SECRETS": self.secret,
            "API_URL": self.url,
            "API_TOKEN": self.token,
        }
        return {f"COURIER_{self.account}_{name}": value for name, value in names.items()}
