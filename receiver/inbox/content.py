"""Parse the body of a webhook into what its driver decodes, as the topic declares."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from receiver.couriers.contract import BodyKind
from receiver.couriers.snapshot import Parameters
from receiver.errors import UnreadableBody
from receiver.inbox.json_body import BYTE_ORDER_MARK, NUL_SYMBOL, parse_body, parse_json

# So many fields has no form of a courier; each costs several times the memory of its text.
MOST_FIELDS = 1_000


def parse_content(raw: bytes, kind: BodyKind) -> Any:
    """Return the content of a body: a dict, or a list for a JSON array.

    kind: as in Topic.body. Where it is `empty`, a body that came all the same is not read.

    Raises: UnreadableBody, which says what is wrong and where.
    """
    return PARSERS[kind](raw)


def _parse_array(raw: bytes) -> list[Any]:
    content = parse_json(raw)
    if not isinstance(content, list):
        raise UnreadableBody("the body is JSON, but not an array")
    return content


def _parse_object_or_array(raw: bytes) -> dict[str, Any] | list[Any]:
    content = parse_json(raw)
    if not isinstance(content, dict | list):
        raise UnreadableBody("the body is JSON, but neither an object nor an array")
    return content


def _parse_form(raw: bytes) -> Parameters:
    """Return the fields of a form, whatever Content-Type says of it.

    Raises: UnreadableBody where the body is no form in UTF-8, or has more than MOST_FIELDS fields.
    """
    raw = raw.removeprefix(BYTE_ORDER_MARK).strip()
    if not raw:
        raise UnreadableBody("the body is empty")
    if b"=" not in raw:
        raise UnreadableBody("the body is not a form: it has no `name=value`")
    if raw.count(b"&") >= MOST_FIELDS:
        raise UnreadableBody(f"the body is a form of more than {MOST_FIELDS} fields")
    try:
        return parse_parameters(raw.decode(), errors="strict")
    except UnicodeDecodeError as error:
        raise UnreadableBody(f"the body is a form, but not UTF-8: {error.reason}") from None


def parse_parameters(text: str, errors: str = "replace") -> Parameters:
    """Return the parameters of a query or a form; one that is repeated has the list of its values.

    U+0000, which PostgreSQL cannot store, is replaced. errors: how bytes that are not UTF-8 are
    decoded.
    """
    parameters: dict[str, str | list[str]] = {}
    for pair in parse_qsl(text, keep_blank_values=True, errors=errors):
        name, value = (part.replace("\0", NUL_SYMBOL) for part in pair)
        known = parameters.get(name)
        if known is None:
            parameters[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            parameters[name] = [known, value]
    return parameters


PARSERS: Mapping[BodyKind, Callable[[bytes], Any]] = {
    "object": parse_body,
    "array": _parse_array,
    "any": _parse_object_or_array,
    "form": _parse_form,
    "empty": lambda _raw: {},
}
