"""Whatever is asked of any route under /v1: a problem that names the field, never our fault.

The routes and their parameters are read off the API's own description, so that a new one is
tried by being there.
"""

import functools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from flask.testing import FlaskClient
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from receiver.app import create_app
from receiver.settings import Settings
from tests.conftest import API_TOKEN, ENVIRON
from tests.hostile import HOSTILE
from tests.shop import problem_of

METHODS = {"get", "put", "post", "patch", "delete"}

# Seconds: far more than any answer takes, and far less than a hang.
SOON = 10.0


@dataclass(frozen=True)
class Operation:
    """One method of one path, as the API describes it."""

    method: str
    path: str
    query: tuple[str, ...] = ()
    body: dict[str, Any] | None = field(default=None, hash=False)
    needs_body: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def places(self) -> list[str]:
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]

    def at(self, **places: str) -> str:
        """The path with these parts, quoted, and harmless ones for the rest."""
        known = {"account": "tiramizoo", "alert_id": "1", "message_id": "1", **places}
        return "/".join(
            quote(known.get(part[1:-1], "x"), safe="") if part.startswith("{") else part
            for part in self.path.split("/")
        )


def described() -> list[Operation]:
    nowhere = {"DATABASE_URL": "postgresql://nowhere/x", "REDIS_URL": "redis://nowhere/0"}
    app = create_app(Settings.from_env({**ENVIRON, **nowhere}))
    token = {"Authorization": f"Bearer {API_TOKEN}"}
    spec = app.test_client().get("/v1/openapi.json", headers=token).get_json()

    def found(node: Any) -> Any:
        """What a reference refers to."""
        while isinstance(node, dict) and "$ref" in node:
            path = node["$ref"].removeprefix("#/").split("/")
            node = functools.reduce(lambda part, name: part[name], path, spec)
        return node

    operations = []
    for path, methods in spec["paths"].items():
        for method in METHODS & methods.keys():
            told = methods[method]
            given = map(found, [*methods.get("parameters", []), *told.get("parameters", [])])
            query = tuple(it["name"] for it in given if it["in"] == "query")
            described_body = found(told.get("requestBody", {}))
            content, needs_body = described_body.get("content", {}), described_body.get("required")
            body = found(content["application/json"]["schema"]) if content else None
            operations.append(Operation(method.upper(), path, query, body, bool(needs_body)))
    return sorted(operations, key=str)


OPERATIONS = described()
WITH_QUERY = [(it, name) for it in OPERATIONS for name in it.query]
WITH_BODY = [it for it in OPERATIONS if it.body]

TEXTS = ["", "x" * 300, "\x00", "a\x00b"]
NUMBERS = [
    "1_0",
    "+5",
    "\u0663",
    " 5",
    "0x10",
    "-1",
    "1.5",
    "many",
    "",
    "NaN",
    "1e3",
    "9" * 5000,
    str(10**9),
    "\x00",
]
TIMES = [
    "yesterday",
    "2026-04-16",
    "2026-04-16T07:00:00",
    "1776322800",
    "2026-13-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "2026-04-16T07:00:00Z\x00",
    "",
]
WORDS = ["teleported", "", "DELIVERED", "delivered ", "\x00", "x" * 300]
WORD_LISTS = ["teleported", "", "DELIVERED", "\x00", "x" * 300, "delivered,", ",", "delivered,x"]
SWITCHES = ["perhaps", "", "2", "\x00"]
DAYS = ["yesterday", "2026-02-30", "16.04.2026", "20260416", "0", "", "\x00"]
CURSORS = ["x", "!!!", "\x00", "cTE", "b" * 201, "bzk5OTk5OTk5OTk5OTk5OTk5OTk"]

