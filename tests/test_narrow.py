"""What is found between the sections that differ is what is found where the whole is compared."""

from __future__ import annotations

import sys
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcpatch import compile as compiler
from bcpatch import narrow
from bcpatch.diagnostics import Refused
from bcpatch.model import FunctionEdit, Module, Policy, PositionEdit
from bcpatch.narrow import Compared
from bcpatch.source import shape, versions
from bcpatch.source.outline import Source, outline
from bcpatch.source.outline import part as outline_part

MODULE = Module("m", "m.py")


def narrowly(old: str, new: str, policy: Policy = Policy.STRICT) -> Compared | None:
    before, after = (Source(MODULE, "m.py", text.encode()) for text in (old, new))
    return narrow.compared(before, after, policy, 0)


def wholly(old: str, new: str, policy: Policy = Policy.STRICT) -> Compared:
    before, after = (outline(Source(MODULE, "m.py", text.encode()), 0) for text in (old, new))
    changed = compiler.changes(before, after, policy, 0)
    imports = shape.imports(after.tree, MODULE, after.own_names)
    return Compared(changed.edits, changed.diagnostics, imports)


ABOVE = '''
"""A module."""
from __future__ import annotations

import json
from os import path as where

try:
    import tomllib
except ImportError:
    tomllib = None

LIMIT = 3

def one(a, b=1):
    return json.dumps(a) + where.join(a, b)

class Cart:
    """A cart."""
    size: int = 0

    def __init__(self):
        self.items = []

    @property
    def total(self):
        return sum(map(lambda item: item.price, self.items))

    @total.setter
    def total(self, value):
        self.items = value

'''
BELOW = """
key = lambda item: item.name

def two():
    def inner():
        return json.loads("1")
    return inner

class Basket(Cart):
    def add(self, item):
        super().total
        return [each for each in self.items if (lambda: each)()]

def one(a, b=1):
    return a

if __name__ == "__main__":
    middle(1)
"""
MIDDLE = """
def middle(a, *, b=2):
    return json.dumps(a) + b

"""
#: What the middle becomes: this is told between the sections that differ.
NARROW = {
    "a body": MIDDLE.replace("+ b", "- b"),
    "a body of more lines": MIDDLE.replace("    return", "    a += 1\n    return"),
    "a comment": MIDDLE.replace("    return", "    # why\n    return"),
    "a comment above": "# why\n" + MIDDLE,
    "empty lines": "\n\n" + MIDDLE,
    "a default": MIDDLE.replace("=2", "=3"),
    "a signature": MIDDLE.replace("a, *, b=2", "a, b"),
    "an annotation": MIDDLE.replace("b=2", "b: int = 2"),
    "another kind": MIDDLE.replace("return", "yield"),
    "the docstring of a function": MIDDLE.replace("    return", "    'It is documented.'\n    return"),
}
#: Here the rest of the module has a say.
WHOLE = {
    "a function of a name that is there": MIDDLE + "def one(): pass\n\n",
    "another name": MIDDLE.replace("middle", "other"),
    "a value": MIDDLE + "VALUE = 1\n\n",
    "a decorator": "\n@json.tool" + MIDDLE,
    "an import": MIDDLE + "import re\n\n",
    "no function": "",
    "a global": "global LIMIT\n\n" + MIDDLE,
    "a class": MIDDLE + "class More: pass\n\n",
    "not Python": MIDDLE.replace(")", ""),
    "a future": MIDDLE + "from __future__ import annotations\n",
    "another order": BELOW + MIDDLE,
    "a program": MIDDLE + "if __name__ == '__main__':\n    middle(2)\n\n",
    "a class of a name that is there": MIDDLE + "class Cart: pass\n\n",
}


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("change", NARROW)
def test_between_sections_it_is_what_it_is_in_the_whole(change, policy):
    old, new = (ABOVE + middle + BELOW for middle in (MIDDLE, NARROW[change]))
    assert narrowly(old, new, policy) == wholly(old, new, policy)
    assert narrowly(new, old, policy) == wholly(new, old, policy)


@pytest.mark.parametrize("change", WHOLE)
def test_what_the_rest_has_a_say_in_is_left_to_it(change):
    assert narrowly(ABOVE + MIDDLE + BELOW, ABOVE + WHOLE[change] + BELOW) is None


