"""A shop that answers, fails, hangs, is away and comes back, by a plan."""

import itertools
import threading
import time
from contextlib import ExitStack

from tests.push_shop import HANGS, OK, SECRET, PushSeen, PushShop, open_shop

AWAY = -1
# Seconds that a request is waited for.
PATIENCE = 60.0
# What the shop does, and for which share of the time. It ends as it begins: well.
PLAN = (
    (OK, 0.12),
    (500, 0.18),
    (OK, 0.12),
    (HANGS, 0.12),
    (OK, 0.12),
    (AWAY, 0.12),
    (OK, 0.10),
    (302, 0.06),
    (OK, 0.06),
)


class UnsteadyShop:
    """One address at which a shop listens, or nobody.

    seen: the requests of all its lives, in the order in which they came.
    """

    def __init__(self) -> None:
        self.seen: list[PushSeen] = []
        self.refused = 0
        self._stack = ExitStack()
        self._shop: PushShop | None = None
        self.port = 0
        self.does(OK)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The settings that make a service push here."""
        return {"PUSH_URL": f"http://127.0.0.1:{self.port}/hooks", "PUSH_SECRET": SECRET}

    def does(self, what: int) -> None:
        """From now on answer so, or HANGS, or AWAY."""
        if what == AWAY:
            self._stack.close()
            self._shop = None
            return
        if self._shop is None:
            self._shop = self._stack.enter_context(open_shop(self.port))
            self._shop.seen = self.seen
            self.port = self._shop.server_port
            self._stack.callback(self._count_refused, self._shop)
        self._shop.does = what
        # Whoever hangs is cut off where the shop is well again.
        if what != HANGS:
            self._shop.resumes.set()
        else:
            self._shop.resumes.clear()

    def _count_refused(self, shop: PushShop) -> None:
        self.refused += shop.refused

    def begin(self, seconds: float) -> None:
        """Go through PLAN in so many seconds, in a thread.

        On a slow machine it takes longer: each kind of answer is given at least once.
        """

        def go_through() -> None:
            for what, share in PLAN:
                mark = len(self.seen)
                self.does(what)
                if self._stop.wait(share * seconds):
                    break
                ends_at = time.monotonic() + PATIENCE
                while what != AWAY and time.monotonic() < ends_at:
                    if any(push.answered == what for push in self.seen[mark:]):
                        break
                    self._stop.wait(0.05)
            self.does(OK)

        self._thread = threading.Thread(target=go_through)
        self._thread.start()

    def end(self) -> None:
        """Be well from now on, once the plan is over."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        self._stop.set()
        self.end()
        self._stack.close()

    def accepted(self) -> list[PushSeen]:
        """The requests that were answered 2xx, repeated ones too, in the order of their arrival."""
        return [push for push in list(self.seen) if push.answered == OK]

    def changes(self) -> list[dict[str, object]]:
        """The changes that it accepted, those of a repeated batch once."""
        first: dict[str, PushSeen] = {}
        for push in self.accepted():
            first.setdefault(push.id, push)
        return list(itertools.chain.from_iterable(push.changes for push in first.values()))
