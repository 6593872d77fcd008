"""JSON with line breaks, numbers with their nouns, and durations, as people read them."""

from datetime import timedelta

import pytest

from receiver.text import count_noun, duration_text, indent_json


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (
            '{"a":[],"b":{"c":[1,{}]}}',
            '{\n  "a": [],\n  "b": {\n    "c": [\n      1,\n      {}\n    ]\n  }\n}',
        ),
        ('{"x":"\\u001b[31m{,:\\"ü"}', '{\n  "x": "\\u001b[31m{,:\\"ü"\n}'),
        ("[]", "[]"),
        (" 12 ", "12"),
    ],
)
def test_json_is_shown_with_line_breaks(body: str, shown: str) -> None:
    assert indent_json(body) == shown


@pytest.mark.parametrize(
    "body",
    ["{broken", '{"n": 1e400}', '["\\ud800"]', "9" * 5000, "[" * 100_000 + "]" * 100_000],
    ids=["not JSON", "too large a float", "half a surrogate pair", "too long a number", "too deep"],
)
def test_what_cannot_be_shown_with_line_breaks_is_unchanged(body: str) -> None:
    assert indent_json(body) == body


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 orders"), (1, "1 order"), (1_234, "1,234 orders")]
)
def test_a_count_has_its_noun_in_the_right_number(count: int, text: str) -> None:
    assert count_noun(count, "order") == text


def test_a_count_that_reached_its_limit_says_so() -> None:
    assert count_noun(10_000, "message waits", "messages wait", limit=10_000) == (
        "10,000 or more messages wait"
    )


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(seconds=1), "1 second"),
        (timedelta(seconds=90), "90 seconds"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(hours=18), "18 hours"),
        (timedelta(days=2, hours=12), "2.5 days"),
    ],
)
def test_a_duration_is_shown_in_a_unit_that_fits(duration: timedelta, text: str) -> None:
    assert duration_text(duration) == text
