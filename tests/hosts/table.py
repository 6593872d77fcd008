"""The faults, as data: which host, what befalls it, and for how long."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.hosts.network import Host
from tests.hosts.shop import Shop

KILLED, CUT = "killed", "cut off"


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls a host.

    hold: seconds that it lasts. alone: whether nobody does its work meanwhile, so that the service
    is well again only once the host is back. brief: whether the short form goes through it.
    """

    what: str
    find: Callable[[Shop], Host]
    how: str
    hold: float = 4.0
    alone: bool = False
    brief: bool = False

    @property
    def name(self) -> str:
        return f"{self.what} {self.how}"

    def do(self, shop: Shop) -> Callable[[], None]:
        """Let it happen; what ends it."""
        host = self.find(shop)
        if self.how == KILLED:
            host.kill()
            return host.start
        host.cut()
        return host.mend


def named(name: str) -> Callable[[Shop], Host]:
    return lambda shop: shop.hosts[name]


FAULTS = (
    Fault("a web host", named("web1"), KILLED, brief=True),
    Fault("a web host", named("web2"), CUT, hold=12),
    Fault("a worker host", named("work1"), KILLED),
    Fault("a worker host", named("work2"), CUT, hold=20, brief=True),
    Fault("a clock host", named("clock1"), KILLED),
    Fault("a clock host", named("clock2"), CUT, hold=12),
    Fault("Valkey's primary", Shop.primary, KILLED, hold=8, brief=True),
    Fault("Valkey's primary", Shop.primary, CUT, hold=15),
    Fault("the pooler's host", named("pool"), KILLED, alone=True),
    Fault("the pooler's host", named("pool"), CUT, hold=15, alone=True),
    Fault("the database's host", named("database"), KILLED, alone=True),
    Fault("the database's host", named("database"), CUT, hold=15, alone=True),
    Fault("the front host", named("front"), KILLED, alone=True),
)
