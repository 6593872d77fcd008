"""Every incident that the research describes, and what plays it.

A1 to A12: its list of missing and false alarms. B: its list of plain bugs. C: its table of faults.
Public: incidents that other systems had in public.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Researched(NamedTuple):
    """An incident of the research.

    played_by: names of incidents that are played here, or paths of tests that play it.
    """

    place: str
    what: str
    played_by: tuple[str, ...]

    @property
    def tests(self) -> list[str]:
        return [name for name in self.played_by if name.startswith("tests/")]


RESEARCH = (
    Researched("A1", "PostgreSQL is read-only, and `check` says ok", ("read-only",)),
    Researched(
        "A2",
        "PostgreSQL flushes slowly, and what alert there is resolves",
        ("flush 1.5 s", "flush 7 s", "flush 20 s"),
    ),
    Researched(
        "A3",
        "pushes depend on what they watch: PostgreSQL or the only clock is dead",
        ("PostgreSQL stopped", "clock stopped"),
    ),
    Researched("A4", "500,000 pending messages turn the monitoring off", ("big inbox",)),
    Researched(
        "A5",
        "one open notice silences everything of its kind",
        ("unknown word", "poison bodies", "restart, then a hang"),
    ),
    Researched(
        "A6",
        "a restart, a deploy or a stranger is a false page",
        ("worker restarts", "deploy", "strangers"),
    ),
    Researched(
        "A7",
        "refused credentials are too mild, or forgotten",
        ("refused after one", "quiet courier refused"),
    ),
    Researched(
        "A8",
        "Redis refuses writes, and the alert says that no worker runs",
        ("Redis out of memory", "Redis a replica", "Redis password"),
    ),
    Researched("A9", "a courier answers 429 for hours", ("courier limits",)),
    Researched("A10", "a job fails at every run", ("a job fails",)),
    Researched("A11", "`release` is forgotten", ("release forgotten",)),
    Researched("A12", "pushes fail", ("pushes fail",)),
    Researched("B", "doctor with an ordinary database role", ("ordinary role",)),
    Researched("B", "PagerDuty never resolves", ("tests/test_pushes.py",)),
    Researched("B", "the metrics directory is gone", ("metrics directory",)),
    Researched("B", "file descriptors are used up", ("open files",)),
    Researched("B", "SIGHUP ends worker and clock", ("SIGHUP",)),
    Researched("B", "`ordertrail couriers` shows -3 saved", ("tests/test_accounts.py",)),
    Researched("B", "/readyz calls missing tables unreachable", ("no tables",)),
    Researched("B", "Kubernetes keeps alerts in", ("tests/deploy/test_kubernetes.py",)),
    Researched("B", "doctor's advice for our own tokens", ("tests/test_doctor.py",)),
    Researched("C", "a secret is rotated at the courier", ("secret rotated",)),
    Researched("C", "a courier is silent", ("courier silent",)),
    Researched("C", "an unknown word", ("unknown word",)),
    Researched("C", "poison bodies", ("poison bodies",)),
    Researched("C", "a wrong map of words, corrected, rebuilt", ("unknown word",)),
    Researched("C", "the driver raises", ("driver raises",)),
    Researched("C", "the worker is stopped", ("worker stopped",)),
    Researched("C", "the worker is frozen", ("worker frozen",)),
    Researched("C", "Redis is flushed", ("Redis flushed",)),
    Researched("C", "Redis' password is changed", ("Redis password",)),
    Researched("C", "Redis is full, or a replica", ("Redis out of memory", "Redis a replica")),
    Researched("C", "Redis without append-only file, or evicting", ("Redis evicts",)),
    Researched("C", "Redis is frozen", ("Redis frozen",)),
    Researched("C", "PostgreSQL is stopped", ("PostgreSQL stopped", "PostgreSQL frozen")),
    Researched("C", "PostgreSQL is out of connections", ("out of connections",)),
    Researched("C", "PostgreSQL is read-only", ("read-only",)),
    Researched("C", "PostgreSQL is slow, or its disk full", ("flush 7 s", "disk full")),
    Researched(
        "C", "failover to a replica", ("failover that lags", "synchronous replica dies")
    ),
    Researched("C", "five wrong DATABASE_URLs", ("wrong DATABASE_URL",)),
    Researched("C", "the clock of web's host is wrong", ("wrong clock",)),
    Researched(
        "C", "a courier's API answers 500 or hangs", ("courier answers 500", "courier hangs")
    ),
    Researched("C", "a wrong API token", ("wrong API token",)),
    Researched("C", "a courier's certificate is not trusted", ("certificate",)),
    Researched("C", "migrate while serving", ("migrate while serving",)),
    Researched("C", "pg_dump and pg_restore under load", ("tests/system/test_backup.py",)),
    Researched("C", "SIGTERM to every process", ("deploy",)),
    Researched("public", "Hook0: a flood, and an alert that is silent on no data",
               ("flood", "no data")),
    Researched("public", "Svix: throttled messages that no latency counts", ("one message held",)),
    Researched(
        "public", "Hookdeck: intake that waits for processing", ("processing held", "flush 7 s")
    ),
    Researched(
        "public", "catalyst: 401 or a dead tunnel, with everything green",
        ("secret rotated", "courier silent"),
    ),
    Researched(
        "public", "Outpost, Svix: a worker that never comes back after a blip",
        ("Redis blip", "Redis restarted empty"),
    ),
    Researched("public", "Vexa: the second path shares the first one's Redis", ("Redis away",)),
)  # fmt: skip


def places_of(name: str) -> str:
    """The places of the research that an incident plays."""
    return ", ".join(dict.fromkeys(_places_of(name)))


def _places_of(name: str) -> Iterable[str]:
    for one in RESEARCH:
        if name in one.played_by:
            yield one.what.partition(":")[0] if one.place == "public" else one.place
