"""Bytes of a code object → instructions, exception table, positions.

Pure and bounded: every byte is looked at once, nothing is believed. Formats as in
CPython's Objects/exception_handling_notes.txt and Objects/locations.md (InternalDocs
in later versions). Knows single instructions and entries, not how they work together.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import accumulate, compress
from struct import unpack
from typing import Final, NamedTuple

import msgspec

from bcpatch.flow.opcodes import EXTENDED_ARG, FACTS, numbers
from bcpatch.model import Code


class Position(msgspec.Struct, frozen=True):
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


class Handler(msgspec.Struct, frozen=True):
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


class Decoded:
    """The instructions of a code object in columns; a row is made when one is asked for.

    ``keys`` are opcode and argument as one number: ``argument << 8 | opcode``. ``jumps`` are the indices of those
    that have a target.
    """

    __slots__ = ("arguments", "jumps", "keys", "offsets", "opcodes", "targets")

    def __init__(self, offsets: list[int], opcodes: bytes, arguments: list[int], keys: list[int]) -> None:
        self.offsets = offsets
        self.opcodes = opcodes
        self.arguments = arguments
        self.keys = keys
        self.targets = [-1] * len(offsets)
        self.jumps = places(_JUMPS, opcodes)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, at: int) -> Instruction:
        number = self.opcodes[at]
        return Instruction(self.offsets[at], number, _NAMES[number], self.arguments[at], self.targets[at])

    def __iter__(self) -> Iterator[Instruction]:
        names = map(_NAMES.__getitem__, self.opcodes)
        return map(Instruction, self.offsets, self.opcodes, names, self.arguments, self.targets)

    def broken(self, rule: str, message: str, at: int) -> Broken:
        """What is wrong at an instruction."""
        return Broken(rule, message, self.offsets[at])

    def names(self, start: int, end: int) -> list[str]:
        return [_NAMES[number] for number in self.opcodes[start:end]]

    def starts_at(self, offset: int) -> bool:
        """Whether an instruction starts there."""
        at = bisect_left(self.offsets, offset)
        return at < len(self.offsets) and self.offsets[at] == offset

    def index(self) -> dict[int, int]:
        """Instructions by their offset."""
        return dict(zip(self.offsets, range(len(self.offsets)), strict=True))


def marks(opcodes: Iterable[int]) -> bytes:
    """What `bytes.translate` makes 1 of each of some opcodes with, and 0 of all others."""
    wanted = frozenset(opcodes)
    return bytes([number in wanted for number in range(256)])


@cache
def named(names: tuple[str, ...]) -> bytes:
    """The same for opcodes by their names, of which a version may lack some."""
    return marks(numbers(*names))


def has_any(wanted: bytes, opcodes: bytes) -> bool:
    """Whether an instruction has one of the opcodes of some `marks`."""
    return 1 in opcodes.translate(wanted)


def places(wanted: bytes, opcodes: bytes, first: int = 0) -> list[int]:
    """The instructions, from ``first`` on, that have one of the opcodes of some `marks`."""
    marked = opcodes.translate(wanted)
    if 1 not in marked:  # most often
        return []
    return list(compress(range(first, len(marked)), marked[first:]))


_NAMES: Final = {number: facts.row.name for number, facts in FACTS.items()}
_CACHE_BYTES: Final = {EXTENDED_ARG: 0} | {number: 2 * facts.caches for number, facts in FACTS.items()}
_WITHOUT_ARGUMENT: Final = frozenset(number for number, facts in FACTS.items() if facts.row.argument == "unused")
#: Bytes that a jump goes for each unit of its argument.
_DIRECTIONS: Final = {number: -2 if facts.backward else 2 for number, facts in FACTS.items() if facts.row.flow.jumps}
_JUMPS: Final = marks(_DIRECTIONS)
#: The opcode of an entry of an inline cache, which no instruction has.
_CACHE: Final = 0

#: More instructions than any source has in one function; keeps the time to look at one bounded.
MOST_UNITS: Final = 1 << 20


#: How many bytes an instruction takes with its caches; none, if there is no such.
_SIZES: Final = bytes([2 + _CACHE_BYTES[number] if number in _CACHE_BYTES else 0 for number in range(256)])


def instructions(code: Code) -> Decoded:
    """All instructions, in order. Raises `Broken` (BCP301, BCP302, BCP310, BCP311)."""
    bytecode = code.bytecode
    if len(bytecode) % 2 or not bytecode:
        raise Broken("BCP311", f"{len(bytecode)} bytes of bytecode are no sequence of instructions", 0)
    if len(bytecode) > 2 * MOST_UNITS:
        raise Broken("BCP310", f"{len(bytecode)} bytes of bytecode: more than {2 * MOST_UNITS}", 0)
    units = bytecode[::2]
    opcodes = units.replace(bytes([_CACHE]), b"")
    keys = list(filter(None, unpack(f"<{len(units)}H", bytecode)))  # an entry of a cache is two zeros
    offsets = list(compress(range(0, len(bytecode), 2), units))
    ends = list(accumulate(opcodes.translate(_SIZES)))
    if len(keys) != len(opcodes) or ends[-1:] != [len(bytecode)] or offsets != [0, *ends[:-1]]:
        raise _malformed(bytecode)
    arguments = list(compress(bytecode[1::2], units))
    if EXTENDED_ARG in opcodes:
        offsets, opcodes, arguments = _extended(bytecode, offsets, opcodes, arguments)
        ends = [*offsets[1:], len(bytecode)]
        keys = [argument << 8 | number for number, argument in zip(opcodes, arguments, strict=True)]
    decoded = Decoded(offsets, opcodes, arguments, keys)
    for at in decoded.jumps:
        wanted = ends[at] + _DIRECTIONS[opcodes[at]] * arguments[at]
        target = bisect_left(offsets, wanted)
        if target == len(offsets) or offsets[target] != wanted:
            message = f"{_NAMES[opcodes[at]]} jumps to byte {wanted}, where no instruction starts"
            raise Broken("BCP302", message, offsets[at])
        decoded.targets[at] = target
    return decoded


def _extended(
    bytecode: bytes, offsets: list[int], opcodes: bytes, arguments: list[int]
) -> tuple[list[int], bytes, list[int]]:
    """The same columns where EXTENDED_ARG is part of the instruction behind it, which then starts at it."""
    starts: list[int] = []
    wide: list[int] = []
    start, prefix = -1, 0
    for offset, number, argument in zip(offsets, opcodes, arguments, strict=True):
        if number == EXTENDED_ARG:
            start = offset if start < 0 else start
            prefix = (prefix | argument) << 8
        elif start >= 0 and (offset - start > 6 or number in _WITHOUT_ARGUMENT):
            raise _malformed(bytecode)
        else:
            starts.append(offset if start < 0 else start)
            wide.append(prefix | argument)
            start, prefix = -1, 0
    if start >= 0:
        raise _malformed(bytecode)
    return starts, opcodes.replace(bytes([EXTENDED_ARG]), b""), wide


def _malformed(bytecode: bytes) -> Broken:
    """What is wrong, and where, with bytecode that is no sequence of instructions."""
    at = start = 0
    while at < len(bytecode):
        number = bytecode[at]
        at += 2
        if number == EXTENDED_ARG:
            if at - start > 6 or at == len(bytecode):
                return Broken("BCP311", "EXTENDED_ARG without an instruction that it extends", start)
            continue
        cache = _CACHE_BYTES.get(number)
        if cache is None:
            return Broken("BCP301", f"opcode {number} is none that the compiler emits", start)
        if at - start > 2 and number in _WITHOUT_ARGUMENT:
            return Broken("BCP311", f"EXTENDED_ARG before {_NAMES[number]}, which has no argument", start)
        if bytecode[at : at + cache].count(0) != cache:
            return Broken("BCP311", f"the inline cache of {_NAMES[number]} is cut off or not empty", start)
        at += cache
        start = at
    raise AssertionError("what is compared and the walk disagree")


# --- exception table ------------------------------------------------------------------


#: An exception table: four numbers an entry, of one to six bytes with six bits each, the first ones first. Bit 6 says
#: that another byte follows, bit 7 that an entry begins.
_EXCEPTION_TABLE: Final = re.compile(
    rb"(?:(?:[\x80-\xBF]|[\xC0-\xFF][\x40-\x7F]{0,4}+[\x00-\x3F])(?:[\x40-\x7F]{0,5}+[\x00-\x3F]){3})*+"
)


def _entries(table: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The numbers of each entry."""
    if not _EXCEPTION_TABLE.fullmatch(table):
        yield from _entries_to_fault(table)
    numbers: list[int] = []
    value = 0
    for byte in table:
        value = value << 6 | byte & 0x3F
        if not byte & 0x40:
            numbers.append(value)
            value = 0
    each = iter(numbers)
    yield from zip(each, each, each, each, strict=True)


def _entries_to_fault(table: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The same of a malformed one, up to where it is."""
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
    raise AssertionError("the expression and the walk disagree")


def handlers(code: Code, decoded: Decoded) -> tuple[Handler, ...]:
    """The exception table. Raises `Broken` (BCP308): the interpreter searches it by bisection,
    so its entries must be sorted and must not overlap.
    """
    if not code.exception_table:
        return ()
    index = decoded.index()
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
