"""Numbers with their nouns, and durations, as messages to people have them."""

from datetime import timedelta

import pytest

from receiver.text import count_noun, duration_text


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
