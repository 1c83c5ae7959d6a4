"""Code that gives a constant and does nothing else, which most default values and many values are.

Told by its bytes, so that nothing of it need be followed. What is not told so may still be a literal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bcpatch import pythons
from bcpatch.flow import fields
from bcpatch.flow.decode import Broken, check_positions
from bcpatch.flow.opcodes import FACTS, NUMBERS
from bcpatch.model import Code


def _unit(name: str, argument: int = 0) -> bytes:
    """An instruction with its inline cache."""
    number = NUMBERS[name]
    return bytes((number, argument)) + bytes(2 * FACTS[number].caches)


def _bodies() -> Iterator[tuple[bytes, tuple[int | None, int]]]:
    """What gives a constant; how many arguments it may have, None for as many as the code has constants; its stack."""
    loads = {"LOAD_CONST": None, "LOAD_SMALL_INT": 256, "LOAD_COMMON_CONSTANT": pythons.COMMON_CONSTANTS}
    for name, limit in loads.items():
        if name in NUMBERS:
            yield _unit(name) + _unit("RETURN_VALUE"), (limit, 1)
    if "RETURN_CONST" in NUMBERS:
        yield _unit("RETURN_CONST"), (None, 0)


_START: Final = _unit("RESUME")
_ARGUMENT: Final = len(_START) + 1
#: Without the argument, which is that of the first instruction after the start.
_GIVING: Final = {_START + body[:1] + body[2:]: needs for body, needs in _bodies()}
_PLAIN: Final = frozenset((type(None), bool, int, float))


def is_literal(code: Code) -> bool:
    """Whether code gives a plain constant and can do nothing else, whoever made it.

    A text that may be a format is not plain.
    """
    bytecode, constants = code.bytecode, code.constants
    limit, stack = _GIVING.get(bytecode[:_ARGUMENT] + bytecode[_ARGUMENT + 1 :], (0, 0))
    return (
        len(bytecode) > _ARGUMENT
        and bytecode[_ARGUMENT] < (len(constants) if limit is None else limit)
        and stack <= code.stacksize
        and not (code.varnames or code.names or code.exception_table)
        and fields.fit(code)
        and all(type(one) in _PLAIN or (type(one) is str and "{" not in one) for one in constants)
        and _has_positions(code)
    )


def _has_positions(code: Code) -> bool:
    try:
        check_positions(code)
    except Broken:
        return False
    return True
