"""`ordertrail send`: send a webhook as a courier would, to try an installation from outside.

This needs nothing but the account's secret: no database and no Redis. Only to name an order of the
installation it needs a token of its API.
"""

import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import IO, Any
from urllib.parse import quote

import click

from receiver.cli.options import Name, json_option
from receiver.cli.output import print_facts, print_json, print_line, print_note
from receiver.cli.sending.order_finder import find_couriers_id
from receiver.cli.sending.webhook_request import (
    SHOWN_BYTES,
    WebhookRequest,
    WebhookResponse,
    build_request,
    find_subject,
    post_repeatedly,
)
from receiver.cli.session import read_environment
from receiver.couriers import DRIVERS
from receiver.couriers.contract import SampleState
from receiver.errors import NoSample
from receiver.orders.names import is_sample
from receiver.settings import Account, BadSettings, Settings
from receiver.standalone.launch import PLACEHOLDERS

MOST_TIMES = 1000
INSTALLATION_URL = re.compile(r"https?://(?!.*/webhooks)[\x00-\x7f]*", re.DOTALL)

# What to do about a response that is not 200; {name} is the account's setting SECRETS.
ADVICE = {
    401: "the server has another secret for this account: compare {name} on both sides (or a proxy"
    " changed the signed body, or the clocks differ: see the response)",
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
@click.option("--order", type=Name(), help="Any name of an order, or of a sample.")
@click.option("--reference", type=Name(), help="The shop's number of an order.")
@click.option(
    "--at",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]),
    metavar="TIME",
    help="When it happened, with a zone.  [default: now]",
)
@click.option("--topic", default="orders", show_default=True, help="Others require --file.")
@click.option("--query", default="", help="With --file: the URL's parameters, such as a=1&b=2.")
@click.option(
    "--times", type=click.IntRange(1, MOST_TIMES), default=1, help="How many times to send it."
)
@click.option("--secret-file", type=click.File("r"), help="File with the secret; - is stdin.")
@click.option("--courier", help="The account's courier, if the account has another name.")
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

    Authenticated as the account is: signed, or with the token in the URL or a header, which
    COURIER_<ACCOUNT>_SIGNATURE changes here, too. Without --file the message is about a sample
    order, which raises no alert and can be deleted; a name that begins with ORDERTRAIL-SAMPLE- is
    that of a sample, too. Any other --order, or --reference, changes the order that has it: it is
    looked up with the first of API_TOKENS, or of READ_TOKENS.

    The secret is read from --secret-file, else from COURIER_<ACCOUNT>_SECRETS (or _FILE), else from
    the `make run` on this machine; if there are several, the first is used. No other setting is
    needed, so --url can be any installation.

    Exit code 0 if every response was 2xx, which means stored, or that it reports nothing.
    """
    environ = read_environment()
    settings, sender = _sender_settings(environ, account, courier, secret_file)
    if url is not None and not INSTALLATION_URL.fullmatch(url):
        raise click.UsageError(
            "--url: give only the address of the installation, such as https://hooks.shop.example:"
            " the path is added, and a secret must not be on a command line"
        )
    base_url = settings.url if url is None else url.rstrip("/")

    def find(order_id: str | None, reference: str | None) -> str:
        token = _api_token(environ)
        return find_couriers_id(base_url, token, sender.slug, order_id, reference)

    topic = content["topic"]
    body, query = _build_content(sender, find=find, **content)
    request = build_request(sender, topic, base_url, body, query)
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
    stored = all(response.is_success for response in responses)
    subject = find_subject(sender, topic, body, query)
    if as_json:
        result = {"url": request.shown_url, "kept": stored, "about": subject}
        print_json({**result, "answers": [asdict(response) for response in responses]})
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
    slug = name.lower().replace("_", "-")
    account = Account(slug, courier or "", ())
    options = {
        account.env_name("SECRETS"): secret_file.read().strip() if secret_file else None,
        account.env_name("DRIVER"): courier,
        account.env_name("SIGNATURE"): None,
        account.env_name("FIELDS"): None,
        account.env_name("ZONE"): None,
        "HOST": None,
        "PORT": None,
    }
    given = dict(PLACEHOLDERS)
    for setting, value in options.items():
        if value is not None:
            given[setting] = value
        else:
            names = (setting, f"{setting}_FILE")
            given |= {name: environ[name] for name in names if name in environ}
    try:
        settings = Settings.from_env(given)
    except BadSettings as error:
        faults = "\n  ".join(error.faults)
        text = f"account {name}: {faults}\n  (--courier sets its courier: {', '.join(DRIVERS)})"
        raise click.UsageError(text) from None
    if slug not in settings.accounts:
        secrets = account.env_name("SECRETS")
        text = f"there is no secret for account {name}: set {secrets}, or use --secret-file"
        raise click.UsageError(text)
    return settings, settings.accounts[slug]


def _api_token(environ: Mapping[str, str]) -> str:
    """Return the first API or read token of the environment. Raises: click.UsageError."""
    names = ("API_TOKENS", "API_TOKENS_FILE", "READ_TOKENS", "READ_TOKENS_FILE")
    given = {name: environ[name] for name in names if environ.get(name)}
    if not given:
        raise click.UsageError(
            "--order and --reference name an order of the installation, which is looked up through"
            " its API: set API_TOKENS or READ_TOKENS to one of its tokens; or send a sample"
        )
    has_api_token = not given.keys().isdisjoint(names[:2])
    others = dict(PLACEHOLDERS)
    if has_api_token:
        del others["API_TOKENS"]
    try:
        settings = Settings.from_env(others | given)
        return (settings.api_tokens if has_api_token else settings.read_tokens)[0].value
    except BadSettings as error:
        raise click.UsageError("\n  ".join(error.faults)) from None


def _build_content(
    account: Account,
    topic: str,
    file: IO[bytes] | None,
    query: str,
    find: Callable[[str | None, str | None], str],
    **changes: Any,
) -> tuple[bytes, str]:
    """Return the body and the query of what to send.

    It is the file's bytes, or a message about a status that an order has just reached.

    find: returns the courier's id of the order with this id and this reference.

    Raises: click.UsageError; and what `find` raises.
    """
    driver = DRIVERS[account.driver]
    if topic not in driver.topics:
        topics = ", ".join(driver.topics)
        raise click.UsageError(f"--topic: {driver.name} has no such topic; its topics: {topics}")
    if file is not None:
        if any(changes.values()):
            text = "--file is sent unchanged: change the file instead of giving other options"
            raise click.UsageError(text)
        return file.read(), query
    if query:
        raise click.UsageError("--query requires --file")
    if topic != "orders":
        raise click.UsageError(f"there is no sample for {topic}: use --file")
    order_id, word = driver.sample_order_id, driver.sample_word(account.field_map)
    if changes["status"]:
        word = _find_word(account, changes["status"])
    at = (changes["at"] or datetime.now(UTC)).replace(microsecond=0)
    given, reference = changes["order"], changes["reference"]
    if given is not None and is_sample(given):
        order_id, given = given, None
    state = SampleState(order_id, word, order_id, at, field_map=account.field_map)
    if given is not None or reference is not None:
        order_id = find(given, reference)
        state = replace(state, order_id=order_id, reference=None, is_sample=False)
    try:
        return driver.sample_body(state), driver.sample_query(state)
    except NoSample as error:
        raise click.UsageError(str(error)) from None


def _find_word(account: Account, status: str) -> str:
    """Return the courier's word: the given one, or its last word for one of our statuses."""
    driver = DRIVERS[account.driver]
    known = driver.words_with(account.field_map)
    if driver.normalize_word(status) in known:
        return status
    words = [word for word, meaning in known.items() if meaning == status]
    if not words:
        text = f"--status: {driver.name} has no word for {status}; its words: {', '.join(known)}"
        raise click.UsageError(text)
    return words[-1]


def _print_request(request: WebhookRequest, as_json: bool) -> None:
    text = request.body.decode(errors="replace")
    if as_json:
        print_json({"url": request.shown_url, "headers": dict(request.shown_headers), "body": text})
        return
    if len(text) > SHOWN_BYTES:
        text = f"{text[:SHOWN_BYTES]}... ({len(request.body)} bytes)"
    shown = {request.method: request.shown_url, **request.shown_headers, "body": text}
    print_facts(shown.items())
    print_line("")


def _print_where_to_read(account: Account, topic: str, subject: str | None, base_url: str) -> None:
    """Print how to read the order: by a command on the server, and by curl from anywhere."""
    print_line("")
    if subject is None and DRIVERS[account.driver].topics[topic].is_noise is not None:
        print_line("Accepted. A webhook that reports nothing is counted, and not stored.")
        return
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
    for status, response in {response.status: response for response in responses}.items():
        if status is None:
            print_note("No response from this address: check --url, and that the service runs.")
        elif not response.is_success:
            advice = ADVICE.get(status, "this is not a response of Ordertrail: check --url")
            name = account.env_name("SECRETS")
            print_note(f"Not stored ({status}): {advice.format(name=name)}")
