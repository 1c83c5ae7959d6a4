"""Bytes of a code object → instructions, exception table, positions.

Pure and bounded: every byte is looked at once, nothing is believed. Formats as in
CPython's Objects/exception_handling_notes.txt and Objects/locations.md (InternalDocs
in later versions). Knows single instructions and entries, not how they work together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Final, NamedTuple

from bcpatch.flow.opcodes import EXTENDED_ARG, FACTS
from bcpatch.model import Code


class Position(NamedTuple):
    """A range of source text: lines from 1, columns in UTF-8 bytes from 0; -1 where unknown."""

    line: int
    column: int
    end_line: int
    end_column: int


class Instruction(NamedTuple):
    """A decoded instruction. ``offset`` is in bytes, at its first EXTENDED_ARG where it has one.

    ``target`` is the index of the instruction it may jump to, -1 where it doesn't jump.
    """

    offset: int
    opcode: int
    name: str
    argument: int
    target: int


class Handler(NamedTuple):
    """An exception table entry in indices of instructions: ``start`` to before ``end`` go to ``target``."""

    start: int
    end: int
    target: int
    depth: int
    lasti: bool


class Broken(Exception):
    """A field that can't be decoded: which rule says so, why, and at which byte of the bytecode."""

    def __init__(self, rule: str, message: str, offset: int) -> None:
        self.rule = rule
        self.message = message
        self.offset = offset
        super().__init__(message)


_NAMES: Final = {number: facts.row.name for number, facts in FACTS.items()}
_CACHE_BYTES: Final = {number: 2 * facts.caches for number, facts in FACTS.items()}
_WITHOUT_ARGUMENT: Final = frozenset(number for number, facts in FACTS.items() if facts.row.argument == "unused")
#: Bytes that a jump goes for each unit of its argument.
_DIRECTIONS: Final = {number: -2 if facts.backward else 2 for number, facts in FACTS.items() if facts.row.flow.jumps}
#: Makes an Instruction from a tuple without a call into Python: half of the time to decode.
_instruction: Final = partial(tuple.__new__, Instruction)

#: More instructions than any source has in one function; keeps the time to look at one bounded.
MOST_UNITS: Final = 1 << 20


class _Units(NamedTuple):
    """Columns of the instructions: offset, opcode, argument, and offset behind it with its cache."""

    offsets: list[int]
    opcodes: list[int]
    arguments: list[int]
    ends: list[int]


def _units(bytecode: bytes) -> _Units:
    if len(bytecode) % 2 or not bytecode:
        raise Broken("BCP311", f"{len(bytecode)} bytes of bytecode are no sequence of instructions", 0)
    if len(bytecode) > 2 * MOST_UNITS:
        raise Broken("BCP310", f"{len(bytecode)} bytes of bytecode: more than {2 * MOST_UNITS}", 0)
    units = _Units([], [], [], [])
    offsets, opcodes, arguments, ends = units
    at = prefix = start = 0
    size = len(bytecode)
    while at < size:
        number, argument = bytecode[at], bytecode[at + 1]
        at += 2
        cache = _CACHE_BYTES.get(number)
        if cache is None:
            if number != EXTENDED_ARG:
                raise Broken("BCP301", f"opcode {number} is none that the compiler emits", start)
            prefix = (prefix | argument) << 8
            if at - start > 6 or at == size:
                raise Broken("BCP311", "EXTENDED_ARG without an instruction that it extends", start)
            continue
        if at - start > 2 and number in _WITHOUT_ARGUMENT:
            raise Broken("BCP311", f"EXTENDED_ARG before {_NAMES[number]}, which has no argument", start)
        offsets.append(start)
        opcodes.append(number)
        arguments.append(prefix | argument)
        if cache:
            if bytecode[at : at + cache].count(0) != cache:
                raise Broken("BCP311", f"the inline cache of {_NAMES[number]} is cut off or not empty", start)
            at += cache
        ends.append(at)
        start, prefix = at, 0
    return units


def instructions(code: Code) -> tuple[Instruction, ...]:
    """All instructions, in order. Raises `Broken` (BCP301, BCP302, BCP310, BCP311)."""
    offsets, opcodes, arguments, ends = _units(code.bytecode)
    targets = [-1] * len(offsets)
    jumps = [at for at, number in enumerate(opcodes) if number in _DIRECTIONS]
    if jumps:
        index = dict(zip(offsets, range(len(offsets)), strict=True))
        for at in jumps:
            wanted = ends[at] + _DIRECTIONS[opcodes[at]] * arguments[at]
            target = index.get(wanted)
            if target is None:
                message = f"{_NAMES[opcodes[at]]} jumps to byte {wanted}, where no instruction starts"
                raise Broken("BCP302", message, offsets[at])
            targets[at] = target
    rows = zip(offsets, opcodes, map(_NAMES.__getitem__, opcodes), arguments, targets, strict=True)
    return tuple(map(_instruction, rows))


