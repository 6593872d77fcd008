"""The contract of a driver: what a courier's file declares.

A driver is one file about one courier. It turns a message's JSON into snapshots of orders and
tours (snapshot.py), and knows nothing of HTTP, tables or other couriers. parsing.py has the readers
of single values (times, URLs, identifiers), polling.py what a driver declares so that its courier
can be polled, schedule.py the polling schedule.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlencode

from marshmallow import fields

from receiver import statuses
from receiver.couriers.field_map.trial import MapTrial
from receiver.couriers.polling import Api
from receiver.couriers.signatures import Scheme, TokenInUrl
from receiver.couriers.snapshot import Decoded, MessageContext, Parameters

# How long an order may keep a status before it counts as stuck; a driver has its own values where
# its courier is quicker or slower.
STUCK_AFTER: Mapping[str, timedelta] = {
    statuses.PENDING: timedelta(days=1),
    statuses.INFO_RECEIVED: timedelta(days=3),
    statuses.AWAITING_PICKUP: timedelta(days=2),
    statuses.PICKUP_FAILED: timedelta(days=1),
    statuses.PICKED_UP: timedelta(days=2),
    statuses.IN_TRANSIT: timedelta(days=4),
    statuses.OUT_FOR_DELIVERY: timedelta(hours=18),
    statuses.EXCEPTION: timedelta(days=2),
    statuses.DELIVERY_FAILED: timedelta(days=2),
    statuses.RETURNING: timedelta(days=7),
    statuses.LOST: timedelta(days=7),
    statuses.UNKNOWN: timedelta(days=1),
}

TOKEN_IN_URL = TokenInUrl()

# Decodes the content of a message: a dict, or a list for a body that is a JSON array. Each order of
# a webhook has an event; a poll's answer may have none. Raises Undecodable where the message cannot
# be read, as an empty object never can.
Decode = Callable[[Any, MessageContext], Decoded]
BodyKind = Literal["object", "array", "any", "form", "empty"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a courier gets for an answer."""

    status: int = 200
    body: bytes = b'{"status":"ok"}'
    content_type: str = "application/json"


OK_ANSWER = Answer()


@dataclass(frozen=True, slots=True)
class Heard:
    """What a webhook's request says beside its body.

    headers  those that the topic declares and the request has, by their names in lower case
    query    the URL's parameters, empty unless the topic keeps them; one that is repeated has the
             list of its values
    field_map  the account's COURIER_<ACCOUNT>_FIELDS, empty where it has none
    """

    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Parameters = field(default_factory=dict)
    field_map: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Topic:
    """One kind of webhook of a courier, which it sends to /webhooks/<account>/<topic>.

    decode       decodes the content of the body
    methods      the methods by which the courier sends it: POST, PUT or PATCH
    body         what the body is: `object`, `array` or `any` (one of both) of JSON, `form`
                 (application/x-www-form-urlencoded) or `empty`. A form is decoded as an object of
                 texts, where a key that is repeated has the list of its values; an empty body as {}
    answer       the answer to a message that is stored, or a function of its content
    handshake    answers the GET by which the courier checks the URL; a function of its query
    is_noise     whether a message reports nothing that counts: it is answered and not stored
    headers      the request headers that are stored with the message for `decode`; no credentials
    keeps_query  whether the URL's parameters are stored with the message for `decode`

    answer, handshake and is_noise are called while the courier waits, so they must be quick. What a
    topic keeps of a request tells two messages with the same body apart: a header that is another
    one each time that the courier tries again must not be declared.
    """

    decode: Decode
    methods: tuple[str, ...] = ("POST",)
    body: BodyKind = "object"
    answer: Answer | Callable[[Any, Heard], Answer] = OK_ANSWER
    handshake: Callable[[Parameters], Answer] | None = None
    is_noise: Callable[[Any, Heard], bool] | None = None
    headers: tuple[str, ...] = ()
    keeps_query: bool = False

    @cached_property
    def keeps_request(self) -> bool:
        """Whether anything beside the body is stored with a message."""
        return bool(self.headers) or self.keeps_query or self.methods != ("POST",)


