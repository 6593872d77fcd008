"""GET /v1/docs: the description for people, a page that needs nothing but this service.

The page's program (Swagger UI) comes from a package that is installed beside us; nothing is fetched
from elsewhere, which Content-Security-Policy makes sure of.

A browser has no way to send a bearer token with an address that somebody opens. So the page, what
it is made of and /v1/openapi.json can also be had with a password: any user name, and an API token
as the password. They only tell what routes there are. Nothing that tells of an order, or changes
anything, takes a password: a browser sends it along by itself, also when another site's page asks
it to. What the page is made of is no secret, and asks for the token all the same: that all under
/v1 does is easier to rely on than a list of exceptions.
"""

from functools import cache
from importlib.resources import files
from pathlib import Path

from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import NotFound

from receiver.web.openapi.build import description

docs = Blueprint("docs", __name__)

OURS = Path(__file__).parent / "page"
SWAGGER_UI = Path(str(files("flask_swagger_ui"))) / "dist"

KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".png": "image/png",
}

ASSETS = {
    "page.css": OURS / "page.css",
    "page.js": OURS / "page.js",
    "favicon-32x32.png": SWAGGER_UI / "favicon-32x32.png",
    "swagger-ui.css": SWAGGER_UI / "swagger-ui.css",
    "swagger-ui-bundle.js": SWAGGER_UI / "swagger-ui-bundle.js",
}

HEADERS = {
    # Asked for anew each time, and as a rule answered by an empty 304.
    "Cache-Control": "private, no-cache",
    # Styles that stand in the page's elements are Swagger UI's own; its icons are data: addresses.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self';"
    " style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

# Where a password will do.
PAGE = "/v1/docs"
DESCRIPTION = "/v1/openapi.json"
CHALLENGE = 'Basic realm="ordertrail docs: the password is an API token", charset="UTF-8"'


@docs.get("/docs")
def show_page() -> Response:
    """The page itself."""
    return _sent(OURS / "page.html")


@docs.get("/docs/<name>")
def show_asset(name: str) -> Response:
    """What the page is made of."""
    if name not in ASSETS:
        raise NotFound
    return _sent(ASSETS[name])


@docs.get("/openapi.json")
def show_description() -> Response:
    """What the page shows, for programs."""
    answer = Response(description(), mimetype="application/json")
    answer.headers["Cache-Control"] = "no-cache"
    answer.add_etag()
    answer.make_conditional(request)
    return answer


def _sent(file: Path) -> Response:
    answer = Response(_read(file), mimetype=KINDS[file.suffix])
    answer.headers.update(HEADERS)
    answer.add_etag()
    answer.make_conditional(request)
    return answer


@cache
def _read(file: Path) -> bytes:
    return file.read_bytes()


def takes_password(incoming: Request) -> bool:
    """Whether this is the page, a part of it, or the description it shows."""
    return incoming.method in {"GET", "HEAD"} and (
        incoming.path in {PAGE, DESCRIPTION} or incoming.path.startswith(f"{PAGE}/")
    )


def password(incoming: Request) -> str | None:
    """The password that came along, where one will do."""
    given = incoming.authorization
    if given is None or given.type != "basic" or not takes_password(incoming):
        return None
    return given.password