@pytest.mark.parametrize(("old", "new"), [("item.price", "item.cost"), ("self.items = value", "self.items = [value]")])
def test_a_method_changes_in_its_class(old, new):
    before = ABOVE + MIDDLE + BELOW
    found = narrowly(before, before.replace(old, new))
    assert found == wholly(before, before.replace(old, new))
    assert found is not None
    assert any(isinstance(edit, FunctionEdit) for edit in found.edits)


SEVERAL = {
    "two bodies": [("json.dumps(a) + where", "json.dumps(b) + where"), ("+ b", "- b")],
    "lines above and between": [("\n\nkey", "\n\n\nkey"), ('"""A module."""', '"""A module."""\n\n# why\n')],
    "a line above, one below less": [("LIMIT", "\n\nLIMIT"), ("\n\nkey", "\nkey")],
    "one of two of a name": [("def one(a, b=1):\n    return a", "def one(a, b=1):\n    return b"), ("+ b", "- b")],
    "a method and a function": [("item.price", "item.cost"), ('"1"', '"2"')],
}


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("change", SEVERAL)
def test_several_places_are_compared_each_by_itself(change, policy):
    new = old = ABOVE + MIDDLE + BELOW
    for one, other in SEVERAL[change]:
        assert new.count(one) == 1
        new = new.replace(one, other)
    assert narrowly(old, new, policy) == wholly(old, new, policy)
    assert narrowly(new, old, policy) == wholly(new, old, policy)


@pytest.mark.parametrize("policy", Policy)
def test_one_edit_after_another_is_told_as_if_it_were_the_first(policy):
    before = ABOVE + MIDDLE + BELOW
    for one in (*NARROW, *reversed(NARROW)):
        after = ABOVE + NARROW[one] + BELOW
        assert narrowly(before, after, policy) == wholly(before, after, policy)
        before = after


def test_what_stands_between_two_changes_is_not_compiled(monkeypatch):
    old = ABOVE + MIDDLE + BELOW
    new = old.replace("json.dumps(a) + where", "json.dumps(b) + where").replace('"1"', '"2"')
    narrowly(old, old.replace("+ b", "- b"))
    seen: set[str] = set()

    def part(source, text, sections, around, ordinals):
        unit = outline_part(source, text, sections, around, ordinals)
        seen.update(function.name for function in unit.functions)
        return unit

    monkeypatch.setattr(versions, "part", part)
    assert narrowly(old, new) is not None
    assert seen == {"one", "two"}


@pytest.mark.parametrize("text", ["\n", "# a comment\n", "\n\n\n"])
def test_all_lines_move(text):
    old = ABOVE + MIDDLE + BELOW
    found = narrowly(old, text + old)
    assert found == wholly(old, text + old)
    assert found is not None
    assert len([edit for edit in found.edits if isinstance(edit, PositionEdit)]) == 9


def test_a_function_that_the_import_runs_is_left_to_the_whole():
    text = "def a():\n    return b()\n\ndef b():\n    return 1\n\nclass C:\n    def __init__(self): b()\n\n{}\n"
    calls = ("x = a()", "x = C()", "@a\ndef f(): pass", "x = list(map(b, ()))", "h = a\nx = h()")
    for call in (*calls, "class D:\n    @property\n    def p(self): return b()\nx = D().p"):
        old = text.format(call)
        assert narrowly(old, old.replace("return 1", "return 2")) is None, call
    old = "class D:\n    @property\n    def p(self): return 1\n    def q(self): return 3\n\nd = D()\n\nx = [d.p]\n"
    assert narrowly(old, old.replace("return 1", "return 2")) is None
    assert narrowly(old, old.replace("return 3", "return 4")) is not None
    old = text.format("if __name__ == '__main__':\n    a()")
    assert narrowly(old, old.replace("return 1", "return 2")) is not None


@pytest.mark.parametrize(
    ("given", "definition"),
    [
        ("@json.tool\n{}", "def g(a={}): return 1\n"),
        ("@json.tool\nclass A:\n    {}", "def g(self, a={}): return 1\n"),
        ("json.tool(g)\n\n{}", "def g(a={}): return 1\n"),
        ("json.tool(a=[g])\n\n{}", "def g(a={}): return 1\n"),
    ],
)
def test_a_definition_that_the_import_gave_to_something_is_left_to_the_whole(given, definition):
    old = ABOVE + given.format(definition.format(1)) + BELOW
    assert narrowly(old, old.replace("a=1", "a=2")) is None
    assert narrowly(old, old.replace("return 1", "return [1]")) is not None


