"""Small changes to a module, each of which some test should notice."""

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
CALLED = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}

# In a text that is SQL.
IS_SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|WHERE|ON CONFLICT|FROM)\b")
SQL = {
    r"\bAND\b": "OR",
    r"\bNOT EXISTS\b": "EXISTS",
    r"\bIS NOT\b": "IS",
    r"\bDESC\b": "ASC",
    r"\bgreatest\b": "least",
    r"\bleast\b": "greatest",
    r"\bmax\(": "min(",
    r"\bmin\(": "max(",
    r"\bTRUE\b": "FALSE",
    r"\bFALSE\b": "TRUE",
    r"<>": "=",
    r"<=": "<",
    r">=": ">",
    r" = ": " <> ",
    r" < ": " <= ",
    r" > ": " >= ",
    r" \+ ": " - ",
    r"\b1\b": "2",
    r"\b0\b": "1",
}

# Whose arguments are only for people to read.
SPOKEN = {"log", "warnings"}

# The lines of what stands outside of functions.
NOWHERE = range(0)


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    name: where and what, without the line's number. lines: those that run when the change has an
    effect; none where it is outside of functions.
    """

    name: str
    line: int
    lines: range
    tree: ast.Module


def mutate(path: Path, module: str) -> Iterator[Mutant]:
    """Make every mutant of a module."""
    tree = ast.parse(path.read_text())
    seen: dict[str, int] = {}
    for place, node, scope, lines in _places(tree):
        for changed in _changes(node):
            name = f"{module}:{scope}: {_shown(node)} -> {_shown(changed)}"
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                name += f" ({seen[name]})"
            yield Mutant(name, node.lineno, lines, _replaced(tree, place, changed))


Place = tuple[tuple[str, int | None], ...]
Changeable = ast.stmt | ast.expr


def _places(
    node: ast.AST, place: Place = (), scope: str = "", lines: range = NOWHERE
) -> Iterator[tuple[Place, Changeable, str, range]]:
    """Every statement and expression that counts, the way to it, its function and its lines."""
    own_lines = range(getattr(node, "lineno", 0), (getattr(node, "end_lineno", 0) or 0) + 1)
    if isinstance(node, ast.stmt | ast.expr):
        if lines and isinstance(node, ast.stmt):
            lines = own_lines
        yield place, node, scope, lines
    within = own_lines if isinstance(node, ast.FunctionDef) else lines
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        scope = f"{scope}.{node.name}".lstrip(".")
    for field, index, child in _children(node):
        around = within if field == "body" else lines
        yield from _places(child, (*place, (field, index)), scope, around)


def _children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    for field, value in ast.iter_fields(node):
        if _is_silent(node, field):
            continue
        if isinstance(value, ast.AST):
            yield field, None, value
        elif isinstance(value, list):
            for index, child in enumerate(value):
                if isinstance(child, ast.AST) and not _is_spoken(child):
                    yield field, index, child


def _is_silent(node: ast.AST, field: str) -> bool:
    """Whether a part has no effect at run time, or only on what people read."""
    if field in {"annotation", "returns", "decorator_list", "type_ignores", "bases", "keywords"}:
        return not (field == "keywords" and isinstance(node, ast.Call))
    return isinstance(node, ast.Raise)


def _is_spoken(node: ast.AST) -> bool:
    """Whether it is a docstring, a log, a declaration of a type, or an import."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.keyword):
        # An argument of zip() that only checks.
        return node.arg == "strict"
    if isinstance(node, ast.Assign):
        # A type alias: Names = tuple[str, str].
        value = node.value
        return isinstance(value, ast.Subscript) and isinstance(node.targets[0], ast.Name)
    if not isinstance(node, ast.Expr):
        return False
    call = node.value
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
        return isinstance(call.func.value, ast.Name) and call.func.value.id in SPOKEN
    return isinstance(call, ast.Constant)


def _changes(node: Changeable) -> Iterator[Changeable]:
    if isinstance(node, ast.stmt):
        yield from _changed_statements(node)
    else:
        yield from _changed_conditions(node)
        yield from _changed_values(node)


def _changed_statements(node: ast.stmt) -> Iterator[ast.stmt]:
    match node:
        case ast.Return(value=ast.expr() as value) if not _is_constant(value, None, False):
            yield ast.Return(ast.Constant(None))
        case ast.Raise() | ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()
        case ast.If(test=test, body=body, orelse=orelse) if _is_plain(test):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)


def _changed_conditions(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=others):
            yield ast.Compare(left, [COMPARED[type(op)]()], others)
        case ast.Compare(left=left, ops=ops, comparators=others):
            for index, op in enumerate(ops):
                changed = [*ops[:index], COMPARED[type(op)](), *ops[index + 1 :]]
                yield ast.Compare(left, changed, others)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for index in range(len(values)):
                rest = [*values[:index], *values[index + 1 :]]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(ast.UnaryOp(ast.Not(), test), body, orelse)


def _changed_values(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in COMPUTED:
            yield ast.BinOp(left, COMPUTED[type(op)](), right)
        case ast.Call(func=ast.Name(id=name), args=[first, *rest], keywords=keywords):
            if name in CALLED:
                kept = [] if name == "sorted" else keywords
                yield ast.Call(ast.Name(CALLED[name], ast.Load()), [first, *rest], kept)
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            for index, loop in enumerate(node.generators):
                if loop.ifs:
                    changed_node = copy.deepcopy(node)
                    changed_node.generators[index].ifs = []
                    yield changed_node
        case ast.Constant(value=value):
            yield from map(ast.Constant, _other_constants(value))


def _other_constants(value: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
    elif isinstance(value, str) and IS_SQL.search(value):
        for pattern, other in SQL.items():
            for found in re.finditer(pattern, value):
                yield value[: found.start()] + other + value[found.end() :]
    elif isinstance(value, str):
        yield f"{value}X"


def _is_constant(node: ast.expr, *values: object) -> bool:
    return isinstance(node, ast.Constant) and any(node.value is value for value in values)


def _is_plain(test: ast.expr) -> bool:
    """Whether the test of an `if` is not changed by its own operators."""
    return not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp)


def _replaced(tree: ast.Module, place: Place, changed: Changeable) -> ast.Module:
    """A copy of the module in which the node at a place is another one."""
    whole = copy.deepcopy(tree)
    node: ast.AST = whole
    for field, index in place[:-1]:
        node = getattr(node, field) if index is None else getattr(node, field)[index]
    field, index = place[-1]
    changed = copy.deepcopy(changed)
    if index is None:
        old = getattr(node, field)
        setattr(node, field, changed)
    else:
        old = getattr(node, field)[index]
        getattr(node, field)[index] = changed
    ast.copy_location(changed, old)
    return ast.fix_missing_locations(whole)


def _shown(node: Changeable) -> str:
    if isinstance(node, ast.If):
        return f"if {ast.unparse(node.test)}"
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 100 else _cut(text)


def _cut(text: str) -> str:
    return f"{text[:60]}...{text[-37:]}"
