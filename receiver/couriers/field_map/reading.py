"""Apply a field map to a body: find its orders, and read the fields of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError

from receiver.couriers import parsing
from receiver.couriers.body_reader import read_fields
from receiver.couriers.field_map.compiled_map import REQUIRED, CompiledMap, Preset, compile_map
from receiver.couriers.field_map.expressions import (
    Evaluation,
    ExpressionFailed,
    TooManySteps,
    describe_value,
)
from receiver.couriers.inline_label import optional_url_or_label
from receiver.couriers.snapshot import LeftOut, MessageContext
from receiver.errors import Undecodable

# Each order takes a worker some milliseconds, and all of a body are folded together.
MAX_ORDERS = 1_000
# Under this name an order of a list also sees the whole body.
BODY = "_body"


class NoOrders(Undecodable):
    """The list of a body's orders is empty."""


class ParcelSchema(parsing.Body):
    """One parcel, as the expression `parcels` gives it."""

    tracking_number = parsing.required_name()
    tracking_url = parsing.optional_url()
    courier_name = parsing.optional_text()
    status = parsing.optional_name()
    occurred_at = parsing.optional_time()


class FoundSchema(parsing.Body):
    """What the expressions find for one order."""

    courier_order_id = parsing.optional_name()
    courier_status = parsing.optional_name()
    reference = parsing.optional_name()
    occurred_at = parsing.optional_time()
    reason = parsing.optional_text()
    courier_name = parsing.optional_text()
    tracking_number = parsing.optional_name()
    tracking_url = parsing.optional_url()
    label_url = optional_url_or_label()
    pickup_at = parsing.optional_time()
    parcels = parsing.optional_list(ParcelSchema)


TRACKING_NUMBER = parsing.required_name()


@dataclass(frozen=True, slots=True)
class FoundOrder:
    """What a field map finds of one order in a body.

    place             where the order stands: `orders.2`, empty where the body is the order
    fields            its fields by name, as FoundSchema reads them
    tracking_numbers  those of `tracking_number` where it finds a list
    left_out          what could not be read; its paths begin with the place
    missing           the fields whose expression found nothing
    problem           why the order cannot be read, None where it can
    """

    place: str
    fields: Mapping[str, Any]
    tracking_numbers: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    missing: tuple[str, ...]
    problem: str | None


def is_noise(preset: Preset, body: Any, field_map: Mapping[str, Any]) -> bool:
    """Return whether the map's `noise` finds anything in a webhook's body.

    A body that it cannot be applied to is none.
    """
    noise = compile_map(preset, field_map).noise
    if noise is None:
        return False
    try:
        return not parsing.is_empty(Evaluation().find(noise, body))
    except (ExpressionFailed, TooManySteps):
        return False


def read_orders(compiled: CompiledMap, body: Any, context: MessageContext) -> list[FoundOrder]:
    """Return what a map finds of each order in a body, at least of one, readable or not.

    Raises: Undecodable where the body holds no order, or too many, or is too large for the map.
    """
    evaluation = Evaluation()
    try:
        if compiled.orders is None:
            if not isinstance(body, dict):
                raise Undecodable(
                    f"the body is {describe_value(body)} and not one order: give the field map's"
                    " `orders` the expression that finds the orders in it (`@` for the body)"
                )
            return [_read_order(compiled, evaluation, body, "", context.polled_order_id)]
        entries = _find_orders(compiled, evaluation, body)
        known_id = context.polled_order_id if len(entries) == 1 else ""
        return [
            _read_entry(compiled, evaluation, entry, body, f"orders.{number}", known_id)
            for number, entry in enumerate(entries)
        ]
    except TooManySteps:
        raise Undecodable(
            "the body is too large for the expressions of the field map: make them simpler"
        ) from None


def _find_orders(compiled: CompiledMap, evaluation: Evaluation, body: Any) -> list[Any]:
    text = compiled.texts["orders"]
    try:
        found = evaluation.find(compiled.orders or {}, body)
    except ExpressionFailed as error:
        raise Undecodable(f"orders at {text!r}: {error}: correct the field map") from None
    if isinstance(found, dict) and found:
        # PHP writes a list with gaps as an object; any other object is the only order.
        found = list(found.values()) if all(key.isdecimal() for key in found) else [found]
    if not isinstance(found, list) or not found:
        raise (NoOrders if found == [] else Undecodable)(
            f"no order in the body: `orders` ({text!r}) finds {describe_value(found)}: correct the"
            " field map if the body has them elsewhere"
        )
    if len(found) > MAX_ORDERS:
        raise Undecodable(f"the body holds {len(found)} orders, more than {MAX_ORDERS}")
    return found


def _read_entry(
    compiled: CompiledMap, evaluation: Evaluation, entry: Any, body: Any, place: str, known_id: str
) -> FoundOrder:
    if not isinstance(entry, dict):
        why = f"it is {describe_value(entry)}, not an object"
        return FoundOrder(place, {}, (), (), (), f"{place}: {why}")
    return _read_order(compiled, evaluation, {**entry, BODY: body}, place, known_id)


def _read_order(
    compiled: CompiledMap, evaluation: Evaluation, entry: dict[str, Any], place: str, known_id: str
) -> FoundOrder:
    """Read the fields of one order. known_id: its id where the order itself need not name it."""
    prefix = f"{place}." if place else ""
    found: dict[str, Any] = {}
    left_out: list[LeftOut] = []
    for name, expression in compiled.expressions.items():
        try:
            found[name] = evaluation.find(expression, entry)
        except ExpressionFailed as error:
            left_out.append(LeftOut(f"{prefix}{name}", f"the field map: {error}"))
    missing = tuple(name for name, value in found.items() if parsing.is_empty(value))
    numbers = _take_tracking_numbers(found, left_out, prefix)
    fields, refused = read_fields(FoundSchema, found)
    left_out += [
        LeftOut(f"{prefix}{item.field}", _explain(item, found, compiled)) for item in refused
    ]
    if fields["courier_order_id"] is None and known_id:
        fields["courier_order_id"] = known_id
    problem = None
    for name in REQUIRED:
        if fields[name] is None:
            path = f"{prefix}{name}"
            whys = [item.why for item in left_out if item.field == path]
            why = whys[0] if whys else f"it finds {describe_value(found.get(name))}"
            problem = f"no {path} at {compiled.texts[name]!r} ({why})"
            break
    return FoundOrder(place, fields, numbers, tuple(left_out), missing, problem)


def _take_tracking_numbers(
    found: dict[str, Any], left_out: list[LeftOut], prefix: str
) -> tuple[str, ...]:
    """Take a list of tracking numbers out of what was found; a single one is read as a text."""
    values = found.get("tracking_number")
    if not isinstance(values, list):
        return ()
    found["tracking_number"] = None
    numbers: list[str] = []
    for position, value in enumerate(values):
        if parsing.is_empty(value):
            continue
        try:
            numbers.append(TRACKING_NUMBER.deserialize(value))
        except ValidationError as error:
            why = " ".join(map(str, error.messages))
            left_out.append(LeftOut(f"{prefix}tracking_number.{position}", why))
    return tuple(dict.fromkeys(numbers))


def _explain(item: LeftOut, found: Mapping[str, Any], compiled: CompiledMap) -> str:
    value = found.get(item.field)
    if item.field != "parcels" and isinstance(value, list | dict):
        text = compiled.texts[item.field]
        return f"{text!r} finds {describe_value(value)} where one value is needed"
    return item.why
