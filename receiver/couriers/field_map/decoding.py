"""Turn what a field map finds in a body into snapshots."""

from typing import Any

from receiver import statuses
from receiver.couriers import parsing
from receiver.couriers.body_reader import MAX_LEFT_OUT
from receiver.couriers.field_map.compiled_map import (
    CompiledMap,
    Preset,
    compile_map,
    normalize_word,
)
from receiver.couriers.field_map.reading import FoundOrder, NoOrders, read_orders
from receiver.couriers.snapshot import (
    Decoded,
    Event,
    Label,
    LeftOut,
    MessageContext,
    Moment,
    Snapshot,
    make_event,
    recency_of,
)
from receiver.errors import Undecodable
from receiver.times import rfc3339

# Of how many unreadable orders a body's quarantine says why.
MOST_PROBLEMS = 3


def decode_orders(preset: Preset, body: Any, context: MessageContext) -> Decoded:
    """Decode a webhook, or the response to a poll, by the account's field map.

    Shape:  as the map says: one order, or several; one that cannot be read is left out.
    Units:  times as parse_time() reads them; without one the state is an observation.
    Raises: Undecodable where no order can be read. An answer whose list of orders is empty is
            decoded to none: the courier does not know the order.
    """
    compiled = compile_map(preset, context.field_map)
    try:
        found = read_orders(compiled, body, context)
    except NoOrders:
        if context.kind == "poll":
            # The courier does not know the order.
            return Decoded()
        raise
    readable = [order for order in found if order.problem is None]
    if not readable:
        raise Undecodable(_explain_problems(found))
    left_out = [LeftOut(order.place, order.problem) for order in found if order.problem is not None]
    for order in readable:
        left_out += order.left_out
    snapshots = tuple(make_snapshot(compiled, order, context) for order in readable)
    unread = tuple(
        order.fields.get("courier_order_id") or "" for order in found if order.problem is not None
    )
    return Decoded(orders=snapshots, left_out=tuple(left_out[:MAX_LEFT_OUT]), unread=unread)


def _explain_problems(found: list[FoundOrder]) -> str:
    problems = [order.problem or "" for order in found]
    advice = "correct COURIER_<ACCOUNT>_FIELDS if the body has it elsewhere"
    if len(problems) == 1:
        return f"{problems[0]}: {advice}"
    shown = "; ".join(problems[:MOST_PROBLEMS])
    more = "; ..." if len(problems) > MOST_PROBLEMS else ""
    return f"none of the {len(problems)} orders can be read: {shown}{more}: {advice}"


def make_snapshot(compiled: CompiledMap, order: FoundOrder, context: MessageContext) -> Snapshot:
    """Make the snapshot of a readable order."""
    fields = order.fields
    zone = context.zone or compiled.zone
    pickup_at = parsing.in_zone(fields["pickup_at"], zone)
    moment = parsing.in_zone(fields["occurred_at"], zone)
    word = fields["courier_status"]
    normalized = normalize_word(word)
    status = compiled.words.get(normalized)
    if status == statuses.INFO_RECEIVED and pickup_at is not None:
        status = statuses.AWAITING_PICKUP
    event = make_event(
        word,
        status,
        context,
        moment,
        step=compiled.steps[normalized] if status else 0,
        reason=fields["reason"],
    )
    label = fields["label_url"]
    is_inline = isinstance(label, Label)
    details: dict[str, Any] = {
        "tracking_url": fields["tracking_url"],
        "label_url": None if is_inline else label,
        "pickup_at": rfc3339(pickup_at.at) if pickup_at else None,
    }
    newest = moment.at if moment else None
    events, parcels = [event], _plain_parcels(order)
    if "parcels" in compiled.expressions:
        is_complete = not any("parcels" in item.field for item in order.left_out)
        if context.kind == "poll" and fields["parcels"] and is_complete:
            details["complete_parcel_list"] = True
        for parcel in fields["parcels"] or ():
            number = parcel["tracking_number"]
            own_moment = parsing.in_zone(parcel["occurred_at"], zone)
            parcels[number] = {
                "tracking_url": parcel["tracking_url"],
                "courier_name": parcel["courier_name"] or fields["courier_name"],
                "listed": True,
            }
            if parcel["status"]:
                # An answer's time is that of the order's state, which a parcel may not have.
                is_dated = context.kind != "poll" or normalize_word(parcel["status"]) == normalized
                parcel_moment = own_moment or (moment if is_dated else None)
                events.append(_parcel_event(compiled, parcel, context, parcel_moment))
            if own_moment is not None:
                newest = max(newest or own_moment.at, own_moment.at)
    return Snapshot(
        courier_order_id=fields["courier_order_id"],
        recency=recency_of(newest, context),
        events=tuple(events),
        reference=fields["reference"],
        details=details,
        parcels=parcels,
        time_count=sum(each.reported_at is not None for each in events),
        label=label if is_inline else None,
    )


def _plain_parcels(order: FoundOrder) -> dict[str, dict[str, Any]]:
    """Return the parcels of which only the tracking number is known."""
    fields, numbers = order.fields, order.tracking_numbers
    if fields["tracking_number"]:
        numbers = (fields["tracking_number"],)
    # The order's page for tracking is a parcel's only where there is but one.
    url = fields["tracking_url"] if len(numbers) == 1 else None
    return {
        number: {"tracking_url": url, "courier_name": fields["courier_name"]} for number in numbers
    }


def _parcel_event(
    compiled: CompiledMap, parcel: dict[str, Any], context: MessageContext, moment: Moment | None
) -> Event:
    word = parcel["status"]
    normalized = normalize_word(word)
    status = compiled.words.get(normalized)
    return make_event(
        word,
        status,
        context,
        moment,
        step=compiled.steps[normalized] if status else 0,
        parcel=parcel["tracking_number"],
        of_shipment=moment is None,
    )
