"""Onfleet's webhooks and tasks, as docs.onfleet.com describes them; the bodies are invented."""

from datetime import UTC, datetime
from typing import Any

import pytest

from receiver.couriers.contract import Heard
from receiver.couriers.onfleet import driver
from receiver.couriers.polling import Access, OrderNames, Page
from receiver.couriers.signatures import sign
from receiver.couriers.snapshot import Eta, MessageContext, Proof, Snapshot
from receiver.errors import Undecodable
from receiver.orders.fold import fold_events
from tests.bodies import payload
from tests.couriers.case import TOKEN, Case

COMPLETED, FAILED = payload("onfleet/task_completed.json"), payload("onfleet/task_failed.json")
CASE = Case(
    words={
        "unassigned": "info_received",
        "assigned": "awaiting_pickup",
        "active": "out_for_delivery",
        "arrived": "out_for_delivery",
        "failed": "delivery_failed",
        "deleted": "cancelled",
        "completed": "delivered",
    },
    bodies={"orders": [COMPLETED]},
    answers=[FAILED],
    essential=frozenset(
        {
            *("data", "data.task", "data.task.id", "data.task.state", "data.task.pickupTask"),
            *("triggerId", "data.task.completionDetails.success"),
            *("id", "state", "pickupTask", "completionDetails", "completionDetails.success"),
        }
    ),
    places=["/tasks/{}", "/tasks/shortId/{}"],
    # base64 of `tkn-5f2c9a77:`: the key is the user, without a password.
    credentials={"Authorization": "Basic dGtuLTVmMmM5YTc3Og=="},
)

assert driver.api is not None
TOPIC, API = driver.topics["orders"], driver.api
ACCESS = Access("https://onfleet.com/api/v2", None, TOKEN)
RECEIVED_AT = datetime(2026, 4, 16, 9, 0, tzinfo=UTC)
TRIGGERED_AT = datetime(2026, 4, 16, 8, 30, tzinfo=UTC)


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(2026, 4, 16, hour, minute, second, tzinfo=UTC)


def decode(body: dict[str, Any], context: MessageContext | None = None) -> Snapshot:
    (snapshot,) = TOPIC.decode(body, context or MessageContext(RECEIVED_AT)).orders
    return snapshot


def triggered(trigger: int, state: int, **task: Any) -> dict[str, Any]:
    """A webhook with the least that it may hold."""
    time = int(TRIGGERED_AT.timestamp() * 1000)
    return {
        "triggerId": trigger,
        "time": time,
        "taskId": "T1",
        "data": {"task": {"id": "T1", "state": state, **task}},
    }


def test_a_completed_task_has_all_that_happened_to_it() -> None:
    snapshot = decode(COMPLETED)
    assert snapshot.courier_order_id == "kQ2vW9sTzH4mJcXb7LpR1dGa"
    assert (snapshot.reference, snapshot.identifiers) == ("41", {"short_id": "7c4e19b2"})
    assert [(event.courier_status, event.occurred_at) for event in snapshot.events] == [
        ("unassigned", at(7, 0)),
        ("active", at(7, 45)),
        ("arrived", at(8, 10)),
        ("completed", at(8, 11, 58)),
    ]
    assert snapshot.events[-1].proofs == {
        Proof("photo", f"{PROOFS}/Ph0t0Upl0ad1dEx4mple0001/800x.png", ""),
        Proof("signature", f"{PROOFS}/S1gnUpl0ad1dEx4mple00001/800x.png", "A. Receiver"),
    }
    assert snapshot.details == {
        "tracking_url": "https://onf.lt/7c4e19b2",
        "promised": {"from": "2026-04-16T07:30:00Z", "to": "2026-04-16T09:00:00Z"},
    }
    # It has arrived: what was expected before says nothing any more.
    assert snapshot.eta is None


PROOFS = "https://d15p8tr8p0vffz.cloudfront.net"


def test_a_failed_task_has_the_drivers_reason() -> None:
    (snapshot,) = API.decode(FAILED, MessageContext(RECEIVED_AT, "poll")).orders
    folded = fold_events(snapshot.events)
    assert (folded.status, snapshot.events[-1].reason) == ("delivery_failed", "UNAVAILABLE")


@pytest.mark.parametrize(
    ("trigger", "state", "word"),
    [
        (6, 0, "unassigned"),
        (6, 1, "assigned"),
        (9, 1, "assigned"),
        (10, 0, "unassigned"),
        (0, 2, "active"),
        (2, 2, "arrived"),
        (3, 3, "completed"),
        (4, 3, "failed"),
        (8, 1, "deleted"),
    ],
)
def test_a_trigger_says_when_the_task_came_into_its_state(
    trigger: int, state: int, word: str
) -> None:
    (event,) = decode(triggered(trigger, state)).events
    assert (event.courier_status, event.occurred_at) == (word, TRIGGERED_AT)
    assert event.flags == frozenset()


@pytest.mark.parametrize("trigger", [1, 7, 12, 13, 99])
def test_another_trigger_says_no_time_of_the_state(trigger: int) -> None:
    (event,) = decode(triggered(trigger, 2)).events
    assert (event.courier_status, event.reported_at) == ("active", None)


