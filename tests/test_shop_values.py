"""What registrations and corrections come to, whenever two names turn out to be one order's."""

from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from receiver.db.order_state import OrderState
from receiver.orders.corrections.shop_values import (
    add_corrections,
    add_registration,
    merge_shop_values,
)
from tests.bodies import START, after

references = st.sampled_from([None, "41", "42"])
metadata = st.none() | st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"]))
registrations = st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "y"]), "reference": references, "metadata": metadata}
)
corrections = st.fixed_dictionaries(
    {},
    optional={
        "reference": references,
        "metadata": metadata,
        "tracking": st.sampled_from(["active", "stopped"]),
    },
)
# By which of the two orders, as they were known then, the shop named.
statements = st.lists(st.tuples(st.integers(0, 1), registrations | corrections), max_size=8)


def new_order() -> OrderState:
    return OrderState(1, "tiramizoo", "tiramizoo", "x-0", START, START)


def state(order: OrderState, number: int, said: dict[str, Any], at: datetime) -> None:
    if "name" in said:
        add_registration(order, f"{said['name']}-{number}", at, said["reference"], said["metadata"])
    else:
        add_corrections(order, said, at)


@given(statements, st.booleans())
def test_it_does_not_matter_when_two_orders_turn_out_to_be_one(
    said: list[tuple[int, dict[str, Any]]], reverse: bool
) -> None:
    """One order of which all is said, or two of which some is said each, and which then merge."""
    one, parts = new_order(), [new_order(), new_order()]
    for minute, (number, statement) in enumerate(said):
        state(one, number, statement, after(minute))
        state(parts[number], number, statement, after(minute))
    merged = new_order()
    merge_shop_values(merged, parts[::-1] if reverse else parts)
    assert merged == one


@given(statements, corrections)
def test_a_correction_precedes_all_that_was_said_before_it(
    said: list[tuple[int, dict[str, Any]]], correction: dict[str, Any]
) -> None:
    order = new_order()
    for minute, (number, statement) in enumerate(said):
        state(order, number, statement, after(minute))
    before = order.shop_reference, order.shop_metadata, order.tracking_stopped_at is not None
    add_corrections(order, correction, after(len(said)))
    assert order.shop_reference == correction.get("reference", before[0])
    given_metadata = correction.get("metadata", before[1])
    assert order.shop_metadata == (given_metadata or {})
    is_stopped = correction["tracking"] == "stopped" if "tracking" in correction else before[2]
    assert (order.tracking_stopped_at is not None) == is_stopped
