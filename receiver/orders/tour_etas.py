"""The ETAs of orders from tour plans, whichever of the two arrives first.

A plan names an order by any of its names or by its packages; a tour of one stop also by the tour
that the order says it is in.
"""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import LiteralString

from sqlalchemy.orm import Session

from receiver.couriers.snapshot import Eta
from receiver.db.locks import TOURS_LOCK, take_lock
from receiver.db.models import Tour, TourStop, spelling
from receiver.db.order_state import AnyOrder
from receiver.db.pagination import distinct_values
from receiver.errors import UnknownTour
from receiver.orders import details
from receiver.orders.names import NameOfKind, current_names
from receiver.text import storable_name

# The ETAs of orders, by any name that they have or ever had. An ETA that several tours of a plan
# give is replaced once all of them have newer plans.
STOPS: LiteralString = f"""
    SELECT named.order_id, tour.eta, stop.received_at, stop.message_id,
           bool_and(tours.message_id IS NOT NULL AND tours.message_id <> stop.message_id)
               AS is_replaced
    FROM (
        SELECT * FROM unnest(%(accounts)s::text[], %(names)s::text[], %(order_ids)s::bigint[])
        UNION
        SELECT account, value, order_id FROM identifiers WHERE order_id = ANY (%(ids)s::bigint[])
    ) AS named (account, name, order_id)
    CROSS JOIN LATERAL (
        SELECT * FROM tour_stops WHERE tour_stops.account = named.account
            AND {spelling("order_key")} = {spelling("named.name")}
    ) AS stop
    CROSS JOIN LATERAL (
        SELECT stop.tour_id, stop.eta
        UNION ALL
        SELECT * FROM jsonb_to_recordset(stop.further_tours) AS f (tour_id text, eta timestamptz)
    ) AS tour
    LEFT JOIN tours ON tours.account = stop.account AND tours.tour_id = tour.tour_id
    GROUP BY named.order_id, tour.eta, stop.received_at, stop.message_id
"""  # noqa: S608 (all of it stands here)


def lock_tours(session: Session, writing: bool) -> None:
    """Keep a concurrent plan and a new order that it names from missing each other.

    Two such transactions would not see each other's rows, and the ETA would be lost. Transactions
    without plans share the lock. Must be called before any row is locked.
    """
    take_lock(session, TOURS_LOCK, shared=not writing)


def add_etas(
    session: Session,
    orders: Sequence[AnyOrder],
    new_names: Mapping[int, Collection[NameOfKind]] = MappingProxyType({}),
) -> None:
    """Add to each order the ETAs of the tour stops that name it.

    new_names: names by the order's id that are not stored yet, though they may be old ones.

    The ETA of a plan ends where a newer plan of the same tour replaced it: either that one names
    the order as well, or the order is not in the tour any more. Of several ETAs in one plan the
    latest counts.
    """
    if not orders:
        return
    with_tours = {*distinct_values(session, TourStop.account)}
    by_id = {order.id: order for order in orders if order.account in with_tours}
    if not by_id:
        return
    names = [
        (order.account, name, order.id)
        for order in by_id.values()
        for name, _ in current_names(order) | {*new_names.get(order.id, ())}
    ]
    accounts, texts, order_ids = map(list, zip(*names, strict=True))
    values = {"accounts": accounts, "names": texts, "order_ids": order_ids, "ids": list(by_id)}
    stops = session.connection().exec_driver_sql(STOPS, values)
    for stop in stops:
        order = by_id[stop.order_id]
        eta = Eta(stop.eta, stop.eta, "tour_plan")
        order.details = details.add_tour_eta(
            order.details or {}, eta, stop.received_at, stop.message_id, stop.is_replaced
        )
        order.eta = details.current_eta(order.details)


def find_tour(session: Session, account: str, tour_id: str) -> Tour:
    """Find a tour, as the newest plan that names it describes it.

    Raises: UnknownTour.
    """
    tour = session.get(Tour, (storable_name(account), storable_name(tour_id)))
    if tour is None:
        raise UnknownTour(f"account {account!r} has no tour {tour_id!r}")
    return tour
