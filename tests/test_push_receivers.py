"""The receiving ends that the developers' page shows, in Python and PHP, as they stand there."""

import http.client
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.push_shop import OLD_SECRET, PATH, SECRET
from tests.service import ROOT, free_port, running, wait_until
from workers.pushing.shop_client import ShopClient

PAGE = (ROOT / "deploy" / "docs" / "integrating.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## 5.", 1)[1].split("\n## ", 1)[0]
RUN_FLASK = "\napp.run(port={port})\n"

CHANGES = [
    {"account": "tiramizoo", "courier_order_id": "Zoë-1", "version": 7, "status": "delivered"},
    {"account": "cottoncast", "courier_order_id": "41", "version": 2, "status": "in_transit"},
]


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
    return str(found)


class Receiver:
    """A receiving end at work. output: a file with what it prints."""

    def __init__(self, port: int, output: Path) -> None:
        self.url = f"http://127.0.0.1:{port}{PATH}"
        self.output = output

    def take(self, *secrets: str, kind: str = "orders.changed", at: datetime | None = None) -> str:
        """How a push that is signed with these secrets is answered."""
        now = at or datetime.now(UTC)
        data: dict[str, Any] = {"changes": CHANGES} if kind == "orders.changed" else {}
        client = ShopClient(self.url, secrets)
        try:
            return client.post("msg_1", kind, now, data, now).detail
        finally:
            client.close()

    def post(self, headers: dict[str, str]) -> int:
        """How a body with these headers is answered."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request("POST", PATH, b'{"type": "orders.changed"}', headers)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module", params=["python", "php"])
def receiver(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Receiver]:
    """The page's own text, run by its language."""
    where, port = tmp_path_factory.mktemp(request.param), free_port()
    if request.param == "python":
        program = where / "shop.py"
        program.write_text(block("python") + RUN_FLASK.format(port=port))
        command: tuple[str, ...] = (sys.executable, "-u", str(program))
    else:
        php = shutil.which("php")
        if php is None:
            pytest.skip("php is not installed (Debian: apt-get install php-cli)")
        program = where / "shop.php"
        program.write_text(block("php"))
        command = (php, "-S", f"127.0.0.1:{port}", str(program))
    output = where / "output"
    with running(command, {"PUSH_SECRET": SECRET}, output):
        made = Receiver(port, output)

        def listens() -> bool:
            with suppress(OSError, http.client.HTTPException):
                return made.post({}) == 401
            return False

        wait_until(listens)
        yield made


def test_a_push_is_taken_and_its_changes_are_handled(receiver: Receiver) -> None:
    assert receiver.take(SECRET) == "answered 204"
    for change in CHANGES:
        line = rf"{change['account']} {change['courier_order_id']} (\d+ )?{change['status']}"
        wait_until(lambda line=line: re.search(line, receiver.output.read_text()))  # type: ignore[misc]


def test_one_right_signature_of_several_is_enough(receiver: Receiver) -> None:
    assert receiver.take(OLD_SECRET, SECRET) == "answered 204"


def test_a_type_that_is_not_known_is_accepted(receiver: Receiver) -> None:
    assert receiver.take(SECRET, kind="ordertrail.test") == "answered 204"


def test_a_wrong_signature_and_an_old_time_are_refused(receiver: Receiver) -> None:
    now = datetime.now(UTC)
    assert receiver.take(OLD_SECRET) == "answered 401"
    for minutes in (-6, 6):
        assert receiver.take(SECRET, at=now + timedelta(minutes=minutes)) == "answered 401"
    assert receiver.take(SECRET, at=now - timedelta(minutes=4)) == "answered 204"


@pytest.mark.parametrize("signature", ["", "v1,", "v1,%%", "v1", "x", "v1,AAAA v2,BBBB", ","])
def test_what_is_no_signature_is_refused(receiver: Receiver, signature: str) -> None:
    now = str(int(datetime.now(UTC).timestamp()))
    headers = {"webhook-id": "msg_1", "webhook-timestamp": now, "webhook-signature": signature}
    assert receiver.post(headers) == 401
    assert receiver.post({**headers, "webhook-timestamp": "soon"}) == 401


def test_without_a_secret_the_php_refuses_everything(tmp_path: Path) -> None:
    """PHP-FPM clears the environment; an empty key would be one that everybody knows."""
    php = shutil.which("php")
    if php is None:
        pytest.skip("php is not installed (Debian: apt-get install php-cli)")
    functions = block("php").split("$body = file_get", 1)[0]
    signed = """
$_SERVER['HTTP_WEBHOOK_ID'] = 'a';
$_SERVER['HTTP_WEBHOOK_TIMESTAMP'] = (string) time();
$text = 'a.' . time() . '.{}';
$_SERVER['HTTP_WEBHOOK_SIGNATURE'] = 'v1,' . base64_encode(hash_hmac('sha256', $text, '', true));
var_dump(is_signed('{}', ''));
"""
    (tmp_path / "empty.php").write_text(functions + signed)
    done = subprocess.run(
        [php, "empty.php"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "bool(false)"
