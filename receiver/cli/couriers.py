"""`ordertrail couriers`, `tour` and `statuses`."""

from datetime import UTC, datetime

import click

from receiver.accounts.account_status import list_account_statuses
from receiver.cli.options import Name, json_option
from receiver.cli.output import (
    GrowingTable,
    JsonObject,
    Row,
    format_status,
    format_time,
    print_facts,
    print_json,
    print_line,
    print_note,
)
from receiver.cli.session import load_settings, open_database, open_transaction, require_account
from receiver.couriers.vocabulary import describe_statuses
from receiver.errors import UnknownTour
from receiver.orders.tour_etas import find_tour
from receiver.schemas.account import AccountListSchema
from receiver.schemas.fields import VocabularySchema
from receiver.schemas.history import TourSchema


@click.command()
@json_option
def couriers_command(as_json: bool) -> None:
    """Show the state of each courier account.

    When each account last received something, its counts of webhooks and polls, and whether it can
    be polled now. `missed` counts statuses that a poll returned before any webhook reported them.
    """
    settings = load_settings()
    with open_database(settings) as sessions, sessions() as session:
        accounts = AccountListSchema().dump(
            list_account_statuses(session, settings.accounts, datetime.now(UTC))
        )
    if as_json:
        print_json(accounts)
    elif accounts["couriers"]:
        GrowingTable(
            "account",
            "courier",
            "last webhook",
            "last poll",
            "webhooks",
            "requests",
            "saved",
            "missed",
            "due",
            "given up",
            "polling",
            wrap=("polling",),
            optional=("saved", "courier", "requests", "last poll"),
        ).add(map(_account_row, accounts["couriers"]))
    else:
        print_note("No account is configured: set COURIER_<ACCOUNT>_SECRETS.")


def _account_row(account: JsonObject) -> Row:
    missed, ratio = str(account["missed_hooks"]), account["missed_hook_ratio"]
    return [
        account["account"],
        account["courier"],
        format_time(account["last_webhook_at"]) or "never",
        format_time(account["last_poll_at"]) or "never",
        str(account["webhooks"]),
        str(account["poll_requests"]),
        str(account["poll_requests_saved"]),
        f"{missed} ({ratio:.1%})" if ratio else missed,
        str(account["orders_due"]),
        str(account["orders_given_up"]),
        _polling_state(account),
    ]


def _polling_state(account: JsonObject) -> str:
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
    with open_transaction() as session:
        try:
            tour = TourSchema().dump(find_tour(session, account, tour_id))
        except UnknownTour:
            require_account(load_settings(), account)
            raise
    if as_json:
        print_json(tour)
        return
    print_line(f"Tour {tour['tour_id']} of {tour['account']}", "bold")
    window = [format_time(tour["window_from"]), format_time(tour["window_to"])]
    print_facts(
        [
            ("driver", tour["courier_name"]),
            ("pickup at", format_time(tour["pick_up_at"])),
            ("delivery", " - ".join(window) if all(window) else "".join(window)),
            ("received", format_time(tour["received_at"])),
        ]
    )
    print_line("")
    GrowingTable("order", "ETA", "packages", wrap=("packages",)).add(
        [stop["order_id"], format_time(stop["eta"]), ", ".join(stop["packages"])]
        for stop in tour["stops"]
    )


@click.command()
@json_option
def statuses_command(as_json: bool) -> None:
    """List our statuses with each courier's words for them.

    ! marks the statuses that need attention. An order with a terminal status is no longer polled.
    """
    vocabulary = VocabularySchema().dump(describe_statuses())
    if as_json:
        print_json(vocabulary)
        return
    couriers = sorted({name for row in vocabulary["statuses"] for name in row["couriers"]})
    columns = ("status", "group", "rank", "terminal", *couriers)
    GrowingTable(*columns, wrap=couriers, optional=("rank", "group")).add(
        [
            format_status(row["status"], row["needs_attention"]),
            row["group"],
            str(row["rank"]),
            "yes" if row["is_terminal"] else "",
            *(", ".join(row["couriers"].get(name, ())) for name in couriers),
        ]
        for row in vocabulary["statuses"]
    )
