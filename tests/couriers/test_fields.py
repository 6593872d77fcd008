"""A courier by settings alone: what a field map makes of a body."""

import contextlib
import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.couriers.contract import SampleState
from receiver.couriers.field_map.compiled_map import NAMES, Preset
from receiver.couriers.field_map.expressions import (
    MAX_CHARACTERS,
    MAX_LENGTH,
    Evaluation,
    ExpressionFailed,
    InvalidExpression,
    TooManySteps,
    parse_expression,
)
from receiver.couriers.field_map.preset import make_driver
from receiver.couriers.field_map.reading import MAX_ORDERS
from receiver.couriers.fields import SCHEDULE, driver
from receiver.couriers.snapshot import Decoded, Label, MessageContext, Snapshot
from receiver.errors import NoSample, Undecodable
from receiver.orders.fold import fold_order
from tests.bodies import after
from tests.couriers.case import TOKEN, Case

# What test_contract.py checks: a driver of this map, as an account's settings make it.
WORDS = {
    "booked": "info_received",
    "collected": "picked_up",
    "on_the_road": "in_transit",
    "at_the_door": "delivered",
}
MAP = {
    "orders": "data.shipments",
    "courier_order_id": "id",
    "courier_status": "state.code || state",
    "reference": "customer_reference",
    "occurred_at": "state.since",
    "reason": "state.text",
    "tracking_number": "barcode",
    "tracking_url": "links.tracking",
    "label_url": "label",
    "parcels": "parcels[].{tracking_number: barcode, status: state, tracking_url: url}",
}
PRESET_DRIVER = make_driver(
    "fields",
    Preset({**MAP, "courier_status": "state.code"}, WORDS, "UTC"),
    schedule=SCHEDULE,
    body="any",
    sample_order=("ORDERTRAIL-SAMPLE-F", "booked"),
)
BODIES = [
    {
        "data": {
            "shipments": [
                {
                    "id": 17,
                    "customer_reference": "S-17",
                    "state": {"code": "On the road", "since": "2026-04-16T09:00:00Z"},
                    "links": {"tracking": "https://courier.example/17"},
                    "barcode": "0170",
                    "parcels": [{"barcode": "0171", "state": "at_the_door", "url": None}],
                }
            ]
        }
    }
]
CASE = Case(
    words=WORDS,
    bodies={"orders": BODIES},
    answers=BODIES,
    essential=frozenset(
        {
            *("data", "data.shipments", "data.shipments.id"),
            *("data.shipments.state", "data.shipments.state.code"),
        }
    ),
    places=["/orders/{}"],
    credentials={"Authorization": f"Bearer {TOKEN}"},
)

RECEIVED_AT = after(24 * 60)


def decode(body: Any, field_map: Mapping[str, Any], **context: Any) -> Decoded:
    assert driver.check_field_map is not None
    assert driver.check_field_map(field_map) == []
    return driver.topics["orders"].decode(
        body, MessageContext(RECEIVED_AT, field_map=field_map, **context)
    )


def decode_one(body: Any, field_map: Mapping[str, Any], **context: Any) -> Snapshot:
    (snapshot,) = decode(body, field_map, **context).orders
    return snapshot


# Real shapes, by settings alone. The bodies are invented; the shapes are the couriers' own.

