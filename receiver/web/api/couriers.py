"""The couriers: the state of the accounts, refused webhooks, and polling an order now."""

from datetime import UTC, datetime
from typing import Any

from receiver.accounts.account_status import list_account_statuses
from receiver.accounts.refused_credentials import read_refusals
from receiver.orders.performance.report import choose_period, report_account
from receiver.orders.register import request_refresh
from receiver.schemas import account
from receiver.schemas.order import RefreshedSchema
from receiver.schemas.performance import PerformanceFiltersSchema, PerformanceSchema
from receiver.web.api.blueprint import ApiBlueprint
from receiver.web.context import app_context

couriers = ApiBlueprint("couriers", "The state of each account, and polling its courier.")


@couriers.get("/couriers")
@couriers.response(200, account.AccountListSchema)
def list_couriers() -> dict[str, Any]:
    """List all accounts: their last messages, their counts, and whether polling is paused.

    A missed webhook is a status change that only a poll found, though the courier should have sent
    a webhook about it.
    """
    app = app_context()
    app.credential_recorder.flush()
    with app.sessions() as session:
        return list_account_statuses(session, app.settings.accounts, datetime.now(UTC))


@couriers.get("/couriers/<account>/performance")
@couriers.arguments(PerformanceFiltersSchema, location="query")
@couriers.response(200, PerformanceSchema)
def read_performance(filters: dict[str, Any], account: str) -> dict[str, Any]:
    """Report how fast and how reliably an account's courier delivered.

    An order counts on the UTC day on which it was delivered, cancelled or returned, by its
    courier's clock. Orders that were removed after ORDER_RETENTION_DAYS still count.
    """
    app = app_context()
    period = choose_period(filters, datetime.now(UTC))
    with app.sessions() as session:
        return report_account(session, app.settings.accounts, account, period)


@couriers.get("/refusals")
@couriers.response(200, account.RefusalListSchema)
def list_refusals() -> dict[str, Any]:
    """List the webhooks that were refused in the last 30 days, why, and the likely cause.

    The counts cover all web processes of all hosts and are a few seconds behind. The response to
    the courier never contains the cause.
    """
    app = app_context()
    app.credential_recorder.flush()
    with app.sessions() as session:
        return {"refusals": read_refusals(session)}


@couriers.post("/orders/<account>/<path:order_id>/refresh")
@couriers.response(202, RefreshedSchema)
@couriers.problem(
    409,
    "The account cannot be polled, or several orders have this identifier.",
    "account 'tiramizoo' cannot be polled: set COURIER_TIRAMIZOO_API_TOKEN",
    "account_not_polled",
)
def refresh_order(account: str, order_id: str) -> dict[str, Any]:
    """Poll the courier for an order now, even if polling was given up.

    The poll is sent as soon as the rate limits of the account allow it, not earlier than 30 seconds
    after the previous poll of the order, and not while the account is paused (its
    `paused_until`). The response is processed like any message.
    """
    app = app_context()
    return request_refresh(app.sessions, app.settings, account, order_id, datetime.now(UTC))
