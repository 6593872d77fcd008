"""`ordertrail couriers`, `tour` and `statuses`."""

from datetime import UTC, datetime

import click

from receiver.accounts.account_status import list_account_statuses
from receiver.cli import main
from receiver.cli.finding import refuse_unknown
from receiver.cli.options import Name, json_option
from receiver.cli.output import Sheet, Told, at, facts, note, print_json, say, status_text
from receiver.couriers.vocabulary import describe_statuses
from receiver.errors import UnknownTour
from receiver.orders.tour_etas import find_tour
from receiver.schemas.account import AccountListSchema
from receiver.schemas.fields import VocabularySchema
from receiver.schemas.timeline import TourSchema


@click.command()
@json_option
def couriers(as_json: bool) -> None:
    """Show the status of each account.

    When its courier was last heard, what was counted, and whether it is polled, by the settings of
    this environment. Missed are states that only a poll found, although a webhook should have
    reported them.
    """
    settings = main.settings()
    with main.opened(settings) as sessions, sessions() as session:
        told = AccountListSchema().dump(
            list_account_statuses(session, settings.accounts, datetime.now(UTC))
        )
    if as_json:
        print_json(told)
    elif told["couriers"]:
        Sheet(
            "account",
            "courier",
            "last hook",
            "last answer",
            "hooks",
            "requests",
            "saved",
            "missed",
            "due",
            "given up",
            "asking",
            fold=("asking",),
            spare=("saved", "courier", "requests", "last answer"),
        ).add(map(_row, told["couriers"]))
    else:
        note("No account is switched on: set COURIER_<ACCOUNT>_SECRETS.")


def _row(told: Told) -> list[str]:
    ratio = told["missed_hook_ratio"]
    return [
        told["account"],
        told["courier"],
        at(told["last_webhook_at"]) or "never",
        at(told["last_poll_at"]) or "never",
        str(told["webhooks"]),
        str(told["poll_requests"]),
        str(told["poll_requests_saved"]),
        f"{told['missed_hooks']} ({ratio:.1%})" if ratio else str(told["missed_hooks"]),
        str(told["orders_due"]),
        str(told["orders_given_up"]),
        _asking(told),
    ]


def _asking(told: Told) -> str:
    if not told["polled"]:
        return "cannot be asked"
    if told["breaker"] == "closed":
        return "yes"
    why = told["pause_reason"]
    if told["breaker"] == "half_open":
        return f"one request tries ({why})"
    return f"paused until {at(told['paused_until'])} ({why})"


@click.command()
@click.argument("account", type=Name())
@click.argument("tour_id", type=Name())
@json_option
def tour(account: str, tour_id: str, as_json: bool) -> None:
    """Show a tour plan as last heard."""
    with main.database() as session:
        try:
            told = TourSchema().dump(find_tour(session, account, tour_id))
        except UnknownTour:
            refuse_unknown(main.settings(), account)
            raise
    if as_json:
        print_json(told)
        return
    say(f"Tour {told['tour_id']} of {told['account']}", "bold")
    window = [at(told["window_from"]), at(told["window_to"])]
    facts(
        [
            ("driven by", told["courier_name"]),
            ("picks up at", at(told["pick_up_at"])),
            ("delivers", " - ".join(window) if all(window) else "".join(window)),
            ("heard", at(told["received_at"])),
        ]
    )
    say("")
    Sheet("order, as the plan names it", "to arrive", "packages", fold=("packages",)).add(
        [stop["order_id"], at(stop["eta"]), ", ".join(stop["packages"])] for stop in told["stops"]
    )


@click.command()
@json_option
def statuses(as_json: bool) -> None:
    """Show our statuses and the couriers' words for them.

    ! marks those that need attention. At the end the courier is not asked any more.
    """
    told = VocabularySchema().dump(describe_statuses())
    if as_json:
        print_json(told)
        return
    names = sorted({name for it in told["statuses"] for name in it["couriers"]})
    Sheet("status", "group", "rank", "the end", *names, fold=names, spare=("rank", "group")).add(
        [
            status_text(it["status"], it["needs_attention"]),
            it["group"],
            str(it["rank"]),
            "yes" if it["is_terminal"] else "",
            *(", ".join(it["couriers"].get(name, ())) for name in names),
        ]
        for it in told["statuses"]
    )
