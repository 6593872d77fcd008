"""JMESPath expressions, within limits: none of them runs for long or makes much of a small body.

JMESPath has no loops and no access to anything but the value that it is applied to. But it can
copy: `[@, @][] | [@, @][] | ...` doubles a list at each step. So what an expression visits, and the
length of what it copies and compares, are counted, and a body has a budget of such steps.
Source: https://jmespath.org/specification.html
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jmespath
from jmespath import functions
from jmespath.exceptions import JMESPathError, JMESPathTypeError, LexerError
from jmespath.visitor import Options, TreeInterpreter

# A node of a parsed expression, a dict: its `type`, its `children` and, in some, a `value`.
Node = Any

# No courier needs an expression half as long or as deep.
MAX_LENGTH = 500
MAX_NODES = 150
MAX_DEPTH = 25
# What all expressions may do with one body: a hundred orders take some 5,000 steps.
MAX_STEPS = 500_000
# Of a text that is made or compared, so many characters are a step.
CHARACTERS_PER_STEP = 10

# So many characters the texts that are found in one body may have, which many orders may share:
# some ten labels of the largest size. A text beyond is left out.
MAX_CHARACTERS = 32 * 1_048_576

# What a function, a comparison or a slice raises for values that it is not made for.
EVALUATION_ERRORS = (JMESPathError, ArithmeticError, TypeError, ValueError, RecursionError)


class InvalidExpression(Exception):
    """A text is not a JMESPath expression that is allowed; the message says why."""


class ExpressionFailed(Exception):
    """An expression cannot be applied to a value; the message says why, without the value."""


class TooManySteps(Exception):
    """The budget of a body is used up."""


def parse_expression(text: Any) -> Node:
    """Parse an expression. Raises: InvalidExpression."""
    if not isinstance(text, str):
        raise InvalidExpression("it is not a text")
    if len(text) > MAX_LENGTH:
        raise InvalidExpression(f"it has {len(text)} characters, more than {MAX_LENGTH}")
    try:
        with warnings.catch_warnings():
            # A text between backticks without quotes is older JMESPath; it is read all the same.
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            root: Node = jmespath.compile(text).parsed
        depths = list(_depths(root))
    except RecursionError:
        raise InvalidExpression("it is nested too deeply") from None
    except LexerError as error:
        raise InvalidExpression(_explain_character(error)) from None
    except (JMESPathError, ValueError) as error:
        raise InvalidExpression(str(error).splitlines()[0].rstrip(":")) from None
    if len(depths) > MAX_NODES or max(depths) > MAX_DEPTH:
        raise InvalidExpression("it has too many parts")
    for node, parent in list_nodes(root):
        _check_node(node, parent)
    return root


def _explain_character(error: LexerError) -> str:
    """Return what is wrong at the character that an expression cannot be read from."""
    found = f"{error.message} at character {error.lexer_position + 1}"
    if error.lexer_value == "=":
        return f"{found}: `equal` is written =="
    if error.lexer_value == "-" or not error.lexer_value.isascii():
        return f"{found}: a name with more in it than a-z, 0-9 and _ stands in double quotes"
    return found


def list_nodes(node: Node, parent: str = "") -> Iterator[tuple[Node, str]]:
    """List a node and those below it, each with its parent's type."""
    yield node, parent
    for child in children_of(node):
        yield from list_nodes(child, node["type"])


def children_of(node: Node) -> list[Node]:
    """Return the nodes that a node is made of; a slice is made of numbers."""
    return [] if node["type"] == "slice" else [*node["children"]]


def _depths(node: Node, depth: int = 1) -> Iterator[int]:
    yield depth
    for child in children_of(node):
        yield from _depths(child, depth + 1)


def _check_node(node: Node, parent: str) -> None:
    if node["type"] == "expref" and parent != "function_expression":
        raise InvalidExpression("& stands only before an argument of a function")
    if node["type"] == "slice" and node["children"][2] == 0:
        raise InvalidExpression("the step of a slice is 0")
    if node["type"] != "function_expression":
        return
    name, given = node["value"], len(node["children"])
    function = BoundedFunctions.FUNCTION_TABLE.get(name)
    if function is None:
        raise InvalidExpression(f"there is no function {name}()")
    needed = len(function["signature"])
    is_variadic = bool(function["signature"][-1].get("variadic"))
    if given < needed or (given > needed and not is_variadic):
        raise InvalidExpression(f"{name}() takes {needed} arguments, not {given}")
    for argument, taken in zip(node["children"], function["signature"], strict=False):
        if taken.get("types") == ["expref"] and argument["type"] != "expref":
            raise InvalidExpression(f"{name}() takes an expression with & before it, such as &at")


def describe_value(value: Any) -> str:
    """Describe what an expression found, without the value itself."""
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, str):
        return "a text" if value.strip() else "an empty text"
    return str(value).lower() if isinstance(value, bool) else "a number"


