"""The docs page: who may open it, and that it needs nothing from elsewhere."""

import base64
import re

import pytest
from flask.testing import FlaskClient

from receiver.web.openapi.docs_page import ASSETS
from tests.conftest import API_TOKEN
from tests.shop import problem_of

PARTS = [f"/v1/docs/{name}" for name in ASSETS]
OPEN_TO_PASSWORDS = ["/v1/docs", *PARTS, "/v1/openapi.json"]


def basic(password: str, user: str = "anybody") -> dict[str, str]:
    told = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {told}"}


@pytest.mark.parametrize("path", OPEN_TO_PASSWORDS)
def test_a_token_opens_it_as_bearer_or_as_password(client: FlaskClient, path: str) -> None:
    for headers in ({}, basic("wrong")):
        answer = client.get(path, headers=headers)
        problem_of(answer, 401)
        schemes = [told.split()[0] for told in answer.headers.getlist("WWW-Authenticate")]
        assert schemes == ["Bearer", "Basic"]
    for headers in ({"Authorization": f"Bearer {API_TOKEN}"}, basic(API_TOKEN)):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 200
        assert answer.data


@pytest.mark.parametrize("user", ["", "ann@shop.example"])
def test_the_name_beside_the_password_does_not_matter(client: FlaskClient, user: str) -> None:
    assert client.get("/v1/docs", headers=basic(API_TOKEN, user)).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic " + base64.b64encode(API_TOKEN.encode()).decode(),
        basic("")["Authorization"],
        basic(API_TOKEN[:-1])["Authorization"],
        basic("test-metrics-token")["Authorization"],
        basic("wrong", user=API_TOKEN)["Authorization"],
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Digest " + base64.b64encode(f"x:{API_TOKEN}".encode()).decode(),
    ],
)
def test_nothing_else_opens_it(client: FlaskClient, value: str) -> None:
    problem_of(client.get("/v1/docs", headers={"Authorization": value}), 401)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/orders"),
        ("GET", "/v1/orders/tiramizoo/docs"),
        ("GET", "/v1/statuses"),
        ("GET", "/v1/docsx"),
        ("POST", "/v1/orders"),
        ("POST", "/v1/docs"),
        ("DELETE", "/v1/openapi.json"),
        ("POST", "/v1/messages/retry"),
        ("GET", "/metrics"),
    ],
)
def test_a_password_opens_nothing_else(client: FlaskClient, method: str, path: str) -> None:
    # A browser sends it along by itself, whoever's page makes it ask.
    answer = client.open(path, method=method, headers=basic(API_TOKEN))
    problem_of(answer, 401)
    schemes = [told.split()[0] for told in answer.headers.getlist("WWW-Authenticate")]
    assert schemes == ["Bearer"]


@pytest.mark.parametrize("path", ["/v1/docs", *PARTS])
def test_it_is_sent_with_strict_headers(shop: FlaskClient, path: str) -> None:
    answer = shop.get(path)
    policy = dict(
        told.split(" ", 1) for told in answer.headers["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "http" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_names_nothing_but_its_own_parts(shop: FlaskClient) -> None:
    page = shop.get("/v1/docs")
    assert page.mimetype == "text/html"
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {f"/v1/{name}" for name in named} == {*PARTS, "/v1/openapi.json"}
    assert "<script>" not in page.text
    assert " style=" not in page.text
    assert " on" not in re.sub(r">[^<]*<", "><", page.text)


@pytest.mark.parametrize("path", PARTS)
def test_a_part_is_what_its_name_says(shop: FlaskClient, path: str) -> None:
    wanted = {"js": {"text/javascript"}, "css": {"text/css"}, "png": {"image/png"}}
    answer = shop.get(path)
    assert answer.mimetype in wanted[path.rpartition(".")[2]]
    again = shop.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "name", ["page.html", "guide.md", "../docs.py", "%2e%2e/docs.py", "VERSION", "x", "a/b"]
)
def test_it_has_no_other_parts(shop: FlaskClient, name: str) -> None:
    problem_of(shop.get(f"/v1/docs/{name}"), 404)
