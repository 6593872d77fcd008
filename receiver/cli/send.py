"""`ordertrail send`: send a webhook as a courier would, to try an installation from outside."""

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
from receiver.cli.options import Name, json_option
from receiver.cli.output import print_facts, print_json, print_line, print_note
from receiver.cli.session import read_environment
from receiver.cli.webhook_request import (
    SHOWN_BYTES,
    WebhookRequest,
    WebhookResponse,
    build_request,
    find_subject,
    post_repeatedly,
)
from receiver.couriers import DRIVERS
from receiver.couriers.contract import Driver, SampleState
from receiver.settings import Account, BadSettings, Settings

MOST_TIMES = 1000
# Placeholders for settings that are required, but that sending does not need.
PLACEHOLDERS = {"DATABASE_URL": "postgresql:///", "REDIS_URL": "unix:///", "API_TOKENS": "none"}

# What to do about a response that is not 200; {name} is the account's setting SECRETS.
ADVICE = {
    401: "the server has another secret for this account: compare {name} on both sides (a proxy may"
    " also have changed a signed body)",
    404: "the server has no such account ({name} is not set there, or --url lacks a part of the"
    " path), or the order is not registered yet: see the response",
    405: "a proxy or a redirect changed the method: --url must be the final address, with https://",
    413: "the body is larger than MAX_BODY_BYTES there, or than the limit of the proxy",
    429: "the proxy limits the rate of requests",
    502: "the proxy cannot reach a web process: check that one is running",
    503: "the server cannot reach its PostgreSQL: a courier would retry later",
    504: "the proxy got no response from the server in time",
}


@click.command()
@click.argument("account", type=Name())
@click.option("--url", help="Address of the installation.  [default: the one on this machine]")
@click.option("--file", "file", type=click.File("rb"), help="Send this body unchanged; - is stdin.")
@click.option("--status", metavar="WORD", help="The courier's word for the status, or our status.")
@click.option("--order", help="The courier's id of the order.")
@click.option("--reference", help="The shop's order number.")
@click.option(
    "--at",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]),
    metavar="TIME",
    help="When it happened, with a zone.  [default: now]",
)
@click.option("--topic", default="orders", show_default=True, help="`tours` requires --file.")
@click.option("--times", type=click.IntRange(1, MOST_TIMES), default=1, help="Send it so often.")
@click.option("--secret-file", type=click.File("r"), help="File with the secret; - is stdin.")
@click.option("--courier", help="The account's courier, if its name does not say it.")
@click.option("--dry-run", is_flag=True, help="Only show what would be sent.")
@json_option
def send_command(
    account: str,
    url: str | None,
    secret_file: IO[str] | None,
    courier: str | None,
    times: int,
    dry_run: bool,
    as_json: bool,
    **content: Any,
) -> None:
    """Send a webhook as a courier would.

    Signed, or with the token in the URL. Without --file the body is a sample. The secret is read
    from --secret-file, else from COURIER_<ACCOUNT>_SECRETS (or _FILE), else from the `make run` on
    this machine; if there are several, the first is used. Nothing else is needed, so that --url may
    be any installation.

    Exit code 0 if every response was 200, which means stored.
    """
    settings, sender = _sender_settings(read_environment(), account, courier, secret_file)
    driver = DRIVERS[sender.driver]
    base_url = settings.url if url is None else _base_url(url)
    topic, body = content["topic"], _build_body(driver, **content)
    request = build_request(sender, driver, topic, base_url, body)
    if dry_run or not as_json:
        _print_request(request, as_json)
    if dry_run:
        return
    responses = []
    for response in post_repeatedly(request, times):
        responses.append(response)
        if not as_json:
            number = f"{len(responses)}: " if times > 1 else ""
            status = response.status or "no response"
            print_line(f"{number}{status} in {response.milliseconds} ms  {response.text}")
    stored = all(response.status == HTTPStatus.OK for response in responses)
    subject = find_subject(driver, topic, body)
    if as_json:
        answers = [asdict(response) for response in responses]
        url = request.shown_url
        print_json({"url": url, "kept": stored, "about": subject, "answers": answers})
    elif stored:
        _print_where_to_read(sender, topic, subject, base_url)
    else:
        _print_advice(sender, responses)
    if not stored:
        sys.exit(1)


