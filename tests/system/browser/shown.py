"""The day as a running service shows it, and somebody who looks at it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext
from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.engine import create_engine_for
from receiver.db.engine import session_factory as open_sessions
from receiver.queue.liveness import record_sweep
from receiver.queue.redis_client import connect_redis
from receiver.settings import Settings
from tests.conftest import API_TOKEN
from tests.service import WORKER, Web, running, running_web
from tests.system.browser.day import MENDED, lived_day
from tests.system.browser.visiting import DESK, Visit
from workers.alerting import AlertWatch

UNAUTHORIZED = 401


@dataclass(frozen=True)
class Shown:
    """A day, a web process that shows it, and a worker beside it whose field map is mended."""

    web: Web
    sessions: sessionmaker[Session]
    redis: Redis
    chromium: Browser

    @contextmanager
    def context(self, **given: Any) -> Iterator[BrowserContext]:
        context = self.chromium.new_context(**{"viewport": DESK, **given})
        try:
            yield context
        finally:
            context.close()

    @contextmanager
    def visit(self, **given: Any) -> Iterator[Visit]:
        """Somebody who is signed in, on the first page."""
        with self.context(**given) as context:
            visit = Visit(context.new_page(), self.web)
            self.sign_in(visit)
            yield visit

    def sign_in(self, visit: Visit) -> None:
        # No clock runs beside the day; a sweep a moment ago is what there would be.
        with self.sessions.begin() as session:
            record_sweep(session, datetime.now(UTC))
        page = visit.page
        page.goto(f"{visit.home}/ops")
        page.get_by_label("Your name").fill("Ann")
        page.get_by_label("API token").fill(API_TOKEN)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Dashboard", level=1).wait_for()
        # Its keys work once its script has run, which is behind the heading.
        page.wait_for_load_state()


@contextmanager
def shown_day(chromium: Browser, database_url: str, redis_url: str, logs: Path) -> Iterator[Shown]:
    """The day, lived and running."""
    engine, redis = create_engine_for(database_url), connect_redis(redis_url)
    environ = {"API_TOKENS": API_TOKEN, "DATABASE_URL": database_url, "REDIS_URL": redis_url}
    sessions = open_sessions(engine)
    with lived_day(environ, sessions, redis) as day:
        worker = running(WORKER, {**day.environ, **MENDED}, logs / "worker.log")
        with worker, running_web(day.environ, logs / "web.log") as web:
            # The courier was given an address that was cut off.
            for _ in range(3):
                door = f"/webhooks/tiramizoo/orders/{day.tiramizoo.secret[:-4]}"
                assert web.open(door, method="POST", data=b"{}").status_code == UNAUTHORIZED
            # No clock runs beside the day: it would record the alerts.
            AlertWatch(Settings.from_env(day.environ), sessions, redis).check(datetime.now(UTC))
            yield Shown(web, sessions, redis, chromium)
    redis.close()
    engine.dispose()
