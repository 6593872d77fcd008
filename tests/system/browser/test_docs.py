"""The docs page as people see it: in Chromium, with every way out of this service cut off."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.conftest import API_TOKEN
from tests.service import Web
from tests.system.browser.visiting import DESK, PHONE, Visit
from tests.test_description import OPERATIONS, PLACE


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def visit(request: pytest.FixtureRequest, chromium: Browser, filled: Web) -> Iterator[Visit]:
    """The page, opened as a person does: any name, and the token as the password."""
    context = chromium.new_context(
        viewport=request.param, http_credentials={"username": "ann", "password": API_TOKEN}
    )
    made = Visit(context.new_page(), filled)
    made.page.goto(f"{made.home}/v1/docs")
    made.page.wait_for_selector(".opblock")
    yield made
    context.close()


def picture(page: Page, tmp_path: Path, name: str) -> None:
    page.screenshot(path=tmp_path / f"{name}.png", full_page=True)


def test_it_shows_every_operation_and_asks_nobody_else(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    shown = page.locator(".opblock-summary-path")
    assert shown.count() == len(OPERATIONS)
    found = {
        f"{method.inner_text().lower()} {path.get_attribute('data-path')}"
        for method, path in zip(
            page.locator(".opblock-summary-method").all(), shown.all(), strict=True
        )
    }
    assert found == set(PLACE.values())
    for each in shown.all():
        assert each.is_visible()
    picture(page, tmp_path, "closed")
    assert visit.fits()
    assert visit.elsewhere == []
    assert visit.complaints == []


def test_it_opens_an_operation_with_its_examples(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.locator("#operations-orders-list_orders .opblock-summary-control").click()
    page.wait_for_selector(".opblock-body")
    text = page.locator(".opblock-body").inner_text()
    assert "Only orders with one of these statuses" in text
    picture(page, tmp_path, "open")
    page.locator(".responses-table .tablinks", has_text="Schema").first.click()
    page.locator(".models-control").click()
    page.locator(".models .json-schema-2020-12__title", has_text="Order").first.wait_for()
    picture(page, tmp_path, "schemas")
    assert visit.fits()
    assert visit.elsewhere == []
    assert visit.complaints == []


def test_a_request_is_tried_out_with_the_token(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.locator("button.authorize").first.click()
    # The first of the two kinds of token.
    page.locator(".modal-ux input[type=text], .modal-ux input[type=password]").first.fill(API_TOKEN)
    page.locator(".modal-ux button.authorize").first.click()
    page.locator(".modal-ux .btn-done").first.click()
    page.locator(".opblock-summary-control", has_text="/v1/statuses").click()
    page.locator(".try-out__btn").click()
    with page.expect_response("**/v1/statuses") as waiting:
        page.locator("button.execute").click()
    answer = waiting.value
    assert answer.status == 200
    sent: dict[str, Any] = answer.request.all_headers()
    assert sent["authorization"] == f"Bearer {API_TOKEN}"
    page.wait_for_selector(".live-responses-table .response-col_status")
    picture(page, tmp_path, "tried")
    assert visit.elsewhere == []
    assert visit.complaints == []


def test_it_is_dark_where_the_browser_is(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html.dark-mode")
    picture(page, tmp_path, "dark")
    page.emulate_media(color_scheme="light")
    page.wait_for_selector("html:not(.dark-mode)")
