"""Whether a hook is its courier's: by the token in its address, or by a signature of its body."""

import hmac
import re

from receiver.accounts.credential_diagnosis import Evidence
from receiver.couriers.contract import Driver
from receiver.couriers.parsing import hmac_sha256_hex
from receiver.errors import RefusedCredential
from receiver.settings import Account

HEX_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


def verify(
    contract: Account, driver: Driver, token: str | None, signature: str | None, raw: bytes
) -> tuple[str, int]:
    """How far the body can be trusted (`signed`, or `token`), and which of the live secrets fits.

    token: of the address; signature: of the driver's header. Every live secret is tried, and each
    comparison takes the same time wherever they differ.

    Raises: RefusedCredential.
    """
    if driver.signature_header is not None:
        if signature is None:
            raise RefusedCredential(f"{driver.signature_header} is missing", "missing")
        if not HEX_SHA256.fullmatch(signature):
            raise RefusedCredential("the signature is not hex HMAC-SHA256", "malformed")
        given = signature.lower()
        fits = [hmac.compare_digest(hmac_sha256_hex(one, raw), given) for one in contract.secrets]
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
    contract: Account, driver: Driver, token: str | None, signature: str | None, raw: bytes | None
) -> Evidence | None:
    """What of a refused request can be looked at later; None where that is nothing."""
    if raw is None:
        return None
    if driver.signature_header is None:
        return Evidence(contract.slug, token) if token else None
    return Evidence(contract.slug, signature, raw) if signature else None
