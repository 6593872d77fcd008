"""The console as people use it: in Chromium, on a day that the sandbox's couriers lived."""

import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask.testing import FlaskClient
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from receiver.queue.doorbell import ring_doorbell
from tests.bodies import (
    after,
    cottoncast_shipment,
    cottoncast_status,
    history_entry,
    life,
    package,
    shipmentapi_order,
    tiramizoo_order,
)
from tests.conftest import API_TOKEN
from tests.service import Web
from tests.shop import deliver
from tests.system.browser.day import CONTRADICTED, STORY
from tests.system.browser.layout import console_pages, layout_faults
from tests.system.browser.shown import Shown, shown_day
from tests.system.browser.visiting import DESK, NARROW, PHONE, Visit

# The day takes four seconds to live, and a busy machine ten times that.
pytestmark = [pytest.mark.xdist_group("console"), pytest.mark.timeout(300)]

BEARER = {"Authorization": f"Bearer {API_TOKEN}"}
PAGES = {
    "dashboard": "/ops",
    "alerts": "/ops/alerts",
    "orders": "/ops/orders?limit=25",
    "order": f"/ops/orders?q={STORY}",
    "contradicted": f"/ops/orders?q={CONTRADICTED}",
    "found": "/ops/orders?q=S-10",
    "not-found": "/ops/orders?q=S-9999999",
    "messages": "/ops/messages",
    "parked": "/ops/messages?outcome=parked",
    "conflicts": "/ops/conflicts",
    "audit": "/ops/audit",
    "performance": "/ops/performance",
    "no-conflicts": "/ops/conflicts?account=shipmentapi",
    "nothing": "/ops/nothing",
    "no-order": "/ops/order?account=tiramizoo&id=nothing",
}
SCREENS: dict[str, dict[str, Any]] = {
    "desk": {"viewport": DESK, "color_scheme": "light"},
    "phone": {"viewport": PHONE, "color_scheme": "light"},
    "narrow": {"viewport": NARROW, "color_scheme": "dark"},
    "dark": {"viewport": DESK, "color_scheme": "dark"},
}
# Where `make screenshots` wants which; how much of a page they show, and in how many colours.
KEPT = os.environ.get("ORDERTRAIL_SCREENSHOTS")
PICTURED = re.compile(
    r"(dashboard|alerts|orders|order|messages|message|conflicts)-(desk|phone)|(dashboard|order)-dark"
)
TALLEST, COLOURS = 2600, 200


@pytest.fixture(scope="module")
def shown(
    chromium: Browser,
    new_database: Callable[[str], str],
    servers: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Shown]:
    # A Redis of its own, beyond those of the test workers.
    redis_url = f"{servers['valkey']}?db=15"
    logs = tmp_path_factory.mktemp("console")
    with shown_day(chromium, new_database("console"), redis_url, logs) as day:
        yield day


@pytest.fixture
def visit(shown: Shown) -> Iterator[Visit]:
    """Somebody who is signed in; afterwards nobody complained, and nothing went elsewhere."""
    with shown.visit() as visit:
        yield visit
        assert visit.complaints == []
        assert visit.elsewhere == []


def open_pages(visit: Visit) -> Iterator[str]:
    """Open each page that the console has, and some in several states."""
    for name, path in PAGES.items():
        visit.page.goto(f"{visit.home}{path}")
        yield name
    visit.page.goto(f"{visit.home}/ops/messages?outcome=quarantined")
    visit.page.locator("tbody th a").first.click()
    visit.page.get_by_role("heading", name="Body").wait_for()
    # What is clicked is there before its style is.
    visit.page.wait_for_load_state()
    yield "message"
    message_id = visit.page.url.rpartition("/")[2]
    visit.page.goto(f"{visit.home}{PAGES['order']}")
    order_id = parse_qs(urlsplit(visit.page.url).query)["id"][0]
    values = {"message_id": message_id, "account": "tiramizoo", "order_id": order_id}
    for path in console_pages(values):
        if path not in PAGES.values():
            visit.page.goto(f"{visit.home}{path}")
            yield path.replace("/", "-")


# What people come for


