"""nginx in front of the service, by the configuration that is deployed."""

import http.client
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import pytest

from receiver.settings import Settings
from receiver.standalone import child_process
from tests import nginx
from tests.bodies import raw, tiramizoo_order
from tests.conftest import API_TOKEN
from tests.service import Answer, Web, free_port, wait_until

PATH = "/webhooks/tiramizoo/orders/tiramizoo-token"
BEARER = {"Authorization": f"Bearer {API_TOKEN}"}
NOTHING: Mapping[str, str] = MappingProxyType({})


class Front:
    """An nginx that runs, and who asks it."""

    def __init__(self, prefix: Path, port: int, plain: int) -> None:
        self.prefix = prefix
        self.port = port
        self.plain = plain
        self._trust = ssl.create_default_context(cafile=str(prefix / "tls" / "fullchain.pem"))

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] = NOTHING,
    ) -> Answer:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=20, context=self._trust
        )
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()

    def logged(self) -> str:
        return "".join(path.read_text() for path in sorted((self.prefix / "logs").iterdir()))


@contextmanager
def running(web: str) -> Iterator[Front]:
    program = nginx.require()
    # Nobody, which nginx's workers are, must get through to it.
    prefix = Path(tempfile.mkdtemp(prefix="ot-nginx-"))
    prefix.chmod(0o711)
    nginx.certify(prefix, "IP:127.0.0.1")
    port, plain = free_port(), free_port()
    nginx.prepared(prefix, [web], port, plain, listen="127.0.0.1:")
    tested = subprocess.run(
        [*nginx.command(program, prefix)[:-2], "-t"], capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stderr
    process = child_process.start_child(
        nginx.command(program, prefix),
        death_signal=signal.SIGTERM,
        cwd=str(prefix),
        env={"PATH": "/usr/sbin:/usr/bin"},
    )
    front = Front(prefix, port, plain)

    def answers() -> bool:
        assert process.poll() is None, front.logged()
        with suppress(OSError):
            return front.ask("GET", "/").status_code == 404
        return False

    try:
        wait_until(answers)
        yield front
    finally:
        process.terminate()
        process.wait()
        child_process.end_session(process.pid)
        shutil.rmtree(prefix, ignore_errors=True)


@pytest.fixture
def front(web: Web, sessions: object, redis: object) -> Iterator[Front]:
    with running(f"127.0.0.1:{web.port}") as front:
        yield front


@pytest.fixture
def lonely_front() -> Iterator[Front]:
    """An nginx behind which nobody is."""
    with running(f"127.0.0.1:{free_port()}") as front:
        yield front


def test_a_hook_comes_through_and_its_token_is_not_logged(front: Front) -> None:
    assert front.ask("POST", PATH, raw(tiramizoo_order())).status_code == 200
    assert front.ask("POST", f"{PATH}-wrong?why=secret", b"{}").status_code == 401
    assert front.ask("GET", "/v1/orders?reference=41", headers=BEARER).json["orders"] == []
    logged = wait_until(lambda: front.logged() if "/v1/orders" in front.logged() else "")
    assert '"path":"/webhooks/tiramizoo/orders/***","status":200' in logged
    assert '"path":"/webhooks/tiramizoo/orders/***","status":401' in logged
    assert "tiramizoo-token" not in logged
    assert "secret" not in logged
    assert "reference=41" not in logged


def test_where_no_web_host_answers_couriers_are_told_to_come_again(lonely_front: Front) -> None:
    answer = lonely_front.ask("POST", PATH, raw(tiramizoo_order()))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json["status"] == "error"
    answer = lonely_front.ask("GET", "/v1/orders", headers=BEARER)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.headers["Content-Type"] == "application/problem+json"
    # nginx would write the whole address beside the error.
    wait_until(lambda: '"status":503' in lonely_front.logged())
    assert "tiramizoo-token" not in lonely_front.logged()


def test_too_large_a_body_is_refused_in_the_services_words_by_either(
    front: Front, settings: Settings
) -> None:
    most = settings.max_body_bytes
    by_web = front.ask("POST", PATH, b" " * (most + 1))
    by_nginx = front.ask("POST", PATH, b" " * (most + 200_000))
    for answer in (by_web, by_nginx):
        assert answer.status_code == 413
        assert answer.json["status"] == "error"
    assert by_web.json["message"] != by_nginx.json["message"]
    limit = re.findall(r"client_max_body_size (\d+)k;", nginx.CONF.read_text(encoding="utf-8"))
    assert most < int(limit[0]) * 1024 < 1.1 * most


def test_what_is_for_inside_is_not_shown_outside(front: Front) -> None:
    for path in ("/metrics", "/livez", "/readyz", "/"):
        assert front.ask("GET", path, headers=BEARER).status_code == 404
    assert front.ask("GET", "/v1/statuses", headers=BEARER).status_code == 200


def test_a_reader_of_the_feed_may_wait_for_longer_than_others(front: Front) -> None:
    """Longer than any other answer may take, as nginx is told."""
    text = nginx.CONF.read_text(encoding="utf-8")
    others = min(map(int, re.findall(r"proxy_read_timeout (\d+)s;", text)))
    answer = front.ask("GET", f"/v1/changes?after=now&wait={others + 3}", headers=BEARER)
    assert (answer.status_code, answer.json["changes"]) == (200, [])


def test_a_forwarded_address_is_nobodys_word(front: Front) -> None:
    headers = {
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Proto": "gopher",
        "Forwarded": "for=x",
        "Script_Name": "/x",
    }
    answer = front.ask("POST", PATH, raw(tiramizoo_order()), headers)
    assert answer.status_code == 200
    assert '"from":"127.0.0.1"' in wait_until(front.logged)


def test_in_the_clear_nothing_is_taken(front: Front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.plain, timeout=20)
    try:
        connection.request("POST", PATH, raw(tiramizoo_order()))
        assert connection.getresponse().status == 421
    finally:
        connection.close()
