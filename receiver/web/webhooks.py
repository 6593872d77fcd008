"""What couriers call: verify, accept, answer. The answer is all they ever learn.

The order of the checks is the defence: method, account and topic, size, token or signature, and
only then is anything read or stored.

This stands before Flask, as a WSGI application of its own: couriers need one method of two
addresses, and Flask's routes, contexts and answers took a third of what keeping a hook takes.
"""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import gevent
import orjson
from sqlalchemy import select
from werkzeug.sansio.utils import get_content_length
from werkzeug.wsgi import get_input_stream

from receiver.accounts.refused_credentials import NO_ACCOUNT, UNKNOWN_ACCOUNT, UNKNOWN_TOPIC
from receiver.couriers import DRIVERS
from receiver.couriers.contract import Driver
from receiver.db.models import PENDING, QUARANTINED, Order
from receiver.errors import (
    BodyCutOff,
    BodyTooLarge,
    RefusedCredential,
    UnknownAccount,
    UnknownOrder,
    UnreadableBody,
)
from receiver.inbox.accept import Accepted, Incoming
from receiver.inbox.json_body import BODY_SECONDS, parse, read_body
from receiver.orders.erasure_unread import forget_where_erased
from receiver.settings import Account
from receiver.stats import counters
from receiver.web.context import AppContext
from receiver.web.problems import RETRY_SECONDS, judged
from receiver.web.request_log import RequestLog
from receiver.web.security_headers import HEADERS
from receiver.web.webhook_auth import evidence, verify

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from receiver.web.request_spans import Spans

PREFIX = "/webhooks/"
# An account, a topic, and a token where the courier does not sign; a slash at the end harms nobody.
ADDRESS = re.compile(PREFIX + "([^/]+)/([^/]+)(?:/([^/]+))?/?")
ROUTE, ROUTE_WITH_TOKEN = (f"{PREFIX}<account>/<topic>{token}" for token in ("", "/<token>"))

OK = b'{"status":"ok"}'
STATUS_LINES = {status: f"{status.value} {status.phrase}" for status in HTTPStatus}
COMMON = [*HEADERS.items(), ("Content-Type", "application/json")]
WHOLE_OK = [*COMMON, ("Content-Length", str(len(OK)))]


@dataclass(slots=True)
class Call:
    """A request to an address of a courier's, and what came of it."""

    request: "WSGIEnvironment"
    account: str
    topic: str
    token: str | None
    accepted: Accepted | None = None

    @property
    def route(self) -> str:
        return ROUTE if self.token is None else ROUTE_WITH_TOKEN

    def header(self, name: str | None) -> str | None:
        if name is None:
            return None
        found: str | None = self.request.get(f"HTTP_{name.upper().replace('-', '_')}")
        return found


class Webhooks:
    """Answers everything under /webhooks/; the rest of the service answers the rest."""

    def __init__(
        self,
        parts: AppContext,
        rest: "WSGIApplication",
        log: RequestLog | None,
        spans: "Spans | None",
    ) -> None:
        self._parts = parts
        self._rest = rest
        self._log = log
        self._spans = spans

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        # As Flask takes it: slashes before an address are one.
        path = f"/{environ['PATH_INFO'].lstrip('/')}"
        if not path.startswith(PREFIX):
            return self._rest(environ, start_response)
        began = time.perf_counter()
        method = environ["REQUEST_METHOD"]
        # WSGI hands on each byte as a letter.
        found = ADDRESS.fullmatch(path.encode("latin-1").decode(errors="replace"))
        call = Call(environ, found[1], found[2], found[3]) if found else None
        route, account = (call.route, call.account) if call else (None, "")
        span = self._spans.begin(method, route, account) if self._spans else None
        status, told = self._answer(method, call)
        if span is not None:
            accepted = call.accepted if call else None
            span.answered(status, accepted.message_id if accepted else None)
            span.end()
        if self._log is not None:
            self._log.add(method, route, status, began, **self._shown(call))
        start_response(STATUS_LINES[status], _headers(status, told))
        return [told] if method != "HEAD" else []

    def _answer(self, method: str, call: Call | None) -> tuple[HTTPStatus, bytes]:
        if call is None:
            return HTTPStatus.NOT_FOUND, _error("no such address")
        if method != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED, _error("hooks are sent by POST")
        try:
            take_in(self._parts, call)
        except Exception as error:  # noqa: BLE001 (the last that stands before the courier)
            status, message = judged(error, "webhooks")
            return status, _error(message)
        return HTTPStatus.OK, OK

    def _shown(self, call: Call | None) -> dict[str, Any]:
        """What the log tells of a call: never its token, also where that stands in a wrong place.

        A courier that was given `/webhooks/<account>/<token>` has it where a topic is expected.
        """
        contract = self._parts.settings.accounts.get(call.account) if call else None
        if call is None or contract is None:
            return {}
        shown: dict[str, Any] = {"account": call.account}
        if call.topic in DRIVERS[contract.driver].topics:
            shown["topic"] = call.topic
        if call.accepted is not None:
            shown["message_id"] = call.accepted.message_id
            shown["repeated"] = call.accepted.repeated
        return shown


