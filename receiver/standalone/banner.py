"""What `ordertrail run` prints: status lines, and addresses and examples when it is ready."""

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from receiver.couriers import DRIVERS
from receiver.couriers.signatures import sign
from receiver.errors import NoSample
from receiver.settings import Account, Settings


def print_status(line: str) -> None:
    """Print a line of the supervisor among the log lines of its processes."""
    print_text(f"ordertrail: {line}")


def print_text(text: str) -> None:
    """Print to the terminal; if it is closed by now, that must not prevent a clean stop."""
    with suppress(OSError):
        os.write(1, f"{text}\n".encode())


def banner_text(settings: Settings, places: Mapping[str, str], logs: Iterable[Path]) -> str:
    """Return the text for when the service is ready. places: further lines, label -> value."""
    url = settings.url
    rows = {
        "service": url,
        "API": f"{url}/v1/docs (any user name, the API token as password)",
        "console": f"{url}/ops (any name, and the API token)",
        "data": str(settings.data_dir),
        **places,
        "logs": ", ".join(["this terminal (JSON lines)", *map(str, logs)]),
        "API token": ", ".join(token.value for token in settings.api_tokens),
    }
    accounts = settings.accounts
    rows |= {f"webhook {slug}": _webhook_row(url, account) for slug, account in accounts.items()}
    width = max(map(len, rows))
    lines = [
        "",
        "Ordertrail is ready. Ctrl-C stops it; the data is kept.",
        "",
        *(f"  {label:<{width}}  {value}" for label, value in rows.items()),
        "",
        "Send a sample webhook of each courier:",
        "",
        *(f"  {line}" for line in _send_commands(url, accounts.values())),
        "",
        "Read an order back:",
        "",
        *(f"  {line}" for line in _read_commands(settings)),
        "",
    ]
    return "\n".join(lines)


def _webhook_row(url: str, account: Account) -> str:
    address, scheme = _webhook_url(url, account), account.signature
    return address if scheme.in_url else f"{address} (needs {scheme.description})"


def _webhook_url(url: str, account: Account) -> str:
    address = f"{url}/webhooks/{account.slug}/orders"
    return f"{address}/{account.secrets[0]}" if account.signature.in_url else address


def _send_commands(url: str, accounts: Iterable[Account]) -> Iterator[str]:
    for account in accounts:
        if account.signature.signs_timestamp:
            # A signature that is printed now is not accepted a few minutes later.
            yield f"ordertrail send {account.slug} --url {url}"
            continue
        driver = DRIVERS[account.driver]
        try:
            body = driver.sample_body(field_map=account.field_map)
            query = driver.sample_query(field_map=account.field_map)
        except NoSample as error:
            yield f"# {account.slug}: {error}"
            continue
        topic, address = driver.topics["orders"], _webhook_url(url, account)
        method = topic.methods[0]
        # curl sends a POST by itself, and names a form itself.
        command = "curl -sS" if method == "POST" else f"curl -sS -X {method}"
        command += f" {shlex.quote(f'{address}?{query}')}" if query else f" {address}"
        headers = {} if topic.body in {"form", "empty"} else {"Content-Type": "application/json"}
        headers |= driver.sample_headers
        headers |= sign(account.signature, account.secrets[0], body, datetime.now(UTC))
        command += "".join(
            f" -H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items()
        )
        yield f"{command} --data-binary {shlex.quote(body.decode())}"


def _read_commands(settings: Settings) -> Iterator[str]:
    for account in list(settings.accounts.values())[:1]:
        order = f"{account.slug}/{DRIVERS[account.driver].sample_order_id}"
        token = f"-H 'Authorization: Bearer {settings.api_tokens[0].value}'"
        yield f"curl -sS {token} {settings.url}/v1/orders/{order}"
