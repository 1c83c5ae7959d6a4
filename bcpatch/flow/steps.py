"""What following does at each instruction, in columns, whichever code object it is of.

Knows an instruction and its argument: what it takes and gives, and how it moves values. Nothing of the
instructions around it, nor of paths.
"""

from __future__ import annotations

from itertools import compress
from typing import Final, NamedTuple

import msgspec

from bcpatch import pythons
from bcpatch.flow.decode import Decoded
from bcpatch.flow.effects import effect
from bcpatch.flow.fields import indices
from bcpatch.flow.opcodes import CELL, EXCEPTION, FACTS, NUMBERS, OBJECT, SPENT, numbers
from bcpatch.flow.values import PRESENT, RESULTS, Slots
from bcpatch.model import Code

#: How much following may cost, in values looked at: real code of any size stays far below.
BUDGET: Final = 20_000_000
#: How an instruction moves values; where it is nothing of its own, by how many it takes and gives. The most frequent
#: ones come first.
(
    MOVE_PUSH, MOVE_LOAD, MOVE_LOAD_CHECKED, MOVE_BORROW, MOVE_GATHER, MOVE_POP, MOVE_CHANGE, MOVE_STAY, MOVE_STORE,
    MOVE_DROP, MOVE_CHANGE_TWO, MOVE_PLAIN, MOVE_LOAD_TWO, MOVE_BORROW_TWO, MOVE_PASS, MOVE_COPY, MOVE_SWAP, MOVE_TAKE,
    MOVE_STORE_LOAD, MOVE_STORE_TWO, MOVE_DELETE, MOVE_MAKE_CELL, MOVE_COPY_CELLS, MOVE_CELL, MOVE_END_SEND,
    MOVE_PUSH_EXCEPTION,
) = range(26)  # fmt: skip
#: The moves that load one variable as it is are these and those before them, but `MOVE_PUSH`.
MOVE_LAST_LOAD: Final = MOVE_LOAD_CHECKED

_MOVES: Final = {
    "": MOVE_PLAIN, "copy": MOVE_COPY, "swap": MOVE_SWAP,
    "load": MOVE_LOAD_CHECKED if pythons.LOAD_FAST_CHECKS else MOVE_LOAD, "load checked": MOVE_LOAD_CHECKED,
    "take": MOVE_TAKE, "load load": MOVE_LOAD_TWO, "borrow": MOVE_BORROW, "borrow borrow": MOVE_BORROW_TWO,
    "store": MOVE_STORE, "store load": MOVE_STORE_LOAD, "store store": MOVE_STORE_TWO, "delete": MOVE_DELETE,
    "make cell": MOVE_MAKE_CELL, "copy cells": MOVE_COPY_CELLS, "load cell": MOVE_LOAD, "cell": MOVE_CELL,
    "test": MOVE_PLAIN, "end send": MOVE_END_SEND, "push exception": MOVE_PUSH_EXCEPTION,
}  # fmt: skip

#: The moves, by their word in a row, after which slots, or where values stand on the stack, are not what they were.
CHANGING: Final = frozenset({"swap", "take", "store", "store load", "store store", "delete", "make cell", "copy cells"})

#: The moves of instructions that take all that they want: by how many values that is, and how many they give. Where it
#: is more than one, they gather them into one or drop them.
_BY_COUNT: Final = {
    (0, 0): MOVE_STAY, (0, 1): MOVE_PUSH, (1, 0): MOVE_POP, (1, 1): MOVE_CHANGE, (1, 2): MOVE_CHANGE_TWO,
}  # fmt: skip

#: Instructions whose result may be their operand itself, borrowed as it was: which result.
PASSING: Final = {NUMBERS[name]: result for name, result in pythons.PASSES_BORROWED.items() if name in NUMBERS}

_MOVE_OF: Final = {
    number: MOVE_PASS if number in PASSING else _MOVES[facts.row.move] for number, facts in FACTS.items()
}

#: How many slots stand behind the values from the stack among what an instruction works on, by its move.
_READS: Final = {
    MOVE_LOAD: 1, MOVE_LOAD_CHECKED: 1, MOVE_TAKE: 1, MOVE_LOAD_TWO: 2, MOVE_BORROW: 1, MOVE_BORROW_TWO: 2,
    MOVE_STORE_LOAD: 1, MOVE_DELETE: 1, MOVE_MAKE_CELL: 1, MOVE_CELL: 1,
}  # fmt: skip

