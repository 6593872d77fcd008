"""Asking as the shop's services do, and orders for them to ask about."""

import json
from datetime import UTC, datetime
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker
from werkzeug.test import TestResponse

from receiver.changes.feed import record_changes
from receiver.changes.order_version import OrderChange
from receiver.db.models import Identifier, Order
from receiver.orders.names import current_names
from receiver.orders.register import NewOrder, RegisteredOrder, record_registrations
from tests.bodies import cottoncast_signature, raw

Sessions = sessionmaker[Session]


def deliver(client: FlaskClient, *bodies: Any, account: str = "tiramizoo") -> None:
    """Post order hooks as the account's courier does."""
    for body in bodies:
        sent = body if isinstance(body, bytes) else raw(body)
        if account.startswith("cottoncast"):
            key = {"cottoncast": "cottoncast-key", "cottoncast-parking": "parking-key"}[account]
            answer = client.post(
                f"/webhooks/{account}/orders", data=sent, headers=cottoncast_signature(sent, key)
            )
        else:
            token = {"tiramizoo-parking": "parking-token"}.get(account, f"{account}-token")
            answer = client.post(f"/webhooks/{account}/orders/{token}", data=sent)
        assert answer.status_code in {200, 404}


def problem_of(answer: TestResponse, status: int) -> dict[str, Any]:
    """The problem details of an answer, which has to be one."""
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    problem: dict[str, Any] = json.loads(answer.data)
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    return problem


def get(shop: FlaskClient, path: str, **parameters: Any) -> dict[str, Any]:
    answer = shop.get(f"/v1{path}", query_string=parameters)
    assert answer.status_code == 200, answer.data
    assert answer.mimetype == "application/json"
    return dict(json.loads(answer.data))


def fill(sessions: Sessions, *orders: dict[str, Any]) -> None:
    """Orders as they would stand after a drain, made quickly."""
    now = datetime.now(UTC)
    with sessions.begin() as session:
        for number, order in enumerate(orders):
            defaults = {
                "account": "tiramizoo",
                "courier": "tiramizoo",
                "courier_order_id": f"order {number}",
                "status": "pending",
                "created_at": now,
                "updated_at": now,
            }
            filled = Order(**{**defaults, **order})
            session.add(filled)
            session.flush()
            session.add_all(
                Identifier(account=filled.account, value=name, order_id=filled.id, kind=kind)
                for name, kind in current_names(filled)
            )


def put_many(session: Session, count: int) -> None:
    """So many bare orders of account `a`, named by their numbers; the table is not counted anew."""
    statement = """
        INSERT INTO orders (account, courier, courier_order_id, status, created_at, updated_at)
        SELECT 'a', 'tiramizoo', n, 'pending', now(), now() FROM generate_series(1, :count) AS n
    """
    session.execute(text(statement), {"count": count})


def record_order(
    session: Session, account: str, courier: str, name: str, now: datetime, **given: Any
) -> RegisteredOrder:
    """Register an order in a transaction of the test, without starting to poll it."""
    changes: list[OrderChange | None] = []
    (recorded,) = record_registrations(
        session, [NewOrder(account, courier, name, **given)], now, changes
    )
    record_changes(session, changes, now)
    return recorded
