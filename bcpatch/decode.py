"""Bytes of a code object → instructions, exception table, positions.

Pure and bounded: every byte is looked at once, nothing is believed. Formats as in
CPython's Objects/exception_handling_notes.txt and Objects/locations.md (InternalDocs
in later versions). Knows single instructions and entries, not how they work together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from bcpatch.model import Code
from bcpatch.opcodes import EXTENDED_ARG, FACTS, Facts


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


#: More instructions than any source has in one function; keeps the time to look at one bounded.
MOST_UNITS: Final = 1 << 20


def _units(bytecode: bytes) -> tuple[list[tuple[int, int, int, int, Facts]], dict[int, int]]:
    """(offset, opcode, argument, offset after it) of each instruction; index by offset."""
    if len(bytecode) % 2 or not bytecode:
        raise Broken("BCP311", f"{len(bytecode)} bytes of bytecode are no sequence of instructions", 0)
    if len(bytecode) > 2 * MOST_UNITS:
        raise Broken("BCP310", f"{len(bytecode)} bytes of bytecode: more than {2 * MOST_UNITS}", 0)
    units: list[tuple[int, int, int, int, Facts]] = []
    index: dict[int, int] = {}
    at = start = prefix = extended = 0
    size = len(bytecode)
    while at < size:
        number, argument = bytecode[at], bytecode[at + 1]
        at += 2
        if number == EXTENDED_ARG:
            extended += 1
            prefix = (prefix | argument) << 8
            if extended > 3 or at == size:
                raise Broken("BCP311", "EXTENDED_ARG without an instruction that it extends", start)
            continue
        facts = FACTS.get(number)
        if facts is None:
            raise Broken("BCP301", f"opcode {number} is none that the compiler emits", start)
        if extended and facts.row.argument == "unused":
            raise Broken("BCP311", f"EXTENDED_ARG before {facts.row.name}, which has no argument", start)
        if facts.caches:
            end = at + 2 * facts.caches
            if bytecode[at:end].count(0) != 2 * facts.caches:
                raise Broken("BCP311", f"the inline cache of {facts.row.name} is cut off or not empty", start)
            at = end
        index[start] = len(units)
        units.append((start, number, prefix | argument, at, facts))
        start, prefix, extended = at, 0, 0
    return units, index


def instructions(code: Code) -> tuple[Instruction, ...]:
    """All instructions, in order. Raises `Broken` (BCP301, BCP302, BCP310, BCP311)."""
    units, index = _units(code.bytecode)
    decoded = []
    for offset, number, argument, after, facts in units:
        target = -1
        if facts.row.flow.jumps:
            wanted = after - 2 * argument if facts.backward else after + 2 * argument
            target = index.get(wanted, -1)
            if target < 0:
                raise Broken("BCP302", f"{facts.row.name} jumps to byte {wanted}, where no instruction starts", offset)
        decoded.append(Instruction(offset, number, facts.row.name, argument, target))
    return tuple(decoded)


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
_LONG: Final = 14
_NOTHING: Final = 15


class _Bytes:
    """A line table being read; every read is bounded."""

    def __init__(self, table: bytes) -> None:
        self.table = table
        self.at = 0

    def broken(self) -> Broken:
        return Broken("BCP313", f"the line table is malformed at its byte {self.at}", 0)

    def byte(self) -> int:
        if self.at == len(self.table) or self.table[self.at] & 0x80:
            raise self.broken()
        self.at += 1
        return self.table[self.at - 1]

    def number(self) -> int:
        value = 0
        for shift in range(0, 36, 6):
            byte = self.byte()
            value |= (byte & 0x3F) << shift
            if not byte & 0x40:
                return value
        raise self.broken()

    def signed(self) -> int:
        value = self.number()
        return -(value >> 1) if value & 1 else value >> 1


def _ranges(code: Code) -> Iterator[tuple[int, int, int, int, int]]:
    """(code units, line, column, end line, end column) of each entry; lines -1 where there is none."""
    table = _Bytes(code.line_table)
    line = code.first_line
    while table.at < len(table.table):
        head = table.table[table.at]
        if not head & 0x80:
            raise table.broken()
        table.at += 1
        kind, units = head >> 3 & 15, (head & 7) + 1
        if kind == _NOTHING:
            yield units, -1, -1, -1, -1
            continue
        if kind == _LONG:
            line += table.signed()
            end_line = line + table.number()
            column, end_column = table.number() - 1, table.number() - 1
        elif kind == _NO_COLUMNS:
            line += table.signed()
            end_line, column, end_column = line, -1, -1
        elif kind >= 10:
            line += kind - 10
            end_line, column, end_column = line, table.byte(), table.byte()
        else:
            second = table.byte()
            end_line, column = line, kind << 3 | second >> 4
            end_column = column + (second & 15)
        if not -(1 << 31) < line < 1 << 31:
            raise table.broken()
        yield units, line, column, end_line, end_column


def positions(code: Code) -> Iterator[tuple[int, Position]]:
    """(offset after it, position) of each range of bytecode that has one line table entry.

    Raises `Broken` (BCP313) where the table doesn't decode or doesn't cover the bytecode.
    """
    offset = 0
    for units, line, column, end_line, end_column in _ranges(code):
        offset += 2 * units
        yield offset, Position(line, column, end_line, end_column)
    if offset != len(code.bytecode):
        raise Broken("BCP313", f"the line table covers {offset} bytes of {len(code.bytecode)}", 0)
