"""Differences between the CPython versions that bcpatch supports, each as one named fact.

Logic elsewhere asks for the fact, never for a version number.
"""

from __future__ import annotations

import opcode
import sys
from typing import Final

#: A function with a docstring says so in its flags (``CO_HAS_DOCSTRING``, 3.14+); before, a string
#: that stands first among the constants becomes the docstring (``PyFunction_NewWithQualName``).
DOCSTRING_FLAG: Final = 0x4000000 if sys.version_info >= (3, 14) else None

#: Annotations are computed on demand by an ``__annotate__`` function (PEP 649 and 749, 3.14+).
LAZY_ANNOTATIONS: Final = sys.version_info >= (3, 14)

#: Functions, classes and aliases may have type parameters (PEP 695, 3.12+).
TYPE_PARAMETERS: Final = sys.version_info >= (3, 12)

#: Class bodies store ``__firstlineno__`` and ``__static_attributes__`` (3.13+): positions and a
#: digest of their methods, which are not part of what the class body means.
CLASS_BODY_POSITIONS: Final = sys.version_info >= (3, 13)

#: A suspended generator holds its code twice, by its frame and by ``gi_code`` (3.11).
GENERATOR_HOLDS_CODE: Final = sys.version_info < (3, 12)

#: Assigning ``__code__`` clears the function's version for good: calls of it are no longer
#: specialised (3.13+, gh-117045). A new function object is as fast as one never patched.
ASSIGNED_CODE_IS_SLOWER: Final = sys.version_info >= (3, 13)

#: Builds that can run without the GIL can say whether they do (3.13+).
GIL_CAN_BE_ABSENT: Final = hasattr(sys, "_is_gil_enabled")

#: Builtins that CPython 3.11 does not have: PythonFinalizationError (3.13); PEP 814, PEP 661,
#: PEP 810 (3.15).
LATER_BUILTINS: Final = frozenset(
    (("PythonFinalizationError",) if sys.version_info >= (3, 13) else ())
    + (
        ("ImportCycleError", "__lazy_import__", "frozendict", "sentinel")
        if sys.version_info >= (3, 15)
        else ()
    )
)

#: Which rows of the table of instructions hold (`bcpatch.opcodes`): the minor version.
INSTRUCTION_SET: Final = sys.version_info[1]

#: LOAD_FAST of an unbound local raises (3.11); later versions have LOAD_FAST_CHECK for that
#: and LOAD_FAST crashes.
LOAD_FAST_CHECKS: Final = sys.version_info < (3, 12)

#: POP_TOP of NULL crashes; from 3.14 on the compiler itself relies on it being dropped.
POP_TOP_NEEDS_OBJECT: Final = sys.version_info < (3, 14)

#: Conditional jumps and UNARY_NOT take True and False only (3.13+, TO_BOOL): another object would leak.
JUMPS_NEED_BOOL: Final = sys.version_info >= (3, 13)

#: Sizes of the tables that arguments of BINARY_OP, LOAD_COMMON_CONSTANT and LOAD_SPECIAL index.
BINARY_OPERATORS: Final = len(getattr(opcode, "_nb_ops"))
COMMON_CONSTANTS: Final = len(getattr(opcode, "_common_constants", ()))
SPECIAL_METHODS: Final = len(getattr(opcode, "_special_method_names", ()))

#: ``frame.f_locals`` of a function is a dictionary that its frame keeps, and with it every value
#: for as long as the call lasts (until PEP 667, 3.13).
LOCALS_ARE_KEPT: Final = sys.version_info < (3, 13)

#: The ``__main__`` of a script has a ``__cached__``, which is None (until 3.14).
MAIN_CACHED: Final = sys.version_info < (3, 15)

#: Instructions may leave references on the stack that belong to local variables (LOAD_FAST_BORROW, 3.14+).
BORROWS: Final = sys.version_info >= (3, 14)


def cache_entries() -> dict[str, int]:
    """How many cache entries follow an instruction, by name: a list by number before 3.13."""
    entries = getattr(opcode, "_inline_cache_entries")
    if isinstance(entries, list):
        return {opcode.opname[number]: count for number, count in enumerate(entries) if count}
    return dict(entries)
