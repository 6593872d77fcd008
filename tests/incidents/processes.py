"""Incidents of our own processes: web, worker, clock, and the release step."""

import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from signal import SIGHUP, SIGTERM

import psutil

from receiver.db.revision import newest_revision
from tests.faults import table as faults
from tests.faults.stand import DATABASE
from tests.incidents.incident import Incident, Outcome, Undo, nothing
from tests.incidents.postgresql import heartbeats_stop, wait_for_heartbeat
from tests.incidents.stage import Stage, sleep_until
from tests.incidents.watch import Watch

AWAY = frozenset({"no_workers", "no_clock", "no_progress", "backlog"})


def away(name: str) -> Callable[[Stage], Undo]:
    """A part ends as it should, and is not started again."""
    return faults.down(name, SIGTERM)


def restart_worker(stage: Stage) -> Undo:
    """The only worker is away for 4 seconds, as with a deploy."""
    for _ in range(2):
        let_up = away("worker")(stage)
        time.sleep(4)
        let_up()
        time.sleep(10)
    return nothing


def deploy(stage: Stage) -> Undo:
    """Each part stops and starts, and web reloads besides."""
    for name in ("clock", "worker", "web"):
        stage.restart(name)
        time.sleep(3)
    os.kill(stage.pid("web"), SIGHUP)
    return nothing


def flicker_and_hang(stage: Stage) -> Undo:
    """A restart of the only worker, and half a minute later it ends for good."""
    let_up = away("worker")(stage)
    time.sleep(4)
    let_up()
    time.sleep(30)
    return away("worker")(stage)


def hang_up(stage: Stage) -> Undo:
    """SIGHUP to worker and clock, as from a terminal that closes."""
    for name in ("worker", "clock"):
        before = stage.pid(name)
        os.kill(before, SIGHUP)
        time.sleep(3)
        assert psutil.pid_exists(before), f"{name} ended"
    return nothing


