"""What the three couriers have in common: orders, a clock, faults, a ledger, a server and hooks.

Each courier's own file adds what its document says: who may ask, where what stands, how an order
looks at a step of its life, which steps are told by hook, and when a hook that failed comes again.
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
from tests.sandbox.hooks import Chances, HookLaw, Message
from tests.sandbox.ledger import Asked, Ledger
from tests.sandbox.orders import Life, Order, steps_of, utc_now
from tests.sandbox.sender import HookSender
from tests.sandbox.server import Server
from tests.sandbox.wire import Answer, Request


class Courier(ABC):
    """One courier: its orders, and the real HTTP server in front of them.

    now      its clock; a Clock that a test moves, or any function
    token    what an asker must show
    secret   what proves that a hook is its own: it ends the hook's URL, or signs the body
    account  the Ordertrail account that stands for it, as in COURIER_<ACCOUNT>_...
    seed     of everything that is left to chance; the same seed gives the same run
    speed    divides the times between a hook's retries
    """

    name: ClassVar[str]
    prefix: ClassVar[str] = ""
    first_state: ClassVar[str]
    signs: ClassVar[bool] = False
    hook_law: ClassVar[HookLaw]

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = utc_now,
        token: str | None = None,
        secret: str | None = None,
        account: str | None = None,
        hook_url: str | None = None,
        seed: int = 0,
        port: int = 0,
        host: str = "127.0.0.1",
        chances: Chances | None = None,
        speed: float = 1.0,
    ) -> None:
        self.now = now
        self.token = token or f"{self.name}-api-token"
        self.secret = secret or f"{self.name}-hook-secret"
        self.account = account or self.name.upper()
        self.hook_url = hook_url
        self.seed = seed
        self.port = port
        self.host = host
        self.faults = Faults()
        self.ledger = Ledger()
        self.hooks = HookSender(
            self.hook_law, self.hook_message, now, chances or Chances(), seed, speed
        )
        self.orders: list[Order] = []
        self._by_name: dict[str, Order] = {}
        self._by_reference: dict[str, Order] = {}
        self._lock = threading.Lock()
        self._server: Server | None = None

    # Orders

    def create(
        self, life: Life, reference: str | None = None, hook_url: str | None = None
    ) -> Order:
        """Take on an order with this life; its hooks go to hook_url, else to the courier's."""
        with self._lock:
            order = self._new(len(self.orders) + 1, life, reference, hook_url or self.hook_url)
            self.orders.append(order)
            for name in (order.id, *order.names.values()):
                self._by_name[name] = order
            self._by_reference[order.reference] = order
        if order.hook_url is not None:
            self.hooks.plan(order, self.told_steps(order))
        return order

    def create_all(self, lives: Iterable[Life], hook_url: str | None = None) -> list[Order]:
        """Take on an order for each life."""
        return [self.create(life, hook_url=hook_url) for life in lives]

    def extend(self, order: Order, life: Life) -> None:
        """Let an order's life go on; what it adds is told by hook as the rest was."""
        with self._lock:
            told = set(self.told_steps(order))
            order.life = (*order.life, *steps_of(life))
            added = [number for number in self.told_steps(order) if number not in told]
        if order.hook_url is not None:
            self.hooks.plan(order, added)

    def find(self, name: str) -> Order | None:
        """The order of this name, where it was placed already."""
        return self._placed(self._by_name.get(name))

    def find_by_reference(self, reference: str) -> Order | None:
        """The newest order with the shop's number, where it was placed already."""
        return self._placed(self._by_reference.get(reference))

    def _placed(self, order: Order | None) -> Order | None:
        return order if order is not None and order.reached(self.now()) else None

    def _new(self, number: int, life: Life, reference: str | None, hook_url: str | None) -> Order:
        chance = random.Random(f"{self.name} {self.seed} {number}")
        order_id, names = self.name_order(number, chance)
        return Order(
            number=number,
            id=order_id,
            reference=reference or f"SHOP-{self.seed}-{number}",
            life=steps_of(life),
            hook_url=hook_url,
            names=names,
        )

    # What each courier says for itself

    @abstractmethod
    def name_order(self, number: int, chance: random.Random) -> tuple[str, dict[str, str]]:
        """The id and the further names of the order of this number."""

    @abstractmethod
    def authorized(self, request: Request) -> bool:
        """Whether the request shows who asks."""

    @abstractmethod
    def route(self, request: Request) -> Answer:
        """The honest answer to a request of someone who may ask."""

    @abstractmethod
    def show(self, order: Order) -> Answer:
        """The honest answer about one order."""

    @abstractmethod
    def error(self, status: int, message: str = "") -> Answer:
        """An error in the courier's own form."""

    @abstractmethod
    def hook_message(self, order: Order, number: int) -> Message:
        """The hook that tells of the step of this number in an order's life."""

    def told_steps(self, order: Order) -> list[int]:
        """Which steps of an order's life are told by hook, by their numbers: all of them."""
        return list(range(len(order.life)))

    # Answers

    def receive(self, request: Request, at: float) -> Answer:
        """Answer a request that came at this monotonic time, honestly or not, and note it."""
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
        self.ledger.note(Asked(at, request.method, request.path, request.query, status, kind))
        return answer

    def answer(self, request: Request) -> Answer:
        """The honest answer to a request."""
        if not self.authorized(request):
            return self.error(401)
        return self.route(request)

    def other_order(self) -> Answer:
        """An answer about an order of somebody else's, which no one asked for."""
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
        """What COURIER_<ACCOUNT>_API_URL is to be."""
        return f"{self.origin}{self.prefix}"

    def start(self) -> Self:
        """Answer requests; hooks are sent only once hooks.start() or hooks.send_due() is called."""
        self._server = Server(self.receive, self.port, self.host)
        self._server.start()
        return self

    def stop(self) -> None:
        self.hooks.stop()
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Its Ordertrail

    def point_hooks_at(self, ordertrail: str) -> str:
        """Tell the orders from now on to the Ordertrail at this address; the hooks' URL."""
        slug = self.account.lower().replace("_", "-")
        url = f"{ordertrail.rstrip('/')}/webhooks/{slug}/orders"
        self.hook_url = url if self.signs else f"{url}/{self.secret}"
        return self.hook_url

    def environ(self) -> dict[str, str]:
        """The environment that points an Ordertrail at this courier."""
        names = {
            "DRIVER": self.name,
            "SECRETS": self.secret,
            "API_URL": self.url,
            "API_TOKEN": self.token,
        }
        return {f"COURIER_{self.account}_{name}": value for name, value in names.items()}