SIMPLE = {"courier_order_id": "id", "courier_status": "state"}
SHAPES: dict[str, tuple[dict[str, Any], Any, tuple[Any, ...]]] = {
    "AfterShip": (
        {
            "courier_order_id": "msg.id",
            "courier_status": "msg.tag",
            "reference": "msg.order_id",
            "occurred_at": "msg.checkpoints[-1].checkpoint_time",
            "reason": "msg.subtag_message",
            "courier_name": "msg.slug",
            "tracking_number": "msg.tracking_number",
            "tracking_url": "msg.courier_tracking_link",
            "statuses": {"InTransit": "in_transit", "OutForDelivery": "out_for_delivery"},
        },
        {
            "event": "tracking_update",
            "msg": {
                "id": "as-1",
                "order_id": "S-1",
                "slug": "dhl",
                "tag": "OutForDelivery",
                "subtag_message": "With the driver",
                "tracking_number": "0140",
                "courier_tracking_link": "https://courier.example/0140",
                "checkpoints": [
                    {"tag": "InTransit", "checkpoint_time": "2026-04-16T05:00:00+02:00"},
                    {"tag": "OutForDelivery", "checkpoint_time": "2026-04-16T09:00:00+02:00"},
                ],
            },
        },
        ("as-1", "S-1", "out_for_delivery", after(0), ["0140"]),
    ),
    "EasyPost": (
        {
            "courier_order_id": "result.id",
            "courier_status": "result.status",
            "occurred_at": "max_by(result.tracking_details, &datetime).datetime",
            "courier_name": "result.carrier",
            "tracking_number": "result.tracking_code",
            "statuses": {"pre_transit": "info_received", "in_transit": "in_transit"},
        },
        {
            "object": "Event",
            "result": {
                "id": "trk_1",
                "status": "in_transit",
                "carrier": "USPS",
                "tracking_code": "EZ1",
                "tracking_details": [
                    {"status": "in_transit", "datetime": "2026-04-16T07:00:00Z"},
                    {"status": "pre_transit", "datetime": "2026-04-15T07:00:00Z"},
                ],
            },
        },
        ("trk_1", None, "in_transit", after(0), ["EZ1"]),
    ),
    "Shippo": (
        {
            "courier_order_id": "data.tracking_number",
            "courier_status": "data.tracking_status.status",
            "occurred_at": "data.tracking_status.status_date",
            "reason": "data.tracking_status.status_details",
            "reference": "data.metadata",
            "tracking_number": "data.tracking_number",
            "statuses": {"TRANSIT": "in_transit", "DELIVERED": "delivered"},
        },
        {
            "event": "track_updated",
            "data": {
                "carrier": "usps",
                "tracking_number": "9200",
                "metadata": "S-3",
                "tracking_status": {"status": "DELIVERED", "status_date": "2026-04-16T07:00:00Z"},
            },
        },
        ("9200", "S-3", "delivered", after(0), ["9200"]),
    ),
    "17TRACK": (
        {
            "courier_order_id": "data.number",
            "courier_status": "data.track_info.latest_status.status",
            "occurred_at": "data.track_info.latest_event.time_utc",
            "reference": "data.tag",
            "tracking_number": "data.number",
            "statuses": {"InTransit": "in_transit"},
        },
        {
            "event": "TRACKING_UPDATED",
            "data": {
                "number": "RR1",
                "tag": "S-4",
                "track_info": {
                    "latest_status": {"status": "InTransit", "sub_status": "InTransit_Other"},
                    "latest_event": {"time_utc": "2026-04-16T07:00:00Z"},
                },
            },
        },
        ("RR1", "S-4", "in_transit", after(0), ["RR1"]),
    ),
    "the last of nested events": (
        {
            "courier_order_id": "data.order",
            "courier_status": "data.events[-1].code",
            "occurred_at": "data.events[-1].at",
            "tracking_number": "data.events[].parcel",
            "statuses": {"5": "picked_up"},
        },
        {
            "data": {
                "order": 5,
                "events": [
                    {"code": 1, "parcel": "A"},
                    {"code": 5, "parcel": "B", "at": 1776322800},
                ],
            }
        },
        ("5", None, "picked_up", after(0), ["A", "B"]),
    ),
    "the fields of one event among others": (
        {
            "courier_order_id": "shipment.no",
            "courier_status": "events[?kind == 'status'] | [-1].name",
            "occurred_at": "events[?kind == 'status'] | [-1].when",
            "statuses": {"Zugestellt": "delivered"},
        },
        {
            "shipment": {"no": "Z-1"},
            "events": [
                {"kind": "status", "name": "zugestellt", "when": "2026-04-16T07:00:00Z"},
                {"kind": "scan", "name": "x"},
            ],
        },
        ("Z-1", None, "delivered", after(0), []),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_couriers_by_settings_alone(name: str) -> None:
    field_map, body, expected = SHAPES[name]
    snapshot = decode_one(body, field_map)
    (event,) = snapshot.events
    found = (
        snapshot.courier_order_id,
        snapshot.reference,
        event.status,
        event.occurred_at,
        list(snapshot.parcels),
    )
    assert found == expected


@pytest.mark.parametrize("name", SHAPES)
def test_a_sample_for_each_of_them_is_read_by_its_map(name: str) -> None:
    field_map, _body, _expected = SHAPES[name]
    body = json.loads(driver.sample_body(field_map=field_map))
    snapshot = decode_one(body, field_map)
    assert snapshot.courier_order_id == driver.sample_order_id
    status = driver.map_word(driver.sample_word(field_map), field_map)
    assert fold_order(snapshot.events)[0].status == status


# Several orders in a body

ITEMS = [{"id": number, "state": "on its way", "at": 1776322800} for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("orders", "body"),
    [
        ("@", ITEMS),
        ("[]", ITEMS),
        ("data.list", {"data": {"list": ITEMS}}),
        ("pages[].orders[]", {"pages": [{"orders": ITEMS[:1]}, {"orders": ITEMS[1:]}]}),
        # PHP's spelling of a list with gaps.
        ("data", {"data": {"1": ITEMS[0], "3": ITEMS[1], "4": ITEMS[2]}}),
    ],
)
def test_orders_are_found_where_the_map_says(orders: str, body: Any) -> None:
    decoded = decode(body, {**SIMPLE, "orders": orders})
    assert [order.courier_order_id for order in decoded.orders] == ["1", "2", "3"]
    assert decoded.left_out == ()


def test_a_single_object_in_the_place_of_the_list_is_the_only_order() -> None:
    assert decode_one({"data": ITEMS[0]}, {**SIMPLE, "orders": "data"}).courier_order_id == "1"


def test_an_order_of_a_list_sees_the_whole_body() -> None:
    field_map = {
        "orders": "events",
        "courier_order_id": "_body.shipment.id",
        "courier_status": "code",
        "occurred_at": "at",
        "statuses": {"a": "picked_up", "b": "in_transit"},
    }
    events = [{"code": "a", "at": 1776322800}, {"code": "b", "at": 1776322860}]
    decoded = decode({"shipment": {"id": "X"}, "events": events}, field_map)
    reported = [event for order in decoded.orders for event in order.events]
    assert {order.courier_order_id for order in decoded.orders} == {"X"}
    assert [event.status for event in reported] == ["picked_up", "in_transit"]


@pytest.mark.parametrize(
    ("body", "field_map", "sentence"),
    [
        ({}, {"orders": "a.b"}, r"`orders` \('a.b'\) finds nothing"),
        ({"a": "x"}, {"orders": "a"}, "finds a text"),
        ([], {"orders": "@"}, "finds an empty list"),
        ({"a": 5}, {"orders": "keys(a)"}, r"orders at 'keys\(a\)': keys\(\) cannot take a number"),
        ([{"id": 1}], {}, "the body is a list of 1 and not one order.*`@`"),
        (
            [1, {}, None],
            {"orders": "@"},
            "none of the 3 orders can be read: orders.0: it is a numb",
        ),
        ([{"id": 1}] * (MAX_ORDERS + 1), {"orders": "@"}, f"1001 orders, more than {MAX_ORDERS}"),
        ({"id": ["a"], "state": "x"}, {}, r"'id' finds a list of 1 where one value is needed"),
        ({"id": "a", "state": {"a": 1}}, {}, "courier_status at 'state'.*finds an object"),
        ({"id": "a"}, {}, r"no courier_status at 'state' \(it finds nothing\)"),
    ],
)
def test_a_body_without_an_order_says_which_expression_found_what(
    body: Any, field_map: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Undecodable, match=sentence):
        decode(body, SIMPLE | field_map)


def test_a_bad_item_never_costs_the_others() -> None:
    body = [ITEMS[0], {"id": 5}, "x", {"state": "x"}, ITEMS[1] | {"ref": [1, 2]}]
    decoded = decode(body, {**SIMPLE, "orders": "@", "reference": "ref"})
    assert [order.courier_order_id for order in decoded.orders] == ["1", "2"]
    assert {item.field: item.why for item in decoded.left_out} == {
        "orders.1": "no orders.1.courier_status at 'state' (it finds nothing)",
        "orders.2": "orders.2: it is a text, not an object",
        "orders.3": "no orders.3.courier_order_id at 'id' (it finds nothing)",
        "orders.4.reference": "'ref' finds a list of 2 where one value is needed",
    }


# Parcels, labels and the answer to our own question


def test_parcels_have_their_own_words() -> None:
    field_map = {
        **SIMPLE,
        "occurred_at": "at",
        "courier_name": "carrier",
        "parcels": "boxes[].{tracking_number: no, status: s, tracking_url: url, occurred_at: t}",
        "statuses": {"moving": "in_transit", "done": "delivered"},
    }
    boxes = [
        {"no": "A", "s": "Done", "url": "https://c.example/A", "t": "2026-04-16T07:30:00Z"},
        {"no": "B", "s": "moving"},
        {"no": "C", "s": "beamed"},
        {"s": "done"},
    ]
    body = {
        "id": 1,
        "state": "moving",
        "at": "2026-04-16T07:00:00Z",
        "boxes": boxes,
        "carrier": "X",
    }
    decoded = decode(body, field_map)
    (snapshot,) = decoded.orders
    order, parcels = fold_order(snapshot.events, snapshot.parcels)
    assert (order.status, parcels) == ("in_transit", {"A": "delivered", "B": "in_transit"})
    assert snapshot.parcels["A"] == {
        "tracking_url": "https://c.example/A",
        "courier_name": "X",
        "listed": True,
    }
    assert snapshot.recency == after(30)
    assert [item.field for item in decoded.left_out] == ["parcels.3.tracking_number"]
    assert "complete_parcel_list" not in snapshot.details
    polled = decode_one(body | {"boxes": boxes[:3]}, field_map, kind="poll")
    assert polled.details["complete_parcel_list"] is True
    # The order's time in an answer is not that of a parcel in another state.
    times = {event.parcel: event.reported_at for event in polled.events}
    assert times == {"": after(0), "A": after(30), "B": after(0), "C": None}


def test_a_list_of_tracking_numbers_gives_as_many_parcels() -> None:
    field_map = {**SIMPLE, "tracking_number": "codes", "tracking_url": "url"}
    body = {"id": 1, "state": "x", "codes": ["A", 7, None, ["B"], "A"], "url": "https://c.example/"}
    decoded = decode(body, field_map)
    assert {number: it["tracking_url"] for number, it in decoded.orders[0].parcels.items()} == {
        "A": None,
        "7": None,
    }
    assert [item.field for item in decoded.left_out] == ["tracking_number.3"]


def test_a_label_in_base64_is_a_file() -> None:
    content = b"%PDF-1.4 a label"
    body = {"id": 1, "state": "x", "label": b64encode(content).decode()}
    snapshot = decode_one(body, {**SIMPLE, "label_url": "label"})
    assert snapshot.label == Label(content, "application/pdf")
    assert snapshot.details["label_url"] is None


def test_an_answer_need_not_repeat_the_id() -> None:
    answer = {"state": "delivered"}
    polled = {"kind": "poll", "polled_order_id": "X-1"}
    assert decode_one(answer, SIMPLE, **polled).courier_order_id == "X-1"
    assert decode_one([answer], {**SIMPLE, "orders": "@"}, **polled).courier_order_id == "X-1"
    with pytest.raises(Undecodable, match="courier_order_id"):
        decode([answer, answer], {**SIMPLE, "orders": "@"}, **polled)
    assert decode_one(answer | {"id": 2}, SIMPLE, **polled).courier_order_id == "2"


def test_an_answer_without_an_order_says_that_the_courier_does_not_know_it() -> None:
    assert decode({"a": []}, {**SIMPLE, "orders": "a"}, kind="poll") == Decoded()
    with pytest.raises(Undecodable):
        decode({}, {**SIMPLE, "orders": "a"}, kind="poll")


# Limits


DOUBLING = " | ".join(["[@, @][]"] * 19)


@pytest.mark.parametrize(
    "expression",
    [
        DOUBLING,
        " | ".join(["[@, @]"] * 15) + " | [0] == [1]",
        "[*, *, *, *][].[*, *, *, *][].[*, *, *, *][]",
        "join(join('" + "x" * 100 + "', keys(@)), keys(@))",
        "sort_by(keys(@), &length(join(@, [@, @, @, @])))",
        "max([*, *, *, *][].a[] | [@, @][] | [@, @][] | [@, @][])",
        "max_by(values(@), &x)",
    ],
)
def test_no_expression_makes_much_of_a_body(expression: str) -> None:
    evaluation, node = Evaluation(), parse_expression(expression)
    large = {f"{number:>100}": {"a": [number], "x": f"{number:>1000}"} for number in range(5_000)}

    def use_budget() -> None:
        for _ in range(200):
            evaluation.find(node, large)

    with pytest.raises((TooManySteps, ExpressionFailed)):
        use_budget()


def test_orders_that_share_a_large_text_or_list_do_not_multiply_it() -> None:
    pdf = "data:application/pdf;base64," + b64encode(b"%PDF-" + b"x" * 1_500_000).decode()
    body = {
        "orders": [{"id": f"{number}", "code": "moving"} for number in range(1_000)],
        "label": pdf,
        "parcels": [{"tracking_number": f"{number}"} for number in range(1_000)],
    }
    field_map = {
        "orders": "orders",
        "courier_order_id": "id",
        "courier_status": "code",
        "label_url": "_body.label",
    }
    decoded = decode(body, field_map)
    labels = [snapshot.label for snapshot in decoded.orders]
    kept = MAX_CHARACTERS // len(pdf)
    assert [label is not None for label in labels] == [True] * kept + [False] * (1_000 - kept)
    assert decoded.left_out[0].field == f"orders.{kept}.label_url"
    with pytest.raises(Undecodable, match="too large for the expressions"):
        decode(body, field_map | {"parcels": "_body.parcels"})


def test_a_body_that_is_too_large_for_its_map_is_quarantined() -> None:
    field_map = {**SIMPLE, "reference": f"{DOUBLING} | [0]"}
    with pytest.raises(Undecodable, match="too large for the expressions"):
        decode({"id": 1, "state": "x"}, field_map)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a" * (MAX_LENGTH + 1), "more than 500"),
        ("[" * 400, "nested too deeply|Invalid|Incomplete"),
        ("!" * 100 + "a", "too many parts"),
        ("||".join("abcdefghijklmnopqrstuvwxyz" * 4), "too many parts"),
        ("&a", "& stands only"),
        ("a[::0]", "step of a slice is 0"),
        ("exec(a)", r"no function exec\(\)"),
        ("join(a)", r"join\(\) takes 2 arguments, not 1"),
        ("max_by(a, at)", r"max_by\(\) takes an expression with & before it, such as &at"),
        ("map(code, a)", r"map\(\) takes an expression with & before it"),
        ("a.order-no", r"at character 8: a name .* stands in double quotes"),
        ("größe", r"at character 3: a name .* stands in double quotes"),
        ("[?a = 'x']", "at character 5: `equal` is written =="),
        ("'a", "at character 1$"),
        ("a ||", "Incomplete"),
        ("", "empty"),
        (5, "not a text"),
        (None, "not a text"),
    ],
)
def test_an_expression_that_is_not_allowed_is_refused_at_the_start(text: Any, why: str) -> None:
    with pytest.raises(InvalidExpression, match=why):
        parse_expression(text)


