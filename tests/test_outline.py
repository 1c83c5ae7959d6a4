"""Every function that a module makes is paired with the code that the compiler made of it."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from types import CodeType

import pytest
from samples import source

from bcpatch.model import Module
from bcpatch.source.outline import Source, Unit, executed, nested, outline

COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}
MODULES = ["argparse", "ast", "calendar", "dataclasses", "enum", "functools", "heapq", "inspect", "logging", "pathlib"]


def unit(text: str) -> Unit:
    return outline(source(text), 0)


def qualnames(text: str) -> list[str]:
    return [str(function.site).partition(":")[2] for function in unit(text).functions]


def function_codes(code: CodeType) -> Iterator[CodeType]:
    """Code of functions that executing a module or class body makes, by the compiler's own tree."""
    for made in nested(code):
        if made.co_name.startswith("<generic parameters of ") or not made.co_flags & 1:
            yield from function_codes(made)
        elif made.co_name not in COMPREHENSIONS and not made.co_name.startswith("__annotate"):
            yield made


@pytest.mark.parametrize("name", MODULES)
def test_no_function_of_a_real_module_is_missed(name: str) -> None:
    file = importlib.import_module(name).__file__
    assert file
    with open(file, "rb") as opened:
        made = outline(Source(Module(name, f"{name}.py"), file, opened.read()), 0)
    assert {id(function.code) for function in made.functions} == {id(code) for code in function_codes(made.code)}
    for function in made.functions:
        body = function.node.body if isinstance(function.node, ast.Lambda) else function.node
        assert function.code.co_firstlineno <= body.lineno


def test_sites_count_functions_of_one_name() -> None:
    text = (
        "class A:\n  @property\n  def x(self): return 1\n  @x.setter\n  def x(self, v): pass\n"
        "  class B:\n    def x(self): pass\n"
        "f = lambda: 1; g = lambda: 2\n"
        "if f:\n  def h(): pass\nelse:\n  def h(): pass\n"
    )
    assert qualnames(text) == ["A.x", "A.x#1", "A.B.x", "<lambda>", "<lambda>#1", "h", "h#1"]


def test_lambdas_of_one_line_keep_their_code() -> None:
    """Also beside one that the compiler inlined with its comprehension (PEP 709)."""
    made = unit("x = [lambda: i for i in y], lambda: 'two', lambda: 'three'\n")
    values = [eval(function.code) for function in made.functions]
    assert values == ["two", "three"]


def test_definitions_that_the_compiler_left_out_are_not_there() -> None:
    made = unit("if __debug__:\n  def f(): pass\nelse:\n  def f(): return 1\ndef g(): pass\n")
    assert [function.site.qualname for function in made.functions][-1] == "g"
    assert [function.code.co_firstlineno for function in made.functions][0] == 2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 695 is in CPython 3.12+")
def test_generic_functions_and_classes_are_found() -> None:
    made = unit("def f[T](a: T): pass\nclass A[T]:\n  def g[U](self, a: U) -> T: pass\n  def h(self): pass\n")
    assert [function.site.qualname for function in made.functions] == ["f", "A.g", "A.h"]
    assert [function.generic is not None for function in made.functions] == [True, True, False]
    assert [made.qualname for made in made.classes] == ["A"]


def test_places_are_those_of_names() -> None:
    made = unit("class Cart:\n  @staticmethod\n  async def f(a): pass\n")
    place = made.place(made.functions[0].node)
    assert (place.line, place.column, place.end_column, place.text) == (3, 13, 14, "  async def f(a): pass")
    assert made.place(made.classes[0].node)[1:5] == (1, 7, 1, 11)


def test_columns_are_characters() -> None:
    made = unit("x = 'ä𝕏', y\n")
    (assign,) = made.tree.body
    assert isinstance(assign, ast.Assign)
    assert isinstance(assign.value, ast.Tuple)
    assert made.place(assign.value.elts[1])[1:5] == (1, 11, 1, 12)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_the_interpreter_counts_them(end: str) -> None:
    made = unit(f"x = 1{end}{end}def f():\f{end}    return 'a\\x0cb'{end}")
    assert made.functions[0].code.co_firstlineno == 3
    assert made.line(3) == "def f():\f"
    assert made.line(0) == made.line(99) == ""


def test_what_a_definition_evaluates_is_executed_and_its_inside_is_not() -> None:
    (statement,) = ast.parse("@a(b)\ndef f(c: d = e, *, g=h) -> i:\n  j()\n").body
    names = [node.id for node in executed([statement]) if isinstance(node, ast.Name)]
    assert sorted(names) == ["a", "b", "d", "e", "h", "i"]


@pytest.mark.parametrize(
    "body", ["(0, 0)", "-1", "1 + 2", "not True", "7", "a if True else b", "0 or a", "'a' 'b'", "None"]
)
def test_a_lambda_of_which_the_compiler_leaves_little_is_found(body: str) -> None:
    """Not to find it would leave it out of a patch without a word."""
    found = outline(source(f"T = [lambda a: {body}, lambda a: [a]]\n"), 0).functions
    assert [one.site.ordinal for one in found] == [0, 1]
    assert found[0].code.co_code != found[1].code.co_code
