"""A page of the console that says what went wrong, and what to do."""

from http import HTTPStatus

from flask import Response, make_response, render_template

from receiver.web.problems import Problem

WHAT_TO_DO = {
    HTTPStatus.UNAUTHORIZED: "Sign in, and try once more.",
    HTTPStatus.FORBIDDEN: "Open the page anew and send the form from there.",
    HTTPStatus.NOT_FOUND: "Look for it by another of its names: the box above knows all of them.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This is done by a button on a page, not by an address.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Couriers are told to come again, so nothing is lost."
    " Open this page anew in a moment; /readyz and the log tell more.",
}


def failure_page(problem: Problem) -> Response:
    """Render a problem as a page."""
    page = render_template(
        "console/failure.html",
        title=problem.status.phrase,
        message=problem.detail,
        what_to_do=WHAT_TO_DO.get(problem.status, ""),
    )
    return make_response(page)