@pytest.mark.parametrize(
    ("field_map", "faults"),
    [
        ({}, ["courier_order_id is missing", "courier_status is missing"]),
        (SIMPLE, []),
        (
            {**SIMPLE, "parcels": {"a": "b"}},
            ["parcels is not a JMESPath expression: it is not a t"],
        ),
        ({**SIMPLE, "order": "x"}, ["unknown field 'order' (the fields are courier_order_id,"]),
        ({**SIMPLE, "statuses": {"A b": "lost", "a-B": "delivered"}}, ["statuses maps 'A b' and"]),
        ({**SIMPLE, "statuses": {"": "lost"}}, ["statuses: '' is not a word of 1 to 255"]),
        (
            {**SIMPLE, "statuses": {"a": "picked up"}},
            ["statuses maps 'a' to 'picked up', which is no status (they are "],
        ),
        (
            {**SIMPLE, "statuses": {str(n): "lost" for n in range(1_001)}},
            ["statuses has 1001 words"],
        ),
    ],
)
def test_faults_of_a_map_are_named(field_map: dict[str, Any], faults: list[str]) -> None:
    assert driver.check_field_map is not None
    found = driver.check_field_map(field_map)
    assert len(found) == len(faults)
    assert all(line.startswith(fault) for line, fault in zip(found, faults, strict=True))


