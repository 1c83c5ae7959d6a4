"""What an instruction with one argument does to the stack: its row in the table, read for that argument.

Intrinsic functions are a table of their own: what they take depends on the argument alone. Nothing here
looks at a whole code object.
"""

from __future__ import annotations

import opcode as _opcode
from functools import lru_cache
from typing import Final

import msgspec

from bcpatch.flow.opcodes import ANYTHING, COUNTS, FACTS, GIVEN, TAKEN


class Intrinsic(msgspec.Struct, frozen=True):
    """A function that CALL_INTRINSIC_1 or _2 calls: the kinds that it takes unchecked and gives."""

    takes: tuple[str, ...]
    gives: str


_INTRINSICS: Final = {
    "INTRINSIC_PRINT": Intrinsic(("value",), "value"),
    "INTRINSIC_IMPORT_STAR": Intrinsic(("value",), "value"),
    "INTRINSIC_STOPITERATION_ERROR": Intrinsic(("exception",), "exception"),
    "INTRINSIC_ASYNC_GEN_WRAP": Intrinsic(("value",), "value"),
    "INTRINSIC_UNARY_POSITIVE": Intrinsic(("value",), "value"),
    "INTRINSIC_LIST_TO_TUPLE": Intrinsic(("list",), "tuple"),
    "INTRINSIC_TYPEVAR": Intrinsic(("text",), "value"),
    "INTRINSIC_PARAMSPEC": Intrinsic(("text",), "value"),
    "INTRINSIC_TYPEVARTUPLE": Intrinsic(("text",), "value"),
    "INTRINSIC_SUBSCRIPT_GENERIC": Intrinsic(("tuple",), "value"),
    "INTRINSIC_TYPEALIAS": Intrinsic(("tuple",), "value"),
    "INTRINSIC_PREP_RERAISE_STAR": Intrinsic(("exception", "exceptions"), "rest"),
    "INTRINSIC_TYPEVAR_WITH_BOUND": Intrinsic(("text", "value"), "value"),
    "INTRINSIC_TYPEVAR_WITH_CONSTRAINTS": Intrinsic(("text", "value"), "value"),
    "INTRINSIC_SET_FUNCTION_TYPE_PARAMS": Intrinsic(("function", "tuple"), "function"),
    "INTRINSIC_SET_TYPEPARAM_DEFAULT": Intrinsic(("value", "value"), "value"),
}


def _intrinsics(operands: int) -> dict[int, tuple[str, Intrinsic]]:
    names: list[str] = getattr(_opcode, f"_intrinsic_{operands}_descs", [])
    return {number: (name, _INTRINSICS[name]) for number, name in enumerate(names) if name in _INTRINSICS}


#: By argument: the functions of CALL_INTRINSIC_1 and CALL_INTRINSIC_2.
INTRINSICS_1: Final = _intrinsics(1)
INTRINSICS_2: Final = _intrinsics(2)


class Effect(msgspec.Struct, frozen=True):
    """What an instruction with one argument needs and leaves.

    ``needs`` are the allowed kinds of the topmost values, deepest first; the last
    ``removes`` of them are taken off, then values of the kinds ``gives`` pushed. ``forbids``
    are the kinds that must not be among its operands: those of the stack, then of the slots it reads.
    """

    needs: tuple[int, ...]
    removes: int
    gives: tuple[int, ...]
    jump_removes: int
    jump_gives: tuple[int, ...]
    forbids: tuple[int, ...]


#: Arguments that stand for more values than this have no effect: nobody's stack is that deep.
WIDEST: Final = 1 << 16


def _words(text: str, argument: int) -> list[str]:
    words = []
    for word in text.split():
        word, _, count = word.partition("*")
        words += [word] * (COUNTS[count](argument) if count else 1)
    return words


def _side(stack: str, argument: int) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    needs, _, leaves = stack.partition("->")
    taken = _words(needs, argument)
    kept = sum(word.startswith("=") for word in taken)
    masks = tuple(TAKEN[word.removeprefix("=")] for word in taken)
    return masks, len(taken) - kept, tuple(GIVEN[word] for word in _words(leaves, argument))


@lru_cache(maxsize=2048)
def _small_effect(number: int, argument: int) -> Effect:
    return _effect(number, argument)


def _effect(number: int, argument: int) -> Effect:
    row = FACTS[number].row
    needs, removes, gives = _side(row.stack, argument)
    intrinsic = {"intrinsic 1": INTRINSICS_1, "intrinsic 2": INTRINSICS_2}.get(row.argument, {}).get(argument)
    if intrinsic:
        needs = tuple(TAKEN[word] for word in intrinsic[1].takes)
        gives = (GIVEN[intrinsic[1].gives],)
    _, jump_removes, jump_gives = _side(row.jump, argument) if row.jump else (needs, removes, gives)
    allowed = (*needs, *(TAKEN[word] for word in row.reads.split()))
    return Effect(needs, removes, gives, jump_removes, jump_gives, tuple(ANYTHING & ~mask for mask in allowed))


def effect(number: int, argument: int) -> Effect | None:
    """What the instruction does to the stack; None where the argument is beyond `WIDEST`."""
    row = FACTS[number].row
    if "*" not in row.stack and not row.argument.startswith("intrinsic"):
        return _small_effect(number, 0)
    if row.argument.startswith("name"):
        return _small_effect(number, argument & 1)
    if argument < 256:
        return _small_effect(number, argument)
    return _effect(number, argument) if argument < WIDEST else None
