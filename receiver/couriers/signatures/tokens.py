"""Schemes in which the secret itself is sent: in the URL or in a header."""

import base64
import re
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from receiver.couriers.signatures.scheme import MALFORMED, Scheme, Sent, header_bytes
from receiver.errors import RefusedCredential

# A token is part of a URL's path: these characters need no encoding there.
URL_TOKEN = re.compile(r"[A-Za-z0-9._~-]+")


@dataclass(frozen=True)
class TokenInUrl(Scheme):
    """The secret is the last part of the webhook URL."""

    in_url: ClassVar[bool] = True

    @property
    def credential_name(self) -> str:
        return "the token at the end of the URL"

    @property
    def description(self) -> str:
        return "a secret token at the end of the URL"

    @property
    def header_names(self) -> tuple[str, ...]:
        return ()

    def read_offered(self, sent: Sent) -> list[bytes]:
        if sent.url_token is None:
            raise self._missing()
        return [sent.url_token.encode(errors="replace")]

    def expect(self, secret: str, sent: Sent) -> bytes:
        return secret.encode()

    def find_secret_fault(self, secret: str) -> str | None:
        if URL_TOKEN.fullmatch(secret):
            return None
        return "a token is part of a URL: use only A-Z a-z 0-9 . _ ~ -"

    def sign(self, secret: str, body: bytes, now: datetime) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class HeaderToken(Scheme):
    """The secret stands in a header, after a fixed prefix such as `Bearer `.

    prefix: in any capitals.
    """

    header: str
    prefix: str = ""

    @property
    def credential_name(self) -> str:
        return self.header

    @property
    def description(self) -> str:
        return f"a secret token in the header {self.header}"

    @property
    def header_names(self) -> tuple[str, ...]:
        return (self.header,)

    def read_offered(self, sent: Sent) -> list[bytes]:
        value = sent.headers.get(self.header)
        if value is None:
            raise self._missing()
        if value[: len(self.prefix)].lower() != self.prefix.lower():
            raise RefusedCredential(f"{self.header} does not begin with {self.prefix!r}", MALFORMED)
        return [header_bytes(value[len(self.prefix) :])]

    def expect(self, secret: str, sent: Sent) -> bytes:
        return secret.encode()

    def sign(self, secret: str, body: bytes, now: datetime) -> dict[str, str]:
        return {self.header: self.prefix + self.expect(secret, Sent({}, body)).decode("latin-1")}


@dataclass(frozen=True)
class BasicCredentials(HeaderToken):
    """User name and password in a header (RFC 7617); the secret is `user:password`."""

    header: str = "Authorization"
    prefix: str = "Basic "

    @property
    def description(self) -> str:
        return f"user name and password in the header {self.header}"

    def expect(self, secret: str, sent: Sent) -> bytes:
        return base64.b64encode(secret.encode())

    def find_secret_fault(self, secret: str) -> str | None:
        return None if ":" in secret else "for Basic credentials a secret is `user:password`"
