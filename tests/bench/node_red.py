"""The Node-RED peer: http in, INSERT into the same PostgreSQL, http response.

Its packages are pinned by peers/node_red/package-lock.json and installed beside it by the first
`make bench-peers`, with the network.
"""

import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from receiver.standalone import child_process
from tests.bench.stage import Process, Stage, say, wait_for
from tests.service import ROOT

HERE = Path(__file__).parent / "peers" / "node_red"
INSTALLED = ROOT / ".cache" / "node-red"
RED = "node_modules/node-red/red.js"


def started(stage: Stage, environ: dict[str, str]) -> Process | None:
    """The flow, running; None, with a line that says why, where there is no Node.js."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        say("Node-RED is left out: Node.js 18 or newer with npm is missing (apt-get install npm)")
        return None
    INSTALLED.mkdir(parents=True, exist_ok=True)
    for file in HERE.iterdir():
        shutil.copy(file, INSTALLED)
    done = subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=INSTALLED,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        say(f"Node-RED is left out: npm ci failed: {done.stderr.strip()[-500:]}")
        return None
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = urlsplit(environ["DATABASE_URL"])
    log = stage.log("node-red").open("ab")
    process = child_process.start_child(
        [node, RED, "--userDir", ".", "--settings", "settings.js", "flow.json"],
        death_signal=signal.SIGTERM,
        cwd=str(INSTALLED),
        env={
            "PATH": os.environ["PATH"],
            "PORT": str(port),
            "PGHOST": parse_qs(url.query)["host"][0],
            "PGDATABASE": unquote(url.path[1:]),
            "PGUSER": url.username or "",
        },
        log=log.fileno(),
    )
    log.close()

    def stop() -> None:
        with suppress(ProcessLookupError):
            process.terminate()
        process.wait(30)

    stage.stack.callback(stop)
    wait_for(port, stage.log("node-red"))
    return Process(process.pid, port)
