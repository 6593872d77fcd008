"""Secrets of the tests' accounts, spelled as each courier's scheme takes them."""

import base64

from receiver.couriers.contract import Driver


def fitting_secret(driver: Driver, text: str) -> str:
    """Return a secret in the first spelling that the courier takes: itself, in hex, in base64."""
    raw = text.encode()
    spellings = (text, raw.hex(), base64.b64encode(raw).decode())
    fault = driver.signature.find_secret_fault
    return next(secret for secret in spellings if fault(secret) is None)
