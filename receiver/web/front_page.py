"""GET /: where the API's description and the console are, for whoever has only the address."""

from flask import Blueprint, Response, jsonify, render_template, request, url_for

from receiver.web.console.session_guard import HOME

front_page = Blueprint("front_page", __name__)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Vary": "Accept",
}


@front_page.get("/")
def show_front_page() -> Response:
    """Name the entrances: as a page for browsers, as JSON for all others. Needs no token."""
    entrances = {
        "documentation": url_for("docs.show_docs_page"),
        "openapi": url_for("docs.send_openapi_document"),
        "console": HOME,
        "readiness": url_for("ops.show_readiness"),
    }
    answer = jsonify({"service": "Ordertrail", **entrances})
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        answer = Response(render_template("console/front_page.html", **entrances))
    answer.headers.update(HEADERS)
    return answer
