"""Whether every loop can be interrupted.

Asks of a finished `interpret.Trace` which of its blocks follow each other. Knows nothing of values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bcpatch.flow.decode import Broken
from bcpatch.flow.interpret import Trace
from bcpatch.flow.opcodes import FACTS, NUMBERS

#: Instructions that run no other code, so that a loop of them alone never ends and can't be ended.
_IDLE: Final = frozenset(
    number
    for number, facts in FACTS.items()
    if facts.row.move or facts.row.flow.jumps
    or facts.row.name in ("NOP", "POP_TOP", "PUSH_NULL", "LOAD_CONST", "RERAISE")
    or facts.row.name in ("LOAD_SMALL_INT", "LOAD_COMMON_CONSTANT", "POP_EXCEPT", "TO_BOOL", "IS_OP", "NOT_TAKEN")
) - {NUMBERS["FOR_ITER"], NUMBERS["SEND"]}  # fmt: skip
_UNINTERRUPTED: Final = NUMBERS["JUMP_BACKWARD_NO_INTERRUPT"]
_INTERRUPTIBLE: Final = frozenset(
    number for number, facts in FACTS.items() if facts.backward and number != _UNINTERRUPTED
)


def check(trace: Trace) -> Iterator[Broken]:
    """A cycle in which nothing ever asks whether the thread was interrupted (BCP317)."""
    if not any(one.target < one.end for one in trace.table):
        if _UNINTERRUPTED not in trace.decoded.opcodes:
            return  # every way back asks
    edges = {
        number: [one for one in _uninterrupted(trace, number) if trace.entered[one] is not None]
        for number, state in enumerate(trace.entered)
        if state is not None
    }
    state = dict.fromkeys(edges, 0)
    for root in edges:
        path = [(root, iter(edges[root]))] if not state[root] else []
        state[root] = state[root] or 1
        while path:
            number, rest = path[-1]
            for follower in rest:
                if state[follower] == 1:
                    start = trace.blocks[follower].start
                    yield trace.decoded.broken("BCP317", "a loop that nothing can interrupt", start)
                    return
                if not state[follower]:
                    state[follower] = 1
                    path.append((follower, iter(edges[follower])))
                    break
            else:
                state[number] = 2
                path.pop()


def _uninterrupted(trace: Trace, number: int) -> Iterator[int]:
    """The blocks that may follow one without anything asking."""
    block = trace.blocks[number]
    if block.handler:
        yield trace.block_at[block.handler.target]
    if not all(opcode in _IDLE for opcode in trace.decoded.opcodes[block.start : block.end]):
        return
    last = trace.decoded[block.end - 1]
    flow = FACTS[last.opcode].row.flow
    if flow.falls:
        yield trace.block_at[block.end]
    if flow.jumps and last.opcode not in _INTERRUPTIBLE:
        yield trace.block_at[last.target]
