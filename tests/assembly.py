"""A small assembler for code objects that no compiler would make.

``assemble("LOAD_FAST 0; RETURN_VALUE")`` puts RESUME in front, caches behind, and a line table over it all:
instruction N stands on line N + 1 (RESUME on line 1). A ``!`` marks an instruction; ``marked`` tells its offset.
"""

from __future__ import annotations

import msgspec

from bcpatch.flow.opcodes import EXTENDED_ARG, FACTS, NUMBERS
from bcpatch.model import Code, Tuple

OPTIMIZED, NEWLOCALS, GENERATOR = 0x1, 0x2, 0x20

INNER = Code(
    "inner", "inner", OPTIMIZED | NEWLOCALS, 0, 0, 0, 2, b"", (None,), (), (), (), (), b"", 1, b""
)  # filled below


def units(text: str) -> list[tuple[int, bytes]]:
    """(offset, bytes with cache) of each instruction of a text; several to a line by ``;``."""
    found, offset = [], 0
    for line in filter(None, map(str.strip, text.replace("\n", ";").split(";"))):
        name, _, argument = line.removeprefix("!").strip().partition(" ")
        number = NUMBERS[name] if name in NUMBERS else int(name, 0)
        value = int(argument or 0)
        data = b"".join(bytes([EXTENDED_ARG, value >> shift & 255]) for shift in (24, 16, 8) if value >> shift) + bytes(
            [number, value & 255]
        )
        data += bytes(2 * FACTS[number].caches) if number in FACTS else b""
        found.append((offset, data))
        offset += len(data)
    return found


def lines(found: list[tuple[int, bytes]]) -> bytes:
    """A line table: one line an instruction."""
    table = bytearray()
    for place, (_, data) in enumerate(found):
        left, delta = len(data) // 2, 1 if place else 0
        while left:
            run = min(left, 8)
            table += bytes([0x80 | 13 << 3 | run - 1, delta << 1])
            left, delta = left - run, 0
    return bytes(table)


def with_resume(text: str) -> str:
    return text if "RESUME" in text else f"RESUME 0; {text}"


def marked(text: str) -> int:
    """The offset of the instruction with ``!``; -1 where there is none."""
    text = with_resume(text)
    parts = [part.strip() for part in text.replace("\n", ";").split(";") if part.strip()]
    place = next((place for place, part in enumerate(parts) if part.startswith("!")), None)
    return -1 if place is None else units(text)[place][0]


def assemble(text: str, **fields: object) -> Code:
    """A function of one bound parameter ``x`` and one unbound local ``y``."""
    found = units(with_resume(text))
    code = Code(
        name="case",
        qualname="case",
        flags=OPTIMIZED | NEWLOCALS,
        argcount=1,
        posonlyargcount=0,
        kwonlyargcount=0,
        stacksize=6,
        bytecode=b"".join(data for _, data in found),
        constants=(None, 1, "text", Tuple(("name",)), INNER, NEEDY),
        names=("name", "other"),
        varnames=("x", "y"),
        cellvars=(),
        freevars=(),
        exception_table=b"",
        first_line=1,
        line_table=lines(found),
    )
    return msgspec.structs.replace(code, **fields)


def entry(start: int, length: int, target: int, depth: int, lasti: bool = False) -> bytes:
    """An exception table entry in code units; small numbers only."""
    return bytes([0x80 | start, length, target, depth << 1 | lasti])


def _inner(freevars: tuple[str, ...], body: str) -> Code:
    found = units(body)
    return msgspec.structs.replace(
        INNER, bytecode=b"".join(data for _, data in found), line_table=lines(found), freevars=freevars
    )


NEEDY = _inner(("x",), "COPY_FREE_VARS 1; RESUME 0; LOAD_CONST 0; RETURN_VALUE")
INNER = _inner((), "RESUME 0; LOAD_CONST 0; RETURN_VALUE")
