"""Stores tour plans: the ETA of each order in a tour, whether or not the order is known yet."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.couriers.snapshot import Decoded
from receiver.db.bulk import insert_rows, pairs_in
from receiver.db.models import Message, Tour, TourStop
from receiver.times import rfc3339

# A plan replaces one that was received before it, in whichever order they are folded.
REPLACE = """({key}) DO UPDATE SET {values}
    WHERE (known.received_at, known.message_id) <= (excluded.received_at, excluded.message_id)
"""


def store_tours(session: Session, plans: Sequence[tuple[Message, Decoded]]) -> set[tuple[str, str]]:
    """Store the tours and stops of plans; return the (account, name) of every order concerned.

    Concerned is an order that a plan names, or that the plan known before named.
    """
    tours: dict[tuple[str, str], dict[str, Any]] = {}
    # By (account, name, message), the ETA of each tour that names the order.
    etas: dict[tuple[str, str, int], dict[str, datetime]] = defaultdict(dict)
    received_at = {message.id: message.received_at for message, _ in plans}
    concerned: set[tuple[str, str]] = set()
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
                # The tour means an order only where there is no other that it could mean.
                tour_ids = [tour.tour_id] if len(tour.stops) == 1 else []
                names = [*tour_ids, *stop.packages, stop.order_key]
                concerned.update((message.account, name) for name in names)
                if (eta := stop.eta) is None:
                    continue
                for name in names:
                    by_tour = etas[message.account, name, message.id]
                    by_tour[tour.tour_id] = max(eta, by_tour.get(tour.tour_id, eta))
    concerned |= _names_in_known_plans(session, tours)
    stops = {key: _stop_row(key, by_tour, received_at[key[2]]) for key, by_tour in etas.items()}
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
    return concerned


def _stop_row(
    key: tuple[str, str, int], by_tour: Mapping[str, datetime], received_at: datetime
) -> dict[str, Any]:
    """Return the row of a name in a plan, with the tour that has the latest ETA first."""
    account, name, message_id = key
    tours = [
        {"tour_id": tour_id, "eta": eta}
        for tour_id, eta in sorted(by_tour.items(), key=lambda tour: tour[::-1], reverse=True)
    ]
    return {
        "account": account,
        "order_key": name,
        "message_id": message_id,
        "received_at": received_at,
        **tours[0],
        "further_tours": tours[1:],
    }


def _names_in_known_plans(
    session: Session, keys: Collection[tuple[str, str]]
) -> set[tuple[str, str]]:
    if not keys:
        return set()
    known = select(Tour.account, Tour.tour_id, Tour.stops).where(
        pairs_in(Tour.account, Tour.tour_id, keys)
    )
    return {
        (account, name)
        for account, tour_id, stops in session.execute(known)
        for stop in stops
        for name in (tour_id, stop["order_id"], *stop["packages"])
    }
