"""The layout: how many modules a folder holds, and which package may import which."""

import ast
import itertools
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from receiver.couriers import DRIVERS, SHARED_MODULES
from tests.service import ROOT

RECEIVER = ROOT / "receiver"
DRIVER_FILES = sorted(
    path
    for path in (RECEIVER / "couriers").glob("*.py")
    if path.stem not in {"__init__", *SHARED_MODULES}
)
FILES = sorted(
    path
    for top in ("receiver", "workers")
    for path in (ROOT / top).rglob("*.py")
    if "migrations" not in path.parts
)

# What every package may import.
GROUND = {
    "access",
    *("errors", "logs", "log_writer", "statuses", "times", "text", "telemetry"),
    "background_thread",
}
DOMAIN = {
    *("couriers", "db", "settings", "queue", "stats", "changes", "inbox", "orders", "accounts"),
    *("retention", "audit"),
}
# From a package to those that it may import, beside itself and GROUND. From the bottom up: nothing
# here names a package that comes after it, so there is no cycle.
ALLOWED: dict[str, set[str]] = {
    **{key: set() for key in GROUND},
    "couriers": set(),
    "db": set(),
    "settings": {"couriers"},
    "queue": set(),
    "stats": {"db"},
    "changes": {"db", "queue", "stats"},
    "audit": {"db"},
    "inbox": {"couriers", "db", "settings", "queue", "stats", "audit"},
    "orders": {"couriers", "db", "settings", "queue", "stats", "changes", "audit"},
    "accounts": {"couriers", "db", "settings", "queue", "stats"},
    "retention": {"db", "settings"},
    "alerts": DOMAIN,
    "schemas": {"couriers", "db", "audit", "changes"},
    "web": DOMAIN | {"alerts", "schemas"},
    "standalone": {"couriers", "settings"},
    "cli": DOMAIN | {"alerts", "schemas", "standalone"},
    "app": DOMAIN | {"alerts", "web"},
    "workers.progress": set(),
    "workers.runtime": DOMAIN | {"workers.progress"},
    "workers.folding": DOMAIN,
    "workers.polling": DOMAIN | {"workers.folding"},
    "workers.upkeep": DOMAIN | {"workers.folding"},
    "workers.alerting": DOMAIN | {"alerts"},
    "workers.pushing": DOMAIN | {"workers.polling"},
    "workers.jobs": DOMAIN
    | {"workers.runtime", "workers.folding", "workers.polling", "workers.upkeep"},
    "workers.worker": DOMAIN | {"workers.progress", "workers.runtime", "workers.jobs"},
    "workers.clock": DOMAIN
    | {"workers.runtime", "workers.folding", "workers.alerting", "workers.pushing"},
    "workers.cli": DOMAIN
    | {
        "alerts",
        "schemas",
        "cli",
        "standalone",
        "workers.alerting",
        "workers.clock",
        "workers.polling",
        "workers.progress",
        "workers.pushing",
        "workers.upkeep",
    },
}


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


def package(module: str) -> str:
    """The package that a dotted name belongs to, as ALLOWED names it; "" for none of ours."""
    parts = module.split(".")
    if parts[0] == "workers":
        return ".".join(parts[:2])
    return parts[1] if parts[0] == "receiver" and len(parts) > 1 else ""


def test_a_module_imports_only_what_its_package_may() -> None:
    forbidden = {}
    for path in FILES:
        own = package(".".join(path.relative_to(ROOT).with_suffix("").parts))
        found = {package(name) for name in imported(path)} - {"", own, "workers.__init__", *GROUND}
        if not found <= ALLOWED.get(own, set()):
            forbidden[str(path)] = found - ALLOWED.get(own, set())
    assert forbidden == {}


def test_the_table_of_imports_has_no_cycle() -> None:
    names = list(ALLOWED)
    for name, allowed in ALLOWED.items():
        assert all(names.index(other) < names.index(name) for other in allowed & set(names)), name


