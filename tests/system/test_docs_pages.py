"""The pages for developers, ops and maintainers, and the README: all that can be pasted is run."""

import dataclasses
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.couriers.contract import Driver, Topic
from receiver.couriers.polling import Api
from receiver.couriers.snapshot import Snapshot
from tests.push_shop import SECRET
from tests.service import ROOT
from tests.test_main_job import is_ready, wait_for

PAGES = ROOT / "deploy" / "docs"
README = ROOT / "README.md"
CONTRIBUTING = ROOT / ".github" / "CONTRIBUTING.md"
COURIER_PAGE = PAGES / "adding-a-courier.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"^`([^`\n]+)`:\n\n```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(page: Path, language: str) -> list[str]:
    return [text for of, text in BLOCK.findall(page.read_text()) if of == language]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory as the clone is for who follows the README, beside a `make run` of its own."""
    here = tmp_path_factory.mktemp("clone")
    (here / ".venv").symlink_to(sys.prefix)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environ = {"PATH": os.environ["PATH"], "DATA_DIR": str(here / ".data"), "PORT": str(port)}
    (here / "port").write_text(str(port))
    with (here / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "receiver.cli.main", "run"],
            cwd=ROOT,
            env={**environ, "WEB_CONCURRENCY": "1"},
            stdout=log,
            stderr=log,
        )
        try:
            wait_for("ready", lambda: "Ordertrail is ready" in (here / "log").read_text())
            assert is_ready(port)
            yield here
        finally:
            process.terminate()
            process.wait(30)


def run(place: Path, *argv: str, text: str = "", **environ: str) -> str:
    """What a program wrote, which ended well."""
    kept = {name: os.environ[name] for name in ("TMPDIR",) if name in os.environ}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        argv,
        input=text,
        cwd=place,
        env={"PATH": path, **kept, **environ},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def here(place: Path, text: str) -> str:
    """A page's text for the service that runs here."""
    return text.replace("127.0.0.1:8000", f"127.0.0.1:{(place / 'port').read_text()}")


def told(text: str) -> str:
    """Output without what differs from run to run: numbers of messages, times of arrival."""
    text = re.sub(r"message \d+", "message N", text)
    return re.sub(r"(message N +)\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", r"\1T", text).strip()


@pytest.mark.xdist_group("docs pages")
@pytest.mark.timeout(180)
def test_the_five_minutes_of_the_readme_are_as_they_stand_there(place: Path) -> None:
    tour = README.read_text().split("## Five minutes", 1)[1].split("\n## ", 1)[0]
    steps = BLOCK.findall(tour)
    assert len(steps) > 8
    commands = [text for language, text in steps if language == "sh" and "make run" not in text]
    # One shell, as the reader has one; a line that no output has tells the steps apart.
    script = here(place, "\necho; echo =====\n".join(commands))
    written = run(place, "bash", "-eu", text=script).split("=====")
    expected = []
    for number, (language, _) in enumerate(steps):
        if language == "sh" and "make run" not in steps[number][1]:
            follows = steps[number + 1] if number + 1 < len(steps) else ("", "")
            expected.append(told(follows[1]) if follows[0] == "text" else "")
    assert [told(it) for it in written] == expected