_TWIN: Final = numbers("PREP_RERAISE_STAR", "CALL_INTRINSIC_2", "CHECK_EG_MATCH")
#: Moves that make a value beside those on the stack: a cell, or what is left of a separated pair.
_MADE: Final = {NUMBERS["MAKE_CELL"]: CELL, NUMBERS["SWAP"]: SPENT}


class Step(NamedTuple):
    """What following does at an instruction with one argument.

    ``wanted``, ``removes`` and ``gives`` are numbers of values, ``grows`` is by how many there are more afterwards.
    ``results`` are the kinds of the values that it makes, ``forbids`` those that its operands must not be of.
    ``local``, ``constant`` and ``name`` are `fields.Indices`.
    """

    wanted: int
    removes: int
    gives: int
    grows: int
    move: int
    results: tuple[int, ...]
    forbids: tuple[int, ...]
    local: int
    constant: int
    name: int


_TOO_WIDE: Final = Step(BUDGET, 0, BUDGET, BUDGET, MOVE_PLAIN, (), (), -1, -1, -1)


def _step(opcode: int, argument: int) -> Step:
    facts = effect(opcode, argument)
    if facts is None:
        return _TOO_WIDE
    results = [*facts.gives[:PRESENT], *[OBJECT] * RESULTS][:RESULTS]
    if opcode in _TWIN:
        results[PRESENT] = EXCEPTION
    elif opcode in _MADE:
        results[0] = _MADE[opcode]
    wanted, gives, move = len(facts.needs), len(facts.gives), _MOVE_OF[opcode]
    assert len(facts.forbids) == wanted + _READS.get(move, 0), FACTS[opcode].row.name
    if move == MOVE_PASS and gives <= PASSING[opcode]:
        move = MOVE_PLAIN
    if move == MOVE_PLAIN and wanted == facts.removes:
        move = _BY_COUNT.get((wanted, gives), (MOVE_DROP, MOVE_GATHER, MOVE_PLAIN)[min(gives, 2)])
    counts = wanted, facts.removes, gives, gives - facts.removes
    return Step(*counts, move, tuple(results), facts.forbids, *indices(opcode, argument))


class Steps(msgspec.Struct, frozen=True):
    """What following does at each instruction, in columns."""

    wanted: tuple[int, ...]
    removes: tuple[int, ...]
    gives: tuple[int, ...]
    grows: tuple[int, ...]
    move: tuple[int, ...]
    results: tuple[tuple[int, ...], ...]
    forbids: tuple[tuple[int, ...], ...]
    local: tuple[int, ...]
    constant: tuple[int, ...]
    name: tuple[int, ...]


#: By key of an instruction (`Decoded.keys`), for small arguments.
_known: Final[dict[int, Step]] = {}


def columns(decoded: Decoded) -> Steps:
    """What following will do at some instructions, whichever code object they are of."""
    try:
        found = list(map(_known.__getitem__, decoded.keys))
    except KeyError:
        found = _learned(decoded.keys)
    return Steps(*zip(*found, strict=True))


def _learned(keys: list[int]) -> list[Step]:
    """The same where not all are known. An instruction with a large argument may take so much room that only some
    can be looked at: code with more of them is too wide to follow.
    """
    wide: dict[int, Step] = {}
    room = BUDGET
    for key in dict.fromkeys(keys):
        if key >> 8 < 256:
            if key not in _known:
                _known[key] = _step(key & 255, key >> 8)
        else:
            step = wide[key] = _step(key & 255, key >> 8) if room >= 0 else _TOO_WIDE
            room -= step.wanted + step.gives
    return [wide[key] if key in wide else _known[key] for key in keys]


def asked(steps: Steps, code: Code, slots: Slots) -> list[int]:
    """The instructions whose arguments are not plainly in their range: in most code none."""
    found: set[int] = set()
    limits = (steps.local, slots.names), (steps.constant, code.constants), (steps.name, code.names)
    for column, those in limits:
        if max(column) >= len(those):
            found.update(compress(range(len(column)), map(len(those).__le__, column)))
    return sorted(found)
