"""The id of a request: in its answer (X-Request-ID), its log lines and its audit entries."""

import os
import re

HEADER = "X-Request-ID"
# An id of the caller's must be harmless in a header, in a log and on a page.
ACCEPTED = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")


def choose_request_id(offered: str | None) -> str:
    """Return the id that the caller sent if it can be used, else a new one."""
    if offered is not None and ACCEPTED.fullmatch(offered):
        return offered
    return os.urandom(10).hex()