def fail_retention(stage: Stage) -> Undo:
    """Each run of the retention fails, and nothing else does."""
    stage.sql("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'not now'; END $$
    """)
    stage.sql(
        "CREATE TRIGGER refuse BEFORE DELETE ON refusals"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse()"
    )

    def undo() -> None:
        stage.sql("DROP TRIGGER refuse ON refusals")

    return undo


def migrate(stage: Stage, *arguments: str) -> None:
    code, printed = stage.command("migrate", *arguments)
    assert code == 0, printed


def migrate_back(stage: Stage) -> None:
    """The tables are those of the revision before."""
    migrate(stage, "--to", f"{int(newest_revision()) - 1:04}")


def forget_release(stage: Stage) -> Undo:
    """The tables are those of the version before, and the processes new."""
    migrate_back(stage)
    stage.restart("web", "worker", "clock")
    return lambda: migrate(stage)


def upgrade(stage: Stage) -> Undo:
    """The release step, and then a restart of each part."""
    migrate(stage)
    return deploy(stage)


def lose_tables(stage: Stage) -> Undo:
    """DATABASE_URL names a database without tables."""
    stage.postgres.create_database("empty")
    before = stage.environ["DATABASE_URL"]
    stage.environ["DATABASE_URL"] = before.replace(f"/{DATABASE}", "/empty")
    stage.restart("web", "worker", "clock")

    def undo() -> None:
        stage.environ["DATABASE_URL"] = before
        stage.restart("web", "worker", "clock")

    return undo


def says_missing(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    _, answer = stage.get("/readyz")
    outcome.claim("tables" in answer["postgresql"], f"/readyz says {answer}")
    outcome.measured.append(f"/readyz says {answer['postgresql']!r}")


def lose_metrics(stage: Stage) -> Undo:
    """The directory that the processes count in is removed, and web reloads."""
    directory = stage.logs / "metrics"
    shutil.rmtree(directory)
    time.sleep(20)
    os.kill(stage.pid("web"), SIGHUP)
    return lambda: directory.mkdir(exist_ok=True)


def answers_all(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    """Every webhook of the last seconds is answered 200."""
    # While web restarts, connections are refused.
    said = {line.said for line in [it for it in stage.ledger.lines if it.said.isdigit()][-100:]}
    outcome.claim(said == {"200"}, f"webhooks are answered {sorted(said)}")
    outcome.claim(stage.parts["web"].process is not None, "web has ended")
    outcome.measured.append("every webhook 200")


def use_up_files(stage: Stage) -> Undo:
    """Web may open 64 files, and idle connections hold them."""
    for child in stage.children("web"):
        child.rlimit(resource.RLIMIT_NOFILE, (64, 64))
    stack = ExitStack()
    for _ in range(120):
        stack.enter_context(stage.web.connected())
    return stack.close


def answers_honestly(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    """No 500, and the log stays JSON lines, few of them."""
    said = {line.said for line in stage.ledger.lines if line.said.isdigit()}
    outcome.claim(said <= {"200", "503"}, f"webhooks are answered {sorted(said)}")
    lines = stage.log("web").splitlines()
    other = [line for line in lines if not _is_json(line)]
    outcome.claim(not other, f"{len(other)} lines of web's log are no JSON: {other[:1]}")
    outcome.claim(len(lines) < 5_000, f"{len(lines)} lines in web's log")
    outcome.measured.append(f"{len(lines)} log lines, all JSON")


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def wrong_clock(stage: Stage) -> Undo:
    """The clock of web's host is ten minutes late."""
    library = type(stage).slow_library
    if library is None:
        raise OSError("there is no C compiler")
    stage.environ_of["web"] = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": "-600"}
    stage.restart("web")

    def undo() -> None:
        stage.environ_of.pop("web")
        stage.restart("web")

    return undo


def doctor_sees_clock(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    library = type(stage).slow_library
    _, printed = stage.command("doctor", LD_PRELOAD=str(library), CLOCK_SHIFT="-600")
    lines = [line for line in printed.splitlines() if " clock " in line]
    is_said = any(line.startswith(("warning", "broken")) for line in lines)
    outcome.claim(is_said, f"doctor says {lines}")
    outcome.measured.append("doctor on that host says it")


def break_listener(stage: Stage) -> Undo:
    """The receiver of the pushes answers 500, and the only worker ends."""
    stage.listener.refuses = True
    return away("worker")(stage)


def push_failures_show(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    name = "ordertrail_alert_push_failures_total"
    is_counted = sleep_until(lambda: (stage.metric(name) or 0) > 0, 120)
    outcome.claim(is_counted, f"{name} stays 0")
    outcome.claim("alert_push_failed" in stage.log("clock"), "no alert_push_failed in clock's log")
    code, printed = stage.command("alerts", "test")
    outcome.claim(code != 0, f"`ordertrail alerts test` ends with 0: {printed}")
    stage.listener.refuses = False
    came = sleep_until(lambda: bool(watch.pushes("no_workers", 0)), 90)
    outcome.claim(came, "the push does not come once it can")
    outcome.measured.append("metric, log and `ordertrail alerts test` say it; the push comes later")


def stop_web(stage: Stage) -> Undo:
    return away("web")(stage)


def prometheus_pages(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    if stage.prometheus is None:
        outcome.measured.append("not played: no Prometheus is installed")
        return
    began = time.monotonic() - 5
    for rule in ("all_hosts_down", "absent"):
        fires = sleep_until(lambda rule=rule: rule in watch.firing, 480)  # type: ignore[misc]
        outcome.claim(fires, f"Prometheus' rule {rule} does not fire")
        if fires:
            outcome.measured.append(f"{rule} fires after {watch.firing[rule] - began:.0f} s")


INCIDENTS = (
    Incident(
        "worker stopped", "the only worker ends (SIGTERM) and stays away", away("worker"),
        "no_workers", "No worker is running", may_show=frozenset({"backlog"}),
    ),
    Incident(
        "worker frozen", "SIGSTOP to the only worker", faults.freeze("worker"),
        "no_workers", "", noticed_within=75, may_show=frozenset({"no_progress"}),
    ),
    Incident(
        "restart, then a hang", "the only worker restarts, and then ends for good",
        flicker_and_hang, "no_workers", "No worker is running",
    ),
    Incident(
        "clock stopped", "the only clock is killed", faults.down("clock"), "no_clock",
        "no clock", pushed=False, noticed_within=75, prepare=wait_for_heartbeat,
        then=heartbeats_stop,
    ),
    Incident(
        "worker restarts", "the only worker restarts twice, each time away for 4 s",
        restart_worker, holds=120, may_show=AWAY,
    ),
    Incident(
        "deploy", "SIGTERM to clock, worker and web in turn, SIGHUP to web",
        deploy, holds=100, may_show=AWAY,
    ),
    Incident(
        "migrate while serving", "`migrate` from the revision before, and then a deploy",
        upgrade, prepare=migrate_back, holds=100, then=answers_all,
        # New code on older tables comes before.
        may_show=AWAY, before=frozenset({"tables_outdated", "jobs_failing"}),
    ),
    Incident(
        "SIGHUP", "SIGHUP to worker and clock", hang_up, holds=60, beside="SIGHUP",
    ),
    Incident(
        "a job fails", "each run of `retain` fails", fail_retention, "jobs_failing",
        "retain", may_show=frozenset(),
    ),
    Incident(
        "release forgotten", "new code, and the tables of the revision before",
        forget_release, "tables_outdated", "revision", readyz=200, noticed_within=90,
        may_show=AWAY,
    ),
    Incident(
        "no tables", "DATABASE_URL names an empty database", lose_tables,
        "tables_outdated", "no tables", readyz=503, noticed_within=90, then=says_missing,
        may_show=AWAY,
    ),
    Incident(
        "metrics directory", "PROMETHEUS_MULTIPROC_DIR is removed, then SIGHUP to web",
        lose_metrics, holds=40, then=answers_all,
    ),
    Incident(
        "open files", "web may open 64 files, 120 connections are idle", use_up_files,
        holds=60, then=answers_honestly, prometheus=False,
    ),
    Incident(
        "wrong clock", "the clock of web's host is 600 s late", wrong_clock, holds=60,
        then=doctor_sees_clock, may_show=AWAY,
    ),
    Incident(
        "pushes fail", "the receiver of pushes answers 500 while the worker is away",
        break_listener, "no_workers", "", pushed=False, holds=75, then=push_failures_show,
    ),
    Incident(
        "no data", "web is stopped: nothing is scraped", stop_web, holds=5,
        then=prometheus_pages, may_show=frozenset({"all_hosts_down", "absent"}),
    ),
)  # fmt: skip
