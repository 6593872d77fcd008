"""An upgrade from a recorded release: its data is read and answered as that release answered it.

tests/upgrades holds what a release recorded. Before the first release there is none, and the tests
run on a recording of this tree.
"""

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from receiver.app import create_app
from receiver.db.migrate import migrate
from receiver.settings import Settings
from tests import everything
from tests.command import run_command
from tests.conftest import API_TOKEN
from tests.service import ROOT

RECORDINGS = sorted((ROOT / "tests" / "upgrades").glob("*.sql.gz"))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The newest recorded release: its database; its answers are beside it."""
    if RECORDINGS:
        return RECORDINGS[-1]
    directory = tmp_path_factory.mktemp("recording")
    command = [sys.executable, "-m", "tests.upgrades.record", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True)
    [dump] = directory.glob("*.sql.gz")
    return dump


@pytest.fixture
def previous(recording: Path, servers: dict[str, str], worker_id: str) -> Iterator[str]:
    """The URL of a database as the recorded release left it."""
    name = f"ot_{worker_id}_previous"
    url = servers["postgres"].replace("%7B%7D", name)
    with psycopg.connect(servers["admin"], autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name}")
        dump = gzip.decompress(recording.read_bytes()).decode()
        with psycopg.connect(url, autocommit=True) as database:
            # \restrict and \unrestrict are commands of psql.
            database.execute(re.sub(r"^\\.*$", "", dump, flags=re.MULTILINE).encode())
        yield url
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def differences(new: Any, old: Any, where: str = "") -> Iterator[str]:
    """Yield where an answer differs from the recorded one; additional names do not count."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name, value in old.items():
            yield from differences(new.get(name), value, f"{where}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, value in enumerate(old):
            yield from differences(new[number], value, f"{where}[{number}]")
    elif new != old:
        yield f"{where}: {old!r} has become {new!r}"


def columns(url: str) -> dict[tuple[str, str], tuple[str, bool]]:
    """Return each column's type, and whether a row must be given a value for it."""
    with psycopg.connect(url) as database:
        rows = database.execute(
            "SELECT table_name, column_name, udt_name,"
            " is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'"
            " FROM information_schema.columns WHERE table_schema = 'public'"
        ).fetchall()
    return {(table, column): (kind, needed) for table, column, kind, needed in rows}


def test_an_upgraded_database_is_read_as_the_release_read_it(
    previous: str, recording: Path, environ: dict[str, str]
) -> None:
    """Its columns stay, none becomes mandatory, its answers and its orders stay the same."""
    old_columns = columns(previous)
    migrate(previous)
    new_columns = columns(previous)
    assert {name: new_columns.get(name) for name in old_columns} == old_columns
    tables = {table for table, _ in old_columns}
    added = new_columns.keys() - old_columns.keys()
    assert [name for name in added if name[0] in tables and new_columns[name][1]] == []

    environ = {**environ, **everything.ENVIRON, "DATABASE_URL": previous}
    app = create_app(Settings.from_env(environ))
    shop = app.test_client()
    shop.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    answers = json.loads(recording.with_name(recording.name.replace("sql.gz", "json")).read_text())
    assert len(answers) > 20
    for path, answer in answers.items():
        assert list(differences(shop.get(path).json, answer, path)) == []
    app.extensions["ordertrail"].engine.dispose()
    app.extensions["ordertrail"].redis.close()

    rebuilt = run_command(environ, "rebuild", "--dry-run")
    assert (rebuilt.exit_code, ": 0 would change" in rebuilt.output) == (0, True), rebuilt.output