def test_a_task_that_is_taken_from_its_driver_is_unassigned_since_then() -> None:
    (event,) = decode(triggered(10, 0, timeCreated=1776322800000)).events
    assert (event.courier_status, event.occurred_at) == ("unassigned", TRIGGERED_AT)


def test_a_webhook_is_as_recent_as_the_newest_time_in_it() -> None:
    assert decode(triggered(7, 2)).recency == TRIGGERED_AT
    task = {name: COMPLETED["data"]["task"][name] for name in ("id", "state", "completionDetails")}
    assert decode({"triggerId": 7, "data": {"task": task}}).recency == at(8, 11, 58)


def test_without_a_reason_of_the_list_the_drivers_notes_are_the_reason() -> None:
    completion = {"success": False, "failureReason": "NONE", "failureNotes": "Nobody opened"}
    (event,) = decode(triggered(4, 3, completionDetails=completion)).events
    assert event.reason == "Nobody opened"


def test_a_poll_says_that_a_task_is_unassigned_again() -> None:
    task = {"id": "T1", "state": 0, "timeCreated": 1776322800000}
    (snapshot,) = API.decode(task, MessageContext(RECEIVED_AT, "poll")).orders
    assigned = decode(triggered(9, 1)).events
    assert fold_events([*assigned, *snapshot.events]).status == "info_received"


def test_the_expected_arrival_is_that_of_a_task_under_way() -> None:
    snapshot = decode(triggered(1, 2, eta=1776329100000, estimatedArrivalTime=1776329400000))
    assert snapshot.eta == Eta(at(8, 50), at(8, 50), "order")


def test_the_shops_number_is_in_the_metadata_that_the_setting_names() -> None:
    metadata = [{"name": "reference", "value": "no"}, {"name": "order", "value": 41}]
    context = MessageContext(RECEIVED_AT, settings={"REFERENCE_FIELD": "order"})
    assert decode(triggered(7, 2, metadata=metadata), context).reference == "41"


def test_what_is_not_about_a_dropoff_is_noise() -> None:
    noise = TOPIC.is_noise
    assert noise is not None
    assert noise(payload("onfleet/worker_duty.json"), Heard())
    assert noise(triggered(3, 3, pickupTask=True), Heard())
    # What nobody knows is kept.
    for body in ({}, COMPLETED, triggered(99, 2), {"triggerId": 3, "taskId": "T1", "data": []}):
        assert not noise(body, Heard())


def test_a_pickup_task_that_is_polled_is_no_order() -> None:
    with pytest.raises(Undecodable, match="pickup task"):
        API.decode({**FAILED, "pickupTask": True}, MessageContext(RECEIVED_AT, "poll"))


def test_a_webhook_is_signed_with_the_key_in_hexadecimal() -> None:
    # printf '{"triggerId":3}' | openssl dgst -sha512 -mac HMAC -macopt hexkey:5f2c9a7710aa44ee
    signature = (
        "4bea6bd296f0a33263684c4fba9acb566a254f6537a76923f2558b917187288c"
        "fc3058e1ed5121d02bc3767fe7936cf6ffb7b1f10dc27d5f8070e1b7499fb3e6"
    )
    signed = sign(driver.signature, "5f2c9a7710aa44ee", b'{"triggerId":3}', RECEIVED_AT)
    assert signed == {"X-Onfleet-Signature": signature}


def test_the_text_of_the_handshake_is_given_back_as_plain_text() -> None:
    answer = TOPIC.handshake
    assert answer is not None
    assert (answer({"check": "<b>x</b>"}).status, answer({"check": "<b>x</b>"}).body) == (
        200,
        b"<b>x</b>",
    )
    assert answer({"check": "x"}).content_type.startswith("text/plain")
    assert {answer({}).status, answer({"check": ["a", "b"]}).status} == {400}


def test_a_task_is_asked_for_by_its_id_and_before_it_is_known_by_its_short_id() -> None:
    def paths(names: OrderNames) -> list[str]:
        return [
            request.url.removeprefix(ACCESS.url) for request in API.order_requests(ACCESS, names)
        ]

    assert paths(OrderNames("T*1", is_courier_id=True)) == ["/tasks/T%2A1"]
    assert paths(OrderNames("7c4e19b2")) == ["/tasks/7c4e19b2", "/tasks/shortId/7c4e19b2"]


def test_the_list_goes_on_after_the_last_id_until_there_is_none() -> None:
    request, read_page = API.list_request, API.read_list_page
    assert request is not None
    assert read_page is not None
    first = f"{ACCESS.url}/tasks/all?from=1776328200000"
    assert request(ACCESS, TRIGGERED_AT, None).url == first
    assert request(ACCESS, TRIGGERED_AT, "a*b~c").url == f"{first}&lastId=a%2Ab~c"
    assert read_page(b'{"tasks":[{"id":"T1"}],"lastId":"T1"}', None) == Page([b'{"id":"T1"}'], "T1")
    assert read_page(b'{"tasks":[]}', "T1") == Page([])
    with pytest.raises(Undecodable):
        read_page(b'{"code":"InvalidContent"}', None)
