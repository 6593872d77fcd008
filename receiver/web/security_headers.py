"""Add security headers to every answer.

Only the docs and the console are pages, and set headers of their own. No other answer may be taken
for a page, framed, or fetched by another site's page. URLs contain tokens, so no link carries them.
"""

from flask import Flask, Response

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def init_app(app: Flask) -> None:
    """Add the headers that an answer lacks. Call this first: the hook then runs last."""
    app.after_request(_add_missing_headers)


def _add_missing_headers(answer: Response) -> Response:
    present = {name.lower() for name, _ in answer.headers}
    answer.headers.extend([pair for pair in HEADERS.items() if pair[0].lower() not in present])
    return answer
