"""Chromium, for the tests of pages."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser; with its module, since playwright leaves an event loop running meanwhile."""
    program = shutil.which("chromium")
    if program is None:
        assert "CI" not in os.environ, "chromium is missing"
        pytest.skip("chromium is missing: apt-get install --no-install-recommends chromium")
    with sync_playwright() as playwright:
        # A container has no rights to Chromium's own sandbox; it sees our pages only.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
