"""Parse the JSON in a stored body, also where it is not quite JSON as it should be."""

import json
import re
from collections.abc import Callable
from math import inf
from typing import Any

import orjson

from receiver.errors import UnreadableBody

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# orjson reads longer integers as floating-point numbers, and their last digits are lost.
EXACT_DIGITS = 18
LONG_NUMBER = b"0" * (EXACT_DIGITS + 1)
DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
# Python converts no longer text to an integer.
MAX_DIGITS = 4_000

# What stands for U+0000, which PostgreSQL can store nowhere, and for half a surrogate pair, which
# is no character. Nothing is cut out: that could make two ids one.
NUL_SYMBOL, REPLACEMENT = "\u2400", "\ufffd"
# An escape in JSON: a whole surrogate pair, half of one, U+0000, or any other.
ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|(?P<nul>u0000)|.)",
    re.DOTALL,
)


def parse_body(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in a body, as parse_json() reads it.

    Raises: UnreadableBody, which says what is wrong and where.
    """
    body = parse_json(raw)
    if not isinstance(body, dict):
        raise UnreadableBody("the body is JSON, but not an object")
    return body


def parse_json(raw: bytes) -> Any:
    """Return the JSON value in a body. Integers keep all their digits.

    A byte order mark is ignored (RFC 8259, section 8.1); U+0000 and half surrogate pairs are
    replaced.

    Raises: UnreadableBody, which says what is wrong and where.
    """
    raw = raw.removeprefix(BYTE_ORDER_MARK)
    if not raw.strip():
        raise UnreadableBody("the body is empty")
    needs_care = rb"\u0000" in raw or LONG_NUMBER in raw.translate(DIGITS_TO_ZERO)
    try:
        return _parse_with_care(raw) if needs_care else orjson.loads(raw)
    except ValueError as error:
        try:
            return _parse_with_care(raw)
        except ValueError:
            raise UnreadableBody(f"the body is not JSON: {error}") from None


def _parse_with_care(raw: bytes) -> Any:
    """Parse what orjson refuses or changes.

    Raises: UnreadableBody where the body is not UTF-8; ValueError where it is not JSON.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        try:
            # Half a surrogate pair can also stand in UTF-8 as if it were a character.
            halves = raw.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass")
        except UnicodeDecodeError:
            where = f"byte {error.start}: {error.reason}"
            raise UnreadableBody(f"the body is not UTF-8: {where}") from None
        text = halves.decode("utf-16", "replace")
    try:
        return json.loads(
            replace_escapes(text),
            parse_int=_exact(int, MAX_DIGITS),
            parse_float=_exact(float, EXACT_DIGITS),
            parse_constant=_refuse_constant,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def replace_escapes(text: str) -> str:
    """Replace U+0000 and half surrogate pairs in the escapes of a JSON text."""

    def replace(escape: re.Match[str]) -> str:
        if escape["nul"]:
            return NUL_SYMBOL
        return REPLACEMENT if escape["half"] else escape[0]

    return ESCAPE.sub(replace, text)


def _exact(convert: Callable[[str], float], digits: int) -> Callable[[str], float | str]:
    """Return the parser of a number, which stays a text where converting it would change it."""

    def parse(text: str) -> float | str:
        if len(text) > digits:
            return text
        number = convert(text)
        return text if abs(number) == inf else number

    return parse


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
