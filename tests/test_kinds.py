"""What each instruction needs of its operands: accepted with a value of the kind, refused with one that is none.

A case is two codes that differ in what one operand is; the last instruction with a ``!`` is the one that is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from assembly import assemble, entry, marked, units, with_resume
from test_structure import CALL, CALLEE, CASES, END, GENERATES, START, VERSION, faults

from bcpatch.flow import decode, opcodes
from bcpatch.model import Code


class Operand(NamedTuple):
    """``text`` with ``good`` in place of ``@`` is accepted; with ``bad`` it is refused at the ``!``."""

    text: str
    good: str
    bad: str
    fields: Mapping[str, Any] = MappingProxyType({})
    since: int = 11
    until: int = 99
    rule: str = "BCP306"


OBJECT = "LOAD_FAST 0"
#: The way out that leaves anything on the stack.
DONE = "RAISE_VARARGS 0"


def handled(text: str, good: str, bad: str, since: int = 11, until: int = 99) -> Operand:
    """In an exception handler, with the exception on the stack."""
    return covered("", text, good, bad, 0, since, until)


def covered(before: str, text: str, good: str, bad: str, depth: int, since: int = 11, until: int = 99) -> Operand:
    """The same, with ``depth`` values below it, and the offset of what raised where there are several."""
    body = f"{before}NOP; LOAD_GLOBAL 0; POP_TOP; {DONE}; {text}"
    if not since <= VERSION <= until:
        return Operand(body, good, bad, since=since, until=until)
    places = [offset // 2 for offset, _ in units(with_resume(body.replace("@", "NOP")))]
    first = before.count(";") + 2
    table = entry(places[first], places[first + 1] - places[first], places[first + 3], depth, depth > 1)
    return Operand(body, good, bad, {"exception_table": table}, since, until)


#: A group of exceptions, or None, that CHECK_EG_MATCH has left.
MATCHED = "PUSH_EXC_INFO; LOAD_GLOBAL 0; CHECK_EG_MATCH; POP_TOP;"
IF_NONE, IF_NOT_NONE = (f"POP_JUMP_{'FORWARD_' * (VERSION == 11)}IF_{one}" for one in ("NONE", "NOT_NONE"))
ITER = "GET_ITER 0" if VERSION > 14 else "GET_ITER"
INDEX = "PUSH_NULL;" if VERSION > 14 else ""
END_OF_LOOP = "END_ASYNC_FOR 1" if VERSION > 13 else "END_ASYNC_FOR"
#: SEND and what follows: where a value was given, and where the awaitable has ended.
SENT = "SEND 4; POP_TOP; POP_TOP; " + END + ("; END_SEND" if VERSION > 11 else "") + "; RETURN_VALUE"
if VERSION > 14:
    SENT = SENT.replace("SEND 4; POP_TOP;", "SEND 5; POP_TOP; POP_TOP;", 1)
BELOW = "PUSH_NULL; LOAD_FAST 0;" if VERSION < 13 else "LOAD_FAST 0; PUSH_NULL;"

CALLED = CALL.replace("PRECALL", "!PRECALL") if VERSION == 11 else CALL.replace("CALL", "!CALL")

OPERANDS = (
    Operand(f"@; LOAD_FAST 0; !LIST_EXTEND 1; {DONE}", "BUILD_LIST 0", OBJECT),
    Operand(f"@; !LIST_TO_TUPLE; {DONE}", "BUILD_LIST 0", OBJECT, until=11),
    Operand(f"@; LOAD_FAST 0; !SET_UPDATE 1; {DONE}", "BUILD_SET 0", OBJECT),
    Operand(f"{BELOW} LOAD_FAST 0; @; LOAD_FAST 0; !DICT_MERGE 1; {DONE}", "BUILD_MAP 0", OBJECT),
    Operand(f"LOAD_FAST 0; @; !BUILD_CONST_KEY_MAP 1; {DONE}", "LOAD_CONST 3", "LOAD_CONST 1", until=13),
    Operand(f"LOAD_FAST 0; @; !MATCH_KEYS; {DONE}", "LOAD_CONST 3", "LOAD_CONST 1"),
    Operand(f"LOAD_FAST 0; LOAD_FAST 0; @; !MATCH_CLASS 0; {DONE}", "LOAD_CONST 3", "LOAD_CONST 1"),
    Operand(f"LOAD_FAST 0; @; !UNARY_NOT; {DONE}", "TO_BOOL", "NOP", since=13),
    Operand(f"LOAD_FAST 0; @; !POP_JUMP_IF_FALSE 0; {DONE}", "TO_BOOL", "NOP", since=13),
    Operand(f"LOAD_FAST 0; @; !POP_JUMP_IF_TRUE 0; {DONE}", "TO_BOOL", "NOP", since=13),
    Operand(f"@; !COPY 1; {DONE}", OBJECT, "PUSH_NULL"),
    Operand(f"{CALLEE} @; {CALLED}; {DONE}", OBJECT, "LOAD_CONST 4"),
    Operand(f"@; !STORE_FAST_LOAD_FAST 16; {DONE}", OBJECT, "PUSH_NULL", since=13),
    Operand(f"LOAD_FAST 0; @; !STORE_FAST_STORE_FAST 17; {DONE}", OBJECT, "PUSH_NULL", since=13),
    Operand(f"LOAD_FAST 0; @; !LOAD_FAST_LOAD_FAST 1; {DONE}", "STORE_FAST 1", "POP_TOP", since=13, rule="BCP316"),
    Operand(f"LOAD_FAST 0; @; !LOAD_FAST_BORROW 1; {DONE}", "STORE_FAST 1", "POP_TOP", since=14, rule="BCP316"),
    Operand(
        f"LOAD_FAST 0; @; !LOAD_FAST_BORROW_LOAD_FAST_BORROW 1; {DONE}",
        "STORE_FAST 1",
        "POP_TOP",
        since=14,
        rule="BCP316",
    ),
    Operand(f"LOAD_FAST 0; @; {INDEX} LOAD_CONST 0; !{SENT}", "GET_AWAITABLE 0", "NOP", GENERATES),
    Operand(
        f"LOAD_FAST 0; @; {INDEX} LOAD_CONST 0; YIELD_VALUE 1; !RESUME 2; {DONE}",
        "GET_AWAITABLE 0",
        "NOP",
        GENERATES,
        since=12,
    ),
    Operand(f"LOAD_FAST 0; @; {INDEX} LOAD_CONST 0; !END_SEND; {DONE}", "GET_AWAITABLE 0", "NOP", since=12),
    Operand(f"LOAD_FAST 0; @; LOAD_CONST 0; !END_FOR; {DONE}", ITER, "NOP", since=12, until=14),
    Operand(f"LOAD_FAST 0; @; LOAD_CONST 0; !END_FOR; {DONE}", ITER, "LOAD_FAST 0", since=15),
    Operand(f"LOAD_FAST 0; @; !POP_ITER; {DONE}", ITER, "NOP", since=14, until=14),
    Operand(f"LOAD_FAST 0; @; !POP_ITER; {DONE}", ITER, "LOAD_FAST 0", since=15),
    Operand(f"LOAD_FAST 0; @; !BUILD_INTERPOLATION 2; {DONE}", "LOAD_CONST 2", OBJECT, since=14),
    Operand(f"LOAD_CONST 3; @; !BUILD_TEMPLATE; {DONE}", "BUILD_TUPLE 0", OBJECT, since=14),
    handled(f"@; !PREP_RERAISE_STAR; {DONE}", "BUILD_LIST 0", "LOAD_CONST 0", until=11),
    handled(f"@; !PUSH_EXC_INFO; {DONE}", "NOP", "LOAD_CONST 0"),
    handled(f"PUSH_EXC_INFO; POP_TOP; @; !POP_EXCEPT; {DONE}", "NOP", "LOAD_CONST 0"),
    handled(f"PUSH_EXC_INFO; @; LOAD_GLOBAL 0; !CHECK_EXC_MATCH; {DONE}", "NOP", "LOAD_CONST 0"),
    handled(f"PUSH_EXC_INFO; @; LOAD_GLOBAL 0; !CHECK_EG_MATCH; {DONE}", "NOP", "LOAD_CONST 0"),
    handled(f"{MATCHED} COPY 1; @ 3; LOAD_CONST 0; POP_TOP; !RERAISE 0; POP_TOP; {DONE}", IF_NONE, IF_NOT_NONE),
    handled(f"{MATCHED} COPY 1; @ 2; POP_TOP; {DONE}; !RERAISE 0", IF_NOT_NONE, IF_NONE),
    covered("LOAD_FAST 0; ", f"@; !{END_OF_LOOP}; {DONE}", "NOP", "LOAD_CONST 0", 1),
    covered(
        f"LOAD_FAST 0; {'LOAD_FAST 0;' if VERSION < 14 else 'PUSH_NULL;'} ",
        f"PUSH_EXC_INFO; @; !WITH_EXCEPT_START; {DONE}",
        "NOP",
        "LOAD_CONST 0",
        2,
    ),
    handled(
        f"LOAD_FAST 0; @; SWAP 2; {INDEX} {'SWAP 2;' * bool(INDEX)} LOAD_CONST 0; SWAP 2; !CLEANUP_THROW; {DONE}",
        "GET_AWAITABLE 0",
        "NOP",
        since=12,
    ),
)
HERE = [one for one in OPERANDS if one.since <= VERSION <= one.until]


@pytest.mark.parametrize("case", [pytest.param(one, id=one.text.rpartition("!")[2].partition(";")[0]) for one in HERE])
def test_an_operand_must_be_of_its_kind(case: Operand) -> None:
    start = START if case.fields is GENERATES else ""
    good, bad = (start + case.text.replace("@", one) for one in (case.good, case.bad))
    assert faults(assemble(good, stacksize=9, **case.fields)) == ()
    (found,) = faults(assemble(bad, stacksize=9, **case.fields))
    assert (found.rule, found.offset) == (case.rule, marked(bad))


#: Words in the table of instructions for operands that are objects, or may be anything.
_PLAIN = {word for word, kinds in opcodes.TAKEN.items() if kinds == opcodes.ANYTHING} | {"value", "maybe", "null"}
#: What another instruction that must stand before it is refused for: PRECALL, SEND.
_REFUSED_BEFORE = {"CALL", "RESUME"} if VERSION == 11 else set()


def test_every_instruction_with_such_a_need_has_a_case() -> None:
    asked = {
        facts.row.name
        for facts in opcodes.FACTS.values()
        if {word.removeprefix("=").partition("*")[0] for word in facts.row.stack.partition("->")[0].split()} - _PLAIN
        or "bound" in facts.row.reads
    }
    cases = [(one.text.replace("@", one.bad), one.fields) for one in HERE]
    cases += [(one.bad or one.good, {**one.fields, **one.broken}) for one in CASES if one.since <= VERSION <= one.until]
    shown = {name for text, fields in cases for name in refused(text, fields)}
    assert sorted(asked - shown - _REFUSED_BEFORE) == []


def refused(text: str, fields: Mapping[str, Any]) -> set[str]:
    """The instructions of a case that are refused for an operand."""
    code = assemble((START if fields is GENERATES else "") + text, **{"stacksize": 9, **fields})
    places = {one.offset for one in faults(code) if one.rule in ("BCP306", "BCP315", "BCP316")}
    return {one.name for one in decode.instructions(code) if one.offset in places} if places else set()


# --- in which order blocks are followed ------------------------------------------------------

CATCH = "PUSH_EXC_INFO; POP_TOP; POP_EXCEPT;"


def caught(text: str, *entries: tuple[int, int, int], depth: int = 0) -> Code:
    """Code in which exceptions of the first to the second of three instructions, by their numbers, go to the third."""
    places = [offset // 2 for offset, _ in units(with_resume(text))]
    table = (entry(places[a], places[b + 1] - places[a], places[to], depth) for a, b, to in entries)
    return assemble(text, exception_table=b"".join(table), stacksize=9)


def test_what_follows_is_looked_at_where_an_earlier_handler_has_its_turn_first() -> None:
    text = f"JUMP_FORWARD 5; {CATCH} LOAD_CONST 0; RETURN_VALUE; LOAD_GLOBAL 0; POP_TOP; LOAD_CONST 0; !BUILD_TUPLE @; "
    good, bad = (caught(text.replace("@", count) + "RETURN_VALUE", (7, 7, 2)) for count in ("1", "2"))
    assert faults(good) == ()
    assert [one.rule for one in faults(bad)] == ["BCP303"]


def test_what_waited_and_was_followed_since_does_not_wait_any_more() -> None:
    text = f"LOAD_CONST 0; JUMP_FORWARD 11; {CATCH} LOAD_CONST 0; RETURN_VALUE;"
    text += f"{CATCH} BUILD_TUPLE 0; POP_TOP; LOAD_CONST 1; LOAD_GLOBAL 0; POP_TOP;"
    text += "LOAD_GLOBAL 0; LOAD_GLOBAL 0; POP_TOP; POP_TOP; RETURN_VALUE"
    assert faults(caught(text, (14, 14, 8), (16, 17, 3))) == ()


def test_a_handler_is_told_of_what_changes_though_values_below_it_are_taken() -> None:
    text = "BUILD_LIST 0; STORE_FAST 0; LOAD_CONST 0; LOAD_GLOBAL 0; POP_TOP; @; STORE_FAST 0; LOAD_GLOBAL 0; POP_TOP; "
    text += "POP_TOP; LOAD_CONST 0; RETURN_VALUE; PUSH_EXC_INFO; LOAD_FAST 0; LOAD_CONST 0; LIST_APPEND 1; " + DONE
    good, bad = (caught(text.replace("@", one), (4, 10, 13), depth=1) for one in ("BUILD_LIST 0", "LOAD_CONST 0"))
    assert faults(good) == ()
    assert [one.rule for one in faults(bad)] == ["BCP306"]
