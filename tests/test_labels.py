"""Labels that came inside messages: which one counts, how it is served, and its end."""

import base64
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from tests.bodies import after, shipmentapi_order
from tests.console import sign_in
from tests.shop import deliver
from tests.test_rebuild import rebuild

ORDER = "/v1/orders/shipmentapi/SA-2001"
LABEL = f"{ORDER}/label"
FIRST, SECOND = b"%PDF-1.4 Thujaweg 1", b"^XA^FDThujaweg 2^FS^XZ"


def labelled(minutes: int, content: bytes | str, order: str = "SA-2001") -> dict[str, Any]:
    label = base64.b64encode(content).decode() if isinstance(content, bytes) else content
    changed = after(minutes).isoformat()
    return shipmentapi_order(order, status_changed_at=changed, label=label)


def send(shop: FlaskClient, drain: Callable[[], int], *bodies: dict[str, Any]) -> None:
    for body in bodies:
        deliver(shop, body, account="shipmentapi")
        drain()


def get(shop: FlaskClient, path: str) -> Any:
    return shop.get(path).json


def stored_labels(sessions: sessionmaker[Session]) -> Any:
    with sessions() as session:
        return session.execute(text("SELECT content_type, content FROM labels")).all()


def test_label_is_served_as_the_file_it_is(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    body = labelled(1, FIRST) | {"tracking_number": "DPD 1/2"}
    send(shop, drain, body)
    assert get(shop, ORDER)["label_url"] == LABEL
    answer = shop.get(LABEL)
    assert (answer.status_code, answer.data, answer.mimetype) == (200, FIRST, "application/pdf")
    assert answer.headers["Content-Disposition"] == "attachment; filename=label-SA-2001.pdf"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    tag = answer.headers["ETag"]
    assert not tag.startswith("W/")
    unchanged = shop.get(LABEL, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.data, unchanged.headers["ETag"]) == (304, b"", tag)
    head = shop.head(LABEL)
    assert (head.status_code, head.data, head.content_length) == (200, b"", len(FIRST))
    assert shop.get("/v1/orders/shipmentapi/dpd%201%2F2/label").data == FIRST
    assert stored_labels(sessions) == [("application/pdf", FIRST)]


def test_of_several_labels_the_newest_counts_in_any_order_of_arrival(
    shop: FlaskClient,
    drain: Callable[[], int],
    sessions: sessionmaker[Session],
    environ: dict[str, str],
) -> None:
    bodies = {"older": labelled(1, FIRST), "newer": labelled(2, SECOND), "none": labelled(3, "")}
    for order in permutations(bodies):
        name = "-".join(order)
        send(shop, drain, *(bodies[each] | {"order_reference": name} for each in order))
        answer = shop.get(f"/v1/orders/shipmentapi/{name}/label")
        assert (answer.data, answer.mimetype) == (SECOND, "application/zpl"), name
    before = stored_labels(sessions)
    with sessions.begin() as session:
        session.execute(text("DELETE FROM labels WHERE order_id % 2 = 0"))
    assert rebuild(environ)[0] == 0
    assert sorted(stored_labels(sessions)) == sorted(before)


def test_another_label_is_a_change_of_the_order(
    shop: FlaskClient, drain: Callable[[], int]
) -> None:
    send(shop, drain, labelled(1, FIRST), labelled(1, FIRST) | {"more": 1}, labelled(2, SECOND))
    changes = get(shop, "/v1/changes")["changes"]
    assert ["label_url" in change["changed"] for change in changes] == [True, True]


@pytest.mark.parametrize(
    "label",
    [
        b"<html><script>alert(1)</script>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"",
        "no base64",
        "data:text/html;base64,PHNjcmlwdD4=",
    ],
)
def test_what_is_no_label_is_left_out_and_costs_nothing_else(
    shop: FlaskClient, drain: Callable[[], int], label: bytes | str
) -> None:
    send(shop, drain, labelled(1, label))
    order = get(shop, ORDER)
    assert (order["label_url"], order["status"]) == (None, "info_received")
    assert get(shop, LABEL)["code"] == "label_not_found"
    [message] = get(shop, "/v1/messages")["messages"]
    left_out = [item["field"] for item in message["left_out"] or []]
    assert left_out == (["label_url"] if label else [])


def test_url_of_the_courier_counts_before_the_path_of_a_label(
    shop: FlaskClient, drain: Callable[[], int]
) -> None:
    url = "https://example.com/1.pdf"
    send(shop, drain, labelled(1, url))
    refused = get(shop, LABEL)
    assert (refused["status"], refused["code"]) == (404, "label_not_found")
    assert url in refused["detail"]
    send(shop, drain, labelled(2, FIRST))
    assert (get(shop, ORDER)["label_url"], shop.get(LABEL).data) == (url, FIRST)
    missing = get(shop, "/v1/orders/shipmentapi/nobody/label")
    assert (missing["status"], missing["code"]) == (404, "order_not_found")


def test_label_ends_with_the_personal_data_and_none_comes_back(
    shop: FlaskClient,
    drain: Callable[[], int],
    sessions: sessionmaker[Session],
    environ: dict[str, str],
) -> None:
    send(shop, drain, labelled(1, FIRST), labelled(1, FIRST, "other"))
    assert shop.delete(f"{ORDER}/personal-data").status_code == 204
    order = get(shop, ORDER)
    assert (order["label_url"], shop.get(LABEL).status_code) == (None, 404)
    assert get(shop, "/v1/changes")["changes"][-1]["changed"] == ["label_url"]
    send(shop, drain, labelled(2, SECOND))
    assert shop.get(LABEL).status_code == 404
    assert rebuild(environ)[0] == 0
    assert stored_labels(sessions) == [("application/pdf", FIRST)]


def test_label_is_deleted_with_its_order(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    sample = "ORDERTRAIL-SAMPLE-S"
    send(shop, drain, labelled(1, FIRST, sample))
    assert len(stored_labels(sessions)) == 1
    assert shop.delete(f"/v1/orders/shipmentapi/{sample}").status_code == 204
    assert stored_labels(sessions) == []


def test_console_offers_the_label_of_an_order_for_download(
    shop: FlaskClient, client: FlaskClient, drain: Callable[[], int]
) -> None:
    send(shop, drain, labelled(1, FIRST))
    download = "/ops/label?account=shipmentapi&id=SA-2001"
    assert client.get(download).status_code == 303
    sign_in(client)
    assert download.replace("&", "&amp;") in client.get(
        "/ops/order?account=shipmentapi&id=SA-2001"
    ).get_data(as_text=True)
    answer = client.get(download)
    assert (answer.data, answer.mimetype) == (FIRST, "application/pdf")
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_label_is_erased_with_an_order_that_takes_in_an_erased_registration(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    send(shop, drain, labelled(1, FIRST))
    order = {"account": "shipmentapi", "courier_order_id": "DPD-77"}
    assert shop.post("/v1/orders", json=order).status_code == 201
    assert shop.delete("/v1/orders/shipmentapi/DPD-77/personal-data").status_code == 204
    send(shop, drain, labelled(2, SECOND) | {"tracking_number": "DPD-77"})
    assert get(shop, ORDER)["label_url"] is None
    assert stored_labels(sessions) == []
