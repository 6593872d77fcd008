"""`ordertrail doctor`: the checks run side by side, each within its time, shown in their order."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict

import click
import structlog

from receiver.cli.options import json_option
from receiver.cli.output import print_json, print_line
from receiver.cli.session import read_environment
from receiver.logs import exception_fields
from workers.cli.doctor import couriers, postgresql, processes, redis, settings, webhook
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding, Findings

# Seconds for all checks together, however many servers hang.
WHOLE = 45.0
STYLES = {OK: "green", NOTE: "dim", WARNING: "yellow", BROKEN: "bold red"}
EXIT = {OK: 0, NOTE: 0, WARNING: 1, BROKEN: 2}

Check = Callable[[], Findings]


@click.command(epilog="Exit codes: 0 all is well; 1 there are warnings; 2 something is broken.")
@click.option("--webhook-url", metavar="URL", help="Where couriers find it: tried from here.")
@json_option
def doctor_command(webhook_url: str | None, as_json: bool) -> None:
    """Examine an installation and say what to correct.

    Checks the settings, PostgreSQL, Redis, the processes and the couriers' APIs, one line per
    check; each courier that can be polled gets one request. --webhook-url also checks the address
    that couriers call, such as https://hooks.shop.example, with credentials that are certainly
    wrong; this is best run from outside.
    """
    if webhook_url is not None and not webhook_url.startswith(("https://", "http://")):
        raise click.UsageError("--webhook-url is to be the installation's address: https://...")
    environ = read_environment()
    usable = settings.usable(environ)
    here = usable.settings
    checks: dict[str, Check] = {settings.AREA: lambda: settings.check(usable, environ)}
    if "DATABASE_URL" not in usable.missing:
        checks[postgresql.AREA] = lambda: postgresql.check(here, environ)
    if "REDIS_URL" not in usable.missing:
        checks[redis.AREA] = lambda: redis.check(here)
    if usable.missing.isdisjoint({"DATABASE_URL", "REDIS_URL"}):
        checks[processes.AREA] = lambda: processes.check(here)
    checks[couriers.AREA] = lambda: couriers.check(here)
    if webhook_url is not None:
        checks[webhook.AREA] = lambda: webhook.check(here, webhook_url)
    findings = run(checks)
    if as_json:
        print_json({"checks": [asdict(finding) for finding in findings]})
    else:
        show(findings)
    sys.exit(max(EXIT[finding.level] for finding in findings))


def run(checks: dict[str, Check], seconds: float = WHOLE) -> list[Finding]:
    """Run all checks at once; one that hangs costs only what it would still have said."""
    found: dict[str, list[Finding]] = {area: [] for area in checks}
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))

    def run_one(area: str, check: Check) -> None:
        try:
            found[area].extend(check())
        except Exception as failure:  # noqa: BLE001 (one check's fault must not hide the others)
            seen = f"the check itself failed: {exception_fields(failure)}"
            found[area].append(Finding(area, "check", BROKEN, seen, "Please report this."))

    threads = {
        area: threading.Thread(target=run_one, args=(area, check), daemon=True)
        for area, check in checks.items()
    }
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + seconds
    for area, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            seen = f"not through after {seconds:g} s"
            found[area].append(Finding(area, "check", BROKEN, seen, "Look what hangs there."))
    return [finding for told in found.values() for finding in list(told)]


def show(findings: list[Finding]) -> None:
    widths = [
        max(len(getattr(finding, name)) for finding in findings)
        for name in ("level", "area", "check")
    ]
    for finding in findings:
        words = [finding.level, finding.area, finding.check]
        head = "  ".join(word.ljust(width) for word, width in zip(words, widths, strict=True))
        mend = f"  -> {finding.mend}" if finding.mend else ""
        print_line(
            f"{head}  {finding.seen}{mend}", STYLES[finding.level] if finding.level != OK else ""
        )
    counts = {level: sum(it.level == level for it in findings) for level in STYLES}
    said = [f"{counts[BROKEN]} broken", f"{counts[WARNING]} warnings", f"{counts[OK]} ok"]
    print_line("")
    print_line(", ".join(said))
