"""Stores tour plans: the ETA of each order in a tour, whether or not the order is known yet."""

from collections.abc import Sequence

from sqlalchemy import tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from receiver.couriers.snapshot import Decoded
from receiver.db.models import Message, Tour, TourStop
from receiver.times import rfc3339


def store_tours(session: Session, plans: Sequence[tuple[Message, Decoded]]) -> set[tuple[str, str]]:
    """Store the tours and stops of plans; return the (account, name of the order) of every stop.

    The plan received last counts, in whichever order they are folded.
    """
    tours: dict[tuple[str, str], dict[str, object]] = {}
    stops: dict[tuple[str, str, int], dict[str, object]] = {}
    names: set[tuple[str, str]] = set()
    for message, decoded in sorted(plans, key=lambda plan: (plan[0].received_at, plan[0].id)):
        origin = {"received_at": message.received_at, "message_id": message.id}
        for tour in decoded.tours:
            tours[message.account, tour.tour_id] = {
                "account": message.account,
                "tour_id": tour.tour_id,
                "courier_name": tour.courier_name,
                "pick_up_at": tour.pick_up_at,
                "window_from": tour.window_from,
                "window_to": tour.window_to,
                "stops": [
                    {
                        "order_id": stop.order_key,
                        "eta": rfc3339(stop.eta),
                        "packages": list(stop.packages),
                    }
                    for stop in tour.stops
                ],
                **origin,
            }
            for stop in tour.stops:
                if stop.eta is None:
                    continue
                names.add((message.account, stop.order_key))
                stops[message.account, stop.order_key, message.id] = {
                    "account": message.account,
                    "order_key": stop.order_key,
                    "tour_id": tour.tour_id,
                    "eta": stop.eta,
                    **origin,
                }
    for table, rows in ((Tour, tours), (TourStop, stops)):
        if rows:
            statement = insert(table)
            session.execute(
                statement.on_conflict_do_update(
                    index_elements=[column.name for column in table.__table__.primary_key],
                    set_={
                        column.name: statement.excluded[column.name]
                        for column in table.__table__.columns
                        if not column.primary_key
                    },
                    where=tuple_(table.received_at, table.message_id)
                    <= tuple_(statement.excluded.received_at, statement.excluded.message_id),
                ),
                list(rows.values()),
            )
    return names
