"""Which bodies are read as JSON, and that no number or id is changed by reading it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import UnreadableBody
from receiver.inbox.json_body import parse_body


@pytest.mark.parametrize(
    ("raw", "value"),
    {
        "65 bits": (b"400000000000000000001", 400000000000000000001),
        "400 digits": (b"1" + b"0" * 400, 10**400),
        "400 digits below zero": (b"-1" + b"0" * 400, -(10**400)),
        "5,000 digits": (b"9" * 5_000, "9" * 5_000),
        "too large a float": (b"1e999", "1e999"),
        "a long fraction": (b"0.12345678901234567890", "0.12345678901234567890"),
        "half a surrogate pair": (b'"Max \\ud83d"', "Max \ufffd"),
        "the other half": (b'"\\udc00 Max"', "\ufffd Max"),
        "a whole pair": (b'"\\ud83d\\ude00"', "\U0001f600"),
        "a backslash before u": (b'"\\\\ud83d"', "\\ud83d"),
        "half a pair in UTF-8": (b'"\xed\xa0\x80"', "\ufffd"),
        "U+0000": (b'"a\\u0000b"', "a\u2400b"),
    }.values(),
)
def test_odd_values_are_read(raw: bytes, value: Any) -> None:
    assert parse_body(b'{"a": ' + raw + b', "b": [1]}') == {"a": value, "b": [1]}


def test_a_byte_order_mark_is_ignored() -> None:
    assert parse_body(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    "raw", [b"", b" ", b"[]", b"1", b"{", b"\xff", b'{"a": NaN}', b"[" * 9_000]
)
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(UnreadableBody):
        parse_body(raw)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text("abc"), values),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc"), VALUES))
def test_what_json_can_write_is_read_unchanged(body: dict[str, Any]) -> None:
    assert parse_body(json.dumps(body).encode()) == body
    assert parse_body(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")) == body


def test_a_nul_or_half_a_pair_makes_no_two_ids_one() -> None:
    ids = [rb"ab", rb"a\u0000b", rb"a\ud83db", rb"a\\u0000b", rb"a\\\u0000b"]
    read = [parse_body(b'{"id":"' + written + b'"}')["id"] for written in ids]
    assert read == ["ab", "a\u2400b", "a\ufffdb", r"a\u0000b", "a\\\u2400b"]
