"""An nginx for the tests: deploy/nginx/nginx.conf, before whichever web processes."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.service import ROOT

CONF = ROOT / "deploy" / "nginx" / "nginx.conf"
PROGRAM = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")


def require() -> str:
    """Where the program is; without it the test is passed over."""
    if PROGRAM is None:
        assert "CI" not in os.environ, "nginx is missing"
        pytest.skip("needs nginx (Debian: apt-get install nginx)")
    return PROGRAM


def certify(directory: Path, *names: str) -> Path:
    """A certificate of its own making for these names (DNS:... or IP:...), as nginx wants it."""
    tls = directory / "tls"
    tls.mkdir()
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=ordertrail"]
    command += ["-addext", f"subjectAltName={','.join(names)}"]
    command += ["-keyout", str(tls / "key.pem"), "-out", str(tls / "fullchain.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return tls / "fullchain.pem"


def prepared(
    directory: Path, webs: Sequence[str], port: int = 443, plain: int = 80, listen: str = ""
) -> Path:
    """A prefix for nginx: the deployed configuration, with these web hosts and ports."""
    text = CONF.read_text(encoding="utf-8")
    for was, now in {
        "listen 80;": f"listen {listen}{plain};",
        "listen [::]:80;": "",
        "listen 443 ssl http2;": f"listen {listen}{port} ssl http2;",
        "listen [::]:443 ssl http2;": "",
        "worker_processes auto;": "worker_processes 1;",
        "/run/nginx.pid": "run/nginx.pid",
        "/var/log/nginx/": "logs/",
    }.items():
        assert was in text, f"{was!r} is not in {CONF}"
        text = text.replace(was, now)
    for made in ("run", "logs", "temp"):
        (directory / made).mkdir()
    temporary = " ".join(
        f"{name}_temp_path temp/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = text.replace("http {\n", f"http {{\n    {temporary}\n", 1)
    (directory / "nginx.conf").write_text(text)
    upstream = (CONF.parent / "upstream.conf").read_text(encoding="utf-8")
    (line,) = [line for line in upstream.splitlines() if "server web:8000" in line]
    servers = "\n".join(line.replace("web:8000", web) for web in webs)
    (directory / "upstream.conf").write_text(upstream.replace(line, servers))
    return directory


def command(program: str, prefix: Path) -> list[str]:
    """Nginx in the foreground."""
    told = ["-p", f"{prefix}/", "-c", "nginx.conf", "-e", "logs/error.log"]
    return [program, *told, "-g", "daemon off;"]
