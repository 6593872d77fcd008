"""Check that alerts reach somebody: ALERT_URLS and HEARTBEAT_URL.

Without --push each address is only connected to: a test alert would alarm people, and a heartbeat
would tell its monitor that all is well. No finding shows an address, which may hold a password.
"""

import socket
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from receiver.settings import Settings
from workers.alerting.pushes import send_test_push
from workers.cli.doctor.findings import BROKEN, NOTE, OK, Finding, Findings
from workers.cli.doctor.http_probe import NoResponse, send_probe

CONNECT_SECONDS = 5.0
DEFAULT_PORTS = {"http": 80, "https": 443}


def check_alerting(settings: Settings, push: bool) -> Findings:
    """Check each address. push: send a test alert to it, or a heartbeat."""
    # It takes half a second to import.
    from apprise import Apprise  # noqa: PLC0415

    for number, url in enumerate(settings.alert_urls, 1):
        name = f"ALERT_URLS no. {number}"
        # None for what Apprise does not know, which is a fault of the settings.
        service: Any = Apprise.instantiate(url)
        if push:
            yield _send_push(settings, name, url)
        elif (address := _find_address(service)) is None:
            seen = f"known to Apprise ({service.service_name}), but not tried"
            yield Finding(name, NOTE, f"{seen}: --push sends a test alert")
        else:
            yield _connect(name, *address)
    if settings.heartbeat_url is not None:
        parts = urlsplit(settings.heartbeat_url)
        if push:
            yield _send_heartbeat(settings.heartbeat_url)
        else:
            port = parts.port or DEFAULT_PORTS[parts.scheme]
            yield _connect("HEARTBEAT_URL", parts.hostname or "", port)


def _find_address(service: Any) -> tuple[str, int] | None:
    """Return the host and the port of an address, if it names a host and not only an account."""
    if getattr(service, "smtp_host", None):
        host, _, port = service.smtp_host.partition(":")
        return host, int(port or service.port)
    if service.host and any("{host}" in template for template in service.templates):
        return service.host, service.port or (443 if service.secure else 80)
    return None


def _connect(name: str, host: str, port: int) -> Finding:
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else error.strerror
        advice = f"Correct {name.partition(' ')[0]}, or let this host reach it (DNS, firewall)."
        return Finding(name, BROKEN, f"{host} port {port}: {why}", advice)
    return Finding(name, OK, f"{host} port {port} takes connections; --push also sends a test")


def _send_push(settings: Settings, name: str, url: str) -> Finding:
    if send_test_push(settings, url):
        return Finding(name, OK, "a test alert and its end were accepted")
    advice = "Correct ALERT_URLS: its token, its path, and whether this host can reach it."
    return Finding(name, BROKEN, "the test alert was not accepted", advice)


def _send_heartbeat(url: str) -> Finding:
    name, advice = "HEARTBEAT_URL", "Correct HEARTBEAT_URL, or let this host reach it."
    try:
        status = send_probe("GET", url, {}).status
    except NoResponse as error:
        return Finding(name, BROKEN, str(error), advice)
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        return Finding(name, BROKEN, f"a heartbeat was answered {status}", advice)
    return Finding(name, OK, f"a heartbeat was answered {status}")
