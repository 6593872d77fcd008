"""Verify that a webhook is its courier's, by the token in its URL or the signature of its body."""

import hmac
import re

from receiver.accounts.credential_diagnosis import Evidence
from receiver.couriers.contract import Driver
from receiver.couriers.parsing import hmac_sha256_hex
from receiver.errors import RefusedCredential
from receiver.settings import Account

HEX_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


def verify_credential(
    account: Account, driver: Driver, credential: str | None, body: bytes
) -> tuple[str, int]:
    """Return the body's trust (`signed` or `token`) and which of the live secrets fits.

    credential: the token in the URL, or the value of the driver's signature header. Every live
    secret is tried, and each comparison takes the same time wherever the two differ.

    Raises: RefusedCredential.
    """
    if driver.signature_header is None:
        if credential is None:
            raise RefusedCredential("the URL lacks its token", "missing")
        trust, refusal = "token", "the token is wrong"
        expected = [secret.encode() for secret in account.secrets]
        offered = credential.encode(errors="replace")
    else:
        if credential is None:
            raise RefusedCredential(f"{driver.signature_header} is missing", "missing")
        if not HEX_SHA256.fullmatch(credential):
            raise RefusedCredential("the signature is not hex HMAC-SHA256", "malformed")
        trust, refusal = "signed", "the signature does not fit the body"
        expected = [hmac_sha256_hex(secret, body).encode() for secret in account.secrets]
        offered = credential.lower().encode()
    fits = [hmac.compare_digest(candidate, offered) for candidate in expected]
    if not any(fits):
        raise RefusedCredential(refusal, "wrong")
    return trust, fits.index(True)


def collect_evidence(
    account: Account, driver: Driver, credential: str | None, body: bytes | None
) -> Evidence | None:
    """Return what of a refused request can be diagnosed later; None where there is nothing."""
    if body is None or not credential:
        return None
    if driver.signature_header is None:
        return Evidence(account.slug, credential)
    return Evidence(account.slug, credential, body)