@pytest.mark.parametrize("screen", ["desk", "phone"])
def test_an_order_is_found_by_its_reference_and_says_why_it_is_where_it_is(
    shown: Shown, screen: str
) -> None:
    with shown.visit(**SCREENS[screen]) as visit:
        page = visit.page
        page.keyboard.press("/")
        page.keyboard.type(STORY)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name=STORY).wait_for()
        said = page.locator(".because").inner_text()
        assert re.match(
            r"Delivered since .*Set by the courier's status 'delivered'", said, re.DOTALL
        )
        drawn = page.get_by_role("img", name="Timeline of the order")
        for lane in ("Events", "Webhooks", "Polls", "Plans"):
            expect(drawn.get_by_text(lane, exact=True)).to_be_visible()
        # The lost hook's news came by a poll; a word that we do not know does not count.
        picked_up = page.get_by_role("row").filter(has_text="picked_up")
        assert "h" in picked_up.inner_text()
        odd = page.get_by_role("row").filter(has_text="rerouted")
        assert "the courier's word 'rerouted' is not in our map" in odd.inner_text()
        assert page.locator("tr.chosen").inner_text().startswith("20")
        poll = page.locator("details", has_text="first to report picked_up")
        poll.locator("summary").click()
        assert f'"external_id": "{STORY}"' in poll.locator("pre").inner_text()
        assert poll.locator(".kind").inner_text() == "poll"


def test_the_courier_that_fell_silent_is_seen_at_once(visit: Visit) -> None:
    page = visit.page
    wrong = page.locator(".alerts li", has_text="has sent no webhook since")
    assert "cottoncast" in wrong.inner_text()
    link = wrong.get_by_role("link", name="Runbook").get_attribute("href")
    assert (link or "").endswith("/ops/runbook#courier-silent")
    card = page.locator(".couriers li", has=page.get_by_role("heading", name="cottoncast"))
    assert "courier silent" in card.inner_text()
    assert re.search(r"Last webhook\s+[5-6] h", card.inner_text())
    # And its orders are one click away.
    card.get_by_role("link", name="cottoncast").click()
    page.locator("tbody tr").nth(3).wait_for()


def test_a_message_that_could_not_be_read_is_read_once_the_cause_is_mended(
    shown: Shown, visit: Visit
) -> None:
    page = visit.page
    page.get_by_role("link", name="Quarantined").click()
    page.locator("tbody th a").last.click()
    assert "no courier_status at 'status'" in page.locator(".failure").inner_text()
    assert '"state": "accepted"' in page.locator("pre").inner_text()
    page.get_by_role("button", name="Retry").click()
    assert "processed again" in page.get_by_role("status").inner_text()
    # The worker beside this page has the mended field map.
    for _ in range(100):
        if page.locator("h1 .outcome").inner_text() == "applied":
            break
        page.wait_for_timeout(100)
        # No clock runs beside the day: as its sweep would, where Redis was late for the first ring.
        ring_doorbell(shown.redis)
        page.reload()
    assert page.locator("h1 .outcome").inner_text() == "applied"
    page.locator(".facts a").click()
    assert "info received" in page.get_by_role("heading", level=1).inner_text()


def test_a_message_that_needs_nothing_is_discarded(visit: Visit) -> None:
    page = visit.page
    page.goto(f"{visit.home}/ops/messages?outcome=parked")
    page.locator("tbody th a").first.click()
    page.get_by_label("Why it is not needed").fill("a test of theirs")
    page.get_by_role("button", name="Discard").click()
    assert "discarded by Ann: a test of theirs" in page.locator("main").inner_text()


def test_an_alert_is_snoozed(visit: Visit) -> None:
    page = visit.page
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.get_by_role("heading", name="History").wait_for()
    wrong = page.locator(".alerts li", has_text="has sent no webhook since")
    wrong.get_by_text("Snooze, or add a note").click()
    wrong.get_by_label("What").select_option("snooze for 4 hours")
    wrong.get_by_label("Note").fill("they look into it")
    wrong.get_by_role("button", name="Save").click()
    assert "not pushed meanwhile" in page.get_by_role("status").inner_text()
    assert re.search("Acknowledged by Ann .*they look into it", wrong.inner_text())


