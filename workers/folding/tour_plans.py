"""Stores tour plans: the ETA of each order in a tour, whether or not the order is known yet."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from receiver.couriers.snapshot import Decoded
from receiver.db.bulk import insert_rows
from receiver.db.models import Message, Tour, TourStop
from receiver.times import rfc3339

# A plan replaces one that was received before it, in whichever order they are folded.
REPLACE = """({key}) DO UPDATE SET {values}
    WHERE (known.received_at, known.message_id) <= (excluded.received_at, excluded.message_id)
"""


def store_tours(session: Session, plans: Sequence[tuple[Message, Decoded]]) -> set[tuple[str, str]]:
    """Store the tours and stops of plans; return the (account, name of the order) of every stop."""
    tours: dict[tuple[str, str], dict[str, Any]] = {}
    stops: dict[tuple[str, str, int], dict[str, Any]] = {}
    for message, decoded in sorted(plans, key=lambda plan: (plan[0].received_at, plan[0].id)):
        origin = {
            "account": message.account,
            "received_at": message.received_at,
            "message_id": message.id,
        }
        for tour in decoded.tours:
            tours[message.account, tour.tour_id] = {
                **origin,
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
            }
            for stop in tour.stops:
                if stop.eta is not None:
                    stops[message.account, stop.order_key, message.id] = {
                        **origin,
                        "order_key": stop.order_key,
                        "tour_id": tour.tour_id,
                        "eta": stop.eta,
                    }
    for model, rows in ((Tour, tours), (TourStop, stops)):
        columns = model.__table__.columns
        replace = REPLACE.format(
            key=", ".join(column.name for column in columns if column.primary_key),
            values=", ".join(
                f"{column.name} = excluded.{column.name}"
                for column in columns
                if not column.primary_key
            ),
        )
        insert_rows(session, model, [row for _, row in sorted(rows.items())], replace)
    return {(account, order_key) for account, order_key, _ in stops}
