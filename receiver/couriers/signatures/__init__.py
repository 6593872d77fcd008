"""How a courier's webhooks are authenticated: the schemes, and how to verify and sign a request.

A scheme is a frozen value that a driver declares (`Driver.signature`) or an account's settings
(`COURIER_<ACCOUNT>_SIGNATURE`). It holds no secret: those are given with each request.
"""

from receiver.couriers.signatures.hmac_signature import Hmac, StandardWebhooks
from receiver.couriers.signatures.scheme import Scheme, sign, verify
from receiver.couriers.signatures.tokens import BasicCredentials, HeaderToken, TokenInUrl

__all__ = [
    "BasicCredentials",
    "HeaderToken",
    "Hmac",
    "Scheme",
    "StandardWebhooks",
    "TokenInUrl",
    "sign",
    "verify",
]
