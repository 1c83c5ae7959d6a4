"""Differences between the CPython versions that bcpatch supports, each as one named fact.

Logic elsewhere asks for the fact, never for a version number.
"""

from __future__ import annotations

import importlib
import opcode
import sys
from collections.abc import Callable
from typing import Any, Final

_bootstrap: Any = getattr(importlib, "_bootstrap")

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

#: The compiler keeps code objects that do the same and start on the same line as one constant (3.12: their comparison
#: leaves columns out): equal lambdas on a line share it.
EQUAL_CODE_IS_SHARED: Final = (3, 12) <= sys.version_info < (3, 13)

#: A suspended generator holds its code twice, by its frame and by ``gi_code`` (3.11).
GENERATOR_HOLDS_CODE: Final = sys.version_info < (3, 12)

#: Assigning ``__code__`` clears the function's version for good: calls of it are no longer
#: specialised (3.13+, gh-117045). A new function object is as fast as one never patched.
ASSIGNED_CODE_IS_SLOWER: Final = sys.version_info >= (3, 13)

#: ``dataclass(slots=True)`` makes a copy of a class, and leaves ``__class__`` and ``super()`` of its methods at the
#: original (until 3.14, ``_add_slots`` in ``Lib/dataclasses.py``).
SLOTS_LEAVE_SUPER_BEHIND: Final = sys.version_info < (3, 14)

#: ``sys.monitoring``, which tells what single code objects do (PEP 669, 3.12+).
MONITORING: Final[Any] = getattr(sys, "monitoring", None)

#: Whether the process runs with the GIL; builds of 3.13+ can do without.
is_gil_enabled: Final = getattr(sys, "_is_gil_enabled", lambda: True)

#: ``sys.audit`` looks at its arguments only where a hook is installed, of Python's or of C's (until 3.13,
#: ``sys_audit`` in ``Python/sysmodule.c``): what is no name of an event raises TypeError then, and else passes.
AUDITS_ANYTHING: Final = sys.version_info < (3, 14)

#: ``frame.f_locals`` of a function is a dictionary that its frame keeps, and with it every value
#: for as long as the call lasts (until PEP 667, 3.13).
LOCALS_ARE_KEPT: Final = sys.version_info < (3, 13)

#: The ``__main__`` of a script has a ``__cached__``, which is None (until 3.14).
MAIN_CACHED: Final = sys.version_info < (3, 15)

#: Which rows of the table of instructions hold (`bcpatch.flow.opcodes`): the minor version.
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

#: Instructions may leave references on the stack that belong to local variables (LOAD_FAST_BORROW, 3.14+).
BORROWS: Final = sys.version_info >= (3, 14)

#: Instructions that may push their operand itself, borrowed as it was, and as which of their results.
PASSES_BORROWED: Final[dict[str, int]] = (
    {"LOAD_ATTR": 1, "LOAD_SUPER_ATTR": 1, "LOAD_SPECIAL": 1, "GET_YIELD_FROM_ITER": 0, "FORMAT_SIMPLE": 0}
    | ({"GET_ITER": 0} if sys.version_info >= (3, 15) else {})
    if BORROWS
    else {}
)

#: What RESUME's argument may say: the bits of the place (start, after yield, ``yield from``, await; since 3.15 also
#: the start of a generator expression), and the highest argument (one more bit: the depth of exception handlers).
RESUME_PLACE: Final = 7 if sys.version_info >= (3, 15) else 3
RESUME_PLACES: Final = frozenset(range(5 if sys.version_info >= (3, 15) else 4))
RESUME_MOST: Final = 15 if sys.version_info >= (3, 15) else 7 if sys.version_info >= (3, 13) else 3

#: Instructions that run a Python function in the same evaluation loop: an exception that comes out of it is looked
#: up in the exception table at the code unit before the instruction (3.13+; measured).
RAISING_BEFORE: Final = (
    ("CALL", "CALL_KW", "CALL_FUNCTION_EX", "BINARY_OP", "BINARY_SUBSCR", "LOAD_ATTR", "FOR_ITER", "SEND", "GET_ITER")
    if sys.version_info >= (3, 13)
    else ()
)

#: At the end of a generator expression the iterator is gone, but the entry of the exception table for the whole still
#: counts it (3.15). Its handler looks only at what is pushed for it.
BELOW_HANDLER: Final = ("LOAD_COMMON_CONSTANT", "RETURN_VALUE", "END_ASYNC_FOR") if sys.version_info >= (3, 15) else ()

