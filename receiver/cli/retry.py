"""`ordertrail retry` and `ordertrail discard`: what to do with a message that is stuck."""

from datetime import UTC, datetime

import click

from receiver.cli import main
from receiver.cli.bells import command_bells
from receiver.cli.finding import refuse_unknown
from receiver.cli.options import Name, checked, json_option
from receiver.cli.output import print_json, say
from receiver.db.models import PARKED, QUARANTINED
from receiver.inbox.retry import discard_message, retry_message, retry_messages
from receiver.schemas.conflict import ConflictNoteSchema
from receiver.schemas.message import MessageSchema, RetriedSchema, RetrySchema


@click.command()
@click.argument("message_id", type=Name(), required=False)
@click.option(
    "--outcome",
    type=click.Choice([QUARANTINED, PARKED]),
    help="All of which this became, the oldest first, instead of one.",
)
@click.option("--account", help="With --outcome: only this account's.")
@json_option
def retry(message_id: str | None, outcome: str | None, account: str | None, as_json: bool) -> None:
    """Send messages back to the workers.

    One by its id, be it quarantined, parked or discarded; or all that are quarantined or parked.
    They are read whenever no new messages wait. Ends with 1 where there was nothing to send back.
    """
    if (message_id is None) == (outcome is None):
        raise click.UsageError("give either a MESSAGE_ID or --outcome")
    if account is not None and outcome is None:
        raise click.UsageError("--account goes with --outcome: a MESSAGE_ID is enough")
    settings = main.settings()
    refuse_unknown(settings, account)
    bells, now = command_bells(settings), datetime.now(UTC)
    with main.opened(settings) as sessions:
        if message_id is not None:
            sent = retry_message(sessions, bells, message_id, now)
        else:
            wanted = checked(RetrySchema(), outcome=outcome, account=account)
            sent = retry_messages(sessions, bells, wanted, now)["retried"]
    if as_json:
        print_json(RetriedSchema().dump({"retried": sent, "next_cursor": None}))
    elif message_id is not None:
        say(f"Message {message_id} " + ("goes back to the workers." if sent else ON_ITS_WAY))
    else:
        say(f"{sent} {outcome} messages go back to the workers.")
    click.get_current_context().exit(0 if sent else 1)


ON_ITS_WAY = "is applied or on its way already: nothing to send back."


@click.command()
@click.argument("message_id", type=Name())
@click.option("--by", required=True, help="Who says so.")
@click.option("--note", "said", default="", help="Why.")
@json_option
def discard(message_id: str, by: str, said: str, as_json: bool) -> None:
    """Say that a message needs nothing more.

    One that is quarantined or parked; it is kept, and `ordertrail retry` takes the word back.
    """
    word = checked(ConflictNoteSchema(), by=by, note=said)
    with main.opened(main.settings()) as sessions:
        found = discard_message(sessions, message_id, word, datetime.now(UTC))
    told = MessageSchema().dump(found)
    if as_json:
        print_json(told)
    else:
        say(f"Message {told['id']} is {told['reason']}.")
