"""Tour plans."""

from flask import Response

from receiver.orders.order_json import render_tour
from receiver.orders.tour_etas import find_tour
from receiver.schemas.history import TourSchema
from receiver.web.api.blueprint import ApiBlueprint, json_answer
from receiver.web.context import app_context

tours = ApiBlueprint("tours", "Tour plans.")


@tours.get("/tours/<account>/<path:tour_id>")
@tours.response(200, TourSchema)
def get_tour(account: str, tour_id: str) -> Response:
    """Show a tour: who drives it, and when it is expected to reach each order."""
    with app_context().sessions() as session:
        return json_answer(render_tour(find_tour(session, account, tour_id)))
