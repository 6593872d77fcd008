"""What a scheme is, and how any of them verifies and signs a request."""

import hmac
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import ClassVar, Protocol

from receiver.errors import RefusedCredential

# How far a credential can be trusted, as `source.trust` shows it.
SIGNED, TOKEN = "signed", "token"

MISSING, MALFORMED, WRONG = "missing", "malformed", "wrong"
# The signature is right, and its timestamp is too old or in the future.
OUTSIDE_WINDOW = "outside_window"


class Headers(Protocol):
    """The headers of a request. A name is found in any capitals, or is spelled as here."""

    def get(self, name: str, /) -> str | None: ...


# Not frozen: one is made for each request, and that would take half as long as all else.
@dataclass(slots=True, repr=False)
class Sent:
    """What of a request its credential is made of: headers, raw body, last part of the URL."""

    headers: Headers
    body: bytes
    url_token: str | None = None


class Scheme(ABC):
    """How webhooks are authenticated.

    trust     `signed` where the credential proves the body, else `token`
    in_url    whether the secret is the last part of the webhook URL
    signs_timestamp  whether a request is accepted for a while only
    signed_headers   the headers that the credential proves beside the body
    credential_name  what carries the credential, for people
    description      how a request is authenticated, for people
    header_names     the request headers that are read
    """

    trust: ClassVar[str] = TOKEN
    in_url: ClassVar[bool] = False

    @cached_property
    def signs_timestamp(self) -> bool:
        return False

    @cached_property
    def signed_headers(self) -> list[str]:
        return []

    @property
    @abstractmethod
    def credential_name(self) -> str: ...

    @property
    @abstractmethod
    def description(self) -> str: ...

    @property
    @abstractmethod
    def header_names(self) -> tuple[str, ...]: ...

    @abstractmethod
    def read_offered(self, sent: Sent) -> list[bytes]:
        """Return the credentials of a request. Raises: RefusedCredential."""

    @abstractmethod
    def expect(self, secret: str, sent: Sent) -> bytes:
        """Return the credential that a secret makes for a request."""

    def read_time(self, sent: Sent) -> datetime | None:
        """Return the signed timestamp, None where none is signed. Raises: RefusedCredential."""
        return None

    def check_time(self, sent: Sent, now: datetime) -> None:
        """Refuse a signed timestamp that is too far from now. Raises: RefusedCredential."""
        return

    def find_secret_fault(self, secret: str) -> str | None:
        """Return why a secret cannot be one of this scheme, without the secret; None if it can."""
        return None

    @abstractmethod
    def sign(self, secret: str, body: bytes, now: datetime) -> dict[str, str]:
        """Return the headers that authenticate a request with this body."""

    def _missing(self) -> RefusedCredential:
        return RefusedCredential(f"{self.credential_name} is missing", MISSING)


def verify(
    scheme: Scheme,
    secrets: Sequence[str],
    headers: Headers,
    raw: bytes,
    now: datetime,
    url_token: str | None = None,
) -> int:
    """Return which of the live secrets, from 0, a request was authenticated with.

    Every secret is tried, and each comparison takes the same time wherever the two differ.

    raw: the body as it came, not as it was parsed. url_token: the last part of the URL's path.

    Raises: RefusedCredential.
    """
    sent = Sent(headers, raw, url_token)
    offered = scheme.read_offered(sent)
    fits = [is_made_with(scheme, secret, sent, offered) for secret in secrets]
    if not any(fits):
        raise RefusedCredential(
            "the signature does not match the body"
            if scheme.trust == SIGNED
            else "the token is wrong",
            WRONG,
        )
    if scheme.signs_timestamp:
        scheme.check_time(sent, now)
    return fits.index(True)


def is_made_with(scheme: Scheme, secret: str, sent: Sent, offered: Sequence[bytes]) -> bool:
    """Return whether one of the offered credentials is what this secret makes."""
    expected, fits = scheme.expect(secret, sent), False
    for candidate in offered:
        fits |= hmac.compare_digest(expected, candidate)
    return fits


def sign(scheme: Scheme, secret: str, raw: bytes, now: datetime) -> dict[str, str]:
    """Return the headers with which a courier would send this body; none for a token in the URL."""
    return scheme.sign(secret, raw, now)


def header_bytes(value: str) -> bytes:
    """Return the bytes of a header as they were sent: a server shows each byte as a character."""
    return value.encode("latin-1", errors="replace")
