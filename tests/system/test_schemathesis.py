"""The API against its own description, by Schemathesis over HTTP.

All checks in all phases: the examples, the limits of each parameter, random values, and sequences
of requests. A few dozen cases for each operation; SCHEMATHESIS_EXAMPLES=1000 runs thousands.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.conftest import API_TOKEN
from tests.everything import READ_TOKEN
from tests.service import Web

CONFIG = Path(__file__).parent / "schemathesis.toml"
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "4"))
# Seconds: for as many as are asked for, on a busy machine.
LONGEST = 300 + 4 * EXAMPLES


@contextmanager
def news(shop: FlaskClient) -> Iterator[None]:
    """Change an order again and again, so that no request waits long for changes."""
    over = threading.Event()

    def tell() -> None:
        number = 0
        while not over.wait(0.3):
            number += 1
            new = {"account": "tiramizoo", "courier_order_id": "news", "reference": str(number)}
            shop.post("/v1/orders", json=new)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.timeout(LONGEST + 60)
@pytest.mark.parametrize("token", [API_TOKEN, READ_TOKEN])
def test_whatever_is_asked_the_answer_is_as_described(
    token: str, filled: Web, shop: FlaskClient, tmp_path: Path
) -> None:
    arguments = [
        *("--config-file", str(CONFIG)),
        *("run", f"http://127.0.0.1:{filled.port}/v1/openapi.json"),
        *("--max-examples", str(EXAMPLES), "--no-color"),
        *("--report", "ndjson", "--report-dir", str(tmp_path)),
    ]
    with news(shop):
        run = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", *arguments],
            cwd=tmp_path,
            env={**os.environ, "ORDERTRAIL_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    told = run.stdout + run.stderr
    assert run.returncode == 0, told
    # It has nothing to say where it could ask nothing.
    assert re.search(r"(\d+) generated", told), told
    print(told)  # noqa: T201 (what was run: pytest -s)
