"""Code that gives a constant is told from all other code, and there is nothing that a rule could say of it."""

from __future__ import annotations

import builtins
import random
from types import CodeType, FunctionType

import msgspec
import pytest
from assembly import assemble

from bcpatch import flow
from bcpatch.fingerprint import decode, encode
from bcpatch.flow.literals import is_literal
from bcpatch.model import Code
from benchmarks.checks import mutation

PLAIN = ("None", "True", "1", "-1", "1 << 20", "1.5", "''", "'text'", "'a' 'b'")
OTHER = ("()", "(1, 2)", "b''", "1j", "...", "[]", "{}", "name", "f()", "a.b", "'{.secret}'", "'{}'", "lambda: 1", "-x")


def expression(text: str) -> Code:
    """The code of a function that returns what an expression gives."""
    outer = compile(f"lambda: {text}", "", "eval", dont_inherit=True)
    (code,) = (one for one in outer.co_consts if isinstance(one, CodeType))
    return encode(code)


@pytest.mark.parametrize("text", PLAIN)
def test_literals(text: str) -> None:
    assert is_literal(expression(text))


@pytest.mark.parametrize("text", OTHER)
def test_other_expressions(text: str) -> None:
    assert not is_literal(expression(text))


@pytest.mark.parametrize(
    "text",
    [
        "RETURN_VALUE",
        "LOAD_CONST 0; POP_TOP; LOAD_CONST 0; RETURN_VALUE",
        "LOAD_FAST 0; RETURN_VALUE",
        "NOP",
        "RESUME 1",
    ],
)
def test_other_instructions(text: str) -> None:
    assert not is_literal(assemble(text, varnames=(), argcount=0, constants=(1,), names=()))


@pytest.mark.parametrize(
    "fields",
    [
        {"stacksize": -1},
        {"stacksize": 1 << 20},
        {"constants": ()},
        {"constants": (1, expression("1"))},
        {"names": ("eval",)},
        {"varnames": ("x",)},
        {"varnames": ("x",), "argcount": 1},
        {"freevars": ("x",)},
        {"cellvars": ("x",)},
        {"argcount": 1},
        {"flags": 0x23},
        {"first_line": -7},
        {"exception_table": bytes((0x80, 1, 0, 0))},
        {"line_table": b""},
        {"line_table": b"\x00"},
    ],
    ids=str,
)
def test_a_field_that_asks_for_more(fields: dict[str, object]) -> None:
    code = expression("1.5")
    assert is_literal(code)
    assert not is_literal(msgspec.structs.replace(code, **fields))


def test_what_is_told_is_well_formed_and_uses_nothing() -> None:
    """Damaged in every field, whatever still passes gives something and touches nothing."""
    choose = random.Random(7)
    seeds = [expression(text) for text in (*PLAIN, *OTHER)]
    told = 0
    for _ in range(4000):
        code = choose.choice(seeds)
        for _ in range(choose.randrange(1, 3)):
            code = mutation.mutate(code, choose)
        if is_literal(code):
            told += 1
            found = flow.analyze(code)
            assert (found.uses, found.nested, found.demands) == ((), {}, ())
            given = FunctionType(decode(code, ""), {"__builtins__": {}})()
            assert isinstance(given, (type(None), bool, int, float, str, tuple)) or given in vars(builtins).values()
    assert told > 50