def _error(message: str) -> bytes:
    return orjson.dumps({"status": "error", "message": message})


def _headers(status: HTTPStatus, told: bytes) -> list[tuple[str, str]]:
    if status is HTTPStatus.OK:
        return WHOLE_OK
    headers = [*COMMON, ("Content-Length", str(len(told)))]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", "POST"))
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append(("Retry-After", RETRY_SECONDS))
    return headers


def take_in(app: AppContext, call: Call) -> None:
    """Keep a courier's message; returns where that is to be answered 200.

    Raises: an OrdertrailError that says what else is to be answered.
    """
    started = time.perf_counter()
    account, topic, token = call.account, call.topic, call.token
    contract, driver = find_account(app, account, topic, token)
    signature = call.header(driver.signature_header)
    raw: bytes | None = None
    try:
        raw = _body(call.request, app.settings.max_body_bytes)
        trust, place = verify(contract, driver, token, signature, raw)
    except (BodyTooLarge, BodyCutOff, RefusedCredential) as refused:
        why = refused.why if isinstance(refused, RefusedCredential) else type(refused).__name__
        counters.REFUSED.labels(account, why).inc()
        app.credential_recorder.record_refusal(
            account, why, evidence(contract, driver, token, signature, raw)
        )
        raise
    app.credential_recorder.record_secret_use(account, place)
    try:
        body, reason = parse(raw), None
    except UnreadableBody as unreadable:
        body, reason = {}, str(unreadable).replace("\x00", "")
    call.accepted = app.inbox.accept(
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
    counted = counters.REPEATED if call.accepted.repeated else counters.ACCEPTED
    counted.labels(account, topic).inc()
    counters.ACCEPT_SECONDS.labels(account).observe(time.perf_counter() - started)
    if reason is not None:
        forget_where_erased(app.sessions, contract, call.accepted.message_id, raw)
        raise UnreadableBody(reason)
    if contract.parks_unknown_orders:
        refuse_unknown_order(app, contract, driver, body)


def find_account(
    app: AppContext, account: str, topic: str, token: str | None
) -> tuple[Account, Driver]:
    """The account and its driver.

    Raises: UnknownAccount for an account that is off, and for a path that its courier never calls.
    """
    contract = app.settings.accounts.get(account)
    if contract is None:
        app.credential_recorder.record_refusal(NO_ACCOUNT, UNKNOWN_ACCOUNT)
        raise UnknownAccount("no such account")
    driver = DRIVERS[contract.driver]
    if topic not in driver.topics or (driver.signed and token is not None):
        app.credential_recorder.record_refusal(account, UNKNOWN_TOPIC)
        raise UnknownAccount("this account has no such topic")
    return contract, driver


def _body(request: "WSGIEnvironment", limit: int) -> bytes:
    """The whole body. Raises: BodyTooLarge, BodyCutOff."""
    promised = get_content_length(
        request.get("CONTENT_LENGTH"), request.get("HTTP_TRANSFER_ENCODING")
    )
    with gevent.Timeout(BODY_SECONDS, TimeoutError):
        return read_body(get_input_stream(request), limit, promised)


def refuse_unknown_order(
    app: AppContext, contract: Account, driver: Driver, body: dict[str, Any]
) -> None:
    """Give the documented 404 for an order that the shop has not registered; the body is kept.

    Raises: UnknownOrder.
    """
    named = driver.identify_order(body) if driver.identify_order else None
    if named is None:
        return
    order_id, name = named
    known = select(Order.id).where(
        Order.account == contract.slug, Order.courier_order_id == order_id
    )
    with app.sessions() as session:
        if session.scalar(known) is None:
            raise UnknownOrder(f"Order {name} not found")
