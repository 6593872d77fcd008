"""The example "A courier by settings" of integrating.md, and `ordertrail fields try`."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.command import run_command
from tests.service import ROOT

SECTION = (
    (ROOT / "deploy/docs/integrating.md")
    .read_text(encoding="utf-8")
    .partition("### A courier by settings")[2]
)
BODY, SETTINGS, SHOWN = re.findall(r"^```\w*\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)[:3]
ENVIRON = dict(word.split("=", 1) for word in shlex.split(SETTINGS)) | {"DATA_DIR": "/nowhere"}


def try_map(tmp_path: Path, body: Any, *arguments: str, **environ: str) -> Result:
    file = tmp_path / "body.json"
    file.write_text(body if isinstance(body, str) else json.dumps(body))
    return run_command({**ENVIRON, **environ}, "fields", "try", "--file", str(file), *arguments)


def write_map(tmp_path: Path, field_map: Any) -> str:
    file = tmp_path / "map.json"
    file.write_text(json.dumps(field_map))
    return str(file)


def test_the_pages_example_is_what_its_settings_make_of_its_body(tmp_path: Path) -> None:
    done = try_map(tmp_path, BODY, "--account", "bikepost")
    assert (done.exit_code, done.stdout.rstrip()) == (0, SHOWN.rstrip())


def test_what_is_assumed_of_a_time_is_told_in_words(tmp_path: Path) -> None:
    own = write_map(tmp_path, {"courier_order_id": "a", "courier_status": "b", "occurred_at": "t"})
    body = {"a": 1, "b": "x", "t": "2026-04-16T09:00:00"}
    shown = try_map(tmp_path, body, "--map", own).stdout
    assert "the courier's time had no time zone: UTC is used" in shown
    shown = try_map(tmp_path, body, "--account", "bikepost", "--map", own).stdout
    assert "the courier's time had no time zone: Europe/Berlin is used" in shown
    shown = try_map(tmp_path, {**body, "t": "16.04.2026"}, "--map", own).stdout
    assert "no time found: the time of arrival counts" in shown
    assert "assumed" not in shown


def test_the_same_as_json(tmp_path: Path) -> None:
    found = json.loads(try_map(tmp_path, BODY, "--account", "bikepost", "--json").stdout)
    assert [order["courier_order_id"] for order in found["orders"]] == ["501", "502", "503"]
    assert found["orders"][0]["parcels"] == [
        {
            "tracking_number": "BP501A",
            "tracking_url": None,
            "courier_name": None,
            "status": "out_for_delivery",
            "courier_status": "On the bike",
        }
    ]
    assert found["orders"][2]["found_nothing"] == ["parcels"]
    assert [item["field"] for item in found["left_out"]] == ["orders.2.reference"]
    assert (found["unmapped_words"], found["problem"]) == (["resting"], None)


def test_a_map_in_a_file_is_tried_in_place_of_the_accounts(tmp_path: Path) -> None:
    own = write_map(tmp_path, {"courier_order_id": "a", "courier_status": "b"})
    done = try_map(tmp_path, {"a": 1, "b": "x"}, "--map", own)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "Order 1")
    done = try_map(tmp_path, {"a": 1}, "--map", own, "--account", "bikepost")
    assert done.exit_code == 1
    assert "no courier_status at 'b' (it finds nothing)" in done.stdout


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("{", "the body is not JSON"),
        ("", "the body is empty"),
        ("5", "neither an object nor an array"),
        ({"jobs": "none"}, "`orders` ('jobs') finds a text"),
        ({"jobs": [{"id": 1}]}, "no orders.0.courier_status at 'state' (it finds nothing)"),
    ],
)
def test_what_would_be_quarantined_ends_with_1(tmp_path: Path, body: Any, why: str) -> None:
    done = try_map(tmp_path, body, "--account", "bikepost")
    assert done.exit_code == 1
    assert why in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "environ", "why"),
    [
        ([], {}, "give --account, --map, or both"),
        (["--account", "tiramizoo"], {}, "tiramizoo does not use a field map"),
        (["--account", "bikepost"], {"COURIER_BIKEPOST_FIELDS": "{"}, "_FIELDS: is not JSON"),
        (["--account", "bikepost"], {"COURIER_BIKEPOST_FIELDS": "{}"}, "courier_order_id is miss"),
        (["--account", "bikepost"], {"COURIER_BIKEPOST_ZONE": "Mars"}, "is no IANA time zone"),
        (["--account", "nobody"], {}, "there is no driver 'nobody': cottoncast, "),
    ],
)
def test_what_is_wrong_before_the_body_is_read_ends_with_2(
    tmp_path: Path, arguments: list[str], environ: dict[str, str], why: str
) -> None:
    done = try_map(tmp_path, BODY, *arguments, **environ)
    assert done.exit_code == 2
    assert why in done.stderr


def test_the_account_of_the_example_has_a_sample() -> None:
    done = run_command(ENVIRON, "send", "bikepost", "--status", "delivered", "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    (job,) = json.loads(json.loads(done.stdout)["body"])["jobs"]
    assert (job["id"], job["state"]) == ("ORDERTRAIL-SAMPLE-F", "handed_over")