# What each parameter does not take.
BAD: dict[str, list[str]] = {
    "account": TEXTS,
    "action": WORDS,
    "after": CURSORS,
    "changed": WORDS,
    "contains": TEXTS,
    "courier_order_id": TEXTS,
    "created_since": TIMES,
    "created_until": TIMES,
    "cursor": ["", *CURSORS],
    "history": SWITCHES,
    "limit": ["0", *NUMBERS],
    "needs_attention": SWITCHES,
    "outcome": WORDS,
    "received_since": TIMES,
    "received_until": TIMES,
    "reference": TEXTS,
    "since": TIMES,
    "status": WORD_LISTS,
    "status_group": WORD_LISTS,
    "test": SWITCHES,
    "tracking_number": TEXTS,
    "until": TIMES,
    "updated_since": TIMES,
    "updated_until": TIMES,
    "wait": ["31", *NUMBERS],
    "who": TEXTS,
}
# Where one of these names means something else.
BAD_OF: dict[tuple[str, str], list[str]] = {
    ("/v1/couriers/{account}/performance", "since"): DAYS,
    ("/v1/couriers/{account}/performance", "until"): DAYS,
}
# And what it takes.
GOOD = {
    "history": "true",
    "limit": "10",
    "needs_attention": "true",
    "outcome": "applied",
    "status": "delivered",
    "status_group": "delivered",
    "test": "true",
    "updated_since": "2026-04-16T07:00:00Z",
    "wait": "0",
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Failures are logged with their traceback, which takes a terminal seconds to draw."""
    with capture_logs():
        yield


def named(problem: dict[str, Any], location: str) -> list[str]:
    return list(problem.get("errors", {}).get(location, {}))


def ask(shop: FlaskClient, operation: Operation, path: str, **more: Any) -> TestResponse:
    """An answer that is the asker's fault at worst, tells it as a problem, and comes soon."""
    started = time.monotonic()
    answer = shop.open(path, method=operation.method, **more)
    assert time.monotonic() - started < SOON
    assert answer.status_code < 500, answer.data
    if answer.status_code >= 400:
        problem_of(answer, answer.status_code)
    assert "X-Injected" not in answer.headers
    return answer


def make_known(shop: FlaskClient, operation: Operation) -> None:
    """Register the order that the operation's path names: an unknown one would be named first."""
    if "order_id" in operation.places:
        order = {"account": "tiramizoo", "courier_order_id": "x"}
        assert shop.post("/v1/orders", json=order).status_code == 201


def test_the_description_names_routes_to_try() -> None:
    assert len(OPERATIONS) > 10
    assert {"POST /v1/messages/{message_id}/retry", "GET /v1/orders"} <= set(map(str, OPERATIONS))
    assert len(WITH_BODY) >= 5


# Parameters


@pytest.mark.parametrize(("operation", "name"), WITH_QUERY, ids=str)
def test_a_parameter_that_cannot_be_used_is_named(
    shop: FlaskClient, operation: Operation, name: str
) -> None:
    make_known(shop, operation)
    for value in BAD_OF.get((operation.path, name), BAD.get(name, [])) or pytest.fail(name):
        answer = ask(shop, operation, operation.at(), query_string={name: value})
        problem = problem_of(answer, 422)
        assert named(problem, "query") == [name] or problem["detail"].startswith(f"{name} "), value


@pytest.mark.parametrize(("operation", "name"), WITH_QUERY, ids=str)
def test_a_parameter_that_is_given_twice_is_named(
    shop: FlaskClient, operation: Operation, name: str
) -> None:
    value = GOOD.get(name, "x")
    for second in (value, "other"):
        query = urlencode([(name, value), (name, second)])
        answer = ask(shop, operation, operation.at(), query_string=query)
        assert named(problem_of(answer, 422), "query") == [name]


@pytest.mark.parametrize("operation", [it for it in OPERATIONS if it.query], ids=str)
def test_an_unknown_parameter_is_named(shop: FlaskClient, operation: Operation) -> None:
    for name in ("stauts", "page", "", "limit[]", "\x00", "'; --"):
        answer = ask(shop, operation, operation.at(), query_string={name: "x"})
        assert named(problem_of(answer, 422), "query") == [name]


@pytest.mark.parametrize(("operation", "name"), WITH_QUERY, ids=str)
def test_hostile_text_in_a_parameter_is_only_text(
    shop: FlaskClient, operation: Operation, name: str
) -> None:
    make_known(shop, operation)
    for value in HOSTILE:
        answer = ask(shop, operation, operation.at(), query_string={name: value})
        # An account that does not exist is not an empty list.
        expected = {200, 404, 422} if name == "account" else {200, 422}
        assert answer.status_code in expected, value


@pytest.mark.parametrize("operation", [it for it in OPERATIONS if it.places], ids=str)
def test_hostile_text_in_a_path_is_only_text(shop: FlaskClient, operation: Operation) -> None:
    for place in operation.places:
        for value in HOSTILE:
            answer = ask(shop, operation, operation.at(**{place: value}))
            assert answer.status_code in {404, 405, 415, 422}, (place, value)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_a_query_that_is_no_query_is_answered(shop: FlaskClient, operation: Operation) -> None:
    for query in ("%ff=%ff", "%00", "=", "&&&", "a" * 5000, "limit=%C0%80"):
        ask(shop, operation, operation.at(), query_string=query)


# Bodies

UNREADABLE = {
    "not JSON": b"not JSON",
    "half": b'{"account": "tiramizoo"',
    "not UTF-8": b'{"account": "\xff"}',
    "UTF-16": '{"account": "tiramizoo"}'.encode("utf-16"),
    "BOM": b'\xef\xbb\xbf{"account": "tiramizoo"}',
    "two": b"{}{}",
    "single quotes": b"{'account': 'tiramizoo'}",
    "comma": b'{"account": "tiramizoo",}',
    "NaN": b'{"account": NaN}',
    "Infinity": b'{"account": -Infinity}',
    "digits": b'{"account": ' + b"9" * 5_000 + b"}",
    "digits below 0": b'{"account": -' + b"9" * 5_000 + b"}",
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 40_000,
    "deep and whole": b'{"account": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "U+0000": b"\x00",
}


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_a_body_that_cannot_be_read_says_so(shop: FlaskClient, operation: Operation) -> None:
    for name, body in UNREADABLE.items():
        answer = ask(shop, operation, operation.at(), data=body, content_type="application/json")
        assert "the body" in problem_of(answer, 400)["detail"], name


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_a_body_that_is_no_object_says_so(shop: FlaskClient, operation: Operation) -> None:
    for body in (b"[]", b"null", b'"x"', b"7", b"true", b"1e999", b"[{}]"):
        answer = ask(shop, operation, operation.at(), data=body, content_type="application/json")
        assert named(problem_of(answer, 422), "json"), body


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_a_name_that_is_given_twice_is_named(shop: FlaskClient, operation: Operation) -> None:
    assert operation.body
    name = next(iter(operation.body["properties"]))
    twice = f'{{"{name}": "x", "{name}": "x"}}'
    for body in (twice, f'{{"other": [{twice}]}}'):
        answer = ask(shop, operation, operation.at(), data=body, content_type="application/json")
        assert named(problem_of(answer, 422), "json") == [name]


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_many_names_given_twice_take_no_time(shop: FlaskClient, operation: Operation) -> None:
    body = "{" + ",".join(f'"{n % 12_000}":1' for n in range(24_000)) + "}"
    answer = ask(shop, operation, operation.at(), data=body, content_type="application/json")
    problem_of(answer, 422)


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_a_body_that_is_not_said_to_be_json_is_refused_with_what_to_do(
    shop: FlaskClient, operation: Operation
) -> None:
    for content_type in (None, "text/plain", "application/x-www-form-urlencoded"):
        answer = ask(shop, operation, operation.at(), data=b'{"x": 1}', content_type=content_type)
        assert "Content-Type: application/json" in problem_of(answer, 415)["detail"], content_type


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_json_by_another_name_is_json(shop: FlaskClient, operation: Operation) -> None:
    for content_type in ("application/json; charset=utf-8", "application/x+json"):
        answer = ask(shop, operation, operation.at(), data=b'{"x": 1}', content_type=content_type)
        assert "x" in named(problem_of(answer, 422), "json"), content_type


@pytest.mark.parametrize("operation", [it for it in WITH_BODY if it.needs_body], ids=str)
def test_no_body_names_what_is_missing(shop: FlaskClient, operation: Operation) -> None:
    for content_type in (None, "application/json"):
        answer = ask(shop, operation, operation.at(), content_type=content_type)
        assert named(problem_of(answer, 422), "json"), content_type


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_a_body_that_is_a_novel_is_too_large(shop: FlaskClient, operation: Operation) -> None:
    body = json.dumps({"note": "x" * 1_000_000})
    answer = ask(shop, operation, operation.at(), data=body, content_type="application/json")
    problem_of(answer, 413)


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": value}
    return value


FIELDS = [(it, name) for it in WITH_BODY for name in (it.body or {})["properties"]]


@pytest.mark.parametrize(("operation", "name"), FIELDS, ids=str)
def test_a_field_of_the_wrong_kind_is_named(
    shop: FlaskClient, operation: Operation, name: str
) -> None:
    # Metadata is an object of any names.
    objects = () if name == "metadata" else (nested(1),)
    is_boolean = (operation.body or {})["properties"][name]["type"] == "boolean"
    strange: tuple[Any, ...] = (
        7,
        1.5,
        *(() if is_boolean else (True,)),
        10**18,
        nested(200),
        # The items of a lookup and of a batch have problems of their own.
        *(() if operation.path.endswith(("/lookup", "/batch")) else ([nested(3)], [[]])),
        "\x00",
        "\ud800",
    )
    huge: tuple[Any, ...] = ("x" * 200_000, ["x"] * 20_000, {str(n): "x" for n in range(10_000)})
    for value in (*strange, *objects, *huge):
        answer = ask(shop, operation, operation.at(), json={name: value})
        problem = problem_of(answer, 422)
        assert name in named(problem, "json"), value


@pytest.mark.parametrize(("operation", "name"), FIELDS, ids=str)
def test_hostile_text_in_a_field_is_only_text(
    shop: FlaskClient, operation: Operation, name: str
) -> None:
    for value in HOSTILE:
        for body in ({name: value}, {name: [value]}, {name: {value: value}}, {value: "x"}):
            answer = ask(shop, operation, operation.at(), json=body)
            assert answer.status_code in {200, 404, 422}, body
            if answer.status_code == 200:
                (result,) = answer.get_json()["results"]
                assert "problem" in result or not result["found"], body


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_an_unknown_field_is_named(shop: FlaskClient, operation: Operation) -> None:
    for name in ("stauts", "", "\x00", "__proto__", "self"):
        answer = ask(shop, operation, operation.at(), json={name: "x"})
        assert name in named(problem_of(answer, 422), "json")
