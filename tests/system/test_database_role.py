"""A PostgreSQL role that owns its database is enough, and no default of its server counts."""

from collections.abc import Mapping
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from receiver.app import create_app
from receiver.db.engine import create_engine_for, session_factory
from receiver.db.migrate import migrate
from receiver.settings import Settings
from tests import applications
from tests.bodies import raw, tiramizoo_order
from tests.command import run_command
from tests.conftest import API_TOKEN
from tests.servers import running
from tests.test_drain import NOW
from workers.folding.drain import drain_batch

ODD = {
    "datestyle": "'German, DMY'",
    "intervalstyle": "'iso_8601'",
    "default_transaction_isolation": "'serializable'",
    "timezone": "'Asia/Tokyo'",
    "search_path": "nowhere",
    "bytea_output": "'escape'",
    "synchronous_commit": "'off'",
}
PATHS = ("/readyz", "/metrics", "/v1/alerts", "/v1/couriers", "/v1/orders", "/v1/changes", "/ops")
ORDER = "/v1/orders/tiramizoo/odd"


@pytest.mark.parametrize("where", ["DATABASE app", "ROLE app"])
def test_a_service_works_as_the_owner_of_its_database_with_odd_defaults(
    environ: Mapping[str, str], redis: object, tmp_path_factory: pytest.TempPathFactory, where: str
) -> None:
    directory = tmp_path_factory.mktemp("pg")
    with running(directory) as servers:
        with psycopg.connect(servers.postgres.url("postgres"), autocommit=True) as admin:
            admin.execute("CREATE ROLE app LOGIN")
            admin.execute("CREATE DATABASE app OWNER app")
            for name, value in ODD.items():
                admin.execute(f"ALTER {where} SET {name} = {value}")
        url = make_url(servers.postgres.url("app")).set(username="app")
        own = {**environ, "DATABASE_URL": url.render_as_string(hide_password=False)}
        migrate(own["DATABASE_URL"], lock_seconds=20)
        app = create_app(Settings.from_env(own))
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
        post: Any = client.post(
            "/webhooks/tiramizoo/orders/tiramizoo-token", data=raw(tiramizoo_order("odd"))
        )
        assert post.status_code == 200
        engine = create_engine_for(own["DATABASE_URL"])
        assert drain_batch(session_factory(engine), Settings.from_env(own), NOW) == 1
        for path in (*PATHS, ORDER, f"{ORDER}/events", f"{ORDER}/explain"):
            assert client.get(path).status_code == 200, path
        assert "Traceback" not in run_command(own, "check").output
        doctor = run_command(own, "doctor").output
        # The tests' server does not flush to disk, and no worker is there.
        broken = [line for line in doctor.splitlines() if line.startswith("broken")]
        assert not [line for line in broken if " off " not in line and "processes" not in line]
        applications.close(app)
        engine.dispose()
        log = (directory / "postgres.log").read_text()
    assert [line for line in log.splitlines() if "ERROR" in line] == []
