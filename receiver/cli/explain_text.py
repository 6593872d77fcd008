"""The explanation of an order as plain text, for a terminal or a ticket."""

from collections.abc import Iterable
from typing import Any

from receiver.orders.explain import FLAG_TEXTS, Explanation, describe_setter
from receiver.text import count_noun, replace_unprintable


def format_explanation(explanation: Explanation) -> str:
    """Return the explanation as lines of text, readable without knowing the code."""
    order, messages = explanation["order"], explanation["messages"]
    reference = f", your reference {order['reference']}" if order["reference"] else ""
    since = f" since {_format_time(order['status_at'])}" if order["status_at"] else ""
    reason = f", because {order['reason']}" if order["reason"] else ""
    lines = [
        f"Order {order['courier_order_id']} of {order['account']}{reference}",
        f"Status: {order['status']}{since}{reason}",
        f"  {describe_setter(explanation)}",
        "",
        f"Messages ({count_noun(len(messages), 'message')}, in order of arrival):",
        *_format_table(map(_message_row, messages)),
        "",
        "Events, by the courier's clock:",
        *_format_table(map(_event_row, explanation["events"])),
    ]
    if explanation["etas"]:
        lines += ["", "Expected arrival, as reported over time:"]
        lines += _format_table(map(_eta_row, explanation["etas"]))
    if explanation["details"]:
        lines += ["", "Details and their messages:"]
        lines += _format_table(map(_detail_row, explanation["details"]))
    lines += ["", "Conflicts:" if explanation["conflicts"] else "Conflicts: none"]
    lines += _format_table(map(_conflict_row, explanation["conflicts"]))
    return "\n".join(map(replace_unprintable, lines)) + "\n"


def _message_row(message: dict[str, Any]) -> list[str]:
    new = ", ".join(dict.fromkeys(message["first_told"]))
    outcome = f"first to report: {new}" if new else "reported nothing new"
    if message["outcome"] != "applied":
        outcome = f"{message['outcome']}: {message['reason'] or 'not processed yet'}"
    elif message["topic"] != "orders":
        outcome = "a tour plan: sets ETAs, never a status"
    repetitions = message["repetitions"]
    return [
        f"message {message['id']}",
        _format_time(message["received_at"]),
        f"{message['kind']}, {message['trust']}",
        outcome,
        f"repeated {count_noun(repetitions, 'time')}" if repetitions else "",
    ]


def _event_row(event: dict[str, Any]) -> list[str]:
    applied = "applied" if event["applied"] else f"not applied: {event['not_applied_why']}"
    if event["set_status"]:
        applied = "applied, and set the status"
    notes = [
        *([f"parcel {event['parcel']}"] if event["parcel"] else []),
        *([event["reason"]] if event["reason"] else []),
        applied,
        *(FLAG_TEXTS.get(flag, flag) for flag in event["flags"]),
    ]
    return [
        _format_time(event["occurred_at"]),
        f"{event['courier_status']} -> {event['status']}",
        f"message {event['message_id']}",
        "; ".join(notes),
    ]


def _eta_row(eta: dict[str, Any]) -> list[str]:
    reported = f"reported {_format_time(eta['updated_at'])}"
    return [reported, _format_time(eta["to"]), eta["source"]]


def _detail_row(detail: dict[str, Any]) -> list[str]:
    return [detail["name"], str(detail["value"]), f"message {detail['message_id']}"]


def _conflict_row(conflict: dict[str, Any]) -> list[str]:
    state = "open"
    if conflict["closed_at"]:
        state = f"closed {_format_time(conflict['closed_at'])} by {conflict['closed_by']}"
        state += f": {conflict['note']}" if conflict["note"] else ""
    elif conflict["settled_at"]:
        state = f"settled by an event of {_format_time(conflict['settled_at'])}"
    return [conflict["id"], _format_time(conflict["occurred_at"]), conflict["kind"], state]


def _format_time(time: str | None) -> str:
    return f"{time[:10]} {time[11:19]}" if time else "?"


def _format_table(rows: Iterable[list[str]]) -> list[str]:
    """Return rows as indented lines with aligned columns."""
    cells = [[replace_unprintable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
