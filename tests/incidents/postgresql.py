"""Incidents of PostgreSQL."""

import os
import re
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

from receiver.alerts.evaluation import TOTAL_SECONDS
from receiver.standalone.embedded import Postgres
from receiver.standalone.home import Home
from tests.bench import growth
from tests.faults import table as faults
from tests.faults.stand import DATABASE, START_SECONDS
from tests.incidents.incident import Incident, Outcome, Undo, is_busy, nothing
from tests.incidents.stage import Stage, sleep_until
from tests.incidents.watch import Watch
from tests.service import wait_until

SLOW, FAILING = "webhooks_slow", "webhooks_failing"
# A quick machine processes 500,000 before the warning is due to be pushed.
ORDERS, PENDING = int(os.environ.get("ORDERS", "100000")), 600_000
# Seconds for the alerts beside a million orders, with several incidents at the same time.
ALERTS_WITHIN = 2.0

FILL_INBOX = """
    INSERT INTO messages (account, topic, kind, trust, body, body_sha256, received_at, last_seen_at)
    SELECT 'cottoncast', 'orders', 'webhook', 'signed', body, sha256(body), now(), now()
    FROM (SELECT convert_to(json_build_object(
              'orderID', 'B' || n, 'ref', n, 'shipments', '[]'::json,
              'status', json_build_object('code', 'E', 'timestamp', 1776000000 + n))::text, 'UTF8')
          FROM generate_series(1, %s) n) AS bodies (body)
"""


def set_server(name: str, value: str) -> Callable[[Stage], Undo]:
    """Change a setting of the server."""

    def begin(stage: Stage) -> Undo:
        stage.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        stage.sql("SELECT pg_reload_conf()")

        def undo() -> None:
            stage.sql(f"ALTER SYSTEM RESET {name}")
            stage.sql("SELECT pg_reload_conf()")

        return undo

    return begin


def slow_flush(seconds: float) -> Callable[[Stage], Undo]:
    """Each flush to disk takes so much longer."""

    def begin(stage: Stage) -> Undo:
        delay = stage.data_dir / "flush-delay"
        delay.write_text(str(round(1000 * seconds)))
        delay.chmod(0o644)
        return delay.unlink

    return begin


def wait_for_heartbeat(stage: Stage) -> None:
    assert sleep_until(lambda: bool(stage.listener.heartbeats), 90), "no heartbeat"


