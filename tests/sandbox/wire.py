"""What goes over the wire: a request as it came, and an answer with all its bad manners."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl, unquote


@dataclass(frozen=True, slots=True)
class Request:
    """A request; path is as it came, headers find their names in any case."""

    method: str
    path: str
    query: str
    headers: "Message[str, str]"
    body: bytes = b""

    def parts(self, prefix: str) -> tuple[str, ...]:
        """The path's segments under a prefix, each unquoted by itself; none where it is elsewhere.

        An id with a slash in it arrives as one segment, if it was quoted.
        """
        if not self.path.startswith(f"{prefix}/"):
            return ()
        return tuple(unquote(part) for part in self.path.removeprefix(f"{prefix}/").split("/"))

    @property
    def arguments(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and how it is sent.

    delay      seconds before its first byte; infinite: never
    gap        seconds between two bytes of the body; 0: all at once
    head_too   whether the head is sent a byte at a time as well
    filler     so many more bytes are sent behind the body, and then the tail
    announced  whether a Content-Length says how long it is (else it comes in chunks)
    cut        whether the connection ends in the middle of the body
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    gap: float = 0.0
    head_too: bool = False
    filler: int = 0
    tail: bytes = b""
    announced: bool = True
    cut: bool = False


def as_json(body: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode())
