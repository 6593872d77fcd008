"""The OpenAPI description, made whole: what the blueprints cannot say by themselves.

flask-smorest gives what decorators, docstrings and schemas tell. Here comes what is the same all
over the API: the guide, names of operations, shared parameters and errors, headers, links, and the
examples for curl and httpx.
"""

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from inspect import cleandoc
from pathlib import Path
from typing import Any

from receiver.schemas import account, conflict, explanation, fields, message, order, timeline
from receiver.web.openapi.parts import (
    HEADERS,
    IF_NONE_MATCH,
    LINKS,
    MORE,
    PARAMETERS,
    PROBLEMS,
    SEVERAL,
    SHOWN,
    TAGS,
    TITLES,
    Told,
    problem,
)
from receiver.web.openapi.samples import in_words, request_for, samples

GUIDE = Path(__file__).parent / "page" / "guide.md"

# What says already which text it is.
CHOSEN = {"enum", "format", "pattern"}
METHODS = ("get", "post", "delete", "put", "patch")
JSON = "application/json"
SCHEMAS = (account, conflict, explanation, fields, message, order, timeline)
PROBLEM = "#/components/schemas/Problem"
# A field that is not in every answer says so, and an object how its names look.
SOMETIMES = "x-sometimes"
NAMES = "x-names"
# Text as we take it: without U+0000.
TEXT = r"^[^\u0000]*$"


