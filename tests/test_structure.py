"""Every structure rule: a case that is accepted, and one that differs by as little as possible and is refused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pytest
from assembly import GENERATOR, INNER, NEWLOCALS, OPTIMIZED, assemble, entry, marked, units, with_resume

from bcpatch import flow, pythons
from bcpatch.diagnostics import RULES
from bcpatch.model import Code, Module, Tuple
from bcpatch.rules import structure
from bcpatch.rules.sourcetext import Text

VERSION = pythons.INSTRUCTION_SET
END = "LOAD_CONST 0; RETURN_VALUE"


class Case(NamedTuple):
    """``good`` is accepted; ``bad``, or ``good`` with the fields of ``broken``, is refused by ``rule`` at the ``!``."""

    rule: str
    about: str
    good: str
    bad: str = ""
    broken: Mapping[str, Any] = MappingProxyType({})
    fields: Mapping[str, Any] = MappingProxyType({})
    since: int = 11
    until: int = 99


GENERATES = {"flags": OPTIMIZED | NEWLOCALS | GENERATOR}
CAPTURES = {"cellvars": ("x",)}
FREE = {"freevars": ("z",)}
START = "RETURN_GENERATOR; POP_TOP; RESUME 0;"
CELL = "MAKE_CELL 0; RESUME 0;"
#: A call without arguments of what is on the stack, in the words of each version.
CALL = {11: "PRECALL 0; CALL 0", 12: "CALL 0"}.get(VERSION, "PUSH_NULL; CALL 0")
CALLEE = "PUSH_NULL;" if VERSION < 13 else ""
IF_NONE = "POP_JUMP_FORWARD_IF_NONE" if VERSION == 11 else "POP_JUMP_IF_NONE"
LOOP = {
    11: "LOAD_FAST 0; GET_ITER; FOR_ITER 2; POP_TOP; JUMP_BACKWARD 3;",
    12: "LOAD_FAST 0; GET_ITER; FOR_ITER 2; POP_TOP; JUMP_BACKWARD 4; END_FOR;",
    13: "LOAD_FAST 0; GET_ITER; FOR_ITER 3; POP_TOP; JUMP_BACKWARD 5; END_FOR; POP_TOP;",
    14: "LOAD_FAST 0; GET_ITER; FOR_ITER 3; POP_TOP; JUMP_BACKWARD 5; END_FOR; POP_ITER;",
    15: "LOAD_FAST 0; GET_ITER 0; FOR_ITER 3; POP_TOP; JUMP_BACKWARD 5; END_FOR; POP_ITER;",
}[VERSION]
TRY = "NOP; LOAD_GLOBAL 0; POP_TOP;" + END + "; PUSH_EXC_INFO; POP_TOP; POP_EXCEPT;" + END
RAISE_AGAIN = "NOP; LOAD_GLOBAL 0; POP_TOP;" + END + "; RERAISE 1"
_TRY = [offset // 2 for offset, _ in units(with_resume(TRY))]
#: The code units where the parts of TRY start: what raises nothing, what may raise, how long it is, and the handler.
IDLE, LOAD, LENGTH, HANDLER = _TRY[1], _TRY[2], _TRY[3] - _TRY[2], _TRY[6]
RETURN = _TRY[5]


def nested_tuples(depth: int) -> Tuple:
    found = Tuple(())
    for _ in range(depth):
        found = Tuple((found,))
    return found


CASES = (
    Case("BCP301", "an opcode that no version has", "NOP; " + END, "! 0xF9; " + END),
    Case("BCP301", "an inline cache as an instruction", "NOP; " + END, "! 0; " + END),
    Case("BCP302", "a jump behind the end", "JUMP_FORWARD 1; NOP; " + END, "!JUMP_FORWARD 9; NOP; " + END),
    Case(
        "BCP302",
        "a jump into an inline cache",
        "JUMP_FORWARD 0; LOAD_GLOBAL 0; RETURN_VALUE",
        "!JUMP_FORWARD 1; LOAD_GLOBAL 0; RETURN_VALUE",
    ),
    Case(
        "BCP303",
        "one value too few",
        "LOAD_CONST 0; LOAD_CONST 0; BUILD_TUPLE 2; RETURN_VALUE",
        "LOAD_CONST 0; !BUILD_TUPLE 2; RETURN_VALUE",
    ),
    Case(
        "BCP303",
        "a look below the stack",
        "LOAD_CONST 0; COPY 1; POP_TOP; RETURN_VALUE",
        "LOAD_CONST 0; !COPY 2; POP_TOP; RETURN_VALUE",
    ),
    Case(
        "BCP304",
        "paths that meet at different depths",
        f"LOAD_CONST 0; LOAD_FAST 0; {IF_NONE} 1; NOP; RETURN_VALUE",
        f"LOAD_CONST 0; LOAD_FAST 0; {IF_NONE} 1; POP_TOP; !RETURN_VALUE",
    ),
    Case(
        "BCP304",
        "a value left at the return",
        "LOAD_CONST 0; POP_TOP; " + END,
        "LOAD_CONST 0; LOAD_CONST 0; !RETURN_VALUE",
    ),
    Case(
        "BCP305",
        "a stack that is too small",
        "LOAD_CONST 0; LOAD_CONST 0; BUILD_TUPLE 2; RETURN_VALUE",
        broken={"stacksize": 1},
    ),
    Case(
        "BCP305",
        "more results than the stack holds",
        "LOAD_FAST 0; UNPACK_SEQUENCE 1; RETURN_VALUE",
        "LOAD_FAST 0; !UNPACK_SEQUENCE 99; RETURN_VALUE",
    ),
    Case(
        "BCP306",
        "LIST_APPEND to any object",
        "BUILD_LIST 0; LOAD_CONST 0; LIST_APPEND 1; RETURN_VALUE",
        "LOAD_FAST 0; LOAD_CONST 0; !LIST_APPEND 1; RETURN_VALUE",
    ),
    Case(
        "BCP306",
        "SET_ADD to any object",
        "BUILD_SET 0; LOAD_CONST 0; SET_ADD 1; RETURN_VALUE",
        "LOAD_FAST 0; LOAD_CONST 0; !SET_ADD 1; RETURN_VALUE",
    ),
    Case(
        "BCP306",
        "MAP_ADD to any object",
        "BUILD_MAP 0; LOAD_CONST 0; LOAD_CONST 1; MAP_ADD 1; RETURN_VALUE",
        "LOAD_FAST 0; LOAD_CONST 0; LOAD_CONST 1; !MAP_ADD 1; RETURN_VALUE",
    ),
    Case(
        "BCP306",
        "DICT_UPDATE of any object",
        "BUILD_MAP 0; LOAD_FAST 0; DICT_UPDATE 1; RETURN_VALUE",
        "LOAD_FAST 0; LOAD_FAST 0; !DICT_UPDATE 1; RETURN_VALUE",
    ),
    Case(
        "BCP306",
        "a list that is one on one path only",
        f"BUILD_LIST 0; LOAD_FAST 0; {IF_NONE} 2; POP_TOP; BUILD_LIST 0; LOAD_CONST 0; LIST_APPEND 1; RETURN_VALUE",
        f"BUILD_LIST 0; LOAD_FAST 0; {IF_NONE} 2; POP_TOP; LOAD_CONST 0; LOAD_CONST 0; !LIST_APPEND 1; RETURN_VALUE",
    ),
    Case(
        "BCP306",
        "NULL as an object",
        "PUSH_NULL; LOAD_CONST 0; SWAP 2; "
        + ("POP_TOP; RETURN_VALUE" if VERSION > 13 else "SWAP 2; POP_TOP; SWAP 1; RETURN_VALUE"),
        "PUSH_NULL; !RETURN_VALUE",
        since=14,
    ),
    Case("BCP306", "POP_TOP of NULL", "LOAD_CONST 0; POP_TOP; " + END, "PUSH_NULL; !POP_TOP; " + END, until=13),
    Case(
        "BCP306",
        "FOR_ITER of what may be no iterator",
        LOOP + END,
        LOOP.replace("GET_ITER", "NOP").replace("FOR_ITER", "!FOR_ITER") + END,
        until=14,
    ),
    Case(
        "BCP306",
        "FOR_ITER with the index of another iteration",
        LOOP + END,
        LOOP.replace("GET_ITER 0;", "GET_ITER 0; SWAP 2; SWAP 2;").replace("FOR_ITER", "!FOR_ITER") + END,
        since=15,
    ),
    Case(
        "BCP306",
        "RERAISE of what is no exception",
        TRY,
        TRY.replace("POP_TOP; POP_EXCEPT;" + END, "LOAD_CONST 0; !RERAISE 0"),
        fields={"exception_table": entry(LOAD, LENGTH, HANDLER, 0)},
    ),
    Case(
        "BCP306",
        "MAKE_FUNCTION of what is no code",
        "LOAD_CONST 4; MAKE_FUNCTION 0; RETURN_VALUE",
        "LOAD_CONST 1; !MAKE_FUNCTION 0; RETURN_VALUE",
    ),
    Case(
        "BCP306",
        "a function without the cells that it needs",
        "LOAD_CONST 4; MAKE_FUNCTION 0; RETURN_VALUE",
        "LOAD_CONST 5; MAKE_FUNCTION 0; !RETURN_VALUE",
    ),
    Case(
        "BCP306",
        "a closure of something else",
        CELL + "LOAD_CLOSURE 0; BUILD_TUPLE 1; LOAD_CONST 5; MAKE_FUNCTION 8; RETURN_VALUE",
        CELL + "LOAD_CONST 1; BUILD_TUPLE 1; LOAD_CONST 5; !MAKE_FUNCTION 8; RETURN_VALUE",
        fields=CAPTURES,
        until=12,
    ),
    Case(
        "BCP306",
        "a closure of one cell too many",
        CELL + "LOAD_FAST 0; BUILD_TUPLE 1; LOAD_CONST 5; MAKE_FUNCTION; SET_FUNCTION_ATTRIBUTE 8; RETURN_VALUE",
        CELL + "LOAD_FAST 0; LOAD_FAST 0; BUILD_TUPLE 2; LOAD_CONST 5; MAKE_FUNCTION;"
        "!SET_FUNCTION_ATTRIBUTE 8; RETURN_VALUE",
        fields=CAPTURES,
        since=13,
    ),
    Case(
        "BCP306",
        "a cell replaced by an object",
        CELL + "LOAD_CONST 0; STORE_DEREF 0; LOAD_DEREF 0; RETURN_VALUE",
        CELL + "LOAD_CONST 0; !STORE_FAST 0; LOAD_DEREF 0; RETURN_VALUE",
        fields=CAPTURES,
    ),
    Case(
        "BCP306",
        "LOAD_DEREF of a local variable",
        CELL + "LOAD_DEREF 0; RETURN_VALUE",
        CELL + "!LOAD_DEREF 1; RETURN_VALUE",
        fields=CAPTURES,
    ),
    Case(
        "BCP306",
        "a call without a place for the receiver",
        f"{CALLEE} LOAD_FAST 0; {CALL}; RETURN_VALUE",
        "LOAD_FAST 0; LOAD_FAST 0; LOAD_FAST 0; "
        + "LOAD_FAST 0; " * (VERSION > 13)
        + "!CALL_FUNCTION_EX 0; RETURN_VALUE",
    ),
    Case(
        "BCP306",
        "keyword names that are no names",
        "LOAD_FAST 0; PUSH_NULL; LOAD_CONST 0; LOAD_CONST 3; CALL_KW 1; RETURN_VALUE",
        "LOAD_FAST 0; PUSH_NULL; LOAD_CONST 0; LOAD_CONST 0; !CALL_KW 1; RETURN_VALUE",
        since=13,
    ),
    Case(
        "BCP306",
        "more keyword names than arguments",
        "LOAD_FAST 0; PUSH_NULL; LOAD_CONST 0; LOAD_CONST 3; CALL_KW 1; RETURN_VALUE",
        "LOAD_FAST 0; PUSH_NULL; LOAD_CONST 3; !CALL_KW 0; RETURN_VALUE",
        since=13,
    ),
    Case(
        "BCP306",
        "a jump on what is not True or False",
        "LOAD_FAST 0; TO_BOOL; POP_JUMP_IF_TRUE 0; " + END,
        "LOAD_FAST 0; !POP_JUMP_IF_TRUE 0; " + END,
        since=13,
    ),
    Case(
        "BCP306",
        "an import of a computed name list",
        "LOAD_CONST 1; LOAD_CONST 3; IMPORT_NAME 0; RETURN_VALUE",
        "LOAD_CONST 1; LOAD_FAST 0; !IMPORT_NAME 0; RETURN_VALUE",
    ),
    Case(
        "BCP306",
        "a type variable without a name",
        "LOAD_CONST 2; CALL_INTRINSIC_1 7; RETURN_VALUE",
        "LOAD_CONST 1; !CALL_INTRINSIC_1 7; RETURN_VALUE",
        since=12,
    ),
    Case("BCP307", "a constant that is not there", END, "!LOAD_CONST 200; RETURN_VALUE"),
    Case("BCP307", "a local variable that is not there", "LOAD_FAST 0; RETURN_VALUE", "!LOAD_FAST 2; RETURN_VALUE"),
    Case("BCP307", "a name that is not there", "LOAD_GLOBAL 0; RETURN_VALUE", "!LOAD_GLOBAL 250; RETURN_VALUE"),
    Case(
        "BCP307",
        "an operator that is not there",
        "LOAD_CONST 1; LOAD_CONST 1; BINARY_OP 0; RETURN_VALUE",
        "LOAD_CONST 1; LOAD_CONST 1; !BINARY_OP 77; RETURN_VALUE",
    ),
    Case(
        "BCP307",
        "a comparison that is not there",
        "LOAD_CONST 1; LOAD_CONST 1; COMPARE_OP 5; RETURN_VALUE",
        "LOAD_CONST 1; LOAD_CONST 1; !COMPARE_OP 255; RETURN_VALUE",
    ),
    Case(
        "BCP307",
        "an exchange with nothing",
        "LOAD_CONST 0; LOAD_CONST 0; SWAP 2; POP_TOP; RETURN_VALUE",
        "LOAD_CONST 0; LOAD_CONST 0; !SWAP 0; POP_TOP; RETURN_VALUE",
    ),
    Case(
        "BCP307",
        "an intrinsic function that is not there",
        "LOAD_CONST 0; CALL_INTRINSIC_1 5; RETURN_VALUE",
        "LOAD_CONST 0; !CALL_INTRINSIC_1 99; RETURN_VALUE",
        since=12,
    ),
    Case(
        "BCP308",
        "a handler between instructions",
        TRY,
        fields={"exception_table": entry(LOAD, LENGTH, HANDLER, 0)},
        broken={"exception_table": entry(LOAD, LENGTH, LOAD + 1, 0)},
    ),
    Case(
        "BCP305",
        "a stack with no room for what a handler gets",
        RAISE_AGAIN,
        fields={"exception_table": entry(LOAD, LENGTH, HANDLER, 0, lasti=True), "stacksize": 2},
        broken={"stacksize": 1},
    ),
    Case(
        "BCP308",
        "a handler that expects more than there is",
        TRY,
        fields={"exception_table": entry(LOAD, LENGTH, HANDLER, 0)},
        broken={"exception_table": entry(LOAD, LENGTH, HANDLER, 1)},
    ),
    Case(
        "BCP308",
        "too little before an instruction that raises nothing: what traces it may raise",
        TRY,
        fields={"exception_table": entry(IDLE, LOAD - IDLE, HANDLER, 0)},
        broken={"exception_table": entry(IDLE, LOAD - IDLE, HANDLER, 1)},
    ),
    Case(
        "BCP308",
        "too little before a return, for a handler that looks at more than the exception",
        TRY,
        fields={"exception_table": entry(RETURN, HANDLER - RETURN, HANDLER, 0)},
        broken={"exception_table": entry(RETURN, HANDLER - RETURN, HANDLER, 2)},
    ),
    Case(
        "BCP306",
        "a handler that only what traces leads to",
        TRY,
        TRY.replace("POP_EXCEPT", "!RETURN_VALUE"),
        fields={"exception_table": entry(IDLE, LOAD - IDLE, HANDLER, 0)},
    ),
    Case("BCP308", "a table that is cut off", TRY, broken={"exception_table": b"\x82"}),
    Case("BCP308", "entries out of order", TRY, broken={"exception_table": entry(LOAD, 1, 0, 0) + entry(1, 1, 0, 0)}),
    Case("BCP309", "no return", "NOP; " + END, "LOAD_CONST 0; !POP_TOP"),
    Case("BCP310", "a stack beyond any source", END, broken={"stacksize": 1 << 40}),
    Case("BCP310", "constants too deep", END, broken={"constants": (None, nested_tuples(200))}),
    Case("BCP311", "half an instruction", END, broken={"bytecode": b"\x00"}),
    Case("BCP311", "no instruction at all", END, broken={"bytecode": b"", "line_table": b""}),
    Case("BCP312", "no RESUME", END, "NOP; RESUME 0; " + END),
    Case("BCP312", "RESUME in the middle", "NOP; " + END, "RESUME 0; !RESUME 0; " + END),
    Case(
        "BCP312",
        "YIELD_VALUE in a plain function",
        START + "LOAD_CONST 0; YIELD_VALUE 0; RESUME 1; RETURN_VALUE",
        fields=GENERATES,
        broken={"flags": OPTIMIZED | NEWLOCALS},
    ),
    Case(
        "BCP303",
        "a delegation to nothing",
        START + "LOAD_CONST 0; YIELD_VALUE 0; RESUME 1; RETURN_VALUE",
        START + "LOAD_CONST 0; YIELD_VALUE 0; !RESUME 2; RETURN_VALUE",
        fields=GENERATES,
        since=12,
        until=12,
    ),
    Case(
        "BCP303",
        "a delegation to nothing",
        START + "LOAD_CONST 0; YIELD_VALUE 0; RESUME 1; RETURN_VALUE",
        START + "LOAD_CONST 0; YIELD_VALUE 1; !RESUME 2; RETURN_VALUE",
        fields=GENERATES,
        since=13,
    ),
    Case(
        "BCP312",
        "a delegation that only one of two tells",
        START + "LOAD_CONST 0; YIELD_VALUE 0; RESUME 1; RETURN_VALUE",
        START + "LOAD_CONST 0; !YIELD_VALUE 1; RESUME 1; RETURN_VALUE",
        fields=GENERATES,
        since=13,
    ),
    Case("BCP312", "a generator by its flags only", START + END, "RESUME 0; " + END, fields=GENERATES),
    Case(
        "BCP312",
        "cells that are not copied",
        "COPY_FREE_VARS 1; RESUME 0; LOAD_DEREF 2; RETURN_VALUE",
        "RESUME 0; LOAD_DEREF 2; RETURN_VALUE",
        fields=FREE,
    ),
    Case("BCP312", "a captured parameter without its cell", CELL + END, "RESUME 0; " + END, fields=CAPTURES),
    Case("BCP312", "a local namespace in a function", "LOAD_GLOBAL 0; RETURN_VALUE", "!LOAD_NAME 0; RETURN_VALUE"),
    Case(
        "BCP312",
        "PRECALL without CALL",
        f"{CALLEE} LOAD_FAST 0; {CALL}; RETURN_VALUE",
        "PUSH_NULL; LOAD_FAST 0; !PRECALL 0; NOP; CALL 0; RETURN_VALUE",
        until=11,
    ),
    Case(
        "BCP312",
        "a loop that ends elsewhere",
        LOOP + END,
        LOOP.replace("END_FOR", "NOP").replace("FOR_ITER", "!FOR_ITER") + END,
        since=12,
    ),
    Case("BCP313", "a line table that is too short", END, broken={"line_table": b"\xe8\x00"}),
    Case("BCP313", "a line table that is no line table", END, broken={"line_table": b"\x00\x00\x00"}),
    Case("BCP314", "more parameters than variables", END, broken={"argcount": 3}),
    Case("BCP314", "a negative number", END, broken={"kwonlyargcount": -1}),
    Case("BCP314", "a variable twice", END, broken={"varnames": ("x", "x")}),
    Case(
        "BCP314",
        "a generator and a coroutine",
        START + END,
        fields=GENERATES,
        broken={"flags": OPTIMIZED | GENERATOR | 0x80},
    ),
    Case("BCP314", "a flag that is none", END, broken={"flags": OPTIMIZED | NEWLOCALS | 1 << 30}),
    Case(
        "BCP315",
        "a borrowed reference stored",
        "LOAD_FAST 0; STORE_FAST 1; " + END,
        "LOAD_FAST_BORROW 0; !STORE_FAST 1; " + END,
        since=14,
    ),
    Case(
        "BCP315",
        "the owner changed while borrowed from",
        "LOAD_FAST 0; LOAD_CONST 0; STORE_FAST 0; RETURN_VALUE",
        "LOAD_FAST_BORROW 0; LOAD_CONST 0; !STORE_FAST 0; RETURN_VALUE",
        since=14,
    ),
    Case(
        "BCP316",
        "a variable that was never bound",
        "LOAD_FAST_CHECK 1; RETURN_VALUE",
        "!LOAD_FAST 1; RETURN_VALUE",
        since=12,
    ),
    Case(
        "BCP316",
        "a variable that was deleted",
        "DELETE_FAST 0; LOAD_FAST_CHECK 0; RETURN_VALUE",
        "DELETE_FAST 0; !LOAD_FAST 0; RETURN_VALUE",
        since=12,
    ),
    Case("BCP317", "a loop of nothing", "NOP; JUMP_BACKWARD 2", "!NOP; JUMP_BACKWARD_NO_INTERRUPT 2", until=12),
    Case("BCP317", "a loop of nothing", "NOP; JUMP_BACKWARD 3", "!NOP; JUMP_BACKWARD_NO_INTERRUPT 2", since=13),
)
HERE = [pytest.param(case, id=f"{case.rule} {case.about}") for case in CASES if case.since <= VERSION <= case.until]


def faults(code: Code) -> tuple[flow.Fault, ...]:
    try:
        flow.analyze(code)
    except flow.Malformed as malformed:
        return malformed.faults
    return ()


@pytest.mark.parametrize("case", HERE)
def test_a_case_is_accepted_and_its_neighbour_refused(case: Case) -> None:
    assert faults(assemble(case.good, **case.fields)) == ()
    text = case.bad or case.good
    found = faults(assemble(text, **{**case.fields, **case.broken}))
    assert {fault.rule for fault in found} == {case.rule}
    if marked(text) >= 0:
        assert found[0].offset == marked(text)


def examples() -> Iterator[Any]:
    """Code, fields, words and rule of each example in the rules' page."""
    page = (Path(__file__).resolve().parent.parent / "docs" / "diagnostics" / "bcp3xx.md").read_text()
    for section in page.split("\n## ")[1:]:
        rule = section.split()[0]
        for words, text in re.findall(r"```assembly (.*)\n([^`]*)```", section):
            yield pytest.param(rule, words.split(), text, id=f"{rule} {words}")


