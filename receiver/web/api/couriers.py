"""GET /v1/couriers: how each account fares; and asking a courier about one order at once."""

from datetime import UTC, datetime
from typing import Any

from receiver.accounts.account_status import list_account_statuses
from receiver.accounts.refused_credentials import read_refusals
from receiver.orders.register import request_refresh
from receiver.schemas.account import AccountListSchema, RefusalListSchema
from receiver.schemas.fields import ProblemSchema
from receiver.schemas.order import RefreshedSchema
from receiver.web.api.blueprint import Routes
from receiver.web.context import app_context

accounts = Routes("couriers", __name__, description="Accounts, and asking their couriers")


@accounts.get("/couriers")
@accounts.response(200, AccountListSchema)
def list_couriers() -> dict[str, Any]:
    """Every account: when its courier was last heard, what was counted, whether it may be asked.

    A missed hook is a state that we had to ask for, although its courier should have told it.
    """
    app = app_context()
    app.credential_recorder.flush()
    with app.sessions() as session:
        return list_account_statuses(session, app.settings.accounts, datetime.now(UTC))


@accounts.get("/refusals")
@accounts.response(200, RefusalListSchema)
def list_refusals() -> dict[str, Any]:
    """What was refused at the couriers' door within 30 days, why, and what is likely behind it.

    Every web process of every host adds to it within a few seconds. The courier itself is told no
    more than that its credential is wrong.
    """
    app = app_context()
    app.credential_recorder.flush()
    with app.sessions() as session:
        return {"refusals": read_refusals(session)}


@accounts.post("/orders/<account>/<path:order_id>/refresh")
@accounts.response(202, RefreshedSchema)
@accounts.alt_response(404, schema=ProblemSchema, description="No such order")
@accounts.alt_response(409, schema=ProblemSchema, description="The account cannot be polled")
def refresh_order(account: str, order_id: str) -> dict[str, Any]:
    """Ask the courier about an order now, also about one that was given up.

    It is asked as soon as its account's limits let it; whatever it answers comes as any message
    does. An order that was asked about within the last half minute waits for the rest of that, and
    all wait while the courier is left alone (`paused_until` of its account).
    """
    app = app_context()
    return request_refresh(app.sessions, app.settings, account, order_id, datetime.now(UTC))