#: YIELD_VALUE's argument says whether the generator delegates (3.13+); before, RESUME's alone.
YIELD_TELLS_DELEGATION: Final = sys.version_info >= (3, 13)

#: Throwing into a delegating generator reads the SEND before YIELD_VALUE, and takes its short argument (3.11).
THROW_READS_SEND: Final = sys.version_info < (3, 12)

#: How the code of a generator or coroutine may start. A generator expression of 3.15 asks its operand for an iterator
#: before it becomes a generator.
GENERATOR_STARTS: Final = (
    ("RETURN_GENERATOR", "POP_TOP"),
    *(
        ("RESUME", load, ask, "RETURN_GENERATOR", "POP_TOP")
        for load in ("LOAD_FAST", "LOAD_FAST_BORROW")
        for ask in ("GET_ITER", "GET_AITER")
        if sys.version_info >= (3, 15)
    ),
)

#: Every flag that the compiler sets in ``co_flags``.
CODE_FLAGS: Final = (
    0x1FF03FF | (0x4000000 if sys.version_info >= (3, 13) else 0) | (0x8000000 if sys.version_info >= (3, 14) else 0)
)


#: FOR_ITER looks at what it iterates over (3.15+); before, it calls ``__next__`` unchecked.
ITERATES_ANYTHING: Final = sys.version_info >= (3, 15)

#: Where an iteration or a delegation that has ended goes on: the instructions at the jump's target, which the
#: interpreter skips or a returning generator runs (3.12+). The distance is kept in 16 bits.
SKIPPED_AFTER_JUMP: Final[dict[str, tuple[str, ...]]] = (
    {}
    if sys.version_info < (3, 12)
    else {
        "FOR_ITER": ("END_FOR",)
        if sys.version_info < (3, 13)
        else ("END_FOR", "POP_TOP")
        if sys.version_info < (3, 14)
        else ("END_FOR", "POP_ITER"),
        "SEND": ("END_SEND",),
    }
)


#: BINARY_OP with this argument is a subscript (3.14+, instead of BINARY_SUBSCR).
SUBSCRIPT_OPERATOR: Final = next(
    (number for number, (name, _) in enumerate(getattr(opcode, "_nb_ops")) if name == "NB_SUBSCR"), -1
)

#: Where DICT_MERGE's dictionary stands among its operands: above the callable, and NULL since 3.13.
DICT_MERGE_PLACE: Final = 3 if sys.version_info >= (3, 13) else 2


def common_constant(index: int) -> object:
    """What LOAD_COMMON_CONSTANT pushes: a builtin, since 3.15 also None, True, False and some other constants."""
    return getattr(opcode, "_common_constants")[index]


def special_method(index: int) -> str:
    """The method that LOAD_SPECIAL looks up."""
    name: str = getattr(opcode, "_special_method_names")[index]
    return name


def intrinsic(index: int) -> str:
    """The function that CALL_INTRINSIC_1 calls."""
    name: str = getattr(opcode, "_intrinsic_1_descs")[index]
    return name


def cache_entries() -> dict[str, int]:
    """How many cache entries follow an instruction, by name: a list by number before 3.13."""
    entries = getattr(opcode, "_inline_cache_entries")
    if isinstance(entries, list):
        return {opcode.opname[number]: count for number, count in enumerate(entries) if count}
    return dict(entries)


#: Builtins that CPython 3.11 does not have: PythonFinalizationError (3.13); frozendict (PEP 814),
#: sentinel (PEP 661) and the two of lazy imports (PEP 810) (3.15).
LATER_BUILTINS: Final = frozenset(
    (("PythonFinalizationError",) if sys.version_info >= (3, 13) else ())
    + (("ImportCycleError", "__lazy_import__", "frozendict", "sentinel") if sys.version_info >= (3, 15) else ())
)

#: Generations of the garbage collector that hold only what was made lately. From 3.14 on all but
#: the first are one large old one.
YOUNG_GENERATIONS: Final = (0, 1) if sys.version_info < (3, 14) else (0,)

#: Weak references to importlib's locks of modules, by their names. A lock's ``owner`` is the thread that is importing
#: the module or loading it again, None when nobody is: a lock may live on in the frames of a traceback.
MODULE_LOCKS: Final[dict[str, Callable[[], Any]]] = getattr(_bootstrap, "_module_locks")
