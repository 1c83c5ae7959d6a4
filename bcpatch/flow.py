"""Abstract interpretation of a code object: shape of the stack, kind and origin of every value.

Works on `model.Code`, raw fields decoded from an untrusted file, never on a live code
object. Knows what an instruction needs and leaves behind, not which references a
policy allows, and it words no finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from bcpatch.model import Code
from bcpatch.origins import Origin, Use


class Position(NamedTuple):
    """A range of source text: lines from 1, columns in UTF-8 bytes from 0; -1 where unknown."""

    line: int
    column: int
    end_line: int
    end_column: int


class Fault(NamedTuple):
    """One structural fault. ``code_path`` are constant indices from the outermost code to the faulty one."""

    rule: str
    message: str
    offset: int
    code_path: tuple[int, ...]
    position: Position | None


class Malformed(Exception):
    """The structure is broken: nothing can be said of what the code would do."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(fault.message for fault in faults))


class Instruction(NamedTuple):
    """A decoded instruction. ``offset`` is in bytes, at its first EXTENDED_ARG where it has one."""

    offset: int
    opcode: int
    name: str
    argument: int


@dataclass(frozen=True)
class Flow:
    """What is known of one code object.

    ``nested`` maps the index of a constant to the flow of the code that it is.
    """

    code: Code
    instructions: tuple[Instruction, ...]
    max_depth: int
    nested: Mapping[int, Flow]

    @cached_property
    def uses(self) -> tuple[Use, ...]:
        """What the reachable instructions do with names, in their order."""
        raise NotImplementedError

    @cached_property
    def operands(self) -> Mapping[int, tuple[Origin, ...]]:
        """By offset of each reachable instruction: the origins of the values that it needs, deepest first."""
        raise NotImplementedError

    def position(self, offset: int) -> Position | None:
        """Where in the source the instruction at ``offset`` stands; None where the line table doesn't say."""
        raise NotImplementedError


def analyze(code: Code) -> Flow:
    """Follow every path through ``code`` and the code nested in it.

    Total and bounded on any input. Raises `Malformed` with every fault found.
    """
    raise NotImplementedError
