"""GET /v1/tours: tour plans as last heard."""

from receiver.db.models import Tour
from receiver.orders.tour_etas import find_tour
from receiver.schemas.fields import ProblemSchema
from receiver.schemas.timeline import TourSchema
from receiver.web.api.blueprint import Routes
from receiver.web.context import app_context

tours = Routes("tours", __name__, description="Tour plans")


@tours.get("/tours/<account>/<path:tour_id>")
@tours.response(200, TourSchema)
@tours.alt_response(404, schema=ProblemSchema, description="No plan names this tour")
def get_tour(account: str, tour_id: str) -> Tour:
    """A tour: who drives it, and when it is to reach each order."""
    with app_context().sessions() as session:
        return find_tour(session, account, tour_id)
