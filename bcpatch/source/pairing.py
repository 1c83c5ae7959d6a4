"""Which function of the new version is which of the old one."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from bcpatch.model import Turns
from bcpatch.source import shape
from bcpatch.source.outline import Function, Unit


class Pairing(NamedTuple):
    """Functions of both versions that are the same one, those added, and those removed."""

    pairs: list[tuple[Function, Function]]
    added: list[Function]
    removed: list[Function]


def paired(old: Unit, new: Unit) -> Pairing:
    """Pair the functions of two versions.

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
    return Pairing(pairs, added, removed)


def turns(pairing: Pairing) -> Iterator[Turns]:
    """Where functions of one name do not all keep their ordinals, what becomes of these."""
    moved = {before.site.qualname for before, after in pairing.pairs if before.site.ordinal != after.site.ordinal}
    moved |= {one.site.qualname for one in pairing.removed}
    now: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for before, after in pairing.pairs if moved else ():
        if before.site.qualname in moved:
            now[before.site.qualname][before.site.ordinal] = after.site.ordinal
    for one in pairing.removed:
        now[one.site.qualname][one.site.ordinal] = -1
    for qualname, ordinals in sorted(now.items()):
        yield Turns(qualname, tuple(ordinals.get(one, -1) for one in range(max(ordinals) + 1)))


def context_key(function: Function) -> object:
    """What functions of both versions have in common that are the same one."""
    if isinstance(function.node, ast.Lambda):
        statement = function.statement
        return function.site.qualname, getattr(statement, "name", None) or shape.shape(statement)
    return function.site.qualname, *map(shape.shape, function.node.decorator_list)


def _name_key(function: Function) -> object:
    """Lambdas never pair by name alone: by turn the wrong one would be taken."""
    return id(function) if isinstance(function.node, ast.Lambda) else function.site.qualname