def test_only_the_web_package_knows_flask_and_gunicorn() -> None:
    known = {"flask", "flask_smorest", "werkzeug", "webargs", "gunicorn"}
    found = {
        str(path.relative_to(ROOT))
        for path in FILES
        if any(name.partition(".")[0] in known for name in imported(path))
    }
    outside = {path for path in found if not path.startswith("receiver/web/")}
    assert outside <= {"receiver/app.py"}


def test_no_folder_holds_more_than_fifteen_modules() -> None:
    # There are as many drivers as there are couriers.
    drivers = {RECEIVER / "couriers" / f"{name}.py" for name in DRIVERS}
    held = Counter(
        path.parent for path in FILES if path.name != "__init__.py" and path not in drivers
    )
    held |= Counter({RECEIVER: held[RECEIVER] + 5, ROOT / "workers": held[ROOT / "workers"] + 10})
    assert {str(folder): count for folder, count in held.items() if count > 15} == {}


def test_what_runs_imports_only_what_the_project_depends_on() -> None:
    """Here the tests' own packages are installed too; in production they are not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    declared = {
        re.split(r"[^a-z0-9-]", needed, maxsplit=1)[0]
        for needed in (*project["dependencies"], *itertools.chain.from_iterable(extras))
    }
    # What flask and flask-smorest are made of.
    declared |= {"itsdangerous", "jinja2", "markupsafe", "webargs", "werkzeug"}
    distributions = packages_distributions()
    foreign = {
        (str(path.relative_to(ROOT)), top)
        for path in FILES
        for top in {name.partition(".")[0] for name in imported(path)}
        if top not in {"receiver", "workers", *sys.stdlib_module_names}
    }
    unknown = {
        (path, top)
        for path, top in foreign
        if declared.isdisjoint(
            name.lower().replace("_", "-") for name in distributions.get(top, ())
        )
    }
    assert unknown == set()


def test_nothing_that_runs_imports_the_tests() -> None:
    assert [path for path in FILES if any(it.startswith("tests") for it in imported(path))] == []


def test_only_the_settings_and_the_edges_read_the_environment() -> None:
    def reads_environment(path: Path) -> bool:
        return any(
            isinstance(node, ast.Attribute)
            and node.attr in {"environ", "getenv"}
            and ast.unparse(node.value) != "request"
            for node in ast.walk(ast.parse(path.read_bytes()))
        )

    found = {str(path.relative_to(ROOT)) for path in FILES if reads_environment(path)}
    # The edges hand it to the settings, or to a process that they start; metrics looks whether
    # gunicorn's workers count together, which Prometheus' own library reads there too.
    assert found <= {
        "receiver/app.py",
        "receiver/cli/main.py",
        "receiver/cli/session.py",
        "receiver/standalone/embedded.py",
        "receiver/stats/counters.py",
        "workers/runtime.py",
    }


@pytest.mark.parametrize("path", DRIVER_FILES, ids=lambda path: path.stem)
def test_a_driver_knows_its_contract_and_what_that_is_made_of_and_nothing_else_of_ours(
    path: Path,
) -> None:
    ours = {name for name in imported(path) if name.partition(".")[0] in {"receiver", "workers"}}
    allowed = (
        "receiver.couriers.contract.",
        "receiver.couriers.parsing",
        "receiver.couriers.body_reader.read_fields",
        "receiver.couriers.field_map.",
        "receiver.couriers.inline_label.",
        "receiver.errors.",
        "receiver.couriers.polling.",
        "receiver.couriers.schedule.",
        "receiver.couriers.signatures.",
        "receiver.couriers.snapshot.",
        "receiver.statuses",
        "receiver.times.",
    )
    assert {name for name in ours if not name.startswith(allowed)} == set()


def test_every_driver_is_found() -> None:
    assert sorted(DRIVERS) == [path.stem for path in DRIVER_FILES]


def test_the_fold_knows_no_io() -> None:
    modules = (RECEIVER / "orders" / "fold").glob("*.py")
    names = {name.partition(".")[0] for module in modules for name in imported(module)}
    assert names.isdisjoint({"sqlalchemy", "redis", "rq", "httpx", "os", "time", "psycopg"})
