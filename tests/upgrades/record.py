"""Fill a database with the release whose tree this runs in, and record it with its answers."""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from receiver.app import create_app
from receiver.db.engine import create_engine_for, session_factory
from receiver.db.migrate import migrate
from receiver.settings import Settings
from tests import everything
from tests.conftest import API_TOKEN, ENVIRON
from tests.servers import running
from workers.folding.drain import drain_batch


def answers_of(shop: Any) -> dict[str, Any]:
    """Return what the API answers about everything there is, by path."""
    orders = shop.get("/v1/orders?limit=200").json["orders"]
    assert len(orders) < 200
    paths = [
        f"/v1/orders/{order['account']}/{_quoted(order['courier_order_id'])}" for order in orders
    ]
    paths += [f"{path}/events" for path in paths]
    paths += ["/v1/changes?limit=1000", "/v1/messages?limit=200", "/v1/conflicts"]
    return {path: shop.get(path).json for path in paths}


def _quoted(name: str) -> str:
    return quote(name, safe="")


def main(directory: Path) -> None:
    with ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="ot-rec-"))
        servers = stack.enter_context(running(Path(place).resolve()))
        servers.postgres.create_database("recorded")
        url = servers.postgres.url("recorded")
        migrate(url)
        environ = {**ENVIRON, **everything.ENVIRON, "DATABASE_URL": url}
        environ["REDIS_URL"] = servers.valkey.url(0)
        settings = Settings.from_env(environ)
        engine = create_engine_for(url)
        opened = session_factory(engine)

        def drain() -> int:
            folded = 0
            while size := drain_batch(opened, settings, datetime.now(UTC)):
                folded += size
            return folded

        shop = create_app(settings).test_client()
        shop.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
        everything.put_in(shop, opened, drain)
        answers = answers_of(shop)
        engine.dispose()
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        assert row is not None
        dump = [str(servers.postgres.binary().with_name("pg_dump")), url]
        dump += ["--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=100"]
        sql = subprocess.run(dump, check=True, capture_output=True).stdout
    (directory / f"{row[0]}.sql.gz").write_bytes(gzip.compress(sql, mtime=0))
    (directory / f"{row[0]}.json").write_text(json.dumps(answers, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
    sys.stdout.flush()
    # Does not wait for the application's threads.
    os._exit(0)
