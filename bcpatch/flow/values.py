"""Numbers for the values that the abstract interpreter moves about.

A value is known by where it was made: a number that stands for one result of one
instruction, or for a set of such with the local variables that it may be borrowed from.
Each has a kind (`bcpatch.flow.opcodes`). Knows nothing of control flow.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from itertools import chain
from typing import Final, TypeAlias, get_args

import msgspec

from bcpatch.flow.opcodes import BOOL, BORROWED, CODE, INTEGER, OBJECT, REST, TEXT, TEXTS, TUPLE, UNBOUND
from bcpatch.model import Code, Constant, Integer, Text, Tuple

#: The values that an instruction works on, deepest first. Of tuples of numbers, unlike lists, the garbage collector
#: soon thinks no more.
Work: TypeAlias = tuple[int, ...]

#: Results of one instruction that are told apart.
RESULTS: Final = 4
#: The result that stands for result 0 where a test has shown that it isn't None.
PRESENT: Final = 3


class Slots(msgspec.Struct, frozen=True):
    """The local variables of a frame in their order: ``varnames``, then cells, then free variables."""

    names: tuple[str, ...]
    parameters: int
    cells: frozenset[int]
    first_free: int

    @property
    def has_cells(self) -> bool:
        return bool(self.cells) or self.first_free < len(self.names)


def slots(code: Code, parameters: int) -> Slots:
    """A captured parameter or local shares its slot; a free variable never does (PEP 695 names can be all three)."""
    if not code.cellvars and not code.freevars:
        return Slots(code.varnames, parameters, frozenset(), len(code.varnames))
    own = set(code.varnames)
    names = (*code.varnames, *(name for name in code.cellvars if name not in own))
    place = {name: slot for slot, name in enumerate(names)}
    cells = frozenset(place[name] for name in code.cellvars)
    return Slots((*names, *code.freevars), parameters, cells, len(names))


_NONE: Final[frozenset[int]] = frozenset()


class Values:
    """Numbers for values: single ones are given, sets are made as they are needed."""

    def __init__(self, results: Collection[Sequence[int]], slot_count: int, handler_count: int) -> None:
        """``results`` are the kinds of what each instruction makes."""
        self.entry = RESULTS * len(results)
        self.unbound = self.entry
        self.first_slot = self.entry + 1
        self.first_handler = self.first_slot + slot_count
        self.single = self.first_handler + 2 * handler_count
        self.kinds = [*chain.from_iterable(results), UNBOUND, *[OBJECT] * (self.single - self.first_slot)]
        self._parts: list[tuple[frozenset[int], frozenset[int]]] = []
        self._numbers: dict[tuple[frozenset[int], frozenset[int]], int] = {}
        self._unions: dict[tuple[int, int], int] = {}
        self._borrowed: dict[tuple[int, int], int] = {}

    def parts(self, value: int) -> tuple[frozenset[int], frozenset[int]]:
        """The single values that ``value`` may be, and the slots that it may be borrowed from."""
        return self._parts[value - self.single] if value >= self.single else (frozenset((value,)), _NONE)

    def members(self, value: int) -> frozenset[int]:
        return self.parts(value)[0]

    def holding(self, wanted: Set[int]) -> frozenset[int]:
        """Some single values, and the sets that hold any of them."""
        sets = (
            self.single + number for number, (members, _) in enumerate(self._parts) if not wanted.isdisjoint(members)
        )
        return frozenset((*wanted, *sets))

    def _number(self, members: frozenset[int], lenders: frozenset[int], kind: int) -> int:
        if len(members) == 1 and not lenders:
            return next(iter(members))
        parts = members, lenders
        number = self._numbers.get(parts)
        if number is None:
            number = self._numbers[parts] = self.single + len(self._parts)
            self._parts.append(parts)
            self.kinds.append(kind)
        return number

    def _kind(self, members: frozenset[int], lenders: frozenset[int]) -> int:
        kind = BORROWED if lenders else 0
        for member in members:
            kind |= self.kinds[member]
        return kind

    def union(self, one: int, other: int) -> int:
        both = self._unions.get((one, other))
        if both is None:
            if one < self.single > other:
                members, lenders = frozenset((one, other)), _NONE
            else:
                of_one, of_other = self.parts(one), self.parts(other)
                members, lenders = of_one[0] | of_other[0], of_one[1] | of_other[1]
            both = self._unions[one, other] = self._number(members, lenders, self.kinds[one] | self.kinds[other])
        return both

    def borrowed(self, value: int, slot: int) -> int:
        """``value``, borrowed from a slot."""
        number = self._borrowed.get((value, slot))
        if number is None:
            members, lenders = self.parts(value)
            number = self._borrowed[value, slot] = self._number(members, lenders | {slot}, self.kinds[value] | BORROWED)
        return number

    def lent(self, value: int, source: int) -> int:
        """``value``, borrowed from the slots that ``source`` is borrowed from."""
        members, lenders = self.parts(value)
        kind = self.kinds[value] | self.kinds[source] & BORROWED
        return self._number(members, lenders | self.parts(source)[1], kind)

    def bound(self, value: int, otherwise: int) -> int:
        """``value`` where it is not unbound; ``otherwise`` where it can't be bound."""
        if not self.kinds[value] & UNBOUND:
            return value
        members, lenders = self.parts(value)
        rest = members - {self.unbound}
        return self._number(rest, lenders, self._kind(rest, lenders)) if rest else otherwise

    def present(self, value: int) -> int:
        """``value`` where it is not None: what was an exception or None is an exception."""
        if not self.kinds[value] & REST:
            return value
        members, lenders = self.parts(value)
        narrowed = frozenset(m + PRESENT if m < self.entry and self.kinds[m] == REST else m for m in members)
        return self._number(narrowed, lenders, self._kind(narrowed, lenders))

    def rekind(self, kinds: dict[int, int]) -> None:
        """Give single values other kinds, and the sets that hold them too."""
        for value, kind in kinds.items():
            self.kinds[value] = kind
        for number, (members, lenders) in enumerate(self._parts) if kinds else ():
            self.kinds[self.single + number] = self._kind(members, lenders)


_TEXT_TYPES: Final = frozenset((str, Text))
#: By type of a constant. Of an `OBJECT` nothing is taken for granted.
_CONSTANT_KINDS: Final[dict[type, int]] = dict.fromkeys(get_args(Constant), OBJECT) | {
    bool: BOOL, int: INTEGER, Integer: INTEGER, str: TEXT, Text: TEXT, Code: CODE, Tuple: TUPLE,
}  # fmt: skip


def constant_kinds(constants: Sequence[Constant]) -> list[int]:
    """The kinds of what LOAD_CONST pushes."""
    kinds = list(map(_CONSTANT_KINDS.__getitem__, map(type, constants)))
    if TUPLE in kinds:
        for index, constant in enumerate(constants):
            if isinstance(constant, Tuple) and _TEXT_TYPES.issuperset(map(type, constant.items)):
                kinds[index] = TEXTS
    return kinds
