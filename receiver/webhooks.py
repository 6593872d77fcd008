"""What couriers call: verify, accept, answer. The answer is all they ever learn.

The order of the checks is the defence: method, account and topic, size, token or signature, and
only then is anything read or stored.
"""

import hmac
import re
import time
from datetime import UTC, datetime
from typing import Any

import gevent
from flask import Blueprint, Response, current_app, g, request
from sqlalchemy import select

from receiver import metrics
from receiver.body import BODY_SECONDS, parse, read_body
from receiver.couriers import DRIVERS
from receiver.couriers.base import Driver, sign
from receiver.diagnosis import Evidence
from receiver.errors import (
    BodyCutOff,
    BodyTooLarge,
    RefusedCredential,
    UnknownAccount,
    UnknownOrder,
    UnreadableBody,
)
from receiver.inbox import Incoming
from receiver.models import PENDING, QUARANTINED, Order
from receiver.parts import Parts, parts
from receiver.refusals import NO_ACCOUNT, UNKNOWN_ACCOUNT, UNKNOWN_TOPIC
from receiver.settings import Account

webhooks = Blueprint("webhooks", __name__, url_prefix="/webhooks")

OK = b'{"status":"ok"}'
HEX_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


@webhooks.route(
    "/<account>/<topic>", methods=["POST"], provide_automatic_options=False, strict_slashes=False
)
@webhooks.route(
    "/<account>/<topic>/<token>",
    methods=["POST"],
    provide_automatic_options=False,
    strict_slashes=False,
)
def take_in(account: str, topic: str, token: str | None = None) -> Response:
    """Keep a courier's message and say so."""
    started = time.perf_counter()
    app = parts()
    contract, driver = find_account(app, account, topic, token)
    raw: bytes | None = None
    try:
        with gevent.Timeout(BODY_SECONDS, TimeoutError):
            raw = read_body(request.stream, app.settings.max_body_bytes, request.content_length)
        trust, place = verify(contract, driver, token, raw)
    except (BodyTooLarge, BodyCutOff, RefusedCredential) as refused:
        why = refused.why if isinstance(refused, RefusedCredential) else type(refused).__name__
        metrics.REFUSED.labels(account, why).inc()
        app.ledger.refused(account, why, evidence(contract, driver, token, raw))
        raise
    app.ledger.used(account, place)
    try:
        body, reason = parse(raw), None
    except UnreadableBody as unreadable:
        body, reason = {}, str(unreadable).replace("\x00", "")
    accepted = app.inbox.accept(
        Incoming(
            account=account,
            topic=topic,
            kind="webhook",
            trust=trust,
            body=raw,
            received_at=datetime.now(UTC),
            outcome=QUARANTINED if reason else PENDING,
            reason=reason,
        )
    )
    g.logged = {"message_id": accepted.message_id, "repeated": accepted.repeated}
    counted = metrics.REPEATED if accepted.repeated else metrics.ACCEPTED
    counted.labels(account, topic).inc()
    metrics.ACCEPT_SECONDS.labels(account).observe(time.perf_counter() - started)
    if reason is not None:
        raise UnreadableBody(reason)
    if contract.parks_unknown_orders:
        refuse_unknown_order(app, contract, driver, body)
    return current_app.response_class(OK, mimetype="application/json")


def find_account(app: Parts, account: str, topic: str, token: str | None) -> tuple[Account, Driver]:
    """The account and its driver.

    Raises: UnknownAccount for an account that is off, and for a path that its courier never calls.
    """
    contract = app.settings.accounts.get(account)
    if contract is None:
        app.ledger.refused(NO_ACCOUNT, UNKNOWN_ACCOUNT)
        raise UnknownAccount("no such account")
    driver = DRIVERS[contract.driver]
    if topic not in driver.topics or (driver.signed and token is not None):
        app.ledger.refused(account, UNKNOWN_TOPIC)
        raise UnknownAccount("this account has no such topic")
    return contract, driver


def verify(contract: Account, driver: Driver, token: str | None, raw: bytes) -> tuple[str, int]:
    """How far the body can be trusted (`signed`, or `token`), and which of the live secrets fits.

    Every live secret is tried, and each comparison takes the same time wherever they differ.
    Raises: RefusedCredential.
    """
    if driver.signature_header is not None:
        given = request.headers.get(driver.signature_header)
        if given is None:
            raise RefusedCredential(f"{driver.signature_header} is missing", "missing")
        if not HEX_SHA256.fullmatch(given):
            raise RefusedCredential("the signature is not hex HMAC-SHA256", "malformed")
        fits = [hmac.compare_digest(sign(one, raw), given.lower()) for one in contract.secrets]
        if not any(fits):
            raise RefusedCredential("the signature does not fit the body", "wrong")
        return "signed", fits.index(True)
    if token is None:
        raise RefusedCredential("the URL lacks its token", "missing")
    offered = token.encode(errors="replace")
    fits = [hmac.compare_digest(secret.encode(), offered) for secret in contract.secrets]
    if not any(fits):
        raise RefusedCredential("the token is wrong", "wrong")
    return "token", fits.index(True)


def evidence(
    contract: Account, driver: Driver, token: str | None, raw: bytes | None
) -> Evidence | None:
    """What of a refused request can be looked at later; None where that is nothing."""
    if driver.signature_header is None:
        return Evidence(contract.slug, token) if token and raw is not None else None
    given = request.headers.get(driver.signature_header)
    return Evidence(contract.slug, given, raw) if given and raw is not None else None


def refuse_unknown_order(
    app: Parts, contract: Account, driver: Driver, body: dict[str, Any]
) -> None:
    """Give the documented 404 for an order that the shop has not registered; the body is kept.

    Raises: UnknownOrder.
    """
    named = driver.names_order(body) if driver.names_order else None
    if named is None:
        return
    order_id, name = named
    known = select(Order.id).where(
        Order.account == contract.slug, Order.courier_order_id == order_id
    )
    with app.sessions() as session:
        if session.scalar(known) is None:
            raise UnknownOrder(f"Order {name} not found")