def test_methods_of_imported_names_are_called_by_other_instructions():
    old = "def f():\n    return 1\n\nfrom os import path\n\ndef g():\n    return path.join('a')\n"
    for new in (old.replace("'a'", "'b'"), old.replace("1", "2").replace("1\n", "1\n\n"), "\n" + old):
        assert narrowly(old, new) == wholly(old, new)


@pytest.mark.parametrize("policy", Policy)
def test_classes_of_one_name_are_compared_as_a_whole(policy):
    text = "class A:\n    x = 1\n    def f(self): return 1\n\nclass A:\n    x = 2\n    def f(self): return {}\n"
    assert narrowly(text.format(1), text.format(2), policy) is None


def test_a_text_that_does_not_compile_is_none():
    text = "def f(): pass\n\nfrom __future__ import annotations\n\ndef g(): return 1\n"
    assert narrowly(text, text.replace("1", "2")) is None


def test_a_text_that_only_the_compiler_refuses_is_none():
    text = "def f(a):\n    return super().f()\n"
    assert narrowly(text, text.replace("    return", "    global a\n    return")) is None


def test_a_module_that_knows_super_is_compared_as_a_whole():
    old = "class A:\n    def f(self):\n        return super().f()\n\nsuper\n"
    assert narrowly(old, old.replace(".f()", ".g()")) is None


@pytest.mark.skipif(sys.version_info < (3, 13), reason="class bodies say where they stand from CPython 3.13 on")
def test_a_function_with_a_class_in_it_does_not_just_move():
    old = "def a():\n    return 1\n\ndef f():\n    class A: pass\n    return A\n"
    assert narrowly(old, old.replace("1", "1 + 1")) is not None
    assert narrowly(old, "\n" + old) is None


# --- whatever is written ---------------------------------------------------------------------

NAMES = st.sampled_from(["f", "g", "C", "x"])
PARTS = st.builds(
    lambda text, name, other, number: dedent(text).format(name=name, other=other, number=number),
    st.sampled_from(
        [
            "def {name}(a={number}):\n    return {other}.a({number})",
            "def {name}():\n    global {other}\n    {other} = {number}",
            "async def {name}(*, a: {other} = 1):\n    # {number}\n    yield a",
            "@{other}\ndef {name}(): return lambda: {number}",
            "@{other}\ndef {name}(a={number}): return a",
            "{other}([{name}], {number})",
            "class {name}:\n    a: int = {number}\n    def {other}(self): return super().{other}() + {number}",
            "class {name}({other}):\n    '''{number}'''\n    def __init__(self):\n        self.{other} = {number}",
            "def {name}():\n    class {other}:\n        a = {number}",
            "{name} = lambda: {number}",
            "{name} = {other}({number})",
            "import {name}",
            "from {name} import {other}, a{number}",
            "if {other}:\n    import {name}\n\nelse:\n    {name} = {number}",
            "global {name}",
            "'''{number}'''",
            "'''\n\ndef {name}(): {number}\n\n'''",
            "from __future__ import annotations",
            "# {number}",
            "",
            "super",
            "if __name__ == '__main__':\n    {name}({number})",
            "def {name}():\n    import {other}\n    return {other}.a({number}).{other}",
        ]
    ),
    NAMES,
    NAMES,
    st.integers(0, 2),
)


@st.composite
def edited(draw: st.DrawFn) -> tuple[str, str]:
    parts = draw(st.lists(PARTS, min_size=1, max_size=7))
    changed = parts
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(changed)))
        changed = [*changed[:at], *draw(st.lists(PARTS, max_size=2)), *changed[at + draw(st.integers(0, 2)) :]]
    return "\n\n".join(parts) + "\n", "\n\n".join(changed) + "\n"


def agree(old: str, new: str, policy: Policy) -> None:
    try:
        whole = wholly(old, new, policy)
    except Refused:
        assert narrowly(old, new, policy) is None
    else:
        assert narrowly(old, new, policy) in (None, whole)


@given(edited(), st.sampled_from(Policy))
def test_it_is_never_something_else(texts, policy):
    old, new = texts
    agree(old, new, policy)


@given(st.lists(PARTS, max_size=7).map("\n\n".join), st.integers(1, 3))
def test_moving_everything_is_never_something_else(text, lines):
    agree(text, "\n" * lines + text, Policy.STRICT)
