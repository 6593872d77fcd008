"""A failure's log line says where it came through, by file and line, and holds no values."""

import re

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import ArgumentError

from receiver.errors import UnreadableBody
from receiver.inbox.json_body import parse_body
from receiver.logs import MOST_FRAMES, failure_fields


def recurse() -> None:
    recurse()


def test_our_files_are_named_from_the_top_and_libraries_by_their_package() -> None:
    with pytest.raises(UnreadableBody) as ours:
        parse_body(b"secret-value")
    with pytest.raises(ArgumentError) as library:
        create_engine("secret-value")
    fields = failure_fields(ours.value)
    assert re.fullmatch(r"receiver/inbox/json_body\.py:\d+", fields["where"])
    assert fields["frames"][-1].startswith(fields["where"])
    assert failure_fields(library.value)["frames"][-1].startswith("sqlalchemy/engine/url.py:")
    assert "secret-value" not in f"{fields} {failure_fields(library.value)}"


def test_a_recursion_without_end_is_one_short_line() -> None:
    with pytest.raises(RecursionError) as endless:
        recurse()
    assert len(failure_fields(endless.value)["frames"]) == MOST_FRAMES
