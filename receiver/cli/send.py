"""`ordertrail send`: post a message as a courier would, to try an installation from outside.

It needs nothing of the installation but its address and the account's secret: no database, no
Redis, no API token.
"""

import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from typing import IO, Any
from urllib.parse import quote

import click

from receiver import statuses
from receiver.cli import main
from receiver.cli.options import Name, json_option
from receiver.cli.output import facts, note, print_json, say
from receiver.cli.webhook_sender import (
    ADVICE,
    MOST_SHOWN,
    Answered,
    Outgoing,
    named,
    outgoing,
    post,
)
from receiver.couriers import DRIVERS
from receiver.couriers.contract import Driver, SampleState
from receiver.settings import Account, BadSettings, Settings

MOST_TIMES = 1000
# What the installation itself needs, and a sender does not.
NOT_NEEDED = {
    "DATABASE_URL": "postgresql:///",
    "REDIS_URL": "unix:///",
    "API_TOKENS": "none",
}


@click.command()
@click.argument("account", type=Name())
@click.option("--url", help="Where the installation is.  [default: this machine's]")
@click.option("--file", "file", type=click.File("rb"), help="Send this body as it is; - is stdin.")
@click.option("--status", metavar="WORD", help="The courier's word for the state, or our status.")
@click.option("--order", help="The courier's id of the order.")
@click.option("--reference", help="The shop's number of the order.")
@click.option(
    "--at",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]),
    metavar="TIME",
    help="When.  [default: now]",
)
@click.option("--topic", default="orders", show_default=True, help="`tours` needs a --file.")
@click.option("--times", type=click.IntRange(1, MOST_TIMES), default=1, help="Repeat it.")
@click.option("--secret-file", type=click.File("r"), help="Where the secret is; - is stdin.")
@click.option("--courier", help="Whose account it is, if its name does not say so.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent.")
@json_option
def send(
    account: str,
    url: str | None,
    secret_file: IO[str] | None,
    courier: str | None,
    times: int,
    dry_run: bool,
    as_json: bool,
    **what: Any,
) -> None:
    """Post a message as a courier would: signed, or with the token in the URL.

    A sample unless there is a --file. The secret is read from --secret-file, else from
    COURIER_<ACCOUNT>_SECRETS (or _FILE) as the service reads it, else from the `make run` beside
    which this is typed; the first one counts where there are several. Nothing else is needed, so
    that --url may name any installation.

    Ends with 0 where every answer was 200, which means kept.
    """
    environ = main.environment()
    settings, contract = the_account(environ, account, courier, secret_file)
    driver = DRIVERS[contract.driver]
    installation = settings.url if url is None else base(url)
    body = body_of(driver, **what)
    message = outgoing(contract, driver, what["topic"], installation, body)
    if dry_run or not as_json:
        show_what(message, as_json)
    if dry_run:
        return
    answers = []
    for answer in post(message, times):
        answers.append(answer)
        if not as_json:
            which = f"{len(answers)}: " if times > 1 else ""
            say(f"{which}{answer.status or 'no answer'} in {answer.milliseconds} ms  {answer.text}")
    kept = all(answer.status == HTTPStatus.OK for answer in answers)
    name = named(driver, what["topic"], body)
    if as_json:
        told = [asdict(answer) for answer in answers]
        print_json({"url": message.shown_url, "kept": kept, "about": name, "answers": told})
    elif kept:
        show_where(contract, what["topic"], name, installation)
    else:
        advise(contract, answers)
    if not kept:
        sys.exit(1)


def the_account(
    environ: Mapping[str, str],
    named: str,
    courier: str | None,
    secret_file: IO[str] | None,
) -> tuple[Settings, Account]:
    """The account as the environment has it, which need hold nothing of anything else.

    Raises: click.UsageError.
    """
    slug = named.lower().replace("_", "-")
    prefix = f"COURIER_{slug.upper().replace('-', '_')}"
    own = {name: it for name, it in environ.items() if name.startswith(f"{prefix}_")}
    wanted = {"SECRETS", "SECRETS_FILE", "DRIVER", "DRIVER_FILE"}
    given = {name: it for name, it in own.items() if name.removeprefix(f"{prefix}_") in wanted}
    if secret_file is not None:
        given.pop(f"{prefix}_SECRETS_FILE", None)
        given[f"{prefix}_SECRETS"] = secret_file.read().strip()
    address = {name: environ[name] for name in ("HOST", "PORT") if name in environ}
    if courier is not None:
        given[f"{prefix}_DRIVER"] = courier
    try:
        settings = Settings.from_env({**NOT_NEEDED, **address, **given})
    except BadSettings as bad:
        told = "\n  ".join(bad.faults)
        raise click.UsageError(
            f"account {named}: {told}\n  (--courier says whose it is: {', '.join(DRIVERS)})"
        ) from None
    if slug not in settings.accounts:
        raise click.UsageError(
            f"no secret for account {named}: set {prefix}_SECRETS, or give --secret-file"
        )
    return settings, settings.accounts[slug]


