"""Cottoncast's orderstatus hook, read as its document 002 describes it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from receiver import statuses
from receiver.couriers.cottoncast import driver
from receiver.couriers.polling import Access, OrderNames
from receiver.couriers.snapshot import Event, MessageContext, Snapshot
from receiver.errors import Undecodable
from receiver.orders.fold import KNOWN_TO_THE_SECOND, REPEATED_OBSERVATION, fold_events, fold_order
from tests.bodies import after, cottoncast_shipment, cottoncast_status, payload
from tests.couriers.case import Case

# What test_contract.py checks; the words are those of CONTRACT.md, section 4.
CASE = Case(
    words={
        "N": "info_received",
        "L": "info_received",
        "R": "awaiting_pickup",
        "C": "picked_up",
        "E": "in_transit",
        "I": "exception",
        "X": "lost",
        "D": "delivered",
    },
    bodies={
        "orders": [
            payload("cottoncast/orderstatus.json"),
            cottoncast_status(
                "D", shipments=[cottoncast_shipment(code="D", timestamp="1776322800")]
            ),
        ],
        "product": [{"name": "Shirt", "sku": "34RX", "status": {"code": "P"}, "variants": []}],
    },
    answers=[
        {
            "status": "ok",
            "response": {
                "order": {
                    "id": "3AF7",
                    "store": {"name": "shop", "order_id": "41"},
                    "status": {"code": "D", "label": "Delivered", "since": "2026-04-11 13:19"},
                    "shipments": [
                        {
                            "status": {"code": "D"},
                            "tracking": {"code": "3S1", "url": "https://x.example"},
                        },
                        {"status": {"code": "E"}, "tracking": {"code": None, "url": None}},
                        {"status": {"code": "I"}, "tracking": None},
                    ],
                }
            },
        }
    ],
    essential=frozenset(
        {
            *("orderID", "status", "status.code", "response", "response.order"),
            *("response.order.id", "response.order.status"),
            *("response.order.status.code", "response.order.status.label"),
        }
    ),
    places=["/order/{}"],
    # base64 of `Shop:tkn-5f2c9a77`.
    credentials={"Authorization": "Basic U2hvcDp0a24tNWYyYzlhNzc="},
)

HEARD_AT = after(24 * 60)

STATUS_OF = {
    "N": statuses.INFO_RECEIVED,
    "L": statuses.INFO_RECEIVED,
    "R": statuses.AWAITING_PICKUP,
    "C": statuses.PICKED_UP,
    "E": statuses.IN_TRANSIT,
    "I": statuses.EXCEPTION,
    "X": statuses.LOST,
    "D": statuses.DELIVERED,
}


def decode(body: Mapping[str, Any], received_at: datetime = HEARD_AT) -> Snapshot:
    (snapshot,) = driver.topics["orders"].decode(dict(body), MessageContext(received_at)).orders
    return snapshot


def of_parcel(snapshot: Snapshot, parcel: str) -> list[Event]:
    return [event for event in snapshot.events if event.parcel == parcel]


def test_orderstatus_of_the_document() -> None:
    snapshot = decode(payload("cottoncast/orderstatus.json"))
    collected_at = datetime(2021, 5, 26, 5, 34, 47, tzinfo=UTC)
    (event,) = snapshot.events
    assert (snapshot.courier_order_id, snapshot.reference) == ("3AF7", "41")
    assert snapshot.recency == collected_at
    assert (event.status, event.courier_status) == ("picked_up", "C")
    assert event.occurred_at == event.reported_at == collected_at
    assert (event.reason, event.parcel, event.flags) == (None, "", frozenset())
    assert snapshot.parcels == {
        "3SCEBU123456789": {
            "tracking_url": "https://jouw.postnl.nl/track-and-trace/3SCEBU123456789-NL-1000AB",
            "courier_name": "Postnl",
            "is_new": True,
            "listed": True,
        }
    }


# Codes


@pytest.mark.parametrize(("code", "status"), STATUS_OF.items())
def test_each_code_is_one_event(code: str, status: str) -> None:
    (event,) = decode(cottoncast_status(code, after(5))).events
    assert (event.courier_status, event.status, event.occurred_at) == (code, status, after(5))
    assert (event.reported_at, event.flags) == (after(5), frozenset())


def test_collected_is_never_delivered() -> None:
    """C is called Complete in one place of the document and Collected in another."""
    body = cottoncast_status("C", shipments=[cottoncast_shipment(code="C")])
    snapshot = decode(body)
    assert {event.status for event in snapshot.events} == {statuses.PICKED_UP}
    assert fold_events(of_parcel(snapshot, "")).status == statuses.PICKED_UP


@pytest.mark.parametrize("code", ["F", "d", "Delivered", "?"])
def test_code_that_is_not_in_the_document_is_unknown(code: str) -> None:
    (event,) = decode(cottoncast_status(code)).events
    assert (event.status, event.courier_status) == (statuses.UNKNOWN, code)


def test_codes_of_one_status_and_one_second_follow_the_documents_order() -> None:
    new, labelled = (decode(cottoncast_status(code, after(5))).events[0] for code in "NL")
    assert fold_events([labelled, new]).courier_status == "L"


# Timestamps


@pytest.mark.parametrize("stamp", [1622007287, "1622007287", 1622007287.0, "1622007287.0"])
def test_timestamp_is_unix_seconds_as_a_number_or_in_a_string(stamp: object) -> None:
    body = cottoncast_status("D")
    body["status"]["timestamp"] = stamp
    (event,) = decode(body).events
    assert event.occurred_at == datetime(2021, 5, 26, 5, 34, 47, tzinfo=UTC)
    assert event.flags == frozenset()


@pytest.mark.parametrize("nothing", [None, "", 0, "0", False, [], "0001-01-01T00:00:00Z"])
def test_status_without_a_timestamp_is_an_observation(nothing: Any) -> None:
    snapshot = decode(cottoncast_status("D", nothing))
    (event,) = snapshot.events
    assert (event.occurred_at, event.reported_at, event.flags) == (
        HEARD_AT,
        None,
        frozenset({"time_inferred"}),
    )
    assert snapshot.recency == HEARD_AT


def test_status_where_the_timestamp_is_absent_is_an_observation() -> None:
    body = cottoncast_status("D")
    del body["status"]["timestamp"]
    (event,) = decode(body).events
    assert (event.occurred_at, event.flags) == (HEARD_AT, frozenset({"time_inferred"}))


@pytest.mark.parametrize(
    ("stamp", "hour", "flags"),
    [
        ("2030-05-11 13:19:00", 11, {"zone_assumed"}),
        ("2030-01-11T13:19", 12, {"zone_assumed", "minute_only"}),
        ("2030-05-11T13:19:00Z", 13, set()),
    ],
)
def test_time_written_out_without_a_zone_is_dutch_local_time(
    stamp: str, hour: int, flags: set[str]
) -> None:
    heard_at = datetime(2031, 1, 1, tzinfo=UTC)
    (event,) = decode(cottoncast_status("D", stamp), heard_at).events
    assert (event.occurred_at.hour, event.occurred_at.minute) == (hour, 19)
    assert event.flags == flags


def test_timestamp_ahead_of_ours_counts_at_arrival() -> None:
    ahead = HEARD_AT + timedelta(days=1)
    snapshot = decode(cottoncast_status("D", ahead))
    (event,) = snapshot.events
    assert (event.occurred_at, event.reported_at, event.flags) == (
        HEARD_AT,
        ahead,
        frozenset({"clock_skew"}),
    )
    assert snapshot.recency == HEARD_AT


@pytest.mark.parametrize(
    "stamp", [True, [1622007287], {"at": 1}, "soon", "nan", "inf", 1e300, "9" * 400]
)
def test_timestamp_that_is_no_time_is_left_out(stamp: Any) -> None:
    decoded = driver.topics["orders"].decode(
        cottoncast_status("D", stamp), MessageContext(HEARD_AT)
    )
    (event,) = decoded.orders[0].events
    assert (event.occurred_at, event.flags) == (HEARD_AT, frozenset({"time_inferred"}))
    assert [item.field for item in decoded.left_out] == ["status.timestamp"]


def test_timestamp_may_be_milliseconds() -> None:
    (event,) = decode(cottoncast_status("D", 1622007287000)).events
    assert event.occurred_at == datetime(2021, 5, 26, 5, 34, 47, tzinfo=UTC)


# Shipments


def test_shipments_without_a_code_are_parcels_without_events() -> None:
    shipments = [cottoncast_shipment("P1"), cottoncast_shipment("P2")]
    snapshot = decode(cottoncast_status("E", shipments=shipments))
    assert len(snapshot.events) == 1
    assert snapshot.parcels == {
        name: {
            "tracking_url": f"https://postnl.example/{name}",
            "courier_name": "Postnl",
            "is_new": True,
            "listed": True,
        }
        for name in ("P1", "P2")
    }


def test_shipment_with_a_code_is_an_event_of_its_parcel_at_the_orders_time() -> None:
    shipments = [cottoncast_shipment("P1", "D"), cottoncast_shipment("P2", "I")]
    snapshot = decode(cottoncast_status("E", after(5), shipments=shipments))
    (delivered,) = of_parcel(snapshot, "P1")
    (problem,) = of_parcel(snapshot, "P2")
    assert (delivered.status, delivered.occurred_at) == ("delivered", after(5))
    assert (problem.status, problem.occurred_at) == ("exception", after(5))
    (of_order,) = of_parcel(snapshot, "")
    assert of_order.status == "in_transit"


def test_shipment_with_a_time_of_its_own_counts_at_that() -> None:
    shipment = cottoncast_shipment("P1", "D", timestamp=str(int(after(3).timestamp())))
    snapshot = decode(cottoncast_status("E", after(5), shipments=[shipment]))
    (event,) = of_parcel(snapshot, "P1")
    assert event.occurred_at == after(3)


def test_shipment_without_a_tracking_code_is_no_parcel() -> None:
    snapshot = decode(cottoncast_status("E", shipments=[cottoncast_shipment(None, "D")]))
    assert snapshot.parcels == {}
    assert [event.parcel for event in snapshot.events] == [""]


def test_parcels_courier_is_its_name_or_else_its_short_name() -> None:
    named = cottoncast_shipment("P1", carrier="postnl", carrierName=None)
    nobody = cottoncast_shipment("P2", carrier=None, carrierName=None)
    parcels = decode(cottoncast_status("E", shipments=[named, nobody])).parcels
    assert parcels["P1"]["courier_name"] == "postnl"
    assert parcels["P2"]["courier_name"] is None


@pytest.mark.parametrize(
    ("given_value", "is_new"), [(True, True), (False, False), ("?", None), (None, None)]
)
def test_whether_a_shipment_is_new_is_noted_where_it_can_be_told(
    given_value: object, is_new: bool | None
) -> None:
    body = cottoncast_status("E", shipments=[cottoncast_shipment("P1", new=given_value)])
    assert decode(body).parcels["P1"]["is_new"] is is_new


@pytest.mark.parametrize("shipments", [None, []])
def test_order_without_shipments_has_no_parcels(shipments: list[Any] | None) -> None:
    body = cottoncast_status("E") | {"shipments": shipments}
    assert decode(body).parcels == {}


def test_unknown_code_of_a_shipment_is_unknown_for_its_parcel_only() -> None:
    shipments = [cottoncast_shipment("P1", "Q")]
    snapshot = decode(cottoncast_status("E", shipments=shipments))
    assert of_parcel(snapshot, "P1")[0].status == statuses.UNKNOWN
    assert of_parcel(snapshot, "")[0].status == statuses.IN_TRANSIT


# Ids


@pytest.mark.parametrize(
    ("given", "given_value"), [("3AF7", "3AF7"), (41, "41"), ("041", "041"), (0, "0")]
)
def test_ids_are_text_or_numbers_that_stand_for_it(given: object, given_value: str) -> None:
    snapshot = decode(cottoncast_status(order_id=given, ref=given))
    assert (snapshot.courier_order_id, snapshot.reference) == (given_value, given_value)


def test_ref_may_be_missing() -> None:
    body = cottoncast_status()
    del body["ref"]
    assert decode(body).reference is None
    assert decode(cottoncast_status(ref=None)).reference is None
    assert decode(cottoncast_status(ref="")).reference is None


@pytest.mark.parametrize("shipment", [{"trackingcode": ""}, {"code": ""}])
def test_an_empty_tracking_code_or_code_of_a_shipment_is_none(shipment: dict[str, Any]) -> None:
    missing = dict.fromkeys(shipment)
    given_value, missing_value = (
        cottoncast_shipment("P1", "D", timestamp=5) | it for it in (shipment, missing)
    )
    assert decode(cottoncast_status(shipments=[given_value])) == decode(
        cottoncast_status(shipments=[missing_value])
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"orderID": None}, "orderID"),
        ({"orderID": ""}, "orderID"),
        ({"orderID": True}, "orderID"),
        ({"orderID": ["3AF7"]}, "orderID"),
        ({"orderID": "x" * 256}, "orderID"),
        ({"status": None}, "status"),
        ({"status": "D"}, "status"),
        ({"status": {}}, "status"),
        ({"status": {"code": ""}}, "code"),
        ({"status": {"code": None}}, "code"),
    ],
)
def test_hook_that_cannot_be_read_says_which_field(change: dict[str, Any], named: str) -> None:
    with pytest.raises(Undecodable, match=named):
        decode(cottoncast_status() | change)


@pytest.mark.parametrize(
    ("change", "left_out"),
    [
        ({"ref": "x" * 256}, "ref"),
        ({"ref": {"no": "41"}}, "ref"),
        ({"shipments": ["P1"]}, "shipments.0"),
        ({"shipments": 5}, "shipments"),
        ({"shipments": [cottoncast_shipment("x" * 256)]}, "shipments.0.trackingcode"),
        ({"shipments": {"1": cottoncast_shipment(timestamp="x")}}, "shipments.0.timestamp"),
    ],
)
def test_what_cannot_be_read_beside_the_state_is_left_out(
    change: dict[str, Any], left_out: str
) -> None:
    decoded = driver.topics["orders"].decode(
        cottoncast_status("D") | change, MessageContext(HEARD_AT)
    )
    assert decoded.orders[0].events[0].status == statuses.DELIVERED
    assert [item.field for item in decoded.left_out] == [left_out]


def test_php_writes_lists_as_objects_and_nothing_as_false() -> None:
    listed = {"1": cottoncast_shipment(carrierName=False) | {"trackingcode": 1405012345678}}
    snapshot = decode(cottoncast_status("D") | {"shipments": listed})
    assert snapshot.parcels["1405012345678"]["courier_name"] == "postnl"
    nothings: list[Any] = [{}, [], False, "", None]
    for nothing in nothings:
        assert decode(cottoncast_status("D") | {"shipments": nothing}).parcels == {}


@pytest.mark.parametrize("missing", ["orderID", "status"])
def test_hook_without_id_or_status_cannot_be_read(missing: str) -> None:
    body = cottoncast_status()
    del body[missing]
    with pytest.raises(Undecodable, match=missing):
        decode(body)


# The 404 of the document


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"orderID": "3AF7", "ref": "41"}, ("3AF7", "41")),
        ({"orderID": 3, "ref": 41}, ("3", "41")),
        ({"orderID": "3AF7", "ref": None}, ("3AF7", "3AF7")),
        ({"orderID": "3AF7", "ref": ""}, ("3AF7", "3AF7")),
        ({"orderID": "3AF7", "ref": []}, ("3AF7", "3AF7")),
        # What the schema refuses is quarantined, and answered 200.
        ({"orderID": "3AF7", "status": {}}, None),
        ({"orderID": None}, None),
    ],
)
def test_order_is_named_in_the_404_by_the_shops_own_number(
    body: dict[str, Any], named: tuple[str, str] | None
) -> None:
    assert driver.identify_order is not None
    assert driver.identify_order(cottoncast_status() | body) == named


# Asking about an order

ASKED_AT = datetime(2030, 5, 11, 20, 0, tzinfo=UTC)
SINCE = "2030-05-11 13:19"
SINCE_AT = datetime(2030, 5, 11, 11, 19, tzinfo=UTC)
TO_THE_MINUTE = frozenset({"zone_assumed", "minute_only"})
OBSERVED = frozenset({"time_inferred", "of_shipment"})
# A word about the order itself may take it back to a lower rank, one about a shipment never.
ANSWERED = frozenset({"time_inferred", "answered"})


def shipment(code: str | None, tracking_code: str | None = "3S1", **state: Any) -> dict[str, Any]:
    return {
        "status": {"code": code, "label": "?", **state},
        "tracking": {"code": tracking_code, "url": f"https://postnl.example/{tracking_code}"},
    }


def show_order(
    *shipments: Mapping[str, Any],
    code: str | None = "F",
    label: str | None = "Fulfilled",
    since: str | None = SINCE,
    **order: Any,
) -> dict[str, Any]:
    return {
        "status": "ok",
        "response": {
            "order": {
                "id": "3AF7",
                "store": {"name": "shop", "order_id": "41"},
                "status": {"code": code, "label": label, "since": since},
                "addresses": {"shipping": {"name": "Bob Obbay"}},
                "line_items": [{"sku": "T-1"}],
                "shipments": [dict(one) for one in shipments],
                **order,
            }
        },
    }


def shown(body: dict[str, Any], received_at: datetime = ASKED_AT) -> Snapshot:
    assert driver.api is not None
    (snapshot,) = driver.api.decode(body, MessageContext(received_at, "poll")).orders
    return snapshot


def told_by(snapshot: Snapshot) -> list[tuple[str, str, datetime | None, frozenset[str]]]:
    return [
        (event.courier_status, event.parcel, event.reported_at, event.flags)
        for event in snapshot.events
    ]


def test_an_order_is_shown_by_its_id_to_whom_names_the_store() -> None:
    assert driver.api is not None
    access = Access("https://store.example/api", "Shop", "geheim-ü")
    (request,) = driver.api.order_requests(access, OrderNames("3A/F7"))
    assert request.url == "https://store.example/api/order/3A%2FF7"
    # base64 of `Shop:geheim-ü`.
    assert driver.api.headers(access) == {"Authorization": "Basic U2hvcDpnZWhlaW0tw7w="}


def test_shown_order_names_itself_and_its_parcels() -> None:
    snapshot = shown(show_order(shipment("E"), shipment("D", "3S2")))
    assert (snapshot.courier_order_id, snapshot.reference) == ("3AF7", "41")
    assert snapshot.recency == ASKED_AT
    assert snapshot.parcels == {
        "3S1": {"tracking_url": "https://postnl.example/3S1", "listed": True},
        "3S2": {"tracking_url": "https://postnl.example/3S2", "listed": True},
    }


def test_what_is_empty_in_an_answer_is_none() -> None:
    shipments = [shipment("D"), shipment("", ""), shipment(None, "")]
    snapshot = shown(show_order(*shipments, code="", store={"order_id": ""}))
    missing = [shipment("D"), shipment(None, None), shipment(None, None)]
    assert snapshot == shown(show_order(*missing, code=None, store={"order_id": None}))
    assert (snapshot.reference, set(snapshot.parcels)) == (None, {"3S1"})


@pytest.mark.parametrize(("code", "status"), STATUS_OF.items())
def test_each_code_of_the_only_shipment_is_an_event_of_the_order(code: str, status: str) -> None:
    (event,) = shown(show_order(shipment(code))).events
    assert (event.courier_status, event.status, event.parcel) == (code, status, "")
    assert (event.occurred_at, event.reported_at, event.flags) == (ASKED_AT, None, OBSERVED)


def test_code_of_a_shipment_that_is_not_in_the_document_is_unknown() -> None:
    (event,) = shown(show_order(shipment("F"))).events
    assert (event.courier_status, event.status) == ("F", statuses.UNKNOWN)


LABELLED = [
    ("N", "New"),
    ("L", "Label created"),
    ("R", "Ready"),
    ("C", "Collected"),
    ("E", "En route"),
    ("I", "Problem"),
    ("X", "Lost"),
    ("D", "Delivered"),
]


@pytest.mark.parametrize("spell", [str, str.upper, str.lower, " {} ".format])
@pytest.mark.parametrize(("code", "label"), LABELLED)
def test_the_orders_code_counts_where_its_label_is_that_of_the_shipments(
    code: str, label: str, spell: Any
) -> None:
    (event,) = shown(show_order(code=code, label=spell(label))).events
    assert (event.courier_status, event.status, event.parcel) == (code, STATUS_OF[code], "")
    assert (event.reported_at, event.shown_at, event.flags) == (SINCE_AT, SINCE_AT, TO_THE_MINUTE)
    assert event.occurred_at == SINCE_AT + timedelta(seconds=59, microseconds=999_999)


def test_a_minute_does_not_end_after_we_asked() -> None:
    asked_at = SINCE_AT + timedelta(seconds=20)
    (event,) = shown(show_order(code="D", label="Delivered"), asked_at).events
    assert (event.occurred_at, event.shown_at) == (asked_at, SINCE_AT)


@pytest.mark.parametrize(
    ("code", "label"),
    [
        ("F", "Fulfilled"),
        ("F", "Delivered"),
        ("C", "Complete"),
        ("C", "Completed"),
        ("C", "Delivered"),
        ("D", "Draft"),
        ("d", "Delivered"),
        ("D", None),
        ("D", ""),
        (None, "Delivered"),
        (None, None),
    ],
)
def test_any_other_code_of_the_order_is_no_event_and_not_unknown(
    code: str | None, label: str | None
) -> None:
    assert shown(show_order(code=code, label=label)).events == ()
    given_value = told_by(shown(show_order(shipment("D"), code=code, label=label)))
    assert given_value == [("D", "", None, OBSERVED)]


def test_of_several_shipments_each_tells_of_its_parcel_and_the_least_far_of_the_order() -> None:
    for first, second in (("E", "D"), ("D", "E")):
        snapshot = shown(show_order(shipment(first), shipment(second, "3S2")))
        assert told_by(snapshot) == [
            ("E", "", None, OBSERVED),
            (first, "3S1", None, OBSERVED),
            (second, "3S2", None, OBSERVED),
        ]
        folded, of_parcels = fold_order(snapshot.events)
        assert folded.status == statuses.IN_TRANSIT
        assert sorted(of_parcels.values()) == [statuses.DELIVERED, statuses.IN_TRANSIT]
    done = fold_order(shown(show_order(shipment("D"), shipment("D", "3S2"))).events)[0]
    assert done.status == statuses.DELIVERED


def test_a_look_that_sees_what_a_hook_told_is_no_news() -> None:
    hook = decode(cottoncast_status("E", ASKED_AT - timedelta(hours=2)), ASKED_AT)
    look = shown(show_order(shipment("E")))
    for events in ([*hook.events, *look.events], [*look.events, *hook.events]):
        folded, _ = fold_order(events)
        assert (folded.status, folded.status_at) == (
            statuses.IN_TRANSIT,
            ASKED_AT - timedelta(hours=2),
        )
        assert folded.verdicts[events.index(look.events[0])].why_not == REPEATED_OBSERVATION


def test_what_a_hook_tells_after_a_look_counts() -> None:
    look = shown(show_order(shipment("E")))
    hook = decode(
        cottoncast_status("D", ASKED_AT + timedelta(hours=1)), ASKED_AT + timedelta(hours=1)
    )
    folded, _ = fold_order([*look.events, *hook.events])
    assert folded.status == statuses.DELIVERED


def test_a_shipment_in_the_orders_own_state_has_its_time() -> None:
    snapshot = shown(show_order(shipment("E"), shipment("C", "3S2"), code="E", label="En route"))
    assert told_by(snapshot) == [
        ("E", "", SINCE_AT, TO_THE_MINUTE),
        ("E", "3S1", SINCE_AT, TO_THE_MINUTE),
        ("C", "3S2", None, OBSERVED),
    ]


def test_a_shipment_has_no_time_of_an_order_whose_letter_means_something_else() -> None:
    given_value = told_by(shown(show_order(shipment("C"), code="C", label="Complete")))
    assert given_value == [("C", "", None, OBSERVED)]


def test_collected_is_never_delivered_in_what_is_shown_either() -> None:
    body = show_order(shipment("C"), shipment("C", None), code="C", label="Complete")
    assert {event.status for event in shown(body).events} == {statuses.PICKED_UP}


@pytest.mark.parametrize("since", [None, ""])
def test_the_orders_state_without_a_time_is_an_observation(since: str | None) -> None:
    body = show_order(shipment("D"), code="D", label="Delivered", since=since)
    assert told_by(shown(body)) == [("D", "", None, ANSWERED)]


@pytest.mark.parametrize(
    ("since", "at", "flags"),
    [
        ("2030-01-11 13:19", "2030-01-11T12:19:00", TO_THE_MINUTE),
        ("2030-05-11 13:19:42", "2030-05-11T11:19:42", {"zone_assumed"}),
        ("2030-05-11 13:19:00", "2030-05-11T11:19:00", {"zone_assumed"}),
        ("2030-05-11T13:19+05:00", "2030-05-11T08:19:00", {"minute_only"}),
        ("2030-05-11T13:19:42+05:00", "2030-05-11T08:19:42", set()),
        # The clocks go back at three: this hour is there twice.
        ("2029-10-28 02:30", "2029-10-28T00:30:00", TO_THE_MINUTE),
        # They go forward at two: this hour is not there.
        ("2030-03-31 02:30", "2030-03-31T01:30:00", TO_THE_MINUTE),
    ],
)
def test_since_is_dutch_local_time_to_the_minute(since: str, at: str, flags: set[str]) -> None:
    (event,) = shown(show_order(code="E", label="En route", since=since)).events
    assert event.reported_at == datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert event.flags == flags


def test_a_shipment_without_a_tracking_code_tells_of_the_whole_order() -> None:
    snapshot = shown(show_order(shipment("E", None)))
    assert told_by(snapshot) == [("E", "", None, OBSERVED)]
    assert snapshot.parcels == {}


def test_shipments_without_tracking_codes_are_as_far_as_the_one_that_is_least_far() -> None:
    for codes in (["D", "E", "D"], ["E", "D", "D"]):
        body = show_order(*(shipment(code, None) for code in codes))
        assert fold_order(shown(body).events)[0].status == statuses.IN_TRANSIT
    body = show_order(shipment("D", None), shipment("?", None))
    assert fold_order(shown(body).events)[0].status == statuses.UNKNOWN


def test_what_is_told_of_the_whole_twice_is_one_event() -> None:
    body = show_order(shipment("D", None), code="D", label="Delivered")
    assert told_by(shown(body)) == [("D", "", SINCE_AT, TO_THE_MINUTE)]


@pytest.mark.parametrize(
    "order",
    [
        {"shipments": None},
        {"shipments": []},
        {"shipments": [{}]},
        {"shipments": [{"status": None, "tracking": None}]},
        {"shipments": [{"status": {"code": None}, "tracking": {"code": None}}]},
        {"status": None},
        {"status": {}},
    ],
)
def test_an_order_of_which_nothing_is_told_is_known_all_the_same(order: dict[str, Any]) -> None:
    snapshot = shown(show_order(**order))
    assert (snapshot.courier_order_id, snapshot.events) == ("3AF7", ())
    folded, of_parcels = fold_order(snapshot.events)
    assert (folded.status, folded.status_at, of_parcels) == (statuses.PENDING, None, {})


def test_a_parcel_without_a_state_is_known_all_the_same() -> None:
    snapshot = shown(show_order(shipment(None)))
    assert (list(snapshot.parcels), snapshot.events) == (["3S1"], ())


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "not `ok`"),
        ({"status": "error", "message": "Order 41 not found"}, "Order 41 not found"),
        ({"status": "OK", "response": {"order": {"id": "3AF7"}}}, "not `ok`"),
        ({"status": True, "response": {"order": {"id": "3AF7"}}}, "not `ok`"),
        ({"status": "ok"}, "response"),
        ({"status": "ok", "response": None}, "response"),
        ({"status": "ok", "response": {}}, "response"),
        ({"status": "ok", "response": {"order": None}}, "order"),
        ({"status": "ok", "response": {"order": []}}, "order"),
        ({"status": "ok", "response": {"order": {}}}, "order"),
        (show_order(id=None), "id"),
        (show_order(id=""), "id"),
        (show_order(id="x" * 256), "id"),
    ],
)
def test_answer_that_cannot_be_read_says_why(body: dict[str, Any], named: str) -> None:
    with pytest.raises(Undecodable, match=named):
        shown(body)


@pytest.mark.parametrize(
    ("body", "left_out"),
    [
        (show_order(shipment("D", "x" * 256)), "response.order.shipments.0.tracking.code"),
        (show_order(since="yesterday"), "response.order.status.since"),
        (show_order(store="shop"), "response.order.store"),
    ],
)
def test_what_cannot_be_read_of_an_answer_is_left_out(body: dict[str, Any], left_out: str) -> None:
    assert driver.api is not None
    decoded = driver.api.decode(body, MessageContext(ASKED_AT, "poll"))
    assert decoded.orders[0].courier_order_id == "3AF7"
    assert [item.field for item in decoded.left_out] == [left_out]


def test_address_in_an_answer_that_is_none_of_the_web_is_not_shown() -> None:
    one = shipment("E") | {"tracking": {"code": "3S1", "url": "javascript:alert(1)"}}
    assert shown(show_order(one)).parcels == {"3S1": {"tracking_url": None, "listed": True}}


def test_a_look_after_a_hook_leaves_the_seconds_that_the_hook_told() -> None:
    at = SINCE_AT + timedelta(seconds=42)
    hook = decode(cottoncast_status("D", at), ASKED_AT)
    look = shown(show_order(shipment("D"), code="D", label="Delivered"))
    for events in ([*hook.events, *look.events], [*look.events, *hook.events]):
        folded, of_parcels = fold_order(events)
        assert (folded.status, folded.status_at) == (statuses.DELIVERED, at)
        assert of_parcels == {}
        verdict = folded.verdicts[events.index(look.events[0])]
        assert verdict.why_not == KNOWN_TO_THE_SECOND
