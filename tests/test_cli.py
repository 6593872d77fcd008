"""The command line as a whole: its help, its exit codes, what it does where things are away."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session, sessionmaker

from receiver.cli import main
from receiver.cli.output import print_json
from receiver.couriers import DRIVERS
from tests.bodies import life, tiramizoo_order
from tests.command import HARMLESS, HOSTILE, command_json, process, run_command
from tests.service import ROOT
from tests.shop import deliver, fill

Sessions = sessionmaker[Session]
Drain = Callable[[], int]
# Cannot be read: state is missing.
BROKEN = {"uuid": "u-9"}

COMMANDS = main.command_table()
NAMES = [name for commands in COMMANDS.values() for name in commands]

# Each with what it needs to get as far as the database.
WITH_DATABASE = [
    ("order", "tiramizoo", "u-1"),
    ("orders",),
    ("orders", "--all", "--json"),
    ("events", "tiramizoo", "u-1"),
    ("explain", "tiramizoo", "u-1"),
    ("conflicts",),
    ("conflicts", "close", "tiramizoo", "u-1", "x", "--by", "Ada"),
    ("register", "tiramizoo", "u-1"),
    ("refresh", "tiramizoo", "u-1"),
    ("changes",),
    ("changes", "--follow"),
    ("messages",),
    ("messages", "show", "1"),
    ("retry", "1"),
    ("retry", "--outcome", "parked"),
    ("discard", "1", "--by", "Ada"),
    ("couriers",),
    ("tour", "tiramizoo", "t"),
    ("rebuild",),
    ("migrate",),
]


# Help


def test_help_loads_neither_the_service_nor_the_database_nor_any_command() -> None:
    script = (
        "import sys\nfrom receiver.cli.main import main\nmain(['--help'], standalone_mode=False)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    heavy = {"flask", "gevent", "sqlalchemy", "marshmallow", "rq", "redis", "rich", "psycopg"}
    ours = {"receiver.cli.session", "receiver.settings", "workers.runtime"}
    assert loaded.isdisjoint(heavy | ours)


def test_commands_load_no_flask(environ: dict[str, str], sessions: Sessions) -> None:
    script = (
        "import click, sys\nfrom receiver.cli.main import main\nctx = click.Context(main)\n"
        "for name in main.list_commands(ctx): main.get_command(ctx, name)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()).isdisjoint({"flask", "flask_smorest", "gevent", "werkzeug"})


def test_help_groups_the_commands_and_names_the_exit_codes() -> None:
    shown = run_command({}, "--help").stdout
    assert [
        line[:-1] for line in shown.splitlines() if line in {f"{section}:" for section in COMMANDS}
    ]
    assert all(f"\n  {name} " in shown for name in NAMES)
    assert main.EXIT_CODES in shown


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_there_and_its_help_begins_as_the_list_says(name: str) -> None:
    (line,) = [commands[name][1] for commands in COMMANDS.values() if name in commands]
    shown = run_command({}, name, "--help")
    assert shown.exit_code == 0
    assert "Exit codes: 0 " in shown.stdout
    first = shown.stdout.splitlines()[2].strip()
    assert first.startswith(line.rstrip("."))


def test_a_command_that_is_not_there_is_wrong_usage() -> None:
    assert run_command({}, "oders").exit_code == 2


# What is away


@pytest.mark.parametrize("arguments", WITH_DATABASE, ids=" ".join)
def test_without_a_database_one_line_says_so(
    environ: dict[str, str], arguments: tuple[str, ...]
) -> None:
    url = "postgresql://nobody:secret@127.0.0.1:1/nothing"
    waiting = ("--wait", "0") if arguments == ("migrate",) else ()
    done = run_command(environ, *arguments, *waiting, DATABASE_URL=url)
    assert done.exit_code == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("ordertrail: PostgreSQL cannot be used: ")
    assert "secret" not in line


def test_without_settings_the_run_that_was_looked_for_is_named(tmp_path: Path) -> None:
    done = run_command({}, "orders", DATA_DIR=str(tmp_path))
    assert done.exit_code == 2
    assert f"No service of `make run` was found ({tmp_path}/run.env does not exist)" in done.stderr


def test_without_tables_one_line_says_what_to_do(
    environ: dict[str, str], servers: dict[str, str]
) -> None:
    done = run_command(environ, "orders", DATABASE_URL=servers["admin"])
    assert done.exit_code == 1
    assert "run `ordertrail migrate`" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("register", "tiramizoo", "u-1", "--reference", "41"),
        ("retry", "--outcome", "quarantined"),
        ("conflicts", "close", "tiramizoo", "u-1", "CONFLICT", "--by", "Ada"),
    ],
    ids=" ".join,
)
def test_without_redis_it_is_done_all_the_same(
    environ: dict[str, str], client: FlaskClient, drain: Drain, arguments: tuple[str, ...]
) -> None:
    deliver(client, tiramizoo_order("u-1", life("created", "cancelled", "picked_up")), BROKEN)
    drain()
    (conflict,) = command_json(environ, "conflicts")["conflicts"]
    words = [conflict["id"] if word == "CONFLICT" else word for word in arguments]
    done = run_command(environ, *words, REDIS_URL="redis://127.0.0.1:1/0")
    assert done.exit_code == 0
    assert "Redis cannot be reached" in done.stderr
    assert "Traceback" not in done.output


def test_faults_of_the_environment_are_wrong_usage() -> None:
    done = run_command({"DATABASE_URL": "nonsense"}, "orders")
    assert done.exit_code == 2
    assert "REDIS_URL" in done.stderr


def test_a_fault_of_ours_is_not_hidden(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def broken() -> None:
        raise KeyError("a fault")

    monkeypatch.setattr(main, "broken_command", broken, raising=False)
    monkeypatch.setitem(main.COMMANDS["Orders"], "broken", ("receiver.cli.main", "."))
    with pytest.raises(KeyError):
        run_command(environ, "broken")


# Pipes


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_a_pipe_that_ends_is_no_failure(
    environ: dict[str, str], sessions: Sessions, how: tuple[str, ...]
) -> None:
    # More than a pipe holds.
    fill(sessions, *({"reference": f"{n}-" + "x" * 240} for n in range(600)))
    running = process(environ, "orders", "--all", *how)
    assert running.stdout
    assert running.stderr
    assert running.stdout.readline()
    running.stdout.close()
    errors = running.stderr.read()
    running.stderr.close()
    assert running.wait(60) == 0
    assert errors == ""


def test_a_pipe_gets_no_colours_and_whole_rows(environ: dict[str, str], sessions: Sessions) -> None:
    fill(sessions, {"reference": "y" * 255, "needs_attention": True})
    running = process(environ, "orders")
    shown, _ = running.communicate(timeout=60)
    assert "\x1b" not in shown
    assert "y" * 255 in shown
    assert len(shown.splitlines()) == 2


def test_a_letter_that_a_terminal_does_not_have_is_no_failure(
    environ: dict[str, str], sessions: Sessions
) -> None:
    fill(sessions, {"reference": "東京 41"})
    running = process({**environ, "PYTHONIOENCODING": "latin-1"}, "orders")
    shown, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (0, "")
    assert "?? 41" in shown


# What a courier says, on a terminal


@pytest.mark.parametrize("columns", [20, 60, 80, 100, 140, 300])
def test_a_narrow_terminal_loses_no_letter_of_what_is_shown(
    environ: dict[str, str], sessions: Sessions, columns: int
) -> None:
    uuid = "2a9eeeb3-16ba-4184-b894-c9734f613e93"
    fill(sessions, {"courier_order_id": uuid, "reference": "q" * 60, "courier_status": "word"})
    shown = run_command(environ, "orders", FORCE_COLOR="1", COLUMNS=str(columns))
    assert uuid in shown.stdout
    assert shown.stdout.count("q") == 60
    assert "…" not in shown.stdout
    if columns >= 80:
        assert all(len(line) <= columns for line in shown.stdout.splitlines())


@pytest.mark.parametrize("columns", ["80", "400"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("order", "tiramizoo", "u-1"),
        ("orders",),
        ("events", "tiramizoo", "u-1"),
        ("explain", "tiramizoo", "u-1"),
        ("changes",),
        ("messages",),
        ("messages", "show", "1"),
        ("register", "tiramizoo", "u-1", "--metadata", f"key={HOSTILE}"),
    ],
    ids=lambda it: " ".join(it[:2]) if isinstance(it, tuple) else it,
)
def test_couriers_text_is_plain_text(
    environ: dict[str, str],
    client: FlaskClient,
    drain: Drain,
    arguments: tuple[str, ...],
    columns: str,
) -> None:
    deliver(
        client,
        tiramizoo_order(
            "u-1",
            life("created", "picked_up"),
            state=HOSTILE,
            external_id=HOSTILE,
            identifier=HOSTILE,
            tracking_url=f"https://x/{HOSTILE}",
        ),
    )
    drain()
    shown = run_command(environ, *arguments, FORCE_COLOR="1", COLUMNS=columns).stdout
    assert all(char.isprintable() or char == "\n" for char in shown)
    if arguments[0] in {"order", "orders", "register"} and columns == "400":
        assert HARMLESS in shown


def test_json_is_ascii_and_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({HOSTILE: "ü\U0001f600\x80"})
    written = capsys.readouterr().out
    assert all(" " <= char <= "~" or char == "\n" for char in written)
    assert json.loads(written) == {HOSTILE: "ü\U0001f600\x80"}


def test_an_id_that_is_no_utf_8_is_wrong_usage(environ: dict[str, str]) -> None:
    assert run_command(environ, "order", "tiramizoo", "\udcff").exit_code == 2


def test_every_courier_that_can_be_connected_is_shown_with_what_it_needs() -> None:
    shown = command_json({}, "drivers")["drivers"]
    assert [driver["driver"] for driver in shown] == list(DRIVERS)
    assert command_json({}, "drivers", "uber") == {
        "drivers": [
            {
                "driver": "uber",
                "authentication": "an HMAC-SHA256 in hex in the header X-Uber-Signature",
                "webhooks": ["/webhooks/<account>/orders"],
                "field_map": None,
                "api_url": "https://api.uber.com/v1",
                "polling": ["API_TOKEN", "API_USER", "CUSTOMER_ID"],
                "settings": {"CUSTOMER_ID": "the Customer ID of the Direct Dashboard"},
            }
        ]
    }
    needed = {it["driver"]: it["field_map"] for it in shown if it["field_map"]}
    assert needed == {"fields": "required", "shipmentapi": "optional"}
    assert "COURIER_<ACCOUNT>_FIELDS" in run_command({}, "drivers", "fields").stdout
    lines = run_command({}, "drivers", "tiramizoo", "uber").stdout.splitlines()
    assert [line for line in lines if line.startswith("COURIER_<ACCOUNT>_CUSTOMER_ID")]
    assert "/webhooks/<account>/orders/<secret>" in "".join(lines)
    assert run_command({}, "drivers", "hermes").exit_code == 2
