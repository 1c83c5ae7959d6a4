"""Which nested code of a new function continues which nested code of the old one.

A function's code carries the code of what it defines: closures, lambdas,
comprehensions, local classes and their methods. Live closures switch with their maker
only where their pair is certain. This module compares; it knows no live object but code.
"""

from __future__ import annotations

import opcode
from collections import Counter
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Final, TypeAlias, TypeVar

import msgspec

from bcpatch import fingerprint, pythons
from bcpatch.model import Code

_T = TypeVar("_T")

Path: TypeAlias = tuple[int, ...]
"""Numbers of constants, from a code object down to code nested in it."""


class Pair(msgspec.Struct, frozen=True):
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
    olds = list(_used(old.co_consts, CodeType, old.co_code))
    news = list(_used(new.constants, Code, new.bytecode))
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


def _used(constants: Sequence[object], kind: type[_T], bytecode: bytes) -> Iterator[tuple[int, _T]]:
    """The code objects among constants, in their order, and their numbers: each as often as functions share it."""
    numbers = _loaded(bytecode) if pythons.EQUAL_CODE_IS_SHARED else range(len(constants))
    for number in numbers:
        one = constants[number]
        if isinstance(one, kind):
            yield number, one


def _loaded(bytecode: bytes) -> Iterator[int]:
    """The numbers of the constants that instructions load."""
    argument = 0
    for number, low in zip(bytecode[::2], bytecode[1::2], strict=True):
        argument = argument << 8 | low
        if number != opcode.EXTENDED_ARG:
            if number == _LOAD_CONST:
                yield argument
            argument = 0


_LOAD_CONST: Final = opcode.opmap["LOAD_CONST"]


def _siblings(
    before: Sequence[tuple[int, str]], after: Sequence[tuple[int, str]]
) -> Iterator[tuple[int, int | None, bool]]:
    """Pair code of one name: by turn where one at most has changed, else by fingerprint where that leaves no choice."""
    turns = dict.fromkeys(number for number, _ in before)
    if len(before) == len(after):
        changed = [one != other for (_, one), (_, other) in zip(before, after, strict=True)]
        for number in turns:
            own = [place for place, (one, _) in enumerate(before) if one == number]
            if not any(changed[place] for place in own):
                yield number, after[own[0]][0], False
            else:
                certain = len(own) == sum(changed) == 1
                yield number, after[own[0]][0] if certain else None, True
        return
    old_count, new_count = Counter(print_ for _, print_ in before), Counter(print_ for _, print_ in after)
    place = {print_: number for number, print_ in after}
    for number, print_ in dict(before).items():
        same = old_count[print_] == new_count[print_] == 1
        yield number, place[print_] if same else None, not same


def _orphans(code: CodeType, path: Path) -> Iterator[Pair]:
    for number, inner in enumerate(code.co_consts):
        if type(inner) is CodeType:
            yield Pair((*path, number), None, True)
            yield from _orphans(inner, (*path, number))


def shell(code: Code) -> Code:
    """What code means apart from the code nested in it."""
    constants = tuple(one.name if isinstance(one, Code) else one for one in code.constants)
    return fingerprint.meaning(msgspec.structs.replace(code, constants=constants))
