"""Times and ids as couriers write them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from receiver.couriers.body_reader import read_fields
from receiver.couriers.parsing import Body, in_zone, parse_time, required_name
from receiver.inbox.json_body import parse_body


def parsed(value: Any) -> tuple[str, set[str]]:
    moment = in_zone(parse_time(value), "Europe/Riga")
    assert moment is not None
    assert moment.at.tzinfo is UTC
    return moment.at.isoformat().replace("+00:00", "Z"), set(moment.flags)


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("2026-11-10T08:00:00Z", "2026-11-10T08:00:00Z"),
        ("2026-11-10t08:00:00z", "2026-11-10T08:00:00Z"),
        (" 2026-11-10 08:00:00 UTC ", "2026-11-10T08:00:00Z"),
        ("2026-11-10 10:00:00 +0200", "2026-11-10T08:00:00Z"),
        ("20261110T080000Z", "2026-11-10T08:00:00Z"),
        ("2026-11-10T08:00:00,5+00", "2026-11-10T08:00:00.500000Z"),
        ("2026-11-10T08:00:00.123456789Z", "2026-11-10T08:00:00.123456Z"),
        ("2026-11-10T24:00:00Z", "2026-11-11T00:00:00Z"),
        ("2026-11-10T08:59:60Z", "2026-11-10T09:00:00Z"),
        ("2026-12-31T23:59:60.25Z", "2027-01-01T00:00:00.250000Z"),
        (1794297600, "2026-11-10T08:00:00Z"),
        (1794297600.5, "2026-11-10T08:00:00.500000Z"),
        ("1794297600", "2026-11-10T08:00:00Z"),
        (1794297600000, "2026-11-10T08:00:00Z"),
        ("1794297600000000", "2026-11-10T08:00:00Z"),
        (1794297600000000000, "2026-11-10T08:00:00Z"),
    ],
)
def test_time_is_read_in_whatever_spelling(value: Any, at: str) -> None:
    assert parsed(value) == (at, set())


@pytest.mark.parametrize(
    ("value", "at", "flags"),
    [
        ("2026-11-10T10:00:00", "2026-11-10T08:00:00Z", {"zone_assumed"}),
        ("2026-07-10 10:00:00", "2026-07-10T07:00:00Z", {"zone_assumed"}),
        ("2026-11-10 10:00", "2026-11-10T08:00:00Z", {"zone_assumed", "minute_only"}),
        ("2026-11-10T08:00Z", "2026-11-10T08:00:00Z", {"minute_only"}),
        ("2026-11-10T24:00Z", "2026-11-11T00:00:00Z", {"minute_only"}),
        ("2026-11-10", "2026-11-09T22:00:00Z", {"zone_assumed"}),
        ("20261110", "2026-11-09T22:00:00Z", {"zone_assumed"}),
        (20261110, "2026-11-09T22:00:00Z", {"zone_assumed"}),
        ("202611101000", "2026-11-10T08:00:00Z", {"zone_assumed", "minute_only"}),
        ("20261110100000", "2026-11-10T08:00:00Z", {"zone_assumed"}),
    ],
)
def test_what_a_time_does_not_say_is_flagged(value: Any, at: str, flags: set[str]) -> None:
    assert parsed(value) == (at, flags)


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            "",
            " ",
            False,
            [],
            {},
            0,
            "0",
            0.0,
            "00000000",
            -1,
            -62135596800,
            "-62135596800000",
        ),
        *("1970-01-01T00:00:00Z", "1970-01-01", "1970-01-01 01:00", "1970-01-01T01:00:00+01:00"),
        *("19700101", "1969-12-31T19:00:00-05:00", "0001-01-01T00:00:00", "0001-01-01T00:00:00Z"),
        *("0001-01-01T00:00:00+14:00", "00010101", "0000-00-00", "0000-00-00 00:00:00"),
        *("-0001-11-30T00:00:00+00:00", "-0001-11-30 00:00:00"),
    ],
)
def test_zero_value_is_no_time(value: Any) -> None:
    assert parse_time(value) is None


@pytest.mark.parametrize(
    "value",
    [
        *(
            "soon",
            "10-12",
            "1400",
            "09:30",
            "10.11.2026 10:00",
            "2026-02-30",
            "2026-13-01T00:00:00Z",
        ),
        *("2026-11-10T25:00:00Z", "2026-11-10T24:00:01Z", "2026-11-10T08:00:61Z", "nan", "inf"),
        *("9999-12-31T23:59:59-14:00", "9999-12-31T24:00:00Z", "9" * 400, 1e300, 86_400, 20261340),
        *(True, ["2026-11-10"], {"date": "2026-11-10"}, "2026-11-10T08:00:00+25:00"),
    ],
)
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (of whatever part)
        parse_time(value)


def test_the_end_of_the_calendar_has_no_zone_behind_it() -> None:
    moment = in_zone(parse_time("9999-12-31T23:59:59"), "America/New_York")
    assert moment is not None
    assert moment.at == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class NamedSchema(Body):
    id = required_name()


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("41", "41"),
        ("0", "0"),
        ('"0041"', "0041"),
        ("-7", "-7"),
        ("41.0", "41"),
        ("4.1e1", "41"),
        ("1.5", "1.5"),
        ("9007199254740993", "9007199254740993"),
        ("340282366920938463463374607431768211456", "340282366920938463463374607431768211456"),
        ("1" * 255, "1" * 255),
        ("1e20", "100000000000000000000"),
    ],
)
def test_an_id_may_be_a_number_of_any_length(written: str, name: str) -> None:
    found, left_out = read_fields(NamedSchema, parse_body(f'{{"id": {written}}}'.encode()))
    assert (found, left_out) == ({"id": name}, ())
