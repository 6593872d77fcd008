"""Why a courier's credential is likely to be wrong: for people, after the answer, never in it.

Each guess is tried as the courier might have made the mistake. Nothing of what is tried, and no
secret, leaves this module: a word from LIKELY does.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from receiver.settings import Account

# Larger bodies are not read again in other spellings.
MOST_BYTES = 65_536

OLD_SECRET = "old_secret"  # noqa: S105 (a word)
OTHER_ACCOUNT = "other_account"
REENCODED = "reencoded_body"
BASE64 = "base64"
PREFIXED = "prefixed"
OTHER_HASH = "other_hash"
MISSPELT = "misspelt_secret"
CUT_OFF = "cut_off"
UNKNOWN = "unknown_secret"
NOT_EXAMINED = "not_examined"

# What each means, and what usually mends it.
LIKELY: Mapping[str, tuple[str, str]] = {
    OLD_SECRET: (
        "made with a secret that was retired",
        "Give the courier the new secret, or make the old one live again meanwhile.",
    ),
    OTHER_ACCOUNT: (
        "made with the secret of another account",
        "The courier's settings of two accounts, or of test and production, are mixed up.",
    ),
    REENCODED: (
        "the signature is of the same JSON, written in another way",
        "Something between the courier and us reads and writes the body: a proxy or a firewall.",
    ),
    BASE64: ("the signature is right, but in base64", "The courier must send it in hex."),
    PREFIXED: ("the signature is right, but has something before it", "It must be bare hex."),
    OTHER_HASH: ("made with another hash than SHA-256", "The courier must use HMAC-SHA256."),
    MISSPELT: (
        "made with our secret, spelt in another way (quotes, a line's end, hex or base64 decoded)",
        "Copy the secret anew, without anything around it.",
    ),
    CUT_OFF: ("the beginning of our token, cut off", "Copy the whole address to the courier."),
    UNKNOWN: (
        "made with a secret that we do not know",
        "It is another environment's, or removed (see RETIRED_SECRETS), or of one who tries.",
    ),
    NOT_EXAMINED: (
        "not looked at: so many were refused at once, or there was nothing to look at",
        "See the others of this account.",
    ),
}

Signer = Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What came: a signature and the body that it is of, or a token and no body."""

    account: str
    offered: str = field(repr=False)
    body: bytes | None = field(default=None, repr=False)


def diagnose(evidence: Evidence, accounts: Mapping[str, Account]) -> str:
    """The likely mistake, a word of LIKELY; `other_account` is followed by which one."""
    own = accounts[evidence.account]
    if evidence.body is None:
        return _of_token(evidence.offered, own, accounts)
    return _of_signature(evidence.offered.strip(), evidence.body, own, accounts)


def _of_token(offered: str, own: Account, accounts: Mapping[str, Account]) -> str:
    if _among(offered, own.retired_secrets):
        return OLD_SECRET
    for other in accounts.values():
        if _among(offered, (*other.secrets, *other.retired_secrets)):
            return f"{OTHER_ACCOUNT}:{other.slug}"
    if any(_among(offered.strip("\"' \r\n%"), (secret,)) for secret in own.secrets):
        return MISSPELT
    # A few letters would fit many by chance.
    if len(offered) >= 8 and any(secret.startswith(offered) for secret in own.secrets):  # noqa: PLR2004
        return CUT_OFF
    return UNKNOWN


def _of_signature(offered: str, body: bytes, own: Account, accounts: Mapping[str, Account]) -> str:
    for secret in own.secrets:
        digest = hmac.digest(secret.encode(), body, "sha256")
        if _among(offered.rstrip("="), _base64(digest)):
            return BASE64
        if offered.lower().endswith(digest.hex()):
            return PREFIXED
    guesses = _guesses(body, own, accounts)
    return next((word for word, made in guesses if _among(offered.lower(), made)), UNKNOWN)


def _guesses(
    body: bytes, own: Account, accounts: Mapping[str, Account]
) -> Iterator[tuple[str, Iterable[str]]]:
    """What may have been done, and the signatures that come of it."""
    yield OLD_SECRET, _signed(own.retired_secrets, body)
    for other in accounts.values():
        if other is not own:
            known = (*other.secrets, *other.retired_secrets)
            yield f"{OTHER_ACCOUNT}:{other.slug}", _signed(known, body)
    for secret in own.secrets:
        yield OTHER_HASH, (hmac.new(secret.encode(), body, it).hexdigest() for it in HASHES)
        yield MISSPELT, (hmac.digest(it, body, "sha256").hex() for it in _spellings(secret))
    if len(body) <= MOST_BYTES:
        for written in _reencoded(body):
            yield REENCODED, _signed(own.secrets, written)


HASHES = ("sha1", "sha512", "md5", "sha384")


def _among(offered: str, known: Iterable[str]) -> bool:
    given = offered.encode(errors="replace")
    return any(hmac.compare_digest(one.encode(), given) for one in known)


def _signed(secrets: Iterable[str], body: bytes) -> Iterator[str]:
    return (hmac.new(it.encode(), body, hashlib.sha256).hexdigest() for it in secrets)


def _base64(digest: bytes) -> tuple[str, ...]:
    ways = (base64.b64encode, base64.urlsafe_b64encode)
    # Of the bytes, and of their hex.
    return tuple(
        way(told).decode().rstrip("=") for way in ways for told in (digest, digest.hex().encode())
    )


def _spellings(secret: str) -> Iterator[bytes]:
    """Keys that somebody may take for the secret."""
    for around in ('"{}"', "'{}'", "{}\n", "{}\r\n", " {}", "{} "):
        yield around.format(secret).encode()
    with suppress(ValueError):
        yield bytes.fromhex(secret)
    with suppress(ValueError):
        yield base64.b64decode(secret, validate=True)


def _reencoded(body: bytes) -> Iterator[bytes]:
    """The same JSON as other programs write it."""
    yield body.rstrip()
    yield body.rstrip() + b"\n"
    yield re.sub(rb"\r\n", b"\n", body)
    yield re.sub(rb"(?<!\r)\n", b"\r\n", body)
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return
    for ascii_only in (True, False):
        for spaces in ((",", ":"), (", ", ": ")):
            for sort in (False, True):
                written = json.dumps(
                    told, ensure_ascii=ascii_only, separators=spaces, sort_keys=sort
                )
                yield written.encode(errors="replace")
                # As PHP writes it.
                yield written.replace("/", "\\/").encode(errors="replace")
        for indent in (2, 4, "\t"):
            yield json.dumps(told, ensure_ascii=ascii_only, indent=indent).encode(errors="replace")
