"""Schemes in which the courier signs the raw body by an HMAC."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import ClassVar, Literal, get_args

from receiver.couriers.signatures.scheme import (
    MALFORMED,
    MISSING,
    OUTSIDE_WINDOW,
    SIGNED,
    Scheme,
    Sent,
    header_bytes,
)
from receiver.couriers.signatures.timestamps import parse_timestamp
from receiver.errors import RefusedCredential

Algorithm = Literal["sha256", "sha1", "sha512"]
Encoding = Literal["hex", "base64", "base64url"]
KeyForm = Literal["text", "hex", "base64"]
Separator = Literal[",", " "]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
KEY_FORMS: tuple[KeyForm, ...] = get_args(KeyForm)
SEPARATORS: tuple[Separator, ...] = get_args(Separator)

PLACEHOLDER = re.compile(r"\{(body|timestamp|header:[^{}]+)\}")
WEBHOOK_SECRET_PREFIX = "whsec_"  # noqa: S105 - begins a secret


@dataclass(frozen=True)
class Hmac(Scheme):
    """An HMAC of the raw body, in a header.

    algorithm   sha1, sha256 or sha512
    encoding    how the signature is written: hex (in any capitals), base64 or base64url (with or
                without the `=` at its end)
    prefix      what stands before the signature
    separator   a comma or a blank, where the header may hold several signatures, or other items:
                those without the prefix are passed over. Without a separator there is exactly one
    key         what the secret is: the key as text, or the key in hex or base64 (there also after
                `whsec_`)
    signed      the signed text, with {body}, {timestamp} and {header:<Name>}
    timestamp_header   the header with the timestamp: Unix seconds or milliseconds, RFC 3339 or an
                HTTP date
    timestamp_prefix   the prefix of the timestamp where it is an item of the same header, such as
                t= of `t=1790000000,v1=...`
    tolerance_seconds  how far a signed timestamp may be from now, before or after
    """

    header: str
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""
    separator: Separator | None = None
    key: KeyForm = "text"
    signed: str = "{body}"
    timestamp_header: str | None = None
    timestamp_prefix: str | None = None
    tolerance_seconds: int = 300

    trust: ClassVar[str] = SIGNED

    def __post_init__(self) -> None:
        if faults := list(self._find_faults()):
            raise ValueError(*faults)

    def _find_faults(self) -> Iterator[str]:
        """Yield what does not go together, a sentence each."""
        literals = "".join(self._text_parts[::2])
        if "{" in literals or "}" in literals:
            yield "signed: only {body}, {timestamp} and {header:<Name>} may stand in braces"
        if "body" not in self._text_parts[1::2]:
            yield "signed: without {body} the body would not be authenticated"
        names = [self.timestamp_header, self.timestamp_prefix]
        given = len(names) - names.count(None)
        if self.signs_timestamp and given != 1:
            yield "signed: {timestamp} needs timestamp_header, or timestamp_prefix with separator"
        if not self.signs_timestamp and given:
            yield "signed: without {timestamp} a timestamp proves nothing: leave it out"
        if self.timestamp_prefix is not None and self.separator is None:
            yield "timestamp_prefix: needs separator, which divides the items of the header"
        if self.separator is not None and self.separator in self.prefix:
            yield "prefix: must not contain the separator"

    @property
    def credential_name(self) -> str:
        return self.header

    @property
    def description(self) -> str:
        made = f"an HMAC-{self.algorithm.upper()} in {self.encoding} in the header {self.header}"
        if not self.signs_timestamp:
            return made
        return f"{made}, with a timestamp that is at most {self.tolerance_seconds} s off"

    @cached_property
    def header_names(self) -> tuple[str, ...]:
        names = [self.header, self.timestamp_header or self.header, *self.signed_headers]
        return tuple(dict.fromkeys(names))

    @cached_property
    def signs_timestamp(self) -> bool:
        return "timestamp" in self._text_parts[1::2]

    @cached_property
    def _text_parts(self) -> list[str]:
        """The signed text, split: literals at even places, placeholders at odd ones."""
        return PLACEHOLDER.split(self.signed)

    @cached_property
    def signed_headers(self) -> list[str]:
        names = (part.partition("header:")[2] for part in self._text_parts[1::2])
        return [name for name in names if name]

    @cached_property
    def _form(self) -> re.Pattern[str]:
        """What a signature looks like."""
        size = hashlib.new(self.algorithm).digest_size
        if self.encoding == "hex":
            return re.compile(rf"[0-9a-fA-F]{{{size * 2}}}", re.ASCII)
        padding = -size % 3
        signs, optional = (
            (r"A-Za-z0-9_-", "?") if self.encoding == "base64url" else ("A-Za-z0-9+/", "")
        )
        return re.compile(
            rf"[{signs}]{{{(size * 8 + 5) // 6}}}(?:={{{padding}}}){optional}", re.ASCII
        )

    def read_offered(self, sent: Sent) -> list[bytes]:
        prefix, is_signature = self.prefix, self._form.fullmatch
        offered = [
            self._normalize(item[len(prefix) :])
            for item in self._read_items(sent)
            if item.startswith(prefix) and is_signature(item, len(prefix))
        ]
        if not offered:
            before = f" after {prefix!r}" if prefix else ""
            text = (
                f"{self.header} is not an HMAC-{self.algorithm.upper()} in {self.encoding}{before}"
            )
            raise RefusedCredential(text, MALFORMED)
        for name in self.signed_headers:
            if sent.headers.get(name) is None:
                raise RefusedCredential(f"{name} is missing", MISSING)
        if self.signs_timestamp:
            self._read_timestamp(sent)
        return offered

    def _normalize(self, text: str) -> bytes:
        if self.encoding == "hex":
            return text.lower().encode()
        return (text.rstrip("=") if self.encoding == "base64url" else text).encode()

    def _read_items(self, sent: Sent) -> list[str]:
        value = sent.headers.get(self.header)
        if value is None:
            raise self._missing()
        if self.separator is None:
            return [value]
        return [item.strip() for item in value.split(self.separator)]

    def expect(self, secret: str, sent: Sent) -> bytes:
        made = hmac.new(self.decode_key(secret), self._signed_text(sent), self.algorithm)
        return encode_digest(made.digest(), self.encoding)

    def decode_key(self, secret: str) -> bytes:
        """Return the key that a secret stands for. Raises: ValueError."""
        if self.key == "text":
            return secret.encode()
        if self.key == "hex":
            return bytes.fromhex(secret)
        text = secret.removeprefix(WEBHOOK_SECRET_PREFIX).translate({45: "+", 95: "/"})
        return base64.b64decode(
            text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True
        )

    def find_secret_fault(self, secret: str) -> str | None:
        try:
            return None if self.decode_key(secret) else "a key is empty"
        except (ValueError, binascii.Error):
            return f"a key is not in {self.key}, as `key` of the signature says"

    def _signed_text(self, sent: Sent) -> bytes:
        if self.signed == "{body}":
            return sent.body
        parts = []
        for place, part in enumerate(self._text_parts):
            if place % 2 == 0:
                parts.append(part.encode())
            elif part == "body":
                parts.append(sent.body)
            elif part == "timestamp":
                parts.append(header_bytes(self._read_timestamp(sent)[0]))
            else:
                parts.append(header_bytes(sent.headers.get(part.removeprefix("header:")) or ""))
        return b"".join(parts)

    def _read_timestamp(self, sent: Sent) -> tuple[str, datetime]:
        """Return the timestamp as it was sent, and the time that it is.

        Raises: RefusedCredential.
        """
        if self.timestamp_header is not None:
            where, text = self.timestamp_header, sent.headers.get(self.timestamp_header)
            if text is None:
                raise RefusedCredential(f"{where} is missing", MISSING)
        else:
            prefix = self.timestamp_prefix or ""
            where = f"{prefix} of {self.header}"
            items = [item for item in self._read_items(sent) if item.startswith(prefix)]
            if len(items) != 1:
                raise RefusedCredential(f"{where} has to stand there once", MALFORMED)
            text = items[0].removeprefix(prefix)
        at = parse_timestamp(text)
        if at is None:
            raise RefusedCredential(
                f"{where} is no Unix time, RFC 3339 time or HTTP date", MALFORMED
            )
        return text, at

    def read_time(self, sent: Sent) -> datetime | None:
        return self._read_timestamp(sent)[1] if self.signs_timestamp else None

    def check_time(self, sent: Sent, now: datetime) -> None:
        at = self.read_time(sent)
        if at is None:
            return
        distance = now - at
        if abs(distance) > timedelta(seconds=self.tolerance_seconds):
            way = "behind" if distance > timedelta(0) else "ahead of"
            text = f"the signed timestamp is more than {self.tolerance_seconds} s {way} our clock"
            raise RefusedCredential(text, OUTSIDE_WINDOW)

    def sign(self, secret: str, body: bytes, now: datetime) -> dict[str, str]:
        timestamp = str(int(now.timestamp()))
        message_id = f"msg_{hashlib.sha256(timestamp.encode() + body).hexdigest()[:24]}"
        headers = dict.fromkeys(self.signed_headers, message_id)
        before = ""
        if self.signs_timestamp and self.timestamp_header is not None:
            headers[self.timestamp_header] = timestamp
        elif self.signs_timestamp:
            before = f"{self.timestamp_prefix}{timestamp}{self.separator}"
        headers[self.header] = before
        signature = self.expect(secret, Sent(headers, body)).decode()
        return {**headers, self.header: f"{before}{self.prefix}{signature}"}


def StandardWebhooks(prefix: str = "webhook-", tolerance_seconds: int = 300) -> Hmac:  # noqa: N802 - as a scheme
    """Return the scheme of Standard Webhooks (https://www.standardwebhooks.com).

    prefix: begins the names of its three headers; at Svix it is `svix-`.
    """
    return Hmac(
        f"{prefix}signature",
        encoding="base64",
        prefix="v1,",
        separator=" ",
        key="base64",
        signed=f"{{header:{prefix}id}}.{{timestamp}}.{{body}}",
        timestamp_header=f"{prefix}timestamp",
        tolerance_seconds=tolerance_seconds,
    )


def encode_digest(digest: bytes, encoding: str) -> bytes:
    """Return a signature as text: hex in lower case, base64url without `=`."""
    if encoding == "hex":
        return digest.hex().encode()
    if encoding == "base64":
        return base64.b64encode(digest)
    return base64.urlsafe_b64encode(digest).rstrip(b"=")