def _length(value: Any) -> int:
    """Return the steps that it takes to copy or compare a value, without what is nested in it."""
    if isinstance(value, str):
        return len(value) // CHARACTERS_PER_STEP
    if isinstance(value, list):
        return len(value) + sum(len(item) for item in value if type(item) is str) // (
            CHARACTERS_PER_STEP
        )
    return len(value) if isinstance(value, dict) else 0


class BoundedFunctions(functions.Functions):
    """The functions of JMESPath, which count the length of their arguments and their results."""

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count

    def call_function(self, function_name: str, resolved_args: Any) -> Any:
        self._count(sum(map(_length, resolved_args)))
        try:
            result = super().call_function(function_name, resolved_args)
        except JMESPathTypeError as error:
            # The error's own text has the value in it.
            kind = functions.TYPES_MAP.get(error.actual_type, error.actual_type)
            taken = {"null": "nothing"}.get(kind, f"an {kind}" if kind[0] in "ao" else f"a {kind}")
            raise ExpressionFailed(f"{function_name}() cannot take {taken}") from None
        self._count(_length(result))
        return result

    def _create_key_func(self, *args: Any) -> Callable[[Any], Any]:
        """Return the function of the keys that sort_by(), min_by() and max_by() compare."""
        find_key = super()._create_key_func(*args)  # type: ignore[misc] # not in the stubs

        def find_counted_key(value: Any) -> Any:
            key = find_key(value)
            self._count(_length(key))
            return key

        return find_counted_key

    @functions.signature({"types": ["string"]}, {"types": ["array-string"]})
    def _func_join(self, separator: str, texts: list[str]) -> str:
        length = sum(map(len, texts)) + len(separator) * len(texts)
        self._count(length // CHARACTERS_PER_STEP)
        return separator.join(texts)

    @functions.signature({"types": ["array", "string"]}, {"types": []})
    def _func_contains(self, subject: Any, search: Any) -> bool:
        _refuse_structures("contains()", subject, search)
        return search in subject

    @functions.signature({"types": ["string", "number", "boolean", "null"]})
    def _func_to_string(self, value: Any) -> str | None:
        if isinstance(value, bool):
            return str(value).lower()
        return None if value is None else str(value)


def _refuse_structures(what: str, *values: Any) -> None:
    """Refuse to compare two structures: their parts may be very many, and the same few."""
    if all(isinstance(value, list | dict) and value for value in values):
        raise ExpressionFailed(f"{what} compares texts, numbers and booleans only")


class Evaluation(TreeInterpreter):
    """Applies expressions to one body, and counts the steps of all of them."""

    def __init__(self) -> None:
        super().__init__(Options(custom_functions=BoundedFunctions(self._count)))
        self._steps_left = MAX_STEPS
        self._characters_left = MAX_CHARACTERS

    def find(self, expression: Node, value: Any) -> Any:
        """Return what an expression finds in a value, None for nothing.

        Raises: ExpressionFailed, TooManySteps.
        """
        try:
            found = self.visit(expression, value)
        except EVALUATION_ERRORS:
            raise ExpressionFailed("it cannot be applied to what it finds") from None
        # Each order has its own copy of what it finds, also of what stands in the body once.
        if isinstance(found, list):
            self._count(len(found))
        elif isinstance(found, str):
            if len(found) > self._characters_left:
                raise ExpressionFailed("all texts that are found in the body are too long")
            self._characters_left -= len(found)
        return found

    def _count(self, steps: int) -> None:
        self._steps_left -= steps
        if self._steps_left < 0:
            raise TooManySteps

    def visit(self, node: Any, *args: Any, **_kwargs: Any) -> Any:
        self._steps_left -= 1
        if self._steps_left < 0:
            raise TooManySteps
        return _VISITORS[node["type"]](self, node, *args)

    def visit_flatten(self, node: Any, value: Any) -> Any:
        return self._counted(super().visit_flatten(node, value))

    def visit_slice(self, node: Any, value: Any) -> Any:
        return self._counted(super().visit_slice(node, value))

    def visit_comparator(self, node: Any, value: Any) -> Any:
        sides = [self.visit(child, value) for child in node["children"]]
        _refuse_structures("a comparison", *sides)
        self._count(sum(map(_length, sides)))
        literals: Node = [{"type": "literal", "value": side, "children": []} for side in sides]
        comparison: Node = {**node, "children": literals}
        return super().visit_comparator(comparison, value)

    def _counted(self, found: Any) -> Any:
        self._count(_length(found))
        return found


_VISITORS: dict[str, Callable[..., Any]] = {
    name.removeprefix("visit_"): getattr(Evaluation, name)
    for name in dir(Evaluation)
    if name.startswith("visit_")
}