def test_many_messages_are_discarded_by_their_reason(visit: Visit) -> None:
    page = visit.page
    page.goto(f"{visit.home}/ops/messages?outcome=quarantined")
    # Not by its text alone: a form with a field named `contains` confuses that search.
    page.locator("summary", has_text="Discard many").click()
    page.get_by_label("Only where the reason contains").fill("no such reason")
    page.get_by_label("Why they are not needed").fill("a test of theirs")
    page.get_by_role("button", name="Discard all quarantined").click()
    assert page.get_by_role("status").inner_text().startswith("Discarded: 0 messages")


def test_a_conflict_is_closed(visit: Visit) -> None:
    page = visit.page
    page.goto(f"{visit.home}{PAGES['contradicted']}")
    page.get_by_label("Note").fill("the depot has it")
    page.get_by_role("button", name="Close").click()
    assert page.get_by_role("status").inner_text() == "The conflict was closed."
    assert "by Ann, the depot has it" in page.locator("main").inner_text()
    assert page.locator(".attention").count() == 0


def test_a_courier_is_asked_now(visit: Visit) -> None:
    page = visit.page
    page.goto(f"{visit.home}{PAGES['order']}")
    page.get_by_role("button", name="Refresh").click()
    assert "The courier will be polled" in page.get_by_role("status").inner_text()


# Who gets in


def test_signing_in_and_out(shown: Shown) -> None:
    with shown.context() as context:
        visit = Visit(context.new_page(), shown.web)
        page = visit.page
        page.goto(f"{visit.home}/ops/messages?outcome=parked")
        # By keyboard alone: the name has the focus.
        page.keyboard.type("Ann")
        page.keyboard.press("Tab")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("The API token is wrong")
        expect(page.get_by_label("API token")).to_be_focused()
        page.keyboard.type(API_TOKEN)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Messages").wait_for()
        assert page.url.endswith("/ops/messages?outcome=parked")
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/ops")
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("heading", name="Ordertrail").wait_for()
        assert context.cookies() == []
        page.go_back()
        page.reload()
        page.get_by_role("heading", name="Ordertrail").wait_for()


def test_a_page_of_another_site_can_neither_act_nor_frame(shown: Shown) -> None:
    """Another port of this host is the worst that can be: browsers send it our cookie."""
    with shown.visit() as visit:
        evil = "http://127.0.0.1:9/evil"
        form = f"""<form method=post action="{visit.home}/ops/messages/retry">
            <input name=outcome value=quarantined></form><iframe src="{visit.home}/ops"></iframe>"""

        def serve(route: Route) -> None:
            route.fulfill(body=form, content_type="text/html")

        visit.page.route(evil, serve)
        visit.page.goto(evil)
        framed = visit.page.frames[1]
        assert "Ordertrail" not in framed.content()
        with visit.page.expect_navigation() as waiting:
            visit.page.evaluate("document.forms[0].submit()")
        assert waiting.value.status == 403
        assert "ordertrail_visit=" in waiting.value.request.all_headers()["cookie"]


# What couriers write

MARKUP = "<img src=x onerror=hacked=1><script>hacked=1</script>\"'{{7*7}}\u202e</pre></svg>&lt;"
LINK = "javascript:hacked=1"


def hostile_bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    """A body of each courier with markup in every text that it may write as it likes."""
    shown = {"url": LINK, "name": MARKUP}
    proof = {"signature": shown, "photo_proof": shown}
    yield (
        "tiramizoo",
        tiramizoo_order(
            f"uuid {MARKUP}",
            life("created", "cancelled", "picked_up"),
            history=[history_entry(MARKUP, after(60), "picked_up", **proof)],
            external_id=f"reference {MARKUP}",
            identifier=f"identifier {MARKUP}",
            tracking_code=f"code {MARKUP}",
            tracking_url=LINK,
            cancellation_reason=MARKUP,
            packages=[package(MARKUP, MARKUP)],
        ),
    )
    yield "tiramizoo", tiramizoo_order(f"word {MARKUP}", state=MARKUP)
    yield "tiramizoo", {"uuid": MARKUP, MARKUP: MARKUP}
    shipment = cottoncast_shipment(MARKUP, carrierName=MARKUP, trackingurl=LINK)
    yield "cottoncast", cottoncast_status("C", order_id=MARKUP, ref=MARKUP, shipments=[shipment])
    yield "cottoncast", cottoncast_status(MARKUP, after(5), order_id=f"word {MARKUP}", ref=MARKUP)
    yield (
        "shipmentapi",
        shipmentapi_order(
            MARKUP,
            MARKUP,
            client_reference=f"reference {MARKUP}",
            reason=MARKUP,
            carrier=MARKUP,
            tracking_number=MARKUP,
            tracking_url=LINK,
            label_url=LINK,
        ),
    )


