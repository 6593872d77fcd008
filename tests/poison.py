"""A worker with one courier more, whose bodies do to it what a body should not be able to do.

`python -m tests.poison`. The product knows nothing of it: the driver is put beside the others
before the settings are read, and the worker is the product's own.
"""

import collections
import itertools
import os
import signal
from dataclasses import replace
from typing import Any

from receiver.couriers import DRIVERS
from receiver.couriers.contract import Topic
from receiver.couriers.snapshot import Decoded, MessageContext

TIRAMIZOO = DRIVERS["tiramizoo"]


def decode(body: dict[str, Any], heard: MessageContext) -> Decoded:
    """A Tiramizoo hook, unless it says what to do to the process."""
    match body.get("poison"):
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "loop":
            while True:
                pass
        case "hang":
            # One call into C that never comes back: Python gets no word in.
            collections.deque(itertools.repeat(None), maxlen=0)
        case "memory":
            raise MemoryError
    return TIRAMIZOO.topics["orders"].decode(body, heard)


ACCOUNT = {"COURIER_POISON_SECRETS": "poison-token"}

if __name__ == "__main__":
    # Only here: what imports this file for its names would have one courier more from then on.
    DRIVERS["poison"] = replace(
        TIRAMIZOO, name="poison", topics={"orders": Topic(decode)}, api=None
    )

    from workers import worker
    from workers.folding import drain

    drain.BATCH_SECONDS, drain.ALONE_SECONDS = 1.0, 0.5
    worker.main()
