"""Tour plans: when a tour is to reach each order, before or after the order is known."""

from collections.abc import Sequence

from sqlalchemy import tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from receiver.couriers.snapshot import Decoded
from receiver.db.models import Message, Tour, TourStop
from receiver.times import rfc3339


def keep_tours(session: Session, plans: Sequence[tuple[Message, Decoded]]) -> set[tuple[str, str]]:
    """Keep the plans' tours and stops; the (account, order's name) of every stop.

    A plan that came later counts over one that came earlier, in whichever order they are read.
    """
    tours: dict[tuple[str, str], dict[str, object]] = {}
    stops: dict[tuple[str, str, int], dict[str, object]] = {}
    named: set[tuple[str, str]] = set()
    for message, decoded in sorted(plans, key=lambda plan: (plan[0].received_at, plan[0].id)):
        heard = {"received_at": message.received_at, "message_id": message.id}
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
                **heard,
            }
            for stop in tour.stops:
                if stop.eta is None:
                    continue
                named.add((message.account, stop.order_key))
                stops[message.account, stop.order_key, message.id] = {
                    "account": message.account,
                    "order_key": stop.order_key,
                    "tour_id": tour.tour_id,
                    "eta": stop.eta,
                    **heard,
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
    return named
