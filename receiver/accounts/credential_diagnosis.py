"""Find out why a courier's credential is likely to be wrong: for our people, never for the courier.

No secret leaves this module, and nothing of what was sent: only a word of CAUSES does.
"""

import base64
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from receiver.settings import Account

NOT_EXAMINED = "not_examined"

# By the word that is stored and shown: the likely cause, and what to do about it.
CAUSES: Mapping[str, tuple[str, str]] = {
    "old_secret": (
        "a secret that was retired",
        "Give the courier the new secret, or accept the old one again until then.",
    ),
    "other_account": (
        "the secret of another account",
        "The courier's settings of two accounts, or of test and production, are mixed up.",
    ),
    "base64": ("a correct signature, but in base64", "The courier must send it in hexadecimal."),
    "prefixed": (
        "a correct signature, but with a prefix",
        "The courier must send the hexadecimal digits only.",
    ),
    "unknown_secret": (
        "a secret that we do not know, or a changed body",
        "Compare the courier's settings. A proxy that rewrites bodies has the same effect.",
    ),
    NOT_EXAMINED: (
        "not examined: too many requests came at once, or they had nothing to examine",
        "See the other refusals of this account.",
    ),
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was sent: a signature and the body that it is of, or a token and no body."""

    account: str
    offered: str = field(repr=False)
    body: bytes | None = field(default=None, repr=False)


def describe_cause(likely: str) -> tuple[str, str]:
    """Return a cause in words and what to do. likely: a word of CAUSES, or an older release's."""
    return CAUSES.get(likely.partition(":")[0], CAUSES["unknown_secret"])


def diagnose(evidence: Evidence, accounts: Mapping[str, Account]) -> str:
    """Return the likely cause, a word of CAUSES; `other_account` is followed by which one."""
    account, body = accounts[evidence.account], evidence.body
    offered = evidence.offered if body is None else evidence.offered.strip().lower()
    if _is_made_with(account.retired_secrets, offered, body):
        return "old_secret"
    for other in accounts.values():
        secrets = (*other.secrets, *other.retired_secrets)
        if other is not account and _is_made_with(secrets, offered, body):
            return f"other_account:{other.slug}"
    for secret in account.secrets if body is not None else ():
        digest = hmac.digest(secret.encode(), body or b"", "sha256")
        if offered.endswith(digest.hex()):
            return "prefixed"
        encoded = (base64.b64encode(digest), base64.urlsafe_b64encode(digest))
        if evidence.offered.strip() in {text.decode() for text in encoded}:
            return "base64"
    return "unknown_secret"


def _is_made_with(secrets: Iterable[str], offered: str, body: bytes | None) -> bool:
    """Whether a token is one of the secrets, or a signature was made with one of them."""
    expected = (
        secret if body is None else hmac.digest(secret.encode(), body, "sha256").hex()
        for secret in secrets
    )
    given = offered.encode(errors="replace")
    return any(hmac.compare_digest(value.encode(), given) for value in expected)