# Samples


@pytest.mark.parametrize(
    "field_map",
    [
        {**SIMPLE, "orders": "@"},
        {**SIMPLE, "orders": "data.list[]"},
        {**SIMPLE, "orders": "data[?type == 'order' && live == `true`].attributes"},
        {"orders": "events", "courier_order_id": "_body.id", "courier_status": "code"},
        {"courier_order_id": "not_null(a.b, c)", "courier_status": "list[2].x || y"},
        {"courier_order_id": "a[0].b[1].c", "courier_status": "a[*].s | [0]"},
    ],
)
def test_a_sample_is_made_by_turning_paths_round(field_map: dict[str, Any]) -> None:
    sample = SampleState("an id", "a word", None, after(0), field_map=field_map)
    snapshot = decode_one(json.loads(driver.sample_body(sample)), field_map)
    assert snapshot.courier_order_id == "an id"
    assert [event.courier_status for event in snapshot.events] == ["a word"]


@pytest.mark.parametrize(
    "field_map",
    [
        {**SIMPLE, "courier_status": "join('-', states)"},
        {**SIMPLE, "courier_status": "id"},
        {**SIMPLE, "orders": "values(@)"},
    ],
)
def test_a_map_that_cannot_be_turned_round_has_no_sample(field_map: dict[str, Any]) -> None:
    with pytest.raises(NoSample, match="--file"):
        driver.sample_body(field_map=field_map)


