"""The schemes of signatures, against what the openssl command computes, and against tampering."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from receiver.couriers.signatures import Hmac, Scheme, StandardWebhooks, TokenInUrl, sign, verify
from receiver.couriers.signatures.timestamps import parse_timestamp
from receiver.errors import RefusedCredential
from receiver.settings.signature import read_scheme
from tests.service import ROOT

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="there is no openssl command")

NOW = datetime(2026, 4, 16, 8, 10, 5, tzinfo=UTC)
UNIX = str(int(NOW.timestamp()))
BODY = b'{"order": "3AF7", "name": "M\\u00fcller\xc3\xbc", "state": "delivered"}\r\n\x00'
HEX_KEY = "00ff" * 16
BASE64_KEY = base64.b64encode(bytes(range(200, 232))).decode()
WHSEC = f"whsec_{BASE64_KEY}"
TEXT_KEY = "a key, with: ünicode"


def openssl(*arguments: str, stdin: bytes) -> bytes:
    """What the openssl command writes."""
    return subprocess.run(
        [OPENSSL or "", *arguments], input=stdin, capture_output=True, check=True, timeout=60
    ).stdout


def digest(algorithm: str, key: bytes, text: bytes) -> bytes:
    """An HMAC by the openssl command."""
    key_option = ("-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}")
    return openssl("dgst", f"-{algorithm}", *key_option, "-binary", stdin=text)


def in_base64(signature: bytes) -> str:
    return openssl("base64", "-A", stdin=signature).decode()


def in_base64url(signature: bytes) -> str:
    return in_base64(signature).replace("+", "-").replace("/", "_").rstrip("=")


@dataclass(frozen=True)
class Vector:
    """A setting, the secret, the same key in bytes, and the headers that openssl makes."""

    setting: Mapping[str, Any]
    secret: str
    key: bytes
    text: Callable[[bytes], bytes]
    headers: Callable[[bytes], Mapping[str, str]]
    algorithm: str = "sha256"

    def sent(self, body: bytes = BODY, key: bytes | None = None) -> dict[str, str]:
        signature = digest(self.algorithm, self.key if key is None else key, self.text(body))
        return dict(self.headers(signature))


def timed(body: bytes) -> bytes:
    return UNIX.encode() + b"." + body


def milliseconds(body: bytes) -> bytes:
    return f"{UNIX}250:".encode() + body


HTTP_DATE = format_datetime(NOW).replace("+0000", "-0000")

VECTORS = {
    "Cottoncast": Vector(
        {"header": "X-Signature"},
        TEXT_KEY,
        TEXT_KEY.encode(),
        bytes,
        lambda made: {"X-Signature": made.hex()},
    ),
    "base64": Vector(
        {"header": "X-Signature", "encoding": "base64"},
        TEXT_KEY,
        TEXT_KEY.encode(),
        bytes,
        lambda made: {"X-Signature": in_base64(made)},
    ),
    "base64url": Vector(
        {"header": "X-Signature", "encoding": "base64url"},
        TEXT_KEY,
        TEXT_KEY.encode(),
        bytes,
        lambda made: {"X-Signature": in_base64url(made)},
    ),
    "SHA-1 with a prefix": Vector(
        {"header": "X-Hub-Signature", "algorithm": "sha1", "prefix": "sha1="},
        TEXT_KEY,
        TEXT_KEY.encode(),
        bytes,
        lambda made: {"X-Hub-Signature": f"sha1={made.hex()}"},
        "sha1",
    ),
    "SHA-512, key in hex": Vector(
        {"header": "X-Signature", "algorithm": "sha512", "key": "hex"},
        HEX_KEY,
        bytes.fromhex(HEX_KEY),
        bytes,
        lambda made: {"X-Signature": made.hex()},
        "sha512",
    ),
    "key in base64": Vector(
        {"header": "X-Signature", "key": "base64", "encoding": "base64"},
        BASE64_KEY,
        base64.b64decode(BASE64_KEY),
        bytes,
        lambda made: {"X-Signature": in_base64(made)},
    ),
    "a timestamp in the same header": Vector(
        {
            "header": "X-Signature",
            "prefix": "v1=",
            "separator": ",",
            "timestamp_prefix": "t=",
            "signed": "{timestamp}.{body}",
        },
        TEXT_KEY,
        TEXT_KEY.encode(),
        timed,
        lambda made: {"X-Signature": f"t={UNIX},v0={'0' * 64},v1={made.hex()}"},
    ),
    "a timestamp in its own header, in milliseconds": Vector(
        {
            "header": "X-Signature",
            "timestamp_header": "X-Timestamp",
            "signed": "{timestamp}:{body}",
        },
        TEXT_KEY,
        TEXT_KEY.encode(),
        milliseconds,
        lambda made: {"X-Signature": made.hex(), "X-Timestamp": f"{UNIX}250"},
    ),
    "time, method and path": Vector(
        {
            "header": "X-Hmac-Signature-V2",
            "prefix": "hmac-sha256-hex=",
            "timestamp_header": "X-Timestamp",
            "signed": "{timestamp}POST{header:X-Path}{body}",
        },
        TEXT_KEY,
        TEXT_KEY.encode(),
        lambda body: f"{HTTP_DATE}POST/hooks".encode() + body,
        lambda made: {
            "X-Hmac-Signature-V2": f"hmac-sha256-hex={made.hex()}",
            "X-Timestamp": HTTP_DATE,
            "X-Path": "/hooks",
        },
    ),
    "several signatures with blanks": Vector(
        {"header": "X-Signature", "separator": " "},
        TEXT_KEY,
        TEXT_KEY.encode(),
        bytes,
        lambda made: {"X-Signature": f"{'0' * 64} {made.hex()}"},
    ),
    "Standard Webhooks": Vector(
        {"scheme": "standard-webhooks"},
        WHSEC,
        base64.b64decode(BASE64_KEY),
        lambda body: b"msg_1." + timed(body),
        lambda made: {
            "webhook-id": "msg_1",
            "webhook-timestamp": UNIX,
            "webhook-signature": f"v1a,{in_base64(b'0' * 64)} v1,{in_base64(made)}",
        },
    ),
}
every_vector = pytest.mark.parametrize("vector", VECTORS.values(), ids=list(VECTORS))


def refusal(
    scheme: Scheme,
    secrets: tuple[str, ...],
    headers: Mapping[str, str],
    body: bytes = BODY,
    now: datetime = NOW,
    token: str | None = None,
) -> str:
    """Why a request is refused; empty where it is accepted."""
    try:
        verify(scheme, secrets, headers, body, now, token)
    except RefusedCredential as error:
        return error.why
    return ""


@needs_openssl
@every_vector
def test_what_openssl_signs_is_accepted_and_what_was_tampered_with_is_not(vector: Vector) -> None:
    scheme = read_scheme(vector.setting)
    assert scheme.trust == "signed"
    headers = vector.sent()
    name = scheme.header_names[0]
    assert verify(scheme, (vector.secret,), headers, BODY, NOW) == 0
    assert verify(scheme, ("0d" * 16, vector.secret), headers, BODY, NOW) == 1
    # What we sign ourselves, as `ordertrail send` does, is what openssl says.
    own = sign(scheme, vector.secret, BODY, NOW)
    assert own.keys() == headers.keys()
    assert verify(scheme, (vector.secret,), own, BODY, NOW) == 0

    for body in (b"", BODY[:-1], BODY + b" ", BODY.replace(b"3AF7", b"3AF8"), json_again(BODY)):
        assert refusal(scheme, (vector.secret,), headers, body) == "wrong"
    other_key = vector.sent(key=b"another key")
    assert refusal(scheme, (vector.secret,), other_key) == "wrong"
    assert refusal(scheme, ("0d" * 16,), headers) == "wrong"
    for given_instead in (headers[name][:-1], headers[name][:-8], "", headers[name] + "0"):
        tampered = {**headers, name: given_instead}
        assert refusal(scheme, (vector.secret,), tampered) in {"malformed", "wrong"}
    is_hex = isinstance(scheme, Hmac) and scheme.encoding == "hex"
    swapped = {**headers, name: _swap_case_of_the_signature(headers[name])}
    assert refusal(scheme, (vector.secret,), swapped) == ("" if is_hex else "wrong")
    for missing in headers:
        others = {other: value for other, value in headers.items() if other != missing}
        assert refusal(scheme, (vector.secret,), others) == "missing"


def json_again(body: bytes) -> bytes:
    """The same content in other bytes."""
    return json.dumps(json.loads(body.rstrip(b"\x00")), indent=1).encode()


def _swap_case_of_the_signature(value: str) -> str:
    return value[:-20] + value[-20:].swapcase()


@needs_openssl
@pytest.mark.parametrize("name", [name for name in VECTORS if "{timestamp}" in str(VECTORS[name])])
def test_a_signed_timestamp_has_to_be_near(name: str) -> None:
    vector = VECTORS[name]
    scheme = read_scheme({**vector.setting, "tolerance_seconds": 60})
    headers, secrets = vector.sent(), (vector.secret,)
    for seconds, why in ((59, ""), (-59, ""), (61, "outside_window"), (-62, "outside_window")):
        assert refusal(scheme, secrets, headers, now=NOW + timedelta(seconds=seconds)) == why
    # Another time beside the old signature is not accepted, wherever it is from.
    later = {
        key: value.replace(UNIX, str(int(UNIX) + 3600)).replace("08:10", "09:10")
        for key, value in headers.items()
    }
    assert refusal(scheme, secrets, later, now=NOW + timedelta(hours=1)) == "wrong"
    # Whoever does not know the key does not learn that the time is wrong.
    stranger = vector.sent(key=b"another key")
    assert refusal(scheme, secrets, stranger, now=NOW + timedelta(hours=1)) == "wrong"


# Without openssl


def scheme_of(**setting: Any) -> Scheme:
    return read_scheme(setting)


TOKEN_SCHEMES = {
    "in the URL": (TokenInUrl(), "a-token.0~_"),
    "in a header": (scheme_of(header="X-Api-Key", compare="token"), "a token: ünicode"),
    "bearer": (scheme_of(header="Authorization", compare="token", prefix="Bearer "), "a-token"),
    "Basic": (scheme_of(compare="basic"), "shop:pass:wörd"),
    "Svix": (scheme_of(scheme="standard-webhooks", prefix="svix-"), WHSEC),
}
ALL = {
    **TOKEN_SCHEMES,
    **{name: (read_scheme(vector.setting), vector.secret) for name, vector in VECTORS.items()},
}


@given(st.data())
@pytest.mark.parametrize("name", list(ALL))
def test_a_request_in_which_any_byte_was_changed_is_refused(name: str, data: st.DataObject) -> None:
    scheme, secret = ALL[name]
    body = data.draw(st.binary(min_size=1, max_size=60))
    token = secret if scheme.in_url else None
    headers = sign(scheme, secret, body, NOW)
    assert refusal(scheme, (secret,), headers, body, token=token) == ""
    places = [
        *headers,
        *(["body"] if scheme.trust == "signed" else []),
        *(["URL"] if token else []),
    ]
    place = data.draw(st.sampled_from(places))
    value = {**headers, "body": body, "URL": token}[place]
    raw = value if isinstance(value, bytes) else str(value).encode("latin-1")
    at = data.draw(st.integers(0, len(raw) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != raw[at]))
    changed = raw[:at] + bytes([byte]) + raw[at + 1 :]
    if place == "body":
        assert refusal(scheme, (secret,), headers, changed) == "wrong"
        return
    text = changed.decode("latin-1")
    if same_credential(scheme, str(value), text):
        return
    if place == "URL":
        assert refusal(scheme, (secret,), {}, body, token=text) == "wrong"
    else:
        assert refusal(scheme, (secret,), {**headers, place: text}, body) != ""


def same_credential(scheme: Scheme, value: str, changed: str) -> bool:
    """Capitals do not matter in hexadecimal and in the name before a token."""
    is_hex = isinstance(scheme, Hmac) and scheme.encoding == "hex"
    prefix = len(getattr(scheme, "prefix", ""))
    if is_hex:
        kept = value[:-40] == changed[:-40]
    else:
        kept = scheme.trust == "token" and value[prefix:] == changed[prefix:]
    return kept and value.lower() == changed.lower()


def test_the_library_of_standard_webhooks_signs_what_is_accepted_and_accepts_what_is_signed() -> (
    None
):
    library, now = Webhook(WHSEC), datetime.now(UTC)
    text = BODY.decode()
    headers = {
        "webhook-id": "msg_2",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": library.sign("msg_2", now, text),
    }
    scheme = StandardWebhooks()
    assert verify(scheme, (WHSEC,), headers, BODY, now) == 0
    # Without the prefix of the secret, as some couriers show it.
    assert verify(scheme, (BASE64_KEY,), headers, BODY, now) == 0
    assert library.verify(b"{}", sign(scheme, WHSEC, b"{}", now)) == {}


def test_one_of_several_signatures_by_a_rotated_secret_is_enough() -> None:
    scheme = scheme_of(
        header="Stripe-Signature",
        prefix="v1=",
        separator=",",
        timestamp_prefix="t=",
        signed="{timestamp}.{body}",
    )
    new, old, strangers = (
        sign(scheme, secret, BODY, NOW)["Stripe-Signature"].partition(",")[2]
        for secret in ("new", "old", "a stranger's")
    )
    for items, position in (
        (f"t={UNIX},{strangers},{old}", 1),
        (f"{old}, t={UNIX} , {new}", 0),
        (f"t={UNIX},v1=short,{new},v0={'0' * 64}", 0),
    ):
        headers = {"Stripe-Signature": items}
        assert verify(scheme, ("new", "old"), headers, BODY, NOW) == position
        assert refusal(scheme, ("other",), headers) == "wrong"
    for items in (new, f"t={UNIX}", f"t={UNIX},t={UNIX},{new}", f"t=,{new}", f"t={UNIX};{new}"):
        assert refusal(scheme, ("new",), {"Stripe-Signature": items}) == "malformed"


def test_a_header_holds_exactly_one_signature_unless_its_scheme_says_otherwise() -> None:
    plain = scheme_of(header="X-Signature")
    signature = sign(plain, "key", BODY, NOW)["X-Signature"]
    # A server shows a header that was sent twice as one, with a comma.
    for twice in (f"{signature},{signature}", f"{signature}, {signature}", f"{signature} "):
        assert refusal(plain, ("key",), {"X-Signature": twice}) == "malformed"
    token = scheme_of(header="X-Api-Key", compare="token")
    assert refusal(token, ("key",), {"X-Api-Key": "key,key"}) == "wrong"
    commas = scheme_of(header="X-Signature", separator=",")
    assert refusal(commas, ("key",), {"X-Signature": f"{'0' * 64},{signature}"}) == ""


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1776327005", "2026-04-16T08:10:05+00:00"),
        ("1776327005250", "2026-04-16T08:10:05.250000+00:00"),
        ("2026-04-16T08:10:05Z", "2026-04-16T08:10:05+00:00"),
        ("2026-04-16T10:10:05.123456789+02:00", "2026-04-16T08:10:05.123456+00:00"),
        ("Thu, 16 Apr 2026 08:10:05 GMT", "2026-04-16T08:10:05+00:00"),
        ("Thu, 16 Apr 2026 08:10:05 -0000", "2026-04-16T08:10:05+00:00"),
        *(
            (text, None)
            for text in (
                *("", "0", "-1776327005", "177632700", "17763270052", "1776327005.5", "1e9"),
                *("\u0661" * 10, "2026-04-16", "2026-04-16T08:10:05", "2026-13-16T08:10:05Z"),
                *("2026-04-16T25:10:05Z", "Thu, 99 Apr 2026 08:10:05 GMT", "now", "9" * 4000),
            )
        ),
    ],
)
def test_a_timestamp_is_read_in_the_ways_in_which_couriers_write_it(
    text: str, at: str | None
) -> None:
    read = parse_timestamp(text)
    assert (read and read.astimezone(UTC).isoformat()) == at


def test_no_refusal_names_what_was_sent_or_a_secret() -> None:
    for scheme, secret in ALL.values():
        for value in ("sent-by-somebody", "Basic sent-by-somebody", ""):
            headers = dict.fromkeys(scheme.header_names, value)
            with pytest.raises(RefusedCredential) as raised:
                verify(scheme, (secret,), headers, BODY, NOW, "sent-by-somebody")
            assert "sent-by" not in str(raised.value)
            assert secret not in str(raised.value)


def test_every_setting_that_the_documentation_shows_is_one() -> None:
    page = (ROOT / "deploy" / "docs" / "operating.md").read_text(encoding="utf-8")
    section = page.partition("### How webhooks are authenticated")[2].partition("\n### ")[0]
    shown = [json.loads(found) for found in re.findall(r"`(\{\".*?\})`", section, re.DOTALL)]
    schemes = {type(read_scheme(setting)).__name__ for setting in shown}
    assert schemes == {"Hmac", "HeaderToken", "BasicCredentials", "TokenInUrl"}


def test_basic_credentials_are_those_of_rfc_7617() -> None:
    scheme, secrets = scheme_of(compare="basic"), ("Aladdin:open sesame",)
    sent = {"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}
    assert sign(scheme, secrets[0], BODY, NOW) == sent
    assert refusal(scheme, secrets, sent) == ""
    # Another user with the same password.
    other = base64.b64encode(b"aladdin:open sesame").decode()
    assert refusal(scheme, secrets, {"Authorization": f"Basic {other}"}) == "wrong"
    for value in ("QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ=="):
        assert refusal(scheme, secrets, {"Authorization": value}) == "malformed"