def _sender_settings(
    environ: Mapping[str, str], name: str, courier: str | None, secret_file: IO[str] | None
) -> tuple[Settings, Account]:
    """Return the settings with this account alone: no other setting is needed, or may be wrong.

    Raises: click.UsageError.
    """
    account = Account(name.lower().replace("_", "-"), courier or "", ())
    secrets_name, driver_name = account.env_name("SECRETS"), account.env_name("DRIVER")
    names = ("HOST", "PORT", secrets_name, driver_name)
    wanted = {wanted for name in names for wanted in (name, f"{name}_FILE")}
    given = {name: value for name, value in environ.items() if name in wanted}
    if secret_file is not None:
        given.pop(f"{secrets_name}_FILE", None)
        given[secrets_name] = secret_file.read().strip()
    if courier is not None:
        given.pop(f"{driver_name}_FILE", None)
        given[driver_name] = courier
    try:
        settings = Settings.from_env({**PLACEHOLDERS, **given})
    except BadSettings as error:
        faults = "\n  ".join(error.faults)
        raise click.UsageError(
            f"account {name}: {faults}\n  (--courier sets its courier: {', '.join(DRIVERS)})"
        ) from None
    if account.slug not in settings.accounts:
        raise click.UsageError(
            f"there is no secret for account {name}: set {secrets_name}, or use --secret-file"
        )
    return settings, settings.accounts[account.slug]


def _base_url(url: str) -> str:
    """Check the installation's address. Raises: click.UsageError."""
    if not url.startswith(("http://", "https://")) or "/webhooks" in url or not url.isascii():
        raise click.UsageError(
            "--url: give the installation's address only, such as https://hooks.shop.example; the"
            " path is known, and a secret has no place on a command line"
        )
    return url.rstrip("/")


def _build_body(driver: Driver, topic: str, file: IO[bytes] | None, **changes: Any) -> bytes:
    """Return the file's bytes, or the courier's sample with a status that was just reached.

    Raises: click.UsageError.
    """
    if topic not in driver.topics:
        topics = ", ".join(driver.topics)
        raise click.UsageError(f"--topic: {driver.name} has no such topic; its topics: {topics}")
    if file is not None:
        if any(changes.values()):
            raise click.UsageError("--file is sent unchanged: change the file instead")
        return file.read()
    if topic != "orders":
        raise click.UsageError(f"there is no sample for {topic}: use --file")
    order_id, word = driver.sample_order
    at = changes["at"] or datetime.now(UTC)
    return driver.sample_body(
        SampleState(
            changes["order"] or order_id,
            _find_word(driver, changes["status"]) if changes["status"] else word,
            changes["reference"] or f"SAMPLE-{driver.name[0].upper()}",
            at.replace(microsecond=0),
        )
    )


def _find_word(driver: Driver, status: str) -> str:
    """Return the courier's word: the given one, or its last word for one of our statuses."""
    if status in driver.words:
        return status
    words = [word for word, meaning in driver.words.items() if meaning == status]
    if words:
        return words[-1]
    if status in statuses.VOCABULARY:
        raise click.UsageError(f"--status: {driver.name} has no word for {status}")
    raise click.UsageError(
        f"--status: {driver.name} does not know {status!r}; its words: {', '.join(driver.words)}"
    )


def _print_request(request: WebhookRequest, as_json: bool) -> None:
    text = request.body.decode(errors="replace")
    if as_json:
        print_json({"url": request.shown_url, "headers": dict(request.headers), "body": text})
        return
    if len(text) > SHOWN_BYTES:
        text = f"{text[:SHOWN_BYTES]}... ({len(request.body)} bytes)"
    print_facts({"POST": request.shown_url, **request.headers, "body": text}.items())
    print_line("")


def _print_where_to_read(account: Account, topic: str, subject: str | None, base_url: str) -> None:
    """Print how to read the order: by a command on the server, and by curl from anywhere."""
    print_line("")
    if subject is None:
        print_line(f"Stored, but {account.driver} cannot decode it. It will be quarantined:")
        path, command = "messages?outcome=quarantined", "messages --outcome quarantined"
    else:
        print_line("Stored. Read it back with:")
        noun = {"orders": "order", "tours": "tour"}.get(topic, topic)
        path = f"{noun}s/{account.slug}/{quote(subject, safe='')}"
        command = f"{noun} {account.slug} {shlex.quote(subject)}"
    address = shlex.quote(f"{base_url}/v1/{path}")
    print_line(f"  ordertrail {command}")
    print_line(f'  curl -sS -H "Authorization: Bearer $API_TOKENS" {address}')


def _print_advice(account: Account, responses: Iterable[WebhookResponse]) -> None:
    print_line("")
    for status in dict.fromkeys(response.status for response in responses):
        if status is None:
            print_note("Not sent: no response from this address. Check --url and the service.")
        elif status != HTTPStatus.OK:
            advice = ADVICE.get(status, "this is not a response of Ordertrail: check --url")
            name = account.env_name("SECRETS")
            print_note(f"Not stored ({status}): {advice.format(name=name)}")
