"""Conflicts: kept on the order, listed, settled by a later fact or closed by a person."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from receiver.cli.main import main
from receiver.orders.conflicts import is_open, merge_conflicts
from receiver.orders.fold import Conflict
from tests.bodies import after, cottoncast_signature, cottoncast_status, raw, tiramizoo_order
from tests.shop import problem_of

ORDER = "/v1/orders/tiramizoo/u-1"


@pytest.fixture
def tell(client: FlaskClient, drain: Callable[[], int]) -> Callable[..., None]:
    """Let Tiramizoo tell a life of order u-1, by minutes, and fold it."""

    def post(**minutes: int) -> None:
        times = {state: after(minute) for state, minute in minutes.items()}
        body = raw(tiramizoo_order("u-1", times, external_id="41"))
        assert (
            client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=body).status_code == 200
        )
        drain()

    return post


def only(shop: FlaskClient) -> dict[str, Any]:
    (conflict,) = shop.get("/v1/conflicts").get_json()["conflicts"]
    return dict(conflict)


def test_evidence_after_a_cancellation_is_listed_and_wants_attention(
    shop: FlaskClient, tell: Callable[..., None]
) -> None:
    tell(created=0, cancelled=10, picked_up=20)
    conflict = only(shop)
    assert conflict["kind"] == "picked_up_after_cancelled"
    assert conflict["courier_order_id"] == "u-1"
    assert conflict["reference"] == "41"
    assert conflict["status"] == "picked_up"
    order = shop.get(ORDER).get_json()
    assert order["status"] == "picked_up"
    assert order["needs_attention"] is True


def test_a_later_end_settles_it(shop: FlaskClient, tell: Callable[..., None]) -> None:
    tell(created=0, cancelled=10, picked_up=20)
    tell(created=0, cancelled=10, picked_up=20, delivered=90)
    assert shop.get("/v1/conflicts").get_json()["conflicts"] == []
    (conflict,) = shop.get(f"{ORDER}/explain").get_json()["conflicts"]
    assert conflict["settled_at"] == "2026-04-16T08:30:00Z"
    assert shop.get(ORDER).get_json()["needs_attention"] is False


def test_a_person_closes_it_and_later_messages_do_not_open_it_again(
    shop: FlaskClient, tell: Callable[..., None]
) -> None:
    tell(created=0, cancelled=10, picked_up=20)
    version = shop.get(ORDER).get_json()["version"]
    path = f"{ORDER}/conflicts/{only(shop)['id']}/close"
    closed = shop.post(path, json={"by": "Ada", "note": "asked the driver"})
    assert closed.status_code == 200
    assert closed.get_json()["closed_by"] == "Ada"
    order = shop.get(ORDER).get_json()
    assert order["needs_attention"] is False
    assert order["version"] == version + 1
    tell(created=0, cancelled=10, picked_up=20, dispatched=5)
    assert shop.get("/v1/conflicts").get_json()["conflicts"] == []


def test_a_closed_conflict_stays_closed_where_it_is_found_again_or_with_a_better_time() -> None:
    found = Conflict("lost_after_delivered", after(10), "X|2026-04-16T07:10+00:00|")
    (known,) = merge_conflicts([], [found])
    closed = known | {"closed_at": "2026-04-17T07:00:00Z", "closed_by": "Ada", "note": None}
    meanwhile = merge_conflicts([closed], [])
    assert meanwhile == [closed]
    exact = replace(found, occurred_at=after(10.5), event_key="X|2026-04-16T07:10:30+00:00|")
    for again in (found, exact):
        (merged,) = merge_conflicts(meanwhile, [again])
        assert (merged["closed_by"], is_open(merged)) == ("Ada", False)
    later = replace(found, occurred_at=after(60), event_key="X|2026-04-16T08:00:00+00:00|")
    assert [is_open(one) for one in merge_conflicts(meanwhile, [later])] == [True, False]


def test_what_cannot_be_after_delivered_does_not_apply_but_is_a_conflict(
    shop: FlaskClient, client: FlaskClient, drain: Callable[[], int]
) -> None:
    for code, minutes in (("D", 0), ("X", 30)):
        body = raw(cottoncast_status(code, after(minutes)))
        headers = cottoncast_signature(body)
        assert (
            client.post("/webhooks/cottoncast/orders", data=body, headers=headers).status_code
            == 200
        )
    drain()
    assert shop.get("/v1/orders/cottoncast/3AF7").get_json()["status"] == "delivered"
    assert only(shop)["kind"] == "lost_after_delivered"


def test_conflicts_come_in_pages_and_by_account(
    shop: FlaskClient, client: FlaskClient, drain: Callable[[], int]
) -> None:
    for number in range(3):
        times = {"created": after(0), "cancelled": after(1), "picked_up": after(2)}
        body = raw(tiramizoo_order(f"u-{number}", times))
        client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=body)
    drain()
    first = shop.get("/v1/conflicts?limit=2").get_json()
    second = shop.get(f"/v1/conflicts?limit=2&cursor={first['next_cursor']}").get_json()
    found = [*first["conflicts"], *second["conflicts"]]
    assert sorted(conflict["courier_order_id"] for conflict in found) == ["u-0", "u-1", "u-2"]
    assert second["next_cursor"] is None
    assert shop.get("/v1/conflicts?account=cottoncast").get_json()["conflicts"] == []


def test_conflicts_of_an_unknown_account_are_404(shop: FlaskClient) -> None:
    problem = problem_of(shop.get("/v1/conflicts?account=nowhere"), 404)
    assert problem["code"] == "account_not_found"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{ORDER}/conflicts/000000000000/close", 404),
        ("/v1/orders/tiramizoo/nobody/conflicts/000000000000/close", 404),
    ],
)
def test_closing_what_is_not_there_says_so(
    shop: FlaskClient, tell: Callable[..., None], path: str, status: int
) -> None:
    tell(created=0)
    answer = shop.post(path, json={"by": "Ada"})
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"


def test_closing_wants_a_name(shop: FlaskClient, tell: Callable[..., None]) -> None:
    tell(created=0, cancelled=10, picked_up=20)
    answer = shop.post(f"{ORDER}/conflicts/{only(shop)['id']}/close", json={})
    assert answer.status_code == 422
    assert "by" in answer.get_json()["errors"]["json"]


def test_the_command_line_lists_and_closes(
    shop: FlaskClient, tell: Callable[..., None], environ: dict[str, str]
) -> None:
    tell(created=0, cancelled=10, picked_up=20)
    run = CliRunner(env=environ)
    listed = run.invoke(main, ["conflicts"], catch_exceptions=False)
    conflict_id = only(shop)["id"]
    assert f"{conflict_id}  2026-04-16T07:20:00Z  picked_up_after_cancelled" in listed.output
    arguments = ["conflicts", "close", "tiramizoo", "u-1", conflict_id, "--by", "Ada"]
    assert run.invoke(main, arguments, catch_exceptions=False).exit_code == 0
    assert run.invoke(main, ["conflicts"]).output.startswith("No conflicts")
    missing = run.invoke(main, ["conflicts", "close", "tiramizoo", "u-9", "x", "--by", "Ada"])
    assert missing.exit_code == 1
