"""What holds for every driver, unasked: its words, and that no body gets past its schema.

What differs from courier to courier is CASE in its own test file.
"""

import copy
import dataclasses
import importlib
import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver import couriers, statuses
from receiver.couriers.contract import Decode, Driver, Heard, SampleState
from receiver.couriers.parsing import quote_path_segment
from receiver.couriers.polling import Access, Api, OrderNames
from receiver.couriers.schedule import Backoff
from receiver.couriers.signatures import verify
from receiver.couriers.snapshot import Decoded, MessageContext
from receiver.errors import Undecodable, UnknownToCourier
from receiver.inbox.content import parse_content, parse_parameters
from receiver.orders.fold import fold_events, fold_order
from receiver.orders.names import is_sample
from receiver.web.webhooks.declared import find_secret_headers
from tests.bodies import cottoncast_shipment, cottoncast_status, shipmentapi_order, tiramizoo_order
from tests.couriers.case import TOKEN, USER, Bodies, Case
from tests.couriers.test_fields import PRESET_DRIVER
from tests.hostile import HOSTILE
from tests.sandbox import WebhooksOnly, evenly

# The driver `fields` reads nothing without an account's map.
DRIVERS = {**couriers.DRIVERS, "fields": PRESET_DRIVER}

CONTEXT = MessageContext(datetime(2026, 5, 1, 12, 0, tzinfo=UTC))

# Each courier's own test file says what holds for it alone.
CASES: dict[str, Case] = {
    name: importlib.import_module(f"tests.couriers.test_{name}").CASE for name in DRIVERS
}
ENTRANCES = [(name, topic) for name, driver in DRIVERS.items() for topic in driver.topics]

END_OF_TIME = "9999-12-31T23:59:59.999999+00:00"
TIMES = [
    "0001-01-01T00:00:00",
    "0001-01-01T00:00:00+14:00",
    "1970-01-01T00:00:00Z",
    "2026-02-29T00:00:00Z",
    "2026-04-16",
    "2026-04-16T09:00:00.123456789+02:00",
    "2099-01-01T00:00:00Z",
    END_OF_TIME,
    "9999-12-31T23:59:59.999999-14:00",
    "nan",
    "-1e400",
    "1776322800",
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # What stands in a JSON body that was UTF-8: anything but lone surrogates.
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.sampled_from(TIMES)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=8), values, max_size=5)


@st.composite
def spoilt(draw: st.DrawFn, bodies: Bodies) -> dict[str, Any]:
    """A body with up to four of its values replaced or removed, however deep they stand."""
    body: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(1, 4))):
        place: Any = body
        while True:
            at = draw(
                st.sampled_from(list(place) if isinstance(place, dict) else range(len(place)))
            )
            inner = place[at]
            if isinstance(inner, dict | list) and inner and draw(st.booleans()):
                place = inner
                continue
            break
        if draw(st.booleans()):
            place[at] = draw(values)
        elif place is not body or len(place) > 1:
            del place[at]
    return body


