"""Requests that nobody would send by intent, made from those that couriers and shops do send.

The same seed gives the same requests, whatever else runs.
"""

import copy
import gzip
import hashlib
import hmac
import json
import random
from collections.abc import Callable
from typing import Any

from tests.bodies import (
    PAYLOADS,
    cottoncast_status,
    shipmentapi_order,
    tiramizoo_order,
    tiramizoo_v1,
    tour_plan,
)
from tests.conftest import API_TOKEN
from tests.hostile import HOSTILE

BODIES: list[Any] = [
    cottoncast_status(),
    shipmentapi_order(),
    tiramizoo_order(),
    tiramizoo_v1(),
    tour_plan(),
    {"account": "cottoncast", "courier_order_id": "1", "reference": "r", "metadata": {"a": 1}},
    {"references": ["r"]},
    {"shipments": [{"id": "F-1", "state": "delivered", "at": 1776322800}, {"id": 2}]},
    {"orders": [{"account": "cottoncast", "courier_order_id": "1", "metadata": {"a": 1}}, None]},
    {"outcome": "quarantined"},
    *(json.loads(file.read_bytes()) for file in sorted(PAYLOADS.glob("*/*.json"))),
]
HOOKS = (
    "/webhooks/tiramizoo/orders/tiramizoo-token",
    "/webhooks/tiramizoo/tours/tiramizoo-token",
    "/webhooks/shipmentapi/orders/shipmentapi-token",
    "/webhooks/cottoncast/orders",
    "/webhooks/cottoncast/product",
    "/webhooks/fields/orders/fields-secret",
    "/webhooks/onfleet/orders?check=%3Cb%3E&check=%00",
)
READS = (
    "/v1/orders",
    "/v1/orders/tiramizoo/x",
    "/v1/orders/tiramizoo/x/events",
    "/v1/orders/tiramizoo/x/explain",
    "/v1/orders/tiramizoo/x/personal-data",
    "/v1/orders/lookup",
    "/v1/orders/batch",
    "/v1/changes",
    "/v1/messages",
    "/v1/messages/1",
    "/v1/messages/1/retry",
    "/v1/messages/retry",
    "/v1/tours/tiramizoo/x",
    "/v1/couriers",
    "/v1/alerts",
    "/v1/statuses",
    "/v1/openapi.json",
    "/readyz",
    "/livez",
    "/metrics",
    "/ops",
    "/",
    "*",
    "http://elsewhere.example/v1/orders",
)
METHODS = ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "X" * 40, "")
TEXTS = (
    *HOSTILE,
    "",
    "\ud800",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-02-30T25:61:61Z",
    "9" * 400,
)
VALUES: tuple[Any, ...] = (
    *TEXTS,
    None,
    True,
    0,
    -1,
    10**30,
    -(10**400),
    1e308,
    -0.0,
    float("inf"),
    float("nan"),
    2**63,
    253402300800,
    [],
    {},
    [[]],
    [None] * 50,
    {"": ""},
)
SEGMENTS = (
    "",
    ".",
    "..",
    "%00",
    "%ff",
    "%2f",
    "%",
    "%zz",
    "a" * 2_000,
    "\x7f",
    "é",
    "{{7*7}}",
    "?",
)
QUERIES = ("", "", "?limit=x", "?" + "a=b&" * 50, "?cursor=%00", "?wait=0&after=now")
HEADERS = (
    "Content-Type: application/json",
    "Content-Type: text/plain",
    "Content-Type: application/x-www-form-urlencoded",
    "Content-Type: multipart/form-data; boundary=x",
    "Content-Type: " + "x" * 3_000,
    "Content-Encoding: gzip",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Expect: 100-continue",
    "Expect: x",
    "Upgrade: h2c",
    "Connection: close, x",
    "If-None-Match: *",
    'If-None-Match: W/"1", "2"',
    "Authorization: Bearer wrong",
    "Authorization: Basic " + "x" * 500,
    "Authorization: Basic Og==",
    "Cookie: " + "a=b; " * 200,
    "Range: bytes=0-",
    "X-Forwarded-For: 1.2.3.4, \x01",
    "X-Forwarded-Proto: https",
    "Script-Name: /x",
    "SCRIPT_NAME: /x",
    "Host: ",
    "Host: a b",
    "Accept: */*; q=nan",
    "Accept-Encoding: \xff",
    "X: " + "y" * 9_000,
    ": x",
    "no colon",
    " folded",
    "X\x00: y",
)


