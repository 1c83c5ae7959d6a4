"""Which function of the new version is which of the old one."""

from __future__ import annotations

import ast

from bcpatch.source import shape
from bcpatch.source.outline import Function, Unit


def paired(old: Unit, new: Unit) -> tuple[list[tuple[Function, Function]], list[Function], list[Function]]:
    """Functions of both versions that are the same one, those added, and those removed.

    Same name, same decorators, same turn; what is left over pairs by name and turn, so that
    a changed decorator shows as such.
    """
    added = list(new.functions)
    removed = list(old.functions)
    pairs = []
    for key in (context_key, _name_key):
        waiting: dict[object, list[Function]] = {}
        for function in removed:
            waiting.setdefault(key(function), []).append(function)
        left = []
        for function in added:
            same = waiting.get(key(function))
            if same:
                pairs.append((same.pop(0), function))
            else:
                left.append(function)
        added = left
        taken = {id(before) for before, _ in pairs}
        removed = [function for function in removed if id(function) not in taken]
    pairs.sort(key=lambda pair: pair[1].code.co_firstlineno)
    return pairs, added, removed


def context_key(function: Function) -> object:
    """What functions of both versions have in common that are the same one."""
    if isinstance(function.node, ast.Lambda):
        statement = function.statement
        return function.site.qualname, getattr(statement, "name", None) or shape.shape(statement)
    return function.site.qualname, *map(shape.shape, function.node.decorator_list)


def _name_key(function: Function) -> object:
    """Lambdas never pair by name alone: by turn the wrong one would be taken."""
    return id(function) if isinstance(function.node, ast.Lambda) else function.site.qualname