def times_in(value: Any) -> Iterator[datetime]:
    """Every time in what was decoded, also those written out in details."""
    if isinstance(value, datetime):
        yield value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from times_in(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from times_in(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in {"pickup_at", "from", "to"} and item is not None:
                assert item.endswith("Z")
                yield datetime.fromisoformat(item)
            else:
                yield from times_in(item)


def decode_sample(driver: Driver, state: SampleState | None = None) -> Decoded:
    """Decode the sample as if it had come over the wire."""
    topic = driver.topics["orders"]
    context = dataclasses.replace(
        CONTEXT,
        method=topic.methods[0],
        headers={name.lower(): value for name, value in driver.sample_headers.items()},
        query=parse_parameters(driver.sample_query(state)),
    )
    return topic.decode(parse_content(driver.sample_body(state), topic.body), context)


def context_of(name: str, topic: str) -> MessageContext:
    """The context of a courier's bodies of a topic."""
    return dataclasses.replace(CONTEXT, **CASES[name].requests.get(topic, {}))


def decoder_of(name: str, topic: str) -> Decode:
    """A topic's decoder of the bodies of a case; of a form and of a query only texts arrive."""
    declared = DRIVERS[name].topics[topic]

    def decode(body: Any, context: MessageContext) -> Decoded:
        if declared.body not in {"form", "empty"}:
            return declared.decode(body, context)
        given = {key: value for key, value in body.items() if value is not None}
        parameters = parse_parameters(urlencode(given, doseq=True))
        if declared.body == "form":
            return declared.decode(parameters, context)
        return declared.decode({}, dataclasses.replace(context, query=parameters))

    return decode


def reports(name: str, topic: str, body: Any) -> bool:
    """Whether a body is decoded at all, and not answered and thrown away."""
    is_noise, context = DRIVERS[name].topics[topic].is_noise, context_of(name, topic)
    heard = Heard(context.method, context.headers, context.query)
    return is_noise is None or not is_noise(body, heard)


def check(name: str, topic: str, body: dict[str, Any]) -> None:
    """A body is decoded or refused, and whatever was decoded can be folded."""
    decoded = check_with(decoder_of(name, topic), body, context_of(name, topic))
    assert all(snapshot.events for snapshot in decoded.orders)


def check_with(decode: Decode, body: dict[str, Any], context: MessageContext) -> Decoded:
    try:
        decoded = decode(body, context)
    except Undecodable:
        return Decoded()
    assert isinstance(decoded, Decoded)
    assert all(at.utcoffset() == timedelta(0) for at in times_in(decoded))
    for snapshot in decoded.orders:
        assert snapshot.courier_order_id
        assert snapshot.recency <= context.received_at
        fold_events(snapshot.events)
        fold_order(snapshot.events)
        for event in snapshot.events:
            assert event.status in statuses.VOCABULARY
            assert event.courier_status
    return decoded


def test_every_courier_of_the_contract_has_a_driver() -> None:
    assert set(DRIVERS) >= {"tiramizoo", "cottoncast", "shipmentapi"}


@pytest.mark.parametrize("name", DRIVERS)
def test_every_topic_has_bodies_that_are_decoded(name: str) -> None:
    driver, case = DRIVERS[name], CASES[name]
    assert set(case.bodies) == set(driver.topics)
    for topic, bodies in case.bodies.items():
        assert bodies
        for body in bodies:
            if reports(name, topic, body):
                decoded = decoder_of(name, topic)(body, context_of(name, topic))
                assert decoded != Decoded()


@pytest.mark.parametrize("name", DRIVERS)
def test_words_are_mapped_as_the_contract_says(name: str) -> None:
    assert DRIVERS[name].words == CASES[name].words


@pytest.mark.parametrize("name", DRIVERS)
def test_words_are_mapped_to_statuses_of_the_vocabulary(name: str) -> None:
    assert set(DRIVERS[name].words.values()) <= set(statuses.VOCABULARY) - {"unknown", "pending"}


@pytest.mark.parametrize("name", DRIVERS)
def test_words_have_their_place_in_the_map_as_step(name: str) -> None:
    driver = DRIVERS[name]
    for step, word in enumerate(driver.words):
        state = SampleState("an id", word, "41", CONTEXT.received_at)
        (snapshot,) = decode_sample(driver, state).orders
        assert step in {event.step for event in snapshot.events if event.courier_status == word}


@pytest.mark.parametrize("name", DRIVERS)
def test_every_word_of_the_map_is_mapped_and_no_other(name: str) -> None:
    driver = DRIVERS[name]
    assert {word: driver.map_word(word, {}) for word in driver.words} == driver.words
    assert driver.map_word("teleported", {}) is None


@pytest.mark.parametrize("name", DRIVERS)
def test_sample_decodes_to_the_order_it_names(name: str) -> None:
    driver = DRIVERS[name]
    assert driver.sample_body() == driver.sample_body()
    (snapshot,) = decode_sample(driver).orders
    assert snapshot.courier_order_id == driver.sample_order_id
    # Whatever names it has make no other order found.
    names = {snapshot.courier_order_id, *snapshot.identifiers.values(), *snapshot.parcels}
    names |= {snapshot.reference or ""} if CASES[name].tells_reference else set()
    assert all(map(is_sample, names))
    folded = fold_events([event for event in snapshot.events if not event.parcel])
    assert folded.status == driver.words[driver.sample_order[1]]


@pytest.mark.parametrize("name", DRIVERS)
def test_an_empty_reference_is_none_and_an_empty_id_is_refused(name: str) -> None:
    driver = DRIVERS[name]

    def read(order_id: str, reference: str) -> Decoded:
        state = SampleState(order_id, driver.sample_order[1], reference, CONTEXT.received_at)
        return decode_sample(driver, state)

    (snapshot,) = read("an id", "").orders
    assert snapshot.reference is None
    with pytest.raises(Undecodable):
        read("", "41")


SAMPLED = [(name, word) for name, driver in DRIVERS.items() for word in driver.words]


@pytest.mark.parametrize(("name", "word"), SAMPLED)
def test_sample_tells_whatever_word_it_is_to_tell(name: str, word: str) -> None:
    driver = DRIVERS[name]
    state = SampleState("an id", word, "41", CONTEXT.received_at - timedelta(hours=3))
    (snapshot,) = decode_sample(driver, state).orders
    reference = "41" if CASES[name].tells_reference else None
    assert (snapshot.courier_order_id, snapshot.reference) == ("an id", reference)
    state = dataclasses.replace(state, reference=None, is_sample=False)
    (of_order,) = decode_sample(driver, state).orders
    # About an order that exists it says the state alone.
    assert [event.status for event in of_order.events] == [driver.words[word]]
    assert (of_order.reference, of_order.identifiers, of_order.parcels) == (None, {}, {})
    folded = fold_events([event for event in snapshot.events if not event.parcel])
    assert (folded.status, folded.courier_status) == (driver.words[word], word)


@pytest.mark.parametrize("name", DRIVERS)
def test_sample_of_a_word_that_nobody_knows_is_unknown(name: str) -> None:
    driver = DRIVERS[name]
    state = SampleState("an id", "teleported", "41", CONTEXT.received_at)
    (snapshot,) = decode_sample(driver, state).orders
    (event,) = [event for event in snapshot.events if event.courier_status == "teleported"]
    assert event.status == statuses.UNKNOWN


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)//http://",
        "data:text/html,x",
        "//example.com",
        "ftp://example.com",
        "example.com",
        "http:",
        "https://example.com/" + "x" * 2_000,
    ],
)
def test_address_that_is_none_of_the_web_is_not_shown_and_costs_nothing_else(address: str) -> None:
    bodies = {
        "tiramizoo": tiramizoo_order(tracking_url=address),
        "cottoncast": cottoncast_status(shipments=[cottoncast_shipment(trackingurl=address)]),
        "shipmentapi": shipmentapi_order(
            tracking_url=address, label_url=address, tracking_number="0140"
        ),
    }
    for name, body in bodies.items():
        (snapshot,) = DRIVERS[name].topics["orders"].decode(body, CONTEXT).orders
        shown = [snapshot.details, *snapshot.parcels.values()]
        assert all(it.get("tracking_url") is None for it in shown)
        assert all(it.get("label_url") is None for it in shown)
        assert snapshot.events