def base(url: str) -> str:
    """Where the installation is, without a slash at its end. Raises: click.UsageError."""
    if not url.startswith(("http://", "https://")) or "/webhooks" in url or not url.isascii():
        raise click.UsageError(
            "--url: the installation's own address is wanted, such as https://hooks.shop.example;"
            " the rest is known, and the secret has no place on a command line"
        )
    return url.rstrip("/")


def body_of(driver: Driver, topic: str, file: IO[bytes] | None, **moved: Any) -> bytes:
    """A file's bytes as they are, or the courier's sample of an order that has just moved.

    Raises: click.UsageError.
    """
    if topic not in driver.topics:
        raise click.UsageError(f"--topic: {driver.name} calls about {', '.join(driver.topics)}")
    if file is not None:
        if any(moved.values()):
            raise click.UsageError("a --file is sent as it is: say what is in it there")
        return file.read()
    if topic != "orders":
        raise click.UsageError(f"there is a sample for orders only: give --topic {topic} a --file")
    order_id, word = driver.sample_order
    at = moved["at"] or datetime.now(UTC)
    return driver.sample_body(
        SampleState(
            moved["order"] or order_id,
            the_word(driver, moved["status"]) if moved["status"] else word,
            moved["reference"] or f"SAMPLE-{driver.name[0].upper()}",
            at.replace(microsecond=0),
        )
    )


def the_word(driver: Driver, told: str) -> str:
    """The courier's word: as it was given, or the last of those for our status."""
    if told in driver.words:
        return told
    words = [word for word, status in driver.words.items() if status == told]
    if words:
        return words[-1]
    if told in statuses.VOCABULARY:
        raise click.UsageError(f"--status: {driver.name} has no word for {told}")
    raise click.UsageError(f"--status: {driver.name} says {', '.join(driver.words)}")


def show_what(message: Outgoing, as_json: bool) -> None:
    text = message.body.decode(errors="replace")
    if as_json:
        print_json({"url": message.shown_url, "headers": dict(message.headers), "body": text})
        return
    cut = f"... ({len(message.body)} bytes)" if len(text) > MOST_SHOWN else ""
    facts({"POST": message.shown_url, **message.headers, "body": text[:MOST_SHOWN] + cut}.items())
    say("")


def show_where(contract: Account, topic: str, name: str | None, installation: str) -> None:
    """Where to look now, with access to the database, and from anywhere with an API token."""
    say("")
    if name is None:
        say(f"Kept, but {contract.driver}'s driver does not read it: it goes into quarantine.")
        path, command = "messages?outcome=quarantined", "messages --outcome quarantined"
    else:
        say("Kept. Read it back:")
        noun = {"orders": "order", "tours": "tour"}.get(topic, topic)
        path = f"{noun}s/{contract.slug}/{quote(name, safe='')}"
        command = f"{noun} {contract.slug} {shlex.quote(name)}"
    address = shlex.quote(f"{installation}/v1/{path}")
    say(f"  ordertrail {command}")
    say(f'  curl -sS -H "Authorization: Bearer $API_TOKENS" {address}')


def advise(contract: Account, answers: Iterable[Answered]) -> None:
    name = contract.slug.upper().replace("-", "_")
    say("")
    for status in dict.fromkeys(answer.status for answer in answers):
        if status is None:
            note("Not sent: nobody answered at that address. Is it right, does the service run?")
        elif status != HTTPStatus.OK:
            told = ADVICE.get(status, "not an answer of Ordertrail's: is --url right?")
            note(f"Not kept ({status}): {told.format(name=name)}")
