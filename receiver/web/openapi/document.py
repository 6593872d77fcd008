"""Build the OpenAPI document from the API's blueprints and the schemas."""

import json
from functools import cache
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path
from typing import Any

from flask import Flask
from flask_smorest import Api
from marshmallow import fields

from receiver.schemas.fields import CommaList, ProblemSchema, Text
from receiver.web.api import BLUEPRINTS
from receiver.web.api.blueprint import CONVERTERS
from receiver.web.openapi.components import HEADERS, PROBLEMS, SECURITY, SECURITY_SCHEMES
from receiver.web.problems import list_codes

GUIDE = Path(__file__).parent / "page" / "guide.md"


class DescribedApi(Api):  # type: ignore[misc] # flask-smorest is not typed
    """flask-smorest with our error bodies; every answer is described by its own status."""

    ERROR_SCHEMA = ProblemSchema
    DEFAULT_ERROR_RESPONSE_NAME = None


@cache
def build_document() -> bytes:
    """Build the description as JSON; it does not depend on the settings.

    It is built for the first request that needs it, in an application of its own: that takes
    longer than everything else that a process does at its start.
    """
    app = Flask(__name__)
    app.config.update(
        API_TITLE="Ordertrail", API_VERSION=version("ordertrail"), OPENAPI_VERSION="3.1.0"
    )
    app.url_map.converters.update(CONVERTERS)
    info = {
        "summary": "The status of every order, as reported by its courier.",
        "description": f"{GUIDE.read_text(encoding='utf-8')}\n{_render_codes()}",
        "license": {"name": "MIT", "identifier": "MIT"},
    }
    servers = [{"url": "/", "description": "This service"}]
    api = DescribedApi(app, spec_kwargs={"info": info, "servers": servers, "security": SECURITY})
    components, converter = api.spec.components, api.ma_plugin.converter
    converter.add_attribute_function(_describe_keys)
    converter.add_parameter_attribute_function(_describe_comma_list)
    for name, scheme in SECURITY_SCHEMES.items():
        components.security_scheme(name, scheme)
    for name, header in HEADERS.items():
        components.header(name, header)
    for name, problem in PROBLEMS.items():
        components.response(name, problem)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint, url_prefix="/v1")
    for key, name in converter.refs.items():
        components.schemas[name]["description"] = cleandoc(key[0].__doc__)
    lookups = ("references", "orders", "tracking_numbers")
    components.schemas["Lookup"]["oneOf"] = [{"required": [name]} for name in lookups]
    components.schemas["OrderChanges"]["minProperties"] = 1
    # flask-smorest registers it, and nothing uses it.
    del components.schemas["PaginationMetadata"]
    return json.dumps(api.spec.to_dict()).encode()


def _render_codes() -> str:
    """Return the codes of all problems as a table in Markdown."""
    rows = [
        f"| `{code}` | {status.value} | {meaning} |"
        for code, (status, meaning) in list_codes().items()
    ]
    return "\n".join(["| `code` | status | meaning |", "|---|---|---|", *rows, ""])


def _describe_keys(converter: Any, field: Any, **kwargs: Any) -> dict[str, Any]:
    """Describe the keys of an object if a client chooses them."""
    is_chosen = isinstance(field, fields.Dict) and isinstance(field.key_field, Text)
    return {"propertyNames": converter.field2property(field.key_field)} if is_chosen else {}


def _describe_comma_list(converter: Any, field: Any, **kwargs: Any) -> dict[str, Any]:
    """Describe that the values of a parameter are separated by commas."""
    return {"style": "form", "explode": False} if isinstance(field, CommaList) else {}
