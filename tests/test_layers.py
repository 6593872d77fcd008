"""Who may know whom: the direction of dependencies, read off the imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.couriers import DRIVERS
from tests.service import ROOT

RECEIVER = ROOT / "receiver"
DRIVER_FILES = sorted(
    path
    for path in (RECEIVER / "couriers").glob("*.py")
    if path.stem not in {"__init__", "base", "reading"}
)

# Beside the blueprints: the factory, what it sets up, and what turns errors into answers.
KNOW_FLASK = {"request_log", "headers", "api", "app", "openapi", "parts", "problems", "routes"}
KNOW_FLASK |= {"webhooks", "console/failures", "console/guard", "console/pages"}
KNOW_FLASK |= {"telemetry/request_spans"}
FLASK = {"flask", "flask_smorest", "werkzeug", "webargs"}


def imported(path: Path) -> Iterator[str]:
    """The dotted names that a file imports, also inside functions."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def importers(top_level: set[str], files: Iterator[Path]) -> set[str]:
    """The files that import one of these packages."""
    return {
        str(path.relative_to(ROOT))
        for path in files
        if any(name.partition(".")[0] in top_level for name in imported(path))
    }


def test_the_receiver_never_imports_the_workers() -> None:
    assert importers({"workers"}, RECEIVER.rglob("*.py")) == set()


def test_nothing_that_runs_imports_the_tests() -> None:
    files = (path for top in ("receiver", "workers") for path in (ROOT / top).rglob("*.py"))
    assert importers({"tests"}, files) == set()


def makes_a_blueprint(path: Path) -> bool:
    return any(
        isinstance(node, ast.Call) and getattr(node.func, "id", None) in {"Blueprint", "Routes"}
        for node in ast.walk(ast.parse(path.read_bytes()))
    )


def test_only_views_and_what_serves_them_know_flask() -> None:
    allowed = {f"receiver/{name}.py" for name in KNOW_FLASK}
    views = {str(it.relative_to(ROOT)) for it in RECEIVER.rglob("*.py") if makes_a_blueprint(it)}
    assert importers(FLASK, RECEIVER.rglob("*.py")) <= allowed | views
    assert importers(FLASK, (ROOT / "workers").rglob("*.py")) == set()


def test_only_the_settings_and_the_edges_read_the_environment() -> None:
    def reads_environment(path: Path) -> bool:
        return any(
            isinstance(node, ast.Attribute)
            and node.attr in {"environ", "getenv"}
            and ast.unparse(node.value) != "request"
            for node in ast.walk(ast.parse(path.read_bytes()))
        )

    files = (path for top in ("receiver", "workers") for path in (ROOT / top).rglob("*.py"))
    found = {str(path.relative_to(ROOT)) for path in files if reads_environment(path)}
    # The edges hand it to the settings, or to a process that they start; metrics looks whether
    # gunicorn's workers count together, which Prometheus' own library reads there too.
    assert found <= {
        "receiver/app.py",
        "receiver/cli.py",
        "receiver/standalone/embedded/server.py",
        "receiver/metrics.py",
        "workers/runtime.py",
    }


@pytest.mark.parametrize("path", DRIVER_FILES, ids=lambda path: path.stem)
def test_a_driver_knows_its_contract_and_what_that_is_made_of_and_nothing_else_of_ours(
    path: Path,
) -> None:
    ours = {name for name in imported(path) if name.partition(".")[0] in {"receiver", "workers"}}
    allowed = (
        "receiver.couriers.base.",
        "receiver.couriers.reading.",
        "receiver.errors.",
        "receiver.schedule.",
        "receiver.statuses",
        "receiver.times.",
    )
    assert {name for name in ours if not name.startswith(allowed)} == set()


def test_every_driver_is_found() -> None:
    assert sorted(DRIVERS) == [path.stem for path in DRIVER_FILES]


def test_the_fold_knows_no_io() -> None:
    names = {name.partition(".")[0] for name in imported(RECEIVER / "fold.py")}
    assert names.isdisjoint({"sqlalchemy", "redis", "rq", "httpx", "os", "time", "psycopg"})
