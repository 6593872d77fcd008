"""What `ordertrail run` prints: lines of its own, and when it is ready what is where."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from receiver.couriers import DRIVERS
from receiver.couriers.parsing import hmac_sha256_hex
from receiver.settings import Account, Settings


def say(line: str) -> None:
    """A line of our own among the parts' log lines."""
    tell(f"ordertrail: {line}")


def tell(text: str) -> None:
    """Write to the terminal, which may be gone by now; that must not keep us from stopping."""
    with suppress(OSError):
        os.write(1, f"{text}\n".encode())


def banner(settings: Settings, places: Mapping[str, str], logs: Iterable[Path]) -> str:
    """The whole text. places: further lines, what it is -> where it is."""
    url = settings.url
    rows = {
        "service": url,
        "API": f"{url}/v1/docs (any user name, the API token as password)",
        "console": f"{url}/ops (any name, and the API token)",
        "data": str(settings.data_dir),
        **places,
        "logs": ", ".join(["this terminal (JSON lines)", *map(str, logs)]),
        "API token": ", ".join(settings.api_tokens),
    }
    rows |= {f"webhook {slug}": webhook(url, it) for slug, it in settings.accounts.items()}
    width = max(map(len, rows))
    lines = [
        "",
        "Ordertrail is ready. Ctrl-C stops it; the data stays.",
        "",
        *(f"  {name:<{width}}  {value}" for name, value in rows.items()),
        "",
        "Send a message from each courier:",
        "",
        *(f"  {line}" for line in sends(url, settings.accounts.values())),
        "",
        "Read what it says back:",
        "",
        *(f"  {line}" for line in reads(url, settings)),
        "",
    ]
    return "\n".join(lines)


def webhook(url: str, account: Account) -> str:
    """The address that the courier calls with an order's news."""
    address = f"{url}/webhooks/{account.slug}/orders"
    return address if DRIVERS[account.driver].signed else f"{address}/{account.secrets[0]}"


def sends(url: str, accounts: Iterable[Account]) -> Iterator[str]:
    """A line for the shell per account: the courier's sample body, signed where it signs."""
    for account in accounts:
        driver = DRIVERS[account.driver]
        line = f"curl -sS {webhook(url, account)} -H 'Content-Type: application/json'"
        if driver.signature_header:
            signature = hmac_sha256_hex(account.secrets[0], driver.sample_body())
            line += f" -H '{driver.signature_header}: {signature}'"
        yield f"{line} --data-binary '{driver.sample_body().decode()}'"


def reads(url: str, settings: Settings) -> Iterator[str]:
    """A line for the shell that reads an order back: the first account's sample."""
    for account in list(settings.accounts.values())[:1]:
        order = f"{account.slug}/{DRIVERS[account.driver].sample_order_id}"
        token = f"-H 'Authorization: Bearer {settings.api_tokens[0]}'"
        yield f"curl -sS {token} {url}/v1/orders/{order}"