# The topic of webhooks about orders, and of poll answers.
ORDERS = "orders"
SAMPLE_AT = datetime(2026, 4, 16, 8, 10, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SampleState:
    """What a message for a trial reports: an order has reached a state, in the courier's own word.

    is_sample: the order exists for the trial only, so the message invents identifiers and parcels;
    about any other order it must report the state alone. field_map: the account's.
    """

    order_id: str
    word: str
    reference: str | None
    at: datetime
    is_sample: bool = True
    field_map: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Driver:
    """One courier.

    name        the driver's name, as in COURIER_<ACCOUNT>_DRIVER
    words       their words to our statuses, in the order in which an order passes through them
    topics      its webhooks, by the topic in their URL; those about orders have the topic `orders`
    make_sample       the content of a webhook about an order as the courier sends it, for trying an
                installation: of a JSON array its only entry, of an empty body its query. Decode
                finds the id, word and reference in it again, whatever they are. Raises NoSample
                where the account's field map has no body that can be made
    sample_headers    the headers of such a webhook that its topic declares
    sample_order      the id of a sample, which begins with ORDERTRAIL-SAMPLE- and marks it as one
                      (receiver/orders/names.py), and its state in the courier's word
    signature   how its webhooks are authenticated, unless an account's settings say otherwise
    identify_order    where the courier documents a 404 for an order that the shop does not know:
                reads the order's id, and the name for the 404's text, out of a webhook
    normalize_word    makes spellings of one word equal, where the courier has several; the keys of
                `words` are normalized
    check_field_map   lists the faults of an account's field map; only a driver with this has one
    try_field_map     what an account's field map makes of a body, in detail
    api         how the courier is polled, None where it cannot be
    settings    the settings that an account of this courier has beside the usual ones, by the
                <NAME> of COURIER_<ACCOUNT>_<NAME>: a field each, whose metadata has a
                `description`, and `secret` where its value must not be shown
    zone        the time zone of the courier's people, for night and Sunday
    stuck_after how long an order may keep a status before it counts as stuck; a status that is
                missing here may be kept forever
    """

    name: str
    words: Mapping[str, str]
    topics: Mapping[str, Topic]
    make_sample: Callable[[SampleState], Any]
    sample_order: tuple[str, str]
    sample_headers: Mapping[str, str] = field(default_factory=dict)
    signature: Scheme = TOKEN_IN_URL
    identify_order: Callable[[dict[str, Any]], tuple[str, str] | None] | None = None
    normalize_word: Callable[[str], str] = str
    check_field_map: Callable[[Mapping[str, Any]], list[str]] | None = None
    try_field_map: Callable[[Any, MessageContext], MapTrial] | None = None
    api: Api | None = None
    settings: Mapping[str, fields.Field[Any]] = field(default_factory=dict)
    zone: str = "Europe/Berlin"
    stuck_after: Mapping[str, timedelta] = field(default_factory=lambda: STUCK_AFTER)

    @property
    def sample_order_id(self) -> str:
        return self.sample_order[0]

    @property
    def names_orders_by_reference(self) -> bool:
        """Whether the shop's own number names an order at the courier, as its own ids do.

        It does where the courier can be polled by it. With other couriers the shop's number may
        look like the id of another order.
        """
        return self.api is not None and self.api.names_orders_by_reference

    def words_with(self, field_map: Mapping[str, Any]) -> dict[str, str]:
        """Return the words of an account: the courier's, then its field map's `statuses`."""
        added = field_map.get("statuses", {})
        return {**self.words, **{self.normalize_word(word): added[word] for word in added}}

    def map_word(self, word: str, field_map: Mapping[str, Any]) -> str | None:
        """Return our status for a courier's word, None where no status is mapped to it."""
        return self.words_with(field_map).get(self.normalize_word(word))

    def sample_word(self, field_map: Mapping[str, Any]) -> str:
        """Return the word of a sample: one that is mapped, where the account has any."""
        words = self.words_with(field_map)
        word = self.sample_order[1]
        return word if self.normalize_word(word) in words or not words else next(iter(words))

    def sample_body(
        self, state: SampleState | None = None, field_map: Mapping[str, Any] | None = None
    ) -> bytes:
        """Return the bytes of a sample webhook; without a state always the same ones.

        field_map: the account's, where the state does not have it. Raises: NoSample.
        """
        content, kind = self._make_content(state, field_map or {}), self.topics[ORDERS].body
        if kind == "empty":
            return b""
        if kind == "form":
            return urlencode(content, doseq=True).encode()
        body = [content] if kind == "array" else content
        return json.dumps(body, separators=(",", ":")).encode()

    def sample_query(
        self, state: SampleState | None = None, field_map: Mapping[str, Any] | None = None
    ) -> str:
        """Return the query of the same webhook: its content, where its body is empty."""
        if self.topics[ORDERS].body != "empty":
            return ""
        return urlencode(self._make_content(state, field_map or {}), doseq=True)

    def _make_content(self, state: SampleState | None, field_map: Mapping[str, Any]) -> Any:
        if state is None:
            order_id, word = self.sample_order_id, self.sample_word(field_map)
            state = SampleState(order_id, word, order_id, SAMPLE_AT, field_map=field_map)
        return self.make_sample(state)
