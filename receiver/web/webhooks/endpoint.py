"""The endpoints that couriers call: verify, accept, answer.

The order of the checks is the defence: method, account and topic, size, token or signature; only
then is anything stored.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson
from flask import Flask, Response, g, request
from werkzeug.exceptions import MethodNotAllowed

from receiver import errors
from receiver.accounts.credential_diagnosis import Evidence
from receiver.accounts.refused_credentials import NO_ACCOUNT, UNKNOWN_ACCOUNT, UNKNOWN_TOPIC
from receiver.couriers import DRIVERS
from receiver.couriers.contract import Driver, Topic
from receiver.couriers.signatures import verify
from receiver.couriers.signatures.scheme import MISSING, SIGNED, Sent
from receiver.db.models import PENDING, QUARANTINED
from receiver.inbox.accept import IncomingMessage
from receiver.inbox.content import parse_content
from receiver.orders.erasure import erase_if_named_order_is_erased
from receiver.orders.matching import is_known
from receiver.settings import Account
from receiver.stats import counters
from receiver.web.context import AppContext, app_context
from receiver.web.problems import Problem, use_renderer
from receiver.web.request_body import read_body
from receiver.web.request_log import add_log_fields
from receiver.web.webhooks.declared import (
    answer_handshake,
    answer_message,
    find_trust,
    is_noise,
    keep_request,
)

# How many entries of each list of a body are read before it is answered.
MOST_ENTRIES = 50

ENDPOINT = "webhooks.answer_webhook"
PATHS = ("/webhooks/<account>/<topic>", "/webhooks/<account>/<topic>/<token>")

# Why a body is refused, as the metrics say it.
BODY_REASONS = {"BodyTooLarge": "body_too_large", "BodyCutOff": "body_cut_off"}

PREFIX = "/webhooks"


def init_app(app: Flask) -> None:
    """Add the couriers' endpoints, whose errors have the shape that couriers know.

    They are routed for every method, because each topic declares its own; and with a slash at the
    end, because couriers follow no redirect to the URL without it.
    """
    app.after_request(_count_answer)
    app.view_functions[ENDPOINT] = answer_webhook
    for path in PATHS:
        app.url_map.add(app.url_rule_class(path, endpoint=ENDPOINT, strict_slashes=False))
    use_renderer(app, PREFIX, _render_problem)


def list_routes(accounts: Mapping[str, Account]) -> dict[str, tuple[str, ...]]:
    """Return the topics that each account's courier may call."""
    return {slug: tuple(DRIVERS[account.driver].topics) for slug, account in accounts.items()}


def _count_answer(answer: Response) -> Response:
    """Count every answer below PREFIX, also those of errors and of paths that do not exist."""
    if request.path.startswith(f"{PREFIX}/"):
        named = request.view_args or {}
        seconds = time.perf_counter() - g.request_started
        app_context().answer_recorder.record(
            named.get("account", ""),
            named.get("topic", ""),
            answer.status_code,
            seconds,
            is_message=request.method != "GET",
        )
    return answer


def _render_problem(problem: Problem) -> Response:
    body = orjson.dumps({"status": "error", "message": problem.detail})
    return Response(body, mimetype="application/json")


def answer_webhook(account: str, topic: str, token: str | None = None) -> Response:
    """Store a courier's message, and answer it as its topic declares; or answer a handshake.

    Every other answer is that of an error.
    """
    app = app_context()
    courier_account, declared = _find_topic(app, account, topic, token)
    add_log_fields(topic=topic)
    if request.method == "GET" and declared.handshake is not None:
        if courier_account.signature.in_url:
            _read_verified_body(app, courier_account, token)
        return answer_handshake(account, declared.handshake)
    body = _read_verified_body(app, courier_account, token)
    kept = keep_request(declared, courier_account.signature)
    content, reason = {}, None
    try:
        content = parse_content(body, declared.body)
    except errors.UnreadableBody as error:
        reason = str(error).replace("\x00", "")
    if reason is None and is_noise(courier_account, declared, content, kept):
        add_log_fields(discarded=True)
        counters.increment(counters.DISCARDED, account, topic)
        app.discard_recorder.record_discarded(account)
        return answer_message(courier_account, declared, content, kept)
    now, outcome = datetime.now(UTC), QUARANTINED if reason else PENDING
    trust = find_trust(declared, courier_account.signature)
    message = IncomingMessage(account, topic, "webhook", trust, body, now, outcome, reason, kept)
    accepted = app.inbox.accept(message)
    add_log_fields(message_id=accepted.message_id, repeated=accepted.repeated)
    counted = counters.REPEATED if accepted.repeated else counters.ACCEPTED
    counters.increment(counted, account, topic)
    if reason is not None:
        erase_if_named_order_is_erased(app.sessions, account, accepted.message_id, body, kept)
        raise errors.UnreadableBody(reason)
    if courier_account.parks_unknown_orders:
        _refuse_unknown_order(app, courier_account, message, content)
    return answer_message(courier_account, declared, content, kept)