@pytest.mark.xdist_group("docs pages")
@pytest.mark.timeout(180)
def test_the_hour_of_the_developers_page_works(place: Path) -> None:
    page = PAGES / "integrating.md"
    secrets = dict(
        line.split("=", 1) for line in (place / ".data" / "secrets.env").read_text().splitlines()
    )
    environ = {
        "ORDERTRAIL_URL": here(place, "http://127.0.0.1:8000"),
        "ORDERTRAIL_TOKEN": secrets["API_TOKENS"],
        "PUSH_SECRET": SECRET,
        "HOOK_SECRET": secrets["COURIER_TIRAMIZOO_SECRETS"],
    }
    for command in blocks(page, "sh"):
        assert "200 in" in run(place, "bash", "-eu", text=here(place, command))
    program = "\n".join(blocks(page, "python"))
    program += """
assert with_hook({"a": 1}, "https://h", "t") == {
    "a": 1, "web_hook_url": "https://h/webhooks/tiramizoo/orders/t"}
register("shipmentapi", "SA-9", "S-9")
register("shipmentapi", "SA-9", "S-9")
(order,) = where_is("S-9")
assert (order["status"], order["courier_order_id"]) == ("pending", "SA-9")
order, tag = refreshed("shipmentapi", "SA-9", None)
assert order["reference"] == "S-9"
assert refreshed("shipmentapi", "SA-9", tag) == (None, tag)

class Enough(Exception):
    pass

seen, kept = [], []
def handle(change):
    seen.append(change)

def save(cursor):
    kept.append(cursor)
    raise Enough

for _ in range(2):
    try:
        follow(lambda: kept[-1] if kept else None, save, handle)
    except Enough:
        pass
    if len(kept) == 1:
        assert any(change["reference"] == "S-9" for change in seen), seen
        register("shipmentapi", "SA-10", "S-10")
assert [change["reference"] for change in seen][-1] == "S-10"
assert len(seen) == len({change["cursor"] for change in seen})
assert correct("shipmentapi", "SA-9", reference=None, metadata={"a": "1"})["metadata"] == {"a": "1"}
assert correct("shipmentapi", "SA-9", tracking="stopped")["tracking"] == "stopped"
assert take_back("shipmentapi", "SA-9")
assert where_is("S-9") == []
import os, time
hook = f"{os.environ['ORDERTRAIL_URL']}/webhooks/tiramizoo/orders/{os.environ['HOOK_SECRET']}"
httpx.post(hook, json={"uuid": "u-heard", "state": "dispatched"}).raise_for_status()
# It is answered before it is folded.
ends = time.monotonic() + 30
while ordertrail.get("/v1/orders/tiramizoo/u-heard").is_error and time.monotonic() < ends:
    time.sleep(0.05)
assert not take_back("tiramizoo", "u-heard")
"""
    run(place, sys.executable, "-", text=program, **environ)


@pytest.mark.xdist_group("docs pages")
@pytest.mark.timeout(180)
def test_the_commands_of_the_operators_page_work(place: Path) -> None:
    for command in blocks(PAGES / "operating.md", "sh"):
        # Couriers that nobody asks are warnings, so it ends with 1.
        shown = run(place, "bash", "-u", text=here(place, command) + "\n[ $? -le 1 ]")
        assert "\n0 broken, " in shown


@pytest.mark.timeout(180)
def test_a_courier_is_added_by_its_page_alone(tmp_path: Path) -> None:
    for name in ("receiver", "workers", "tests", "deploy"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "Procfile", "README.md", "LICENSE", "Makefile"):
        shutil.copy(ROOT / name, tmp_path / name)
    files = FILE.findall(COURIER_PAGE.read_text())
    for name, text in files:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert [name for name, _ in files] == [
        "tests/payloads/parcelfox/webhook.json",
        "receiver/couriers/parcelfox.py",
        "tests/couriers/test_parcelfox.py",
    ]
    written = run(
        tmp_path,
        *(sys.executable, "-m", "pytest", "-q", "-k"),
        "(parcelfox or every_driver_is_found) and not any_",
        *("tests/couriers", "tests/test_layers.py"),
        "tests/test_orders.py::test_sample_of_each_driver_is_read_back",
    )
    assert re.search(r"\b[2-9]\d passed", written), written
    run(tmp_path, sys.executable, "-m", "ruff", "check", "receiver", "tests/couriers")
    run(tmp_path, sys.executable, "-m", "ruff", "format", "--check", "receiver", "tests/couriers")


@pytest.mark.parametrize("part", [Driver, Topic, Api, Snapshot], ids=lambda it: it.__name__)
def test_the_page_of_couriers_explains_every_part_of_the_contract(part: type[Any]) -> None:
    table = COURIER_PAGE.read_text().partition(f"| part of `{part.__name__}` |")[2]
    named = re.findall(r"`(\w+)`", table.partition("\n\n")[0])
    assert {field.name for field in dataclasses.fields(part)} - set(named) == set()


@pytest.mark.parametrize(
    "page",
    [README, *sorted(PAGES.glob("*.md")), *sorted((ROOT / ".github").glob("*.md"))],
    ids=lambda it: it.name,
)
def test_links_between_the_pages_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(BLOCK.sub("", page.read_text())):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize(
    "page", [CONTRIBUTING, COURIER_PAGE, PAGES / "architecture.md"], ids=lambda it: it.name
)
def test_files_that_a_page_for_contributors_names_are_there(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"`((?:receiver|workers|tests|deploy)/[\w/.]+)`", text))
    assert len(named) > 5
    invented = {name for name, _ in FILE.findall(text)}
    assert {name for name in named - invented if not (ROOT / name).exists()} == set()
