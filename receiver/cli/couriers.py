"""`ordertrail couriers`, `drivers`, `tour` and `statuses`."""

from datetime import UTC, datetime
from typing import Any

import click

from receiver.accounts.account_status import list_account_statuses
from receiver.cli import output
from receiver.cli.options import Name, json_option
from receiver.cli.output import format_status, format_time
from receiver.cli.session import load_settings, open_database, read_environment, require_account
from receiver.couriers import DRIVERS
from receiver.couriers.contract import Driver
from receiver.couriers.vocabulary import describe_statuses
from receiver.errors import UnknownTour
from receiver.orders.order_json import render_tour
from receiver.orders.tour_etas import find_tour
from receiver.schemas.account import AccountListSchema
from receiver.schemas.fields import VocabularySchema
from receiver.settings import Account, BadSettings, Settings
from receiver.text import count_noun


@click.command()
@json_option
def couriers_command(as_json: bool) -> None:
    """Show the state of each courier account.

    When each account last received something, its counts of webhooks and polls, and whether it can
    be polled now. `missed` counts statuses that a poll returned before any webhook reported them.
    """
    settings = load_settings()
    with open_database(settings) as sessions, sessions() as session:
        statuses = list_account_statuses(session, settings.accounts, datetime.now(UTC))
        accounts = AccountListSchema().dump(statuses)
    if as_json:
        output.print_json(accounts)
        return
    columns: output.Columns = {
        "account": lambda account: f"{account['account']}{' (test)' if account['test'] else ''}",
        "courier": "courier",
        "last webhook": lambda account: format_time(account["last_webhook_at"]) or "never",
        "last poll": lambda account: format_time(account["last_poll_at"]) or "never",
        "webhooks": "webhooks",
        "requests": "poll_requests",
        "saved": "poll_requests_saved",
        "missed": _missed_webhooks,
        "due": "orders_due",
        "given up": "orders_given_up",
        "polling": _polling_state,
    }
    optional = ("saved", "courier", "requests", "last poll")
    table = output.GrowingTable(columns, wrap=("polling",), optional=optional)
    table.add(accounts["couriers"])
    for account in accounts["couriers"]:
        if account["discarded"]:
            discarded = count_noun(account["discarded"], "webhook")
            output.print_note(f"{account['account']}: {discarded} without news, not stored")
        for item in account["left_out"]:
            times = count_noun(item["count"], "message")
            output.print_note(f"{account['account']}: {item['field']} left out of {times}")
    if not accounts["couriers"]:
        output.print_note("No account is configured: set COURIER_<ACCOUNT>_SECRETS.")


def _missed_webhooks(account: output.JsonObject) -> str:
    count, ratio = account["missed_hooks"], account["missed_hook_ratio"]
    return f"{count} ({ratio:.1%})" if ratio else f"{count}"


def _polling_state(account: output.JsonObject) -> str:
    reason = account["pause_reason"]
    if not account["polled"]:
        return "not configured"
    if account["breaker"] == "closed":
        return "active"
    if account["breaker"] == "half_open":
        return f"testing with one request ({reason})"
    return f"paused until {format_time(account['paused_until'])} ({reason})"


@click.command()
@click.argument("account", type=Name())
@click.argument("tour_id", type=Name())
@json_option
def tour_command(account: str, tour_id: str, as_json: bool) -> None:
    """Show the latest plan of a tour."""
    settings = load_settings()
    with open_database(settings) as sessions, sessions() as session:
        try:
            tour = render_tour(find_tour(session, account, tour_id))
        except UnknownTour:
            require_account(settings, account)
            raise
    if as_json:
        output.print_json(tour)
        return
    window = (format_time(tour["window_from"]), format_time(tour["window_to"]))
    facts = {
        "driver": tour["courier_name"],
        "pickup at": format_time(tour["pick_up_at"]),
        "delivery": " - ".join(filter(None, window)),
        "received": format_time(tour["received_at"]),
    }
    columns: output.Columns = {
        "order": "order_id",
        "ETA": lambda stop: format_time(stop["eta"]),
        "packages": lambda stop: ", ".join(stop["packages"]),
    }
    output.print_line(f"Tour {tour['tour_id']} of {tour['account']}", "bold")
    output.print_facts(facts.items())
    output.print_line("")
    output.GrowingTable(columns, wrap=("packages",)).add(tour["stops"])


