"""Facts about the instructions of the running CPython: one table row an opcode and version difference.

A row says what an instruction's argument means, what kinds of values it needs on the
stack, what it leaves there and where control goes. The kinds are what the evaluation
loop assumes without a check (CPython's Python/bytecodes.c and, for 3.11, Python/ceval.c);
numbers of opcodes and cache entries come from the running version. Nothing here looks
at a whole code object.
"""

from __future__ import annotations

import opcode as _opcode
from collections.abc import Callable
from typing import Final

import msgspec

from bcpatch import pythons

# --- kinds -------------------------------------------------------------------------
# One bit each; the kind of a value that several paths bring is the union of theirs.

OBJECT: Final = 1 << 0  #: a reference to an object of any type
NULL: Final = 1 << 1  #: PUSH_NULL's, and what stands beside a callable that is no method
UNBOUND: Final = 1 << 2  #: the content of a local variable that is not bound
ITERATOR: Final = 1 << 3  #: its type has ``__next__``, which FOR_ITER calls unchecked
ITERATED: Final = 1 << 4  #: what GET_ITER left below an INDEX (3.15+): a list or tuple itself, or an iterator
INDEX: Final = 1 << 5  #: the position in an ITERATED, or NULL (3.15+)
AWAITABLE: Final = 1 << 6  #: what SEND sends to
EXCEPTION: Final = 1 << 7  #: an instance of an exception
REST: Final = 1 << 8  #: an exception, or None where ``except*`` left nothing
HANDLED: Final = 1 << 9  #: the exception that was being handled before, or None
LASTI: Final = 1 << 10  #: the offset of the instruction that raised
CELL: Final = 1 << 11  #: a cell of a captured variable
CODE: Final = 1 << 12  #: a code object, for MAKE_FUNCTION alone
FUNCTION: Final = 1 << 13  #: a function with all the cells that its code needs
UNCLOSED: Final = 1 << 14  #: a function that still lacks its cells
DEMANDING: Final = 1 << 15  #: a function whose arguments must be of certain kinds, which it takes unchecked
LIST: Final = 1 << 16
EXCEPTIONS: Final = 1 << 17  #: a list of exceptions and None, which ``except*`` collects
SET: Final = 1 << 18
DICT: Final = 1 << 19
TUPLE: Final = 1 << 20
TEXT: Final = 1 << 21  #: a ``str`` of exactly that type
TEXTS: Final = 1 << 22  #: a constant tuple of ``str``
BOOL: Final = 1 << 23  #: True or False
INTEGER: Final = 1 << 24  #: an ``int`` of exactly that type
SPENT: Final = 1 << 25  #: half of an ITERATED and INDEX that were taken apart: to be dropped
BORROWED: Final = 1 << 26  #: together with another bit: the reference belongs to a local variable (3.14+)

KIND_NAMES: Final = {
    OBJECT: "object",
    NULL: "NULL",
    UNBOUND: "unbound local",
    ITERATOR: "iterator",
    ITERATED: "iterated value",
    INDEX: "index of an iterated value",
    AWAITABLE: "awaitable",
    EXCEPTION: "exception",
    REST: "exception or None",
    HANDLED: "saved exception",
    LASTI: "saved instruction offset",
    CELL: "cell",
    CODE: "code",
    FUNCTION: "function",
    UNCLOSED: "function without its cells",
    DEMANDING: "function with unchecked parameters",
    LIST: "list",
    EXCEPTIONS: "list of exceptions",
    SET: "set",
    DICT: "dict",
    TUPLE: "tuple",
    TEXT: "str",
    TEXTS: "tuple of str",
    BOOL: "bool",
    INTEGER: "int",
    SPENT: "half of a separated pair",
    BORROWED: "borrowed reference",
}

#: What an instruction may take that needs an object and nothing more.
VALUE: Final = (
    OBJECT
    | ITERATOR
    | AWAITABLE
    | EXCEPTION
    | REST
    | CELL
    | FUNCTION
    | LIST
    | SET
    | DICT
    | TUPLE
    | TEXT
    | TEXTS
    | BOOL
    | INTEGER
    | BORROWED
)
ANYTHING: Final = (BORROWED << 1) - 1