@pytest.mark.parametrize(("name", "topic"), ENTRANCES)
def test_every_topic_refuses_an_empty_body(name: str, topic: str) -> None:
    declared = DRIVERS[name].topics[topic]
    empty: dict[str, list[Any]] = {"array": [[]], "any": [[], {}]}
    for content in empty.get(declared.body, [{}]):
        with pytest.raises(Undecodable):
            declared.decode(content, CONTEXT)


@pytest.mark.parametrize(("name", "topic"), ENTRANCES)
def test_a_topic_declares_what_the_service_can_serve(name: str, topic: str) -> None:
    driver, declared = DRIVERS[name], DRIVERS[name].topics[topic]
    assert set(declared.methods) <= {"POST", "PUT", "PATCH"}
    assert declared.methods
    assert "orders" in driver.topics
    headers = {header.lower() for header in declared.headers}
    assert not headers & find_secret_headers(driver.signature)
    # A decoder that reads the query has to get it.
    assert declared.keeps_query or not driver.sample_query()


@pytest.mark.parametrize(("name", "topic"), ENTRANCES)
@given(body=objects)
def test_any_object_is_decoded_or_refused(name: str, topic: str, body: dict[str, Any]) -> None:
    check(name, topic, body)


@pytest.mark.parametrize(("name", "topic"), ENTRANCES)
@given(data=st.data())
def test_any_spoilt_body_is_decoded_or_refused(name: str, topic: str, data: st.DataObject) -> None:
    check(name, topic, data.draw(spoilt(CASES[name].bodies[topic])))


