"""Tour plans and orders find each other, whichever comes first.

A plan names an order by any of its identifiers or by its reference, so it is matched by name.
"""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.couriers.snapshot import Eta
from receiver.db.bulk import pairs_in
from receiver.db.locks import TOURS_LOCK, take_lock
from receiver.db.models import Tour, TourStop
from receiver.db.order_state import AnyOrder
from receiver.errors import UnknownTour
from receiver.orders import details
from receiver.orders.names import names_of


def lock_tours(session: Session, writing: bool) -> None:
    """Keep a plan and an order that it names from missing each other.

    Two transactions at once, one with a plan and one with a new order, would each not see what
    the other writes, and the ETA would be lost. Those without plans do not wait for one another.
    Taken before any row is locked.
    """
    take_lock(session, TOURS_LOCK, shared=not writing)


def add_etas(session: Session, orders: Sequence[AnyOrder]) -> None:
    """Give each order the ETAs of the tour stops that name it."""
    by_name: dict[tuple[str, str], list[AnyOrder]] = defaultdict(list)
    for order in orders:
        for name in names_of(order):
            by_name[order.account, name].append(order)
    if not by_name:
        return
    named = pairs_in(TourStop.account, TourStop.order_key, list(by_name))
    # Bare rows: they are only read.
    stops = select(*TourStop.__table__.columns).where(named)
    for stop in session.execute(stops):
        for order in by_name[stop.account, stop.order_key]:
            told = Eta(stop.eta, stop.eta, "tour_plan")
            order.details = details.add_eta(
                order.details or {}, told, stop.received_at, stop.message_id
            )
            order.eta = details.current_eta(order.details)


def find_tour(session: Session, account: str, tour_id: str) -> Tour:
    """A tour as the newest plan that names it has it.

    Raises: UnknownTour.
    """
    tour = None if "\x00" in account + tour_id else session.get(Tour, (account, tour_id))
    if tour is None:
        raise UnknownTour(f"no tour plan of account {account!r} names {tour_id!r}")
    return tour