def requests(seed: int, count: int) -> list[bytes]:
    """So many requests as they go over the wire, whole or not."""
    return [request(random.Random(f"{seed}-{number}")) for number in range(count)]


def request(choose: random.Random) -> bytes:
    """One request. Most are well enough to come to what reads bodies."""
    body = _body(choose)
    path = choose.choice(HOOKS) if choose.random() < 0.7 else choose.choice(READS)
    method = "POST" if choose.random() < 0.85 else choose.choice(METHODS)
    if choose.random() < 0.25:
        path = _path(choose, path)
    lines = [f"{method} {path} HTTP/1.1", "Host: ordertrail"]
    if path.startswith("/webhooks/cottoncast"):
        signature = hmac.new(b"cottoncast-key", body, hashlib.sha256).hexdigest()
        lines.append(f"Cottoncast-Authentication: {signature}")
    elif choose.random() < 0.8:
        lines.append(f"Authorization: Bearer {API_TOKEN}")
    if choose.random() < 0.2:
        for _ in range(choose.randint(1, 4)):
            lines.insert(choose.randint(1, len(lines)), choose.choice(HEADERS))
    elif choose.random() < 0.5:
        lines.append("Content-Type: application/json")
    if choose.random() < 0.9:
        lines.append(f"Content-Length: {len(body)}")
    else:
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    sent = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + body
    return _spoil(choose, sent) if choose.random() < 0.08 else sent


def _body(choose: random.Random) -> bytes:
    body = copy.deepcopy(choose.choice(BODIES))
    for _ in range(choose.choice((0, 1, 1, 2, 3, 8))):
        body = _change(choose, body)
    told = json.dumps(body, ensure_ascii=choose.random() < 0.7)
    sent = told.encode("utf-8", "surrogatepass")
    if choose.random() < 0.15:
        how: Callable[[bytes], bytes] = choose.choice(
            (
                gzip.compress,
                lambda it: b"\xef\xbb\xbf" + it,
                lambda it: it.decode("utf-8", "replace").encode("utf-16"),
                lambda it: it * 2,
                lambda it: b"[" * 3_000 + it,
                lambda it: b'{"a":' * 3_000 + it + b"}" * 3_000,
                lambda _: b"",
                lambda it: it + b" " * 20_000,
            )
        )
        sent = how(sent)
    return _spoil(choose, sent) if choose.random() < 0.2 else sent


def _change(choose: random.Random, value: Any) -> Any:
    """The same value with something in it changed, somewhere."""
    if isinstance(value, dict) and value and choose.random() < 0.9:
        name = choose.choice(sorted(value, key=str))
        what = choose.random()
        if what < 0.1:
            del value[name]
        elif what < 0.2:
            value[choose.choice(TEXTS)] = value[name]
        else:
            value[name] = _change(choose, value[name])
        return value
    if isinstance(value, list) and value and choose.random() < 0.8:
        place = choose.randrange(len(value))
        if choose.random() < 0.2:
            return value + value[place:] * choose.choice((1, 2, 30))
        value[place] = _change(choose, value[place])
        return value
    return copy.deepcopy(choose.choice(VALUES))


def _path(choose: random.Random, path: str) -> str:
    parts = path.split("/")
    where = choose.randint(1, len(parts))
    parts.insert(where, choose.choice(SEGMENTS)) if choose.random() < 0.6 else parts.pop()
    query = choose.choice(
        ("", "", "?limit=x", "?" + "a=b&" * 50, "?cursor=%00", "?wait=0&after=now")
    )
    return "/".join(parts) + query


def _spoil(choose: random.Random, sent: bytes) -> bytes:
    """Bytes flipped, lost or added."""
    spoilt = bytearray(sent)
    for _ in range(choose.randint(1, 6)):
        place = choose.randrange(len(spoilt)) if spoilt else 0
        what = choose.randrange(4)
        if what == 0 and spoilt:
            spoilt[place] = choose.randrange(256)
        elif what == 1:
            del spoilt[place : place + choose.randint(1, 40)]
        elif what == 2:
            spoilt[place:place] = choose.randbytes(choose.randint(1, 20))
        else:
            del spoilt[place:]
    return bytes(spoilt)
