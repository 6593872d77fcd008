"""Told to stop, or to start anew, in the middle of everything: what is held is finished."""

import http.client
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from redis import Redis
from rq import Worker
from rq.serializers import JSONSerializer
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import APPLIED, PENDING, Event, Message
from receiver.queue.doorbell import ring_doorbell
from receiver.queue.job_queue import get_queue
from receiver.queue.liveness import count_live_workers
from tests.bodies import after, cottoncast_signature, cottoncast_status, raw
from tests.conftest import API_TOKEN
from tests.service import (
    CLOCK,
    ROOT,
    WORKER,
    Web,
    head,
    read_answer,
    running,
    running_web,
    wait_until,
)
from workers.progress import ProgressReporter
from workers.runtime import STOP
from workers.worker import Worker as OurWorker

pytestmark = [pytest.mark.xdist_group("graceful"), pytest.mark.timeout(240)]

Sessions = sessionmaker[Session]

HOOK = "/webhooks/cottoncast/orders"
# Promised, and how long a busy machine may take besides.
TEN_SECONDS = 10.0
BUSY = 10.0
CALLERS = 8


@dataclass
class Callers:
    """Couriers that call without a pause; every other call is on a connection of its own.

    ports: where to call, one after the other; a port where nobody listens is passed over, as any
    load balancer does it.
    """

    ports: list[int]
    answered: int = 0
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]

    @contextmanager
    def calling(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def wait_for(self, more: int) -> None:
        """Until so many more calls are answered."""
        wanted = self.answered + more
        wait_until(lambda: self.answered >= wanted or self.failed, 60)

    def _call(self) -> None:
        kept: dict[int, http.client.HTTPConnection] = {}
        while not self._stop.is_set():
            with self._lock:
                number = next(self._numbers)
            body = raw(cottoncast_status("E", after(1), f"G{number}", number))
            said = self._post(body, kept, number)
            with self._lock:
                if said == "200":
                    self.answered += 1
                else:
                    self.failed.append(said)
        for connection in kept.values():
            connection.close()

    def _post(self, body: bytes, kept: dict[int, http.client.HTTPConnection], number: int) -> str:
        for port in self.ports[number % len(self.ports) :] + self.ports:
            old = kept.pop(port, None)
            connection = old or http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            step = "request"
            try:
                connection.request("POST", HOOK, body, cottoncast_signature(body))
                step = "answer"
                answer = connection.getresponse()
                answer.read()
                if number % 2 and not answer.will_close:
                    kept[port] = connection
                else:
                    connection.close()
                return str(answer.status)
            except ConnectionRefusedError:
                connection.close()
            except (OSError, http.client.HTTPException) as failure:
                connection.close()
                return f"{type(failure).__name__} at {step}, {'kept' if old else 'new'} connection"
        return "nobody listens"


def workers_of(master: int) -> set[int]:
    return {child.pid for child in psutil.Process(master).children()}


def master_of(web: Web) -> psutil.Process:
    """The gunicorn master of a web process of these tests."""
    mine = psutil.Process().children(recursive=True)
    for process in mine:
        with suppress(psutil.Error):
            listening = [it.laddr.port for it in process.net_connections("tcp")]
            if web.port in listening and process.ppid() == psutil.Process().pid:
                return process
    raise AssertionError(f"nobody listens on {web.port}")


def test_a_reload_under_load_fails_no_request(
    environ: dict[str, str], sessions: Sessions, tmp_path: Path
) -> None:
    with running_web(environ, tmp_path / "web.log") as web:
        master = master_of(web)
        callers = Callers([web.port])
        with callers.calling():
            for _ in range(3):
                before = workers_of(master.pid)
                callers.wait_for(50)
                master.send_signal(signal.SIGHUP)
                wait_until(lambda: not before & workers_of(master.pid), 60)  # noqa: B023
            callers.wait_for(50)
        assert callers.failed == []
    assert kept(sessions) == callers.answered


def test_the_old_worker_answers_until_the_new_one_has_loaded(
    environ: dict[str, str], sessions: Sessions, tmp_path: Path
) -> None:
    gate, opener = os.pipe()
    # One byte, one worker: the first passes.
    os.write(opener, b"1")
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "gunicorn.conf.py").write_text(
        f"""
exec(open({str(ROOT / "deploy" / "gunicorn.conf.py")!r}).read())
loaded = post_worker_init

def post_worker_init(worker):
    os.read({gate}, 1)
    loaded(worker)
"""
    )
    with running_web(environ, tmp_path / "web.log", cwd=tmp_path, keep=(gate,)) as web:
        master = master_of(web)
        callers = Callers([web.port])
        with callers.calling():
            for is_killed in (False, True):
                before = workers_of(master.pid)
                callers.wait_for(50)
                master.send_signal(signal.SIGHUP)
                [new] = wait_until(lambda: workers_of(master.pid) - before, 60)  # noqa: B023
                if is_killed:
                    psutil.Process(new).kill()
                    wait_until(lambda: workers_of(master.pid) - before - {new}, 60)  # noqa: B023
                callers.wait_for(500)
                assert before <= workers_of(master.pid)
                os.write(opener, b"1")
                wait_until(lambda: not before & workers_of(master.pid), 60)  # noqa: B023
            callers.wait_for(50)
        assert callers.failed == []
        assert len(workers_of(master.pid)) == 1
    os.close(gate)
    os.close(opener)


