"""Headers that every answer has, whoever asked for what.

Nothing here is a page but the docs and the console, which say themselves what may be in them. All
else is never taken for one, framed, or fetched by another site's page; a courier's text in it stays
text. Addresses hold tokens, so they go nowhere with a link.
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
    """Add what an answer lacks. Called first, so that it comes last and sees what others set."""
    app.after_request(_complete)


def _complete(answer: Response) -> Response:
    given = {name.lower() for name in answer.headers.keys()}  # noqa: SIM118 (else it has pairs)
    # Not by setdefault, which looks through all headers twice, each time.
    answer.headers.extend([it for it in HEADERS.items() if it[0].lower() not in given])
    return answer