# Anything at all

KEYS = ["a", "b", "id", "state"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=15,
)
atoms = st.sampled_from(
    ["a", "b", "id", "state", "@", "_body", "*", "[]", "[0]", "[*]", "`1`", "'x'"]
)
functions = st.sampled_from(
    ["length", "keys", "values", "to_string", "to_number", "sort", "reverse", "max", "sum", "type"]
)
expressions = st.recursive(
    atoms,
    lambda inner: (
        st.builds("{}.{}".format, inner, inner)
        | st.builds("({} || {})".format, inner, inner)
        | st.builds("({} | {})".format, inner, inner)
        | st.builds("[{}, {}][]".format, inner, inner)
        | st.builds("{}[?{} == {}]".format, inner, inner, inner)
        | st.builds("{}[?{} < {}]".format, inner, inner, inner)
        | st.builds("{{a: {}, b: {}}}".format, inner, inner)
        | st.builds("{}({})".format, functions, inner)
        | st.builds("sort_by({}, &{})".format, inner, inner)
        | st.builds("contains({}, {})".format, inner, inner)
        | st.builds("join({}, {})".format, inner, inner)
        | st.builds("{}[::{}]".format, inner, st.sampled_from([1, -1]))
    ),
    max_leaves=6,
)


def is_allowed(text: str) -> bool:
    try:
        parse_expression(text)
    except InvalidExpression:
        return False
    return True


