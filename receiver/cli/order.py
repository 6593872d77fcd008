"""`ordertrail order` and `ordertrail events`: one order for people."""

import shlex
from collections.abc import Iterator

import click
from rich.text import Text

from receiver.cli import main
from receiver.cli.finding import the_order
from receiver.cli.options import json_option, order_arguments
from receiver.cli.output import (
    Fact,
    Sheet,
    Told,
    at,
    facts,
    note,
    print_json,
    say,
    status_text,
)
from receiver.orders.explain import FLAGS
from receiver.orders.listing import timeline
from receiver.schemas.order import OrderSchema
from receiver.schemas.timeline import TimelineSchema


@click.command()
@order_arguments
@json_option
def order(account: str, order_id: str, as_json: bool) -> None:
    """Show one order as we know it now.

    ORDER_ID is the courier's id or any other identifier that the courier gave the order.
    """
    with main.database() as session:
        told = OrderSchema().dump(the_order(session, account, order_id))
    print_json(told) if as_json else show(told)


def show(told: Told) -> None:
    """An order for people."""
    say(f"Order {told['courier_order_id']} of {told['account']}", "bold")
    facts([*_standing(told), *_details(told), *_asking(told)])


def _standing(told: Told) -> Iterator[Fact]:
    since = f"  since {at(told['status_at'])}" if told["status_at"] else ""
    yield "status", status_text(told["status"], told["needs_attention"]).append(since, "default")
    if told["needs_attention"]:
        name = f"{shlex.quote(told['account'])} {shlex.quote(told['courier_order_id'])}"
        yield "", f"a person should look: ordertrail explain {name}"
    yield "reason", told["reason"]
    yield "courier's word", told["courier_status"]
    if source := told["source"]:
        how = f"{source['kind']}, {source['trust']}, message {source['message_id']}"
        yield "told by", f"{how}, received {at(source['received_at'])}"


def _details(told: Told) -> Iterator[Fact]:
    yield "reference", told["reference"]
    for name, value in told["identifiers"].items():
        yield name.replace("_", " "), str(value)
    yield "tracking", told["tracking_url"]
    yield "label", told["label_url"]
    yield "pickup at", at(told["pickup_at"])
    if eta := told["eta"]:
        begins = f"{at(eta['from'])} - " if eta["from"] not in {None, eta["to"]} else ""
        said = f"told by {eta['source']} {at(eta['updated_at'])}"
        yield "to arrive", f"{begins}{at(eta['to'])}, {said}"
    for parcel in told["parcels"]:
        yield "parcels", _parcel(parcel)
    for name, time in told["milestones"].items():
        yield "milestones", f"{at(time)}  {name}"
    for name, value in told["metadata"].items():
        yield "metadata", f"{name}={value}"


def _asking(told: Told) -> Iterator[Fact]:
    polling = told["polling"]
    yield "last heard", at(told["last_heard_at"]) or "never"
    yield "last asked", at(polling["last_polled_at"])
    if polling["failures"]:
        yield "", f"without an answer, {polling['failures']} times in a row"
    yield "next asked", at(polling["next_poll_at"])
    if polling["stopped_at"]:
        yield "given up", f"{at(polling['stopped_at'])}: {polling['stop_reason']}"
    known = f"known since {at(told['created_at'])}"
    yield "version", f"{told['version']}, since {at(told['updated_at'])}; {known}"


def _parcel(parcel: Told) -> str:
    told = [parcel["tracking_number"], parcel["status"], parcel["courier_name"]]
    return "  ".join(it for it in [*told, parcel["tracking_url"]] if it)


@click.command()
@order_arguments
@json_option
def events(account: str, order_id: str, as_json: bool) -> None:
    """Show an order's timeline, the oldest first, with what did not count and why.

    `ordertrail explain` tells the same with every message and what decided.
    """
    with main.database() as session:
        told = TimelineSchema().dump(timeline(session, the_order(session, account, order_id)))
    if as_json:
        print_json(told)
    elif told["events"]:
        Sheet(
            "happened",
            "status",
            "courier's word",
            "parcel",
            "told by",
            "notes",
            fold=("notes",),
            spare=("told by",),
        ).add(map(_event, told["events"]))
    else:
        note("Nothing was heard of it yet.")


def _event(told: Told) -> list[str | Text | None]:
    source = told["source"]
    notes = [
        *([] if told["applied"] else [f"does not count: {told['not_applied_why']}"]),
        *([told["reason"]] if told["reason"] else []),
        *(FLAGS.get(flag, flag) for flag in told["flags"]),
        *(" ".join(str(it) for it in proof.values() if it) for proof in told["proofs"]),
    ]
    return [
        at(told["occurred_at"]),
        status_text(told["status"]) if told["applied"] else Text(told["status"], "dim"),
        told["courier_status"],
        told["parcel"],
        f"{source['kind']}, message {source['message_id']}",
        "; ".join(notes),
    ]
