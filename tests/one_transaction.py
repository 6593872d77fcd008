"""A shop and a courier in one transaction that is rolled back: the drain's code, without commits.

Thousands of examples can be tried like that, and each begins with empty tables.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import Identifier, Order
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.orders.find import find_orders
from receiver.orders.names import spell
from receiver.settings import Settings
from tests.bodies import START, raw
from tests.shop import record_order
from workers.folding.drain import lock_batch
from workers.folding.message_folding import fold_messages, record_outcomes

ACCOUNT = "tiramizoo"


class Trial:
    """What is registered and received, a second after the one before; folded when asked.

    Messages are stored when they are folded: an account that parks none does nothing with them
    before, and each statement less makes an example cheaper.
    """

    def __init__(self, session: Session, settings: Settings) -> None:
        self.session, self.settings = session, settings
        self.now = START + timedelta(days=1)
        self.received: list[IncomingMessage] = []

    def register(self, name: str, **given: Any) -> None:
        """Register a name that the API has stripped of its blanks."""
        self.now += timedelta(seconds=1)
        record_order(self.session, ACCOUNT, ACCOUNT, name.strip(), self.now, **given)
        self.session.expire_all()

    def receive(self, body: Any, topic: str = "orders", at: datetime | None = None) -> None:
        self.now += timedelta(seconds=1)
        sent = IncomingMessage(ACCOUNT, topic, "webhook", "token", raw(body), at or self.now)
        self.received.append(sent)

    def drain(self) -> None:
        self.now += timedelta(seconds=1)
        if not self.received:
            return
        store_messages(self.session, self.received)
        self.received = []
        if batch := lock_batch(self.session):
            folded = fold_messages(self.session, batch, self.settings, self.now)
            record_outcomes(self.session, batch, folded, self.now)
        self.session.expire_all()

    def find(self, names: Iterable[str]) -> dict[str, list[Order]]:
        """The orders of each name that has any."""
        found = find_orders(self.session, [(ACCOUNT, name) for name in names])
        return {name: orders for (_, name), orders in found.items()}

    def names(self, order: Order) -> set[tuple[str, str]]:
        """The stored names of an order, without regard to spelling, each with its kind."""
        columns = (Identifier.value, Identifier.kind)
        stored = self.session.execute(select(*columns).where(Identifier.order_id == order.id))
        return {(spell(name), kind) for name, kind in stored}


@contextmanager
def trial(sessions: sessionmaker[Session], settings: Settings) -> Iterator[Trial]:
    with sessions() as session:
        yield Trial(session, settings)
        session.rollback()
