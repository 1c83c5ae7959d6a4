"""The basic blocks of a code object: where paths part and meet, and under which handler each instruction stands.

Knows which instructions follow which, nothing of the values that they move.
"""

from __future__ import annotations

from collections.abc import Set
from itertools import repeat
from typing import Final

import msgspec

from bcpatch.flow.decode import Decoded, Handler, marks, places
from bcpatch.flow.opcodes import FACTS, NEXT

#: Instructions after which another one than the next may come.
_LEAVING: Final = marks(number for number, facts in FACTS.items() if facts.row.flow != NEXT)


class Block(msgspec.Struct, frozen=True, gc=False):
    """Instructions ``start`` to before ``end``: entered at the first, left after the last, one handler."""

    start: int
    end: int
    handler: Handler | None
    handler_number: int


class Blocks(msgspec.Struct, frozen=True):
    """The basic blocks in order, the number of the one that starts at an instruction, and the instructions to which a
    jump or an exception leads.
    """

    all: list[Block]
    number: dict[int, int]
    targets: Set[int]


def blocks(decoded: Decoded, table: tuple[Handler, ...]) -> Blocks:
    """Where paths part and meet."""
    leaving, size = places(_LEAVING, decoded.opcodes), len(decoded.opcodes)
    if not table and not decoded.jumps and leaving in ([], [size - 1]):
        return Blocks([Block(0, size, None, -1)], {0: 0}, frozenset())
    targets = set(map(decoded.targets.__getitem__, decoded.jumps))
    leaders = {0, *[at + 1 for at in leaving], *targets}
    for handler in table:
        leaders.update((handler.start, handler.end, handler.target))
        targets.add(handler.target)
    leaders.discard(size)
    starts = sorted(leaders)
    numbers = dict(zip(starts, range(len(starts)), strict=True))
    ends = [*starts[1:], size]
    if not table:
        return Blocks(list(map(Block, starts, ends, repeat(None), repeat(-1))), numbers, targets)
    found = []
    entries = iter(enumerate(table))
    current = next(entries, None)
    for start, end in zip(starts, ends, strict=True):
        while current is not None and current[1].end <= start:
            current = next(entries, None)
        if current is not None and current[1].start <= start:
            found.append(Block(start, end, current[1], current[0]))
        else:
            found.append(Block(start, end, None, -1))
    return Blocks(found, numbers, targets)
