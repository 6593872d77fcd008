"""`ordertrail doctor`: run the checks side by side, within a time limit, and print findings."""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

import click
import structlog

from receiver.cli.options import json_option
from receiver.cli.output import print_json, print_line
from receiver.cli.session import read_environment
from receiver.logs import exception_fields
from receiver.text import count_noun
from workers.cli.doctor.alerting import check_alerting
from workers.cli.doctor.couriers import check_couriers
from workers.cli.doctor.field_maps import check_field_maps
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding, Findings
from workers.cli.doctor.pushing import check_push_url
from workers.cli.doctor.servers import check_postgresql, check_processes, check_redis
from workers.cli.doctor.settings import check_settings, read_usable_settings
from workers.cli.doctor.webhook import check_webhook_url

# For all checks together, however many servers hang.
TIME_LIMIT_SECONDS = 45.0
STYLES = {OK: "", NOTE: "dim", WARNING: "yellow", BROKEN: "bold red"}
EXIT_CODES = {OK: 0, NOTE: 0, WARNING: 1, BROKEN: 2}

Check = Callable[[], Findings]


@click.command(epilog="Exit codes: 0 no problems; 1 warnings; 2 something is broken.")
@click.option(
    "--webhook-url", metavar="URL", help="Also check this public address of the installation."
)
@click.option("--push", is_flag=True, help="Also send a test alert to ALERT_URLS, and a heartbeat.")
@json_option
def doctor_command(webhook_url: str | None, push: bool, as_json: bool) -> None:
    """Examine an installation; say what to correct.

    Checks the settings, PostgreSQL, Redis, the processes, field maps against the last bodies, the
    couriers' APIs, ALERT_URLS, HEARTBEAT_URL and PUSH_URL, one line per check; each courier that
    can be polled gets one request. Where alerts go is only connected to; --push sends a test alert
    and a heartbeat.

    --webhook-url also checks the address that couriers call, such as https://hooks.shop.example.
    Its requests have wrong credentials on purpose, so nothing is stored; run it from outside your
    network.
    """
    if webhook_url is not None and not webhook_url.startswith(("https://", "http://")):
        raise click.UsageError("--webhook-url must be the installation's address: https://...")
    environ = read_environment()
    settings, faults, missing = read_usable_settings(environ)
    checks: dict[str, Check] = {"settings": lambda: check_settings(settings, faults, environ)}
    if "DATABASE_URL" not in missing:
        checks["PostgreSQL"] = lambda: check_postgresql(settings, environ)
    if "REDIS_URL" not in missing:
        checks["Redis"] = lambda: check_redis(settings)
    if missing.isdisjoint({"DATABASE_URL", "REDIS_URL"}):
        checks["processes"] = lambda: check_processes(settings)
    checks["field maps"] = lambda: check_field_maps(settings, "DATABASE_URL" not in missing)
    checks["couriers"] = lambda: check_couriers(settings)
    checks["alerts"] = lambda: check_alerting(settings, push)
    checks["push"] = lambda: check_push_url(settings)
    if webhook_url is not None:
        checks["webhook"] = lambda: check_webhook_url(settings, webhook_url)
    findings = run_checks(checks)
    if as_json:
        print_json({"checks": [asdict(finding) for finding in findings]})
    else:
        _print_findings(findings)
    sys.exit(max(EXIT_CODES[finding.level] for finding in findings))


def run_checks(checks: Mapping[str, Check], seconds: float = TIME_LIMIT_SECONDS) -> list[Finding]:
    """Run all checks at once; one that hangs or fails does not affect the others.

    checks: by area. Returns the findings in the order of the areas.
    """
    found: dict[str, list[Finding]] = {area: [] for area in checks}
    # Messages of the code that the checks call are not part of the output.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))

    def run_check(area: str, check: Check) -> None:
        try:
            found[area].extend(check())
        except Exception as error:  # noqa: BLE001 (it must not hide the other checks' findings)
            what = exception_fields(error)
            seen = f"the check failed: {what['error']} at {what['where']}"
            found[area].append(Finding("check", BROKEN, seen, "Please report this as a bug."))

    # Daemons, so that a check that hangs does not keep the program from ending.
    threads = {
        area: threading.Thread(target=run_check, args=(area, check), daemon=True)
        for area, check in checks.items()
    }
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + seconds
    for area, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            seen = f"not finished after {seconds:g} s"
            found[area].append(Finding("check", BROKEN, seen, f"Find out why {area} hangs."))
    return [replace(finding, area=area) for area in checks for finding in list(found[area])]


def _print_findings(findings: list[Finding]) -> None:
    areas = max(len(finding.area) for finding in findings)
    checks = max(len(finding.check) for finding in findings)
    for finding in findings:
        head = f"{finding.level:7}  {finding.area:{areas}}  {finding.check:{checks}}"
        advice = f"  -> {finding.mend}" if finding.mend else ""
        print_line(f"{head}  {finding.seen}{advice}", STYLES[finding.level])
    levels = [finding.level for finding in findings]
    warnings = count_noun(levels.count(WARNING), "warning")
    print_line("")
    print_line(f"{levels.count(BROKEN)} broken, {warnings}, {levels.count(OK)} ok")
