"""The signature of a raw body as Cottoncast makes it, without the service's own code."""

import hmac


def hmac_sha256_hex(secret: str, raw: bytes) -> str:
    """The HMAC-SHA256 of a raw body in lower-case hexadecimal."""
    return hmac.new(secret.encode(), raw, "sha256").hexdigest()
