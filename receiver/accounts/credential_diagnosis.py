"""Find out why a courier's credential is likely to be wrong: for our people, never for the courier.

No secret leaves this module, and nothing of what was sent: only a word of CAUSES does.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import product

from receiver.couriers.signatures import BasicCredentials, HeaderToken, Hmac, Scheme
from receiver.couriers.signatures.hmac_signature import ALGORITHMS, ENCODINGS, KEY_FORMS
from receiver.couriers.signatures.scheme import OUTSIDE_WINDOW, Sent, is_made_with
from receiver.errors import RefusedCredential
from receiver.settings import Account

NOT_EXAMINED = "not_examined"

# A proof is looked for in other spellings only where the body is not larger, in bytes.
MOST_SPELLED_BYTES = 65_536

_CHANGE_ENCODING = (
    "The courier must send it as expected, or the signature's setting must say how it is sent."
)

_OLD_TIMESTAMP = (
    "Check the clock of this server (NTP). If it is right, an old request was sent again: by the"
    " courier with its first timestamp (then raise `tolerance_seconds` of the signature's setting),"
    " or by somebody who recorded it."
)

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
    "hex": ("a correct signature, but in hexadecimal", _CHANGE_ENCODING),
    "base64": ("a correct credential, but in base64", _CHANGE_ENCODING),
    "base64url": ("a correct signature, but in base64url", _CHANGE_ENCODING),
    "prefixed": (
        "a correct credential, but with a prefix or something else beside it",
        "The courier must send it without, or `prefix` of the signature's setting must name it.",
    ),
    "unprefixed": (
        "a correct credential, but without its prefix",
        "The courier must send the prefix, or `prefix` of the signature's setting must be changed.",
    ),
    "other_algorithm": (
        "a correct signature, but by another algorithm",
        "Set `algorithm` of the signature's setting to what the courier's documents say.",
    ),
    "other_key_form": (
        "a correct signature, but the secret was read in another form",
        "Set `key` of the signature's setting: the secret as text, or its bytes in hex or base64.",
    ),
    "other_text": (
        "a correct signature, but of the body alone",
        "Set `signed` of the signature's setting to {body}, without a timestamp.",
    ),
    "plain_secret": (
        "the secret itself instead of a signature",
        "The courier must sign with it. Where it does not sign, `compare` of the setting is token.",
    ),
    "other_user": (
        "the right password, but another user name",
        "Compare the user name at the courier with the part of the secret before the colon.",
    ),
    "timestamp_unreadable": (
        "a timestamp that is no Unix time, RFC 3339 time or HTTP date",
        "Compare the setting of the signature with the courier's documents.",
    ),
    "timestamp_ahead": (
        "a correct signature, but its timestamp is ahead of our clock",
        "Check the clock of this server (NTP). If it is right, the courier's is wrong.",
    ),
    "timestamp_behind": ("a correct signature, but its timestamp is too old", _OLD_TIMESTAMP),
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
    """What of a refused request its credential is made of, why and when it was refused."""

    account: str
    sent: Sent = field(repr=False)
    reason: str
    at: datetime


def describe_cause(likely: str) -> tuple[str, str]:
    """Return a cause in words and what to do. likely: a word of CAUSES, or an older release's."""
    return CAUSES.get(likely.partition(":")[0], CAUSES["unknown_secret"])


def diagnose(evidence: Evidence, accounts: Mapping[str, Account]) -> str:
    """Return the likely cause, a word of CAUSES; `other_account` is followed by which one."""
    account, sent = accounts[evidence.account], evidence.sent
    scheme = account.signature
    if evidence.reason == OUTSIDE_WINDOW:
        sent_at = scheme.read_time(sent)
        return "timestamp_ahead" if sent_at and sent_at > evidence.at else "timestamp_behind"
    try:
        offered = scheme.read_offered(sent)
    except RefusedCredential:
        offered = []
    if _is_made_with(scheme, account.retired_secrets, sent, offered):
        return "old_secret"
    for other in accounts.values():
        secrets = (*other.secrets, *other.retired_secrets)
        if other is not account and _is_made_with(scheme, secrets, sent, offered):
            return f"other_account:{other.slug}"
    if isinstance(scheme, Hmac):
        causes = _compare_signature(scheme, account.secrets, sent)
    else:
        causes = _compare_token(scheme, account.secrets, sent)
    return next(causes, "unknown_secret")


