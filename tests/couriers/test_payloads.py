"""What each body of tests/payloads comes to: bodies from outside, not of our own making."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from receiver.couriers import DRIVERS
from receiver.couriers.snapshot import MessageContext
from receiver.inbox.json_body import parse_body
from receiver.orders.fold import fold_order

PAYLOADS = Path(__file__).parent.parent / "payloads"
RECEIVED_AT = datetime(2031, 1, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Meaning:
    """What a body means. at: the time of the status, None where it is that of arrival."""

    status: str
    at: str | None = None
    reason: str | None = None
    kind: str = "webhook"
    left_out: tuple[str, ...] = ()


ORDERS = {
    "tiramizoo/order_web_hook.json": Meaning("info_received", "2012-04-16T07:00:00Z"),
    "tiramizoo/show_order.json": Meaning("info_received", "2012-04-16T03:00:00Z", kind="poll"),
    "tiramizoo/show_order_delivery_failed.json": Meaning(
        "delivery_failed", "2012-04-16T07:00:00Z", "abort_delivery", "poll"
    ),
    "tiramizoo/show_order_v1.json": Meaning("info_received", None, kind="poll"),
    "tiramizoo/sparse_created.json": Meaning("info_received", "2017-05-09T16:00:00Z"),
    "tiramizoo/events_without_time.json": Meaning(
        "pickup_failed", "2017-05-09T17:29:25Z", "sender_was_not_at_home"
    ),
    "tiramizoo/pick_up_without_current_state.json": Meaning("picked_up", "2017-05-09T17:29:25Z"),
    "tiramizoo/return_process.json": Meaning(
        "delivery_failed", "2015-05-27T12:25:37Z", "package_was_not_ordered"
    ),
    "tiramizoo/processing_beside_times.json": Meaning("picked_up", "2013-12-18T11:02:11Z"),
    "tiramizoo/packages_without_identifier.json": Meaning(
        "delivered", "2013-03-12T12:02:10Z", left_out=("packages.0.identifier",)
    ),
    "tiramizoo/state_of_2012.json": Meaning("delivery_failed"),
    "tiramizoo/half_a_surrogate_pair.json": Meaning("delivered", "2026-04-16T09:00:00Z"),
    "cottoncast/orderstatus.json": Meaning("picked_up", "2021-05-26T05:34:47Z"),
    "cottoncast/show_order_fulfilled.json": Meaning("info_received", kind="poll"),
    "cottoncast/shipments_as_object.json": Meaning("delivered", "2021-05-26T05:34:47Z"),
    "cottoncast/timestamp_zero.json": Meaning("exception"),
    "cottoncast/timestamp_milliseconds.json": Meaning("delivered", "2021-05-26T05:34:47Z"),
    "shipmentapi/long_number.json": Meaning("delivered", "2026-04-16T08:00:00Z"),
    "shipmentapi/zero_time.json": Meaning("in_transit"),
    "shipmentapi/compact_date.json": Meaning(
        "info_received", "2026-04-15T21:00:00Z", left_out=("pickup_at",)
    ),
}
# Their contents are checked in the courier's own test file.
OTHERS = {"tiramizoo/tour_plan_web_hook.json", "tiramizoo/list_orders.json"}


def test_each_body_is_here_and_in_the_readme_with_its_origin() -> None:
    couriers = {path.partition("/")[0] for path in ORDERS}
    files = {
        path.relative_to(PAYLOADS).as_posix()
        for courier in couriers
        for path in (PAYLOADS / courier).glob("*.json")
    }
    assert files == ORDERS.keys() | OTHERS
    readme = (PAYLOADS / "README.md").read_text()
    assert [name for name in sorted(files) if name.partition("/")[2] not in readme] == []


@pytest.mark.parametrize(("path", "meaning"), ORDERS.items(), ids=ORDERS)
def test_body_from_outside_means_what_its_courier_meant(path: str, meaning: Meaning) -> None:
    driver = DRIVERS[path.partition("/")[0]]
    assert driver.api is not None
    decode = driver.api.decode if meaning.kind == "poll" else driver.topics["orders"].decode
    body = parse_body((PAYLOADS / path).read_bytes())
    decoded = decode(body, MessageContext(RECEIVED_AT, meaning.kind))
    folded, _ = fold_order(decoded.orders[0].events)
    at = datetime.fromisoformat(meaning.at) if meaning.at else RECEIVED_AT
    assert (folded.status, folded.status_at, folded.reason) == (meaning.status, at, meaning.reason)
    assert tuple(item.field for item in decoded.left_out) == meaning.left_out


def test_long_numbers_are_ids_and_tracking_numbers_with_all_their_digits() -> None:
    body = parse_body((PAYLOADS / "shipmentapi/long_number.json").read_bytes())
    (order,) = (
        DRIVERS["shipmentapi"].topics["orders"].decode(body, MessageContext(RECEIVED_AT)).orders
    )
    assert order.courier_order_id == "400000000000000000001"
    assert [*order.parcels] == ["9405510200793891380462"]
