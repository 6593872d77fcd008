"""Couriers' APIs: whether each is reached, and whether it takes the account's credentials.

One request for each account, about an order that the courier is likely to know, and honest about
what its answer proves.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from receiver.couriers import DRIVERS
from receiver.couriers.contract import Access, Api
from receiver.db import engine as db
from receiver.db.models import Order
from receiver.settings import Account, Settings
from workers.cli.doctor.findings import BROKEN, OK, WARNING, Finding, Findings, skew
from workers.cli.doctor.wire import NotReached, Told, ask

AREA = "couriers"
ANSWERED, REFUSED, UNKNOWN = {200, 201}, {401, 403}, {404, 410}
REDIRECTS = range(300, 400)
BUSY = 429
FAULT = 500
# A Date has whole seconds, and is made before the answer has come all the way.
COARSE = 2.0


def check(settings: Settings) -> Findings:
    asked = [account for account in settings.accounts.values() if account.access is not None]
    known = _known_orders(settings, [account.slug for account in asked])
    for account in asked:
        yield from of_account(account, known.get(account.slug))


def of_account(account: Account, known: str | None) -> Findings:
    """known: an order that its courier has told us of; None where there is none."""
    access, api = account.access, DRIVERS[account.driver].api
    if access is None or api is None:
        return
    where = f"{account.env_name('API_URL')}={access.url}"
    try:
        headers = {**api.headers(access), "Accept": "application/json"}
        told = ask("GET", _url(account, access, api, known), headers)
    except NotReached as failure:
        mend = f"Look at {where}, and whether this host may reach it (DNS, firewall, proxy)."
        yield Finding(AREA, account.slug, BROKEN, str(failure), mend)
        return
    yield _meaning(account, told, known, where)
    if told.server_at is not None:
        yield from _clock(account.slug, told.server_at, told)


def _url(account: Account, access: Access, api: Api, known: str | None) -> str:
    if api.list_url is not None:
        return api.list_url(access, datetime.now(UTC), 1)
    return api.order_url(access, known or DRIVERS[account.driver].sample_order_id)


def _meaning(account: Account, told: Told, known: str | None, where: str) -> Finding:
    seen, status = f"{told.status} in {told.milliseconds} ms", told.status
    if status in ANSWERED and not told.body.lstrip().startswith((b"{", b"[")):
        mend = f"Look at {where}: a login page or a proxy answers in its stead."
        return Finding(AREA, account.slug, BROKEN, f"{seen}: no JSON", mend)
    if status in ANSWERED:
        return Finding(AREA, account.slug, OK, f"{seen}: takes our credentials")
    if status in REFUSED:
        mend = f"Check {account.env_name('API_TOKEN')} (and _API_USER), then restart the workers."
        return Finding(AREA, account.slug, BROKEN, f"{seen}: refuses our credentials", mend)
    if status in UNKNOWN and known is None:
        seen = f"{seen}: reached; it knows no such order, so credentials are neither proved nor not"
        return Finding(AREA, account.slug, OK, seen)
    if status in UNKNOWN:
        mend = f"Look at {where} and {account.env_name('ORDER_PATH')}, if all orders are unknown."
        return Finding(AREA, account.slug, WARNING, f"{seen}: does not know order {known}", mend)
    if status in REDIRECTS:
        mend = f"We follow none: set {where} to where it leads."
        to = told.headers.get("location", "elsewhere")
        return Finding(AREA, account.slug, BROKEN, f"{seen}: redirects to {to:.200}", mend)
    why, mend = ": neither yes nor no", f"Look at {where}."
    if status == BUSY:
        why, mend = ": asked too often", "Somebody else asks with the same credentials."
    if status >= FAULT:
        why, mend = ": a fault of its own", "Nothing: it is tried again by itself."
    return Finding(AREA, account.slug, WARNING, f"{seen}{why}", mend)


def _clock(slug: str, theirs: datetime, told: Told) -> Iterator[Finding]:
    found = skew(AREA, theirs, told.asked_at, "the courier", told.milliseconds / 1000 + COARSE)
    if found.level != OK:
        mend = "Set this host's clock (NTP), if more than one courier says so."
        yield Finding(AREA, slug, WARNING, f"its clock is {found.seen}", mend)


def _known_orders(settings: Settings, slugs: list[str]) -> dict[str, str]:
    """Of each account the newest order that its courier has told of itself."""
    engine = db.create_engine_for(settings.database_url, pool_size=1)
    try:
        with db.session_factory(engine)() as session:
            of = select(Order.courier_order_id).where(Order.courier_status.is_not(None))
            found = {
                slug: session.scalar(
                    of.where(Order.account == slug).order_by(Order.id.desc()).limit(1)
                )
                for slug in slugs
            }
        return {slug: known for slug, known in found.items() if known is not None}
    except SQLAlchemyError:
        return {}
    finally:
        engine.dispose()