def _is_made_with(
    scheme: Scheme, secrets: Iterable[str], sent: Sent, offered: Sequence[bytes]
) -> bool:
    """Whether a credential was made with one of the secrets that the scheme can use."""
    usable = [secret for secret in secrets if scheme.find_secret_fault(secret) is None]
    return bool(offered) and any(is_made_with(scheme, secret, sent, offered) for secret in usable)


def _compare_token(scheme: Scheme, secrets: Iterable[str], sent: Sent) -> Iterator[str]:
    """Yield what is wrong about a token that has a live secret in it."""
    value = (sent.url_token or "").strip()
    for name in scheme.header_names:
        value = (sent.headers.get(name) or "").strip()
    for secret in secrets:
        plain = scheme.expect(secret, sent).decode()
        if value.endswith(plain):
            is_bare = isinstance(scheme, HeaderToken) and scheme.prefix and value == plain
            yield "unprefixed" if is_bare else "prefixed"
        elif isinstance(scheme, BasicCredentials):
            if _decode(value.rpartition(" ")[2]).partition(":")[2] == secret.partition(":")[2]:
                yield "other_user"
        elif value and value.endswith(base64.b64encode(secret.encode()).decode()):
            yield "base64"


def _decode(text: str) -> str:
    try:
        return base64.b64decode(text).decode()
    except ValueError:
        return ""


def _compare_signature(scheme: Hmac, secrets: Iterable[str], sent: Sent) -> Iterator[str]:
    """Yield what is wrong about a header that has a signature by a live secret in it."""
    value = (sent.headers.get(scheme.header) or "").strip().rstrip("=")
    if any(value.endswith(secret) for secret in secrets):
        yield "plain_secret"
    if len(sent.body) > MOST_SPELLED_BYTES:
        return
    is_unreadable = False
    for cause, variant in _list_variants(scheme):
        usable = [secret for secret in secrets if variant.find_secret_fault(secret) is None]
        try:
            made = [variant.expect(secret, sent).decode().rstrip("=") for secret in usable]
        except RefusedCredential:
            is_unreadable = True
            continue
        text = value.lower() if variant.encoding == "hex" else value
        # The request was refused before, and its answer does not wait for this.
        for expected in made:
            if expected in text:
                is_bare = scheme.prefix and expected in re.split("[ ,]+", text)
                yield cause or ("unprefixed" if is_bare else "prefixed")
    if is_unreadable:
        yield "timestamp_unreadable"


def _list_variants(scheme: Hmac) -> Iterator[tuple[str, Hmac]]:
    """Yield the ways to sign by another value of each option, and which option that is.

    Those that differ in fewer options come first; the first one is the scheme itself.
    """
    bare = replace(scheme, signed="{body}", timestamp_header=None, timestamp_prefix=None)
    texts = [("", scheme), *([("other_text", bare)] if scheme.signed != bare.signed else [])]
    variants = []
    for (text, base), encoding, algorithm, key in product(texts, ENCODINGS, ALGORITHMS, KEY_FORMS):
        differences = [
            encoding if encoding != scheme.encoding else "",
            "other_algorithm" if algorithm != scheme.algorithm else "",
            "other_key_form" if key != scheme.key else "",
            text,
        ]
        variant = replace(base, encoding=encoding, algorithm=algorithm, key=key)
        variants.append(([it for it in differences if it], variant))
    variants.sort(key=lambda each: len(each[0]))
    for found, variant in variants:
        yield (found[0] if found else ""), variant