@pytest.mark.parametrize(("rule", "words", "text"), list(examples()))
def test_the_examples_of_the_page_are_true(rule: str, words: list[str], text: str) -> None:
    if any(word[0] == "3" and int(word[2:]) > VERSION for word in words):
        pytest.skip("of a later Python")
    given = dict(word.split("=") for word in words if "=" in word)
    fields = {
        name: bytes.fromhex(value) if name in ("bytecode", "line_table", "exception_table") else int(value)
        for name, value in given.items()
    }
    found = {fault.rule for fault in faults(assemble(text, **fields))}
    assert found == ({rule} if words[0] == "refused" else set())


def test_the_page_has_both_examples_of_every_rule() -> None:
    shown = Counter((example.values[0], example.values[1][0]) for example in examples())
    rules = {rule for rule in RULES if rule.startswith("BCP3")}
    assert shown == Counter((rule, word) for rule in rules for word in ("refused", "accepted"))


def test_every_structure_rule_has_a_case() -> None:
    assert {case.rule for case in CASES} == {rule for rule in RULES if rule.startswith("BCP3")}


def test_a_diagnostic_has_the_place_of_the_instruction() -> None:
    code = assemble("LOAD_CONST 0; !LOAD_FAST 9; RETURN_VALUE")
    text = Text(Module("m", "m.py"), b"first\nsecond\nthird\n")
    found, diagnostics = structure.check(code, text, None)
    assert found is None
    assert [(one.code, one.file, one.line, one.text) for one in diagnostics] == [("BCP307", "m.py", 3, "third")]


def test_a_fault_in_nested_code_is_told_of_that_code() -> None:
    broken = msgspec.structs.replace(INNER, qualname="inner.broken", stacksize=0)
    outer = assemble(END, constants=(None, 1, msgspec.structs.replace(INNER, constants=(broken,))))
    (fault,) = faults(outer)
    assert (fault.rule, fault.qualname) == ("BCP305", "inner.broken")


def test_code_nested_without_end_is_refused() -> None:
    code = INNER
    for _ in range(200):
        code = msgspec.structs.replace(INNER, constants=(code,))
    assert {fault.rule for fault in faults(code)} == {"BCP310"}


@pytest.mark.timeout(60)
def test_code_that_is_too_tangled_to_follow_is_refused() -> None:
    names = tuple(f"v{number}" for number in range(5000))
    test = "POP_JUMP_FORWARD_IF_NONE" if VERSION == 11 else "POP_JUMP_IF_NONE"
    body = "; ".join(f"LOAD_CONST 0; {test} 0; LOAD_CONST 0; STORE_FAST {number % 200}" for number in range(9000))
    assert {fault.rule for fault in faults(assemble(body + "; " + END, varnames=names))} == {"BCP310"}