#: What a word in a row allows. A type's word allows borrowed references to it.
TAKEN: Final = {
    "value": VALUE,
    "owned": VALUE & ~BORROWED | UNBOUND,
    "live": VALUE | HANDLED | LASTI | CODE | EXCEPTIONS | DEMANDING | UNCLOSED,
    "droppable": ANYTHING & ~(NULL | UNBOUND | INDEX) if pythons.POP_TOP_NEEDS_OBJECT else ANYTHING,
    "any": ANYTHING,
    "bound": ANYTHING & ~UNBOUND,
    "null": NULL,
    "maybe": VALUE | NULL,
    "callable": VALUE | DEMANDING,
    "callable?": VALUE | DEMANDING | NULL,
    "iterator": ITERATOR,
    "iterated": ITERATED | ITERATOR | BORROWED,
    "index": INDEX | NULL,
    "awaitable": AWAITABLE | ITERATED | BORROWED,
    "exception": EXCEPTION,
    "rest": REST | EXCEPTION,
    "handled": HANDLED | EXCEPTION,  # the latter where what traces raises before PUSH_EXC_INFO
    "lasti": LASTI,
    "code": CODE,
    "function": FUNCTION,
    "makeable": FUNCTION | UNCLOSED | DEMANDING,
    "list": LIST | BORROWED,
    "list|exceptions": LIST | EXCEPTIONS | BORROWED,
    "exceptions": EXCEPTIONS,
    "set": SET | BORROWED,
    "dict": DICT | BORROWED,
    "dict|null": DICT | NULL | BORROWED,
    "tuple": TUPLE | TEXTS | BORROWED,
    "text": TEXT,
    "texts": TEXTS,
    "bool": BOOL | BORROWED,
}

GIVEN: Final = {
    "value": OBJECT,
    "null": NULL,
    "maybe": OBJECT | NULL,
    "iterator": ITERATOR,
    "iterated": ITERATED,
    "index": INDEX,
    "awaitable": AWAITABLE,
    "exception": EXCEPTION,
    "rest": REST,
    "handled": HANDLED,
    "cell": CELL,
    "function": FUNCTION,
    "list": LIST,
    "set": SET,
    "dict": DICT,
    "tuple": TUPLE,
    "text": TEXT,
    "bool": BOOL,
    "integer": INTEGER,
}

#: How many values a word with ``*`` stands for, from the argument.
COUNTS: Final[dict[str, Callable[[int], int]]] = {
    "n": lambda argument: argument,
    "2n": lambda argument: 2 * argument,
    "n-1": lambda argument: argument - 1,
    "n-2": lambda argument: argument - 2,
    "some": lambda argument: min(argument, 1),
    "star": lambda argument: (argument & 0xFF) + 1 + (argument >> 8),
    "bit0": lambda argument: argument & 1,
    "bit2": lambda argument: argument >> 2 & 1,
    "closure": lambda argument: argument >> 3 & 1,
    "annotations": lambda argument: argument >> 2 & 1,
    "keywords": lambda argument: argument >> 1 & 1,
    "delegates": lambda argument: argument & pythons.RESUME_PLACE in (2, 3),
}


class Flow(msgspec.Struct, frozen=True):
    """Where control goes from an instruction: to the next one, to its target, or both."""

    falls: bool
    jumps: bool


NEXT: Final = Flow(True, False)
JUMP: Final = Flow(False, True)
BRANCH: Final = Flow(True, True)
END: Final = Flow(False, False)


class Row(msgspec.Struct, frozen=True):
    """One line of the table.

    ``argument`` says what the argument means (see `ARGUMENTS`). ``stack`` is ``needs ->
    leaves``, deepest first; a word with ``=`` stays on the stack, ``word*count`` stands for several.
    ``jump`` is the same along the jump, where that differs. ``move`` names an
    instruction that moves values rather than making them; the interpreter knows those.
    ``reads`` says what must be in the slots that it reads.
    """

    name: str
    argument: str
    stack: str
    flow: Flow = NEXT
    jump: str = ""
    move: str = ""
    reads: str = ""
    since: int = 11
    until: int = 99


