"""Labels in base64: which are kept, and which are left out."""

import base64

import pytest

from receiver.couriers import parsing
from receiver.couriers.body_reader import read_fields
from receiver.couriers.inline_label import (
    MAX_LABEL_BYTES,
    optional_label,
    optional_url_or_label,
    parse_label,
)
from receiver.couriers.snapshot import Label, LeftOut

PDF = b"%PDF-1.4\nan address"


class LabelledBody(parsing.Body):
    label = optional_label()
    either = optional_url_or_label()


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/pdf", PDF),
        ("image/png", b"\x89PNG\r\n\x1a\nrest"),
        ("image/gif", b"GIF89a rest"),
        ("image/jpeg", b"\xff\xd8\xff\xe0rest"),
        ("application/zpl", b"^XA^FO50,50^FDHello^FS^XZ"),
        ("application/zpl", b"CT~~CD,~CC^~CT~\r\n^XA^XZ"),
    ],
)
def test_label_is_recognised_by_its_first_bytes(content_type: str, content: bytes) -> None:
    text = in_base64(content)
    lines = "\r\n ".join(text[start : start + 8] for start in range(0, len(text), 8))
    for given in (text, f" {lines}\n", f"data:text/html;base64,{text}"):
        assert parse_label(given) == Label(content, content_type)


@pytest.mark.parametrize(
    "text",
    [
        in_base64(b"<html><script>alert(1)</script>"),
        in_base64(b"<svg xmlns='http://www.w3.org/2000/svg'>"),
        in_base64(b" %PDF-1.4 after a blank"),
        "data:application/pdf;base64,",
        f"{in_base64(PDF)}!",
        in_base64(PDF)[:-1],
        "data:application/pdf,%25PDF-1.4",
        "data:text/html,x",
        "^XA^XZ",
        "\u00e4",
        in_base64(PDF + b"x" * MAX_LABEL_BYTES),
        in_base64(PDF + b"x" * 5_000_000),
    ],
)
def test_anything_else_is_left_out_and_flagged(text: str) -> None:
    body, left_out = read_fields(LabelledBody, {"label": text, "either": text})
    assert body == {"label": None, "either": None}
    assert [item.field for item in left_out] == ["label", "either"]
    assert not any("alert" in item.why for item in left_out)


def test_url_and_label_in_one_field() -> None:
    url = "https://example.com/1.pdf"
    assert read_fields(LabelledBody, {"either": url})[0]["either"] == url
    label = read_fields(LabelledBody, {"either": in_base64(PDF), "label": ""})
    assert label == ({"label": None, "either": Label(PDF, "application/pdf")}, ())
    number, left_out = read_fields(LabelledBody, {"either": 41, "label": {"a": 1}})
    assert number == {"label": None, "either": None}
    assert left_out == (
        LeftOut("label", "Not a text."),
        LeftOut("either", "Not the URL of a web page."),
    )