def test_what_couriers_write_is_text_and_nothing_else(
    chromium: Browser, web: Web, client: FlaskClient, drain: Callable[[], int]
) -> None:
    for account, body in hostile_bodies():
        deliver(client, body, account=account)
    drain()
    context = chromium.new_context(extra_http_headers=BEARER)
    visit = Visit(context.new_page(), web)
    page = visit.page
    lists = ["/ops", "/ops/alerts", "/ops/orders", "/ops/messages?outcome=", "/ops/conflicts"]
    seen, ahead = set[str](), [f"{visit.home}{path}" for path in lists]
    while ahead:
        place = ahead.pop()
        answer = page.goto(place)
        assert answer is not None
        assert answer.status == 200, place
        seen.add(place)
        assert page.evaluate("typeof hacked") == "undefined", place
        assert page.locator("img, script:not([src^='/ops/static/'])").count() == 0, place
        assert page.locator("a[href^=javascript]").count() == 0, place
        assert "49" not in page.locator("h1").inner_text()
        found = page.locator("main a[href^='/ops/order?'], main a[href^='/ops/messages/']")
        links = found.evaluate_all("links => links.map((it) => it.href)")
        ahead += [it for it in set(links) - seen if it not in ahead and not it.endswith("/raw")]
    assert len(seen) >= len(lists) + 2 * len(list(hostile_bodies())) - 1
    assert "<script>hacked=1</script>" in page.locator("main").inner_text()
    # Nothing tried to go elsewhere, and the policy had nothing to refuse.
    assert visit.elsewhere == []
    assert visit.complaints == []
    context.close()


# How it looks


@pytest.mark.timeout(900)
@pytest.mark.parametrize("screen", SCREENS)
def test_every_page_fits_its_screen_and_everybody(
    shown: Shown, screen: str, tmp_path: Path
) -> None:
    with shown.visit(**SCREENS[screen]) as visit:
        faults: dict[str, Any] = {}
        for name in open_pages(visit):
            keep(visit.page, tmp_path, f"{name}-{screen}")
            if found := layout_faults(visit.page):
                faults[name] = found
            accessible = Axe().run(visit.page)
            if accessible.violations_count:
                faults[f"{name}, by axe"] = accessible.generate_report()
        assert faults == {}
        assert visit.elsewhere == []


# Names as couriers and shops may write them: long, from right to left, of several code points.
NAMES = (
    "x" * 255,
    "طلب-١٢٣٤ رقم",
    "🧦👩‍👩‍👧‍👦" * 20,
    "W" * 24,
    "Lieferung an die Nachbarin im Hinterhaus",
)


