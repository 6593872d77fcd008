"""The shop's side under /v1: bearer tokens, and the blueprints that describe themselves."""

import hmac
import json
from http import HTTPStatus
from importlib.metadata import version

from flask import Flask, Request, Response, request
from flask_smorest import Api
from werkzeug.exceptions import HTTPException

from receiver import problems, schemas
from receiver.accounts import accounts
from receiver.alerts import alerts
from receiver.attention import attention
from receiver.changes import changes
from receiver.description import complete
from receiver.docs import CHALLENGE, docs, password, takes_password
from receiver.errors import MissingBearerToken
from receiver.messages import messages
from receiver.orders import orders
from receiver.parts import parts
from receiver.routes import CONVERTERS
from receiver.tours import tours
from receiver.vocabulary import vocabulary


class Described(Api):  # type: ignore[misc] # flask-smorest is not typed
    """flask-smorest with our error bodies instead of its own, and a description that is whole."""

    ERROR_SCHEMA = schemas.Problem
    # Every answer that can come is described by its status.
    DEFAULT_ERROR_RESPONSE_NAME = None
    _document: bytes | None = None

    def handle_http_exception(self, error: HTTPException) -> Response:
        return problems.http(error)

    def _openapi_json(self) -> Response:
        if self._document is None:
            self._document = json.dumps(complete(self.spec.to_dict())).encode()
        answer = Response(self._document, mimetype="application/json")
        answer.headers["Cache-Control"] = "no-cache"
        answer.add_etag()
        answer.make_conditional(request)
        return answer


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
    app.after_request(_offer_password)
    app.after_request(_keep_private)
    app.url_map.converters.update(CONVERTERS)
    api = Described(app, spec_kwargs={"security": [{"bearer": []}]})
    for blueprint in (orders, messages, attention, changes, tours, vocabulary, accounts, alerts):
        api.register_blueprint(blueprint, url_prefix="/v1")
    app.register_blueprint(docs, url_prefix="/v1")


def _require_token() -> None:
    # Before routing has its say: without a token an unknown path and a known one look alike.
    if request.path != "/v1" and not request.path.startswith("/v1/"):
        return
    tokens = parts().settings.api_tokens
    if not bearer_fits(request, tokens) and not fits(password(request) or "", tokens):
        told = "a valid bearer token is needed: Authorization: Bearer <token>"
        if takes_password(request):
            told += " (a browser sends it as a password, with any user name)"
        raise MissingBearerToken(told)


def _keep_private(answer: Response) -> Response:
    """What is told of orders is the shop's: in no shared cache."""
    if request.path.startswith("/v1/"):
        answer.headers.setdefault("Cache-Control", "private, no-store")
    return answer


def _offer_password(answer: Response) -> Response:
    if answer.status_code == HTTPStatus.UNAUTHORIZED and takes_password(request):
        answer.headers.add("WWW-Authenticate", CHALLENGE)
    return answer


def bearer_fits(incoming: Request, tokens: tuple[str, ...]) -> bool:
    """Whether the request carries one of the tokens; as slow for a wrong one as for a right one."""
    scheme, _, offered = incoming.headers.get("Authorization", "").partition(" ")
    return fits(offered.strip(), tokens) and scheme.lower() == "bearer"


def fits(offered: str, tokens: tuple[str, ...]) -> bool:
    """Whether it is one of the tokens; as slow for a wrong one as for a right one."""
    given = offered.encode(errors="replace")
    # A list: every token is compared, also after one that fits.
    matches = [hmac.compare_digest(token.encode(), given) for token in tokens]
    return any(matches)
