"""GET /v1/docs: the description as a page (Swagger UI), and GET /v1/openapi.json.

Everything comes from this service: Swagger UI is an installed package, and the
Content-Security-Policy forbids other sources.

A browser cannot send a bearer token when somebody opens an address. So these routes also accept
HTTP Basic with any user name and a token as the password. They only describe the API. No
other route accepts a password: browsers send it with requests that other sites' pages make, too.
"""

from http import HTTPStatus
from importlib.resources import files
from pathlib import Path

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from receiver.errors import MissingBearerToken
from receiver.web.auth import admit, check_attempt, require_token
from receiver.web.context import app_context
from receiver.web.openapi.document import build_document

docs = Blueprint("docs", __name__)

PAGE_FILES = Path(__file__).parent / "page"
SWAGGER_UI = Path(str(files("flask_swagger_ui"))) / "dist"
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".png": "image/png"}
ASSETS = {
    "page.css": PAGE_FILES,
    "page.js": PAGE_FILES,
    "favicon-32x32.png": SWAGGER_UI,
    "swagger-ui.css": SWAGGER_UI,
    "swagger-ui-bundle.js": SWAGGER_UI,
}
HEADERS = {
    # Revalidated for each request, mostly with an empty 304.
    "Cache-Control": "private, no-cache",
    # Swagger UI's icons are data: URLs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self';"
    " style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
CHALLENGE = 'Basic realm="ordertrail docs: the password is a token of the API", charset="UTF-8"'


@docs.before_request
def require_token_or_password() -> None:
    """Raises: MissingBearerToken, TooManyAttempts."""
    given = request.authorization
    password = given.password if given and given.type == "basic" else None
    if password is None:
        require_token(is_open_to_readers=True)
        return
    token = check_attempt(request, password, app_context().settings.tokens)
    if token is None:
        raise MissingBearerToken("the password is none of the service's tokens")
    admit(token, is_open_to_readers=True)


@docs.after_request
def add_headers(answer: Response) -> Response:
    """Restrict what the page may do, and make a browser ask for the password."""
    answer.headers.update(HEADERS)
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        answer.headers.add("WWW-Authenticate", CHALLENGE)
    return answer


@docs.get("/docs")
def show_docs_page() -> Response:
    """Send the page."""
    return _send((PAGE_FILES / "page.html").read_bytes(), "text/html")


@docs.get("/docs/<name>")
def send_docs_asset(name: str) -> Response:
    """Send a script, style or image of the page."""
    if name not in ASSETS:
        raise NotFound
    return _send((ASSETS[name] / name).read_bytes(), MEDIA_TYPES[Path(name).suffix])


@docs.get("/openapi.json")
def send_openapi_document() -> Response:
    """Send the description for programs."""
    return _send(build_document(), "application/json")


def _send(content: bytes, mimetype: str) -> Response:
    answer = Response(content, mimetype=mimetype)
    answer.add_etag()
    answer.make_conditional(request)
    return answer