def complete(document: Mapping[str, Any]) -> Told:
    """The whole description, from what the blueprints gave.

    The parts of `document` are changed on the way: it is not to be used again.
    """
    told = {
        "openapi": document["openapi"],
        "info": _info(document["info"]),
        "servers": [{"url": "/", "description": "The service that tells this"}],
        "security": document["security"],
        "tags": TAGS,
        "paths": document["paths"],
        "components": _components(document["components"]),
    }
    for path, method, operation in operations(told):
        _operation(told, path, method, operation)
    _schemas(told)
    for item in told["paths"].values():
        for parameter in item.get("parameters", []):
            parameter.update(PARAMETERS[parameter["name"]])
    return told


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Told]]:
    """Every operation with its path and its method."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def resolved(document: Mapping[str, Any], told: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a $ref points at; anything else as it is."""
    while "$ref" in told:
        found: Any = document
        for name in told["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        told = found
    return told


def _info(info: Mapping[str, Any]) -> Told:
    return {
        "title": info["title"],
        "version": info["version"],
        "summary": "Where each order stands, from what its courier told.",
        "description": GUIDE.read_text(encoding="utf-8"),
        "license": {"name": "MIT", "identifier": "MIT"},
    }


def _components(components: Mapping[str, Any]) -> Told:
    bearer = {
        "type": "http",
        "scheme": "bearer",
        "description": "One of the service's API tokens (`API_TOKENS`).",
    }
    return {
        "securitySchemes": {"bearer": bearer},
        "headers": HEADERS,
        "responses": PROBLEMS,
        "schemas": components["schemas"],
    }


# Schemas


def _schemas(document: Told) -> None:
    """Say of what we give which fields are always there, and that there may be more one day."""
    schemas = document["components"]["schemas"]
    asked = {
        name
        for _, _, operation in operations(document)
        if "requestBody" in operation
        for name in _named(document, _body_of(operation)["schema"])
    }
    given = {
        name
        for _, _, operation in operations(document)
        for answer in operation["responses"].values()
        for content in resolved(document, answer).get("content", {}).values()
        for name in _named(document, content["schema"])
    } | {"Problem"}
    for name in set(schemas) - asked - given:
        del schemas[name]
    for name, schema in schemas.items():
        schemas[name] = {"description": _meaning(name), **schema}
        for told in schema["properties"].values():
            if "description" in told:
                told["description"] = _sentence(told["description"])
    for name in asked:
        schemas[name].update(MORE.get(name, {}))
        for told in schemas[name]["properties"].values():
            _without_nul(told)
    for name in given - asked:
        schema = schemas[name]
        properties = schema["properties"]
        del schema["additionalProperties"]
        for told in properties.values():
            told.pop("readOnly", None)
        sometimes = {it for it, told in properties.items() if told.pop(SOMETIMES, False)}
        if required := [it for it in properties if it not in sometimes]:
            schema["required"] = required


def _meaning(name: str) -> str:
    """What the class of a schema says that it is."""
    return cleandoc(
        {c.__name__: c.__doc__ for m in SCHEMAS for c in vars(m).values() if isinstance(c, type)}[
            f"{name}Schema"
        ]
        or ""
    )


def _without_nul(told: Told) -> None:
    """Say of text that somebody makes up that U+0000 is none of it."""
    if NAMES in told:
        told["propertyNames"] = {**told.pop(NAMES), "pattern": TEXT}
    for inner in (told.get("items"), told.get("additionalProperties")):
        if isinstance(inner, dict):
            _without_nul(inner)
    kinds = told.get("type", [])
    is_text = "string" in ([kinds] if isinstance(kinds, str) else kinds)
    if is_text and not told.keys() & CHOSEN:
        told["pattern"] = TEXT


def _named(document: Mapping[str, Any], told: Any) -> set[str]:
    """The names of the schemas that a schema is made of."""
    if isinstance(told, list):
        return {name for each in told for name in _named(document, each)}
    if not isinstance(told, dict):
        return set()
    found = {name for each in told.values() for name in _named(document, each)}
    if isinstance(told.get("$ref"), str):
        found.add(told["$ref"].rpartition("/")[2])
        found |= _named(document, resolved(document, told))
    return found


# Operations


def _operation(document: Told, path: str, method: str, operation: Told) -> None:
    places = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    # A summary is plain text.
    operation["summary"] = operation["summary"].removesuffix(".").replace("`", "")
    operation["responses"] = _answers(operation, places)
    for parameter in operation.get("parameters", []):
        parameter["required"] = parameter.get("required", False)
        _without_nul(parameter["schema"])
        meaning, value = _sentence(parameter["description"]), parameter["schema"]["examples"][0]
        parameter["description"] = f"{meaning} For example `{_shown(value)}`."
    _conditional(operation)
    for (name, status), links in LINKS.items():
        if name == operation["operationId"]:
            operation["responses"][status]["links"] = links
    _examples(document, path, method, operation, places)


def _answers(operation: Told, places: list[str]) -> Told:
    """The answers that the view tells, and those that every such operation can give."""
    answers: Told = {
        str(status): _in_our_shape(int(status), answer)
        for status, answer in operation["responses"].items()
        if status != "422"
    }
    if "order_id" in places:
        told = answers.setdefault("409", _in_our_shape(409, {"description": SEVERAL}))
        if SEVERAL not in told["description"]:
            told["description"] += f". Or: {SEVERAL[0].lower()}{SEVERAL[1:]}"
    shared = {"401": "Unauthorized"}
    if places or "parameters" in operation:
        shared["414"] = "TooLong"
    if "requestBody" in operation:
        shared |= {
            "400": "Unreadable",
            "413": "TooLarge",
            "415": "NotSaidToBeJson",
            "422": "BadFields",
        }
    elif "parameters" in operation:
        shared["422"] = "BadParameters"
    if operation["operationId"] != "list_statuses":
        shared["503"] = "Unavailable"
    for status, name in shared.items():
        answers.setdefault(status, {"$ref": f"#/components/responses/{name}"})
    return dict(sorted(answers.items()))


def _in_our_shape(status: int, answer: Told) -> Told:
    """An error as a problem; what is no error with what it holds."""
    if status < 400:  # noqa: PLR2004 (below it nothing went wrong)
        if answer["description"] != HTTPStatus(status).phrase:
            return answer
        if JSON not in answer.get("content", {}):
            return {**answer, "description": "Done; there is nothing more to tell."}
        name = answer["content"][JSON]["schema"]["$ref"].rpartition("/")[2]
        return {**answer, "description": _meaning(name)}
    title, detail = TITLES[status]
    told = problem(status, title, answer["description"], detail)
    return told | {"headers": PROBLEMS["Unavailable"]["headers"]} if status == 503 else told  # noqa: PLR2004


def _sentence(text: str) -> str:
    return f"{text.removesuffix('.')}."


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _conditional(operation: Told) -> None:
    if operation["operationId"] != "get_order":
        return
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in ("ETag", "Cache-Control")}
    operation["parameters"] = [IF_NONE_MATCH]
    operation["responses"]["200"]["headers"] = headers
    operation["responses"]["304"] = {
        "description": "Still at the version that If-None-Match names; no body",
        "headers": headers,
    }
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _body_of(operation: Told) -> Told:
    content: Told = operation["requestBody"]["content"][JSON]
    return content


def _examples(document: Told, path: str, method: str, operation: Told, places: list[str]) -> None:
    """Show how to ask, as x-codeSamples and, for readers that know none, in the text."""
    shown = SHOWN.get(operation["operationId"], ())
    body = None
    if "requestBody" in operation:
        schema = resolved(document, _body_of(operation)["schema"])
        body = {
            name: told["examples"][0]
            for name, told in schema["properties"].items()
            if name in shown or name in schema.get("required", ())
        }
        _body_of(operation)["example"] = body
    query = {
        it["name"]: it["schema"]["examples"][0]
        for it in operation.get("parameters", [])
        if it["in"] == "query" and it["name"] in shown
    }
    parts = {name: PARAMETERS[name]["example"] for name in places}
    operation["x-codeSamples"] = samples(request_for(method, path, parts, query, body))
    text = operation.get("description", "")
    operation["description"] = f"{text}\n\n{in_words(operation['x-codeSamples'])}".strip()
