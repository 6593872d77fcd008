"""The image and the compose file: linted, read by a schema, and held against the code."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # it is there for the description's tools
from compose_spec import PyCompose

from receiver.settings import ACCOUNT_NAME, GENERAL
from receiver.standalone.launch import COURIERS, read_procfile
from tests.service import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
OURS = ("release", "web", "worker", "clock")
# An image of an exact version: it comes out the same tomorrow.
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+(\.\d+)?(-[\w.-]+)?")


@pytest.fixture
def compose() -> Any:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))


def instructions(name: str) -> list[str]:
    """A Dockerfile's instructions of one kind, continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.split(" ", 1)[1] for line in text.splitlines() if line.startswith(f"{name} ")]


def test_the_dockerfile_passes_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [str(hadolint), "--no-color", str(DEPLOY / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_image_runs_the_procfiles_web_as_nobody_in_particular() -> None:
    commands = read_procfile(ROOT / "Procfile")
    (command,) = instructions("CMD")
    assert json.loads(command) == commands["web"]
    assert instructions("USER") == ["10001:10001"]
    bases = [line.split()[0] for line in instructions("FROM")]
    assert len(bases) == 2
    assert all(map(PINNED.fullmatch, bases))
    (port,) = instructions("EXPOSE")
    (environment,) = [line for line in instructions("ENV") if "PORT=" in line]
    assert f"PORT={port}" in environment.split()
    assert "/livez" in instructions("HEALTHCHECK")[0]


def test_the_image_takes_what_it_copies_and_the_context_holds_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in let_in)
    copied = {line.split()[0] for line in instructions("COPY") if not line.startswith("--from")}
    assert copied - {"."} <= let_in
    # What the wheel is built of, and the lock.
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"][
        "build"
    ]["targets"]["wheel"]
    assert let_in == {
        *("LICENSE", "pyproject.toml", "deploy/requirements.lock"),
        *wheel["packages"],
        *wheel["force-include"],
    }


def pins(lock: str) -> set[str]:
    """The packages of a lock, each with its version."""
    text = (DEPLOY / lock).read_text(encoding="utf-8")
    return set(re.findall(r"^[a-z0-9-]+==\S+", text, re.MULTILINE))


def test_production_installs_no_servers_and_the_versions_of_the_tests() -> None:
    production, run = pins("requirements.lock"), pins("requirements-embedded.lock")
    assert production < run < pins("requirements-dev.lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for needed in project["optional-dependencies"]["embedded"]:
        (name,) = re.findall(r"^[a-z-]+", needed)
        assert not any(pin.startswith(f"{name}==") for pin in production)
        assert any(pin.startswith(f"{name}==") for pin in run)


def validated(told: Any) -> None:
    """Raises: ValueError and the like where it is no Compose file, or names what is not there."""
    PyCompose.from_json(json.dumps(told)).validate()


def test_the_compose_file_is_one(compose: Any) -> None:
    validated(compose)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told["services"]["web"].update(restart="sometimes"),
        lambda told: told["services"]["web"].update(networks=["nowhere"]),
        lambda told: told["services"]["web"].update(helthcheck={}),
        lambda told: told["services"]["web"]["secrets"].append("nobody_knows"),
    ],
)
def test_its_check_sees_what_is_wrong(compose: Any, spoil: Callable[[Any], None]) -> None:
    spoil(compose)
    with pytest.raises(Exception, match=r"sometimes|nowhere|helthcheck|nobody_knows"):
        validated(compose)


def test_compose_runs_the_procfiles_lines(compose: Any) -> None:
    commands = read_procfile(ROOT / "Procfile")
    told = {name: compose["services"][name] for name in OURS}
    found = {
        name: [sys.executable if word == "python" else word for word in it["command"]]
        for name, it in told.items()
        if "command" in it
    }
    assert found == {name: commands[name] for name in OURS if name != "web"}
    for name in ("web", "worker", "clock"):
        needed = told[name]["depends_on"]["release"]["condition"]
        assert needed == "service_completed_successfully"


