"""`ordertrail doctor` reads the last bodies of accounts with a field map again."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from receiver.settings import Settings
from tests.bodies import raw
from tests.conftest import ENVIRON
from workers.cli.doctor.field_maps import check_field_maps
from workers.cli.doctor.findings import OK, WARNING

WEBHOOK = "/webhooks/fields/orders/fields-secret"


def found(environ: dict[str, str], has_database: bool = True, **changed: Any) -> list[Any]:
    field_map = {**json.loads(ENVIRON["COURIER_FIELDS_FIELDS"]), **changed}
    given = {**environ, "COURIER_FIELDS_FIELDS": json.dumps(field_map)}
    findings = check_field_maps(Settings.from_env(given), has_database)
    return [
        (finding.level, finding.seen)
        for finding in findings
        if finding.check == "COURIER_FIELDS_FIELDS"
    ]


@pytest.fixture
def stored(client: FlaskClient, drain: Callable[[], int]) -> None:
    order = {"id": "F-1", "state": "delivered", "at": "2026-04-16T09:00:00Z", "shop_reference": 5}
    for body in (order, {**order, "state": "on its way"}, {"shipments": [{**order, "id": 7}]}):
        assert client.post(WEBHOOK, data=raw(body)).status_code == 200
    drain()
    # What is no JSON says nothing about a map.
    assert client.post(WEBHOOK, data=b"{").status_code == 400


@pytest.mark.usefixtures("stored")
def test_what_unreadable_orders_lack_is_no_fault_of_an_expression(
    environ: dict[str, str], client: FlaskClient, drain: Callable[[], int]
) -> None:
    for number in range(3):
        assert client.post(WEBHOOK, data=raw({"id": f"U-{number}"})).status_code == 200
    drain()
    ((level, seen),) = found(environ)
    assert (level, "3 orders cannot be read" in seen) == (WARNING, True)


@pytest.mark.usefixtures("stored")
def test_a_map_that_fits_the_last_bodies_is_ok(environ: dict[str, str]) -> None:
    assert found(environ) == [(OK, "the last 3 bodies: 3 orders read, nothing left out")]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        ({"occurred_at": "seldom"}, "nothing is found for occurred_at"),
        ({"courier_status": "status"}, "3 orders cannot be read: no orders.0.courier_status at"),
        ({"occurred_at": "id"}, "left out: occurred_at"),
        ({"reason": "why"}, "nothing is found for reason"),
        ({"statuses": {"delivered": "delivered"}}, "no status is mapped to 'on its way'"),
    ],
)
def test_what_a_map_misses_is_said(
    environ: dict[str, str], changed: dict[str, Any], seen: str
) -> None:
    ((level, text),) = found(environ, **changed)
    assert level == WARNING
    assert text.startswith(f"in the last 3 bodies, {seen}")


def test_times_without_a_zone_are_told_unless_the_account_says_which(
    environ: dict[str, str], client: FlaskClient, drain: Callable[[], int]
) -> None:
    order = {"id": "F-1", "state": "delivered", "at": "2026-04-16T09:00:00", "shop_reference": 5}
    assert client.post(WEBHOOK, data=raw(order)).status_code == 200
    drain()
    assert found(environ) == [(WARNING, "in the last body, 1 time without a zone, read as UTC")]
    ((level, _),) = found({**environ, "COURIER_FIELDS_ZONE": "UTC"})
    assert level == OK


def test_a_map_without_statuses_is_a_warning_without_a_database(environ: dict[str, str]) -> None:
    ((level, text),) = found(environ, has_database=False, statuses={})
    assert (level, text.startswith("no `statuses`")) == (WARNING, True)
    assert found(environ, has_database=False) == []
