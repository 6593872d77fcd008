"""The OpenAPI description: valid, complete and true; each example is sent to a running service."""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from sqlalchemy.orm import Session, sessionmaker

from receiver.app import create_app
from receiver.settings import Settings
from receiver.web.openapi.components import ORDER_ID
from receiver.web.problems import list_codes
from tests import everything
from tests.conftest import API_TOKEN, ENVIRON
from tests.service import Web

Node = Mapping[str, Any]

NOWHERE = {"DATABASE_URL": "postgresql://nowhere/x", "REDIS_URL": "redis://nowhere/0"}


def described() -> dict[str, Any]:
    client = create_app(Settings.from_env({**ENVIRON, **NOWHERE})).test_client()
    answer = client.get("/v1/openapi.json", headers={"Authorization": f"Bearer {API_TOKEN}"})
    assert answer.status_code == 200
    return dict(answer.get_json())


def operations(document: Node) -> Iterator[tuple[str, str, Any]]:
    """Every operation with its path and its method."""
    for path, item in document["paths"].items():
        yield from ((path, method, item[method]) for method in item if method != "parameters")


def resolved(node: Node) -> Any:
    """What a $ref points at; anything else as it is."""
    while "$ref" in node:
        target: Any = DOCUMENT
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        node = target
    return node


DOCUMENT = described()
OPERATIONS = {it["operationId"]: it for _, _, it in operations(DOCUMENT)}
PLACE = {it["operationId"]: f"{method} {path}" for path, method, it in operations(DOCUMENT)}
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]

each_operation = pytest.mark.parametrize("name", OPERATIONS)


def faults(value: Any, schema: Node) -> list[str]:
    """The errors of a value by a schema of the description."""
    document = Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
    validator = OAS31Validator(
        _absolute(schema),
        registry=Registry().with_resource("urn:api", document),
        format_checker=OAS31Validator.FORMAT_CHECKER,
    )
    return [f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(value)]


