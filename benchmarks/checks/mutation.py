"""Mutants of code objects: small, seeded damage of every field that a patch file carries.

Works on `model.Code` and knows instructions, so that many mutants are well formed enough
to pass: those are the ones that put a verifier to the test.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import msgspec

from bcpatch.flow.opcodes import EXTENDED_ARG, FACTS
from bcpatch.model import Bytes, Code, Constant, Dots, FrozenSet, Tuple

_OPCODES: Final = tuple(FACTS)
#: Opcodes that take the same room: one can stand where another stood.
_BY_CACHES: Final = {
    caches: tuple(number for number, facts in FACTS.items() if facts.caches == caches)
    for caches in {facts.caches for facts in FACTS.values()}
}
_BY_SHAPE: Final = {
    number: tuple(
        other
        for other in _BY_CACHES[facts.caches]
        if FACTS[other].row.stack.partition("->")[0].count("value") == facts.row.stack.partition("->")[0].count("value")
        and FACTS[other].row.flow == facts.row.flow
    )
    for number, facts in FACTS.items()
}
_FLAGS: Final = (0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x80, 0x100, 0x200, 0x1000000, 0x4000000, 0x8000000)
_CONSTANTS: Final[tuple[Constant, ...]] = (
    None, True, 0, 1, -1, 1.5, "", "text", Bytes(b"bytes"), Dots(), Tuple(()), Tuple(("a",)), Tuple((1, "a")),
    FrozenSet(()), Tuple(("a", None)),
)  # fmt: skip

Mutation = Callable[[Code, random.Random], Code]


def _starts(code: Code) -> list[int]:
    """Where the instructions start, as well as that can be told."""
    starts, at = [], 0
    while at < len(code.bytecode):
        starts.append(at)
        facts = FACTS.get(code.bytecode[at])
        at += 2 + 2 * (facts.caches if facts else 0)
    return starts


def _with_bytes(code: Code, at: int, new: bytes) -> Code:
    changed = code.bytecode[:at] + new + code.bytecode[at + len(new) :]
    return msgspec.structs.replace(code, bytecode=changed)


def flip_bit(code: Code, choose: random.Random) -> Code:
    at = choose.randrange(len(code.bytecode))
    return _with_bytes(code, at, bytes([code.bytecode[at] ^ 1 << choose.randrange(8)]))


def other_opcode(code: Code, choose: random.Random) -> Code:
    at = choose.choice(_starts(code))
    facts = FACTS.get(code.bytecode[at])
    return _with_bytes(code, at, bytes([choose.choice(_BY_CACHES[facts.caches] if facts else _OPCODES)]))


def similar_opcode(code: Code, choose: random.Random) -> Code:
    at = choose.choice(_starts(code))
    return _with_bytes(code, at, bytes([choose.choice(_BY_SHAPE.get(code.bytecode[at], _OPCODES))]))


def other_argument(code: Code, choose: random.Random) -> Code:
    at = choose.choice(_starts(code)) + 1
    old = code.bytecode[at]
    new = choose.choice((old + 1, old - 1, old ^ 1, old ^ 16, choose.randrange(8), choose.randrange(256)))
    return _with_bytes(code, at, bytes([new & 255]))


def swap_neighbours(code: Code, choose: random.Random) -> Code:
    starts = [*_starts(code), len(code.bytecode)]
    if len(starts) < 4:
        return code
    place = choose.randrange(len(starts) - 2)
    first, second, third = starts[place : place + 3]
    return _with_bytes(code, first, code.bytecode[second:third] + code.bytecode[first:second])


def copy_slice(code: Code, choose: random.Random) -> Code:
    """Instructions from one place over instructions at another."""
    starts = [*_starts(code), len(code.bytecode)]
    source = choose.randrange(len(starts) - 1)
    end = min(source + choose.randrange(1, 5), len(starts) - 1)
    piece = code.bytecode[starts[source] : starts[end]]
    at = choose.choice(starts[:-1])
    return _with_bytes(code, at, piece[: len(code.bytecode) - at])


def nop(code: Code, choose: random.Random) -> Code:
    at = choose.choice(_starts(code))
    return _with_bytes(code, at, bytes([_NOP, 0]))


def cut(code: Code, choose: random.Random) -> Code:
    starts = _starts(code)
    at = choose.choice(starts)
    length = choose.choice((2, 4, len(code.bytecode)))
    return msgspec.structs.replace(code, bytecode=code.bytecode[:at] + code.bytecode[at + length :])


def insert(code: Code, choose: random.Random) -> Code:
    """An instruction more, with the tables made to fit again: only jumps across it go wrong."""
    at = choose.choice(_starts(code))
    number = choose.choice(_BY_CACHES[0])
    new = bytes([number, choose.choice((0, 0, 1, 2, choose.randrange(256)))])
    line_table = code.line_table + bytes([0xF8])
    return msgspec.structs.replace(code, bytecode=code.bytecode[:at] + new + code.bytecode[at:], line_table=line_table)


def exception_table(code: Code, choose: random.Random) -> Code:
    table = bytearray(code.exception_table)
    if not table:
        return add_handler(code, choose)
    at = choose.randrange(len(table))
    match choose.randrange(4):
        case 0:
            table[at] ^= 1 << choose.randrange(8)
        case 1:
            table[at] = table[at] & 0xC0 | (table[at] + choose.choice((-2, -1, 1, 2))) & 0x3F
        case 2:
            del table[at]
        case 3:
            return msgspec.structs.replace(code, exception_table=b"")
    return msgspec.structs.replace(code, exception_table=bytes(table))


def add_handler(code: Code, choose: random.Random) -> Code:
    """A table of one entry, between instructions."""
    starts = _starts(code)
    first, end, target = *sorted(choose.choices(starts, k=2)), choose.choice(starts)
    numbers = (first // 2, (end - first) // 2, target // 2, choose.randrange(3) << 1 | choose.randrange(2))
    table = b""
    for place, number in enumerate(numbers):
        digits = [number & 0x3F]
        while number := number >> 6:
            digits.append(number & 0x3F | 0x40)
        digits.reverse()
        if place == 0:
            digits[0] |= 0x80
        table += bytes(digits)
    return msgspec.structs.replace(code, exception_table=table)


def stack_size(code: Code, choose: random.Random) -> Code:
    new = choose.choice((0, code.stacksize - 1, code.stacksize - 2, code.stacksize + 1, 1, 1 << 40))
    return msgspec.structs.replace(code, stacksize=new)


def flags(code: Code, choose: random.Random) -> Code:
    return msgspec.structs.replace(code, flags=code.flags ^ choose.choice(_FLAGS))


def constants(code: Code, choose: random.Random) -> Code:
    changed = list(code.constants)
    if not changed or choose.randrange(6) == 0:
        return msgspec.structs.replace(code, constants=tuple(changed[:-1]))
    at = choose.randrange(len(changed))
    changed[at] = choose.choice((*changed, *_CONSTANTS))
    return msgspec.structs.replace(code, constants=tuple(changed))


def nested(code: Code, choose: random.Random) -> Code:
    """The same, one code object deeper."""
    inner = [at for at, constant in enumerate(code.constants) if isinstance(constant, Code)]
    if not inner:
        return other_argument(code, choose)
    at = choose.choice(inner)
    constant = code.constants[at]
    assert isinstance(constant, Code)
    changed = (*code.constants[:at], mutate(constant, choose), *code.constants[at + 1 :])
    return msgspec.structs.replace(code, constants=changed)


def names(code: Code, choose: random.Random) -> Code:
    field = choose.choice(("names", "varnames", "cellvars", "freevars"))
    changed = list(getattr(code, field))
    match choose.randrange(3):
        case 0:
            choose.shuffle(changed)
        case 1 if changed:
            changed.pop()
        case _:
            changed.append(choose.choice(("extra", *code.names, *code.varnames)))
    return msgspec.structs.replace(code, **{field: tuple(changed)})


def counts(code: Code, choose: random.Random) -> Code:
    field = choose.choice(("argcount", "posonlyargcount", "kwonlyargcount"))
    return msgspec.structs.replace(code, **{field: getattr(code, field) + choose.choice((-1, 1, 2))})


def line_table(code: Code, choose: random.Random) -> Code:
    table = bytearray(code.line_table)
    if table:
        table[choose.randrange(len(table))] ^= 1 << choose.randrange(8)
    return msgspec.structs.replace(code, line_table=bytes(table))


_NOP: Final = next(number for number, facts in FACTS.items() if facts.row.name == "NOP")

#: What is done to a code object, and how often.
_WEIGHTS: Final[dict[Mutation, int]] = {
    other_argument: 22,
    similar_opcode: 20,
    copy_slice: 10,
    swap_neighbours: 8,
    nested: 8,
    other_opcode: 6,
    flip_bit: 5,
    nop: 4,
    insert: 4,
    exception_table: 6,
    add_handler: 3,
    constants: 6,
    names: 3,
    flags: 3,
    stack_size: 2,
    counts: 2,
    cut: 1,
    line_table: 1,
}


def mutate(code: Code, choose: random.Random) -> Code:
    """``code`` with one to three faults."""
    for mutation in choose.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()), k=choose.choice((1, 1, 1, 2, 3))):
        if code.bytecode:
            code = mutation(code, choose)
    return code


def opcodes(code: Code) -> set[str]:
    """The names of the opcodes in a code object and those nested in it."""
    found = {FACTS[number].row.name for number in (code.bytecode[at] for at in _starts(code)) if number in FACTS}
    if EXTENDED_ARG in code.bytecode[::2]:
        found.add("EXTENDED_ARG")
    for constant in code.constants:
        if isinstance(constant, Code):
            found |= opcodes(constant)
    return found
