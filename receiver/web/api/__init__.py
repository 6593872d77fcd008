"""The API under /v1."""

from flask import Flask

from receiver.web.api import (
    alerts,
    audit,
    changes,
    conflicts,
    couriers,
    messages,
    orders,
    statuses,
    tours,
)
from receiver.web.api.blueprint import CONVERTERS
from receiver.web.auth import require_token_at_unknown_path
from receiver.web.problems import guard_unknown_paths

BLUEPRINTS = (
    *(orders.orders, messages.messages, conflicts.conflicts, changes.changes),
    *(tours.tours, statuses.statuses, couriers.couriers, alerts.alerts, audit.audit),
)


def init_app(app: Flask) -> None:
    """Register all routes under /v1 but the description's."""
    app.url_map.converters.update(CONVERTERS)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint, url_prefix="/v1")
    guard_unknown_paths(app, "/v1", require_token_at_unknown_path)
