"""Check the address that the change feed is pushed to, without sending anything to it."""

import ipaddress
import socket
from urllib.parse import urlsplit

from receiver.settings import Settings
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding, Findings

CONNECT_SECONDS = 5.0
DEFAULT_PORTS = {"http": 80, "https": 443}


def check_push_url(settings: Settings) -> Findings:
    """Check that PUSH_URL can be reached, and say what is unusual about it."""
    if settings.push_url is None:
        return
    parts = urlsplit(settings.push_url)
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS) as connection:
            address = ipaddress.ip_address(connection.getpeername()[0].partition("%")[0])
    except (OSError, UnicodeError) as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else str(error)
        advice = "Correct PUSH_URL, or let the hosts of the clock reach it (DNS, firewall)."
        yield Finding("PUSH_URL", BROKEN, f"{host} port {port}: {why}", advice)
        return
    seen = f"{host} port {port} takes connections; `ordertrail push --check` sends a signed test"
    yield Finding("PUSH_URL", OK, seen)
    if address.is_private:
        seen = f"{host} is {address}, a private address: right where the shop is in this network"
        yield Finding("address", NOTE, seen)
    if parts.scheme == "http" and not address.is_loopback:
        seen = "http: whoever is between here and the shop can read the changes"
        yield Finding("TLS", WARNING, seen, "Use https, unless that network is trusted.")
