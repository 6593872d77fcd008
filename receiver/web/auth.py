"""The shop's side under /v1: bearer tokens, and the blueprints that describe themselves."""

import hmac
from http import HTTPStatus

from flask import Flask, Request, Response, request

from receiver.errors import MissingBearerToken
from receiver.web.api.blueprint import CONVERTERS
from receiver.web.context import app_context
from receiver.web.openapi.build import BLUEPRINTS
from receiver.web.openapi.docs import CHALLENGE, docs, password, takes_password


def init_app(app: Flask) -> None:
    """Put everything under /v1 behind a bearer token."""
    app.before_request(_require_token)
    app.after_request(_offer_password)
    app.after_request(_keep_private)
    app.url_map.converters.update(CONVERTERS)
    for blueprint in (*BLUEPRINTS, docs):
        app.register_blueprint(blueprint, url_prefix="/v1")


def _require_token() -> None:
    # Before routing has its say: without a token an unknown path and a known one look alike.
    if request.path != "/v1" and not request.path.startswith("/v1/"):
        return
    tokens = app_context().settings.api_tokens
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
