"""The shop's side under /v1: bearer tokens, and the blueprints that describe themselves."""

import hmac
from importlib.metadata import version

from flask import Flask, Request, Response, request
from flask_smorest import Api
from werkzeug.exceptions import HTTPException

from receiver import problems, schemas
from receiver.attention import attention
from receiver.errors import MissingBearerToken
from receiver.orders import orders
from receiver.parts import parts
from receiver.tours import tours
from receiver.vocabulary import vocabulary


class Described(Api):  # type: ignore[misc] # flask-smorest is not typed
    """flask-smorest with our error bodies instead of its own."""

    ERROR_SCHEMA = schemas.Problem

    def handle_http_exception(self, error: HTTPException) -> Response:
        return problems.http(error)


def init_app(app: Flask) -> None:
    """Put everything under /v1 behind a bearer token, and describe it as OpenAPI."""
    app.config.update(
        API_TITLE="Ordertrail",
        API_VERSION=version("ordertrail"),
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/v1",
        OPENAPI_JSON_PATH="openapi.json",
    )
    app.before_request(_require_token)
    api = Described(
        app,
        spec_kwargs={
            "security": [{"bearer": []}],
            "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
        },
    )
    for blueprint in (orders, attention, tours, vocabulary):
        api.register_blueprint(blueprint, url_prefix="/v1")


# What the shop sends is small.
API_BODY_BYTES = 262_144


def _require_token() -> None:
    # Before routing has its say: without a token an unknown path and a known one look alike.
    if (request.path == "/v1" or request.path.startswith("/v1/")) and not bearer_fits(
        request, parts().settings.api_tokens
    ):
        raise MissingBearerToken("a valid bearer token is needed: Authorization: Bearer <token>")
    if request.path.startswith("/v1/"):
        request.max_content_length = API_BODY_BYTES


def bearer_fits(incoming: Request, tokens: tuple[str, ...]) -> bool:
    """Whether the request carries one of the tokens; as slow for a wrong one as for a right one."""
    scheme, _, offered = incoming.headers.get("Authorization", "").partition(" ")
    given = offered.strip().encode(errors="replace")
    fits = [hmac.compare_digest(token.encode(), given) for token in tokens]
    return scheme.lower() == "bearer" and any(fits)
