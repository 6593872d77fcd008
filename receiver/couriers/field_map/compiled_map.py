"""A field map, made ready to be applied: its expressions, words and steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from receiver import statuses
from receiver.couriers.field_map.expressions import InvalidExpression, Node, parse_expression

# The fields of an order, each of which one expression finds.
TEXTS = (
    "courier_order_id",
    "courier_status",
    "reference",
    "occurred_at",
    "reason",
    "courier_name",
    "tracking_number",
    "tracking_url",
    "label_url",
    "pickup_at",
)
LISTS = ("orders", "parcels")
# Finds something in a body that reports nothing, and is thrown away.
NOISE = "noise"
WORDS = "statuses"
NAMES = (*TEXTS, *LISTS, NOISE, WORDS)
# Without these nothing can be said of an order.
REQUIRED = ("courier_order_id", "courier_status")

MAX_WORDS = 1_000
MAX_WORD_LENGTH = 255


@dataclass(frozen=True)
class Preset:
    """What a driver reads without an account's own map.

    fields  the expressions by the names of the fields
    words   their words to our statuses, in the order in which an order passes through them
    zone    the time zone of times without one
    """

    fields: Mapping[str, str]
    words: Mapping[str, str]
    zone: str


@dataclass(frozen=True)
class CompiledMap:
    """A driver's preset with an account's own map over it.

    texts        each expression as it was written
    expressions  those of an order's fields and of its parcels, parsed
    orders       the one that finds the orders of a body, None where the body is the order
    noise        the one that finds something in a body that reports nothing; None: nothing is noise
    words        normalized words to our statuses
    steps        the place of each word among them
    """

    texts: Mapping[str, str]
    expressions: Mapping[str, Node]
    orders: Node | None
    noise: Node | None
    words: Mapping[str, str]
    zone: str
    steps: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        steps = {word: step for step, word in enumerate(self.words)}
        object.__setattr__(self, "steps", steps)


def normalize_word(word: str) -> str:
    """Return the spelling of the map: `In transit` and `IN-TRANSIT` are in_transit."""
    return "_".join(word.casefold().replace("-", " ").replace("_", " ").split())


# An account's map is one object as long as its process runs, so each is compiled once.
_COMPILED: dict[tuple[int, int], tuple[Preset, Mapping[str, Any], CompiledMap]] = {}
_MOST_COMPILED = 100
_NO_MAP: Mapping[str, Any] = {}


def compile_map(preset: Preset, field_map: Mapping[str, Any]) -> CompiledMap:
    """Return a map, compiled; it must have no faults."""
    field_map = field_map or _NO_MAP
    key = (id(preset), id(field_map))
    known = _COMPILED.get(key)
    # What is kept here is not freed, so its id is nobody else's.
    if known is not None:
        return known[2]
    texts = {**preset.fields, **field_map}
    added = texts.pop(WORDS, {})
    expressions = {name: parse_expression(text) for name, text in texts.items()}
    compiled = CompiledMap(
        texts=texts,
        orders=expressions.pop("orders", None),
        noise=expressions.pop(NOISE, None),
        expressions=expressions,
        words={**preset.words, **{normalize_word(word): added[word] for word in added}},
        zone=preset.zone,
    )
    if len(_COMPILED) >= _MOST_COMPILED:
        _COMPILED.clear()
    _COMPILED[key] = (preset, field_map, compiled)
    return compiled


def find_faults(preset: Preset, field_map: Mapping[str, Any]) -> list[str]:
    """Return the faults of an account's field map, one line each."""
    faults = [
        f"unknown field {name!r} (the fields are {', '.join(NAMES)})"
        for name in field_map
        if name not in NAMES
    ]
    for name in (*TEXTS, *LISTS, NOISE):
        if name in field_map:
            try:
                parse_expression(field_map[name])
            except InvalidExpression as error:
                faults.append(f"{name} is not a JMESPath expression: {error}")
        elif name in REQUIRED and name not in preset.fields:
            faults.append(f"{name} is missing: give the JMESPath expression that finds it")
    return faults + _word_faults(field_map.get(WORDS, {}))


def _word_faults(words: Any) -> list[str]:
    if not isinstance(words, Mapping):
        return [f"{WORDS} is not a JSON object"]
    if len(words) > MAX_WORDS:
        return [f"{WORDS} has {len(words)} words, more than {MAX_WORDS}"]
    faults = []
    known: dict[str, str] = {}
    for word, status in words.items():
        normalized = normalize_word(word)
        if not normalized or len(word) > MAX_WORD_LENGTH:
            faults.append(
                f"{WORDS}: {word[:50]!r} is not a word of 1 to {MAX_WORD_LENGTH} characters"
            )
        elif not isinstance(status, str) or status not in statuses.VOCABULARY:
            faults.append(
                f"{WORDS} maps {word!r} to {status!r}, which is no status"
                f" (they are {', '.join(statuses.VOCABULARY)})"
            )
        elif normalized in known and words[known[normalized]] != status:
            faults.append(f"{WORDS} maps {known[normalized]!r} and {word!r}, one word, differently")
        known.setdefault(normalized, word)
    return faults
