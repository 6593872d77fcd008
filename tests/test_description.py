"""The OpenAPI description: valid, whole and true, every example tried on a running service."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from flask.testing import FlaskClient
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from receiver.app import create_app
from receiver.settings import Settings
from receiver.web.openapi.description import operations, resolved
from tests.conftest import API_TOKEN, ENVIRON
from tests.service import Web

Told = Mapping[str, Any]

NOWHERE = {"DATABASE_URL": "postgresql://nowhere/x", "REDIS_URL": "redis://nowhere/0"}
CREATED, ACCEPTED, NO_CONTENT = 201, 202, 204


def described() -> dict[str, Any]:
    client = create_app(Settings.from_env({**ENVIRON, **NOWHERE})).test_client()
    answer = client.get("/v1/openapi.json", headers={"Authorization": f"Bearer {API_TOKEN}"})
    assert answer.status_code == 200
    return dict(answer.get_json())


DOCUMENT = described()
OPERATIONS = {it["operationId"]: it for _, _, it in operations(DOCUMENT)}
PLACE = {it["operationId"]: f"{method} {path}" for path, method, it in operations(DOCUMENT)}
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]

each_operation = pytest.mark.parametrize("name", OPERATIONS)


def whole(told: Told) -> Told:
    return resolved(DOCUMENT, told)


def faults(value: Any, schema: Told) -> list[str]:
    """What a schema of the description has against a value."""
    document = Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
    validator = OAS31Validator(
        _absolute(schema),
        registry=Registry().with_resource("urn:api", document),
        format_checker=OAS31Validator.FORMAT_CHECKER,
    )
    return [f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(value)]


def _absolute(told: Any) -> Any:
    if isinstance(told, list):
        return [_absolute(each) for each in told]
    if not isinstance(told, dict):
        return told
    return {
        name: f"urn:api{value}" if name == "$ref" else _absolute(value)
        for name, value in told.items()
    }


def properties(told: Any, path: str) -> Iterator[tuple[str, Told]]:
    """Every property of every schema below, with where it is."""
    for name, value in told.get("properties", {}).items():
        yield f"{path}.{name}", value
        yield from properties(value, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(told.get(name), dict):
            yield from properties(told[name], f"{path}.{name}")


PROPERTIES = dict(found for name, schema in SCHEMAS.items() for found in properties(schema, name))


def answers(name: str) -> dict[str, Told]:
    return {status: whole(it) for status, it in OPERATIONS[name]["responses"].items()}


def parameters(name: str) -> list[Told]:
    method, _, path = PLACE[name].partition(" ")
    item = DOCUMENT["paths"][path]
    return [whole(it) for it in (*item.get("parameters", ()), *item[method].get("parameters", ()))]


# Valid


def test_it_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_all_references_lead_somewhere_and_all_that_is_shared_is_used() -> None:
    found: set[str] = set()

    def walk(told: Any) -> None:
        if isinstance(told, dict):
            if isinstance(told.get("$ref"), str):
                found.add(told["$ref"])
                resolved(DOCUMENT, told)
            told = list(told.values())
        for each in told if isinstance(told, list) else ():
            walk(each)

    walk(DOCUMENT)
    kinds = DOCUMENT["components"].keys() - {"securitySchemes"}
    shared = {
        f"#/components/{kind}/{name}" for kind in kinds for name in DOCUMENT["components"][kind]
    }
    assert found == shared


# Whole


def is_told_elsewhere(told: Told) -> bool:
    """Whether it is made of objects that have examples themselves."""
    if told.get("type") == "array":
        return "$ref" in told["items"]
    return "$ref" in told or any("$ref" in each for each in told.get("anyOf", ()))


@pytest.mark.parametrize("place", PROPERTIES)
def test_every_field_has_a_type_a_meaning_and_an_example(place: str) -> None:
    told = PROPERTIES[place]
    assert told.get("description"), told
    assert is_told_elsewhere(told) or told.get("examples"), told
    # Only what a courier told may be of any type.
    assert {"type", "$ref", "anyOf", "allOf"} & told.keys() or place == "ExplainedDetail.value"
    for value in told.get("examples", ()):
        assert faults(value, told) == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_object_says_what_it_is_and_what_is_always_there(name: str) -> None:
    schema = SCHEMAS[name]
    assert schema["type"] == "object"
    assert schema.get("description")
    # We take nothing that we do not know; what we give may get more fields one day.
    is_taken = "additionalProperties" in schema
    assert is_taken or schema["required"]
    assert not is_taken or schema["additionalProperties"] is False


@each_operation
def test_every_operation_says_what_it_does(name: str) -> None:
    told = OPERATIONS[name]
    assert told["summary"]
    assert len(told["summary"]) < 100
    assert told["tags"]
    assert set(told["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"]}
    labels = [sample["label"] for sample in told["x-codeSamples"]]
    assert labels == ["curl", "httpx"]
    for sample in told["x-codeSamples"]:
        assert sample["source"] in told["description"]


def test_operations_have_names_of_their_own() -> None:
    assert len(OPERATIONS) == len(list(operations(DOCUMENT))) > 15


@each_operation
def test_every_parameter_has_a_type_a_meaning_and_an_example(name: str) -> None:
    method, _, path = PLACE[name].partition(" ")
    assert method in DOCUMENT["paths"][path]
    told = parameters(name)
    places = {part[1:-1] for part in path.split("/") if part.startswith("{")}
    assert {it["name"] for it in told if it["in"] == "path"} == places
    for it in told:
        assert it["description"], it
        assert it["schema"].get("type"), it
        examples = [it["example"]] if "example" in it else it["schema"]["examples"]
        assert examples
        for value in examples:
            assert faults(value, it["schema"]) == []


@each_operation
def test_every_answer_has_a_meaning_and_a_schema(name: str) -> None:
    told = answers(name)
    assert "401" in told
    assert "default" not in told
    assert [status for status in told if status.startswith("2")]
    for status, answer in told.items():
        assert answer["description"], status
        if status in {"204", "304"}:
            assert "content" not in answer
        else:
            wanted = "application/json" if status < "3" else "application/problem+json"
            assert list(answer["content"]) == [wanted]
        for content in answer.get("content", {}).values():
            assert content["schema"]
            if "example" in content:
                assert faults(content["example"], content["schema"]) == []
        for header in map(whole, answer.get("headers", {}).values()):
            assert header["description"]
            assert faults(header["example"], header["schema"]) == []


@each_operation
def test_links_lead_to_operations_and_name_their_parameters(name: str) -> None:
    for answer in answers(name).values():
        for link in answer.get("links", {}).values():
            known = {it["name"] for it in parameters(link["operationId"])}
            assert link["parameters"].keys() <= known
            assert link["description"]


def test_the_statuses_are_open_and_their_groups_are_not() -> None:
    assert "enum" not in SCHEMAS["Order"]["properties"]["status"]
    assert len(SCHEMAS["Order"]["properties"]["status_group"]["enum"]) == 7


def test_no_token_and_no_machine_stands_in_it(shop: FlaskClient) -> None:
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


def sample(name: str, label: str) -> str:
    told = {it["label"]: str(it["source"]) for it in OPERATIONS[name]["x-codeSamples"]}
    return told[label]


def check(name: str, status: int, body: str) -> None:
    """An answer as it is described, to the last field."""
    assert status == success(name), body
    content = whole(OPERATIONS[name]["responses"][str(status)]).get("content")
    if content is None:
        assert body == ""
        return
    told = json.loads(body)
    schema = content["application/json"]["schema"]
    assert faults(told, schema) == []
    assert list(unknown(told, schema, "")) == []
    assert list(not_utc(told, "")) == []


def unknown(told: Any, schema: Told, path: str) -> Iterator[str]:
    """The fields of an answer that its schema does not know."""
    schema = whole(schema)
    if "anyOf" in schema:
        schema = whole(schema["anyOf"][0])
    if "allOf" in schema:
        schema = whole(schema["allOf"][0])
    if isinstance(told, list):
        for each in told:
            yield from unknown(each, schema["items"], f"{path}[]")
    if isinstance(told, dict) and "properties" in schema:
        for name, value in told.items():
            if name not in schema["properties"]:
                yield f"{path}.{name}"
            else:
                yield from unknown(value, schema["properties"][name], f"{path}.{name}")


def not_utc(told: Any, path: str) -> Iterator[str]:
    """The times of an answer that are not written with Z."""
    if isinstance(told, dict):
        for name, value in told.items():
            is_time = isinstance(value, str) and name.endswith(("_at", "_since", "_until", "eta"))
            if is_time and not value.endswith("Z"):
                yield f"{path}.{name}: {value}"
            yield from not_utc(value, f"{path}.{name}")
    if isinstance(told, list):
        for each in told:
            yield from not_utc(each, path)


@each_operation
def test_the_curl_example_works(name: str, filled: Web) -> None:
    if shutil.which("curl") is None:
        assert "CI" not in os.environ, "curl is missing"
        pytest.skip("curl is missing: apt-get install curl")
    run = subprocess.run(
        ["/bin/sh", "-c", f"{sample(name, 'curl')} -w '\n%{{http_code}}'"],
        env={
            "PATH": os.environ["PATH"],
            "ORDERTRAIL_URL": f"http://127.0.0.1:{filled.port}",
            "ORDERTRAIL_TOKEN": API_TOKEN,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, status = run.stdout.rpartition("\n")
    check(name, int(status), body.strip())


@each_operation
def test_the_httpx_example_works(
    name: str, filled: Web, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERTRAIL_URL", f"http://127.0.0.1:{filled.port}")
    monkeypatch.setenv("ORDERTRAIL_TOKEN", API_TOKEN)
    found: dict[str, Any] = {}
    exec(compile(sample(name, "httpx"), name, "exec"), found)  # noqa: S102 (our own example)
    found["ordertrail"].close()
    answer = found["answer"]
    check(name, answer.status_code, answer.text)
    shown = answer.status_code if answer.status_code == NO_CONTENT else answer.json()
    assert capsys.readouterr().out.strip() == str(shown)


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


def test_who_has_the_description_need_not_read_it_again(shop: FlaskClient) -> None:
    first = shop.get("/v1/openapi.json")
    again = shop.get("/v1/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert shop.get("/v1/openapi.json").get_json() == first.get_json()
