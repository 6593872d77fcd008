"""Make a loaded module behave as its mutant, in every place that has imported something from it."""

import sys
from types import CodeType, FunctionType, ModuleType
from typing import Any

from tests.mutation.mutants import Mutant

KEPT = {"__builtins__", "__cached__", "__doc__", "__file__", "__loader__", "__name__"}


def transplant(module: ModuleType, mutant: Mutant) -> None:
    """Change the functions in place, and what was made of them or beside them, wherever it is."""
    fresh: dict[str, Any] = {"__name__": module.__name__, "__file__": module.__file__}
    exec(_compiled(mutant, str(module.__file__)), fresh)  # noqa: S102 (it is our own code)
    old = vars(module)
    replaced: dict[int, Any] = {}
    for name, value in fresh.items():
        if name in KEPT or name not in old:
            continue
        if not _transplanted(old[name], value) and not mutant.lines and _is_new(old[name], value):
            replaced[id(old[name])] = value
    if replaced:
        for other in list(sys.modules.values()):
            _replace(vars(other), replaced)


def _compiled(mutant: Mutant, file: str) -> CodeType:
    return compile(mutant.tree, file, "exec", dont_inherit=True)


def _is_new(old: Any, value: Any) -> bool:
    """Whether a value of the module is another one; imported modules and classes are not."""
    if isinstance(value, type | ModuleType) or value is old:
        return False
    return bool(type(old) is not type(value) or old != value)


def _replace(names: dict[str, Any], replaced: dict[int, Any]) -> None:
    for name, value in list(names.items()):
        if id(value) in replaced:
            names[name] = replaced[id(value)]
        elif isinstance(value, dict) and not name.startswith("__"):
            for key, inner in list(value.items()):
                if id(inner) in replaced:
                    value[key] = replaced[id(inner)]


def _transplanted(old: Any, value: Any) -> bool:
    """Give a function or class what the mutant's has; whether it is one."""
    old, value = _bare(old), _bare(value)
    if isinstance(old, FunctionType) and isinstance(value, FunctionType):
        if old.__code__ is not value.__code__ and old.__module__ == value.__module__:
            old.__code__ = value.__code__
            old.__defaults__, old.__kwdefaults__ = value.__defaults__, value.__kwdefaults__
        return True
    if isinstance(old, type) and isinstance(value, type):
        if old is not value and old.__module__ == value.__module__:
            for name, inner in vars(value).items():
                known = vars(old).get(name)
                if not _transplanted(known, inner) and not name.startswith("__"):
                    _set(old, name, known, inner)
        return True
    return False


def _set(owner: type, name: str, known: Any, value: Any) -> None:
    if isinstance(value, str | int | float | tuple | dict | frozenset) and known != value:
        setattr(owner, name, value)


def _bare(value: Any) -> Any:
    """The function inside a property, a class method or a decorator."""
    while True:
        inner = getattr(value, "fget", None) or getattr(value, "__func__", None)
        inner = inner or (not isinstance(value, type) and getattr(value, "__wrapped__", None))
        if not inner:
            return value
        value = inner
