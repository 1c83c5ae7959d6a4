"""The basic blocks of a code object: where paths part and meet, and under which handler each instruction stands.

Knows which instructions follow which, nothing of the values that they move.
"""

from __future__ import annotations

from itertools import repeat
from typing import Final, NamedTuple

from bcpatch.flow.decode import Decoded, Handler, pattern, places
from bcpatch.flow.opcodes import FACTS, NEXT

#: Instructions after which another one than the next may come.
_LEAVING: Final = pattern(number for number, facts in FACTS.items() if facts.row.flow != NEXT)


class Block(NamedTuple):
    """Instructions ``start`` to before ``end``: entered at the first, left after the last, one handler."""

    start: int
    end: int
    handler: Handler | None
    handler_number: int


def blocks(decoded: Decoded, table: tuple[Handler, ...]) -> tuple[list[Block], dict[int, int]]:
    """The basic blocks in order, and the number of the block that starts at an instruction."""
    leaving = places(_LEAVING, decoded.opcodes)
    if not table and not decoded.jumps and leaving in ([], [len(decoded) - 1]):
        return [Block(0, len(decoded), None, -1)], {0: 0}
    leaders = {0, *[at + 1 for at in leaving], *map(decoded.targets.__getitem__, decoded.jumps)}
    for handler in table:
        leaders.update((handler.start, handler.end, handler.target))
    leaders.discard(len(decoded))
    starts = sorted(leaders)
    numbers = dict(zip(starts, range(len(starts)), strict=True))
    ends = [*starts[1:], len(decoded)]
    if not table:
        return list(map(Block, starts, ends, repeat(None), repeat(-1))), numbers
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
    return found, numbers