@pytest.mark.parametrize("screen", ["desk", "narrow"])
def test_names_of_any_length_and_direction_leave_every_page_in_one_piece(
    chromium: Browser, web: Web, client: FlaskClient, drain: Callable[[], int], screen: str
) -> None:
    for number, name in enumerate(NAMES):
        states = life("created", "cancelled", "picked_up")
        parcel = package(name, f"{number} {name}"[:255])
        told: dict[str, Any] = {
            "external_id": name,
            "identifier": f"I{name}"[:255],
            "packages": [parcel],
        }
        order = tiramizoo_order(f"u{name}"[:255], states, cancellation_reason=name, **told)
        deliver(client, order, {"uuid": name, "state": name})
    drain()
    context = chromium.new_context(extra_http_headers=BEARER, **SCREENS[screen])
    visit = Visit(context.new_page(), web)
    page = visit.page
    faults = {}
    orders = [f"/ops/order?account=tiramizoo&id={quote(f'u{name}'[:255])}" for name in NAMES]
    lists = ["/ops", "/ops/alerts", "/ops/orders", "/ops/orders?q=xxx", "/ops/conflicts"]
    messages = ["/ops/messages", "/ops/messages?outcome=applied", "/ops/messages/1"]
    for path in [*lists, *messages, *orders, f"/ops/orders?q={'y' * 255}", f"/ops/{'z' * 255}"]:
        page.goto(f"{visit.home}{path}")
        if found := layout_faults(page):
            faults[path] = found
    assert faults == {}
    page.goto(f"{visit.home}/ops/orders")
    # An account's name is not broken by the long name beside it.
    lines = (
        "it => { const all = document.createRange(); all.selectNodeContents(it);"
        " return all.getClientRects().length; }"
    )
    assert page.locator("td[data-name=Account]").first.evaluate(lines) == 1
    context.close()


def keep(page: Page, tmp_path: Path, name: str) -> None:
    """A picture of the page, in a file that is not large."""
    size = page.viewport_size
    assert size is not None
    height = page.evaluate("document.documentElement.scrollHeight")
    # Not a picture of the whole page: one of the runbook takes half a minute.
    page.set_viewport_size({"width": size["width"], "height": min(height, TALLEST)})
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    page.set_viewport_size(size)
    small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    place = Path(KEPT) if KEPT and PICTURED.fullmatch(name) else tmp_path
    small.save(place / f"{name}.png", optimize=True)


def test_everything_works_without_javascript(shown: Shown) -> None:
    with shown.visit(java_script_enabled=False) as visit:
        page = visit.page
        page.get_by_role("searchbox").fill(STORY)
        page.get_by_role("button", name="Find").click()
        page.get_by_role("heading", name=STORY).wait_for()
        page.get_by_role("link", name="Messages").click()
        page.get_by_role("link", name="parked").click()
        page.get_by_role("button", name="Retry all parked").click()
        assert "processed again" in page.get_by_role("status").inner_text()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("heading", name="Ordertrail").wait_for()


def test_keys_lead_to_every_page(visit: Visit) -> None:
    page = visit.page
    for key, heading in (
        ("o", "Orders"),
        ("m", "Messages"),
        ("c", "Conflicts"),
        ("p", "Performance"),
        ("d", "Dashboard"),
    ):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.get_by_role("heading", name=heading, level=1).wait_for()
        page.wait_for_load_state()
    # The first thing that Tab reaches leads past the rest.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"


def test_the_first_page_keeps_its_numbers_fresh(visit: Visit, shown: Shown) -> None:
    page = visit.page
    page.clock.install()
    page.goto(f"{visit.home}/ops")
    tile = page.locator(".tiles li", has_text="Quarantined").locator(".value")
    before = int(tile.inner_text())
    token = "/webhooks/tiramizoo-munich/orders/munich-token"
    assert shown.web.open(token, method="POST", data=b"no JSON").status_code == 400
    page.clock.fast_forward(20_000)
    expect(tile).to_have_text(str(before + 1))
    # Where nobody answers, what is shown says that it is old.
    page.route("**/ops", lambda route: route.abort())
    page.clock.fast_forward(20_000)
    expect(page.locator("[data-refresh].stale")).to_be_visible()
    visit.complaints.clear()


def test_times_are_shown_by_the_readers_clock_where_wanted(shown: Shown) -> None:
    with shown.visit(timezone_id="Asia/Tokyo") as visit:
        page = visit.page
        page.goto(f"{visit.home}{PAGES['order']}")
        first = page.locator("tbody time").first
        utc, stamp = first.inner_text(), first.get_attribute("datetime")
        assert stamp == utc.replace(" ", "T") + "Z"
        page.get_by_role("button", name="Show local times").click()
        assert first.inner_text() != utc
        page.reload()
        assert first.inner_text() != utc
        page.get_by_role("button", name="Show UTC").click()
        assert first.inner_text() == utc
