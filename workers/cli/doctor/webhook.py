"""Check the address that couriers call: it reaches us, over valid TLS, with bodies of every size.

All requests have credentials that are certainly wrong, so that nothing is ever stored.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from receiver.cli.sending.webhook_request import build_request
from receiver.settings import Account, Settings
from workers.cli.doctor.findings import BROKEN, OK, WARNING, Finding, Findings, judge
from workers.cli.doctor.http_probe import REDIRECTS, NoResponse, ProbeResponse, send_probe

# Nobody's secrets: one as a text, one with a user name, and one in hex, which is base64 as well.
WRONG_SECRETS = ("ordertrail-doctor", "ordertrail:doctor", "d0c7" * 8)
EXPIRY_WARNING, EXPIRY_BROKEN = timedelta(days=21), timedelta(days=3)
UNAUTHORIZED, NOT_FOUND, TOO_LARGE = 401, 404, 413
GATEWAY_ERRORS = {502, 503, 504}


def check_webhook_url(settings: Settings, url: str) -> Findings:
    """url: the installation's public address; the webhook of every account is tried."""
    base_url = url.rstrip("/")
    if not settings.accounts:
        yield Finding("accounts", WARNING, "no account is on here, so none can be tested")
        return
    secure = base_url.startswith("https://")
    if not secure:
        seen = "none: tokens and personal data are sent unencrypted"
        yield Finding("TLS", WARNING, seen, "Give couriers an https:// address.")
    first = True
    for account in settings.accounts.values():
        try:
            response = _post(base_url, account, b"{}")
        except NoResponse as error:
            advice = "Check DNS, the firewall, the proxy and its certificate."
            yield Finding(account.slug, BROKEN, str(error), advice)
            return
        if first and secure:
            yield _check_certificate(response)
        level, seen, advice = _interpret(account, response)
        seen = f"{response.status} in {response.milliseconds} ms: {seen}"
        yield Finding(account.slug, level, seen, advice)
        if first and level == OK:
            yield _check_body_size(settings.max_body_bytes, base_url, account)
            first = False


def _post(base_url: str, account: Account, body: bytes) -> ProbeResponse:
    usable = (it for it in WRONG_SECRETS if account.signature.find_secret_fault(it) is None)
    stranger = replace(account, secrets=(next(usable),))
    request = build_request(stranger, "orders", base_url, body)
    headers = {**request.headers, "Content-Length": str(len(body))}
    return send_probe(request.method, request.url, headers, body)


def _interpret(account: Account, response: ProbeResponse) -> tuple[str, str, str]:
    """Return the level, what the response means and what to do."""
    message, status = _error_message(response), response.status
    if status == UNAUTHORIZED and message is not None:
        if not account.signature.in_url and "missing" in message:
            names = " or ".join(account.signature.header_names)
            advice = f"A proxy removes the header {names}: let it pass."
            return BROKEN, "the header with the credential did not arrive", advice
        return OK, "rejects a wrong credential, as it should", ""
    if status == NOT_FOUND and message is not None:
        name = account.env_name("SECRETS")
        advice = f"The account is off there: set {name} for the web processes and restart them."
        return BROKEN, message, advice
    if status in REDIRECTS:
        target = response.headers.get("location", "another address")
        advice = "Couriers do not follow redirects: give them the final address."
        return BROKEN, f"redirects to {target:.200}", advice
    if status in GATEWAY_ERRORS:
        advice = "Check the proxy's upstream, and that the web process is running."
        return BROKEN, "the proxy cannot reach a web process", advice
    advice = "Check --webhook-url, and what the proxy does with /webhooks."
    return BROKEN, "not a response of Ordertrail", advice


def _error_message(response: ProbeResponse) -> str | None:
    """Return the message of an error response of Ordertrail; None where it is not one."""
    try:
        answer = json.loads(response.body)
    except ValueError:
        return None
    is_ours = isinstance(answer, dict) and answer.get("status") == "error"
    return str(answer.get("message", ""))[:200] if is_ours else None


def _check_certificate(response: ProbeResponse) -> Finding:
    until = response.certificate_until
    if until is None:
        return Finding("TLS", OK, "the certificate is valid")
    left = until - datetime.now(UTC)
    seen = f"the certificate is valid until {until:%Y-%m-%d}"
    advice = "Renew it: couriers reject an expired certificate."
    level = BROKEN if left < EXPIRY_BROKEN else WARNING
    return judge("TLS", left > EXPIRY_WARNING, seen, advice, level)


def _check_body_size(limit: int, base_url: str, account: Account) -> Finding:
    """Check that a body of MAX_BODY_BYTES passes every proxy."""
    try:
        response = _post(base_url, account, b" " * limit)
    except NoResponse as error:
        advice = f"The proxy must accept {limit} bytes (client_max_body_size in nginx)."
        return Finding("body size", BROKEN, f"{limit} bytes: {error}", advice)
    is_ours = _error_message(response) is not None
    if response.status == TOO_LARGE:
        setting = "MAX_BODY_BYTES there" if is_ours else "the proxy's limit (client_max_body_size)"
        advice = f"Raise {setting} to {limit}, or lower MAX_BODY_BYTES here."
        return Finding("body size", BROKEN, f"{limit} bytes are too large", advice)
    good = response.status == UNAUTHORIZED and is_ours
    seen, advice = f"{limit} bytes: {response.status}", "Check what the proxy does with them."
    return judge("body size", good, seen, advice)
