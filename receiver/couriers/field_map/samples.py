"""Make a sample webhook for a field map: a body in which its expressions find what they should.

Paths are turned round: `data.events[-1].code` becomes {"data": {"events": [{"code": ...}]}}.
Whether the result is right is checked by applying the map to it.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from receiver.couriers.contract import SampleState
from receiver.couriers.field_map.compiled_map import REQUIRED, CompiledMap, Preset, compile_map
from receiver.couriers.field_map.expressions import Evaluation, ExpressionFailed, Node
from receiver.couriers.field_map.reading import BODY
from receiver.couriers.parsing import is_empty
from receiver.errors import NoSample
from receiver.times import rfc3339

# Of what a path leads through, the old value becomes the new one; None stands for absent.
Update = Callable[[Any], Any]

MAX_INDEX = 20
# Functions whose result is their first argument, as far as a sample goes.
TRANSPARENT = {"not_null", "to_string", "to_number", "sort_by", "sort", "reverse", "to_array"}
OF_LIST = {"max_by", "min_by", "max", "min"}


class _Irreversible(Exception):
    """No value can be placed so that the expression finds it."""


def make_sample(preset: Preset, sample: SampleState) -> Any:
    """Return a body from which the account's field map reads the state of a sample.

    Raises: NoSample, which names the expression that cannot be turned round.
    """
    compiled = compile_map(preset, sample.field_map)
    values = {"courier_order_id": sample.order_id, "courier_status": sample.word}
    optional: dict[str, Any] = {"occurred_at": rfc3339(sample.at)}
    if sample.is_sample:
        optional |= {
            "reference": sample.reference,
            "courier_name": "DPD",
            "tracking_number": f"{sample.order_id}-PARCEL",
            "label_url": "https://example.com/labels/sample.pdf",
        }
    entry: dict[str, Any] = {BODY: None} if compiled.orders is not None else {}
    for name, value in (values | optional).items():
        if value is None or name not in compiled.expressions:
            continue
        try:
            entry = _place(compiled.expressions[name], deepcopy(entry), value)
        except _Irreversible:
            if name in REQUIRED:
                raise _no_sample(compiled, name) from None
    if compiled.orders is None:
        _check(compiled, entry, entry, values)
        return entry
    body = entry.pop(BODY)
    placed = entry if _makes_list(compiled.orders) else [entry]
    try:
        body = _place(compiled.orders, body, placed)
    except _Irreversible:
        raise _no_sample(compiled, "orders") from None
    _check(compiled, {**entry, BODY: body}, body, values)
    return body


def _no_sample(compiled: CompiledMap, name: str) -> NoSample:
    return NoSample(
        "no sample can be made from the field map, because no body can be derived from the"
        f" expression of `{name}`, {compiled.texts[name]!r}: send a body of the courier with --file"
    )


def _check(compiled: CompiledMap, entry: Any, body: Any, values: dict[str, str]) -> None:
    """Check that the map finds the sample's id and word where they were placed."""
    evaluation = Evaluation()
    for name, value in values.items():
        try:
            found = evaluation.find(compiled.expressions[name], entry)
        except ExpressionFailed:
            found = None
        if found != value and not (is_empty(found) and not value):
            raise _no_sample(compiled, name)
    if compiled.orders is not None and len(evaluation.find(compiled.orders, body) or ()) != 1:
        raise _no_sample(compiled, "orders")


def _place(expression: Node, target: Any, value: Any) -> Any:
    """Return the target with a value where the expression finds it. Raises: _Irreversible."""

    def update(old: Any) -> Any:
        if old is not None and old != value:
            raise _Irreversible
        return value

    return _change(expression, target, update)


def _makes_list(expression: Node) -> bool:
    if expression["type"] in {"pipe", "or_expression"}:
        return _makes_list(expression["children"][-1 if expression["type"] == "pipe" else 0])
    return expression["type"] in {"projection", "filter_projection"}


def _change(node: Node, target: Any, update: Update) -> Any:
    """Return the target with what the node finds in it updated. Raises: _Irreversible."""
    children = node["children"]
    match node["type"]:
        case "identity" | "current":
            return update(target)
        case "field":
            fields = _of_type(dict, target)
            fields[node["value"]] = update(fields.get(node["value"]))
            return fields
        case "pipe" if _makes_list(children[0]):
            return _change(children[0], target, _only(children[1], update))
        case "subexpression" | "pipe" | "index_expression":
            return _change_chain(children, target, update)
        case "or_expression":
            return _change_either(children, target, update)
        case "function_expression" if node["value"] in {*TRANSPARENT, *OF_LIST}:
            inner = update if node["value"] in TRANSPARENT else _first(update)
            return _change(children[0], target, inner)
    return _change_list(node, target, update)


def _change_list(node: Node, target: Any, update: Update) -> Any:
    """Do the same for a node that is about a list."""
    children = node["children"]
    match node["type"]:
        case "index":
            return _change_item(node["value"], _of_type(list, target), update)
        case "slice" if children[0] in (None, 0):
            return update(target)
        case "flatten":
            return _change(children[0], target, update)
        case "projection":
            return _change(children[0], target, _first(lambda it: _change(children[1], it, update)))
        case "filter_projection":

            def change(item: Any) -> Any:
                return _change(children[1], _fulfil(children[2], item), update)

            return _change(children[0], target, _first(change))
    raise _Irreversible


def _change_either(nodes: list[Node], target: Any, update: Update) -> Any:
    try:
        return _change(nodes[0], deepcopy(target), update)
    except _Irreversible:
        return _change(nodes[1], target, update)


def _change_chain(nodes: list[Node], target: Any, update: Update) -> Any:
    if not nodes:
        return update(target)
    return _change(nodes[0], target, lambda inner: _change_chain(nodes[1:], inner, update))


def _change_item(index: int, items: list[Any], update: Update) -> list[Any]:
    if abs(index) > MAX_INDEX:
        raise _Irreversible
    needed = index + 1 if index >= 0 else -index
    # An empty object is an entry that says nothing.
    items += [{} for _ in range(needed - len(items))]
    items[index] = update(items[index] or None)
    return items


def _first(update: Update) -> Update:
    """Return the update of a list that updates its first item."""

    def update_list(items: Any) -> list[Any]:
        known = _of_type(list, items)
        return [update(known[0] if known else None), *known[1:]]

    return update_list


def _only(rest: Node, update: Update) -> Update:
    """Return the update of an item that is the only one of the list which goes on to `rest`."""

    def update_item(item: Any) -> Any:
        items = _change(rest, [] if item is None else [item], update)
        return items[0]

    return update_item


def _fulfil(condition: Node, item: Any) -> Any:
    """Return an item that fulfils the condition of a filter: `type == 'order'`, also with &&."""
    if condition["type"] == "and_expression":
        for part in condition["children"]:
            item = _fulfil(part, item)
        return item
    if condition["type"] == "comparator" and condition["value"] == "eq":
        path, literal = condition["children"]
        if literal["type"] == "literal":
            return _place(path, item, literal["value"])
    raise _Irreversible


def _of_type(kind: Any, value: Any) -> Any:
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise _Irreversible
    return value
