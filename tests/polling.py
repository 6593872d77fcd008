"""A shop, simulated couriers and our pollers, on one clock that a test moves.

Nothing of ours is replaced: polls go over HTTP to the sandbox, answers through the inbox. Only the
threads and the queue are left out, so that a month passes in a second.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any

from redis import Redis
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, joinedload, sessionmaker

from receiver.db.models import AccountState, Message, Order, Poll
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.orders.poll_plan import OrderNews, plan_polls
from receiver.settings import Settings
from tests import sandbox
from tests.bodies import START
from tests.sandbox import Clock, Courier
from tests.shop import record_order
from workers.folding.drain import drain_batch
from workers.polling import circuit_breaker, outage_recovery
from workers.polling.account_poller import AccountPoller

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class World:
    """Orders of one courier's account, and everything that happens to them."""

    def __init__(
        self,
        courier: Courier,
        clock: Clock,
        settings: Settings,
        sessions: sessionmaker[Session],
        redis: Redis,
    ) -> None:
        self.courier, self.clock, self.settings = courier, clock, settings
        self.sessions, self.redis = sessions, redis
        self.stop = threading.Event()
        self.account = settings.accounts[courier.account.lower().replace("_", "-")]
        self.poller = self.new_poller()
        with sessions.begin() as session:
            circuit_breaker.start_account(session, self.account.slug, clock())

    def new_poller(self) -> AccountPoller:
        access = self.account.access
        assert access is not None
        return AccountPoller(
            self.account,
            access,
            self.settings.poll_interval_factor,
            self.sessions,
            self.redis,
            self.stop,
            now=self.clock,
        )

    def close(self) -> None:
        self.poller.courier.close()

    def place(self, life: sandbox.orders.Life, **given: Any) -> sandbox.Order:
        """Place an order with the courier, and register it."""
        placed = self.courier.create(life)
        self.register(given.pop("name", placed.id), **given)
        return placed

    def register(self, name: str, **given: Any) -> None:
        with self.sessions.begin() as session:
            recorded = record_order(
                session, self.account.slug, self.account.driver, name, now=self.clock(), **given
            )
            if recorded.is_new:
                plan_polls(
                    session,
                    [OrderNews(recorded.order, webhook=True)],
                    self.settings.accounts,
                    1.0,
                    self.clock(),
                )

    def place_many(self, count: int, life: sandbox.orders.Life) -> list[sandbox.Order]:
        """Place many orders with the courier; all are known here, and due now."""
        placed = self.courier.create_all([life] * count)
        with self.sessions.begin() as session:
            session.execute(
                text(
                    "INSERT INTO orders (account, courier, courier_order_id, status, created_at,"
                    " updated_at) SELECT :account, :courier, unnest(CAST(:ids AS text[])),"
                    " 'pending', :now, :now"
                ),
                {
                    "account": self.account.slug,
                    "courier": self.account.driver,
                    "ids": [order.id for order in placed],
                    "now": self.clock(),
                },
            )
        added = outage_recovery.add_missing_polls(self.sessions, self.account.slug, self.clock())
        assert sum(added) == count
        return placed

    def webhook(self, body: bytes) -> None:
        """Receive a webhook, and fold it."""
        trust = "signed" if self.courier.signs else "token"
        incoming = IncomingMessage(
            self.account.slug, "orders", "webhook", trust, body, received_at=self.clock()
        )
        with self.sessions.begin() as session:
            store_messages(session, [incoming])
        self.drain()

    def drain(self) -> int:
        folded = 0
        while size := drain_batch(self.sessions, self.settings, self.clock()):
            folded += size
        return folded

    def poll_due(self) -> int:
        """Poll all due orders, fold the answers, and return how many requests that took."""
        before = len(self.courier.ledger)
        # The rate limit goes by the real clock.
        self.redis.flushdb()
        while self.poller.poll_next():
            self.redis.flushdb()
        self.drain()
        return len(self.courier.ledger) - before

    def check_for_outage(self) -> int:
        return self.poller.outages.check()

    def next_due(self) -> datetime | None:
        with self.sessions() as session:
            return session.scalar(select(func.min(Poll.due_at)))

    def live_until(self, end: datetime) -> None:
        """Move the clock from one due time to the next, and poll."""
        while (due := self.next_due()) is not None and due <= end:
            self.clock.move_to(max(due, self.clock()))
            asked = self.poll_due()
            still_due = self.next_due()
            assert asked or still_due is None or still_due > self.clock(), "no order was polled"
        self.clock.move_to(end)

    def order(self, name: str) -> Order:
        with self.sessions() as session:
            found = select(Order).options(joinedload(Order.poll))
            return session.scalars(found.where(Order.courier_order_id == name)).one()

    def poll(self, name: str) -> Poll:
        poll = self.order(name).poll
        assert poll is not None
        return poll

    def state(self) -> AccountState:
        with self.sessions() as session:
            return session.get_one(AccountState, self.account.slug)

    def messages(self) -> Sequence[Message]:
        with self.sessions() as session:
            return session.scalars(select(Message).order_by(Message.id)).all()


MakeWorld = Callable[..., World]


@contextmanager
def making_worlds(
    environ: Mapping[str, str], sessions: sessionmaker[Session], redis: Redis
) -> Iterator[MakeWorld]:
    """Yield a function that makes worlds, each with a running courier."""
    with ExitStack() as stack:

        def make(
            kind: Callable[..., Courier] = sandbox.Tiramizoo,
            start: datetime = START,
            changed: Mapping[str, str] | None = None,
            **given: Any,
        ) -> World:
            clock = Clock(start)
            courier = stack.enter_context(kind(now=clock, **given))
            settings = Settings.from_env({**environ, **courier.environ(), **(changed or {})})
            world = World(courier, clock, settings, sessions, redis)
            stack.callback(world.close)
            return world

        yield make
