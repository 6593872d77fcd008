"""Memory, open files and CPU time of web, workers and clocks, as Prometheus' client reads them.

The client cannot add them up over the processes of a web host, and nobody scrapes workers and
clocks. So each process writes its own to Redis every few seconds, and each web process shows them.
"""

import json
import os
import socket
import time
from dataclasses import dataclass

from prometheus_client import ProcessCollector
from redis import Redis

from receiver.background_thread import BackgroundThread

EVERY_SECONDS = 10.0
# A process that has written nothing for longer is gone.
KEPT_SECONDS = 60.0

PROCESSES_KEY = "ordertrail:processes"
CPU_KEY = "ordertrail:process_cpu_seconds"
KINDS = ("web", "worker", "clock")


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """The processes of one kind: how many, and what the one that needs most of each needs.

    memory: resident, in bytes. open_files, most_files: of the process nearest to its limit.
    cpu_seconds: of all that ever ran, since Redis was last emptied.
    """

    count: int
    memory: float
    open_files: float
    most_files: float
    cpu_seconds: float


class UsageReporter:
    """Writes the usage of this process to Redis. kind: one of KINDS."""

    def __init__(self, redis: Redis, kind: str) -> None:
        self._redis, self._kind = redis, kind
        self._cpu_written = 0.0
        self._thread = BackgroundThread(
            "process_usage_report", self.report, retry_seconds=EVERY_SECONDS
        )

    def start(self) -> None:
        """Report every few seconds from now on, in a thread; not before a fork."""
        self._thread.wake()

    def report(self) -> float:
        """Write the usage; return after how many seconds to do so again.

        Raises: RedisError, OSError.
        """
        usage = read_own_usage()
        cpu = usage.get("process_cpu_seconds", 0.0)
        field = f"{self._kind} {socket.gethostname()} {os.getpid()}"
        facts = [
            time.time(),
            usage.get("process_resident_memory_bytes", 0.0),
            usage.get("process_open_fds", 0.0),
            usage.get("process_max_fds", 0.0),
        ]
        with self._redis.pipeline() as pipeline:
            pipeline.hset(PROCESSES_KEY, field, json.dumps(facts))
            pipeline.hincrbyfloat(CPU_KEY, self._kind, cpu - self._cpu_written)
            pipeline.execute()
        self._cpu_written = cpu
        return EVERY_SECONDS


def read_own_usage() -> dict[str, float]:
    """Return what the client's collector reads of this process, by name; elsewhere than on Linux
    it reads nothing.
    """
    return {
        metric.name: metric.samples[0].value for metric in ProcessCollector(registry=None).collect()
    }


def read_usage(redis: Redis) -> dict[str, ProcessUsage]:
    """Return the usage of each kind of process that is alive; forget those that are gone.

    Raises: RedisError, OSError.
    """
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.hgetall(PROCESSES_KEY)
        pipeline.hgetall(CPU_KEY)
        fields, cpu = pipeline.execute()
    since = time.time() - KEPT_SECONDS
    alive: dict[str, list[list[float]]] = {}
    gone = []
    for field, raw in fields.items():
        facts = json.loads(raw)
        if facts[0] < since:
            gone.append(field)
        else:
            alive.setdefault(field.decode().partition(" ")[0], []).append(facts[1:])
    if gone:
        redis.hdel(PROCESSES_KEY, *gone)
    return {
        kind: _add_up(facts, float(cpu.get(kind.encode(), 0)))
        for kind, facts in alive.items()
        if kind in KINDS
    }


def _add_up(facts: list[list[float]], cpu_seconds: float) -> ProcessUsage:
    _, open_files, most_files = max(facts, key=lambda one: one[1] / (one[2] or 1))
    memory = max(one[0] for one in facts)
    return ProcessUsage(len(facts), memory, open_files, most_files, cpu_seconds)