def test_another_gunicorn_takes_over_the_port_without_a_failed_request(
    environ: dict[str, str], sessions: Sessions, tmp_path: Path
) -> None:
    # As the Procfile has it: gunicorn starts itself anew in the way that it was started.
    script = (str(Path(sys.executable).with_name("gunicorn")),)
    with running_web(environ, tmp_path / "web.log", script) as web, ExitStack() as stack:
        old = master_of(web)
        callers = Callers([web.port])
        with callers.calling():
            callers.wait_for(50)
            old_workers = workers_of(old.pid)
            old.send_signal(signal.SIGUSR2)
            (pid,) = wait_until(lambda: workers_of(old.pid) - old_workers)
            new = psutil.Process(pid)
            stack.callback(new.wait, 30)
            stack.callback(new.terminate)
            wait_until(lambda: workers_of(pid), 60)
            callers.wait_for(50)
            old.terminate()
            old.wait(TEN_SECONDS + BUSY)
            callers.wait_for(50)
        assert callers.failed == []
    assert kept(sessions) == callers.answered


def test_a_rolling_restart_of_two_web_processes_fails_no_request(
    environ: dict[str, str], sessions: Sessions, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        stacks = [stack.enter_context(ExitStack()) for _ in range(2)]
        webs = [
            own.enter_context(running_web(environ, tmp_path / f"web{number}.log"))
            for number, own in enumerate(stacks)
        ]
        callers = Callers([web.port for web in webs])
        with callers.calling():
            for number, own in enumerate(stacks):
                callers.wait_for(50)
                master = master_of(webs[number])
                started = time.monotonic()
                master.terminate()
                master.wait(TEN_SECONDS + BUSY)
                assert time.monotonic() - started < TEN_SECONDS + BUSY
                own.close()
                callers.wait_for(20)
                again = own.enter_context(running_web(environ, tmp_path / f"again{number}.log"))
                callers.ports[number] = again.port
            callers.wait_for(50)
        assert callers.failed == []
    assert kept(sessions) == callers.answered


def test_a_body_that_is_half_here_at_the_stop_is_taken_in_whole(
    environ: dict[str, str], sessions: Sessions, tmp_path: Path
) -> None:
    body = raw(cottoncast_status())
    lines = [f"{name}: {value}" for name, value in cottoncast_signature(body).items()]
    with running_web(environ, tmp_path / "web.log") as web, web.connected() as connection:
        master = master_of(web)
        connection.sendall(head(HOOK, *lines, f"Content-Length: {len(body)}") + body[:20])
        # Answered after it, so the half was read by then.
        assert web.get("/livez").status_code == 200
        master.terminate()
        wait_until(lambda: "Handling signal: term" in (tmp_path / "web.log").read_text())
        connection.sendall(body[20:])
        answer = read_answer(connection)
        assert answer.status_code == 200
        # Idle now, and no reason to go on.
        master.wait(TEN_SECONDS + BUSY)
    assert kept(sessions) == 1


def test_a_reader_that_waits_for_changes_is_answered_at_the_stop(
    environ: dict[str, str], sessions: Sessions, tmp_path: Path
) -> None:
    with running_web(environ, tmp_path / "web.log") as web, web.connected() as connection:
        request = (
            "GET /v1/changes?after=now&wait=30 HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {API_TOKEN}\r\n\r\n"
        )
        connection.sendall(request.encode())
        wait_until(lambda: waiting_readers(web) == 1)
        master = master_of(web)
        started = time.monotonic()
        master.terminate()
        answer = read_answer(connection)
        assert (answer.status_code, answer.json["changes"]) == (200, [])
        master.wait(TEN_SECONDS + BUSY)
        assert time.monotonic() - started < 30


def test_a_worker_told_to_stop_in_the_middle_of_a_backlog_leaves_nothing_half_done(
    environ: dict[str, str], sessions: Sessions, redis: Redis, web: Web, tmp_path: Path
) -> None:
    for number in range(600):
        body = raw(cottoncast_status("E", after(1), f"B{number}", number))
        assert web.post(HOOK, body, cottoncast_signature(body)).status_code == 200
    with running(WORKER, environ, tmp_path / "worker.log") as process:
        wait_until(lambda: Worker.count(redis))
        ring_doorbell(redis)
        wait_until(lambda: kept(sessions, APPLIED))
        started = time.monotonic()
        process.terminate()
        assert process.wait(TEN_SECONDS + BUSY) == 0
        assert time.monotonic() - started < TEN_SECONDS + BUSY
    assert kept(sessions, APPLIED) + kept(sessions, PENDING) == 600
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == kept(sessions, APPLIED)
    redis.flushdb()
    with (
        running(WORKER, environ, tmp_path / "worker.log"),
        running(CLOCK, environ, tmp_path / "clock.log"),
    ):
        wait_until(lambda: kept(sessions, APPLIED) == 600, 60)


def test_a_worker_that_redis_forgot_is_counted_again(
    environ: dict[str, str], redis: Redis, tmp_path: Path
) -> None:
    with running(WORKER, environ, tmp_path / "worker.log") as process:
        wait_until(lambda: count_live_workers(redis) == 1)
        redis.flushdb()
        assert count_live_workers(redis) == 0
        wait_until(lambda: count_live_workers(redis) == 1)
        [again] = Worker.all(redis)
        assert (again.pid, again.queue_names()) == (process.pid, ["ordertrail"])
        process.terminate()
        assert process.wait(TEN_SECONDS + BUSY) == 0
    assert Worker.count(redis) == 0


@pytest.mark.parametrize("arguments", [WORKER, CLOCK], ids=["worker", "clock"])
def test_an_idle_process_stops_at_once(
    arguments: tuple[str, ...], environ: dict[str, str], redis: Redis, tmp_path: Path
) -> None:
    with running(arguments, environ, tmp_path / "log") as process:
        if arguments is WORKER:
            wait_until(lambda: Worker.count(redis))
        else:
            wait_until(lambda: redis.keys("ordertrail:clock:*"))
        process.terminate()
        assert process.wait(TEN_SECONDS + BUSY) == 0


def test_a_worker_that_is_told_to_stop_before_it_listens_stops(redis: Redis) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    STOP.set()
    try:
        worker = OurWorker(
            [get_queue(redis)],
            connection=redis,
            serializer=JSONSerializer,
            progress=ProgressReporter(None, None),
        )
        assert worker.work(logging_level="WARNING") is False
    finally:
        STOP.clear()
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def kept(sessions: Sessions, outcome: str | None = None) -> int:
    """How many messages there are, or of this outcome."""
    with sessions() as session:
        wanted = select(func.count()).select_from(Message)
        if outcome is not None:
            wanted = wanted.where(Message.outcome == outcome)
        return session.scalar(wanted) or 0


def waiting_readers(web: Web) -> int:
    told = web.get("/metrics", {"Authorization": f"Bearer {API_TOKEN}"}).data.decode()
    counts = [line for line in told.splitlines() if line.startswith("ordertrail_changes_waiting ")]
    return int(float(counts[0].split()[1])) if counts else 0
