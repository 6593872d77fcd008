"""The API under /v1, one noun a file."""

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from receiver.errors import MissingBearerToken
from receiver.web.api import (
    alerts,
    changes,
    conflicts,
    couriers,
    messages,
    orders,
    statuses,
    tours,
)
from receiver.web.api.blueprint import CONVERTERS
from receiver.web.auth import require_api_token
from receiver.web.problems import answer_exception, answer_http_exception

BLUEPRINTS = (
    orders.orders,
    messages.messages,
    conflicts.conflicts,
    changes.changes,
    tours.tours,
    statuses.statuses,
    couriers.couriers,
    alerts.alerts,
)


def init_app(app: Flask) -> None:
    """Register all routes under /v1 but the description's."""
    app.url_map.converters.update(CONVERTERS)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint, url_prefix="/v1")
    app.register_error_handler(NotFound, _answer_routing_error)
    app.register_error_handler(MethodNotAllowed, _answer_routing_error)


def _answer_routing_error(error: HTTPException) -> Response:
    """Answer unknown paths and methods like known ones to clients without a token."""
    if request.routing_exception and f"{request.path}/".startswith("/v1/"):
        # The request reached no blueprint, so no hook has checked its token.
        try:
            require_api_token()
        except MissingBearerToken as missing:
            return answer_exception(missing)
    return answer_http_exception(error)
