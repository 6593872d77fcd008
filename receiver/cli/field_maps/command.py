"""`ordertrail fields try`: what a field map makes of a body."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO, Any

import click

from receiver.cli import output
from receiver.cli.options import Name
from receiver.cli.session import read_environment
from receiver.couriers import DRIVERS
from receiver.couriers.field_map.trial import MapTrial, OrderTrial
from receiver.couriers.snapshot import TIME_INFERRED, ZONE_ASSUMED, Event, Snapshot
from receiver.errors import UnreadableBody
from receiver.inbox.content import parse_content
from receiver.orders.explain import FLAG_TEXTS
from receiver.settings import Account, BadSettings, Settings
from receiver.standalone.launch import PLACEHOLDERS
from receiver.text import count_noun
from receiver.times import rfc3339

# The settings of an account that say how its bodies are read.
READING_SETTINGS = ("DRIVER", "FIELDS", "ZONE")


@click.group()
def fields_command() -> None:
    """Try a field map on a body.

    A field map is COURIER_<ACCOUNT>_FIELDS, a JSON object of JMESPath expressions.
    """


@fields_command.command("try")
@click.option("--account", type=Name(), help="The account whose map it is.")
@click.option("--file", "file", type=click.File("rb"), required=True, help="A body; - is stdin.")
@click.option("--map", "map_file", type=click.File("rb"), help="A map to use in its place.")
@click.option("--poll", is_flag=True, help="Read the body as the answer to a poll.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def try_command(
    account: str | None, file: IO[bytes], map_file: IO[bytes] | None, poll: bool, as_json: bool
) -> None:
    """Show what a field map makes of a body: its orders, what was left out, and unmapped words.

    The map is COURIER_<ACCOUNT>_FIELDS of the environment, or that of --map. Nothing is stored, and
    neither a database nor any other setting is needed.

    Exit code 1 if no order can be read.
    """
    if account is None and map_file is None:
        raise click.UsageError("give --account, --map, or both")
    reader = _reading_account(account, map_file)
    driver = DRIVERS[reader.driver]
    if driver.try_field_map is None:
        raise click.UsageError(f"account {account}: {driver.name} does not use a field map")
    kind = "poll" if poll else "webhook"
    try:
        if driver.api is not None and poll:
            body = parse_content(file.read(), driver.api.answer_body)
        else:
            body = parse_content(file.read(), driver.topics["orders"].body)
        trial = driver.try_field_map(body, reader.message_context(datetime.now(UTC), kind))
    except UnreadableBody as error:
        trial = MapTrial(problem=str(error))
    if as_json:
        output.print_json(_render_trial(trial))
    else:
        _print_trial(trial, reader.zone or driver.zone)
    if not trial.is_readable:
        sys.exit(1)


def _reading_account(name: str | None, map_file: IO[bytes] | None) -> Account:
    """Return the account with what is needed to read its bodies. Raises: click.UsageError."""
    slug = (name or "fields").lower().replace("_", "-")
    account = Account(slug, "", ())
    environ = read_environment()
    # Whatever the account is used for otherwise does not matter here.
    given = {**PLACEHOLDERS, account.env_name("SECRETS"): "placeholder"}
    for setting in READING_SETTINGS:
        names = (account.env_name(setting), f"{account.env_name(setting)}_FILE")
        given |= {each: environ[each] for each in names if name and each in environ}
    if map_file is not None:
        given.pop(f"{account.env_name('FIELDS')}_FILE", None)
        given[account.env_name("FIELDS")] = map_file.read().decode(errors="replace")
        if slug not in DRIVERS:
            given.setdefault(account.env_name("DRIVER"), "fields")
    try:
        return Settings.from_env(given).accounts[slug]
    except BadSettings as error:
        setting, source = account.env_name("FIELDS"), "--map" if map_file else ""
        faults = [fault.replace(setting, source or setting, 1) for fault in error.faults]
        raise click.UsageError("\n  ".join(faults)) from None


def _render_trial(trial: MapTrial) -> dict[str, Any]:
    return {
        "noise": trial.is_noise,
        "problem": trial.problem,
        "orders": [_render_order(order) for order in trial.orders],
        "left_out": [{"field": item.field, "why": item.why} for item in trial.left_out],
        "unmapped_words": list(trial.unmapped_words),
    }


def _render_order(order: OrderTrial) -> dict[str, Any]:
    shown: dict[str, Any] = {"place": order.place, "problem": order.problem}
    if (snapshot := order.snapshot) is not None:
        event = snapshot.events[0]
        shown |= {
            "courier_order_id": snapshot.courier_order_id,
            "reference": snapshot.reference,
            "status": event.status,
            "courier_status": event.courier_status,
            "occurred_at": rfc3339(event.reported_at) if event.reported_at else None,
            "assumed": sorted(event.flags),
            "reason": event.reason,
            "tracking_url": snapshot.details.get("tracking_url"),
            "label": _describe_label(snapshot),
            "pickup_at": snapshot.details.get("pickup_at"),
            "parcels": _render_parcels(snapshot),
        }
    return {**shown, "found_nothing": list(order.missing)}


def _render_parcels(snapshot: Snapshot) -> list[dict[str, Any]]:
    events: dict[str, Event] = {event.parcel: event for event in snapshot.events if event.parcel}
    return [
        {
            "tracking_number": number,
            "tracking_url": values["tracking_url"],
            "courier_name": values["courier_name"],
            "status": events[number].status if number in events else None,
            "courier_status": events[number].courier_status if number in events else None,
        }
        for number, values in snapshot.parcels.items()
    ]


def _describe_label(snapshot: Snapshot) -> str | None:
    if snapshot.label is not None:
        return f"{snapshot.label.content_type}, {len(snapshot.label.content)} bytes"
    url: str | None = snapshot.details.get("label_url")
    return url


def _print_trial(trial: MapTrial, zone: str) -> None:
    if trial.is_noise:
        output.print_line(
            "`noise` finds something: the webhook is answered and thrown away.", "bold"
        )
        return
    if trial.problem is not None:
        output.print_line("No order can be read: the message would be quarantined.", "bold")
        output.print_line(f"  {trial.problem}")
        return
    for order in trial.orders:
        _print_order(_render_order(order), zone)
    if trial.left_out:
        output.print_line("Left out:", "bold")
        output.print_facts((item.field, item.why) for item in trial.left_out)
        output.print_line("")
    if trial.unmapped_words:
        words = ", ".join(map(repr, trial.unmapped_words))
        output.print_line(f"No status is mapped to {words}: add to `statuses` what is meant.")
    read = sum(order.snapshot is not None for order in trial.orders)
    output.print_line(f"{count_noun(read, 'order')} of {len(trial.orders)} can be read.")


def _print_order(order: dict[str, Any], zone: str) -> None:
    place = f" ({order['place']})" if order["place"] else ""
    if order["problem"] is not None:
        output.print_line(f"No order{place}", "bold")
        output.print_line(f"  {order['problem']}")
        output.print_line("")
        return
    output.print_line(f"Order {order['courier_order_id']}{place}", "bold")
    facts = {
        "status": f"{order['status']} (their word: {order['courier_status']})",
        "since": order["occurred_at"] or "no time found: the time of arrival counts",
        "assumed": "; ".join(_explain_flags(order["assumed"], zone)),
        **{name: order[name] for name in ("reference", "reason", "tracking_url", "label")},
        "pickup": order["pickup_at"],
        "parcels": "; ".join(map(_describe_parcel, order["parcels"])),
        "found nothing": ", ".join(order["found_nothing"]),
    }
    output.print_facts(facts.items())
    output.print_line("")


def _explain_flags(flags: list[str], zone: str) -> Iterator[str]:
    texts = {**FLAG_TEXTS, ZONE_ASSUMED: f"the courier's time had no time zone: {zone} is used"}
    # `since` says by itself that there is no time.
    return (texts.get(flag, flag) for flag in flags if flag != TIME_INFERRED)


def _describe_parcel(parcel: dict[str, Any]) -> str:
    words = f"{parcel['status']} (their word: {parcel['courier_status']})"
    about = [parcel["courier_name"], words if parcel["status"] else None, parcel["tracking_url"]]
    return ", ".join([parcel["tracking_number"], *filter(None, about)])