# --- exception table ------------------------------------------------------------------


def _entries(table: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The numbers of each entry: big-endian groups of six bits; only an entry's first byte has bit 7."""
    at, size = 0, len(table)
    while at < size:
        numbers = []
        for field in range(4):
            value = 0
            for length in range(6):
                if at == size or (table[at] & 0x80 != 0) != (field == length == 0):
                    raise Broken("BCP308", f"the exception table is malformed at its byte {at}", 0)
                byte = table[at]
                at += 1
                value = value << 6 | byte & 0x3F
                if not byte & 0x40:
                    break
            else:
                raise Broken("BCP308", f"a number in the exception table is too long at its byte {at}", 0)
            numbers.append(value)
        yield numbers[0], numbers[1], numbers[2], numbers[3]


def handlers(code: Code, decoded: tuple[Instruction, ...]) -> tuple[Handler, ...]:
    """The exception table. Raises `Broken` (BCP308): the interpreter searches it by bisection,
    so its entries must be sorted and must not overlap.
    """
    index = {instruction.offset: number for number, instruction in enumerate(decoded)}
    index[len(code.bytecode)] = len(decoded)
    found = []
    last = 0
    for start, length, target, depth in _entries(code.exception_table):
        first, end, to = index.get(2 * start), index.get(2 * (start + length)), index.get(2 * target)
        if first is None or end is None or to is None or to == len(decoded):
            raise Broken("BCP308", "an exception table entry names a place where no instruction starts", 2 * start)
        if first < last or end <= first:
            raise Broken("BCP308", "exception table entries overlap or are out of order", 2 * start)
        found.append(Handler(first, end, to, depth >> 1, bool(depth & 1)))
        last = end
    return tuple(found)


# --- line table -----------------------------------------------------------------------

_NO_COLUMNS: Final = 13
_NOTHING: Final = 15


#: A line table: entries with one byte, two bytes, a number, four numbers or nothing behind their head.
_LINE_TABLE: Final = re.compile(
    rb"(?:[\x80-\xCF][\x00-\x7F]"
    rb"|[\xD0-\xE7][\x00-\x7F]{2}"
    rb"|[\xE8-\xEF][\x40-\x7F]{0,5}+[\x00-\x3F]"
    rb"|[\xF0-\xF7](?:[\x40-\x7F]{0,5}+[\x00-\x3F]){4}"
    rb"|[\xF8-\xFF])*+"
)
_BODIES: Final = bytes(range(128))
_UNITS: Final = bytes(128) + bytes((head & 7) + 1 for head in range(128, 256))


def check_positions(code: Code) -> None:
    """Raises `Broken` (BCP313) where the line table doesn't decode or doesn't cover the bytecode."""
    if not _LINE_TABLE.fullmatch(code.line_table):
        raise Broken("BCP313", "the line table is malformed", 0)
    covered = 2 * sum(code.line_table.translate(_UNITS, _BODIES))
    if covered != len(code.bytecode):
        raise Broken("BCP313", f"the line table covers {covered} bytes of {len(code.bytecode)}", 0)


def positions(code: Code) -> tuple[list[int], list[Position]]:
    """For each range of bytecode that has one line table entry: the offset after it, and its position.

    Of a table that `check_positions` has let pass.
    """
    table = iter(code.line_table)
    ends, found = [], []
    line, offset = code.first_line, 0
    for head in table:
        kind = head >> 3 & 15
        offset += 2 * (head & 7) + 2
        ends.append(offset)
        if kind < 10:
            column = next(table)
            width, column = column & 15, kind << 3 | column >> 4
            found.append(Position(line, column, line, column + width))
        elif kind < _NO_COLUMNS:
            line += kind - 10
            found.append(Position(line, next(table), line, next(table)))
        elif kind == _NOTHING:
            found.append(Position(-1, -1, -1, -1))
        elif kind == _NO_COLUMNS:
            line += _signed(table)
            found.append(Position(line, -1, line, -1))
        else:
            line += _signed(table)
            end_line = line + _number(table)
            column, end_column = _number(table) - 1, _number(table) - 1
            found.append(Position(line, column, end_line, end_column))
    return ends, found


def _number(table: Iterator[int]) -> int:
    value = shift = 0
    for byte in table:
        value |= (byte & 0x3F) << shift
        shift += 6
        if not byte & 0x40:
            break
    return value


def _signed(table: Iterator[int]) -> int:
    value = _number(table)
    return -(value >> 1) if value & 1 else value >> 1