maps = st.fixed_dictionaries(
    {name: st.just(name[8:]) | expressions.filter(is_allowed) for name in SIMPLE},
    optional={
        name: expressions.filter(is_allowed) for name in NAMES if name not in {*SIMPLE, "statuses"}
    },
)


@given(body=values, field_map=maps)
def test_any_map_reads_any_body_or_refuses_it(body: Any, field_map: dict[str, Any]) -> None:
    context = MessageContext(RECEIVED_AT, field_map=field_map)
    try:
        decoded = driver.topics["orders"].decode(body, context)
    except Undecodable:
        return
    for snapshot in decoded.orders:
        assert snapshot.courier_order_id
        fold_order(snapshot.events, snapshot.parcels)


@example(text="``")
@given(text=st.text(max_size=40) | st.text("abc.[]*|&!@{}():,'`\"?=<>- 0123", max_size=40))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    if is_allowed(text):
        with contextlib.suppress(ExpressionFailed):
            Evaluation().find(parse_expression(text), {"a": [{"b": 1}], "c": "x"})


items = st.fixed_dictionaries(
    {}, optional={"id": values, "state": values, "at": values, "ref": values, "box": values}
)


@given(body=st.lists(items, max_size=5), data=st.data())
def test_the_order_of_the_orders_in_a_body_does_not_matter(
    body: list[dict[str, Any]], data: st.DataObject
) -> None:
    field_map = {
        **SIMPLE,
        "orders": "@",
        "occurred_at": "at",
        "reference": "ref",
        "tracking_number": "box",
    }

    def read(body: list[dict[str, Any]]) -> Any:
        try:
            decoded = decode(body, field_map)
        except Undecodable:
            return None
        return sorted(map(repr, decoded.orders)), sorted(
            item.why[-20:] for item in decoded.left_out
        )

    assert read(body) == read(data.draw(st.permutations(body)))
