"""The webhook's address as couriers see it: is it us, over good TLS, with room for every body?

Everything is sent with a credential that cannot be right: nothing is ever stored.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from receiver.couriers import DRIVERS
from receiver.couriers.contract import Driver
from receiver.settings import Account, Settings
from workers.cli.doctor.findings import BROKEN, OK, WARNING, Finding, Findings
from workers.cli.doctor.wire import NotReached, Told, ask

AREA = "webhook"
WRONG = "ordertrail-doctor"
SOON, VERY_SOON = timedelta(days=21), timedelta(days=3)
REDIRECTS = range(300, 400)
REFUSED, NOT_THERE, TOO_LARGE = 401, 404, 413
GATEWAY = {502, 503, 504}
BASE = "--webhook-url"


def check(settings: Settings, url: str) -> Findings:
    """url: where couriers find the installation, from outside; all accounts are tried."""
    base = url.rstrip("/")
    if not settings.accounts:
        yield Finding(AREA, "accounts", WARNING, "none is on here, so none can be tried")
        return
    plain = base.startswith("http://")
    if plain:
        mend = "Give couriers an https:// address."
        yield Finding(AREA, "TLS", WARNING, "none: tokens and orders travel in the clear", mend)
    first = True
    for account in settings.accounts.values():
        driver = DRIVERS[account.driver]
        try:
            told = _post(base, account, driver, b"{}")
        except NotReached as failure:
            mend = "Look at DNS, the firewall, the proxy, and its certificate."
            yield Finding(AREA, account.slug, BROKEN, str(failure), mend)
            return
        if first and not plain:
            yield _certificate(told)
        found = _meaning(account, driver, told)
        yield found
        if found.level == OK and first:
            yield from _room(settings, base, account, driver)
        first = first and found.level != OK


def _post(base: str, account: Account, driver: Driver, body: bytes) -> Told:
    url = f"{base}/webhooks/{account.slug}/orders"
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    if driver.signature_header is None:
        return ask("POST", f"{url}/{WRONG}", headers, body)
    return ask("POST", url, {**headers, driver.signature_header: WRONG}, body)


def _meaning(account: Account, driver: Driver, told: Told) -> Finding:
    ours, said = _ours(told)
    seen = f"{told.status} in {told.milliseconds} ms"
    if told.status == REFUSED and ours:
        if driver.signature_header is not None and "missing" in said:
            mend = f"Something in front drops the header {driver.signature_header}: let it pass."
            return Finding(AREA, account.slug, BROKEN, f"{seen}: unsigned when it arrives", mend)
        return Finding(AREA, account.slug, OK, f"{seen}: refuses a wrong credential, as it should")
    if told.status in REDIRECTS:
        to = told.headers.get("location", "elsewhere")
        mend = "Couriers follow none: give them the address that it leads to."
        return Finding(AREA, account.slug, BROKEN, f"{seen}: redirects to {to:.200}", mend)
    if told.status == NOT_THERE and ours:
        mend = "The account is off there: set its SECRETS for the web processes and restart them."
        return Finding(AREA, account.slug, BROKEN, f"{seen}: {said}", mend)
    if told.status in GATEWAY:
        mend = "The proxy reaches no web process: look at its upstream and at `web`."
        return Finding(AREA, account.slug, BROKEN, seen, mend)
    mend = f"Look at {BASE} and at what the proxy does with /webhooks."
    return Finding(AREA, account.slug, BROKEN, f"{seen}: not an answer of Ordertrail's", mend)


def _ours(told: Told) -> tuple[bool, str]:
    """Whether an answer has the shape that ours have, and what it says."""
    try:
        said = json.loads(told.body)
    except ValueError:
        return False, ""
    if not isinstance(said, dict) or said.get("status") != "error":
        return False, ""
    return True, str(said.get("message", ""))[:200]


def _certificate(told: Told) -> Finding:
    if told.trusted_until is None:
        return Finding(AREA, "TLS", OK, "trusted")
    left = told.trusted_until - datetime.now(UTC)
    seen = f"trusted until {told.trusted_until:%Y-%m-%d}"
    if left > SOON:
        return Finding(AREA, "TLS", OK, seen)
    level = BROKEN if left < VERY_SOON else WARNING
    return Finding(AREA, "TLS", level, seen, "Renew the certificate: couriers call no other way.")


def _room(settings: Settings, base: str, account: Account, driver: Driver) -> Iterator[Finding]:
    """Whether a body of MAX_BODY_BYTES comes through whatever stands in front."""
    largest = settings.max_body_bytes
    try:
        told = _post(base, account, driver, b" " * largest)
    except NotReached as failure:
        mend = f"The proxy must take bodies of {largest} bytes (nginx: client_max_body_size)."
        yield Finding(AREA, "body size", BROKEN, f"{largest} bytes: {failure}", mend)
        return
    ours, _ = _ours(told)
    if told.status == REFUSED and ours:
        yield Finding(AREA, "body size", OK, f"{largest} bytes come through")
    elif told.status == TOO_LARGE:
        whose = "MAX_BODY_BYTES there" if ours else "the proxy's limit (client_max_body_size)"
        mend = f"Raise {whose} to {largest}, or lower MAX_BODY_BYTES here."
        yield Finding(AREA, "body size", BROKEN, f"{largest} bytes: too large", mend)
    else:
        mend = "Look what the proxy does with large bodies."
        yield Finding(AREA, "body size", WARNING, f"{largest} bytes: {told.status}", mend)