_LOADED: Final = "any" if pythons.LOAD_FAST_CHECKS else "bound"
_TESTED: Final = "bool" if pythons.JUMPS_NEED_BOOL else "value"

ROWS: Final = (
    Row("NOP", "unused", "->"),
    # Whoever asks a suspended generator what it delegates to looks below the value that it yields.
    Row("RESUME", "resume", "=awaitable*delegates =value*delegates ->", until=14),
    Row("RESUME", "resume", "=awaitable*delegates =index*delegates =value*delegates ->", since=15),
    Row("NOT_TAKEN", "unused", "->", since=14),
    Row("PRECALL", "count", "=any =value =value*n ->", until=11),
    Row("KW_NAMES", "texts", "->", until=12),
    # moves
    Row("POP_TOP", "unused", "droppable ->"),
    Row("PUSH_NULL", "unused", "-> null"),
    Row("COPY", "1-", "=live =any*n-1 -> value", move="copy"),
    Row("SWAP", "2-", "=any =any*n-2 =any ->", move="swap"),
    Row("LOAD_FAST", "local", "-> value", move="load", reads=_LOADED),
    Row("LOAD_FAST_CHECK", "local", "-> value", move="load checked", reads="any", since=12),
    Row("LOAD_FAST_AND_CLEAR", "local", "-> value", move="take", reads="any", since=12),
    Row("LOAD_FAST_LOAD_FAST", "pair", "-> value value", move="load load", reads="bound bound", since=13),
    Row("LOAD_FAST_BORROW", "local", "-> value", move="borrow", reads="bound", since=14),
    Row(
        "LOAD_FAST_BORROW_LOAD_FAST_BORROW",
        "pair",
        "-> value value",
        move="borrow borrow",
        reads="bound bound",
        since=14,
    ),
    Row("STORE_FAST", "local", "owned ->", move="store"),
    Row("STORE_FAST_LOAD_FAST", "pair", "owned -> value", move="store load", reads="bound", since=13),
    Row("STORE_FAST_STORE_FAST", "pair", "owned owned ->", move="store store", since=13),
    Row("DELETE_FAST", "local", "->", move="delete", reads="any"),
    Row("MAKE_CELL", "local", "->", move="make cell", reads="any"),
    Row("COPY_FREE_VARS", "free variables", "->", move="copy cells"),
    Row("LOAD_CLOSURE", "local", "-> cell", move="load cell", reads="any", until=12),
    # constants and names
    Row("LOAD_CONST", "constant", "-> value"),
    Row("LOAD_SMALL_INT", "0-255", "-> integer", since=14),
    Row("LOAD_COMMON_CONSTANT", f"0-{pythons.COMMON_CONSTANTS - 1}", "-> value", since=14),
    Row("LOAD_NAME", "name", "-> value"),
    Row("STORE_NAME", "name", "value ->"),
    Row("DELETE_NAME", "name", "->"),
    Row("LOAD_GLOBAL", "name>>1", "-> null*bit0 value", until=12),
    Row("LOAD_GLOBAL", "name>>1", "-> value null*bit0", since=13),
    Row("STORE_GLOBAL", "name", "value ->"),
    Row("DELETE_GLOBAL", "name", "->"),
    Row("LOAD_DEREF", "local", "-> value", move="cell", reads="any"),
    Row("STORE_DEREF", "local", "value ->", move="cell", reads="any"),
    Row("DELETE_DEREF", "local", "->", move="cell", reads="any"),
    Row("LOAD_CLASSDEREF", "local", "-> value", move="cell", reads="any", until=11),
    Row("LOAD_FROM_DICT_OR_DEREF", "local", "value -> value", move="cell", reads="any", since=12),
    Row("LOAD_FROM_DICT_OR_GLOBALS", "name", "value -> value", since=12),
    Row("LOAD_LOCALS", "unused", "-> value", since=12),
    Row("LOAD_BUILD_CLASS", "unused", "-> value"),
    Row("LOAD_ASSERTION_ERROR", "unused", "-> value", until=13),
    Row("SETUP_ANNOTATIONS", "unused", "->"),
    Row("IMPORT_NAME", "name", "value value -> value", until=14),
    Row("IMPORT_NAME", "name>>2", "value value -> value", since=15),
    Row("IMPORT_FROM", "name", "=value -> value"),
    Row("IMPORT_STAR", "unused", "value ->", until=11),
    # attributes and subscripts
    Row("LOAD_ATTR", "name", "value -> value", until=11),
    Row("LOAD_ATTR", "name>>1", "value -> maybe*bit0 value", since=12, until=12),
    Row("LOAD_ATTR", "name>>1", "value -> value maybe*bit0", since=13),
    Row("LOAD_METHOD", "name", "value -> maybe value", until=11),
    Row("LOAD_SUPER_ATTR", "name>>2", "value value value -> maybe*bit0 value", since=12, until=12),
    Row("LOAD_SUPER_ATTR", "name>>2", "value value value -> value maybe*bit0", since=13),
    Row("LOAD_SPECIAL", f"0-{pythons.SPECIAL_METHODS - 1}", "value -> value maybe", since=14),
    Row("STORE_ATTR", "name", "value value ->"),
    Row("DELETE_ATTR", "name", "value ->"),
    Row("BINARY_SUBSCR", "unused", "value value -> value", until=13),
    Row("STORE_SUBSCR", "unused", "value value value ->"),
    Row("DELETE_SUBSCR", "unused", "value value ->"),
    Row("BINARY_SLICE", "unused", "value value value -> value", since=12),
    Row("STORE_SLICE", "unused", "value value value value ->", since=12),
    # operators
    Row("UNARY_POSITIVE", "unused", "value -> value", until=11),
    Row("UNARY_NEGATIVE", "unused", "value -> value"),
    Row("UNARY_INVERT", "unused", "value -> value"),
    Row("UNARY_NOT", "unused", f"{_TESTED} -> bool"),
    Row("TO_BOOL", "unused", "value -> bool", since=13),
    Row("BINARY_OP", f"0-{pythons.BINARY_OPERATORS - 1}", "value value -> value"),
    Row("COMPARE_OP", "0-5", "value value -> value", until=11),
    Row("COMPARE_OP", "comparison>>4", "value value -> value", since=12, until=12),
    # The compiler jumps on a comparison without asking for True or False where it compares with a number itself.
    Row("COMPARE_OP", "comparison>>5", "value value -> bool", since=13),
    Row("IS_OP", "0-1", "value value -> bool"),
    Row("CONTAINS_OP", "0-1", "value value -> bool"),
    # displays
    Row("BUILD_TUPLE", "count", "value*n -> tuple"),
    Row("BUILD_LIST", "count", "value*n -> list"),
    Row("BUILD_SET", "count", "value*n -> set"),
    Row("BUILD_MAP", "count", "value*2n -> dict"),
    Row("BUILD_CONST_KEY_MAP", "count", "value*n tuple -> dict", until=13),
    Row("BUILD_STRING", "count", "value*n -> text"),
    Row("BUILD_SLICE", "2-3", "value*n -> value"),
    Row("BUILD_INTERPOLATION", "one of 2 3 6 7 10 11 14 15", "value text value*bit0 -> value", since=14),
    Row("BUILD_TEMPLATE", "unused", "texts tuple -> value", since=14),
    Row("LIST_APPEND", "1-", "=list|exceptions =any*n-1 value ->"),
    Row("LIST_EXTEND", "1-", "=list =any*n-1 value ->"),
    Row("LIST_TO_TUPLE", "unused", "list -> tuple", until=11),
    Row("SET_ADD", "1-", "=set =any*n-1 value ->"),
    Row("SET_UPDATE", "1-", "=set =any*n-1 value ->"),
    Row("MAP_ADD", "1-", "=dict =any*n-1 value value ->"),
    Row("DICT_UPDATE", "1-", "=dict =any*n-1 value ->"),
    Row("DICT_MERGE", "1-", "=value =any =dict =any*n-1 value ->", until=12),
    Row("DICT_MERGE", "1-", "=value =any =any =dict =any*n-1 value ->", since=13),
    Row("FORMAT_VALUE", "0-7", "value value*bit2 -> text", until=12),
    Row("CONVERT_VALUE", "1-3", "value -> value", since=13),
    Row("FORMAT_SIMPLE", "unused", "value -> value", since=13),
    Row("FORMAT_WITH_SPEC", "unused", "value value -> value", since=13),
    # unpacking and matching
    Row("UNPACK_SEQUENCE", "count", "value -> value*n"),
    Row("UNPACK_EX", "count", "value -> value*star"),
    Row("GET_LEN", "unused", "=value -> integer"),
    Row("MATCH_MAPPING", "unused", "=value -> bool"),
    Row("MATCH_SEQUENCE", "unused", "=value -> bool"),
    Row("MATCH_KEYS", "unused", "=value =tuple -> value"),
    Row("MATCH_CLASS", "count", "value value texts -> value"),
    # calls and functions
    Row("CALL", "count", "callable? callable value*n -> value", until=12),
    Row("CALL", "count", "callable maybe value*n -> value", since=13),
    Row("CALL_KW", "count", "value maybe value*n texts -> value", since=13),
    Row("CALL_FUNCTION_EX", "0-1", "null value value dict*bit0 -> value", until=12),
    Row("CALL_FUNCTION_EX", "0-1", "value null value dict*bit0 -> value", since=13, until=13),
    Row("CALL_FUNCTION_EX", "unused", "value null value dict|null -> value", since=14),
    Row(
        "MAKE_FUNCTION",
        "0-15",
        "tuple*bit0 dict*keywords tuple*annotations tuple*closure code -> function",
        until=12,
    ),
    Row("MAKE_FUNCTION", "unused", "code -> function", since=13),
    Row("SET_FUNCTION_ATTRIBUTE", "one of 1 2 4 8", "value makeable -> function", since=13, until=13),
    Row("SET_FUNCTION_ATTRIBUTE", "one of 1 2 4 8 16", "value makeable -> function", since=14),
    Row("RETURN_VALUE", "unused", "value ->", END),
    Row("RETURN_CONST", "constant", "->", END, since=12, until=13),
    Row("CALL_INTRINSIC_1", "intrinsic 1", "value -> value", since=12),
    Row("CALL_INTRINSIC_2", "intrinsic 2", "value value -> value", since=12),
    Row("PRINT_EXPR", "unused", "value ->", until=11),
    # generators and coroutines
    Row("RETURN_GENERATOR", "unused", "-> value"),
    Row("YIELD_VALUE", "unused", "value -> value", until=11),
    Row("YIELD_VALUE", "count", "value -> value", since=12, until=12),
    Row("YIELD_VALUE", "0-1", "value -> value", since=13),
    Row("ASYNC_GEN_WRAP", "unused", "value -> value", until=11),
    Row("GET_AWAITABLE", "0-2", "value -> awaitable"),
    Row("GET_YIELD_FROM_ITER", "unused", "value -> awaitable", until=14),
    Row("SEND", "target", "=awaitable value -> value", BRANCH, "awaitable value -> value", until=11),
    Row("SEND", "target", "=awaitable value -> value", BRANCH, since=12, until=14),
    Row("SEND", "target", "=awaitable =index value -> value", BRANCH, since=15),
    Row("END_SEND", "unused", "awaitable value -> value", move="end send", since=12, until=14),
    Row("END_SEND", "unused", "awaitable index value -> value", move="end send", since=15),
    Row("CLEANUP_THROW", "unused", "awaitable value exception -> awaitable value", since=12, until=14),
    Row("CLEANUP_THROW", "unused", "awaitable index value exception -> awaitable null value", since=15),
    Row("GET_AITER", "unused", "value -> value"),
    Row("GET_ANEXT", "unused", "=value -> awaitable"),
    Row("END_ASYNC_FOR", "unused", "value exception ->", until=13),
    Row("END_ASYNC_FOR", "source", "value exception ->", since=14),
    # loops and jumps
    Row("GET_ITER", "unused", "value -> iterator", until=14),
    Row("GET_ITER", "0-3", "value -> iterated index", since=15),
    Row("FOR_ITER", "target", "=iterator -> value", BRANCH, "iterator ->", until=11),
    Row("FOR_ITER", "target", "=iterator -> value", BRANCH, since=12, until=14),
    Row("FOR_ITER", "target", "=iterated =index -> value", BRANCH, since=15),
    Row("END_FOR", "unused", "iterator value ->", since=12, until=12),
    Row("END_FOR", "unused", "=iterator value ->", since=13, until=14),
    Row("END_FOR", "unused", "=iterated =index value ->", since=15),
    Row("POP_ITER", "unused", "iterator ->", since=14, until=14),
    Row("POP_ITER", "unused", "iterated index ->", since=15),
    Row("JUMP_FORWARD", "target", "->", JUMP),
    Row("JUMP_BACKWARD", "target", "->", JUMP),
    Row("JUMP_BACKWARD_NO_INTERRUPT", "target", "->", JUMP),
    Row("JUMP_IF_FALSE_OR_POP", "target", "value ->", BRANCH, "=value ->", until=11),
    Row("JUMP_IF_TRUE_OR_POP", "target", "value ->", BRANCH, "=value ->", until=11),
    *(
        Row(f"POP_JUMP_{way}IF_{when}", "target", "value ->", BRANCH, move="test", until=last, since=first)
        for way, first, last in (("FORWARD_", 11, 11), ("BACKWARD_", 11, 11), ("", 12, 99))
        for when in ("NONE", "NOT_NONE")
    ),
    *(
        Row(f"POP_JUMP_{way}IF_{when}", "target", f"{_TESTED} ->", BRANCH, until=last, since=first)
        for way, first, last in (("FORWARD_", 11, 11), ("BACKWARD_", 11, 11), ("", 12, 99))
        for when in ("TRUE", "FALSE")
    ),
    # exceptions and with
    Row("RAISE_VARARGS", "0-2", "value*n ->", END),
    Row("RERAISE", "count", "=lasti*some =any*n-1 exception ->", END),
    Row("PUSH_EXC_INFO", "unused", "exception -> handled exception", move="push exception"),
    Row("POP_EXCEPT", "unused", "handled ->"),
    Row("CHECK_EXC_MATCH", "unused", "=exception value -> bool"),
    Row("CHECK_EG_MATCH", "unused", "rest value -> rest value"),
    Row("PREP_RERAISE_STAR", "unused", "exception exceptions -> rest", until=11),
    Row("BEFORE_WITH", "unused", "value -> value value", until=13),
    Row("BEFORE_ASYNC_WITH", "unused", "value -> value value", until=13),
    Row("WITH_EXCEPT_START", "unused", "=value =lasti =handled =exception -> value", until=13),
    Row("WITH_EXCEPT_START", "unused", "=value =maybe =lasti =handled =exception -> value", since=14),
)


# --- the table, read for the running version -----------------------------------------


class Facts(msgspec.Struct, frozen=True):
    """A row with what the running version says of the opcode: its number and cache entries."""

    number: int
    caches: int
    row: Row
    backward: bool


def _facts() -> dict[int, Facts]:
    caches = pythons.cache_entries()
    present = [row for row in ROWS if row.since <= pythons.INSTRUCTION_SET <= row.until]
    table = {}
    for row in present:
        number = _opcode.opmap[row.name]
        table[number] = Facts(number, caches.get(row.name, 0), row, "BACKWARD" in row.name)
    assert len(table) == len(present), "an opcode has two rows"
    return table


#: By number: every instruction that the compiler of the running version emits.
FACTS: Final = _facts()
EXTENDED_ARG: Final = _opcode.opmap["EXTENDED_ARG"]
#: By name, for the few rules that speak of one instruction.
NUMBERS: Final = {facts.row.name: number for number, facts in FACTS.items()}


def numbers(*names: str) -> frozenset[int]:
    """Those of some opcodes that the running version has."""
    return frozenset(NUMBERS[name] for name in names if name in NUMBERS)
