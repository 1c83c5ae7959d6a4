"""Abstract interpretation of a code object: shape of the stack, kind and origin of every value.

Works on `model.Code`, raw fields decoded from an untrusted file, never on a live code
object. Knows what an instruction needs and leaves behind, not which references a
policy allows, and it words no finding.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from functools import cached_property
from typing import Final

import msgspec

from bcpatch.flow import decode, fields, loops, steps, uses
from bcpatch.flow.decode import Broken, Instruction, Position
from bcpatch.flow.graph import Graph
from bcpatch.flow.interpret import Trace
from bcpatch.flow.kinds import Kinds
from bcpatch.flow.origins import Origin
from bcpatch.flow.uses import MakeUse
from bcpatch.flow.values import slots
from bcpatch.model import Code

__all__ = ["Fault", "Flow", "Instruction", "Malformed", "Position", "analyze"]

#: Code nested deeper than this (a lambda in a lambda in ...) is refused.
DEEPEST: Final = 60


class Fault(msgspec.Struct, frozen=True):
    """One structural fault, in the code that ``qualname`` names."""

    rule: str
    message: str
    offset: int
    qualname: str
    position: Position | None


class Malformed(Exception):
    """The structure is broken: nothing can be said of what the code would do."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__(
            "; ".join(f"{fault.rule} {fault.qualname}+{fault.offset}: {fault.message}" for fault in faults)
        )


class Flow(msgspec.Struct, frozen=True, dict=True, eq=False):
    """What is known of one code object.

    ``nested`` maps the index of a constant to the flow of the code that it is.
    ``demands`` are the kinds that its arguments must be of, unchecked; empty where any will do.
    """

    code: Code
    nested: Mapping[int, Flow]
    demands: tuple[int, ...]
    trace: Trace

    @cached_property
    def instructions(self) -> tuple[Instruction, ...]:
        """All of them, in order."""
        return tuple(self.trace.decoded)

    @cached_property
    def uses(self) -> tuple[uses.Use, ...]:
        """What the reachable instructions do with names, in their order."""
        return uses.uses(self.graph) if uses.may_use(self.trace) else ()

    @cached_property
    def made(self) -> tuple[MakeUse, ...]:
        """The functions that it makes, among these."""
        return tuple(use for use in self.uses if isinstance(use, MakeUse)) if self.nested else ()

    def at(self, offset: int) -> int:
        """The index of the instruction at ``offset``."""
        return bisect_left(self.trace.decoded.offsets, offset)

    def reached(self, *names: str) -> list[int]:
        """The indices of the reachable instructions with one of some names."""
        found = decode.places(decode.named(names), self.trace.decoded.opcodes)
        return [at for at in found if self.trace.operands[at] is not None]

    def operands(self, offset: int) -> tuple[Origin, ...]:
        """The origins of the values that the instruction at ``offset`` works on, deepest first."""
        return self.graph.origins(self.graph.operands(self.at(offset)))

    @cached_property
    def stored_captures(self) -> frozenset[str]:
        """The free variables that this code, or code nested in it, assigns."""
        return uses.stored_captures(self.code, self.trace, {at: one.stored_captures for at, one in self.nested.items()})

    @cached_property
    def graph(self) -> Graph:
        """The origins of all values, as they are asked for."""
        stored = (one.stored_captures for one in self.nested.values())
        return Graph(self.trace, frozenset().union(*stored) if self.nested else frozenset())

    @cached_property
    def _positions(self) -> tuple[list[int], list[Position]]:
        return decode.positions(self.code)

    def position(self, offset: int) -> Position | None:
        """Where in the source the instruction at ``offset`` stands; None where the line table doesn't say."""
        return _at(*self._positions, offset)


def _at(ends: list[int], found: list[Position], offset: int) -> Position | None:
    place = bisect_right(ends, offset)
    return found[place] if offset >= 0 and place < len(found) and found[place].line >= 0 else None


def _place(code: Code, offset: int) -> Position | None:
    """The position of a fault in code whose line table may itself be broken."""
    try:
        decode.check_positions(code)
    except Broken:
        return None
    return _at(*decode.positions(code), offset)


def _fault(code: Code, broken: Broken) -> Fault:
    return Fault(broken.rule, broken.message, broken.offset, code.qualname, _place(code, broken.offset))


def _straight(code: Code) -> tuple[Trace | None, list[Broken]]:
    """All that is looked at before any path is followed."""
    broken = [] if fields.fit(code) else list(fields.check(code))
    if broken:
        return None, broken
    decoded = decode.instructions(code)
    decode.check_positions(code)
    table = decode.handlers(code, decoded)
    local = slots(code, fields.parameters(code))
    found = steps.columns(decoded)
    broken += fields.arguments(code, local, decoded, steps.asked(found, code, local))
    if not broken:
        broken += fields.prologue(code, local, decoded)
        broken += fields.neighbours(code, decoded)
    return (None, broken) if broken else (Trace(code, decoded, found, table, local), [])


def _analyze(code: Code, depth: int, faults: list[Fault]) -> Flow | None:
    """The flow of ``code``; None, and at least one more fault, where it has none."""
    before = len(faults)
    if depth > DEEPEST:
        faults.append(_fault(code, Broken("BCP310", f"code nested more than {DEEPEST} deep", 0)))
        return None
    nested = {}
    for index, constant in enumerate(code.constants):
        if isinstance(constant, Code):
            inner = _analyze(constant, depth + 1, faults)
            if inner:
                nested[index] = inner
    trace: Trace | None = None
    kinds: Kinds | None = None
    try:
        trace, broken = _straight(code)
        if trace and len(faults) == before:
            trace.follow()
            kinds = Kinds(trace, {index: inner.demands for index, inner in nested.items()})
            found = [*kinds.narrow(), *kinds.check(), *loops.check(trace)]
            broken = [min(found, key=lambda one: one.offset)] if found else []
    except Broken as found:
        broken = [found]
    faults += (_fault(code, one) for one in broken)
    if len(faults) > before or trace is None or kinds is None:
        return None
    return Flow(code, nested, kinds.demands, trace)


def analyze(code: Code) -> Flow:
    """Follow every path through ``code`` and the code nested in it.

    Total and bounded on any input. Raises `Malformed` with the faults found: all that stand
    in single fields and instructions, else the first on a path.
    """
    faults: list[Fault] = []
    flow = _analyze(code, 0, faults)
    if flow and flow.demands:
        faults.append(
            Fault("BCP306", "only the code around it may call this with what it needs", 0, code.qualname, None)
        )
    if flow is None or faults:
        raise Malformed(tuple(faults))
    return flow