def _find_topic(app: AppContext, slug: str, topic: str, token: str | None) -> tuple[Account, Topic]:
    """Return the account that a path names, and its topic.

    Raises: UnknownAccount for an account that is off, and for a path that its courier never calls;
        MethodNotAllowed for a method that it never uses there.
    """
    account = app.settings.accounts.get(slug)
    if account is None:
        app.credential_recorder.record_refusal(NO_ACCOUNT, UNKNOWN_ACCOUNT)
        raise errors.UnknownAccount("no such account")
    driver, takes_token = DRIVERS[account.driver], account.signature.in_url
    declared = driver.topics.get(topic)
    if declared is None or request.method not in declared.methods:
        _check_method(declared, driver)
    if declared is None or (token is not None and not takes_token):
        app.credential_recorder.record_refusal(slug, UNKNOWN_TOPIC)
        raise errors.UnknownAccount("this account has no such topic")
    return account, declared


def _check_method(declared: Topic | None, driver: Driver) -> None:
    """Refuse a method that the courier does not use with this topic; if there is none, with any."""
    topics = driver.topics.values() if declared is None else [declared]
    allowed = {method for topic in topics for method in topic.methods}
    allowed |= {"GET" for topic in topics if topic.handshake is not None}
    if request.method not in allowed:
        raise MethodNotAllowed(sorted(allowed))


def _read_verified_body(app: AppContext, account: Account, token: str | None) -> bytes:
    """Return the body of an authenticated request; count the request if it is refused.

    Raises: BodyTooLarge, BodyCutOff, RefusedCredential.
    """
    scheme, headers = account.signature, request.headers
    body: bytes | None = None
    try:
        body = read_body(request, app.settings.max_body_bytes)
        position = verify(scheme, account.secrets, headers, body, datetime.now(UTC), token)
    except (errors.BodyTooLarge, errors.BodyCutOff, errors.RefusedCredential) as error:
        reason = error.why if isinstance(error, errors.RefusedCredential) else type(error).__name__
        counters.increment(counters.REFUSED, account.slug, BODY_REASONS.get(reason, reason))
        evidence = None
        if body is not None and reason != MISSING:
            sent = {name: headers.get(name, "") for name in scheme.header_names}
            proven = body if scheme.trust == SIGNED else b""
            evidence = Evidence(account.slug, Sent(sent, proven, token), reason, datetime.now(UTC))
        app.credential_recorder.record_refusal(account.slug, reason, evidence)
        raise
    app.credential_recorder.record_secret_use(account.slug, position)
    return body


def _refuse_unknown_order(
    app: AppContext, account: Account, message: IncomingMessage, content: Any
) -> None:
    """Answer the documented 404 for an order that the shop has not registered; the body is stored.

    Raises: UnknownOrder.
    """
    driver = DRIVERS[account.driver]
    named = driver.identify_order(content) if driver.identify_order else None
    if named is None:
        return
    context = account.message_context(message.received_at, message.kind)
    if message.request is not None:
        context = replace(context, **message.request)
    # The courier waits, and so do all others: of thousands of parcels the first are names enough.
    brief = _first_entries(content)
    if isinstance(content, dict):
        brief = {name: _first_entries(value) for name, value in content.items()}
    try:
        decoded = driver.topics[message.topic].decode(brief, context)
    except errors.Undecodable:
        return
    with app.sessions() as session:
        if not all(is_known(session, account, snapshot) for snapshot in decoded.orders):
            raise errors.UnknownOrder(f"Order {named[1]} not found")


def _first_entries(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(islice(value.items(), MOST_ENTRIES))
    return value[:MOST_ENTRIES] if isinstance(value, list) else value
