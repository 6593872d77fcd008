"""The ETAs of orders from tour plans, whichever of the two arrives first.

A plan names an order by any of its identifiers or by its reference, so they are matched by name.
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
from receiver.orders.names import list_names


def lock_tours(session: Session, writing: bool) -> None:
    """Keep a concurrent plan and a new order that it names from missing each other.

    Two such transactions would not see each other's rows, and the ETA would be lost. Transactions
    without plans share the lock. Must be called before any row is locked.
    """
    take_lock(session, TOURS_LOCK, shared=not writing)


def add_etas(session: Session, orders: Sequence[AnyOrder]) -> None:
    """Add to each order the ETAs of the tour stops that name it."""
    by_name: dict[tuple[str, str], list[AnyOrder]] = defaultdict(list)
    for order in orders:
        for name in list_names(order):
            by_name[order.account, name].append(order)
    if not by_name:
        return
    # Columns and not objects, since the rows are only read.
    stops = select(*TourStop.__table__.columns).where(
        pairs_in(TourStop.account, TourStop.order_key, list(by_name))
    )
    for stop in session.execute(stops):
        eta = Eta(stop.eta, stop.eta, "tour_plan")
        for order in by_name[stop.account, stop.order_key]:
            order.details = details.add_eta(
                order.details or {}, eta, stop.received_at, stop.message_id
            )
            order.eta = details.current_eta(order.details)


def find_tour(session: Session, account: str, tour_id: str) -> Tour:
    """Find a tour, as the newest plan that names it describes it.

    Raises: UnknownTour.
    """
    tour = None if "\x00" in account + tour_id else session.get(Tour, (account, tour_id))
    if tour is None:
        raise UnknownTour(f"account {account!r} has no tour {tour_id!r}")
    return tour