def _absolute(node: Any) -> Any:
    if isinstance(node, list):
        return [_absolute(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        name: f"urn:api{value}" if name == "$ref" else _absolute(value)
        for name, value in node.items()
    }


def properties(node: Any, path: str) -> Iterator[tuple[str, Node]]:
    """Every property of every schema below, with where it is."""
    for name, value in node.get("properties", {}).items():
        yield f"{path}.{name}", value
        yield from properties(value, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(node.get(name), dict):
            yield from properties(node[name], f"{path}.{name}")


PROPERTIES = dict(found for name, schema in SCHEMAS.items() for found in properties(schema, name))


def answers(name: str) -> dict[str, Node]:
    return {status: resolved(it) for status, it in OPERATIONS[name]["responses"].items()}


def parameters(name: str) -> list[Node]:
    method, _, path = PLACE[name].partition(" ")
    item = DOCUMENT["paths"][path]
    return [
        resolved(it) for it in (*item.get("parameters", ()), *item[method].get("parameters", ()))
    ]


# Valid


def test_it_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_all_references_lead_somewhere_and_all_that_is_shared_is_used() -> None:
    found: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                found.add(node["$ref"])
                resolved(node)
            node = list(node.values())
        for each in node if isinstance(node, list) else ():
            walk(each)

    walk(DOCUMENT)
    kinds = DOCUMENT["components"].keys() - {"securitySchemes"}
    shared = {
        f"#/components/{kind}/{name}" for kind in kinds for name in DOCUMENT["components"][kind]
    }
    assert found == shared


# Complete


def has_examples_elsewhere(node: Node) -> bool:
    """Whether it is made of objects that have examples themselves."""
    if node.get("type") == "array":
        return "$ref" in node["items"]
    return "$ref" in node or any("$ref" in each for each in node.get("anyOf", ()))


def test_every_field_has_a_type_a_meaning_and_an_example() -> None:
    for place, node in PROPERTIES.items():
        assert node.get("description"), place
        assert has_examples_elsewhere(node) or node.get("examples"), place
        # Only a value that a courier sent may be of any type.
        assert {"type", "$ref", "anyOf", "allOf"} & node.keys() or (
            place == "ExplainedDetail.value"
        ), place
        for value in node.get("examples", ()):
            assert faults(value, node) == [], place


def test_every_object_says_what_it_is_and_what_is_always_there() -> None:
    for name, schema in SCHEMAS.items():
        assert schema["type"] == "object", name
        assert schema.get("description"), name
        # Requests must not have unknown fields; answers may get more fields.
        is_taken = "additionalProperties" in schema
        assert is_taken or schema["required"], name
        assert not is_taken or schema["additionalProperties"] is False, name


@each_operation
def test_every_operation_says_what_it_does(name: str) -> None:
    node = OPERATIONS[name]
    assert node["summary"]
    assert len(node["summary"]) < 100
    assert node["tags"]
    assert set(node["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"]}


def test_operations_have_names_of_their_own() -> None:
    assert len(OPERATIONS) == len(list(operations(DOCUMENT))) > 15


@each_operation
def test_every_parameter_has_a_type_a_meaning_and_an_example(name: str) -> None:
    method, _, path = PLACE[name].partition(" ")
    assert method in DOCUMENT["paths"][path]
    node = parameters(name)
    places = {part[1:-1] for part in path.split("/") if part.startswith("{")}
    assert {it["name"] for it in node if it["in"] == "path"} == places
    for it in node:
        assert it["description"], it
        assert it["schema"].get("type"), it
        examples = [it["example"]] if "example" in it else it["schema"]["examples"]
        assert examples
        for value in examples:
            assert faults(value, it["schema"]) == []


@each_operation
def test_every_answer_has_a_meaning_and_a_schema(name: str) -> None:
    node = answers(name)
    assert "401" in node
    assert "default" not in node
    assert [status for status in node if status.startswith("2")]
    for status, answer in node.items():
        assert answer["description"], status
        if status in {"204", "304"}:
            assert "content" not in answer
        else:
            wanted = "application/json" if status < "3" else "application/problem+json"
            # Downloads have further formats, and a label is a file.
            is_file = name == "get_label" and status == "200"
            assert is_file or next(iter(answer["content"])) == wanted
        for content in answer.get("content", {}).values():
            assert content["schema"]
            if "example" in content:
                assert faults(content["example"], content["schema"]) == []
        for header in map(resolved, answer.get("headers", {}).values()):
            assert header["description"]
            assert faults(header["example"], header["schema"]) == []


def test_the_statuses_are_open_and_their_groups_are_not() -> None:
    assert "enum" not in SCHEMAS["Order"]["properties"]["status"]
    assert len(SCHEMAS["Order"]["properties"]["status_group"]["enum"]) == 7


def test_it_contains_no_token_and_no_host(shop: FlaskClient) -> None:
    text = shop.get("/v1/openapi.json").text
    assert API_TOKEN not in text
    assert "localhost" not in text
    assert "127.0.0.1" not in text


# True


def success(name: str) -> int:
    """What the example of an operation is answered."""
    wanted = [int(status) for status in OPERATIONS[name]["responses"] if status.startswith("2")]
    # The order that is registered in the example is known already.
    return min(wanted)


def check(name: str, status: int, body: str) -> None:
    """An answer as it is described, to the last field."""
    assert status == success(name), (name, body)
    content = resolved(OPERATIONS[name]["responses"][str(status)]).get("content")
    if content is None:
        assert body == ""
        return
    if name == "get_label":
        assert body == everything.LABEL.decode()
        return
    node = json.loads(body)
    schema = content["application/json"]["schema"]
    assert faults(node, schema) == [], name
    assert list(unknown(node, schema, "")) == [], name
    assert list(not_utc(node, "")) == [], name


def unknown(node: Any, schema: Node, path: str) -> Iterator[str]:
    """The fields of an answer that its schema does not know."""
    schema = resolved(schema)
    if "anyOf" in schema:
        schema = resolved(schema["anyOf"][0])
    if "allOf" in schema:
        schema = resolved(schema["allOf"][0])
    if isinstance(node, list):
        for each in node:
            yield from unknown(each, schema["items"], f"{path}[]")
    if isinstance(node, dict) and "properties" in schema:
        for name, value in node.items():
            if name not in schema["properties"]:
                yield f"{path}.{name}"
            else:
                yield from unknown(value, schema["properties"][name], f"{path}.{name}")


def not_utc(node: Any, path: str) -> Iterator[str]:
    """The times of an answer that are not written with Z."""
    if isinstance(node, dict):
        for name, value in node.items():
            is_time = isinstance(value, str) and name.endswith(("_at", "_since", "_until", "eta"))
            if is_time and not value.endswith("Z"):
                yield f"{path}.{name}: {value}"
            yield from not_utc(value, f"{path}.{name}")
    if isinstance(node, list):
        for each in node:
            yield from not_utc(each, path)


READING = [name for name, place in PLACE.items() if place.startswith("get ")]


def test_the_examples_of_all_that_only_read_work(filled: Web) -> None:
    for name in READING:
        try_example(name, filled)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in READING])
def test_the_example_of_an_operation_works(name: str, filled: Web) -> None:
    try_example(name, filled)


def try_example(name: str, filled: Web) -> None:
    examples = {it["name"]: it for it in parameters(name)}
    body = OPERATIONS[name].get("requestBody", {}).get("content", {}).get("application/json")
    answer = httpx.request(
        PLACE[name].partition(" ")[0],
        f"http://127.0.0.1:{filled.port}{example_path(name)}",
        params={
            each["name"]: query_value(each["schema"]["examples"][0])
            for each in examples.values()
            if each["in"] == "query" and each["name"] not in {"after", "cursor", "wait"}
        },
        json=body and body["example"],
        headers={"Authorization": f"Bearer {API_TOKEN}"},
    )
    check(name, answer.status_code, answer.text)