def heartbeats_stop(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    """An outside monitor that expects one a minute notices."""
    last = stage.listener.heartbeats[-1]
    sleep_until(lambda: time.monotonic() - last > 90, 90)
    outcome.claim(stage.listener.heartbeats[-1] == last, "heartbeats go on")
    outcome.measured.append("heartbeats stop")


def fill_with_orders(stage: Stage) -> None:
    growth.fill(stage.postgres.url(DATABASE), ORDERS)


def flood_inbox(stage: Stage) -> Undo:
    stage.sql(FILL_INBOX, [PENDING])
    return lambda: _forget(stage)


def _forget(stage: Stage) -> None:
    stage.sql(
        "DELETE FROM messages WHERE outcome = 'pending'"
        " AND convert_from(body, 'UTF8') LIKE '{\"orderID\" : \"B%%'",
        [],
    )


def alerts_are_quick(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    """Half of the answers come at once; one may take all the time that there is for conditions, as
    while so many rows are being stored.
    """
    median, slowest = statistics.median(watch.alert_seconds), max(watch.alert_seconds)
    pending = stage.metric("ordertrail_messages_pending") or 0
    up = stage.metric("ordertrail_database_up")
    outcome.measured.append(
        f"/v1/alerts {median:.2f} s, {slowest:.2f} s at most; {pending:,.0f} pending then;"
        f" database_up {up:g}"
    )
    most = TOTAL_SECONDS + (ALERTS_WITHIN if is_busy() else 0)
    outcome.claim(median < ALERTS_WITHIN and slowest < most, f"/v1/alerts took {slowest:.1f} s")
    outcome.claim(up == 1, f"ordertrail_database_up is {up}")
    outcome.claim(not watch.unanswered, f"/v1/alerts: {watch.unanswered}")


class Replica(Postgres):
    """A standby beside the primary, of the same user."""

    name = "replica"


def replicate(stage: Stage) -> None:
    """A standby streams from the primary."""
    primary = stage.postgres
    home = Home.make(stage.data_dir / "replica-home")
    replica = Replica(home, {"max_connections": "80"})
    shutil.rmtree(replica.data, ignore_errors=True)
    command = [
        str(primary.binary().with_name("pg_basebackup")), "--pgdata", str(replica.data),
        "--host", str(primary.home.sockets), "--username=postgres", "--checkpoint=fast",
        "--write-recovery-conf",
    ]  # fmt: skip
    home.make_private(replica.data.parent)
    user, group = home.user or (os.geteuid(), os.getegid())
    subprocess.run(command, check=True, user=user, group=group, extra_groups=[group], cwd="/")
    process = replica.start()
    replica.wait_ready(process)
    _replicas[stage.port] = replica, process
    wait_until(lambda: stage.sql("SELECT FROM pg_stat_replication"), START_SECONDS)


# By the stage's port.
_replicas: dict[int, tuple[Replica, "subprocess.Popen[bytes]"]] = {}


def synchronous(stage: Stage) -> None:
    replicate(stage)
    set_server("synchronous_standby_names", "*")(stage)


def replica_dies(stage: Stage) -> Undo:
    """Commits wait for a standby that is gone."""
    _, process = _replicas.pop(stage.port)
    process.send_signal(signal.SIGQUIT)
    process.wait(20)
    return lambda: _without_replica(stage)


def _without_replica(stage: Stage) -> None:
    stage.sql("ALTER SYSTEM RESET synchronous_standby_names")
    stage.sql("SELECT pg_reload_conf()")


def fail_over(seconds: float) -> Callable[[Stage], Undo]:
    """The standby is so far behind when the primary dies, and is promoted."""

    def begin(stage: Stage) -> Undo:
        replica, process = _replicas.pop(stage.port)
        receiver = _receiver(process.pid)
        receiver.suspend()
        time.sleep(seconds)
        stage.hold_down("postgres")
        stage.signal("postgres", signal.SIGKILL)
        # Before it reads what the primary still sent.
        receiver.terminate()
        receiver.resume()
        stage.to_postgres.lead_to(replica.home.sockets / ".s.PGSQL.5432")
        stage.postgres = replica
        part = stage.parts["postgres"]
        part.start, part.process = replica.start, process
        stage.sql("SELECT pg_promote()")
        stage.let_up("postgres")
        return nothing

    return begin


def _receiver(pid: int) -> psutil.Process:
    children = psutil.Process(pid).children()
    return next(it for it in children if "walreceiver" in " ".join(it.cmdline()))


def count_lost(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    runbook = (stage.code / "deploy" / "runbook.md").read_text()
    outcome.claim(
        "synchronous_standby_names" in runbook, "the runbook does not say how to avoid it"
    )
    outcome.measured.append("the runbook says what an asynchronous replica can lose")


# What each wrong DATABASE_URL has to be told as.
WRONG_URLS = {
    "no such port": ("postgresql://postgres@127.0.0.1:1/ordertrail", "refused"),
    "no such host": ("postgresql://postgres@no-such-host.invalid/ordertrail", "resolve|not known"),
    "no such database": ("postgresql://postgres@127.0.0.1:{port}/nothing", "does not exist"),
    "no such role": ("postgresql://nobody@127.0.0.1:{port}/ordertrail", "does not exist"),
    "no tables": ("postgresql://postgres@127.0.0.1:{port}/template1", "tables"),
}


def wrong_urls(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    for name, (url, words) in WRONG_URLS.items():
        own = url.format(port=stage.to_postgres.port)
        code, printed = stage.command("check", DATABASE_URL=own)
        is_right = code == 2 and re.search(words, printed) is not None
        outcome.claim(is_right, f"{name}: `check` ends with {code} and says {printed[:200]!r}")
    outcome.measured.append("`ordertrail check` names each of the five")


def owner_only(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    """An ordinary role, with the rights that it needs."""
    for statement in (
        "CREATE ROLE plain LOGIN",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO plain",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO plain",
    ):
        stage.sql(statement)
    url = f"postgresql://plain@127.0.0.1:{stage.to_postgres.port}/{DATABASE}"
    before = stage.postgres.log.read_text().count("ERROR")
    _, printed = stage.command("doctor", DATABASE_URL=url)
    broken = [line for line in printed.splitlines() if re.match(r"broken +PostgreSQL", line)]
    outcome.claim("PostgreSQL" in printed and not broken, f"doctor says {broken}")
    after = stage.postgres.log.read_text().count("ERROR")
    outcome.claim(after == before, f"{after - before} ERROR lines in PostgreSQL's log")
    outcome.measured.append("doctor finds no fault, and the server's log no error")


def hold_processing(stage: Stage) -> Undo:
    """Somebody holds the orders, so that nobody writes them; reading goes on."""
    stack = ExitStack()
    database = stack.enter_context(stage.database())
    database.execute("BEGIN")
    database.execute("LOCK TABLE orders IN EXCLUSIVE MODE")
    return stack.close


def intake_goes_on(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    # A connection that was idle for long is closed, which is no answer.
    lines = [line for line in stage.ledger.lines[-100:] if line.said.isdigit()]
    slowest = max(line.seconds for line in lines)
    outcome.claim({line.said for line in lines} == {"200"}, "webhooks are refused")
    outcome.claim(slowest < 5, f"the slowest webhook took {slowest:.1f} s")
    outcome.measured.append(f"every webhook 200, the slowest after {slowest:.2f} s")


def hold_one_message(stage: Stage) -> Undo:
    """One message cannot be taken, while all others are processed."""
    stage.hold_down("worker")
    os.kill(stage.pid("worker"), signal.SIGTERM)
    stack = ExitStack()
    database = stack.enter_context(stage.database())
    database.execute("BEGIN")
    lock = "SELECT id FROM messages WHERE outcome = 'pending' LIMIT 1 FOR UPDATE SKIP LOCKED"
    # None is found as long as the worker that ends still has them.
    wait_until(lambda: database.execute(lock).fetchall(), 30)
    stage.let_up("worker")
    return stack.close


INCIDENTS = (
    Incident(
        "read-only", "`default_transaction_read_only = on`",
        set_server("default_transaction_read_only", "on"),
        "database_read_only", "read-only", readyz=503, closes=True,
    ),
    Incident(
        "flush 1.5 s", "each flush to disk takes 1.5 s longer", slow_flush(1.5),
        FAILING, "more than 1 second", may_show=frozenset({SLOW, FAILING}),
    ),
    Incident(
        "flush 7 s", "each flush takes 7 s longer", slow_flush(7), "database_slow",
        "longer .* than a webhook waits", readyz=503, may_show=frozenset({SLOW, FAILING}),
    ),
    Incident(
        "flush 20 s", "each flush takes 20 s longer", slow_flush(20), "database_slow",
        "longer .* than a webhook waits", readyz=503, may_show=frozenset({SLOW, FAILING}),
    ),
    Incident(
        "PostgreSQL stopped", "PostgreSQL is stopped",
        faults.down("postgres", signal.SIGQUIT), "database_away", "cannot be used", readyz=503,
        prepare=wait_for_heartbeat, then=heartbeats_stop,
    ),
    Incident(
        "PostgreSQL frozen", "SIGSTOP to all of PostgreSQL's processes",
        faults.freeze("postgres"), "database_away", "timeout|has not answered",
        readyz=503, may_show=frozenset({SLOW, FAILING, "database_slow"}),
    ),
    Incident(
        "out of connections", "strangers hold all of PostgreSQL's connections",
        faults.take_connections, "database_connections", "no further connection", readyz=503,
        may_show=frozenset({"database_away"}),
    ),
    Incident(
        "disk full", "not a byte is free on PostgreSQL's disk", faults.fill_disk,
        "database_full", "disk of PostgreSQL is full", readyz=503, disk_megabytes=400,
        may_show=frozenset({FAILING, "database_away"}),
    ),
    Incident(
        "big inbox", f"{PENDING:,} messages at once, beside {ORDERS:,} orders", flood_inbox,
        "backlog", "waiting", prepare=fill_with_orders, noticed_within=90, then=alerts_are_quick,
        before=frozenset({"orders_stuck", "orders_in_conflict", "messages_quarantined",
                          "messages_parked", "courier_silent"}),
    ),
    Incident(
        "synchronous replica dies", "the only synchronous standby dies",
        replica_dies, "database_slow", "longer .* than a webhook waits", readyz=503,
        prepare=synchronous, may_show=frozenset({SLOW, FAILING}),
    ),
    Incident(
        "failover that lags", "an asynchronous standby, 8 s behind, is promoted",
        fail_over(8), prepare=replicate, holds=60, then=count_lost, loses=None,
        # Until it is promoted, the standby takes no writes.
        may_show=frozenset({"database_away", "database_read_only", FAILING}),
    ),
    Incident(
        "processing held", "somebody locks the orders' table against writes",
        hold_processing, "jobs_failing", "drain", noticed_within=75,
        then=intake_goes_on,
    ),
    Incident(
        "one message held", "one message cannot be taken; all others can",
        hold_one_message, "backlog", "waiting", noticed_within=75,
        may_show=frozenset({"no_workers"}),
    ),
    Incident(
        "wrong DATABASE_URL", "five kinds of a wrong DATABASE_URL", lambda _: nothing,
        then=wrong_urls, beside="commands",
    ),
    Incident(
        "ordinary role", "a database role without further rights", lambda _: nothing,
        then=owner_only, beside="commands",
    ),
)  # fmt: skip


def build_library(directory: Path) -> Path:
    """Compile interpose.c. Raises: OSError where there is no compiler."""
    library = directory / "interpose.so"
    source = Path(__file__).with_name("interpose.c")
    compiler = shutil.which("cc")
    if compiler is None:
        raise OSError("there is no C compiler")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    library.chmod(0o755)
    return library
