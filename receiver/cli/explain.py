"""`ordertrail explain`: an order's explanation, readable without knowing the code."""

import click

from receiver.cli import output
from receiver.cli.options import json_option, order_arguments, validate_options
from receiver.cli.output import format_time
from receiver.cli.session import open_order
from receiver.orders.explain import FLAG_TEXTS, explain_order
from receiver.schemas.history import ExplanationFiltersSchema
from receiver.text import count_noun


@click.command()
@order_arguments
@click.option("--limit", type=int, help="Messages, events and details each, 1 to 200.")
@click.option("--cursor", help="Continue after an earlier page.")
@json_option
def explain_command(
    account: str, order_id: str, limit: int | None, cursor: str | None, as_json: bool
) -> None:
    """Explain why an order has its current status.

    Shows every message, every event and whether it was applied, and where each detail comes from;
    the first 200 of each. ORDER_ID is the courier's id of the order, or any other identifier that
    the courier gave it.
    """
    page = validate_options(ExplanationFiltersSchema(), limit=limit, cursor=cursor)
    with open_order(account, order_id) as (session, order):
        explanation = explain_order(session, order, page)
    if as_json:
        output.print_json(explanation)
        return
    order = explanation["order"]
    reference = f", your reference {order['reference']}" if order["reference"] else ""
    since = f" since {format_time(order['status_at'])}" if order["status_at"] else ""
    reason = f", because {order['reason']}" if order["reason"] else ""
    output.print_line(f"Order {order['courier_order_id']} of {order['account']}{reference}", "bold")
    output.print_line(f"Status: {order['status']}{since}{reason}")
    output.print_line(f"  {explanation['summary']}")
    tables: dict[str, tuple[list[output.JsonObject], output.Columns]] = {
        f"{count_noun(explanation['message_count'], 'message')}, in order of arrival": (
            explanation["messages"],
            {
                "message": "id",
                "received": "received_at",
                "type": lambda message: f"{message['kind']}, {message['trust']}",
                "outcome": _message_outcome,
            },
        ),
        "Events, by the courier's clock": (
            explanation["events"],
            {
                "occurred": "occurred_at",
                "status": lambda event: f"{event['courier_status']} -> {event['status']}",
                "message": "message_id",
                "notes": _event_notes,
            },
        ),
        "Expected arrival, as reported over time": (
            explanation["etas"],
            {"reported": "updated_at", "ETA": lambda eta: format_time(eta["to"]), "by": "source"},
        ),
        "Details and their messages": (
            explanation["details"],
            {"detail": "name", "value": "value", "message": "message_id"},
        ),
        "Conflicts": (
            explanation["conflicts"],
            {"id": "id", "occurred": "occurred_at", "kind": "kind", "state": _conflict_state},
        ),
    }
    for title, (rows, columns) in tables.items():
        if rows:
            output.print_line("")
            output.print_line(f"{title}:", "bold")
            output.GrowingTable(columns, wrap=("outcome", "notes", "value", "state")).add(rows)
    if explanation["next_cursor"]:
        output.print_note(f"There is more: use --cursor {explanation['next_cursor']}")


def _message_outcome(message: output.JsonObject) -> str:
    new = ", ".join(dict.fromkeys(message["first_told"]))
    outcome = f"first to report: {new}" if new else "reported nothing new"
    if message["outcome"] != "applied":
        outcome = f"{message['outcome']}: {message['reason'] or 'not processed yet'}"
    elif message["topic"] != "orders":
        outcome = "a tour plan: sets ETAs, never a status"
    if message["left_out"]:
        fields = ", ".join(item["field"] for item in message["left_out"])
        outcome = f"{outcome}; could not read {fields}"
    repetitions = message["repetitions"]
    return f"{outcome}; repeated {count_noun(repetitions, 'time')}" if repetitions else outcome


def _event_notes(event: output.JsonObject) -> str:
    applied = "applied" if event["applied"] else f"not applied: {event['not_applied_why']}"
    notes = [
        *([f"parcel {event['parcel']}"] if event["parcel"] else []),
        *([event["reason"]] if event["reason"] else []),
        "applied, and set the status" if event["set_status"] else applied,
        *(FLAG_TEXTS.get(flag, flag) for flag in event["flags"]),
    ]
    return "; ".join(notes)


def _conflict_state(conflict: output.JsonObject) -> str:
    if conflict["closed_at"]:
        note = f": {conflict['note']}" if conflict["note"] else ""
        return f"closed {format_time(conflict['closed_at'])} by {conflict['closed_by']}{note}"
    if conflict["settled_at"]:
        return f"settled by an event of {format_time(conflict['settled_at'])}"
    return "open"