def test_web_processes_fit_the_memory_on_a_host_of_any_size(compose: Any) -> None:
    """A web process takes up to 110 MB once warm; for some seconds a reload has twice as many."""
    web = compose["services"]["web"]
    assert web["deploy"]["resources"]["limits"]["memory"] == "1g"
    (environment,) = [line for line in instructions("ENV") if "PORT=" in line]
    processes = int(web["environment"]["WEB_CONCURRENCY"])
    assert f"WEB_CONCURRENCY={processes}" in environment.split()
    assert 2 * processes * 110 < 1024
    # With those of two workers and the clock, and what psql and the release need.
    (most,) = re.findall(
        r"max_connections=(\d+)", " ".join(compose["services"]["postgres"]["command"])
    )
    assert 19 * processes + 16 * 3 + 10 < int(most)


def test_compose_ends_a_worker_or_clock_that_hangs(compose: Any) -> None:
    (environment,) = [line for line in instructions("ENV") if "PORT=" in line]
    (path,) = re.findall(r"PROGRESS_PATH=(\S+)", environment)
    for name in ("worker", "clock"):
        service = compose["services"][name]
        assert service["healthcheck"]["test"] == ["CMD", "ordertrail", "alive", "--kill"]
        assert service["restart"] == "unless-stopped"
        # It is theirs alone, and can be written.
        assert [str(Path(path).parent)] == service["tmpfs"]


def test_compose_gives_settings_that_there_are_and_secrets_by_file(compose: Any) -> None:
    secrets = compose["secrets"]
    for name in OURS:
        service = compose["services"][name]
        for setting, value in service["environment"].items():
            if setting == "WEB_CONCURRENCY":  # gunicorn's
                continue
            assert setting.endswith("_FILE")
            bare = setting.removesuffix("_FILE")
            assert bare in GENERAL.fields or ACCOUNT_NAME.fullmatch(bare)
            assert value.removeprefix("/run/secrets/") in secrets
        assert set(service["secrets"]) <= secrets.keys()
    environment = compose["services"]["web"]["environment"]
    required = {name for name, it in GENERAL.fields.items() if it.required}
    assert {f"{name}_FILE" for name in required} <= environment.keys()
    assert {f"COURIER_{name.upper()}_SECRETS_FILE" for name in COURIERS} <= environment.keys()
    # The comment at its top makes each of them.
    top = COMPOSE.read_text(encoding="utf-8").partition("\nname:")[0]
    assert all(name in top for name in secrets)
    assert not re.search(r"(?i)password: *['\"]?\w", COMPOSE.read_text(encoding="utf-8"))


def test_compose_pins_images_and_opens_nothing_but_nginx(compose: Any) -> None:
    services = compose["services"]
    images = {name: it["image"] for name, it in services.items() if name not in OURS}
    assert [name for name, image in images.items() if not PINNED.fullmatch(image)] == []
    open_to_all = {
        name
        for name, it in services.items()
        for port in it.get("ports", [])
        if not port.startswith("127.0.0.1:")
    }
    assert open_to_all == {"nginx"}
    assert compose["networks"]["inside"]["internal"] is True
    for name in OURS:
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert ("outside" in services[name]["networks"]) == (name in {"worker", "clock"})


def test_compose_mounts_what_is_there(compose: Any) -> None:
    # The certificate is the operator's.
    theirs = {"./nginx/tls"}
    mounted = {
        volume.split(":")[0]
        for it in compose["services"].values()
        for volume in it.get("volumes", [])
        if volume.startswith("./")
    }
    assert [path for path in mounted - theirs if not (DEPLOY / path).exists()] == []


def test_valkey_keeps_its_data_and_drops_nothing() -> None:
    lines = (DEPLOY / "valkey" / "valkey.conf").read_text(encoding="utf-8").splitlines()
    settings = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    assert settings["appendonly"] == "yes"
    assert settings["maxmemory-policy"] == "noeviction"
