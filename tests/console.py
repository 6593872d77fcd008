"""Somebody at the console, without a browser: signed in, and sending its forms."""

import re
from datetime import UTC, datetime
from html import unescape

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import API_TOKEN

FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')


def sign_in(client: FlaskClient, token: str = API_TOKEN, **more: str) -> TestResponse:
    return client.post("/ops/signin", data={"name": "Ann", "token": token} | more)


def form_token(client: FlaskClient) -> str:
    """What stands in the forms of whoever is signed in."""
    found = FORM_TOKEN.search(text_of(client.get("/ops/orders")))
    assert found is not None
    return found[1]


def send(client: FlaskClient, address: str, **fields: str) -> TestResponse:
    """Send a form of a page."""
    return client.post(address, data={"form_token": form_token(client), **fields})


def text_of(answer: TestResponse) -> str:
    return answer.get_data(as_text=True)


def seen(answer: TestResponse) -> str:
    """The text of a page as it is read: without tags, spaces drawn together."""
    body = re.sub(r"<(head|svg|select).*?</\1>", " ", text_of(answer), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def utc_now() -> datetime:
    return datetime.now(UTC)
