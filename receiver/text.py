"""JSON as a courier sent it, laid out for reading and word for word."""

import json
import re
from itertools import pairwise

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
OPENING, CLOSING = {"{", "["}, {"}", "]"}


def laid_out(text: str) -> str:
    """JSON with line breaks and indents, and else word for word: names given twice, too.

    What is not JSON comes back as it is.
    """
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    parts = TOKEN.findall(text)
    lines, depth, line = [], 0, ""
    for part, following in pairwise([*parts, ""]):
        line += ": " if part == ":" else part
        opens = part in OPENING and following not in CLOSING
        closes = following in CLOSING and part not in OPENING
        depth += opens - closes
        if opens or closes or part == ",":
            lines.append(line)
            line = "  " * depth
    return "\n".join([*lines, line])
