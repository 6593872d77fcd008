"""What a field map makes of a body, for people who write one."""

from dataclasses import dataclass
from typing import Any

from receiver.couriers.field_map.compiled_map import Preset, compile_map
from receiver.couriers.field_map.decoding import make_snapshot
from receiver.couriers.field_map.reading import FoundOrder, is_noise, read_orders
from receiver.couriers.snapshot import Event, LeftOut, MessageContext, Snapshot
from receiver.errors import Undecodable


@dataclass(frozen=True, slots=True)
class OrderTrial:
    """One order of the body.

    place     where it stands: `orders.2`, empty where the body is the order
    snapshot  what it says, None where it cannot be read
    problem   why it cannot be read
    missing   the fields whose expression found nothing
    """

    place: str
    snapshot: Snapshot | None
    problem: str | None
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MapTrial:
    """What a field map makes of a body.

    is_noise        whether a webhook with this body is thrown away, and not read
    problem         why the body has no order at all, None where it has
    left_out        what was found and could not be read
    unmapped_words  the courier's words that no status is mapped to, in the order of the body
    """

    is_noise: bool = False
    problem: str | None = None
    orders: tuple[OrderTrial, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    unmapped_words: tuple[str, ...] = ()

    @property
    def is_readable(self) -> bool:
        """Whether the body would not be quarantined."""
        return self.is_noise or any(order.snapshot is not None for order in self.orders)


def try_map(preset: Preset, body: Any, context: MessageContext) -> MapTrial:
    """Apply the context's field map to a body, as the endpoint and decode_orders() do."""
    compiled = compile_map(preset, context.field_map)
    if context.kind == "webhook" and is_noise(preset, body, context.field_map):
        return MapTrial(is_noise=True)
    try:
        found = read_orders(compiled, body, context)
    except Undecodable as error:
        return MapTrial(problem=str(error))

    def try_order(order: FoundOrder) -> OrderTrial:
        readable = order.problem is None
        snapshot = make_snapshot(compiled, order, context) if readable else None
        return OrderTrial(order.place, snapshot, order.problem, order.missing)

    orders = tuple(map(try_order, found))
    events = [event for order in orders if order.snapshot for event in order.snapshot.events]
    return MapTrial(
        orders=orders,
        left_out=tuple(item for order in found for item in order.left_out),
        unmapped_words=tuple(dict.fromkeys(filter(None, map(_unmapped_word, events)))),
    )


def _unmapped_word(event: Event) -> str | None:
    # Only a word that no status is mapped to has no step.
    return event.courier_status if event.step < 0 else None
