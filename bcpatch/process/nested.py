"""Which nested code of a new function continues which nested code of the old one.

A function's code carries the code of what it defines: closures, lambdas,
comprehensions, local classes and their methods. Live closures switch with their maker
only where their pair is certain. This module compares; it knows no live object but code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import TypeAlias

import msgspec

from bcpatch import fingerprint
from bcpatch.model import Code

Path: TypeAlias = tuple[int, ...]
"""Numbers of constants, from a code object down to code nested in it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Where nested code is in the old constants, and where what continues it is in the new.

    ``new`` is None where nothing certain continues it. ``changed`` is False where both
    mean the same.
    """

    old: Path
    new: Path | None
    changed: bool


def at(code: CodeType, path: Path) -> CodeType:
    """The live code at a path."""
    for number in path:
        code = code.co_consts[number]
    return code


def fields_at(code: Code, path: Path) -> Code:
    """The same of code as a patch carries it."""
    for number in path:
        inner = code.constants[number]
        assert isinstance(inner, Code)
        code = inner
    return code


def pairs(old: CodeType, new: Code) -> Iterator[Pair]:
    """Pair all code nested in ``old``, at any depth, outer code before what it contains."""
    olds = [(number, one) for number, one in enumerate(old.co_consts) if type(one) is CodeType]
    news = [(number, one) for number, one in enumerate(new.constants) if isinstance(one, Code)]
    for name in dict.fromkeys(one.co_name for _, one in olds):
        before = [(number, fingerprint.of(one)) for number, one in olds if one.co_name == name]
        after = [(number, fingerprint.digest(one)) for number, one in news if one.name == name]
        for first, second, changed in _siblings(before, after):
            inner = old.co_consts[first]
            if second is None:
                yield Pair((first,), None, True)
                yield from _orphans(inner, (first,))
                continue
            yield Pair((first,), (second,), changed)
            below = new.constants[second]
            assert isinstance(below, Code)
            for pair in pairs(inner, below):
                continued = None if pair.new is None else (second, *pair.new)
                yield Pair((first, *pair.old), continued, pair.changed)


def _siblings(
    before: Sequence[tuple[int, str]], after: Sequence[tuple[int, str]]
) -> Iterator[tuple[int, int | None, bool]]:
    """Pair code of one name: by fingerprint where that is unique, and the one that is left over."""
    old_count, new_count = Counter(print_ for _, print_ in before), Counter(print_ for _, print_ in after)
    place = {print_: number for number, print_ in after}
    same = {print_ for print_ in old_count if old_count[print_] == new_count[print_] == 1}
    rest_before = [number for number, print_ in before if print_ not in same]
    rest_after = [number for number, print_ in after if print_ not in same]
    certain = len(before) == len(after) and len(rest_before) == 1
    for number, print_ in before:
        if print_ in same:
            yield number, place[print_], False
        elif old_count == new_count:
            # as many of each as before: which is which makes no difference
            yield number, place[print_], False
        else:
            yield number, rest_after[0] if certain else None, True


def _orphans(code: CodeType, path: Path) -> Iterator[Pair]:
    for number, inner in enumerate(code.co_consts):
        if type(inner) is CodeType:
            yield Pair((*path, number), None, True)
            yield from _orphans(inner, (*path, number))


def shell(code: Code) -> Code:
    """What code means apart from the code nested in it."""
    constants = tuple(one.name if isinstance(one, Code) else one for one in code.constants)
    return fingerprint.meaning(msgspec.structs.replace(code, constants=constants))
