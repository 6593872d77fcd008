"""Tour plans."""

from receiver.db.models import Tour
from receiver.orders.tour_etas import find_tour
from receiver.schemas.history import TourSchema
from receiver.web.api.blueprint import ApiBlueprint
from receiver.web.context import app_context

tours = ApiBlueprint("tours", "Tour plans.")


@tours.get("/tours/<account>/<path:tour_id>")
@tours.response(200, TourSchema)
def get_tour(account: str, tour_id: str) -> Tour:
    """Show a tour: who drives it, and when it is expected to reach each order."""
    with app_context().sessions() as session:
        return find_tour(session, account, tour_id)
