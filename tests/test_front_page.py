"""GET / leads whoever has only the address to the description and the console."""

from importlib.metadata import version

import pytest
from flask.testing import FlaskClient

from tests.shop import problem_of

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def test_a_browser_gets_a_page_and_everybody_else_json(client: FlaskClient) -> None:
    page = client.get("/", headers={"Accept": BROWSER})
    assert page.mimetype == "text/html"
    assert 'href="/v1/docs"' in page.text
    assert 'href="/ops"' in page.text
    for accepted in ("*/*", "application/json", ""):
        answer = client.get("/", headers={"Accept": accepted})
        assert answer.mimetype == "application/json"
        assert answer.get_json()["documentation"] == "/v1/docs"
        assert version("ordertrail") not in answer.text
    assert client.head("/").status_code == 200


@pytest.mark.parametrize("path", ["/nowhere", "/v2/orders", "/index.html"])
def test_a_path_that_does_not_exist_is_a_problem_in_our_words(
    client: FlaskClient, path: str
) -> None:
    problem = problem_of(client.get(path), 404)
    assert problem["code"] == "path_not_found"
    assert "requested URL" not in problem["detail"]
    assert problem_of(client.post("/livez"), 405)["code"] == "method_not_allowed"