@click.command()
@click.argument("names", metavar="[DRIVER]...", nargs=-1)
@json_option
def drivers_command(names: tuple[str, ...], as_json: bool) -> None:
    """Show which couriers can be connected, and what their accounts need.

    COURIER_<ACCOUNT>_SECRETS switches an account on; it is polled once `polled with` is set, too.
    """
    if unknown := [name for name in names if name not in DRIVERS]:
        raise click.BadParameter(f"there is no driver {unknown[0]!r}: {', '.join(DRIVERS)}")
    described = [_describe_driver(name) for name in names or DRIVERS]
    if as_json:
        output.print_json({"drivers": described})
        return
    for driver in described:
        facts = {
            "authenticated by": driver["authentication"],
            "webhooks": ", ".join(driver["webhooks"]),
            "read by": {
                "required": "COURIER_<ACCOUNT>_FIELDS, a field map",
                "optional": "COURIER_<ACCOUNT>_FIELDS over the driver's own field map",
            }.get(driver["field_map"], ""),
            "polled at": driver["api_url"]
            or ("COURIER_<ACCOUNT>_API_URL" if driver["polling"] else ""),
            "polled with": ", ".join(f"COURIER_<ACCOUNT>_{name}" for name in driver["polling"]),
            **{f"COURIER_<ACCOUNT>_{name}": text for name, text in driver["settings"].items()},
        }
        output.print_line(driver["driver"], "bold")
        output.print_facts(facts.items())
        output.print_line("")


def _describe_driver(name: str) -> dict[str, Any]:
    driver = DRIVERS[name]
    api, secret = driver.api, "/<secret>" if driver.signature.in_url else ""
    return {
        "driver": name,
        "authentication": driver.signature.description,
        "webhooks": [f"/webhooks/<account>/{topic}{secret}" for topic in driver.topics],
        "field_map": _needs_field_map(driver),
        "api_url": api.url if api else None,
        "polling": Account(name, name, ()).missing_for_polling if api else [],
        "settings": {key: field.metadata["description"] for key, field in driver.settings.items()},
    }


def _needs_field_map(driver: Driver) -> str | None:
    if driver.check_field_map is None:
        return None
    return "required" if driver.check_field_map({}) else "optional"


@click.command()
@click.argument("couriers", metavar="[COURIER]...", nargs=-1)
@json_option
def statuses_command(couriers: tuple[str, ...], as_json: bool) -> None:
    """List our statuses and couriers' words for them: of all couriers, or of these.

    An account whose field map has words of its own has a column of its own.
    ! marks the statuses that need attention. An order with a terminal status is no longer polled.
    """
    vocabulary = VocabularySchema().dump(describe_statuses(_own_words()))
    known = sorted({name for row in vocabulary["statuses"] for name in row["couriers"]})
    if unknown := [name for name in couriers if name not in known]:
        raise click.BadParameter(f"no words of {unknown[0]!r} are known: {', '.join(known)}")
    shown = couriers or known
    for row in vocabulary["statuses"]:
        row["couriers"] = {name: row["couriers"][name] for name in shown if name in row["couriers"]}
    if as_json:
        output.print_json(vocabulary)
        return
    columns: output.Columns = {
        "status": lambda row: format_status(row["status"], row["needs_attention"]),
        "group": "group",
        "rank": "rank",
        "terminal": lambda row: "yes" if row["is_terminal"] else "",
        **{name: name for name in shown},
    }
    table = output.GrowingTable(columns, wrap=shown, optional=("rank", "group"))
    for row in vocabulary["statuses"]:
        row |= {name: ", ".join(row["couriers"].get(name, ())) for name in shown}
    table.add(vocabulary["statuses"])


def _own_words() -> dict[str, dict[str, str]]:
    """Return the words of accounts' own field maps; without usable settings there are none."""
    try:
        return Settings.from_env(read_environment()).own_words
    except BadSettings:
        output.print_note(
            "The settings of the service are not here, or have faults: shown are the couriers'"
            " words, without those of accounts' own field maps."
        )
        return {}
