"""`ordertrail push`: show how far the change feed was pushed, move the place, send a test."""

import sys
import uuid
from datetime import UTC, datetime

import click

from receiver.changes.feed_push import (
    PushProgress,
    move_feed_push,
    read_push_progress,
    retry_feed_push,
)
from receiver.cli.options import json_option
from receiver.cli.output import format_time, print_facts, print_json, print_line, print_note
from receiver.cli.session import load_settings, open_database
from receiver.db.pagination import MOST_COUNTED
from receiver.schemas.push import PushProgressSchema, ShopAnswerSchema
from receiver.settings import Settings
from receiver.text import count_noun, duration_text
from receiver.times import rfc3339
from workers.pushing.shop_client import ShopClient

TEST_TYPE = "ordertrail.test"
# How much of an answer to a test is shown, in characters.
MOST_SHOWN = 300


@click.command()
@click.option("--check", is_flag=True, help="Send a signed test, and show how the shop answers.")
@click.option(
    "--from",
    "where",
    metavar="WHERE",
    help="Push what follows a cursor, `now` (skip what waits) or `beginning`.",
)
@click.option("--retry", is_flag=True, help="Make the next attempt now, and not after its pause.")
@json_option
def push_command(check: bool, where: str | None, retry: bool, as_json: bool) -> None:
    """Show how far the change feed was pushed to the shop.

    While PUSH_URL is set, the clock posts the change feed to it. --check sends a message of type
    `ordertrail.test` with no changes; exit code 1 if the shop does not answer 2xx. --from moves the
    place in the feed; a cursor is that of the last change that the shop has.
    """
    if check + retry + (where is not None) > 1:
        raise click.UsageError("use only one of --check, --from and --retry")
    settings = load_settings()
    if check:
        _send_test(settings, as_json)
        return
    now = datetime.now(UTC)
    with open_database(settings) as sessions:
        if where is not None:
            progress: PushProgress | None = move_feed_push(sessions, where, now)
        elif retry:
            progress = retry_feed_push(sessions, now)
        else:
            with sessions() as session:
                progress = read_push_progress(session, now)
    if as_json:
        print_json(PushProgressSchema().dump(progress) if progress else None)
    else:
        _print_progress(settings, progress, now)


def _print_progress(settings: Settings, progress: PushProgress | None, now: datetime) -> None:
    if settings.push_url is None:
        print_note("PUSH_URL is not set here: nothing is pushed.")
    if progress is None:
        print_line("No push was made yet. The first one begins with the next change.")
        return
    waiting = "nothing: the shop has all changes"
    if progress.waiting:
        changes = count_noun(progress.waiting, "change", limit=MOST_COUNTED)
        waiting = f"{changes}, the oldest for {duration_text(progress.lag)}"
    attempt = f"{_show(progress.attempted_at)}: {progress.detail}" if progress.attempted_at else ""
    failures = count_noun(progress.failures, "attempt")
    is_due = progress.next_attempt_at is not None and progress.next_attempt_at <= now
    print_facts(
        [
            ("To", settings.shown_push_url),
            ("Accepted up to", progress.cursor),
            ("Waiting", waiting),
            ("Batch up to", progress.batch_cursor),
            ("Last accepted", _show(progress.accepted_at)),
            ("Last attempt", attempt),
            (
                "Failing",
                f"{failures} in a row, since {_show(progress.failing_since)}"
                if progress.failures
                else "",
            ),
            ("Next attempt", "now" if is_due else _show(progress.next_attempt_at)),
        ]
    )


def _send_test(settings: Settings, as_json: bool) -> None:
    if settings.push_url is None:
        print_line("PUSH_URL is not set: there is nothing to check.")
        sys.exit(1)
    client = ShopClient(settings.push_url, settings.push_secret)
    now = datetime.now(UTC)
    try:
        answer = client.post(f"msg_{uuid.uuid4().hex}", TEST_TYPE, now, {}, now)
    finally:
        client.close()
    if as_json:
        print_json(ShopAnswerSchema().dump(answer))
    else:
        outcome = "accepted" if answer.is_accepted else "not accepted"
        print_line(f"{outcome}: {settings.shown_push_url} {answer.detail} ({answer.seconds:.2f} s)")
        if answer.body and not answer.is_accepted:
            print_line(answer.body[:MOST_SHOWN])
    sys.exit(0 if answer.is_accepted else 1)


def _show(at: datetime | None) -> str:
    return format_time(rfc3339(at))