# What stands in bodies where something else was documented. An empty list or object is PHP's, a
# number is somebody's database key, and any text may be longer or odder than expected.
ODD: list[Any] = [
    *(None, "", " ", False, [], {}),
    *("x", "soon", "0000-00-00 00:00:00", "0001-01-01", "NaN", "x" * 5_000, "javascript:alert(1)"),
    *(True, 0, 1, -1, 7.5, 1e300, 10**25),
    *([None], [[]], ["x"], [1], [{}], {"1": None}, {"1": {}}, {"1": "x"}, {"x": {"y": []}}),
]

Path = tuple[str | int, ...]


def paths_in(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path of each value in a body, however deep it stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from paths_in(item, (*path, key))


def with_value(body: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed = place = copy.deepcopy(body)
    for key in path[:-1]:
        place = place[key]  # type: ignore[index] # a list's number or an object's key
    place[path[-1]] = value  # type: ignore[index]
    return changed


def meaning(decoded: Decoded) -> Any:
    """Which orders and tours are reported, and the state of each order."""
    states = [
        (snapshot.courier_order_id, fold_order(snapshot.events)[0].status)
        for snapshot in decoded.orders
    ]
    return states, [tour.tour_id for tour in decoded.tours]


@pytest.mark.parametrize("name", DRIVERS)
def test_odd_values_beside_the_state_never_cost_it(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    driver, case = DRIVERS[name], CASES[name]
    decoders = [
        *(
            (decoder_of(name, topic), context_of(name, topic), body)
            for topic in case.bodies
            for body in case.bodies[topic]
            if reports(name, topic, body)
        ),
        *((driver.api.decode, POLLED, body) for body in case.answers if driver.api),
    ]
    pairs, lost = 0, []
    for decode, context, body in decoders:
        expected = meaning(decode(body, context))
        for path in paths_in(body):
            if ".".join(key for key in path if isinstance(key, str)) in case.essential:
                continue
            # A time may say how far an order is; without it the rest of the body says so.
            allowed = [expected, meaning(decode(with_value(body, path, None), context))]
            for value in ODD:
                pairs += 1
                try:
                    found = meaning(decode(with_value(body, path, value), context))
                except Undecodable as error:
                    found = error
                if found not in allowed:
                    lost.append((path, value, found))
    record_property("odd_pairs", pairs)
    # Shown by pytest -s.
    print(f"{name}: {pairs} pairs of a field and an odd value, states lost: {len(lost)}")  # noqa: T201
    assert lost == []


@pytest.mark.parametrize("state", ["created", "delivered", "teleported"])
def test_state_at_the_end_of_time_is_decoded_or_refused(state: str) -> None:
    check("tiramizoo", "orders", tiramizoo_order(times={"picked_up": END_OF_TIME}, state=state))


word = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(
    str.strip
)


@given(word=word)
@example(word="Delivered")
@example(word=" delivered")
@example(word="d")
def test_word_that_is_not_in_the_map_is_unknown(word: str) -> None:
    bodies = {
        "tiramizoo": tiramizoo_order(times={}, state=word),
        "cottoncast": cottoncast_status(word),
        "shipmentapi": shipmentapi_order(status=word),
    }
    for name, body in bodies.items():
        driver = DRIVERS[name]
        # ShipmentAPI's words come in any spelling.
        spelt = "_".join(word.casefold().replace("-", " ").replace("_", " ").split())
        known = word.strip() in driver.words or (name == "shipmentapi" and spelt in driver.words)
        (snapshot,) = driver.topics["orders"].decode(body, CONTEXT).orders
        (event,) = snapshot.events
        assert (event.status == statuses.UNKNOWN) == (not known)
        assert event.courier_status == word.strip()


@pytest.mark.parametrize("name", ["cottoncast", "shipmentapi"])
@given(seconds=st.floats(allow_nan=False, allow_infinity=False) | st.just(math.inf))
def test_any_number_of_seconds_is_a_time_or_refused(name: str, seconds: float) -> None:
    body = (
        cottoncast_status(at=seconds)
        if name == "cottoncast"
        else shipmentapi_order(updated_at=seconds)
    )
    check(name, "orders", body)


@pytest.mark.parametrize("name", [name for name, driver in DRIVERS.items() if driver.words])
def test_a_stand_in_sends_webhooks_of_every_courier_as_it_signs_them(name: str) -> None:
    driver, now = DRIVERS[name], CONTEXT.received_at
    courier = WebhooksOnly(driver, now=lambda: now)
    for life in courier.lives():
        order = courier.create(evenly(*life, start=now - timedelta(hours=1), apart=timedelta(0)))
        for number, word in enumerate(life):
            message = courier.webhook_message(order, number)
            secrets, headers = [courier.secret], message.headers
            assert verify(driver.signature, secrets, headers, message.body, now, secrets[0]) == 0
            topic = driver.topics["orders"]
            context = dataclasses.replace(
                CONTEXT,
                method=message.method,
                headers={key.lower(): value for key, value in headers.items()},
                query=parse_parameters(message.query),
            )
            content = parse_content(message.body, topic.body)
            (snapshot,) = topic.decode(content, context).orders
            assert snapshot.courier_order_id == order.id
            assert word in {event.courier_status for event in snapshot.events}


# Asking

ASKED = [driver for driver in DRIVERS.values() if driver.api is not None]
each_asked = pytest.mark.parametrize("driver", ASKED, ids=lambda driver: driver.name)

BASE = "https://courier.example:8443/api/v1"


def api_of(driver: Driver) -> Api:
    assert driver.api is not None
    return driver.api


def access(driver: Driver) -> Access:
    return Access(BASE, USER, TOKEN, settings=CASES[driver.name].settings)


def built(driver: Driver, name: str) -> list[str]:
    """Every address that a driver builds with an order's name."""
    names = OrderNames(name, reference=name)
    return [request.url for request in api_of(driver).order_requests(access(driver), names)]


def test_every_courier_can_be_asked() -> None:
    assert {driver.name for driver in ASKED} >= {"tiramizoo", "cottoncast", "shipmentapi"}


@each_asked
def test_a_courier_that_is_asked_has_answers_that_are_decoded(driver: Driver) -> None:
    answers = CASES[driver.name].answers
    assert answers
    for answer in answers:
        assert check_with(api_of(driver).decode, answer, POLLED) != Decoded()


POLLED = MessageContext(CONTEXT.received_at, "poll")


@each_asked
def test_an_answer_is_as_recent_as_the_question(driver: Driver) -> None:
    for body in CASES[driver.name].answers:
        (snapshot,) = check_with(api_of(driver).decode, body, POLLED).orders
        assert snapshot.recency == POLLED.received_at


@each_asked
@given(body=objects)
def test_any_answer_is_decoded_or_refused(driver: Driver, body: dict[str, Any]) -> None:
    check_with(api_of(driver).decode, body, POLLED)


@each_asked
@given(data=st.data())
def test_any_spoilt_answer_is_decoded_or_refused(driver: Driver, data: st.DataObject) -> None:
    check_with(api_of(driver).decode, data.draw(spoilt(CASES[driver.name].answers)), POLLED)


def check_url(driver: Driver, name: str) -> None:
    """Addresses built with this name are the name's own place under the base, and nothing else."""
    for url, place in zip(built(driver, name), CASES[driver.name].places, strict=True):
        before, after = f"{BASE}{place}".split("{}")
        assert url.startswith(before)
        assert url.endswith(after)
        parts = urlsplit(url)
        assert (parts.scheme, parts.netloc) == ("https", "courier.example:8443")
        assert parts.fragment == ""
        assert url.isascii()
        assert url.isprintable()
        quoted = url.removeprefix(before).removesuffix(after)
        assert not set(" /?#&=+") & set(quoted)
        assert unquote(quoted) == name


@each_asked
def test_no_name_of_an_order_leads_out_of_its_place(driver: Driver) -> None:
    for name in HOSTILE:
        if not {".", ".."} & set(re.split(r"[/\\]", name)):
            check_url(driver, name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../x", "a/../b", "a/.", "./a", "..\\x", "a\\..", "/..", "../"]
)
@each_asked
def test_a_name_that_leads_up_the_path_is_nobodys(driver: Driver, name: str) -> None:
    assert built(driver, name) == []


@each_asked
@given(name=st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text("./\\%2eE"))
def test_any_name_stays_in_its_place_or_is_nobodys(driver: Driver, name: str) -> None:
    try:
        quote_path_segment(name)
    except UnknownToCourier:
        # Refused only where there is a segment that leads up, or none at all.
        parts = name.replace("\\", "/").split("/")
        assert not name or "." in parts or ".." in parts
        return
    check_url(driver, name)


@each_asked
def test_the_token_is_in_the_headers_and_never_in_an_address(driver: Driver) -> None:
    api = api_of(driver)
    assert api.headers(access(driver)) == CASES[driver.name].credentials
    urls = built(driver, "41")
    if api.list_request is not None:
        urls.append(api.list_request(access(driver), CONTEXT.received_at, None).url)
    assert not [url for url in urls if TOKEN in url or not url.startswith(f"{BASE}/")]
    assert TOKEN not in repr(access(driver))


@pytest.mark.parametrize(
    ("name", "url", "needs_user", "per_second"),
    [
        ("tiramizoo", "https://app.tiramizoo.com/api/v1", False, 5),
        ("cottoncast", "https://api.cottoncast.com", True, 2),
        ("shipmentapi", None, False, 5),
    ],
)
def test_where_as_whom_and_how_often_a_courier_is_asked(
    name: str, url: str | None, needs_user: bool, per_second: float
) -> None:
    api = api_of(DRIVERS[name])
    assert (api.url, api.needs_user, api.per_second) == (url, needs_user, per_second)


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


@pytest.mark.parametrize(
    ("name", "first", "most"),
    [("tiramizoo", 15, 6 * 60), ("cottoncast", 60, 12 * 60), ("shipmentapi", 30, 4 * 60)],
)
def test_a_silent_courier_is_asked_after_a_while_then_ever_less(
    name: str, first: float, most: float
) -> None:
    schedule = api_of(DRIVERS[name]).schedule
    assert schedule.default == Backoff(minutes(first), minutes(most))
    assert schedule.calls_once == (name == "shipmentapi")
    assert (schedule.give_up, schedule.last_poll, schedule.unknown_for) == (
        timedelta(days=30),
        timedelta(days=1),
        timedelta(days=1),
    )


def test_a_failed_delivery_is_stuck_after_the_couriers_own_24_hours() -> None:
    # Document 003, "Return process": delivered to the pickup location in the next 24 hours.
    assert DRIVERS["tiramizoo"].stuck_after["delivery_failed"] == timedelta(hours=24)


def test_a_courier_that_calls_once_is_asked_for_all_the_rest() -> None:
    schedule = api_of(DRIVERS["shipmentapi"]).schedule
    assert schedule.not_before == minutes(1)
    accepted, complete = schedule.until_accepted, schedule.until_complete
    assert accepted is not None
    assert complete is not None
    # Each minute for the 20 minutes that acceptance may take, each five for the hour after.
    assert [accepted.delay(quiet) for quiet in (0, 19, 20, 99)] == [
        minutes(1),
        minutes(1),
        minutes(2),
        minutes(30),
    ]
    assert [complete.delay(quiet) for quiet in (0, 11, 12, 99)] == [
        minutes(5),
        minutes(5),
        minutes(10),
        minutes(60),
    ]
    assert schedule.pickup_every == minutes(5)
    assert (schedule.pickup_before, schedule.pickup_after) == (minutes(30), minutes(60))


@pytest.mark.parametrize("name", ["tiramizoo", "cottoncast"])
def test_a_courier_that_calls_is_only_asked_when_it_is_silent(name: str) -> None:
    schedule = api_of(DRIVERS[name]).schedule
    assert schedule.not_before == timedelta(0)
    assert (schedule.until_accepted, schedule.until_complete) == (None, None)
    assert schedule.pickup_every is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Too many requests, please retry request in 30 seconds.", 30.0),
        ('{"error":"Too many requests, Please retry request in 1 second"}', 1.0),
        ("please retry request in 30", None),
        ("please retry request in -30 seconds", None),
        ("please retry request in \u0663 seconds", None),
        ("please retry request in " + "9" * 5_000 + " seconds", None),
        ("Too many requests", None),
        ("", None),
    ],
)
def test_the_words_of_a_busy_courier_tell_how_long_to_wait(
    text: str, seconds: float | None
) -> None:
    read_retry_after = api_of(DRIVERS["tiramizoo"]).read_retry_after
    assert read_retry_after is not None
    assert read_retry_after(text) == seconds
