"""Slow down those who guess tokens: each address has a few wrong attempts, and then one a second.

A process counts for itself, in memory: guessing slowly is of no use with tokens of 16 characters,
and no request waits for Redis or PostgreSQL.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

import structlog
from flask import Request

from receiver.errors import TooManyAttempts

log = structlog.get_logger(__name__)

# A wrong attempt is forgotten after this long.
SECONDS = 1.0
# A client of the API with a wrong token asks for a page of orders at once; a person types.
API_ATTEMPTS = 60
SIGN_IN_ATTEMPTS = 10

# Beyond it the ones that were used longest ago are forgotten.
MAX_ADDRESSES = 10_000
MAX_KNOWN = 10_000

# The part of an IPv6 address that one customer of a provider has.
IPV6_PREFIX = 64


class AttemptLimit:
    """The wrong attempts of each address.

    Once an address has used up its attempts, others from there are refused without a comparison.
    A credential that was right from the same address before is compared all the same, so that a
    stranger behind the shop's address does not lock the shop out.

    burst: how many wrong attempts an address has at once.
    """

    def __init__(self, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._clock = clock
        # Until when the wrong attempts of an address fill its seconds.
        self._filled: OrderedDict[str, float] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def check(self, address: str, credential: str) -> None:
        """Raises: TooManyAttempts for an unknown credential of an address without attempts left."""
        filled = self._filled.get(address)
        if filled is None or (address, credential) in self._known:
            return
        wait = filled - self._clock() - (self._burst - 1) * SECONDS
        if wait > 0:
            raise TooManyAttempts("too many wrong tokens came from this address: wait", wait)

    def record(self, address: str, credential: str, *, right: bool) -> None:
        """Count an attempt that was compared."""
        if right:
            if (address, credential) not in self._known:
                self._known[address, credential] = None
                _trim(self._known, MAX_KNOWN)
            return
        now = self._clock()
        before = max(self._filled.pop(address, now), now)
        self._filled[address] = before + SECONDS
        _trim(self._filled, MAX_ADDRESSES)
        used = (before - now) / SECONDS
        if used + 1 >= self._burst > used:
            log.warning("wrong_tokens_limited", address=address)


def _trim(kept: OrderedDict[str, float] | OrderedDict[tuple[str, str], None], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)


def client_address(request: Request) -> str:
    """Return the address that a request is counted under; the network of an IPv6 address.

    X-Forwarded-For counts only where a neighbour, the proxy, sent it, and of it only the last
    entry, which the proxy itself wrote.
    """
    peer = request.remote_addr or ""
    forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    if forwarded and _is_neighbour(peer):
        return _network(forwarded) or peer
    return _network(peer) or peer


@lru_cache(MAX_ADDRESSES)
def _is_neighbour(address: str) -> bool:
    """Whether it is on this machine or a private network; a Unix socket has no address."""
    try:
        return not address or ip_address(address).is_private
    except ValueError:
        return False


@lru_cache(MAX_ADDRESSES)
def _network(address: str) -> str | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed.packed, IPV6_PREFIX), strict=False))
    return str(parsed)
