"""The wheel: what is in it, and that the service runs from it where no tree is in sight."""

import http
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from receiver.standalone.launch import read_procfile
from tests.service import ROOT, Web, free_port, running, wait_until

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSTALLED = "receiver/standalone/installed"
OF_THE_TREE = {
    f"{INSTALLED}/Procfile",
    f"{INSTALLED}/deploy/env.example",
    f"{INSTALLED}/deploy/gunicorn.conf.py",
    f"{INSTALLED}/deploy/runbook.md",
}


def build(what: str, source: Path, into: Path) -> Path:
    """Build with what is installed, as pip does without isolation: nothing is fetched."""
    code = f"from hatchling.build import build_{what} as build; print(build({str(into)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return into / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as others get it: made from the sdist, which is made from the tree."""
    made = tmp_path_factory.mktemp("dist")
    with tarfile.open(build("sdist", ROOT, made)) as sdist:
        sdist.extractall(made, filter="data")
    (source,) = (path for path in made.iterdir() if path.is_dir())
    return build("wheel", source, made)


def in_the_tree() -> set[str]:
    """The files of both packages, less what Python and the tools leave there."""
    return {
        str(path.relative_to(ROOT))
        for package in ("receiver", "workers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_both_packages_what_the_procfile_needs_and_nothing_else(
    wheel: Path,
) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}
    assert names == in_the_tree() | OF_THE_TREE
    endings = {Path(name).suffix for name in names}
    assert endings >= {".py", ".typed", ".mako", ".css", ".js", ".html"}


def test_what_the_procfile_names_is_laid_out_in_the_wheel_as_in_the_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        for name in OF_THE_TREE:
            in_tree = ROOT / Path(name).relative_to(INSTALLED)
            assert opened.read(name) == in_tree.read_bytes()
    commands = read_procfile(ROOT / "Procfile")
    named = {word for argv in commands.values() for word in argv if (ROOT / word).is_file()}
    named -= {sys.executable}
    assert {f"{INSTALLED}/{word}" for word in named} <= OF_THE_TREE


def test_the_procfile_is_the_one_that_was_promised() -> None:
    """CONTRACT.md's, word for word: hosts are set up after it."""
    assert (ROOT / "Procfile").read_text(encoding="utf-8").splitlines() == [
        "release: ordertrail migrate",
        'web: gunicorn -c deploy/gunicorn.conf.py "receiver.app:create_app()"',
        "worker: python -m workers.worker",
        "clock: python -m workers.clock",
    ]


def test_the_version_stands_in_one_place(wheel: Path) -> None:
    assert wheel.name == f"ordertrail-{PROJECT['version']}-py3-none-any.whl"
    says = f'"{PROJECT["version"]}"'
    files = [path for path in in_the_tree() if path.endswith(".py")]
    assert [path for path in files if says in (ROOT / path).read_text(encoding="utf-8")] == []


def test_the_pythons_that_are_promised_are_those_that_pip_lets_in(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        lines = opened.read(name).decode().splitlines()
    assert "Requires-Python: >=3.11" in lines
    told = [line for line in lines if line.startswith("Classifier: Programming Language")]
    minors = [line.rpartition(".")[2] for line in told if " :: 3." in line]
    assert minors == ["11", "12", "13", "14"]


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """The wheel installed where it comes before the tree."""
    target = tmp_path / "site"
    pip = ["-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([sys.executable, *pip, "--target", str(target), str(wheel)], check=True)
    return target


@pytest.fixture
def fresh_database(servers: dict[str, str], worker_id: str) -> Iterator[str]:
    """A database without tables: the release makes them."""
    name = f"ot_{worker_id}_packaging"
    with psycopg.connect(servers["admin"], autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name}")
    yield servers["postgres"].replace("%7B%7D", name)
    with psycopg.connect(servers["admin"], autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_procfile_runs_from_the_wheel_where_no_tree_is_in_sight(
    installed: Path, environ: dict[str, str], fresh_database: str, tmp_path: Path
) -> None:
    """A body is kept by web, folded by the worker, and shown; the clock has queued its jobs."""
    port = free_port()
    env = {
        **environ,
        "DATABASE_URL": fresh_database,
        "PORT": str(port),
        "WEB_CONCURRENCY": "1",
        "PYTHONPATH": str(installed),
        "PATH": os.pathsep.join([str(installed / "bin"), str(Path(sys.executable).parent)]),
    }
    place = installed / INSTALLED
    commands = read_procfile(place / "Procfile")
    where = [sys.executable, "-c", "import receiver, workers.folding.drain as d; print(d.__file__)"]
    said = subprocess.run(where, cwd=place, env=env, capture_output=True, text=True, check=True)
    assert Path(said.stdout.strip()).is_relative_to(installed)

    ordertrail = shutil.which(commands["release"][0], path=env["PATH"])
    assert ordertrail == str(installed / "bin" / "ordertrail")
    release = subprocess.run([ordertrail, "migrate"], cwd=place, env=env, check=False)
    assert release.returncode == 0
    web = Web(port, tmp_path / "web.log")

    def answers() -> bool:
        with suppress(OSError):
            return web.get("/readyz").status_code == http.HTTPStatus.OK
        return False

    with ExitStack() as stack:
        for name in ("web", "worker", "clock"):
            program = shutil.which(commands[name][0], path=env["PATH"])
            assert program is not None
            argv = (program, *commands[name][1:])
            stack.enter_context(running(argv, env, tmp_path / f"{name}.log", cwd=place))
        wait_until(answers)
        body = (
            b'{"uuid": "o-1", "state": "picked_up", "created_at": "2026-04-16T09:00:00+02:00",'
            b' "picked_up_at": "2026-04-16T10:10:00+02:00"}'
        )
        assert web.post("/webhooks/tiramizoo/orders/tiramizoo-token", body).status_code == 200
        bearer = {"Authorization": f"Bearer {environ['API_TOKENS']}"}

        def shown() -> bool:
            answer = web.get("/v1/orders/tiramizoo/o-1", bearer)
            return answer.status_code == 200 and answer.json["status"] == "picked_up"

        wait_until(shown)
        assert web.get("/v1/docs", bearer).status_code == 200
