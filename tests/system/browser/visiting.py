"""A page that is open in Chromium, with every way out of this service cut off."""

from urllib.parse import urlsplit

from playwright.sync_api import Page, Route

from tests.service import Web

DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
NARROW = {"width": 320, "height": 568}


class Visit:
    """A page that is open, and what it tried or complained of."""

    def __init__(self, page: Page, web: Web) -> None:
        self.page = page
        self.home = f"http://127.0.0.1:{web.port}"
        self.elsewhere: list[str] = []
        self.complaints: list[str] = []
        page.route("**/*", self._pass)
        page.on("console", lambda told: self._complain(told.type, told.text))
        page.on("pageerror", lambda fault: self.complaints.append(str(fault)))

    def _pass(self, route: Route) -> None:
        address = urlsplit(route.request.url)
        if f"{address.scheme}://{address.netloc}" == self.home:
            route.continue_()
        else:
            self.elsewhere.append(route.request.url)
            route.abort()

    def _complain(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(text)

    def fits(self) -> bool:
        """Whether nothing sticks out of the screen."""
        page = "document.documentElement.scrollWidth <= window.innerWidth"
        return bool(self.page.evaluate(page))