def problem_examples() -> Iterator[tuple[str, str, Node]]:
    """The example of every documented problem, with its operation and status."""
    for name in OPERATIONS:
        for status, answer in answers(name).items():
            for content in answer.get("content", {}).values():
                if "example" in content and status >= "4":
                    yield name, status, content["example"]


def test_every_problem_that_is_documented_has_a_code_of_the_list() -> None:
    codes = {code: status.value for code, (status, _) in list_codes().items()}
    for name, status, example in problem_examples():
        assert codes[example["code"]] == int(status) == example["status"], name
    for code in codes:
        assert f"| `{code}` |" in DOCUMENT["info"]["description"]


def test_the_problems_of_the_examples_are_what_an_empty_service_answers(
    new_app: Callable[..., Flask], sessions: sessionmaker[Session]
) -> None:
    app = new_app(READ_TOKENS=READ_TOKEN)
    tried: Counter[str] = Counter()
    for name, status, example in problem_examples():
        if status not in CAUSES:
            continue
        path, sent = CAUSES[status](name)
        given = OPERATIONS[name].get("requestBody", {}).get("content", {}).get("application/json")
        if example["code"] == "account_not_found":
            path = path.replace("/tiramizoo", "/nobody")
            given = {"example": {**given["example"], "account": "nobody"}} if given else None
            if any(each["name"] == "account" for each in parameters(name) if each["in"] == "query"):
                path += "?account=nobody"
        sent = {"headers": {"Authorization": f"Bearer {API_TOKEN}"}} | sent
        if given and sent.keys().isdisjoint({"json", "data"}):
            sent["json"] = given["example"]
        answer = app.test_client().open(path, method=PLACE[name].partition(" ")[0].upper(), **sent)
        told = answer.get_json()
        assert told.pop("request_id") == answer.headers["X-Request-ID"]
        assert told == {field: example[field] for field in example if field != "request_id"}, name
        tried[status] += 1
    assert tried.keys() == CAUSES.keys()


def example_path(name: str, examples: Mapping[str, Node] | None = None) -> str:
    """The path of an operation with its examples; examples: others, by the parameters' names."""
    path = PLACE[name].partition(" ")[2]
    own = {each["name"]: each for each in parameters(name)}
    for each in (own | dict(examples or {})).values():
        if each["in"] == "path":
            path = path.replace(f"{{{each['name']}}}", quote(each["example"], safe=""))
    return path


def missing(name: str) -> tuple[str, dict[str, Any]]:
    """A request of the operation about what the shared example of a 404 names."""
    return example_path(
        name, {"order_id": {"in": "path", "name": "order_id", "example": ORDER_ID}}
    ), {}


def invalid(name: str) -> tuple[str, dict[str, Any]]:
    """What makes a request of the operation invalid: its body, or else a parameter."""
    if "requestBody" in OPERATIONS[name]:
        return example_path(name), {"json": []}
    return f"{example_path(name)}?colour=red", {}


READ_TOKEN = "read-token-of-report"
JSON = {"content_type": "application/json"}
# By status, how it is caused: the path of a request, and what is sent.
CAUSES: Mapping[str, Callable[[str], tuple[str, dict[str, Any]]]] = {
    "400": lambda name: (example_path(name), {"data": b"x", **JSON}),
    "401": lambda name: (example_path(name), {"headers": {}}),
    "403": lambda name: (
        example_path(name),
        {"headers": {"Authorization": f"Bearer {READ_TOKEN}"}},
    ),
    "404": missing,
    "413": lambda name: (example_path(name), {"data": b" " * 262_145, **JSON}),
    "415": lambda name: (example_path(name), {"data": b"x=1", "content_type": "text/plain"}),
    "422": invalid,
}


def query_value(example: Any) -> str:
    """An example as it stands in a query: the values of a list are separated by commas."""
    return ",".join(example) if isinstance(example, list) else json.dumps(example).strip('"')


def test_the_example_of_the_guide_works(filled: Web) -> None:
    lines = [
        line for line in DOCUMENT["info"]["description"].splitlines() if line.startswith("curl ")
    ]
    assert lines
    for line in lines:
        run = subprocess.run(
            ["/bin/sh", "-c", f"{line} -o /dev/null -w '%{{http_code}}'"],
            env={
                "PATH": os.environ["PATH"],
                "ORDERTRAIL_URL": f"http://127.0.0.1:{filled.port}",
                "ORDERTRAIL_TOKEN": API_TOKEN,
            },
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout == "200"


# Served


def test_a_client_that_has_the_description_gets_304(shop: FlaskClient) -> None:
    first = shop.get("/v1/openapi.json")
    again = shop.get("/v1/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert shop.get("/v1/openapi.json").get_json() == first.get_json()
